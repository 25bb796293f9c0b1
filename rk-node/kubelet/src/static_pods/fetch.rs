//! Static pods from an address that is asked again and again (upstream's `pkg/kubelet/config/http.go`).

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri, header::LOCATION};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use k8s_openapi::api::core::v1::Pod;
use kube::client::Body;
use serde_json::Value;
use tokio::sync::watch;

use super::document::document;
use super::source::{HTTP, parse};
use crate::api_error;
use crate::join::{PkiError, WebConnector, web_connector};
use crate::options::PodUrl;
use crate::pod::spec;

/// Larger answers are no pods.
const MAX_BYTES: usize = 10 << 20;
/// One question, redirects included.
const TIMEOUT: Duration = Duration::from_secs(10);
const MAX_REDIRECTS: usize = 10;
/// Failures in a row that are worth a warning each.
const LOUD: u32 = 3;
/// More pods than a node runs are a mistake.
const MAX_PODS: usize = 256;

/// What an address told last.
#[derive(Clone, Debug, Default)]
pub struct Fetched {
    /// It was heard once, or there is none.
    pub heard: bool,
    /// Its pods, each with a name that no file has.
    pub pods: Vec<(OsString, Pod)>,
}

/// What came of a question.
#[derive(Debug)]
enum Found {
    /// What came the last time.
    Same,
    /// These pods.
    Pods(Vec<(OsString, Pod)>),
    /// Not a byte.
    Nothing,
}

/// Who asks.
pub struct Asker {
    rules: PodUrl,
    node: String,
    /// Of the type of the client that asks the API server: there is one in the program.
    client: Client<WebConnector, Body>,
    /// What came the last time, whether it could be read or not.
    last: Bytes,
}

impl Asker {
    /// Asks servers that the public authorities or the cluster's own (`ca_pem`) vouch for.
    ///
    /// # Errors
    /// The cluster's authority cannot be used.
    pub fn new(rules: PodUrl, node: String, ca_pem: &str) -> Result<Self, PkiError> {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(5))
            .build(web_connector(ca_pem)?);
        Ok(Self { rules, node, client, last: Bytes::new() })
    }

    /// Asks once.
    async fn look(&mut self) -> Result<Found, String> {
        let data = match tokio::time::timeout(TIMEOUT, self.get()).await {
            Ok(data) => data?,
            Err(_) => return Err(format!("no answer within {} s", TIMEOUT.as_secs())),
        };
        if data.is_empty() {
            self.last = data;
            return Ok(Found::Nothing);
        }
        if data == self.last {
            return Ok(Found::Same);
        }
        // What cannot be read is told once, as upstream does: it stays unread.
        self.last = data;
        decode(&self.last, &self.rules.url, &self.node).map(Found::Pods)
    }

    async fn get(&self) -> Result<Bytes, String> {
        let home: Uri = self.rules.url.parse().map_err(|error| format!("parse: {error}"))?;
        let mut uri = home.clone();
        for _ in 0..=MAX_REDIRECTS {
            let response = self.client.request(self.request(&uri, &home)?).await;
            let response = response.map_err(|error| api_error::chain(&error))?;
            match redirect(&uri, &response) {
                Some(next) => uri = next,
                None => return body(response).await,
            }
        }
        Err(format!("stopped after {MAX_REDIRECTS} redirects"))
    }

    /// Headers are for the server that is named, and for nobody whom it points to.
    fn request(&self, uri: &Uri, home: &Uri) -> Result<Request<Body>, String> {
        let mut request = Request::get(uri.clone());
        if (uri.scheme(), uri.authority()) == (home.scheme(), home.authority()) {
            for (name, value) in self.rules.headers.iter().flat_map(|(n, values)| values.iter().map(move |v| (n, v))) {
                request = request.header(name, value);
            }
        }
        request.body(Body::empty()).map_err(|error| error.to_string())
    }
}

async fn body(response: Response<Incoming>) -> Result<Bytes, String> {
    if response.status() != StatusCode::OK {
        return Err(response.status().to_string());
    }
    match Limited::new(response.into_body(), MAX_BYTES).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) => Err(error.to_string()),
    }
}

/// Where an answer leads, never out of TLS.
fn redirect<B>(from: &Uri, response: &Response<B>) -> Option<Uri> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    let whole = match location.starts_with('/') && !location.starts_with("//") {
        true => format!("{}://{}{location}", from.scheme_str()?, from.authority()?),
        false => location.to_owned(),
    };
    let next: Uri = whole.parse().ok()?;
    let stays = match next.scheme_str() {
        Some("https") => true,
        Some("http") => from.scheme_str() == Some("http"),
        _ => false,
    };
    (next.host().is_some() && stays).then_some(next)
}

/// The pods of a document: one, or a list. A wrong one spoils them all.
fn decode(data: &[u8], url: &str, node: &str) -> Result<Vec<(OsString, Pod)>, String> {
    let text = std::str::from_utf8(data).map_err(|error| error.to_string())?;
    let document = document(text)?;
    let single = std::slice::from_ref(&document);
    let items = match document.get("kind").and_then(Value::as_str) {
        Some("Pod") => single,
        Some("PodList") => document.get("items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default(),
        other => return Err(format!("couldn't parse as single or multiple pods: its kind is {other:?}")),
    };
    if items.len() > MAX_PODS {
        return Err(format!("more than {MAX_PODS} pods"));
    }
    let one = |item: &Value| -> Result<(OsString, Pod), String> {
        let pod = parse(&item.to_string(), Path::new(&format!("url:{url}")), HTTP, node)
            .map_err(|problem| format!("invalid pod: {problem}"))?;
        Ok((OsString::from(format!("url/{}/{}", spec::namespace(&pod), spec::name(&pod))), pod))
    };
    items.iter().map(one).collect()
}

/// Asks for ever.
pub async fn fetch_loop(mut asker: Asker, tell: watch::Sender<Fetched>) {
    let mut failures = 0;
    loop {
        let problem = match asker.look().await {
            Ok(Found::Same) => None,
            Ok(Found::Pods(pods)) => {
                tell.send_replace(Fetched { heard: true, pods });
                None
            }
            Ok(Found::Nothing) => {
                let nothing = Fetched { heard: true, pods: Vec::new() };
                tell.send_if_modified(|known| {
                    let news = !known.heard || !known.pods.is_empty();
                    *known = nothing;
                    news
                });
                Some("zero-length data received".to_owned())
            }
            Err(problem) => Some(problem),
        };
        failures = report(failures, problem);
        tokio::time::sleep(asker.rules.every).await;
    }
}

/// Tells what went wrong, not too often; how often in a row that was.
fn report(failures: u32, problem: Option<String>) -> u32 {
    match problem {
        None if failures > 0 => {
            tracing::info!("Successfully read pods from URL.");
            0
        }
        None => 0,
        Some(problem) if failures < LOUD => {
            tracing::warn!("Failed to read pods from URL: {problem}");
            failures + 1
        }
        Some(problem) => {
            tracing::debug!("Failed to read pods from URL: {problem}");
            failures.saturating_add(1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::source::{annotation, is_static};
    use super::*;
    use crate::runtime::CONFIG_SOURCE;
    use serde_json::json;

    const URL: &str = "http://h/pods";

    fn pod(name: &str, image: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {"containers": [{"name": "c", "image": image}]}})
    }

    fn names(document: &str) -> Result<Vec<String>, String> {
        let pods = decode(document.as_bytes(), URL, "node-1")?;
        Ok(pods.iter().map(|(_, pod)| spec::name(pod).to_owned()).collect())
    }

    #[test]
    fn a_document_is_one_pod_or_a_list_and_a_wrong_one_spoils_it() {
        let list = |items: &[Value]| json!({"apiVersion": "v1", "kind": "PodList", "items": items}).to_string();
        let owned = |names: &[&str]| -> Result<Vec<String>, String> {
            Ok(names.iter().map(|name| (*name).to_owned()).collect())
        };
        assert_eq!(names(&pod("a", "i").to_string()), owned(&["a-node-1"]));
        assert_eq!(
            names("kind: Pod\nmetadata: {name: w}\nspec: {containers: [{name: c, image: i}]}"),
            owned(&["w-node-1"])
        );
        assert_eq!(names(&list(&[pod("a", "i"), pod("b", "i")])), owned(&["a-node-1", "b-node-1"]));
        assert_eq!(names(&list(&[])), owned(&[]));
        let mut secretive = pod("a", "i");
        secretive["spec"]["imagePullSecrets"] = json!([{"name": "s"}]);
        for (wrong, word) in [
            (list(&[pod("a", "i"), json!({"kind": "Pod", "metadata": {"name": "b"}})]), "invalid pod: spec is missing"),
            (
                secretive.to_string(),
                "invalid pod: static pods may not reference secrets: spec.imagePullSecrets[0].name names \"s\"",
            ),
            (json!({"kind": "Job"}).to_string(), "couldn't parse as single or multiple pods"),
            ("[".to_owned(), ""),
            ("{}".to_owned(), "couldn't parse"),
            (list(&vec![pod("a", "i"); MAX_PODS + 1]), "more than 256 pods"),
        ] {
            let told = names(&wrong).expect_err(&wrong);
            assert!(told.contains(word), "{told}");
        }
        let (_, made) = decode(pod("a", "i").to_string().as_bytes(), URL, "n").unwrap().remove(0);
        assert_eq!((is_static(&made), annotation(&made, CONFIG_SOURCE)), (true, Some("http")));
        // A pod of an address is not kept from being evicted, as one of a file is.
        assert_eq!(made.spec.unwrap().tolerations, None);
        let (_, other) = decode(pod("a", "j").to_string().as_bytes(), URL, "n").unwrap().remove(0);
        assert_ne!(made.metadata.uid, other.metadata.uid, "another content is another pod");
    }

    #[test]
    fn redirects_are_followed_but_never_out_of_tls() {
        let from: Uri = "https://h:1/a?b".parse().unwrap();
        for (status, location, want) in [
            (302, "/c", Some("https://h:1/c")),
            (307, "https://other/c", Some("https://other/c")),
            (302, "http://other/c", None),
            (302, "c", None),
            (200, "/c", None),
        ] {
            let response = Response::builder().status(status).header(LOCATION, location).body(()).unwrap();
            assert_eq!(redirect(&from, &response).map(|uri| uri.to_string()).as_deref(), want, "{location}");
        }
    }

    #[test]
    fn failures_are_counted_until_something_is_read() {
        let failed = || Some("no".to_owned());
        let told = [failed(), failed(), failed(), failed(), None, None, failed()];
        let counts = told.into_iter().scan(0, |failures, problem| {
            *failures = report(*failures, problem);
            Some(*failures)
        });
        assert_eq!(counts.collect::<Vec<_>>(), [1, 2, 3, 4, 0, 0, 1]);
    }
}
