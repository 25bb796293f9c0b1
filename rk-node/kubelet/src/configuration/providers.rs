//! `CredentialProviderConfig` (`kubelet.config.k8s.io/v1`) as values, with upstream's validation.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::read::duration;
use super::rules::is_qualified_name;

/// The version of the exchange in which a plugin may get tokens of service accounts.
const V1: &str = "credentialprovider.kubelet.k8s.io/v1";
/// The versions of the exchange; their messages differ in nothing else.
const EXCHANGES: [&str; 3] =
    [V1, "credentialprovider.kubelet.k8s.io/v1alpha1", "credentialprovider.kubelet.k8s.io/v1beta1"];
/// The versions of the document.
const DOCUMENTS: [&str; 3] =
    ["kubelet.config.k8s.io/v1", "kubelet.config.k8s.io/v1alpha1", "kubelet.config.k8s.io/v1beta1"];

/// One plugin that is asked for credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct CredentialProvider {
    /// The program's file name.
    pub name: String,
    /// Images that it is asked for: `host[:port][/path]`, whose host may have `*` in its parts.
    pub match_images: Vec<String>,
    /// How long its answers hold when they do not say so themselves.
    pub default_cache: Duration,
    /// The version of the exchange with it.
    pub api_version: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// What is added to its environment.
    pub env: Vec<(String, String)>,
    /// Whether and how it gets tokens of service accounts.
    pub token: Option<TokenRules>,
}

impl std::fmt::Debug for CredentialProvider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Arguments and environment may hold secrets.
        f.debug_struct("CredentialProvider").field("name", &self.name).finish_non_exhaustive()
    }
}

/// `tokenAttributes` of a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRules {
    /// For whom its tokens are.
    pub audience: String,
    /// Whether it is left out for pods without an account.
    pub required: bool,
    /// Annotations without which it is left out.
    pub required_annotations: Vec<String>,
    /// Annotations that it gets when they are there.
    pub optional_annotations: Vec<String>,
    /// Whether its answers hold for one token only, and not for all of an account.
    pub per_token: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    api_version: String,
    kind: String,
    #[serde(default)]
    providers: Vec<Provider>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Provider {
    #[serde(default)]
    name: String,
    #[serde(default)]
    match_images: Vec<String>,
    default_cache_duration: Option<String>,
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: Vec<Variable>,
    token_attributes: Option<Attributes>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Variable {
    name: String,
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Attributes {
    #[serde(default)]
    service_account_token_audience: String,
    #[serde(default)]
    cache_type: String,
    require_service_account: Option<bool>,
    #[serde(default)]
    required_service_account_annotation_keys: Vec<String>,
    #[serde(default)]
    optional_service_account_annotation_keys: Vec<String>,
}

/// Reads the document; none of it holds when anything is wrong, for upstream's kubelet does not start then.
///
/// # Errors
/// All that is wrong.
pub fn credential_providers(document: &Value) -> Result<Vec<CredentialProvider>, Vec<String>> {
    if document.is_null() {
        return Ok(Vec::new());
    }
    let document: Document = Document::deserialize(document).map_err(|error| vec![error.to_string()])?;
    if document.kind != "CredentialProviderConfig" || !DOCUMENTS.contains(&document.api_version.as_str()) {
        return Err(vec![format!("{} {} is no CredentialProviderConfig", document.api_version, document.kind)]);
    }
    let mut problems = Vec::new();
    if document.providers.is_empty() {
        problems.push("providers: Required value: at least 1 item in plugins is required".to_owned());
    }
    let mut names = BTreeSet::new();
    for provider in &document.providers {
        if !names.insert(provider.name.as_str()) {
            problems.push(format!("providers.name: Duplicate value: {:?}", provider.name));
        }
        problems.extend(wrong_with(provider).into_iter().map(|problem| format!("providers.{problem}")));
    }
    if problems.is_empty() { Ok(document.providers.into_iter().map(taken).collect()) } else { Err(problems) }
}

fn wrong_with(provider: &Provider) -> Vec<String> {
    let mut problems = Vec::new();
    let name = &provider.name;
    let of_name = match name.as_str() {
        "" => Some("provider name cannot be empty"),
        "." => Some("provider name cannot be '.'"),
        ".." => Some("provider name cannot be '..'"),
        _ if name.contains('/') => Some("provider name cannot contain '/'"),
        _ if name.contains(' ') => Some("provider name cannot contain spaces"),
        _ => None,
    };
    problems.extend(of_name.map(|problem| format!("name: Invalid value: {name:?}: {problem}")));
    match provider.api_version.as_str() {
        "" => problems.push("apiVersion: Required value".to_owned()),
        version if EXCHANGES.contains(&version) => {}
        version => {
            let supported = EXCHANGES.map(|version| format!("{version:?}")).join(", ");
            problems.push(format!("apiVersion: Unsupported value: {version:?}: supported values: {supported}"));
        }
    }
    if provider.match_images.is_empty() {
        problems.push("matchImages: Required value: at least 1 item in matchImages is required".to_owned());
    }
    let wrong = provider.match_images.iter().filter(|pattern| !is_place(pattern));
    problems.extend(wrong.map(|pattern| format!("matchImages: Invalid value: {pattern:?}: match image is invalid")));
    match &provider.default_cache_duration {
        None => problems.push("defaultCacheDuration: Required value".to_owned()),
        Some(text) if duration(text).is_none() => {
            let rule = "defaultCacheDuration must be greater than or equal to 0";
            problems.push(format!("defaultCacheDuration: Invalid value: {text:?}: {rule}"));
        }
        Some(_) => {}
    }
    if let Some(attributes) = &provider.token_attributes {
        if provider.api_version != V1 {
            problems
                .push(format!("tokenAttributes: Forbidden: tokenAttributes is only supported for {V1} API version"));
        }
        let all = wrong_with_attributes(attributes);
        problems.extend(all.into_iter().map(|problem| format!("tokenAttributes{problem}")));
    }
    problems
}

fn wrong_with_attributes(attributes: &Attributes) -> Vec<String> {
    let (required, optional) =
        (&attributes.required_service_account_annotation_keys, &attributes.optional_service_account_annotation_keys);
    let mut problems = Vec::new();
    if attributes.service_account_token_audience.is_empty() {
        problems.push(".serviceAccountTokenAudience: Required value".to_owned());
    }
    match attributes.require_service_account {
        None => problems.push(".requireServiceAccount: Required value".to_owned()),
        Some(false) if !required.is_empty() => problems.push(
            ".requiredServiceAccountAnnotationKeys: Forbidden: requireServiceAccount cannot be false when \
             requiredServiceAccountAnnotationKeys is set"
                .to_owned(),
        ),
        Some(_) => {}
    }
    for (field, keys) in
        [("requiredServiceAccountAnnotationKeys", required), ("optionalServiceAccountAnnotationKeys", optional)]
    {
        for (index, key) in keys.iter().enumerate() {
            if !is_qualified_name(&key.to_lowercase()) {
                problems.push(format!(".{field}: Invalid value: {key:?}: it is no qualified name"));
            }
            if keys.iter().take(index).any(|before| before == key) {
                problems.push(format!(".{field}: Duplicate value: {key:?}"));
            }
        }
    }
    if required.iter().any(|key| optional.contains(key)) {
        problems.push(": Invalid value: annotation keys cannot be both required and optional".to_owned());
    }
    match attributes.cache_type.as_str() {
        "ServiceAccount" | "Token" => {}
        "" => problems.push(
            ".cacheType: Required value: cacheType is required to be set when tokenAttributes is specified. Supported \
             values are: ServiceAccount, Token"
                .to_owned(),
        ),
        other => problems
            .push(format!(".cacheType: Unsupported value: {other:?}: supported values: \"ServiceAccount\", \"Token\"")),
    }
    problems
}

/// Whether a pattern can be read as a URL without its scheme.
fn is_place(pattern: &str) -> bool {
    let authority = pattern.split('/').next().unwrap_or_default();
    let port = authority.rsplit_once(':').map_or("", |(_, port)| port);
    port.bytes().all(|byte| byte.is_ascii_digit())
        && !pattern.chars().any(|c| c.is_control() || c.is_whitespace() || c == '%')
}

fn taken(provider: Provider) -> CredentialProvider {
    let token = provider.token_attributes.map(|attributes| TokenRules {
        audience: attributes.service_account_token_audience,
        required: attributes.require_service_account.unwrap_or(true),
        required_annotations: attributes.required_service_account_annotation_keys,
        optional_annotations: attributes.optional_service_account_annotation_keys,
        per_token: attributes.cache_type == "Token",
    });
    CredentialProvider {
        name: provider.name,
        match_images: provider.match_images,
        default_cache: provider.default_cache_duration.as_deref().and_then(duration).unwrap_or_default(),
        api_version: provider.api_version,
        args: provider.args,
        env: provider.env.into_iter().map(|variable| (variable.name, variable.value)).collect(),
        token,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn document(changes: Value) -> Value {
        let mut provider =
            json!({"name": "p", "matchImages": ["*.io"], "defaultCacheDuration": "5m", "apiVersion": V1});
        for (key, value) in changes.as_object().into_iter().flatten() {
            provider[key] = value.clone();
        }
        json!({"apiVersion": DOCUMENTS[0], "kind": "CredentialProviderConfig", "providers": [provider]})
    }

    #[test]
    fn a_document_is_read_whole() {
        let read = credential_providers(&document(json!({
            "args": ["get"], "env": [{"name": "A", "value": "b"}],
            "tokenAttributes": {"serviceAccountTokenAudience": "registry", "cacheType": "Token", "requireServiceAccount": true,
                "requiredServiceAccountAnnotationKeys": ["example.com/Role"]},
        })))
        .unwrap();
        let [provider] = read.as_slice() else { panic!("{read:?}") };
        assert_eq!((provider.name.as_str(), provider.default_cache.as_secs(), provider.args.len()), ("p", 300, 1));
        let token = provider.token.as_ref().unwrap();
        assert_eq!((token.audience.as_str(), token.required, token.per_token), ("registry", true, true));
        assert_eq!(credential_providers(&Value::Null), Ok(Vec::new()));
    }

    #[test]
    fn what_is_wrong_is_told_in_upstreams_words() {
        let token = |more: Value| {
            let mut all =
                json!({"serviceAccountTokenAudience": "a", "cacheType": "Token", "requireServiceAccount": false});
            for (key, value) in more.as_object().into_iter().flatten() {
                all[key] = value.clone();
            }
            json!({"tokenAttributes": all})
        };
        for (changes, want) in [
            (json!({"name": "a/b"}), "providers.name: Invalid value: \"a/b\": provider name cannot contain '/'"),
            (json!({"name": ".."}), "provider name cannot be '..'"),
            (json!({"apiVersion": "v2"}), "providers.apiVersion: Unsupported value: \"v2\""),
            (json!({"matchImages": []}), "at least 1 item in matchImages is required"),
            (json!({"matchImages": ["a.io:*"]}), "providers.matchImages: Invalid value: \"a.io:*\""),
            (json!({"defaultCacheDuration": null}), "providers.defaultCacheDuration: Required value"),
            (json!({"defaultCacheDuration": "-1s"}), "greater than or equal to 0"),
            (json!({"pears": 1}), "unknown field `pears`"),
            (token(json!({"cacheType": ""})), "providers.tokenAttributes.cacheType: Required value"),
            (token(json!({"serviceAccountTokenAudience": ""})), "serviceAccountTokenAudience: Required value"),
            (token(json!({"requiredServiceAccountAnnotationKeys": ["a"]})), "requireServiceAccount cannot be false"),
            (token(json!({"optionalServiceAccountAnnotationKeys": ["a", "a"]})), "Duplicate value: \"a\""),
            (token(json!({"optionalServiceAccountAnnotationKeys": ["-"]})), "no qualified name"),
        ] {
            let problems = credential_providers(&document(changes.clone())).unwrap_err().join("; ");
            assert!(problems.contains(want), "{changes}: {problems}");
        }
        assert!(credential_providers(&json!({"kind": "Pod", "apiVersion": "v1"})).is_err());
    }
}
