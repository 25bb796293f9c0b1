//! Rules that single values must keep, as upstream's validation has them (`pkg/kubelet/apis/config/validation`).

use k8s_openapi::api::core::v1::Taint;
use serde_json::{Map, Value};

use super::Reader;
use crate::images::{Verification, pattern_problem};
use crate::options::{ImageGc, Options};

/// How the names of sysctls begin that namespaces of a pod hold (upstream's `sysctl.NamespacedBy`).
const NAMESPACED: [&str; 4] = ["kernel.shm", "kernel.msg", "fs.mqueue.", "net."];

/// Whether a sysctl, or all of a pattern such as `net.core.*`, belong to a pod alone: others would change the node.
fn namespaced(pattern: &str) -> bool {
    let name = pattern.strip_suffix('*').unwrap_or(pattern);
    name == "kernel.sem" || NAMESPACED.iter().any(|start| name.starts_with(start))
}

/// Whether a text is one part of a qualified name, or the value of a label.
fn is_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let edge = |c: char| c.is_ascii_alphanumeric();
    (1..=63).contains(&text.len()) && text.starts_with(edge) && text.ends_with(edge) && text.chars().all(inner)
}

fn is_subdomain(text: &str) -> bool {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let part = |part: &str| part.starts_with(edge) && part.ends_with(edge) && part.chars().all(|c| edge(c) || c == '-');
    (1..=253).contains(&text.len()) && text.split('.').all(part)
}

/// Whether a text is a name, or a name behind a domain and a slash: a key of labels, taints and annotations.
pub(super) fn is_qualified_name(text: &str) -> bool {
    match text.split_once('/') {
        Some((domain, name)) => is_label(name) && is_subdomain(domain),
        None => is_label(text),
    }
}

/// What is wrong with a taint to register with.
fn taint_problem(taint: &Taint) -> Option<&'static str> {
    let value = taint.value.as_deref().unwrap_or_default();
    if !is_qualified_name(&taint.key) {
        Some("its key is no qualified name")
    } else if !value.is_empty() && !is_label(value) {
        Some("its value is none of a label")
    } else if !["NoSchedule", "PreferNoSchedule", "NoExecute"].contains(&taint.effect.as_str()) {
        Some("its effect is none of NoSchedule, PreferNoSchedule and NoExecute")
    } else if taint.time_added.is_some() {
        Some("timeAdded is not for it to say")
    } else {
        None
    }
}

impl Reader {
    /// Adds taints to register with; the API server refuses a Node with a wrong one.
    pub(super) fn taints(&mut self, key: &str, value: &Value, into: &mut Vec<Taint>) {
        let mut more: Vec<Taint> = Vec::new();
        self.set(key, value, &mut more);
        for (index, taint) in more.into_iter().enumerate() {
            match taint_problem(&taint) {
                None => into.push(taint),
                Some(problem) => self.warn(&format!("{key}[{index}]"), &format!("invalid taint: {problem}: left out")),
            }
        }
    }

    /// Sysctls that pods may set though they are not harmless: only such as are the pod's own.
    pub(super) fn sysctls(&mut self, key: &str, value: &Value, into: &mut Vec<String>) {
        let mut patterns: Vec<String> = Vec::new();
        self.set(key, value, &mut patterns);
        let (own, others): (Vec<_>, Vec<_>) = patterns.into_iter().partition(|pattern| namespaced(pattern));
        for pattern in others {
            self.warn(key, &format!("the sysctls {pattern:?} are not known to be namespaced: left out"));
        }
        *into = own;
    }

    /// Who is held to what is theirs: all pods together, or nobody. The node's own services are never bounded by what they reserve.
    pub(super) fn enforcement(&mut self, key: &str, value: &Value, pods: &mut bool) {
        let mut names = vec!["pods".to_owned()];
        self.set(key, value, &mut names);
        for name in names.iter().filter(|name| !["pods", "none"].contains(&name.as_str())) {
            self.warn(key, &format!("{name:?} is not enforced by this node: left out"));
        }
        if names.len() > 1 && names.iter().any(|name| name == "none") {
            return self.warn(key, "none may not stand beside others: left out");
        }
        *pods = names.iter().any(|name| name == "pods");
    }

    /// For which images that are here a pod's credentials are asked for (KEP-2535).
    pub(super) fn verification(&mut self, options: &mut Options, document: &Map<String, Value>) {
        let (policy, list) = ("imagePullCredentialsVerificationPolicy", "preloadedImagesVerificationAllowlist");
        let mut exempt: Vec<String> = Vec::new();
        if let Some(value) = document.get(list) {
            self.set(list, value, &mut exempt);
        }
        let said = document.get(policy).map(|value| value.as_str().unwrap_or("?"));
        if !exempt.is_empty() && said != Some("NeverVerifyAllowlistedImages") {
            self.warn(list, &format!("can't be set if {policy} is not \"NeverVerifyAllowlistedImages\": left out"));
        }
        options.image_verification = match said {
            None | Some("" | "NeverVerifyPreloadedImages") => Verification::NeverVerifyPreloadedImages,
            Some("NeverVerify") => Verification::NeverVerify,
            Some("AlwaysVerify") => Verification::AlwaysVerify,
            Some("NeverVerifyAllowlistedImages") => {
                Verification::NeverVerifyAllowlistedImages(self.exempt(list, exempt))
            }
            Some(_) => {
                self.warn(policy, "is none of upstream's policies: left out");
                Verification::default()
            }
        };
    }

    fn exempt(&mut self, key: &str, patterns: Vec<String>) -> Vec<String> {
        let mut good = Vec::new();
        for pattern in patterns {
            match pattern_problem(&pattern) {
                None => good.push(pattern),
                Some(problem) => self.warn(key, &format!("{problem}: {pattern}: left out")),
            }
        }
        good
    }

    /// Images are removed down to less than where that begins.
    pub(super) fn image_gc(&mut self, gc: &mut ImageGc) {
        if gc.low >= gc.high {
            let problem =
                format!("{} must be less than imageGCHighThresholdPercent {}, which is used", gc.low, gc.high);
            self.warn("imageGCLowThresholdPercent", &problem);
            gc.low = gc.high;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::configure;
    use super::*;
    use crate::{Cluster, SwapBehavior};
    use serde_json::json;

    fn read(document: &Value) -> (Options, Vec<String>) {
        let mut options = Options::new("n", Cluster::default());
        let warnings = configure(&mut options, document);
        (options, warnings)
    }

    #[test]
    fn values_that_upstream_refuses_are_named() {
        let taint = |taint: Value| json!({"registerWithTaints": [taint]});
        for (document, want) in [
            (taint(json!({"key": "k", "effect": "NoSchedule"})), None),
            (taint(json!({"key": "example.com/k", "value": "v-1", "effect": "NoExecute"})), None),
            (taint(json!({"key": "example.com/a/b", "effect": "NoExecute"})), Some("registerWithTaints[0]")),
            (taint(json!({"key": "Example.com/a", "effect": "NoExecute"})), Some("registerWithTaints[0]")),
            (taint(json!({"key": "", "effect": "NoExecute"})), Some("registerWithTaints[0]")),
            (taint(json!({"key": "k", "value": "a b", "effect": "NoExecute"})), Some("registerWithTaints[0]")),
            (taint(json!({"key": "k", "effect": "Never"})), Some("registerWithTaints[0]")),
            (
                taint(json!({"key": "k", "effect": "NoExecute", "timeAdded": "2024-01-01T00:00:00Z"})),
                Some("registerWithTaints[0]"),
            ),
            (json!({"allowedUnsafeSysctls": ["net.core.*", "kernel.msg*", "kernel.sem", "fs.mqueue.msg_max"]}), None),
            (json!({"allowedUnsafeSysctls": ["vm.swappiness"]}), Some("allowedUnsafeSysctls")),
            (json!({"allowedUnsafeSysctls": ["kernel.*"]}), Some("allowedUnsafeSysctls")),
            (json!({"enforceNodeAllocatable": ["none"], "singleProcessOOMKill": true}), None),
            (json!({"enforceNodeAllocatable": ["pods", "kube-reserved"]}), Some("enforceNodeAllocatable")),
            (json!({"enforceNodeAllocatable": ["pods", "none"]}), Some("enforceNodeAllocatable")),
            (json!({"imageGCHighThresholdPercent": 81}), None),
            (json!({"imageGCHighThresholdPercent": 80}), Some("imageGCLowThresholdPercent")),
            (json!({"imageGCHighThresholdPercent": 101}), Some("imageGCHighThresholdPercent")),
            (json!({"imageMinimumGCAge": "-1s"}), Some("imageMinimumGCAge")),
            (json!({"maxPods": -1}), Some("maxPods")),
            (json!({"containerLogMaxFiles": 1}), Some("containerLogMaxFiles")),
            (json!({"imagePullCredentialsVerificationPolicy": "AlwaysVerify"}), None),
            (
                json!({"imagePullCredentialsVerificationPolicy": "Sometimes"}),
                Some("imagePullCredentialsVerificationPolicy"),
            ),
            (json!({"preloadedImagesVerificationAllowlist": ["r.io/a"]}), Some("preloadedImagesVerificationAllowlist")),
            (
                json!({"imagePullCredentialsVerificationPolicy": "NeverVerifyAllowlistedImages",
                    "preloadedImagesVerificationAllowlist": ["r.io/a", "r.io/a:1"]}),
                Some("preloadedImagesVerificationAllowlist"),
            ),
            (json!({"memorySwap": {"swapBehavior": ""}}), None),
            (json!({"memorySwap": {"swapBehavior": 1}}), Some("memorySwap.swapBehavior")),
            (json!({"memorySwap": {"swapBehavior": "UnlimitedSwap"}}), Some("memorySwap.swapBehavior")),
        ] {
            let warnings = read(&document).1;
            let found: Vec<&str> = warnings.iter().filter_map(|warning| warning.split(':').next()).collect();
            assert_eq!(found, want.into_iter().collect::<Vec<_>>(), "{document}");
        }
    }

    #[test]
    fn what_is_right_beside_what_is_wrong_holds() {
        let (options, warnings) = read(&json!({
            "registerWithTaints": [{"key": "a", "effect": "NoSchedule"}, {"key": "-", "effect": "NoSchedule"}],
            "allowedUnsafeSysctls": ["vm.swappiness", "net.core.somaxconn"],
            "memorySwap": {"swapBehavior": ""},
            "imagePullCredentialsVerificationPolicy": "NeverVerifyAllowlistedImages",
            "preloadedImagesVerificationAllowlist": ["r.io/*"],
        }));
        assert_eq!(options.image_verification, Verification::NeverVerifyAllowlistedImages(vec!["r.io/*".to_owned()]));
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert_eq!(options.taints.iter().map(|taint| taint.key.as_str()).collect::<Vec<_>>(), ["a"]);
        assert_eq!(
            (options.unsafe_sysctls, options.swap),
            (vec!["net.core.somaxconn".to_owned()], SwapBehavior::NoSwap)
        );
    }
}
