//! The file that says what is encrypted: `EncryptionConfiguration` of `apiserver.config.k8s.io/v1`.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::EncryptionError;
use super::chain::{Chain, Kind, Provider, together};
use super::cipher::Cipher;
use super::validate::validate;

/// The document.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Document {
    api_version: String,
    kind: String,
    pub(super) resources: Vec<ResourceConfiguration>,
}

/// Resources that are stored in the same way.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct ResourceConfiguration {
    /// `secrets`, `deployments.apps`, `*.apps`, `*.` (the core) or `*.*`.
    pub(super) resources: Vec<String>,
    pub(super) providers: Vec<ProviderConfiguration>,
}

/// One of its members is there.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct ProviderConfiguration {
    pub(super) aesgcm: Option<Keys>,
    pub(super) aescbc: Option<Keys>,
    pub(super) secretbox: Option<Keys>,
    pub(super) identity: Option<Nothing>,
    pub(super) kms: Option<serde_yaml_ng::Value>,
}

/// `{}`.
#[derive(Default, Deserialize)]
pub(super) struct Nothing {}

/// The keys of a provider; the first one writes.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Keys {
    pub(super) keys: Vec<Key>,
}

/// One key.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Key {
    pub(super) name: String,
    /// In base64.
    pub(super) secret: String,
}

/// What is done to one resource, or to those that a wildcard stands for.
pub(super) struct Rule {
    /// API group, empty for the core; `*` for any.
    pub(super) group: String,
    /// Plural; `*` for any.
    pub(super) resource: String,
    pub(super) chain: Chain,
}

impl Document {
    /// Reads YAML or JSON.
    pub(super) fn parse(text: &str) -> Result<Self, EncryptionError> {
        let document: Self = serde_yaml_ng::from_str(text)
            .map_err(|error| EncryptionError(format!("error while parsing file: {}", hushed(&error.to_string()))))?;
        // The second form is what upstream's documentation once said.
        match (document.api_version.as_str(), document.kind.as_str()) {
            ("apiserver.config.k8s.io/v1", "EncryptionConfiguration") | ("v1", "EncryptionConfig") => Ok(document),
            (version, kind) => Err(EncryptionError(format!(
                "error while parsing file: no kind {kind:?} is registered for version {version:?}"
            ))),
        }
    }

    /// Secrets by `secretbox`: the first key writes; keys are base64 with their names.
    pub(super) fn of_secrets(keys: Vec<(String, String)>) -> Self {
        let keys = keys.into_iter().map(|(name, secret)| Key { name, secret }).collect();
        let sealed = ProviderConfiguration { secretbox: Some(Keys { keys }), ..ProviderConfiguration::default() };
        let plain = ProviderConfiguration { identity: Some(Nothing {}), ..ProviderConfiguration::default() };
        let resources = vec!["secrets".to_owned()];
        Self { resources: vec![ResourceConfiguration { resources, providers: vec![sealed, plain] }], ..Self::default() }
    }

    /// What it says, when nothing of it is wrong.
    pub(super) fn rules(&self) -> Result<Vec<Rule>, EncryptionError> {
        if let Some(error) = together(validate(self)) {
            return Err(EncryptionError(format!("error while parsing file: {error}")));
        }
        let mut rules: Vec<Rule> = Vec::new();
        for configuration in &self.resources {
            let providers = configuration.providers.iter().map(provider).collect::<Option<Vec<_>>>();
            // Nothing is left out silently: what comes after it would write.
            let providers = providers.ok_or_else(|| EncryptionError("a provider cannot be used".to_owned()))?;
            for name in &configuration.resources {
                add(&mut rules, name, &providers)?;
            }
        }
        Ok(rules)
    }
}

/// Adds the rule for one resource. A rule after a wildcard that covers it already would never apply.
fn add(rules: &mut Vec<Rule>, name: &str, providers: &[Arc<Provider>]) -> Result<(), EncryptionError> {
    let (resource, group) = split(name);
    for (any, called) in [(group, format!("*.{group}")), ("*", "*.*".to_owned())] {
        if rules.iter().any(|rule| rule.group == any && rule.resource == "*") {
            return Err(EncryptionError(format!("resource {name:?} is masked by earlier rule {called:?}")));
        }
    }
    let known = rules.iter_mut().find(|rule| rule.group == group && rule.resource == resource);
    match known {
        Some(rule) => rule.chain.extend(providers),
        None => {
            let mut chain = Chain::default();
            chain.extend(providers);
            rules.push(Rule { group: group.to_owned(), resource: resource.to_owned(), chain });
        }
    }
    Ok(())
}

/// What a parser says without the text that it stumbled over: where a list of keys belongs, that may be a key.
fn hushed(error: &str) -> String {
    const FOUND: &str = "string \"";
    const WANTED: &str = "\", expected";
    let found = error.split_once(FOUND);
    let around = found.and_then(|(before, rest)| Some((before, rest.rsplit_once(WANTED)?.1)));
    match around {
        Some((before, after)) => format!("{before}{FOUND}REDACTED{WANTED}{after}"),
        None => error.to_owned(),
    }
}

/// Plural and group of a resource as the file names it.
pub(super) fn split(name: &str) -> (&str, &str) {
    name.split_once('.').unwrap_or((name, ""))
}

/// A provider that was found valid.
fn provider(configuration: &ProviderConfiguration) -> Option<Arc<Provider>> {
    type Make = fn(&[u8]) -> Option<Cipher>;
    let all: [(&Option<Keys>, Kind, Make); 3] = [
        (&configuration.aesgcm, Kind::AesGcm, Cipher::gcm),
        (&configuration.aescbc, Kind::AesCbc, Cipher::cbc),
        (&configuration.secretbox, Kind::Secretbox, Cipher::secretbox),
    ];
    for (keys, kind, make) in all {
        let Some(keys) = keys else { continue };
        let made = |key: &Key| Some((key.name.clone(), make(&STANDARD.decode(&key.secret).ok()?)?));
        return Some(Arc::new(Provider { kind, keys: keys.keys.iter().map(made).collect::<Option<_>>()? }));
    }
    configuration.identity.as_ref().map(|_| Arc::new(Provider { kind: Kind::Identity, keys: Vec::new() }))
}
