//! `/flagz`: the flags that a component runs with.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

use crate::accept::Version;
use crate::head;

/// What is shown in the place of a secret.
const CLASSIFIED: &str = "CLASSIFIED";

/// The flags of a component.
#[derive(Debug, Clone, Copy)]
pub struct Flagz<'a> {
    /// Which.
    pub component: &'a str,
    /// Values by the names of flags, without dashes; `None` for secrets.
    pub flags: &'a BTreeMap<String, Option<String>>,
}

impl Flagz<'_> {
    /// The kind of the object.
    pub const KIND: &'static str = "Flagz";

    /// The page as text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = head::title(self.component, "flagz");
        for (name, value) in self.shown() {
            let _ = writeln!(text, "{name}={value}");
        }
        text
    }

    /// The page as an object.
    #[must_use]
    pub fn object(&self, version: Version) -> Value {
        let mut object = head::object(self.component, Self::KIND, version);
        if !self.flags.is_empty() {
            object["flags"] = json!(self.shown());
        }
        object
    }

    fn shown(&self) -> BTreeMap<&str, &str> {
        self.flags.iter().map(|(name, value)| (name.as_str(), value.as_deref().unwrap_or(CLASSIFIED))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_told_by_name_in_either_form() {
        let flags = [("vip-file", Some("/run/rk/vip")), ("etcd", Some("[]")), ("token", None)];
        let flags = flags.map(|(name, value)| (name.to_owned(), value.map(str::to_owned))).into();
        let page = Flagz { component: "kube-apiserver", flags: &flags };
        let text = page.text();
        assert!(text.starts_with("\nkube-apiserver flagz\nWarning: "), "{text}");
        assert!(text.ends_with("only.\netcd=[]\ntoken=CLASSIFIED\nvip-file=/run/rk/vip\n"), "{text}");
        let want = json!({"kind": "Flagz", "apiVersion": "config.k8s.io/v1beta1", "metadata": {"name": "kube-apiserver"},
            "flags": {"etcd": "[]", "token": "CLASSIFIED", "vip-file": "/run/rk/vip"}});
        assert_eq!(page.object(Version::V1Beta1), want);
    }
}
