//! Namespaces: wrong labels are refused, and whoever enforces more is told which pods are there that would not come in.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rk_api::meta;
use rk_api::status::Status;
use serde_json::Value;

use super::checks;
use super::policy::{Level, Policy, Standard};
use super::subject::Subject;
use crate::admission::Request;
use crate::server::Core;
use crate::storage::Cached;

/// How many pods of a namespace are judged, and for how long, as upstream bounds it.
const MAX_PODS: usize = 3000;
const MAX_TIME: Duration = Duration::from_secs(1);

pub(super) async fn validate(
    request: &Request<'_>,
    namespace: &Value,
    warnings: &mut Vec<String>,
) -> Result<(), Status> {
    let (new, errors) = Policy::of(meta::labels(namespace));
    let old = request.old.map(|old| Policy::of(meta::labels(old)));
    // What was wrong before may stay: else nothing of the namespace could be changed any more.
    let stays = old.as_ref().is_some_and(|(_, before)| *before == errors);
    if !errors.is_empty() && !stays {
        return Err(Status::invalid("", "Namespace", meta::name(namespace), &errors.0));
    }
    if let Some((old, _)) = old
        && asks_more(old.enforce, new.enforce)
    {
        warnings.extend(existing(request.core, meta::name(namespace), new.enforce).await);
    }
    Ok(())
}

/// Whether pods that were let in may break what is enforced now.
fn asks_more(old: Standard, new: Standard) -> bool {
    let relaxed = new.version == old.version && new.level <= old.level;
    new.level != Level::Privileged && !relaxed
}

/// Warnings about the pods that a namespace has.
async fn existing(core: &Core, namespace: &str, standard: Standard) -> Vec<String> {
    let pods = match core.resource("", "v1", "pods") {
        Ok(resource) => core.storage.all_cached(&resource, namespace).await,
        Err(status) => Err(status),
    };
    match pods {
        Ok(pods) => {
            let survey = survey(&pods, standard).await;
            survey.warnings(namespace, standard, pods.len())
        }
        Err(status) => {
            tracing::warn!(namespace, %status, "pods cannot be listed");
            vec!["failed to list pods while checking new PodSecurity enforce level".to_owned()]
        }
    }
}

/// Judges pods within the bounds. Where there are too many, one pod of each controller comes first: its others are alike.
async fn survey(pods: &[Arc<Cached>], standard: Standard) -> Survey {
    let until = Instant::now() + MAX_TIME;
    let crowded = pods.len() > MAX_PODS;
    let mut survey = Survey::default();
    let mut controllers: HashSet<String> = HashSet::new();
    let mut alike: Vec<&Arc<Cached>> = Vec::new();
    for pod in pods {
        if survey.is_over(until) {
            return survey;
        }
        let tree = pod.value();
        if crowded && controller(&tree).is_some_and(|uid| !controllers.insert(uid.to_owned())) {
            alike.push(pod);
            continue;
        }
        survey.add(&tree, standard).await;
    }
    for pod in alike {
        if survey.is_over(until) {
            break;
        }
        survey.add(&pod.value(), standard).await;
    }
    survey
}

/// The uid of the object that makes pods like this one.
fn controller(pod: &Value) -> Option<&str> {
    let owners = meta::at(pod, &["metadata", "ownerReferences"]).as_array()?;
    let owner = owners.iter().find(|owner| meta::at(owner, &["controller"]).as_bool() == Some(true))?;
    Some(meta::text(owner, &["uid"]))
}

/// What judging pods found.
#[derive(Default)]
struct Survey {
    /// How many pods were judged.
    checked: usize,
    /// By what they break: the first of their names, and how many they are.
    found: BTreeMap<String, (String, usize)>,
}

impl Survey {
    fn is_over(&self, until: Instant) -> bool {
        self.checked >= MAX_PODS || Instant::now() >= until
    }

    async fn add(&mut self, pod: &Value, standard: Standard) {
        self.note(pod, standard);
        // Others have their turn between a few dozen pods.
        if self.checked & 63 == 0 {
            tokio::task::yield_now().await;
        }
    }

    fn note(&mut self, pod: &Value, standard: Standard) {
        self.checked += 1;
        let broken = checks::judge(standard, &Subject::of(pod));
        if broken.is_empty() {
            return;
        }
        let name = meta::name(pod);
        let (first, count) = self.found.entry(checks::reasons(&broken)).or_insert_with(|| (name.to_owned(), 0));
        if name < first.as_str() {
            name.clone_into(first);
        }
        *count += 1;
    }

    /// The remarks, in upstream's words; `total` is how many pods there are.
    fn warnings(self, namespace: &str, standard: Standard, total: usize) -> Vec<String> {
        let mut out = Vec::new();
        if self.checked < total {
            let checked = self.checked;
            out.push(format!(
                "new PodSecurity enforce level only checked against the first {checked} of {total} existing pods"
            ));
        }
        if !self.found.is_empty() {
            let level = standard.to_string();
            out.push(format!(
                "existing pods in namespace {namespace:?} violate the new PodSecurity enforce level {level:?}"
            ));
        }
        let mut lines: Vec<String> =
            self.found.into_iter().map(|(reasons, (first, count))| line(&first, count, &reasons)).collect();
        lines.sort_unstable();
        out.extend(lines);
        out
    }
}

fn line(first: &str, count: usize, reasons: &str) -> String {
    match count {
        1 => format!("{first}: {reasons}"),
        2 => format!("{first} (and 1 other pod): {reasons}"),
        _ => format!("{first} (and {} other pods): {reasons}", count - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn standard(level: &str, version: &str) -> Standard {
        let labels =
            json!({"pod-security.kubernetes.io/enforce": level, "pod-security.kubernetes.io/enforce-version": version});
        Policy::of(&labels).0.enforce
    }

    #[test]
    fn pods_are_judged_when_more_is_asked() {
        for (old, new, judged) in [
            (("privileged", "latest"), ("baseline", "latest"), true),
            (("baseline", "latest"), ("restricted", "latest"), true),
            (("restricted", "latest"), ("baseline", "latest"), false),
            (("baseline", "latest"), ("baseline", "latest"), false),
            // Another version may ask for something else.
            (("restricted", "v1.20"), ("baseline", "latest"), true),
            (("restricted", "latest"), ("privileged", "v1.20"), false),
        ] {
            assert_eq!(asks_more(standard(old.0, old.1), standard(new.0, new.1)), judged, "{old:?} {new:?}");
        }
    }

    #[test]
    fn pods_that_break_the_same_rules_share_a_line() {
        let mut survey = Survey::default();
        let asked = standard("baseline", "latest");
        for (name, spec) in [
            ("c", json!({"hostPID": true})),
            ("b", json!({"hostNetwork": true})),
            ("d", json!({"hostIPC": true})),
            ("e", json!({"hostPID": true, "volumes": [{"name": "v", "hostPath": {"path": "/"}}]})),
            ("f", json!({})),
        ] {
            survey.note(&json!({"metadata": {"name": name}, "spec": spec}), asked);
        }
        assert_eq!(
            survey.warnings("ns", asked, 7),
            [
                "new PodSecurity enforce level only checked against the first 5 of 7 existing pods",
                "existing pods in namespace \"ns\" violate the new PodSecurity enforce level \"baseline:latest\"",
                "b (and 2 other pods): host namespaces",
                "e: host namespaces, hostPath volumes",
            ]
        );
        assert_eq!(line("a", 2, "privileged"), "a (and 1 other pod): privileged");
        assert!(Survey::default().warnings("ns", asked, 0).is_empty());
    }

    #[test]
    fn the_controller_is_the_owner_that_says_so() {
        let pod = json!({"metadata": {"ownerReferences": [{"uid": "a"}, {"uid": "b", "controller": true}]}});
        assert_eq!(controller(&pod), Some("b"));
        assert_eq!(controller(&json!({})), None);
    }
}
