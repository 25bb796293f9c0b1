//! One run of a plugin: a request on its standard input, an answer on its standard output (`credentialprovider.kubelet.k8s.io`).

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use crate::configuration::{CredentialProvider, duration};

/// Upstream's limit, whatever the plugin does.
const LONGEST: Duration = Duration::from_secs(60);
/// Larger answers hold no credentials.
const MOST_ANSWER: u64 = 1 << 20;
/// What of its complaints is told.
const MOST_WORDS: u64 = 4 << 10;

/// What a plugin is told.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    kind: &'static str,
    api_version: String,
    image: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    service_account_token: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    service_account_annotations: BTreeMap<String, String>,
}

impl Request {
    /// For an image, in the provider's version; `token` is empty when it gets none.
    pub fn new(
        provider: &CredentialProvider,
        image: &str,
        token: String,
        annotations: BTreeMap<String, String>,
    ) -> Self {
        Self {
            kind: "CredentialProviderRequest",
            api_version: provider.api_version.clone(),
            image: image.to_owned(),
            service_account_token: token,
            service_account_annotations: annotations,
        }
    }
}

/// For what images an answer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum CacheKey {
    /// The image asked for.
    Image,
    /// All of its registry.
    Registry,
    /// All that the plugin is asked for.
    Global,
}

/// A name and a password.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct Login {
    /// The name.
    #[serde(default)]
    pub username: String,
    /// The password.
    #[serde(default)]
    pub password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Login(..)")
    }
}

/// What a plugin answered.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// For what it holds.
    pub key: CacheKey,
    /// How long; the provider's default when absent.
    pub holds: Option<Duration>,
    /// Logins by the place that they are for.
    pub auth: BTreeMap<String, Login>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    kind: String,
    api_version: String,
    cache_key_type: CacheKey,
    cache_duration: Option<String>,
    #[serde(default)]
    auth: Option<BTreeMap<String, Login>>,
}

/// Runs the plugin's program. What it answers is never part of an error: it may be a secret.
pub async fn run(directory: &Path, provider: &CredentialProvider, request: &Request) -> Result<Answer, String> {
    let failed = |problem: String| {
        format!("error execing credential provider plugin {} for image {}: {problem}", provider.name, request.image)
    };
    let input = serde_json::to_vec(request).map_err(|error| format!("failed to encode auth request: {error}"))?;
    let done = tokio::time::timeout(LONGEST, exchange(&directory.join(&provider.name), provider, input)).await;
    let (status, output, words) =
        done.map_err(|_| failed("context deadline exceeded".to_owned()))?.map_err(|error| failed(error.to_string()))?;
    if !status.success() {
        return Err(format!("{}: {}", failed(status.to_string()), String::from_utf8_lossy(&words).trim()));
    }
    parsed(&output, &provider.api_version)
}

async fn exchange(
    program: &Path,
    provider: &CredentialProvider,
    input: Vec<u8>,
) -> std::io::Result<(std::process::ExitStatus, Vec<u8>, Vec<u8>)> {
    let mut child = Command::new(program)
        .args(&provider.args)
        .envs(provider.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let tell = async move {
        if let Some(mut stdin) = stdin {
            // One that does not listen may still answer.
            let _ = stdin.write_all(&input).await;
        }
    };
    let ((), output, words) = tokio::join!(tell, bounded(stdout, MOST_ANSWER), bounded(stderr, MOST_WORDS));
    let status = child.wait().await?;
    Ok((status, output?, words?))
}

/// Reads to the end; what is beyond the limit is read and forgotten, so that the writer does not wait for ever.
async fn bounded(from: Option<impl AsyncRead + Unpin>, limit: u64) -> std::io::Result<Vec<u8>> {
    let Some(mut from) = from else { return Ok(Vec::new()) };
    let mut bytes = Vec::new();
    (&mut from).take(limit).read_to_end(&mut bytes).await?;
    tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    Ok(bytes)
}

fn parsed(output: &[u8], version: &str) -> Result<Answer, String> {
    let wrong = || "error decoding credential provider plugin response from stdout".to_owned();
    let response: Response = serde_json::from_slice(output).map_err(|_| wrong())?;
    if response.api_version != version {
        return Err(format!(
            "apiVersion from credential plugin response did not match expected apiVersion:{version}, actual apiVersion:{}",
            response.api_version
        ));
    }
    if response.kind != "CredentialProviderResponse" {
        return Err(wrong());
    }
    let holds = match response.cache_duration.as_deref() {
        None => None,
        Some(text) => Some(duration(text).ok_or_else(wrong)?),
    };
    Ok(Answer { key: response.cache_key_type, holds, auth: response.auth.unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const V1: &str = "credentialprovider.kubelet.k8s.io/v1";

    fn provider(args: &[&str]) -> CredentialProvider {
        CredentialProvider {
            name: "plugin".into(),
            match_images: vec!["*".into()],
            default_cache: Duration::ZERO,
            api_version: V1.into(),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            env: vec![("SECRET".into(), "s3cret".into())],
            token: None,
        }
    }

    async fn answer(script: &str, args: &[&str]) -> Result<Answer, String> {
        let dir = tempfile::tempdir().unwrap();
        // Written and closed by a process of its own: a fork of another test must not hold it open for writing.
        let path = dir.path().join("plugin");
        let text = format!("#!/bin/sh\n{script}\n");
        let made = std::process::Command::new("sh")
            .args(["-c", "printf %s \"$1\" > \"$2\"", "sh", &text])
            .arg(&path)
            .status()
            .unwrap();
        assert!(made.success());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let provider = provider(args);
        let request = Request::new(&provider, "r.io/a", "t0ken".into(), BTreeMap::new());
        run(dir.path(), &provider, &request).await
    }

    #[tokio::test]
    async fn a_plugin_hears_the_request_and_its_answer_is_read() {
        let script = r#"read request; case "$request" in *'"image":"r.io/a","serviceAccountToken":"t0ken"'*) ;; *) exit 7;; esac
echo "{\"kind\":\"CredentialProviderResponse\",\"apiVersion\":\"credentialprovider.kubelet.k8s.io/v1\",\"cacheKeyType\":\"Registry\",\"cacheDuration\":\"1m\",\"auth\":{\"r.io\":{\"username\":\"$1\",\"password\":\"$SECRET\"}}}""#;
        let answer = answer(&script.replace("read request", "request=$(cat)"), &["ann"]).await.unwrap();
        assert_eq!((answer.key, answer.holds), (CacheKey::Registry, Some(Duration::from_secs(60))));
        assert_eq!(answer.auth["r.io"], Login { username: "ann".into(), password: "s3cret".into() });
    }

    #[tokio::test]
    async fn a_plugin_that_fails_or_talks_otherwise_is_told() {
        let failed = answer("echo no such account >&2; exit 3", &[]).await.unwrap_err();
        assert!(failed.contains("plugin plugin for image r.io/a") && failed.contains("no such account"), "{failed}");
        let silent = answer("exit 0", &[]).await.unwrap_err();
        assert_eq!(silent, "error decoding credential provider plugin response from stdout");
        let other =
            answer(r#"echo '{"kind":"CredentialProviderResponse","apiVersion":"v2","cacheKeyType":"Image"}'"#, &[]);
        assert!(other.await.unwrap_err().contains("actual apiVersion:v2"));
        let dir = tempfile::tempdir().unwrap();
        let request = Request::new(&provider(&[]), "r.io/a", String::new(), BTreeMap::new());
        assert!(run(dir.path(), &provider(&[]), &request).await.is_err(), "there is no program");
    }
}
