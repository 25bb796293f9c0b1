//! A node that cordoned itself takes pods again.

use crate::log;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Undoes the cordon that is noted in `note`, by `undo`, which answers the node's name: every `pause` once the node is `ready`, until that
/// is done. Ends without it when the note goes, or becomes another's: a drain that began meanwhile undoes its own. Returns at once when
/// there is none.
pub async fn give_back<F>(note: &Path, pause: Duration, ready: impl Fn() -> bool, undo: impl Fn() -> F)
where
    F: Future<Output = Result<String, String>>,
{
    let Ok(own) = fs::read(note) else { return };
    loop {
        tokio::time::sleep(pause).await;
        if !fs::read(note).is_ok_and(|now| now == own) {
            return;
        }
        if !ready() {
            continue;
        }
        match undo().await {
            Ok(node) => {
                let _ = fs::remove_file(note);
                return log::news(format_args!("{node} takes pods again"));
            }
            Err(reason) => log::info(format_args!("the node stays cordoned for now: {reason}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    const PAUSE: Duration = Duration::from_millis(1);

    #[tokio::test]
    async fn a_node_is_given_back_once_the_api_server_answers() {
        let dir = tempfile::tempdir().unwrap();
        let note = dir.path().join("cordoned");
        let (looked, asked) = (Cell::new(0), Cell::new(0));
        let ready = || looked.replace(looked.get() + 1) > 1;
        let undo = || {
            asked.set(asked.get() + 1);
            let answers = asked.get() > 2;
            async move { if answers { Ok("n".to_owned()) } else { Err("the API server does not answer".to_owned()) } }
        };
        give_back(&note, PAUSE, ready, undo).await;
        assert_eq!(asked.get(), 0, "nothing is noted");
        fs::write(&note, "a").unwrap();
        give_back(&note, PAUSE, ready, undo).await;
        assert_eq!((looked.get(), asked.get(), note.exists()), (5, 3, false));
    }

    #[tokio::test]
    async fn a_drain_that_began_meanwhile_keeps_its_cordon() {
        let dir = tempfile::tempdir().unwrap();
        let note = dir.path().join("cordoned");
        fs::write(&note, "a").unwrap();
        let asked = Cell::new(0);
        let undo = || {
            asked.set(asked.get() + 1);
            fs::write(&note, "b").unwrap();
            async { Err("the API server does not answer".to_owned()) }
        };
        give_back(&note, PAUSE, || true, undo).await;
        assert_eq!((asked.get(), fs::read_to_string(&note).unwrap()), (1, "b".to_owned()));
    }
}
