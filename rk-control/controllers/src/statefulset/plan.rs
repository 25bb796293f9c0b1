//! The order in which a StatefulSet's pods come, go and are replaced.

use super::model::{Health, Slot};

/// One thing to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// Make the pod of this ordinal, from the update revision or from the current one.
    Create { ordinal: i32, updated: bool },
    /// Delete the pod; `recreate` when it failed and comes back.
    Delete { ordinal: i32, recreate: bool },
    /// Make sure that name, labels and claims of a pod are right.
    Check { ordinal: i32 },
}

/// The rules of one set.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) parallel: bool,
    pub(super) on_delete: bool,
    /// Ordinals below stay at the current revision.
    pub(super) partition: i32,
    pub(super) has_partition: bool,
    pub(super) max_unavailable: usize,
    pub(super) first: i32,
    pub(super) current_replicas: i32,
    pub(super) update_revision: String,
    pub(super) is_deleting: bool,
}

impl Rules {
    /// Whether a new pod of this ordinal is made from the update revision.
    fn is_updated(&self, ordinal: i32) -> bool {
        if self.on_delete {
            return true;
        }
        let boundary = if self.has_partition { self.partition } else { self.current_replicas };
        ordinal >= self.first.saturating_add(boundary)
    }
}

/// What to do now: ordered sets do one step at a time and wait for it to be healthy, parallel ones do all.
pub(super) fn plan(wanted: &[Slot], condemned: &[Slot], rules: &Rules) -> Vec<Action> {
    let mut actions = Vec::new();
    if rules.is_deleting {
        return actions;
    }
    for slot in wanted {
        match slot.health {
            Health::Missing => {
                actions.push(Action::Create { ordinal: slot.ordinal, updated: rules.is_updated(slot.ordinal) })
            }
            Health::Finished => actions.push(Action::Delete { ordinal: slot.ordinal, recreate: true }),
            Health::Terminating | Health::Unhealthy | Health::Ready => {
                actions.push(Action::Check { ordinal: slot.ordinal })
            }
            Health::Available => {
                actions.push(Action::Check { ordinal: slot.ordinal });
                continue;
            }
        }
        if !rules.parallel {
            return actions;
        }
    }
    let first_unhealthy =
        wanted.iter().chain(condemned).filter(|s| s.health != Health::Available).map(|s| s.ordinal).min();
    for slot in condemned {
        if slot.health == Health::Terminating {
            if !rules.parallel {
                return actions;
            }
            continue;
        }
        // An ordered set shrinks only while its other pods are well, but the sick one itself may go.
        let well = slot.health == Health::Available || first_unhealthy == Some(slot.ordinal);
        if !rules.parallel && !well {
            return actions;
        }
        actions.push(Action::Delete { ordinal: slot.ordinal, recreate: false });
        if !rules.parallel {
            return actions;
        }
    }
    if !rules.on_delete {
        actions.extend(replace(wanted, rules));
    }
    actions
}

/// Old pods from the highest ordinal down to the partition, as many at a time as may be unavailable.
fn replace(wanted: &[Slot], rules: &Rules) -> Vec<Action> {
    let unavailable = wanted.iter().filter(|s| s.health != Health::Available).count();
    let mut room = rules.max_unavailable.saturating_sub(unavailable);
    let mut actions = Vec::new();
    for slot in wanted.iter().rev() {
        if slot.ordinal < rules.first.saturating_add(rules.partition) {
            break;
        }
        let current = slot.revision.as_ref() == Some(&rules.update_revision);
        let sick = slot.health != Health::Available;
        if !current && !matches!(slot.health, Health::Terminating | Health::Missing) {
            // One that does not work is counted as unavailable already.
            if !sick && room == 0 {
                break;
            }
            if !sick {
                room -= 1;
            }
            actions.push(Action::Delete { ordinal: slot.ordinal, recreate: false });
            if rules.max_unavailable <= 1 {
                break;
            }
        } else if sick && rules.max_unavailable <= 1 {
            break;
        }
    }
    actions
}

#[cfg(test)]
mod tests {
    use super::*;
    use Health::{Available, Finished, Missing, Ready, Terminating, Unhealthy};

    fn slots(list: &[(Health, &str)]) -> Vec<Slot> {
        let slot = |(at, (health, revision)): (usize, &(Health, &str))| Slot {
            ordinal: at as i32,
            health: *health,
            revision: (*health != Missing).then(|| (*revision).to_owned()),
            pod: None,
        };
        list.iter().enumerate().map(slot).collect()
    }

    fn rules(parallel: bool) -> Rules {
        Rules {
            parallel,
            on_delete: false,
            partition: 0,
            has_partition: true,
            max_unavailable: 1,
            first: 0,
            current_replicas: 0,
            update_revision: "new".to_owned(),
            is_deleting: false,
        }
    }

    fn effects(actions: Vec<Action>) -> Vec<Action> {
        actions.into_iter().filter(|a| !matches!(a, Action::Check { .. })).collect()
    }

    #[test]
    fn an_ordered_set_grows_one_healthy_pod_at_a_time() {
        let create = |ordinal| Action::Create { ordinal, updated: true };
        assert_eq!(effects(plan(&slots(&[(Missing, ""), (Missing, "")]), &[], &rules(false))), [create(0)]);
        assert_eq!(effects(plan(&slots(&[(Unhealthy, "new"), (Missing, "")]), &[], &rules(false))), []);
        assert_eq!(effects(plan(&slots(&[(Available, "new"), (Missing, "")]), &[], &rules(false))), [create(1)]);
        assert_eq!(effects(plan(&slots(&[(Missing, ""), (Missing, "")]), &[], &rules(true))), [create(0), create(1)]);
    }

    #[test]
    fn it_shrinks_from_the_top_while_the_rest_is_well() {
        let delete = |ordinal| Action::Delete { ordinal, recreate: false };
        let condemned = |health| {
            vec![
                Slot { ordinal: 2, health, revision: None, pod: None },
                Slot { ordinal: 1, health: Available, revision: None, pod: None },
            ]
        };
        let wanted = slots(&[(Available, "new")]);
        assert_eq!(effects(plan(&wanted, &condemned(Available), &rules(false))), [delete(2)]);
        assert_eq!(effects(plan(&wanted, &condemned(Terminating), &rules(false))), []);
        for sick in [Ready, Unhealthy, Finished] {
            assert_eq!(effects(plan(&wanted, &condemned(sick), &rules(false))), [delete(2)], "it alone is {sick:?}");
            let mut two = condemned(sick);
            two[1].health = Unhealthy;
            assert_eq!(effects(plan(&wanted, &two, &rules(false))), [], "{sick:?} beside another");
        }
        assert_eq!(effects(plan(&slots(&[(Unhealthy, "new")]), &condemned(Available), &rules(false))), []);
        assert_eq!(effects(plan(&wanted, &condemned(Available), &rules(true))), [delete(2), delete(1)]);
    }

    #[test]
    fn updates_go_down_to_the_partition() {
        let delete = |ordinal| Action::Delete { ordinal, recreate: false };
        let old = slots(&[(Available, "old"), (Available, "old"), (Available, "old")]);
        assert_eq!(effects(plan(&old, &[], &rules(false))), [delete(2)]);
        let half = slots(&[(Available, "old"), (Available, "old"), (Available, "new")]);
        assert_eq!(effects(plan(&half, &[], &rules(false))), [delete(1)]);
        let partitioned = Rules { partition: 2, ..rules(false) };
        assert_eq!(effects(plan(&half, &[], &partitioned)), []);
        let lost = slots(&[(Missing, ""), (Available, "old"), (Available, "new")]);
        assert_eq!(
            effects(plan(&lost, &[], &partitioned)),
            [Action::Create { ordinal: 0, updated: false }],
            "below the partition the old revision comes back"
        );
        assert_eq!(effects(plan(&old, &[], &Rules { on_delete: true, ..rules(false) })), []);
        assert_eq!(effects(plan(&old, &[], &Rules { max_unavailable: 2, ..rules(true) })), [delete(2), delete(1)]);
    }
}
