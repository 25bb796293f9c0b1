//! `/version`: what was built, of what, and by what. No clock is asked: the same source makes the same program.

use serde_json::{Value, json};

use super::GIT_VERSION;

/// The commit, where the build was given it.
const COMMIT: Option<&str> = option_env!("RK_GIT_COMMIT");
/// Whether there was more than the commit: `clean` or `dirty`.
const TREE: Option<&str> = option_env!("RK_GIT_TREE_STATE");
/// The date of the commit; without one that which upstream has for builds of an unknown date.
const DATE: Option<&str> = option_env!("RK_BUILD_DATE");

pub(super) fn document() -> Value {
    json!({
        "major": "1",
        "minor": "36",
        "emulationMajor": "1",
        "emulationMinor": "36",
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "35",
        "gitVersion": GIT_VERSION,
        "gitCommit": COMMIT.unwrap_or_default(),
        "gitTreeState": TREE.unwrap_or_default(),
        "buildDate": DATE.unwrap_or("1970-01-01T00:00:00Z"),
        // The language's version; here that language is not Go.
        "goVersion": concat!("rust", env!("RK_RUSTC_VERSION")),
        "compiler": "rustc",
        "platform": platform(),
    })
}

/// The same as labels of `kubernetes_build_info`.
pub(crate) fn labels() -> String {
    let document = document();
    let told = [
        ("build_date", "buildDate"),
        ("compiler", "compiler"),
        ("git_commit", "gitCommit"),
        ("git_tree_state", "gitTreeState"),
        ("git_version", "gitVersion"),
        ("go_version", "goVersion"),
        ("major", "major"),
        ("minor", "minor"),
        ("platform", "platform"),
    ];
    told.map(|(label, field)| format!("{label}=\"{}\"", rk_api::meta::text(&document, &[field]))).join(",")
}

/// Operating system and processor, by Go's names.
fn platform() -> String {
    let processor = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("{}/{processor}", std::env::consts::OS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_tells_what_it_is_and_nothing_that_it_does_not_know() {
        let version = document();
        for (field, start) in
            [("gitVersion", "v1.36."), ("goVersion", "rust1."), ("compiler", "rustc"), ("platform", "linux/")]
        {
            let text = version[field].as_str().unwrap();
            assert!(text.starts_with(start), "{field}: {text}");
        }
        assert!(matches!(version["gitTreeState"].as_str(), Some("" | "clean" | "dirty")));
        assert_eq!(version["gitCommit"] == "", version["gitTreeState"] == "");
        version["buildDate"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        let labels = labels();
        assert!(labels.contains(",major=\"1\",minor=\"36\",platform=\"linux/"), "{labels}");
        assert!(labels.contains(&format!(",git_version=\"{GIT_VERSION}\",go_version=\"rust1.")), "{labels}");
    }
}
