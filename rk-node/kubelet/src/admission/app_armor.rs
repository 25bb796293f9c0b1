//! Pods that ask for confinement by AppArmor, of which this node's kernel has none: they must not run without it.

use k8s_openapi::api::core::v1::{AppArmorProfile, Container, Pod};

use super::Refusal;
use crate::pod::spec;

/// Annotations that name a container's profile as was done before there were fields.
const ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";

/// Refuses a pod that asks for any profile.
pub fn app_armor(pod: &Pod) -> Result<(), Refusal> {
    match asks(pod) {
        true => Err(("AppArmor".into(), "Cannot enforce AppArmor: AppArmor is not enabled on the host".into())),
        false => Ok(()),
    }
}

fn asks(pod: &Pod) -> bool {
    let whole = pod.spec.as_ref().and_then(|s| s.security_context.as_ref()?.app_armor_profile.as_ref());
    let confines = |profile: &AppArmorProfile| profile.type_ != "Unconfined";
    let own =
        |c: &Container| c.security_context.as_ref().and_then(|s| s.app_armor_profile.as_ref()).is_some_and(confines);
    let mut ephemeral = spec::ephemeral_containers(pod).iter().map(spec::as_container);
    let mut named = pod.metadata.annotations.iter().flatten();
    whole.is_some_and(confines)
        || spec::init_containers(pod).iter().chain(spec::app_containers(pod)).any(own)
        || ephemeral.any(|container| own(&container))
        || named.any(|(key, value)| key.starts_with(ANNOTATION) && value != "unconfined")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_pod_that_asks_for_a_profile_is_not_run_without_it() {
        let confined = |kind: &str| json!({"appArmorProfile": {"type": kind}});
        let annotated = |value: &str| json!({"container.apparmor.security.beta.kubernetes.io/c": value});
        for (annotations, whole, own, ephemeral, refused) in [
            (json!({"a": "b"}), json!({}), json!({}), json!({}), false),
            (json!({}), confined("Unconfined"), confined("Unconfined"), json!({}), false),
            (json!({}), confined("RuntimeDefault"), json!({}), json!({}), true),
            (json!({}), json!({}), confined("Localhost"), json!({}), true),
            (json!({}), json!({}), json!({}), confined("RuntimeDefault"), true),
            (annotated("unconfined"), json!({}), json!({}), json!({}), false),
            (annotated("runtime/default"), json!({}), json!({}), json!({}), true),
        ] {
            let container = |name: &str, context: &Value| json!({"name": name, "securityContext": context});
            let spec = json!({"securityContext": whole, "containers": [container("c", &own)],
                "ephemeralContainers": [container("e", &ephemeral)]});
            let pod: Pod =
                serde_json::from_value(json!({"metadata": {"annotations": annotations}, "spec": spec})).unwrap();
            let reason = app_armor(&pod).err().map(|(reason, _)| reason);
            assert_eq!(reason, refused.then(|| "AppArmor".to_owned()), "{annotations} {spec}");
        }
    }
}
