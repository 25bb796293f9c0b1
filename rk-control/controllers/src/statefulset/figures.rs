//! What is told of each StatefulSet, under upstream's names, as long as it is there.

use super::plan::Rules;
use rk_client::ObjectKey;

const MOST: &str = "statefulset_controller_statefulset_max_unavailable";
const NOW: &str = "statefulset_controller_statefulset_unavailable_replicas";

/// By whether pods come all at once.
const POLICIES: [&str; 2] = ["OrderedReady", "Parallel"];

fn labels<'a>(key: &'a ObjectKey, policy: &'a str) -> [(&'static str, &'a str); 3] {
    [
        ("pod_management_policy", policy),
        ("statefulset_name", key.name.as_str()),
        ("statefulset_namespace", key.namespace.as_str()),
    ]
}

/// How many of the pods that are wanted may be missing while they are replaced, and how many are.
pub(super) fn tell(key: &ObjectKey, rules: &Rules, missing: usize) {
    let labels = labels(key, if rules.parallel { POLICIES[1] } else { POLICIES[0] });
    rk_client::set(MOST, &labels, rules.max_unavailable);
    rk_client::set(NOW, &labels, missing);
}

/// It is gone.
pub(super) fn forget(key: &ObjectKey) {
    for policy in POLICIES {
        [MOST, NOW].into_iter().for_each(|name| rk_client::forget(name, &labels(key, policy)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_told_of_while_it_is_there() {
        let rules = Rules {
            parallel: true,
            on_delete: false,
            partition: 0,
            has_partition: false,
            max_unavailable: 2,
            first: 0,
            current_replicas: 0,
            update_revision: String::new(),
            is_deleting: false,
        };
        let key = ObjectKey::new("n", "of-this-test");
        let told = || {
            let figures = rk_client::render_figures();
            let own = figures.lines().filter(|line| line.contains("statefulset_name=\"of-this-test\""));
            own.map(|line| line.rsplit_once(' ').expect("a value").1.to_owned()).collect::<Vec<_>>()
        };
        tell(&key, &rules, 1);
        assert_eq!(told(), ["2", "1"]);
        tell(&key, &rules, 0);
        assert_eq!(told(), ["2", "0"]);
        forget(&key);
        assert!(told().is_empty());
    }
}
