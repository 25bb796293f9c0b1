//! Pods in the places of the queue.

use super::*;
use serde_json::json;

/// What happened to let pods fit.
const NODE: Event = ("Node", "Add");

fn pod(name: &str, priority: i32, gated: bool) -> Arc<PodInfo> {
    let gates = if gated { json!([{"name": "hold"}]) } else { json!([]) };
    let pod = json!({"metadata": {"name": name, "namespace": "n", "uid": name},
        "spec": {"priority": priority, "schedulingGates": gates, "containers": []}});
    Arc::new(PodInfo::new(&serde_json::from_value(pod).unwrap()).unwrap())
}

fn pop(queue: &mut SchedulingQueue, now: Instant) -> Option<String> {
    queue.pop(now).map(|pod| pod.key.name.clone())
}

#[test]
fn importance_comes_first_then_age() {
    let (mut queue, now) = (SchedulingQueue::default(), Instant::now());
    for (name, priority) in [("old", 0), ("new", 0), ("important", 10)] {
        queue.add(pod(name, priority, false), now);
    }
    let order: Vec<_> = std::iter::from_fn(|| pop(&mut queue, now)).collect();
    assert_eq!(order, ["important", "old", "new"]);
}

#[test]
fn a_pod_that_fits_nowhere_waits_for_a_change_and_its_backoff() {
    let (mut queue, now) = (SchedulingQueue::default(), Instant::now());
    queue.add(pod("p", 0, false), now);
    let key = queue.pop(now).unwrap().key.clone();
    queue.failed(&key, now);
    assert_eq!(pop(&mut queue, now + Duration::from_secs(60)), None, "nothing changed");
    queue.cluster_changed(NODE, now + Duration::from_millis(100));
    assert_eq!(pop(&mut queue, now + Duration::from_millis(200)), None, "still backing off");
    assert_eq!(pop(&mut queue, now + BACKOFF), Some("p".into()));
}

#[test]
fn attempts_are_counted_from_when_nothing_holds_the_pod_back() {
    let (mut queue, now) = (SchedulingQueue::default(), Instant::now());
    let (later, latest) = (now + BACKOFF, now + BACKOFF * 2);
    queue.add(pod("p", 0, true), now);
    assert_eq!(queue.tried(&pod("p", 0, true)), None);
    queue.add(pod("p", 0, false), later);
    let held = queue.pop(later).unwrap();
    queue.errored(&held.key, later);
    queue.pop(latest).unwrap();
    assert_eq!(queue.tried(&held), Some((later, 2)));
    assert_eq!(queue.tried(&PodInfo { uid: "other".into(), ..(*held).clone() }), None);
}

#[test]
fn a_newer_status_is_known_without_another_turn() {
    let (mut queue, now) = (SchedulingQueue::default(), Instant::now());
    queue.add(pod("p", 0, false), now);
    let key = queue.pop(now).unwrap().key.clone();
    queue.refresh(Arc::new(PodInfo { nominated: Some("n1".into()), ..(*pod("p", 0, false)).clone() }));
    queue.refresh(Arc::new(PodInfo { uid: "other".into(), ..(*pod("p", 0, false)).clone() }));
    queue.failed(&key, now);
    queue.cluster_changed(NODE, now);
    assert!(queue.pop(now).is_none(), "still backing off");
    assert_eq!(queue.pop(now + BACKOFF).unwrap().nominated.as_deref(), Some("n1"));
}

#[test]
fn a_change_during_the_attempt_is_not_missed() {
    let (mut queue, now) = (SchedulingQueue::default(), Instant::now());
    queue.add(pod("p", 0, false), now);
    let key = queue.pop(now).unwrap().key.clone();
    queue.cluster_changed(NODE, now);
    queue.failed(&key, now);
    assert_eq!(pop(&mut queue, now + BACKOFF), Some("p".into()));
}

#[test]
fn a_pod_that_changes_during_its_attempt_is_tried_again() {
    let (mut queue, now) = (SchedulingQueue::default(), Instant::now());
    queue.add(pod("p", 0, false), now);
    let key = queue.pop(now).unwrap().key.clone();
    queue.add(pod("p", 5, false), now);
    assert_eq!(pop(&mut queue, now), None, "one attempt at a time");
    queue.failed(&key, now);
    assert_eq!(queue.pop(now + BACKOFF).map(|pod| pod.priority), Some(5));
}

#[test]
fn a_later_pod_of_the_name_is_another_one() {
    let (mut queue, now) = (SchedulingQueue::default(), Instant::now());
    let (old, new) = (pod("p", 0, false), PodInfo { uid: "later".into(), ..(*pod("p", 0, false)).clone() });
    queue.add(Arc::clone(&old), now);
    assert!(queue.holds(&old) && !queue.holds(&new));
    queue.add(Arc::new(new.clone()), now);
    assert!(!queue.holds(&old) && queue.holds(&new));
    queue.remove(&old.key);
    assert!(!queue.holds(&new));
}

#[test]
fn a_forgotten_pod_is_tried_after_five_minutes() {
    let (mut queue, now) = (SchedulingQueue::default(), Instant::now());
    queue.add(pod("p", 0, false), now);
    let key = queue.pop(now).unwrap().key.clone();
    queue.failed(&key, now);
    assert_eq!(queue.next_due(), Some(now + STALE));
    assert_eq!(pop(&mut queue, now + STALE), Some("p".into()));
}

#[test]
fn gates_hold_a_pod_back_until_they_are_gone() {
    let (mut queue, now) = (SchedulingQueue::default(), Instant::now());
    queue.add(pod("p", 0, true), now);
    queue.cluster_changed(NODE, now);
    assert_eq!(pop(&mut queue, now + STALE), None);
    queue.add(pod("p", 0, false), now);
    assert_eq!(pop(&mut queue, now), Some("p".into()));
}

#[test]
fn backoff_doubles_up_to_its_limit() {
    let waits: Vec<u64> = (1..=6).map(|failures| backoff(failures).as_secs()).collect();
    assert_eq!(waits, [1, 2, 4, 8, 10, 10]);
}

#[test]
fn what_is_counted_is_what_is_there_whatever_happens() {
    let (mut queue, begin) = (SchedulingQueue::default(), Instant::now());
    let mut random = 1u64;
    for step in 0..4000u64 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let pick = |shift: u32, of: u64| i32::try_from((random >> shift) % of).unwrap();
        let deed = pick(50, 10);
        let own = pod(&format!("p{}", pick(33, 12)), pick(40, 3), deed == 0);
        let now = begin + Duration::from_millis(step * 700);
        match deed {
            0 | 1 => queue.add(own, now),
            2 => queue.add(Arc::new(PodInfo { uid: "later".into(), ..(*own).clone() }), now),
            3 => drop(queue.remove(&own.key)),
            4 | 5 => queue.failed(&own.key, now),
            6 => queue.errored(&own.key, now),
            7 => queue.cluster_changed(NODE, now),
            _ => drop(queue.pop(now)),
        }
        let mut counted = [0; PARTS.len()];
        queue.pods.values().filter_map(|queued| queued.place.part()).for_each(|part| counted[part] += 1);
        assert_eq!(queue.counts, counted, "after step {step}");
        assert_eq!((queue.active.len(), queue.due.len()), (counted[0], counted[1] + counted[2]), "after step {step}");
    }
    assert_eq!(queue.waiting().map(|(name, _)| name), PARTS);
}

#[test]
fn who_comes_into_the_queue_is_counted_by_what_brought_it_there() {
    let (mut queue, now) = (SchedulingQueue::default(), Instant::now());
    let after = |seconds| now + Duration::from_secs(seconds);
    queue.add(pod("p", 0, false), now);
    queue.add(pod("held", 0, true), now);
    // A change that moves nobody.
    queue.add(pod("p", 5, false), now);
    let key = queue.pop(now).unwrap().key.clone();
    queue.failed(&key, now);
    queue.cluster_changed(NODE, now);
    queue.pop(after(1)).unwrap();
    queue.failed(&key, after(1));
    queue.pop(after(400)).unwrap();
    queue.add(pod("held", 0, false), after(400));
    let told: Vec<(String, &str, usize)> = queue
        .take_incoming()
        .into_iter()
        .map(|(((what, how), queue), count)| (format!("{what}{how}"), queue, count))
        .collect();
    let told: Vec<(&str, &str, usize)> =
        told.iter().map(|(event, queue, count)| (event.as_str(), *queue, *count)).collect();
    assert_eq!(
        told,
        [
            ("BackoffComplete", "active", 1),
            ("NodeAdd", "backoff", 1),
            ("ScheduleAttemptFailure", "unschedulable", 2),
            ("UnschedulablePodAdd", "active", 1),
            ("UnschedulablePodAdd", "unschedulable", 1),
            ("UnschedulablePodUpdate", "active", 1),
            ("UnschedulableTimeout", "active", 1),
        ]
    );
    assert!(queue.take_incoming().is_empty(), "told once");
}
