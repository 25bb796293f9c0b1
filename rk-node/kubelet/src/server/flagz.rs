//! `/flagz` (KEP-4828): what this kubelet was told to do, by the names of upstream's flags. It has no command line: the values are those
//! that `/configz` shows, and what upstream has as flags only. Whatever may be a secret is masked.

use std::collections::BTreeMap;

use http::header::ACCEPT;
use http::{HeaderMap, Response, StatusCode};
use serde_json::{Value, json};

use super::body::{Body, Refusal, json as document, refuse, text};
use super::configz;
use super::statusz::is_plain_text;
use crate::Options;

/// What is not shown.
const MASKED: &str = "<masked>";
/// Versions of the form for programs, which do not differ.
const VERSIONS: [&str; 2] = ["v1beta1", "v1alpha1"];
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

/// In which form a client wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Text,
    /// An object of this version.
    Object(&'static str),
}

/// The first form that a client names and there is; text if it names none.
fn form(accept: Option<&str>) -> Option<Form> {
    let Some(accept) = accept.filter(|accept| !accept.trim().is_empty()) else { return Some(Form::Text) };
    accept.split(',').find_map(|kind| match is_plain_text(kind) {
        true => Some(Form::Text),
        false => object(kind).map(Form::Object),
    })
}

/// The version of the object that a media type asks for: kind, group and version must be told.
fn object(kind: &str) -> Option<&'static str> {
    let mut parts = kind.split(';').map(str::trim);
    if parts.next() != Some("application/json") {
        return None;
    }
    let told: BTreeMap<&str, &str> = parts.filter_map(|part| part.split_once('=')).collect();
    let wanted = told.get("as") == Some(&"Flagz") && told.get("g") == Some(&"config.k8s.io");
    VERSIONS.into_iter().find(|version| wanted && told.get("v") == Some(version))
}

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

/// All flags, by their names.
fn flags(options: &Options) -> BTreeMap<&'static str, String> {
    let document = configz::configz(options);
    let of = |key: &str| document.get("kubeletconfig").and_then(|config| config.get(key)).map(words);
    let mut flags: BTreeMap<&'static str, String> =
        FLAGS.into_iter().filter_map(|(flag, key)| Some((flag, of(key)?))).collect();
    // An address may have a name and a password in it, or a token.
    if let Some(url) = flags.get_mut("manifest-url") {
        MASKED.clone_into(url);
    }
    let taint = |taint: &k8s_openapi::api::core::v1::Taint| {
        format!("{}={}:{}", taint.key, taint.value.as_deref().unwrap_or_default(), taint.effect)
    };
    let ips: Vec<String> = options.node_ips.iter().map(ToString::to_string).collect();
    let labels: Vec<String> = options.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    flags.extend([
        ("address", options.listen.ip().to_string()),
        ("cert-dir", options.dirs.pki.display().to_string()),
        ("container-runtime-endpoint", format!("unix://{}", options.dirs.cri_socket.display())),
        ("hostname-override", options.node_name.clone()),
        ("node-ip", ips.join(",")),
        ("node-labels", labels.join(",")),
        ("register-with-taints", options.taints.iter().map(taint).collect::<Vec<_>>().join(",")),
        ("root-dir", options.dirs.kubelet.display().to_string()),
    ]);
    flags
}

/// Answers a request for it.
pub(super) fn flagz(options: &Options, headers: &HeaderMap) -> Result<Response<Body>, Refusal> {
    match form(headers.get(ACCEPT).and_then(|accept| accept.to_str().ok())) {
        Some(Form::Text) => {
            let lines: String = flags(options).iter().map(|(flag, value)| format!("{flag}={value}\n")).collect();
            let page = format!(
                "\nkubelet flagz\nWarning: This endpoint is not meant to be machine parseable, has no formatting \
                compatibility guarantees and is for debugging purposes only.\n\n{lines}"
            );
            Ok(text(StatusCode::OK, page))
        }
        Some(Form::Object(version)) => Ok(document(&json!({
            "kind": "Flagz",
            "apiVersion": format!("config.k8s.io/{version}"),
            "metadata": {"name": "kubelet"},
            "flags": flags(options),
        }))),
        None => {
            let message = format!(
                "only the following media types are accepted: text/plain, application/json;v={};g=config.k8s.io;as=Flagz\n",
                VERSIONS[0]
            );
            Err(refuse(StatusCode::NOT_ACCEPTABLE, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cluster, RegistryAuth};

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
            ("manifest-url", "<masked>"),
            ("manifest-url-header", "X-Token=<masked>"),
            ("container-runtime-endpoint", "unix:///run/rk/cri.sock"),
            ("allowed-unsafe-sysctls", ""),
        ] {
            assert_eq!(flags.get(flag).map(String::as_str), Some(want), "{flag}");
        }
        assert!(flags.get("eviction-hard").is_some_and(|told| told.contains("memory.available=100Mi")), "{flags:?}");
        assert!(!format!("{flags:?}").contains("s3cr3t"));
        let named: BTreeMap<&str, &str> = FLAGS.into_iter().collect();
        assert!(
            named.keys().all(|flag| flags.contains_key(flag)),
            "keys of the configuration are written as it has them"
        );
    }

    #[test]
    fn text_is_for_people_and_an_object_for_who_names_its_kind_group_and_version() {
        let asked = |version: &str| format!("application/json;v={version};g=config.k8s.io;as=Flagz");
        for (accept, want) in [
            (None, Some(Form::Text)),
            (Some(" ".to_owned()), Some(Form::Text)),
            (Some("text/plain".to_owned()), Some(Form::Text)),
            (Some("*/*".to_owned()), Some(Form::Text)),
            (Some(asked("v1beta1")), Some(Form::Object("v1beta1"))),
            (Some(asked("v1alpha1")), Some(Form::Object("v1alpha1"))),
            (Some(format!("{},*/*", asked("v7"))), Some(Form::Text)),
            (Some(format!("{}, text/plain", asked("v1beta1"))), Some(Form::Object("v1beta1"))),
            (Some("application/json".to_owned()), None),
            (Some("application/json;v=v1beta1;g=config.k8s.io".to_owned()), None),
            (Some("application/json;v=v1beta1;g=config.k8s.io;as=Statusz".to_owned()), None),
            (Some("application/xml".to_owned()), None),
        ] {
            assert_eq!(form(accept.as_deref()), want, "{accept:?}");
        }
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
            ("application/json;v=v1beta1;g=config.k8s.io;as=Flagz", 200, "application/json", "{"),
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
