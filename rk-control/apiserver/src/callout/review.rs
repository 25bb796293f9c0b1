//! What webhooks answer with: a review of the version in which they were asked.

use rk_api::decode::unregistered_in;

/// Where upstream registers the kinds of reviews, as its messages name it.
const SCHEME: &str = "k8s.io/apiserver/pkg/util/webhook/client.go:71";

/// The name of a kind of reviews and the group that it is of.
pub(crate) struct Review {
    pub(crate) group: &'static str,
    pub(crate) kind: &'static str,
}

/// Reviews of changes.
pub(crate) const ADMISSION: Review = Review { group: "admission.k8s.io", kind: "AdmissionReview" };
/// Reviews of objects that are to be of another version.
pub(crate) const CONVERSION: Review = Review { group: "apiextensions.k8s.io", kind: "ConversionReview" };

impl Review {
    /// Why an answer of this API version and kind cannot be decoded where a review of `version` is expected. What is left out is made up.
    pub(crate) fn undecodable(&self, (api_version, kind): (&str, &str), version: &str) -> Option<String> {
        if api_version.matches('/').count() > 1 {
            return Some(format!("unexpected GroupVersion string: {api_version}"));
        }
        let given = match api_version.split_once('/') {
            None if api_version.is_empty() => Some(version),
            Some((group, given)) if group == self.group && matches!(given, "v1" | "v1beta1") => Some(given),
            _ => None,
        };
        let own = self.kind;
        match given.filter(|_| kind.is_empty() || kind == own) {
            Some(given) if given == version => None,
            Some(given) => Some(format!("converting ({given}.{own}) to ({version}.{own}): unknown conversion")),
            None => {
                let kind = if kind.is_empty() { own } else { kind };
                let wanted = format!("{}/{version}", self.group);
                let api_version = if api_version.is_empty() { wanted.as_str() } else { api_version };
                Some(unregistered_in(SCHEME, kind, api_version))
            }
        }
    }

    /// Why an answer that could be decoded is none of `version`: it must say of itself what it is. Those of the beta version need not.
    pub(crate) fn unexpected(&self, (api_version, kind): (&str, &str), version: &str) -> Option<String> {
        let (group, own) = (self.group, self.kind);
        if version != "v1" || (kind == own && api_version.strip_prefix(group) == Some("/v1")) {
            return None;
        }
        let got = if api_version.is_empty() { "/" } else { api_version };
        Some(format!("expected webhook response of {group}/v1, Kind={own}, got {got}, Kind={kind}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_review_of_the_version_that_was_asked_in() {
        let said = |api_version, kind| CONVERSION.undecodable((api_version, kind), "v1");
        assert_eq!(said("apiextensions.k8s.io/v1", "ConversionReview"), None);
        assert_eq!(said("", ""), None);
        assert_eq!(said("a/b/c", "ConversionReview").unwrap(), "unexpected GroupVersion string: a/b/c");
        let beta = said("apiextensions.k8s.io/v1beta1", "ConversionReview").unwrap();
        assert_eq!(beta, "converting (v1beta1.ConversionReview) to (v1.ConversionReview): unknown conversion");
        assert!(
            said("x/v1", "").unwrap().starts_with("no kind \"ConversionReview\" is registered for version \"x/v1\"")
        );
        assert!(said("", "Review").unwrap().contains("for version \"apiextensions.k8s.io/v1\" in scheme"));
        let silent = CONVERSION.unexpected(("", "ConversionReview"), "v1").unwrap();
        let want =
            "expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got /, Kind=ConversionReview";
        assert_eq!(silent, want);
        assert_eq!(CONVERSION.unexpected(("", ""), "v1beta1"), None);
        assert_eq!(ADMISSION.unexpected(("admission.k8s.io/v1", "AdmissionReview"), "v1"), None);
    }
}
