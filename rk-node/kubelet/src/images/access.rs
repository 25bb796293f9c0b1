//! Whose credentials an image was pulled with: values, in upstream's form.

use serde::{Deserialize, Serialize};

/// A pull secret, and a hash of what it said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SecretSource {
    /// UID of the secret.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The same for the same credentials.
    pub credential_hash: String,
}

impl SecretSource {
    fn same_secret(&self, other: &Self) -> bool {
        (&self.uid, &self.namespace, &self.name) == (&other.uid, &other.namespace, &other.name)
    }

    fn fits(&self, other: &Self) -> bool {
        self.same_secret(other) || self.credential_hash == other.credential_hash
    }
}

/// A service account for whose token a plugin gave credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AccountSource {
    /// Its UID.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// Where credentials come from that are not every pod's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PullSource {
    /// A pull secret.
    Secret(SecretSource),
    /// A plugin, for a service account.
    Account(AccountSource),
}

/// Who may use an image under one of its names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Access {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    kubernetes_secrets: Vec<SecretSource>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    kubernetes_service_accounts: Vec<AccountSource>,
    /// Every pod of the node.
    pub node_pods_accessible: bool,
}

impl Access {
    /// Adds whose credentials pulled it: a secret's or an account's, or none but the node's. Whether that is news.
    pub fn add(&mut self, source: Option<&PullSource>) -> bool {
        if self.node_pods_accessible {
            return false;
        }
        match source {
            None => *self = Self { node_pods_accessible: true, ..Self::default() },
            Some(PullSource::Secret(source)) if self.kubernetes_secrets.contains(source) => return false,
            Some(PullSource::Secret(source)) => {
                self.kubernetes_secrets.retain(|known| !known.same_secret(source));
                self.kubernetes_secrets.push(source.clone());
            }
            Some(PullSource::Account(source)) if self.kubernetes_service_accounts.contains(source) => return false,
            Some(PullSource::Account(source)) => self.kubernetes_service_accounts.push(source.clone()),
        }
        true
    }

    /// The source of these that was shown before, or that says the same as one that was.
    pub fn known<'a>(&self, sources: &'a [PullSource]) -> Option<&'a PullSource> {
        sources.iter().find(|source| match source {
            PullSource::Secret(secret) => self.kubernetes_secrets.iter().any(|known| known.fits(secret)),
            PullSource::Account(account) => self.kubernetes_service_accounts.contains(account),
        })
    }

    /// How many are noted.
    pub fn noted(&self) -> usize {
        self.kubernetes_secrets.len() + self.kubernetes_service_accounts.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_s_image_is_for_that_very_account() {
        let account = |uid: &str| {
            PullSource::Account(AccountSource { uid: uid.into(), namespace: "n".into(), name: "builder".into() })
        };
        let mut access = Access::default();
        assert!(access.add(Some(&account("1"))) && !access.add(Some(&account("1"))));
        assert_eq!(access.known(&[account("2"), account("1")]), Some(&account("1")));
        assert_eq!(access.known(&[account("2"), PullSource::Secret(SecretSource::default())]), None);
        let text = serde_json::to_string(&access).unwrap();
        assert!(text.contains(r#""kubernetesServiceAccounts":[{"uid":"1""#), "{text}");
        assert!(access.add(None) && access.node_pods_accessible && access.noted() == 0);
    }
}
