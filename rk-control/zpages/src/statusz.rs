//! `/statusz`: since when a component runs, which version it is, and where else to look.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::accept::Version;
use crate::head;

/// What stands in the place of the version of Go.
const GO: &str = "none";

/// What APIs are made of: nobody looks there for what is wrong with a component.
const OF_APIS: [&str; 5] = ["/.well-known", "/api", "/apis", "/openapi", "/openid"];

/// The state of a component.
#[derive(Debug, Clone, Copy)]
pub struct Statusz<'a> {
    /// Which.
    pub component: &'a str,
    /// When its process began.
    pub began: Timestamp,
    /// The present.
    pub now: Timestamp,
    /// Its version, such as `v1.36.0`.
    pub version: &'a str,
    /// Where it answers, of [`folders`].
    pub paths: &'a [String],
}

impl Statusz<'_> {
    /// The kind of the object.
    pub const KIND: &'static str = "Statusz";

    fn binary(&self) -> &str {
        self.version.trim_start_matches('v')
    }

    /// The version whose behaviour it shows: major and minor.
    fn emulation(&self) -> &str {
        let binary = self.binary();
        binary.rsplit_once('.').map_or(binary, |(minor, _)| minor)
    }

    /// Seconds for which it runs.
    fn up(&self) -> i64 {
        self.now.as_second().saturating_sub(self.began.as_second()).max(0)
    }

    /// The page as text.
    #[must_use]
    pub fn text(&self) -> String {
        let up = self.up();
        let (hours, minutes, seconds) = (up / 3600, up / 60 % 60, up % 60);
        let began = self.began.strftime("%a %b %e %H:%M:%S UTC %Y");
        format!(
            "{}\nStarted: {began}\nUp: {hours} hr {minutes:02} min {seconds:02} sec\nGo version: {GO}\nBinary version: {}\n\
             Emulation version: {}\nPaths: {}\n",
            head::title(self.component, "statusz"),
            self.binary(),
            self.emulation(),
            self.paths.join(" ")
        )
    }

    /// The page as an object.
    #[must_use]
    pub fn object(&self, version: Version) -> Value {
        let mut object = head::object(self.component, Self::KIND, version);
        object["startTime"] = json!(self.began.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        object["uptimeSeconds"] = json!(self.up());
        object["goVersion"] = json!(GO);
        object["binaryVersion"] = json!(self.binary());
        object["emulationVersion"] = json!(self.emulation());
        object["paths"] = json!(self.paths);
        object
    }
}

/// What paths begin with, each once and in order, without what APIs are made of.
#[must_use]
pub fn folders<'a>(paths: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let first =
        |path: &str| Some(format!("/{}", path.strip_prefix('/')?.split('/').next().filter(|part| !part.is_empty())?));
    let all: BTreeSet<String> = paths.into_iter().filter_map(first).collect();
    all.into_iter().filter(|folder| !OF_APIS.contains(&folder.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_tells_since_when_which_version_runs_in_either_form() {
        let paths = folders(["/metrics/slis", "/metrics", "/livez/ping", "/apis/apps", "/api", "/", "", "/version"]);
        assert_eq!(paths, ["/livez", "/metrics", "/version"]);
        let page = Statusz {
            component: "kube-apiserver",
            began: "2026-03-05T07:08:09.5Z".parse().unwrap(),
            now: "2026-03-06T09:09:10Z".parse().unwrap(),
            version: "v1.36.0",
            paths: &paths,
        };
        let text = page.text();
        assert!(text.starts_with("\nkube-apiserver statusz\nWarning: This endpoint is not meant"), "{text}");
        for line in [
            "Started: Thu Mar  5 07:08:09 UTC 2026",
            "Up: 26 hr 01 min 01 sec",
            "Binary version: 1.36.0",
            "Emulation version: 1.36",
            "Paths: /livez /metrics /version",
        ] {
            assert!(text.lines().any(|told| told == line), "{line}: {text}");
        }
        let object = page.object(Version::V1Alpha1);
        assert_eq!((&object["kind"], &object["apiVersion"]), (&json!("Statusz"), &json!("config.k8s.io/v1alpha1")));
        assert_eq!(object["metadata"], json!({"name": "kube-apiserver"}));
        assert_eq!((&object["startTime"], &object["uptimeSeconds"]), (&json!("2026-03-05T07:08:09Z"), &json!(93_661)));
        assert_eq!((&object["binaryVersion"], &object["emulationVersion"]), (&json!("1.36.0"), &json!("1.36")));
        assert_eq!(object["paths"], json!(paths));
        let early = Statusz { now: page.began - jiff::SignedDuration::from_secs(9), ..page };
        assert_eq!(early.object(Version::V1Beta1)["uptimeSeconds"], 0, "the clock was set");
    }
}
