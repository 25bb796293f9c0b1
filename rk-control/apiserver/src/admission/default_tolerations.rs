//! DefaultTolerationSeconds: five minutes on a node that does not answer.

use rk_api::meta;
use rk_api::status::Status;
use serde_json::{Value, json};

use super::{Operation, Request};

const SECONDS: i64 = 300;
const TAINTS: &[&str] = &["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

pub(super) async fn mutate(request: &Request<'_>, pod: &mut Value) -> Result<(), Status> {
    if request.is("", "pods") && request.operation != Operation::Delete && pod.get("spec").is_some() {
        add(pod);
    }
    Ok(())
}

fn add(pod: &mut Value) {
    let mut list = meta::at(pod, &["spec", "tolerations"]).as_array().cloned().unwrap_or_default();
    let before = list.len();
    for taint in TAINTS {
        let tolerated = list.iter().any(|toleration| {
            let (key, effect) = (meta::text(toleration, &["key"]), meta::text(toleration, &["effect"]));
            (key == *taint || key.is_empty()) && matches!(effect, "NoExecute" | "")
        });
        if !tolerated {
            list.push(json!({"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS}));
        }
    }
    if list.len() > before {
        pod["spec"]["tolerations"] = json!(list);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_that_tolerates_everything_is_left_alone() {
        let mut pod = json!({"spec": {"tolerations": [{"operator": "Exists"}]}});
        let before = pod.clone();
        add(&mut pod);
        assert_eq!(pod, before);
        let mut plain = json!({"spec": {}});
        add(&mut plain);
        assert_eq!(plain["spec"]["tolerations"].as_array().unwrap().len(), 2);
        let once = plain.clone();
        add(&mut plain);
        assert_eq!(plain, once);
    }
}
