//! Encryption at rest: what is written to the store below, and what is read of it, per resource.
//!
//! An [`Encryption`] is what an `EncryptionConfiguration` says. [`EncryptedStore`] stands before another store: callers and watchers
//! see plain values, the store below sees `k8s:enc:<provider>:v1:<key name>:` and what the provider made. Revisions are the store's own,
//! so that nothing is compared by its bytes. A value that cannot be read is an error for who asks for it, and passed on as it is to
//! watchers, who find no object in it: one value must not stop the watch that all caches live on.

mod chain;
mod cipher;
mod config;
mod encrypted;
#[cfg(test)]
mod tests;
mod validate;

use bytes::Bytes;

use crate::error::{Result, StoreError};
use crate::model::{Change, Entry};
use config::{Document, Rule};

pub use encrypted::EncryptedStore;

/// What every encrypted value begins with. JSON begins otherwise.
const ENCRYPTED: &[u8] = b"k8s:enc:";

/// Tells group (empty for the core) and plural of the resource that a key is of.
pub type ResourceOf = fn(&str) -> Option<(&str, &str)>;

/// Why a configuration is refused; tells no key.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct EncryptionError(String);

/// Which resources are encrypted, how, and by which keys.
pub struct Encryption {
    rules: Vec<Rule>,
    resource_of: ResourceOf,
}

impl Encryption {
    /// Nothing is encrypted. Values that are, are told from others.
    #[must_use]
    pub fn none(resource_of: ResourceOf) -> Self {
        Self { rules: Vec::new(), resource_of }
    }

    /// What an `EncryptionConfiguration` of `apiserver.config.k8s.io/v1` says, in YAML or JSON.
    ///
    /// # Errors
    /// Everything that is wrong with it, in upstream's words; providers that are not there (`kms`) among it.
    pub fn parse(text: &str, resource_of: ResourceOf) -> std::result::Result<Self, EncryptionError> {
        Ok(Self { rules: Document::parse(text)?.rules()?, resource_of })
    }

    /// Secrets alone, by `secretbox`. Each key has a name and 32 bytes in base64; the first one writes. What is stored in plain is read as well.
    ///
    /// # Errors
    /// There is no key, or one is not of that form.
    pub fn of_secrets(
        keys: Vec<(String, String)>,
        resource_of: ResourceOf,
    ) -> std::result::Result<Self, EncryptionError> {
        Ok(Self { rules: Document::of_secrets(keys).rules()?, resource_of })
    }

    /// What is said of the resource of a key: of itself before its group, of its group before all.
    fn rule(&self, key: &str) -> Option<&Rule> {
        if self.rules.is_empty() {
            return None;
        }
        let (group, resource) = (self.resource_of)(key)?;
        let find = |group: &str, resource: &str| {
            self.rules.iter().find(|rule| rule.group == group && rule.resource == resource)
        };
        find(group, resource).or_else(|| find(group, "*")).or_else(|| find("*", "*"))
    }

    /// What is stored for a value.
    fn seal(&self, key: &str, value: Bytes) -> Result<Bytes> {
        match self.rule(key) {
            Some(rule) => rule.chain.seal(key, value).map_err(|reason| unreadable(key, reason)),
            None => Ok(value),
        }
    }

    /// The value of what is stored, and whether it would be stored otherwise now.
    fn open(&self, key: &str, stored: &Bytes) -> Result<(Bytes, bool)> {
        let opened = match self.rule(key) {
            Some(rule) => rule.chain.open(key, stored),
            None => chain::as_it_is(stored).map(|plain| (plain, false)),
        };
        opened.map_err(|reason| unreadable(key, reason))
    }

    fn open_entry(&self, mut entry: Entry) -> Result<Entry> {
        entry.value = self.open(&entry.key, &entry.value)?.0;
        Ok(entry)
    }

    /// As [`Encryption::open_entry`]; what cannot be read stays as it is.
    fn open_if_possible(&self, mut entry: Entry) -> Entry {
        if let Ok((plain, _)) = self.open(&entry.key, &entry.value) {
            entry.value = plain;
        }
        entry
    }

    /// Gives a change its plain values; those that cannot be read stay as they are.
    pub(crate) fn open_change(&self, change: &mut Change) {
        match self.open(&change.entry.key, &change.entry.value) {
            Ok((plain, _)) => change.entry.value = plain,
            Err(error) => tracing::error!(%error, "a change cannot be read"),
        }
        let previous = change.previous.take();
        change.previous =
            previous.and_then(|stored| self.open(&change.entry.key, &stored).ok()).map(|(plain, _)| plain);
    }
}

impl std::fmt::Debug for Encryption {
    /// Keys stay out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let named: Vec<_> = self.rules.iter().map(|rule| format!("{}.{}", rule.resource, rule.group)).collect();
        f.debug_struct("Encryption").field("resources", &named).finish_non_exhaustive()
    }
}

fn unreadable(key: &str, reason: String) -> StoreError {
    StoreError::Transform { key: key.to_owned(), reason }
}
