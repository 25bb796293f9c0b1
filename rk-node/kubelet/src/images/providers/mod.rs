//! Plugins that give credentials for images (KEP-2133), also for tokens of service accounts (KEP-4412).
//!
//! [`places`] says which images a plugin is asked for, [`exec`] runs it, [`cache`] keeps its answers.

mod cache;
mod exec;
mod places;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use k8s_openapi::api::core::v1::{Pod, ServiceAccount, ServiceAccountTokenProjection};
use kube::Api;
use rk_cri_api::v1 as cri;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex as AsyncMutex;

use super::access::{AccountSource, PullSource};
use super::credentials::Credential;
use crate::configuration::{CredentialProvider, TokenRules};
use crate::pod::spec;
use crate::volumes::Tokens;
use cache::{Cache, Logins};
use exec::Request;
use places::{matches, repository};

/// The plugins of this node.
pub struct Providers {
    list: Vec<Provider>,
    /// Where their programs are.
    directory: PathBuf,
    client: kube::Client,
    tokens: Tokens,
}

/// Held by the run for an image and an account while it lasts.
type Turn = Weak<AsyncMutex<()>>;

struct Provider {
    config: CredentialProvider,
    cache: Mutex<Cache>,
    /// One run at a time for one image and account: who comes meanwhile takes its answer.
    turns: Mutex<HashMap<(String, String), Turn>>,
}

/// What a plugin is told of a pod's service account.
#[derive(Default)]
struct Account {
    token: String,
    annotations: BTreeMap<String, String>,
    /// Whom an answer is for; empty when the plugin is told of nobody.
    key: String,
    source: Option<AccountSource>,
}

impl Providers {
    /// These plugins, whose programs are in this directory.
    pub fn new(configs: &[CredentialProvider], directory: &Path, client: kube::Client) -> Self {
        let provider = |config: &CredentialProvider| Provider {
            config: config.clone(),
            cache: Mutex::default(),
            turns: Mutex::default(),
        };
        let list = configs.iter().map(provider).collect();
        Self { list, directory: directory.to_owned(), client, tokens: Tokens::default() }
    }

    /// Credentials of all plugins that are for this image, the longest match first. A plugin that fails has none.
    pub async fn credentials(&self, pod: &Pod, image: &str) -> Vec<Credential> {
        let image = repository(image);
        let fits = |provider: &&Provider| provider.config.match_images.iter().any(|place| matches(place, &image));
        let asked: Vec<&Provider> = self.list.iter().filter(fits).collect();
        let mut found: Vec<(usize, Credential)> = Vec::new();
        for provider in asked {
            match self.ask(provider, pod, &image).await {
                Ok(Some((logins, source))) => found.extend(fitting(&image, &logins, source.as_ref())),
                Ok(None) => {}
                Err(problem) => {
                    tracing::error!(
                        plugin = %provider.config.name,
                        "Failed getting credential from external registry credential provider: {problem}"
                    );
                }
            }
        }
        found.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
        found.into_iter().map(|(_, credential)| credential).collect()
    }

    /// Forgets the tokens of a pod.
    pub fn forget(&self, uid: &str) {
        self.tokens.forget(uid);
    }

    /// `None` when the plugin is not for this pod.
    async fn ask(
        &self,
        provider: &Provider,
        pod: &Pod,
        image: &str,
    ) -> Result<Option<(Logins, Option<AccountSource>)>, String> {
        let account = match &provider.config.token {
            None => Account::default(),
            Some(rules) => match self.account(rules, pod).await? {
                Some(account) => account,
                None => return Ok(None),
            },
        };
        if let Some(known) = provider.known(image, &account.key) {
            return Ok(Some((known, account.source)));
        }
        let turn = provider.turn(image, &account.key);
        let _turn = turn.lock().await;
        if let Some(known) = provider.known(image, &account.key) {
            return Ok(Some((known, account.source)));
        }
        let request = Request::new(&provider.config, image, account.token, account.annotations);
        let answer = exec::run(&self.directory, &provider.config, &request).await?;
        let mut cache = provider.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let logins = cache.put(image, &account.key, answer, provider.config.default_cache, Instant::now());
        Ok(Some((logins, account.source)))
    }

    async fn account(&self, rules: &TokenRules, pod: &Pod) -> Result<Option<Account>, String> {
        let name = pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref()).unwrap_or_default();
        if name.is_empty() {
            return Ok((!rules.required).then(Account::default));
        }
        let namespace = spec::namespace(pod);
        let failed = |error: String| format!("Failed to get service account {namespace}/{name}: {error}");
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        let found = api.get(name).await.map_err(|error| failed(crate::api_error::text(&error)))?;
        let Some(annotations) = annotations(rules, found.metadata.annotations.as_ref()) else { return Ok(None) };
        let projection = ServiceAccountTokenProjection { audience: Some(rules.audience.clone()), ..Default::default() };
        let token = self.tokens.get(&self.client, pod, &projection).await?;
        let source = AccountSource {
            uid: found.metadata.uid.unwrap_or_default(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        let key = key(rules, &source, &annotations, &token);
        Ok(Some(Account { token, annotations, key, source: Some(source) }))
    }
}

impl Provider {
    fn known(&self, image: &str, account: &str) -> Option<Logins> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner).get(image, account, Instant::now())
    }

    fn turn(&self, image: &str, account: &str) -> Arc<AsyncMutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| turn.strong_count() > 0);
        let key = (image.to_owned(), account.to_owned());
        if let Some(turn) = turns.get(&key).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::new(AsyncMutex::new(()));
        turns.insert(key, Arc::downgrade(&turn));
        turn
    }
}

/// The annotations that the plugin is told; `None` when one that it needs is missing.
fn annotations(rules: &TokenRules, of: Option<&BTreeMap<String, String>>) -> Option<BTreeMap<String, String>> {
    let find = |key: &String| of.and_then(|all| all.get(key)).map(|value| (key.clone(), value.clone()));
    let mut told: BTreeMap<String, String> =
        rules.required_annotations.iter().map(find).collect::<Option<BTreeMap<_, _>>>()?;
    told.extend(rules.optional_annotations.iter().filter_map(find));
    Some(told)
}

/// Whom an answer is for: an account with what is told of it, or one of its tokens.
fn key(rules: &TokenRules, account: &AccountSource, annotations: &BTreeMap<String, String>, token: &str) -> String {
    let token = if rules.per_token { hex::encode(&Sha256::digest(token.as_bytes())[..]) } else { String::new() };
    serde_json::json!([account.namespace, account.name, account.uid, annotations, token]).to_string()
}

/// The logins that are for an image, each with the length of its place.
fn fitting(image: &str, logins: &Logins, source: Option<&AccountSource>) -> Vec<(usize, Credential)> {
    let of = |(place, login): (&String, &exec::Login)| {
        let auth = cri::AuthConfig {
            username: login.username.clone(),
            password: login.password.clone(),
            ..Default::default()
        };
        (place.len(), Credential { auth, source: source.cloned().map(PullSource::Account) })
    };
    logins.iter().filter(|(place, _)| matches(place, image)).map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(per_token: bool) -> TokenRules {
        TokenRules {
            audience: "registry".into(),
            required: true,
            required_annotations: vec!["role".into()],
            optional_annotations: vec!["hint".into()],
            per_token,
        }
    }

    #[test]
    fn a_plugin_hears_the_annotations_that_it_asks_for() {
        let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let all = map(&[("role", "r"), ("hint", "h"), ("other", "o")]);
        assert_eq!(annotations(&rules(false), Some(&all)), Some(map(&[("role", "r"), ("hint", "h")])));
        assert_eq!(annotations(&rules(false), Some(&map(&[("role", "r")]))), Some(map(&[("role", "r")])));
        assert_eq!(annotations(&rules(false), Some(&map(&[("hint", "h")]))), None);
        assert_eq!(annotations(&rules(false), None), None);
    }

    #[test]
    fn answers_are_an_account_s_or_a_token_s() {
        let account = AccountSource { uid: "1".into(), namespace: "n".into(), name: "a".into() };
        let of = |per_token, token: &str| key(&rules(per_token), &account, &BTreeMap::new(), token);
        assert_eq!(of(false, "x"), of(false, "y"));
        assert_ne!(of(true, "x"), of(true, "y"));
        assert!(!of(true, "secret").contains("secret"));
    }

    #[test]
    fn logins_are_shown_where_they_belong() {
        let login = || exec::Login { username: "u".into(), password: "p".into() };
        let logins = Arc::new(BTreeMap::from([("*.io".to_owned(), login()), ("s.com".to_owned(), login())]));
        let found = fitting("r.io/a", &logins, None);
        assert_eq!(found.iter().map(|(length, c)| (*length, c.source.is_some())).collect::<Vec<_>>(), [(4, false)]);
    }
}
