//! `/flagz` (KEP-4828): what this kubelet was told to do, by the names of upstream's flags. It has no command line: the values are those
//! that `/configz` shows, and what upstream has as flags only. Whatever may be a secret is masked.

use std::collections::BTreeMap;

use http::{HeaderMap, Response, StatusCode};
use rk_zpages::{Answer, Flagz};
use serde_json::Value;

use super::body::{Body, Refusal, text};
use super::{configz, zpages};
use crate::Options;

/// Upstream's flags, with the keys of the configuration that they stand for.
const FLAGS: [(&str, &str); 49] = [
    ("allowed-unsafe-sysctls", "allowedUnsafeSysctls"),
    ("cgroup-driver", "cgroupDriver"),
    ("cgroups-per-qos", "cgroupsPerQOS"),
    ("cluster-dns", "clusterDNS"),
    ("cluster-domain", "clusterDomain"),
    ("container-log-max-files", "containerLogMaxFiles"),
    ("container-log-max-size", "containerLogMaxSize"),
    ("cpu-manager-policy", "cpuManagerPolicy"),
    ("enable-debugging-handlers", "enableDebuggingHandlers"),
    ("event-burst", "eventBurst"),
    ("event-qps", "eventRecordQPS"),
    ("eviction-hard", "evictionHard"),
    ("eviction-max-pod-grace-period", "evictionMaxPodGracePeriod"),
    ("eviction-minimum-reclaim", "evictionMinimumReclaim"),
    ("eviction-pressure-transition-period", "evictionPressureTransitionPeriod"),
    ("eviction-soft", "evictionSoft"),
    ("eviction-soft-grace-period", "evictionSoftGracePeriod"),
    ("fail-swap-on", "failSwapOn"),
    ("feature-gates", "featureGates"),
    ("healthz-bind-address", "healthzBindAddress"),
    ("healthz-port", "healthzPort"),
    ("http-check-frequency", "httpCheckFrequency"),
    ("image-gc-high-threshold", "imageGCHighThresholdPercent"),
    ("image-gc-low-threshold", "imageGCLowThresholdPercent"),
    ("manifest-url", "staticPodURL"),
    ("manifest-url-header", "staticPodURLHeader"),
    ("max-pods", "maxPods"),
    ("memory-manager-policy", "memoryManagerPolicy"),
    ("minimum-image-ttl-duration", "imageMinimumGCAge"),
    ("node-status-max-images", "nodeStatusMaxImages"),
    ("node-status-update-frequency", "nodeStatusUpdateFrequency"),
    ("pod-manifest-path", "staticPodPath"),
    ("pod-max-pids", "podPidsLimit"),
    ("pods-per-core", "podsPerCore"),
    ("port", "port"),
    ("provider-id", "providerID"),
    ("read-only-port", "readOnlyPort"),
    ("registry-burst", "registryBurst"),
    ("registry-qps", "registryPullQPS"),
    ("resolv-conf", "resolvConf"),
    ("rotate-certificates", "rotateCertificates"),
    ("rotate-server-certificates", "serverTLSBootstrap"),
    ("seccomp-default", "seccompDefault"),
    ("serialize-image-pulls", "serializeImagePulls"),
    ("streaming-connection-idle-timeout", "streamingConnectionIdleTimeout"),
    ("tls-cipher-suites", "tlsCipherSuites"),
    ("tls-min-version", "tlsMinVersion"),
    ("topology-manager-policy", "topologyManagerPolicy"),
    ("topology-manager-scope", "topologyManagerScope"),
];

/// A value as a flag has it.
fn words(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(items) => items.iter().map(words).collect::<Vec<_>>().join(","),
        Value::Object(members) => {
            members.iter().map(|(key, value)| format!("{key}={}", words(value))).collect::<Vec<_>>().join(",")
        }
    }
}

/// All flags, by their names; of secrets the names alone.
fn flags(options: &Options) -> BTreeMap<String, Option<String>> {
    let document = configz::configz(options);
    let of = |key: &str| document.get("kubeletconfig").and_then(|config| config.get(key)).map(words);
    // An address may have a name and a password in it, or a token.
    let shown = |flag: &str, value: String| (flag != "manifest-url" || value.is_empty()).then_some(value);
    let mut flags: BTreeMap<String, Option<String>> =
        FLAGS.into_iter().filter_map(|(flag, key)| Some((flag.to_owned(), shown(flag, of(key)?)))).collect();
    let taint = |taint: &k8s_openapi::api::core::v1::Taint| {
        format!("{}={}:{}", taint.key, taint.value.as_deref().unwrap_or_default(), taint.effect)
    };
    let ips: Vec<String> = options.node_ips.iter().map(ToString::to_string).collect();
    let labels: Vec<String> = options.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let own = [
        ("address", options.listen.ip().to_string()),
        ("cert-dir", options.dirs.pki.display().to_string()),
        ("container-runtime-endpoint", format!("unix://{}", options.dirs.cri_socket.display())),
        ("hostname-override", options.node_name.clone()),
        ("node-ip", ips.join(",")),
        ("node-labels", labels.join(",")),
        ("register-with-taints", options.taints.iter().map(taint).collect::<Vec<_>>().join(",")),
        ("root-dir", options.dirs.kubelet.display().to_string()),
    ];
    flags.extend(own.map(|(flag, value)| (flag.to_owned(), Some(value))));
    flags
}

/// Answers a request for it.
pub(super) fn flagz(options: &Options, headers: &HeaderMap) -> Result<Response<Body>, Refusal> {
    let flags = flags(options);
    let page = Flagz { component: "kubelet", flags: &flags };
    match zpages::accepted(headers, Flagz::KIND)? {
        Answer::Text => Ok(text(StatusCode::OK, page.text())),
        Answer::Object(version, format) => zpages::object("flagz", &page.object(version), version, format),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cluster, RegistryAuth};
    use http::header::ACCEPT;

    fn options() -> Options {
        let cluster = Cluster { token: Some("abc.s3cr3t".to_owned()), ..Cluster::default() };
        let mut options = Options::new("n1", cluster);
        options.static_pod_url.url = "https://u:s3cr3t@pods.example/list".to_owned();
        options.static_pod_url.headers.insert("X-Token".to_owned(), vec!["s3cr3t".to_owned()]);
        options.registry_auth = vec![RegistryAuth {
            place: "r.example".to_owned(),
            username: "u".to_owned(),
            password: "s3cr3t".to_owned(),
            identity_token: "s3cr3t".to_owned(),
        }];
        options.labels.insert("disk".to_owned(), "ssd".to_owned());
        options
    }

    #[test]
    fn flags_have_upstream_s_names_and_no_secret_among_their_values() {
        let flags = flags(&options());
        for (flag, want) in [
            ("hostname-override", "n1"),
            ("node-labels", "disk=ssd"),
            ("max-pods", "110"),
            ("fail-swap-on", "false"),
            ("manifest-url-header", "X-Token=<masked>"),
            ("container-runtime-endpoint", "unix:///run/rk/cri.sock"),
            ("allowed-unsafe-sysctls", ""),
        ] {
            assert_eq!(flags[flag].as_deref(), Some(want), "{flag}");
        }
        assert_eq!(flags["manifest-url"], None);
        assert!(
            flags["eviction-hard"].as_ref().is_some_and(|told| told.contains("memory.available=100Mi")),
            "{flags:?}"
        );
        assert!(!format!("{flags:?}").contains("s3cr3t"));
        let named: BTreeMap<&str, &str> = FLAGS.into_iter().collect();
        assert!(
            named.keys().all(|flag| flags.contains_key(*flag)),
            "keys of the configuration are written as it has them"
        );
    }

    #[tokio::test]
    async fn the_answer_is_of_the_form_that_was_asked_for() {
        use http_body_util::BodyExt;
        let asked = |accept: &'static str| {
            let headers = HeaderMap::from_iter([(ACCEPT, http::HeaderValue::from_static(accept))]);
            flagz(&options(), &headers).unwrap_or_else(Into::into)
        };
        for (accept, status, kind, begins) in [
            ("text/plain", 200, "text/plain; charset=utf-8", "\nkubelet flagz\nWarning: This endpoint is not meant"),
            (
                "application/json;v=v1beta1;g=config.k8s.io;as=Flagz",
                200,
                "application/json;g=config.k8s.io;v=v1beta1;as=Flagz",
                "{",
            ),
            ("application/json", 406, "text/plain; charset=utf-8", "only the following media types"),
        ] {
            let answer = asked(accept);
            assert_eq!(answer.status().as_u16(), status, "{accept}");
            assert_eq!(answer.headers().get(http::header::CONTENT_TYPE).unwrap(), kind, "{accept}");
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            let body = String::from_utf8_lossy(&body);
            assert!(body.starts_with(begins), "{body}");
            assert!(!body.contains("s3cr3t"), "{body}");
        }
    }
}
