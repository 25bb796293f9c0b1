use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

const PATIENCE: Duration = Duration::from_secs(60);

fn now() -> Ask {
    Ask::new(Duration::ZERO, PATIENCE)
}

#[tokio::test]
async fn many_who_ask_cost_one_look() {
    let figures: Arc<Figures<&str, u64>> = Arc::new(Figures::new(PATIENCE));
    let looks = Arc::new(AtomicUsize::new(0));
    let mut askers = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (figures, looks) = (Arc::clone(&figures), Arc::clone(&looks));
        askers.spawn(async move {
            let look = || async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                Some(u64::try_from(looks.fetch_add(1, Ordering::SeqCst)).unwrap())
            };
            figures.get(&"a", Ask::new(PATIENCE, PATIENCE), look).await
        });
    }
    while let Some(answer) = askers.join_next().await {
        assert_eq!(answer.unwrap(), Some(0));
    }
    assert_eq!(looks.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_look_that_hangs_is_made_once_and_leaves_what_was_known() {
    let figures: Figures<&str, u64> = Figures::new(Duration::from_millis(10));
    let hung = Arc::new(AtomicUsize::new(0));
    let hang = || {
        hung.fetch_add(1, Ordering::SeqCst);
        std::future::pending::<Option<u64>>()
    };
    assert_eq!(figures.get(&"never", now(), hang).await, None);
    while figures.get(&"a", now(), || async { Some(1) }).await != Some(1) {}
    for _ in 0..5 {
        assert_eq!(figures.get(&"a", now(), hang).await, Some(1));
        assert_eq!(figures.get(&"never", now(), hang).await, None);
    }
    assert_eq!(hung.load(Ordering::SeqCst), 2, "one look of each");
    assert_eq!(figures.get(&"other", Ask::new(PATIENCE, PATIENCE), || async { Some(3) }).await, Some(3));
}

#[tokio::test]
async fn few_look_at_the_same_time_and_all_get_their_turn() {
    let figures: Arc<Figures<usize, usize>> = Arc::new(Figures::new(PATIENCE));
    let (looking, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut askers = tokio::task::JoinSet::new();
    for key in 0..4 * LOOKS {
        let (figures, looking, most) = (Arc::clone(&figures), Arc::clone(&looking), Arc::clone(&most));
        askers.spawn(async move {
            let look = || async move {
                most.fetch_max(looking.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(5)).await;
                looking.fetch_sub(1, Ordering::SeqCst);
                Some(key)
            };
            assert_eq!(figures.get(&key, now(), look).await, Some(key));
        });
    }
    while let Some(done) = askers.join_next().await {
        done.unwrap();
    }
    assert_eq!(most.load(Ordering::SeqCst), LOOKS);
}

#[tokio::test]
async fn looks_that_hang_keep_no_others_from_looking() {
    let figures: Figures<usize, usize> = Figures::new(PATIENCE);
    let figures = Figures { hangs: Duration::from_millis(5), ..figures };
    let gone = || Ask::new(Duration::ZERO, Duration::ZERO);
    for key in 0..2 * LOOKS {
        assert_eq!(figures.get(&key, gone(), std::future::pending::<Option<usize>>).await, None);
    }
    assert_eq!(figures.get(&usize::MAX, now(), || async { Some(1) }).await, Some(1));
}

#[tokio::test]
async fn a_look_that_takes_long_tells_what_it_has_found_so_far() {
    let figures: Figures<&str, u64> = Figures::new(Duration::from_millis(10));
    for (before, found, told) in [(None, 7, 7), (Some(3), 7, 7), (Some(9), 7, 9)] {
        let figures: Figures<&str, u64> = Figures::new(Duration::from_millis(10));
        if before.is_some() {
            while figures.get(&"a", now(), || async move { before }).await != before {}
        }
        let look = |so_far: SoFar<&'static str, u64>| async move {
            so_far.tell(|last| last.copied().unwrap_or(0).max(found));
            std::future::pending::<Option<u64>>().await
        };
        assert_eq!(figures.get_growing(&"a", now(), look).await, Some(told), "{before:?} before");
    }
    let look = |so_far: SoFar<&'static str, u64>| async move {
        so_far.tell(|_| 7);
        Some(8)
    };
    while figures.get_growing(&"b", now(), look).await != Some(8) {}
}

async fn breaks() -> Option<u64> {
    panic!("a look that breaks")
}

#[tokio::test]
async fn a_look_that_breaks_is_made_again() {
    let figures: Figures<&str, u64> = Figures::new(PATIENCE);
    assert_eq!(figures.get(&"a", now(), breaks).await, None);
    assert_eq!(figures.get(&"a", now(), || async { Some(2) }).await, Some(2));
    assert_eq!(figures.get(&"a", now(), || async { None }).await, None, "what is told no more is known no more");
}

#[tokio::test]
async fn what_nobody_asks_for_is_forgotten() {
    let figures: Figures<&str, u64> = Figures::new(PATIENCE);
    figures.get(&"a", now(), || async { Some(1) }).await;
    let kept = |after: Duration| {
        let mut table = locked(&figures.table);
        table.sweep(Instant::now() + after);
        table.slots.len()
    };
    assert_eq!((kept(SWEEP), kept(KEPT + SWEEP)), (1, 0));
}

#[tokio::test]
async fn what_a_look_had_found_when_it_broke_is_no_figure() {
    let figures: Figures<&'static str, u64> = Figures::new(Duration::from_millis(10));
    while figures.get(&"a", now(), || async { Some(1) }).await != Some(1) {}
    let look = |so_far: SoFar<&'static str, u64>| async move {
        so_far.tell(|_| 9);
        breaks().await
    };
    assert_eq!(figures.get_growing(&"a", now(), look).await, Some(1));
    assert_eq!(figures.get(&"a", now(), std::future::pending::<Option<u64>>).await, Some(1));
}
