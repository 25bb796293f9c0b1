//! Reading and checking a policy as it is written.

use rk_api::meta;
use serde::Deserialize;
use serde_json::Value;

use super::{Decision, GroupResources, Level, Policy, Rule, Stage, Stages};

/// Why a policy cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// It is no YAML, or has fields that no policy has.
    #[error("failed decoding: {0}")]
    Decode(String),
    /// It is something else than a policy of `audit.k8s.io/v1`.
    #[error("unknown group version field {0} in policy file")]
    Version(String),
    /// Some of its rules cannot be.
    #[error("{}", listed(.0))]
    Invalid(Vec<String>),
    /// It has no rules.
    #[error("loaded illegal policy with 0 rules")]
    Empty,
}

/// Several findings in brackets, as upstream prints them.
fn listed(findings: &[String]) -> String {
    match findings {
        [one] => one.clone(),
        all => format!("[{}]", all.join(", ")),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PolicyFile {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default, rename = "metadata")]
    _metadata: Value,
    #[serde(default)]
    rules: Vec<RuleFile>,
    #[serde(default)]
    omit_stages: Vec<String>,
    #[serde(default)]
    omit_managed_fields: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RuleFile {
    #[serde(default)]
    level: String,
    #[serde(default)]
    users: Vec<String>,
    #[serde(default)]
    user_groups: Vec<String>,
    #[serde(default)]
    verbs: Vec<String>,
    #[serde(default)]
    resources: Vec<ResourcesFile>,
    #[serde(default)]
    namespaces: Vec<String>,
    #[serde(default, rename = "nonResourceURLs")]
    urls: Vec<String>,
    #[serde(default)]
    omit_stages: Vec<String>,
    omit_managed_fields: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ResourcesFile {
    #[serde(default)]
    group: String,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    resource_names: Vec<String>,
}

pub(super) fn policy(text: &str) -> Result<Policy, PolicyError> {
    let file: PolicyFile = serde_yaml_ng::from_str(text).map_err(|error| PolicyError::Decode(error.to_string()))?;
    if (file.api_version.as_str(), file.kind.as_str()) != ("audit.k8s.io/v1", "Policy") {
        return Err(PolicyError::Version(format!("{}, Kind={}", file.api_version, file.kind)));
    }
    let mut findings = Vec::new();
    let omit = stages(&file.omit_stages, "omitStages", &mut findings);
    let whole = Policy { rules: Vec::new(), omit, omit_managed: file.omit_managed_fields };
    let rules = file.rules.into_iter().enumerate();
    let rules: Vec<Rule> =
        rules.map(|(index, own)| rule(own, &whole, &format!("rules[{index}]"), &mut findings)).collect();
    if !findings.is_empty() {
        return Err(PolicyError::Invalid(findings));
    }
    if rules.is_empty() {
        return Err(PolicyError::Empty);
    }
    Ok(Policy { rules, ..whole })
}

fn rule(file: RuleFile, policy: &Policy, path: &str, findings: &mut Vec<String>) -> Rule {
    let level = level(&file.level, path, findings);
    urls(&file.urls, path, findings);
    for own in &file.resources {
        resources(own, path, findings);
    }
    let omit = stages(&file.omit_stages, &format!("{path}.omitStages"), findings).and(policy.omit);
    let of_resources = !file.resources.is_empty() || !file.namespaces.is_empty();
    if of_resources && !file.urls.is_empty() {
        let why = "rules cannot apply to both regular resources and non-resource URLs";
        findings.push(format!("{path}.nonResourceURLs: Invalid value: {:?}: {why}", file.urls));
    }
    let own = |file: ResourcesFile| GroupResources {
        group: file.group,
        resources: file.resources,
        names: file.resource_names,
    };
    Rule {
        decision: Decision { level, omit, omit_managed: file.omit_managed_fields.unwrap_or(policy.omit_managed) },
        users: file.users,
        groups: file.user_groups,
        verbs: file.verbs,
        resources: file.resources.into_iter().map(own).collect(),
        namespaces: file.namespaces,
        urls: file.urls,
    }
}

fn level(text: &str, path: &str, findings: &mut Vec<String>) -> Level {
    if let Some(level) = Level::ALL.into_iter().find(|level| level.name() == text) {
        return level;
    }
    findings.push(if text.is_empty() {
        format!("{path}.level: Required value")
    } else {
        let known = Level::ALL.map(|level| format!("{:?}", level.name())).join(", ");
        format!("{path}.level: Unsupported value: {text:?}: supported values: {known}")
    });
    Level::None
}

fn stages(texts: &[String], path: &str, findings: &mut Vec<String>) -> Stages {
    let mut known = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        match Stage::ALL.into_iter().find(|stage| stage.name() == text) {
            Some(stage) => known.push(stage),
            None => {
                let all = Stage::ALL.map(Stage::name).join(",");
                findings.push(format!("{path}[{index}]: Invalid value: {text:?}: allowed stages are {all}"));
            }
        }
    }
    Stages::of(&known)
}

fn urls(urls: &[String], path: &str, findings: &mut Vec<String>) {
    for (index, url) in urls.iter().enumerate().filter(|(_, url)| *url != "*") {
        let mut wrong = |why: &str| {
            findings.push(format!("{path}.nonResourceURLs[{index}]: Invalid value: {url:?}: {why}"));
        };
        if !url.starts_with('/') {
            wrong("non-resource URL rules must begin with a '/' character");
        }
        if url.strip_suffix('*').unwrap_or(url).contains('*') {
            wrong("non-resource URL wildcards '*' must be the final character of the rule");
        }
    }
}

fn resources(file: &ResourcesFile, path: &str, findings: &mut Vec<String>) {
    let wrong = meta::dns1123_subdomain(&file.group);
    if !file.group.is_empty() && !wrong.is_empty() {
        let why = wrong.join(",");
        findings.push(format!("{path}.resources.group: Invalid value: {:?}: {why}", file.group));
    }
    if !file.resource_names.is_empty() && file.resources.is_empty() {
        let why = "using resourceNames requires at least one resource";
        findings.push(format!("{path}.resources.resourceNames: Invalid value: {:?}: {why}", file.resource_names));
    }
}
