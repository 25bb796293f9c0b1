//! Which form of a page a client accepts.

/// The group of the objects.
pub(crate) const GROUP: &str = "config.k8s.io";

/// What upstream's refusal names: JSON and YAML are accepted as objects of the page's kind alone.
pub const OFFERED: [&str; 3] = ["application/json", "application/yaml", "text/plain"];

/// How a page is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// As text for people.
    Text,
    /// As an object.
    Object(Version, Format),
}

/// How an object is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `application/json`.
    Json,
    /// `application/yaml`.
    Yaml,
}

/// The version of an object; both have the same members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// `v1alpha1`, which is deprecated.
    V1Alpha1,
    /// `v1beta1`.
    V1Beta1,
}

impl Version {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "v1alpha1" => Some(Self::V1Alpha1),
            "v1beta1" => Some(Self::V1Beta1),
            _ => None,
        }
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::V1Alpha1 => "v1alpha1",
            Self::V1Beta1 => "v1beta1",
        }
    }

    /// The text of the `Warning` header that comes with this version of a page (`statusz`, `flagz`).
    #[must_use]
    pub fn warning(self, page: &str) -> Option<String> {
        let old = self == Self::V1Alpha1;
        old.then(|| format!("This version of the {page} endpoint is deprecated. Please use a newer version."))
    }
}

/// One clause of the header.
struct Clause<'a> {
    kind: &'a str,
    sub: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    quality: f32,
}

impl<'a> Clause<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let (kind, sub) = parts.next()?.split_once('/')?;
        let parameters: Vec<_> = parts.filter_map(|part| part.split_once('=')).collect();
        let quality = parameters.iter().find(|(name, _)| *name == "q").and_then(|(_, q)| q.parse().ok()).unwrap_or(1.0);
        Some(Self { kind, sub, parameters, quality })
    }

    fn parameter(&self, name: &str) -> &str {
        self.parameters.iter().find(|(own, _)| *own == name).map_or("", |(_, value)| value)
    }

    /// Wildcards stand behind what is named when a client likes both as well.
    fn wildness(&self) -> (bool, bool) {
        (self.kind == "*", self.sub == "*")
    }

    fn answer(&self, object: &str) -> Option<Answer> {
        if ["as", "g", "v"].iter().all(|name| self.parameter(name).is_empty()) {
            return matches!((self.kind, self.sub), ("text", "plain" | "*") | ("*", "*")).then_some(Answer::Text);
        }
        if self.parameter("as") != object || self.parameter("g") != GROUP {
            return None;
        }
        let format = match (self.kind, self.sub) {
            ("application", "json" | "*") | ("*", "*") => Format::Json,
            ("application", "yaml") => Format::Yaml,
            _ => return None,
        };
        Some(Answer::Object(Version::parse(self.parameter("v"))?, format))
    }
}

/// How a client is answered that sends this `Accept` header and may be given an object of a kind; `None` when nothing that it accepts is to
/// be had (406). Who says nothing reads text.
#[must_use]
pub fn negotiate(accept: Option<&str>, object: &str) -> Option<Answer> {
    let Some(accept) = accept.filter(|accept| !accept.trim().is_empty()) else { return Some(Answer::Text) };
    let mut clauses: Vec<Clause<'_>> = accept.split(',').filter_map(|clause| Clause::parse(clause.trim())).collect();
    clauses.sort_by(|a, b| b.quality.total_cmp(&a.quality).then_with(|| a.wildness().cmp(&b.wildness())));
    clauses.iter().find_map(|clause| clause.answer(object))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_for_everybody_and_objects_are_for_who_names_them_whole() {
        let json = |version| Some(Answer::Object(version, Format::Json));
        let (old, new) = (Version::V1Alpha1, Version::V1Beta1);
        for (accept, want) in [
            ("", Some(Answer::Text)),
            ("*/*", Some(Answer::Text)),
            ("text/plain; charset=utf-8", Some(Answer::Text)),
            ("text/html,application/xhtml+xml,*/*;q=0.8", Some(Answer::Text)),
            ("application/json", None),
            ("application/xml", None),
            ("application/json;v=v1beta1;g=config.k8s.io", None),
            ("application/json;v=v1beta1;g=config.k8s.io;as=Flagz", None),
            ("application/json;v=v1beta1;g=other;as=Statusz", None),
            ("application/vnd.kubernetes.protobuf;v=v1beta1;g=config.k8s.io;as=Statusz", None),
            ("text/plain;v=v1beta1;g=config.k8s.io;as=Statusz", None),
            ("application/json;v=foo;g=config.k8s.io;as=Statusz,*/*", Some(Answer::Text)),
            ("application/json;v=v1beta1;g=config.k8s.io;as=Statusz", json(new)),
            ("*/*, application/json;v=v1beta1;g=config.k8s.io;as=Statusz", json(new)),
            ("application/yaml; v=v1beta1; g=config.k8s.io; as=Statusz", Some(Answer::Object(new, Format::Yaml))),
            (
                "application/json;g=config.k8s.io;v=v1alpha1;as=Statusz,application/json;g=config.k8s.io;v=v1beta1;as=Statusz",
                json(old),
            ),
            ("text/plain;q=0.5,application/json;g=config.k8s.io;v=v1alpha1;as=Statusz;q=0.4", Some(Answer::Text)),
        ] {
            assert_eq!(negotiate(Some(accept), "Statusz"), want, "{accept}");
        }
        assert_eq!(negotiate(None, "Statusz"), Some(Answer::Text));
        assert!(old.warning("flagz").is_some_and(|text| text.starts_with("This version of the flagz endpoint")));
        assert_eq!(new.warning("flagz"), None);
    }
}
