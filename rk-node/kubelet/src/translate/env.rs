//! The environment of a container: first which objects it refers to, then, with those at hand, the variables themselves.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvFromSource, EnvVarSource, FileKeySelector, Pod, Secret};
use rk_sys::{bytes_as_text, text_as_bytes};

use super::env_file;
use super::expand::expand;
use super::fields::{FieldContext, field_value, resource_value};

/// Objects that an environment refers to, by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct References {
    /// ConfigMaps.
    pub config_maps: BTreeSet<String>,
    /// Secrets.
    pub secrets: BTreeSet<String>,
    /// Files of variables: volume and path within it.
    pub files: BTreeSet<EnvFile>,
}

/// A file of variables: volume, and path within it.
pub type EnvFile = (String, String);

/// Which objects the container's environment needs.
pub fn references(container: &Container) -> References {
    let mut refs = References::default();
    for from in container.env_from.iter().flatten() {
        refs.config_maps.extend(from.config_map_ref.as_ref().map(|r| r.name.clone()));
        refs.secrets.extend(from.secret_ref.as_ref().map(|r| r.name.clone()));
    }
    for source in container.env.iter().flatten().filter_map(|e| e.value_from.as_ref()) {
        refs.config_maps.extend(source.config_map_key_ref.as_ref().map(|r| r.name.clone()));
        refs.secrets.extend(source.secret_key_ref.as_ref().map(|r| r.name.clone()));
        refs.files.extend(source.file_key_ref.as_ref().map(|r| (r.volume_name.clone(), r.path.clone())));
    }
    refs
}

/// Everything that variables come from. Absent objects are absent from the maps.
pub struct EnvSources<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// Node facts.
    pub fields: &'a FieldContext,
    /// Service variables.
    pub services: BTreeMap<String, String>,
    /// ConfigMaps of the pod's namespace.
    pub config_maps: &'a BTreeMap<String, ConfigMap>,
    /// Secrets of the pod's namespace.
    pub secrets: &'a BTreeMap<String, Secret>,
    /// Texts of files of variables.
    pub files: &'a BTreeMap<EnvFile, String>,
}

/// A variable whose source is missing; the container cannot be configured.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvError {
    /// The object is not there.
    #[error("{kind} \"{name}\" not found")]
    Object {
        /// `configmap` or `secret`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The object has no such key.
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    Key {
        /// `ConfigMap` or `Secret`.
        kind: &'static str,
        /// Namespace.
        namespace: String,
        /// Name.
        name: String,
        /// Key.
        key: String,
    },
    /// A field or resource reference that means nothing.
    #[error("{0}")]
    Field(String),
}

/// The variables, and how to resolve `$(NAME)` in commands.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// In the order of the spec, later ones of the same name replacing earlier ones. Values are text in the sense of
    /// [`rk_sys::bytes_as_text`].
    pub variables: Vec<(String, String)>,
    services: BTreeMap<String, String>,
    /// What of whole objects was skipped, for events.
    pub skipped: Vec<String>,
}

impl Environment {
    /// A variable by name, as text: bytes that are none are replaced.
    pub fn get(&self, name: &str) -> Option<String> {
        self.find(name).map(|value| String::from_utf8_lossy(&text_as_bytes(&value)).into_owned())
    }

    fn find(&self, name: &str) -> Option<String> {
        self.variables
            .iter()
            .rev()
            .find(|(k, _)| k == name)
            .map(|(_, v)| v.clone())
            .or_else(|| self.services.get(name).cloned())
    }

    fn set(&mut self, name: &str, value: String) {
        match self.variables.iter_mut().find(|(k, _)| k == name) {
            Some((_, old)) => *old = value,
            None => self.variables.push((name.to_owned(), value)),
        }
    }

    /// Sets the variables of a ConfigMap and of a Secret.
    fn take_in(&mut self, from: &EnvFromSource, sources: &EnvSources<'_>) -> Result<(), EnvError> {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        let namespace = crate::pod::spec::namespace(sources.pod);
        if let Some(reference) = &from.config_map_ref {
            let map = referred(sources.config_maps, "configmap", &reference.name, reference.optional)?;
            let values = map.into_iter().flat_map(|map| map.data.iter().flatten());
            let values = values.map(|(key, value)| (format!("{prefix}{key}"), value.clone()));
            self.set_usable(values, &format!("configMap {namespace}/{}", reference.name));
        }
        if let Some(reference) = &from.secret_ref {
            let secret = referred(sources.secrets, "secret", &reference.name, reference.optional)?;
            let values = secret.into_iter().flat_map(|secret| secret.data.iter().flatten());
            let text = |value: &ByteString| bytes_as_text(&value.0);
            let values = values.map(|(key, value)| (format!("{prefix}{key}"), text(value)));
            self.set_usable(values, &format!("secret {namespace}/{}", reference.name));
        }
        Ok(())
    }

    /// Sets the variables of an object, but for those whose names cannot be ones.
    fn set_usable(&mut self, values: impl Iterator<Item = (String, String)>, object: &str) {
        let (good, bad): (Vec<_>, Vec<_>) = values.partition(|(name, _)| usable(name));
        for (name, value) in good {
            self.set(&name, value);
        }
        if !bad.is_empty() {
            let names: Vec<String> = bad.into_iter().map(|(name, _)| name).collect();
            self.skipped.push(format!(
                "Keys [{}] from the EnvFrom {object} were skipped since they are considered invalid environment variable names.",
                names.join(", ")
            ));
        }
    }

    /// All variables for the runtime: the spec's, then the services' that the spec does not set.
    pub fn into_list(mut self) -> Vec<(String, Vec<u8>)> {
        for (name, value) in std::mem::take(&mut self.services) {
            if !self.variables.iter().any(|(k, _)| *k == name) {
                self.variables.push((name, value));
            }
        }
        self.variables.into_iter().map(|(name, value)| (name, text_as_bytes(&value))).collect()
    }
}

/// Whether a name can be the name of a variable: printable ASCII without `=`.
fn usable(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| (' '..='~').contains(&c) && c != '=')
}

/// Builds the environment.
///
/// # Errors
/// A source that is not optional is missing or means nothing.
pub fn environment(container: &Container, mut sources: EnvSources<'_>) -> Result<Environment, EnvError> {
    let mut env = Environment { services: std::mem::take(&mut sources.services), ..Default::default() };
    for from in container.env_from.iter().flatten() {
        env.take_in(from, &sources)?;
    }
    for variable in container.env.iter().flatten() {
        let value = match &variable.value_from {
            Some(source) => value_of(&variable.name, source, container, &sources)?,
            None => Some(expand(variable.value.as_deref().unwrap_or_default(), |name| env.find(name))),
        };
        if let Some(value) = value {
            env.set(&variable.name, value);
        }
    }
    Ok(env)
}

/// The object of a reference; `None` when it is missing and may be.
fn referred<'a, T>(
    objects: &'a BTreeMap<String, T>,
    kind: &'static str,
    name: &str,
    optional: Option<bool>,
) -> Result<Option<&'a T>, EnvError> {
    match objects.get(name) {
        None if optional != Some(true) => Err(EnvError::Object { kind, name: name.to_owned() }),
        found => Ok(found),
    }
}

/// What the source of the variable `name` gives; `None` when that is missing and may be.
fn value_of(
    name: &str,
    source: &EnvVarSource,
    container: &Container,
    sources: &EnvSources<'_>,
) -> Result<Option<String>, EnvError> {
    let namespace = crate::pod::spec::namespace(sources.pod);
    if let Some(field) = &source.field_ref {
        let value = field_value(sources.pod, sources.fields, &field.field_path);
        return value.map(Some).map_err(EnvError::Field);
    }
    if let Some(resource) = &source.resource_field_ref {
        let value = resource_value(sources.pod, sources.fields, Some(container), resource);
        return value.map(Some).map_err(EnvError::Field);
    }
    if let Some(key) = &source.config_map_key_ref {
        let found = sources.config_maps.get(&key.name);
        let value = found.map(|m| m.data.as_ref().and_then(|d| d.get(&key.key)).cloned());
        let missing = Missing { object: ("configmap", "ConfigMap"), namespace, name: &key.name, key: &key.key };
        return missing.resolve(value, key.optional);
    }
    if let Some(key) = &source.secret_key_ref {
        let found = sources.secrets.get(&key.name);
        let text = |s: &Secret| s.data.as_ref().and_then(|d| d.get(&key.key)).map(|v| bytes_as_text(&v.0));
        let missing = Missing { object: ("secret", "Secret"), namespace, name: &key.name, key: &key.key };
        return missing.resolve(found.map(text), key.optional);
    }
    match &source.file_key_ref {
        Some(key) => of_file(key, sources.files),
        None => Err(EnvError::Field(format!("environment variable {name} has a source that is not supported"))),
    }
}

/// A variable of a file that a container of the pod wrote (KEP-3721).
fn of_file(wish: &FileKeySelector, files: &BTreeMap<EnvFile, String>) -> Result<Option<String>, EnvError> {
    let FileKeySelector { key, path, volume_name, optional } = wish;
    let wrong = |why: String| EnvError::Field(format!("environment file {path:?} of volume {volume_name:?}: {why}"));
    let text = files.get(&(volume_name.clone(), path.clone()));
    let value = text.map(|text| env_file::value_of(text, key)).transpose().map_err(wrong)?.flatten();
    match value {
        None if *optional != Some(true) => {
            Err(wrong(if text.is_none() { "it is not there".into() } else { format!("it has no {key:?}") }))
        }
        value => Ok(value),
    }
}

struct Missing<'a> {
    object: (&'static str, &'static str),
    namespace: &'a str,
    name: &'a str,
    key: &'a str,
}

impl Missing<'_> {
    fn resolve(&self, value: Option<Option<String>>, optional: Option<bool>) -> Result<Option<String>, EnvError> {
        match value {
            Some(Some(value)) => Ok(Some(value)),
            _ if optional == Some(true) => Ok(None),
            None => Err(EnvError::Object { kind: self.object.0, name: self.name.into() }),
            Some(None) => Err(EnvError::Key {
                kind: self.object.1,
                namespace: self.namespace.into(),
                name: self.name.into(),
                key: self.key.into(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn build(container: serde_json::Value) -> Result<Vec<(String, String)>, EnvError> {
        let text = |(name, value)| (name, String::from_utf8(value).unwrap());
        made(container).map(|env| env.into_list().into_iter().map(text).collect())
    }

    fn made(container: serde_json::Value) -> Result<Environment, EnvError> {
        let container: Container = serde_json::from_value(container).unwrap();
        let pod: Pod =
            serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "n"}, "spec": {"containers": []}}))
                .unwrap();
        let config_maps = BTreeMap::from([(
            "m".to_owned(),
            serde_json::from_value(json!({"data": {"k": "v", "a=b": "no"}})).unwrap(),
        )]);
        let secret = |data: serde_json::Value| serde_json::from_value(json!({"data": data})).unwrap();
        let secrets = BTreeMap::from([
            ("s".to_owned(), secret(json!({"p": "cw=="}))),
            ("raw".to_owned(), secret(json!({"b": "/2E="}))),
        ]);
        let services = BTreeMap::from([("SVC".to_owned(), "1".to_owned())]);
        let sources = EnvSources {
            pod: &pod,
            fields: &FieldContext::default(),
            services,
            config_maps: &config_maps,
            secrets: &secrets,
            files: &BTreeMap::from([(("v".to_owned(), "e/f".to_owned()), "A='1'\nB='2'\n".to_owned())]),
        };
        environment(&container, sources)
    }

    #[test]
    fn keys_that_can_be_no_names_are_skipped_and_told() {
        let made = made(json!({"name": "c", "envFrom": [{"configMapRef": {"name": "m"}, "prefix": "P_"},
            {"secretRef": {"name": "s"}, "prefix": "="}]}))
        .unwrap();
        let told = |keys: &str, object: &str| {
            let why = "were skipped since they are considered invalid environment variable names.";
            format!("Keys [{keys}] from the EnvFrom {object} {why}")
        };
        assert_eq!(made.skipped, [told("P_a=b", "configMap n/m"), told("=p", "secret n/s")]);
        assert_eq!(made.variables, [("P_k".to_owned(), "v".to_owned())]);
    }

    #[test]
    fn variables_come_from_everywhere_and_later_ones_win() {
        let list = build(json!({"name": "c",
            "envFrom": [{"configMapRef": {"name": "m"}, "prefix": "P_"}, {"configMapRef": {"name": "none", "optional": true}}],
            "env": [{"name": "A", "value": "x"}, {"name": "B", "value": "$(A)$(SVC)$(P_k)$(NO)"}, {"name": "A", "value": "y"},
                {"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "p"}}},
                {"name": "O", "valueFrom": {"secretKeyRef": {"name": "s", "key": "q", "optional": true}}},
                {"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}))
        .unwrap();
        let want = [("P_k", "v"), ("A", "y"), ("B", "x1v$(NO)"), ("S", "s"), ("N", "p"), ("SVC", "1")];
        assert_eq!(list, want.map(|(k, v)| (k.to_owned(), v.to_owned())));
    }

    #[test]
    fn variables_come_from_files_of_the_pod() {
        let from = |name: &str, path: &str, key: &str, optional: bool| {
            let wish = json!({"volumeName": "v", "path": path, "key": key, "optional": optional});
            json!({"name": name, "valueFrom": {"fileKeyRef": wish}})
        };
        let env = json!([from("X", "e/f", "B", false), from("Y", "e/f", "C", true), from("Z", "none", "B", true)]);
        assert_eq!(
            build(json!({"name": "c", "env": env})).unwrap(),
            [("X", "2"), ("SVC", "1")].map(|(k, v)| (k.to_owned(), v.to_owned()))
        );
        for (wish, why) in [
            (from("X", "e/f", "C", false), "environment file \"e/f\" of volume \"v\": it has no \"C\""),
            (from("X", "none", "B", false), "environment file \"none\" of volume \"v\": it is not there"),
        ] {
            assert_eq!(build(json!({"name": "c", "env": [wish]})).unwrap_err().to_string(), why);
        }
    }

    #[test]
    fn a_missing_source_is_named() {
        for (env, want) in [
            (
                json!([{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "x", "key": "k"}}}]),
                "configmap \"x\" not found",
            ),
            (
                json!([{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "z"}}}]),
                "couldn't find key z in ConfigMap n/m",
            ),
            (
                json!([{"name": "A", "valueFrom": {"secretKeyRef": {"name": "x", "key": "k"}}}]),
                "secret \"x\" not found",
            ),
        ] {
            assert_eq!(build(json!({"name": "c", "env": env})).unwrap_err().to_string(), want);
        }
    }
    #[test]
    fn a_secret_that_is_no_text_is_given_as_it_is() {
        let env = made(json!({"name": "c", "envFrom": [{"secretRef": {"name": "raw"}}], "env": [
            {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "raw", "key": "b"}}},
            {"name": "WITHIN", "value": "<$(KEY)\u{fc}>"}]}))
        .unwrap();
        assert_eq!(env.get("KEY").as_deref(), Some("\u{fffd}a"), "commands are text");
        let told = env.into_list();
        for (name, value) in [("b", &b"\xffa"[..]), ("KEY", b"\xffa"), ("WITHIN", b"<\xffa\xc3\xbc>")] {
            assert!(told.contains(&(name.to_owned(), value.to_vec())), "{name}: {told:?}");
        }
    }
}
