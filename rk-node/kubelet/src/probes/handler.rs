//! Running one probe or lifecycle handler against a container.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, ExecAction, HTTPGetAction, LifecycleHandler, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::exec::ExecError;
use super::{exec, grpc, http, target, tcp};
use crate::runtime::Runtime;
use crate::translate::expand;

/// The reason of the event about a hook that was asked for with TLS, and went without.
pub const FALLBACK: &str = "LifecycleHTTPFallback";

/// Where a handler runs.
#[derive(Clone)]
pub struct HandlerContext {
    /// The runtime.
    pub runtime: Runtime,
    /// The pod, as messages name it.
    pub pod: String,
    /// The container's ID.
    pub container_id: String,
    /// Its spec, for named ports.
    pub container: Container,
    /// The pod's address, the default host of network handlers.
    pub pod_ip: String,
}

/// A handler that failed, in words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct HandlerError(pub String);

fn port(context: &HandlerContext, port: &IntOrString) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(text) => match text.parse::<i32>() {
            Ok(number) => number,
            Err(_) => context
                .container
                .ports
                .iter()
                .flatten()
                .find(|p| p.name.as_deref() == Some(text))
                .map(|p| p.container_port)
                .ok_or_else(|| format!("couldn't find port: {port:?}"))?,
        },
    };
    u16::try_from(number).ok().filter(|p| *p > 0).ok_or_else(|| format!("invalid port number: {number}"))
}

/// The command of a probe, with the variables of its container in it as the spec writes them: `$(NAME)` of one that comes from elsewhere is
/// empty, and no value is made of others, as upstream. Hooks run what they say.
fn probe_command(action: &ExecAction, container: &Container) -> Vec<String> {
    let written = |name: &str| {
        let last = container.env.iter().flatten().rfind(|variable| variable.name == name);
        last.map(|variable| variable.value.clone().unwrap_or_default())
    };
    action.command.iter().flatten().map(|text| expand(text, written)).collect()
}

fn host<'a>(context: &'a HandlerContext, named: Option<&'a str>) -> &'a str {
    named.filter(|h| !h.is_empty()).unwrap_or(&context.pod_ip)
}

/// What one probe found.
#[derive(Debug)]
pub enum Finding {
    /// Good.
    Good,
    /// Good, with something to tell all the same, in the words of the ProbeWarning event.
    Odd(String),
    /// Bad, in the words of the Unhealthy event.
    Bad(String),
    /// It could not be done, or not be told by what came, which says nothing about the container.
    Errored {
        /// What upstream calls that.
        state: &'static str,
        /// Why.
        error: String,
    },
    /// The container does not run any more.
    Gone,
}

impl Finding {
    fn unknown(error: String) -> Self {
        Self::Errored { state: "unknown", error }
    }
}

impl From<Result<(), String>> for Finding {
    fn from(result: Result<(), String>) -> Self {
        match result {
            Ok(()) => Self::Good,
            Err(message) => Self::Bad(message),
        }
    }
}

/// How often in a row a probe is tried that cannot be done.
const ATTEMPTS: usize = 3;

/// Probes once; what says nothing is tried again at once, as upstream does.
pub async fn probe_once(context: &HandlerContext, probe: &Probe) -> Finding {
    for _ in 1..ATTEMPTS {
        match attempt(context, probe).await {
            Finding::Errored { .. } => {}
            finding => return finding,
        }
    }
    attempt(context, probe).await
}

async fn attempt(context: &HandlerContext, probe: &Probe) -> Finding {
    // Without a port or a handler there is nothing to judge by.
    network_or_exec(context, probe).await.unwrap_or_else(Finding::unknown)
}

async fn network_or_exec(context: &HandlerContext, probe: &Probe) -> Result<Finding, String> {
    let timeout = Duration::from_secs(probe.timeout_seconds.filter(|s| *s > 0).unwrap_or(1).unsigned_abs().into());
    if let Some(action) = &probe.exec {
        let command = probe_command(action, &context.container);
        return Ok(match exec::run(&context.runtime, &context.container_id, &command, timeout).await {
            Ok(()) => Finding::Good,
            Err(ExecError::Failed { error, output }) => Finding::Bad(if output.is_empty() { error } else { output }),
            Err(ExecError::Errored(message)) => Finding::unknown(message),
            Err(ExecError::Gone) => Finding::Gone,
        });
    }
    if let Some(action) = &probe.http_get {
        let port = port(context, &action.port)?;
        let host = host(context, action.host.as_deref());
        return Ok(match http::get(action, host, port, timeout, "kube-probe/1.36").await {
            Ok(answer) => judged(&answer),
            Err(message) => Finding::Bad(message),
        });
    }
    if let Some(action) = &probe.tcp_socket {
        let port = port(context, &action.port)?;
        return Ok(tcp::probe(host(context, action.host.as_deref()), port, timeout).await.into());
    }
    if let Some(action) = &probe.grpc {
        let port = u16::try_from(action.port).map_err(|_| format!("invalid port number: {}", action.port))?;
        return Ok(grpc::probe(&context.pod_ip, port, action.service.as_deref().unwrap_or_default(), timeout)
            .await
            .into());
    }
    Err("missing probe handler".into())
}

/// What an answer says of a container: nothing, whatever its status, when its body broke off. A redirect that ended the probe leads to
/// another host, of which it says nothing.
fn judged(answer: &http::Answer) -> Finding {
    let body = match &answer.body {
        Ok(body) => body,
        Err(error) => return Finding::Errored { state: "failure", error: error.clone() },
    };
    match answer.status {
        200..=299 => Finding::Good,
        300..=399 => Finding::Odd(format!("Probe terminated redirects, Response body: {body}")),
        status => Finding::Bad(format!("HTTP probe failed with statuscode: {status}")),
    }
}

/// Runs a postStart or preStop handler to its end. Callers bound it with the grace period, and tell of what it did otherwise than it was
/// asked to, by an event with the reason [`FALLBACK`].
pub async fn lifecycle_handler(
    context: &HandlerContext,
    handler: &LifecycleHandler,
) -> Result<Option<String>, HandlerError> {
    if let Some(action) = &handler.exec {
        let command = action.command.clone().unwrap_or_default();
        let result = exec::run(&context.runtime, &context.container_id, &command, Duration::ZERO).await;
        return result.map(|()| None).map_err(|error| {
            let (error, output) = error.parts();
            let hook = format!("Exec lifecycle hook ([{}])", command.join(" "));
            hook_failed(context, &hook, &format!("{error}, message: {output:?}"))
        });
    }
    if let Some(action) = &handler.http_get {
        let path = action.path.as_deref().unwrap_or_default();
        let failed = |error: String| hook_failed(context, &format!("HTTP lifecycle hook ({path})"), &error);
        let port = port(context, &action.port).map_err(failed)?;
        return ask(action, host(context, action.host.as_deref()), port).await.map_err(failed);
    }
    if let Some(action) = &handler.sleep {
        tokio::time::sleep(Duration::from_secs(action.seconds.max(0).unsigned_abs())).await;
        return Ok(None);
    }
    Err(HandlerError("Cannot run handler: invalid handler: it names no kind".into()))
}

/// Asks a server as a hook says, without TLS when it has none; then says so.
async fn ask(action: &HTTPGetAction, host: &str, port: u16) -> Result<Option<String>, String> {
    const AGENT: &str = "kube-lifecycle/1.36";
    let limit = Duration::from_secs(3600);
    let (answer, told) = match http::get(action, host, port, limit, AGENT).await {
        Err(error) if error.ends_with(http::PLAIN) => {
            let answer = http::get(&http::plain(action), host, port, limit, AGENT).await.map_err(|_| error)?;
            let at = target::authority(host, port);
            let told = format!("request to HTTPS lifecycle hook {at} got HTTP response, retry with HTTP succeeded");
            (answer, Some(told))
        }
        other => (other?, None),
    };
    // It was heard: a hook asks for no more.
    let body = answer.body.unwrap_or_default();
    tracing::debug!(status = answer.status, "lifecycle hook answered {body:.200}");
    Ok(told)
}

/// A hook that failed, in the words of the state of its container.
fn hook_failed(context: &HandlerContext, hook: &str, error: &str) -> HandlerError {
    let (name, pod) = (&context.container.name, &context.pod);
    HandlerError(format!("{hook} for Container {name:?} in Pod {pod:?} failed - error: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> HandlerContext {
        HandlerContext {
            runtime: Runtime::connect(std::path::Path::new("/nowhere/cri.sock")),
            pod: "p_ns(u)".into(),
            container_id: "id".into(),
            container: Container { name: "c".into(), ..Default::default() },
            pod_ip: "127.0.0.1".into(),
        }
    }

    #[test]
    fn the_command_of_a_probe_has_the_variables_that_its_container_writes_down() {
        let from = serde_json::json!({"fieldRef": {"fieldPath": "metadata.name"}});
        let env = serde_json::json!([{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)"},
            {"name": "C", "valueFrom": from}, {"name": "A", "value": "2"}]);
        let container = serde_json::from_value(serde_json::json!({"name": "c", "env": env})).unwrap();
        for (text, want) in [("$(A)/x", "2/x"), ("$(B)", "$(A)"), ("<$(C)>", "<>"), ("$(D)", "$(D)"), ("$$(A)", "$(A)")]
        {
            let action = ExecAction { command: Some(vec!["sh".into(), text.into()]) };
            assert_eq!(probe_command(&action, &container), ["sh", want]);
        }
        assert!(probe_command(&ExecAction::default(), &container).is_empty());
    }

    #[tokio::test]
    async fn a_hook_that_fails_is_told_with_its_kind_its_container_and_its_pod() {
        let told = |handler: serde_json::Value| async move {
            let handler: LifecycleHandler = serde_json::from_value(handler).unwrap();
            lifecycle_handler(&context(), &handler).await.err().map(|error| error.to_string())
        };
        let of = "for Container \"c\" in Pod \"p_ns(u)\" failed - error: ";
        let command = told(serde_json::json!({"exec": {"command": ["sh", "-c", "x"]}})).await.unwrap();
        assert!(command.starts_with(&format!("Exec lifecycle hook ([sh -c x]) {of}")), "{command}");
        assert!(command.ends_with(", message: \"\""), "{command}");
        let asked = told(serde_json::json!({"httpGet": {"path": "/x", "port": "web"}})).await.unwrap();
        assert!(asked.starts_with(&format!("HTTP lifecycle hook (/x) {of}couldn't find port: ")), "{asked}");
        assert_eq!(told(serde_json::json!({"sleep": {"seconds": 0}})).await, None);
        assert!(told(serde_json::json!({})).await.unwrap().starts_with("Cannot run handler: "));
    }

    #[tokio::test]
    async fn a_hook_that_asks_with_tls_goes_without_where_there_is_none() {
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = server.local_addr().unwrap().port();
        let heads = tokio::spawn(async move {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let mut heads = Vec::new();
            for status in ["400 Bad Request", "200 OK"] {
                let (mut stream, _) = server.accept().await.unwrap();
                let mut head = vec![0; 8192];
                let read = stream.read(&mut head).await.unwrap();
                heads.push(String::from_utf8_lossy(&head[..read]).to_lowercase());
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            heads
        });
        let headers =
            serde_json::json!([{"name": "Authorization", "value": "secret"}, {"name": "X-Own", "value": "1"}]);
        let action = serde_json::json!({"scheme": "HTTPS", "port": port, "httpHeaders": headers});
        let hook = serde_json::from_value(serde_json::json!({"httpGet": action})).unwrap();
        let fell = lifecycle_handler(&context(), &hook).await.unwrap().unwrap();
        let after = "got HTTP response, retry with HTTP succeeded";
        assert_eq!(fell, format!("request to HTTPS lifecycle hook 127.0.0.1:{port} {after}"));
        let plain = heads.await.unwrap().pop().unwrap();
        assert!(plain.starts_with("get / http/1.1") && plain.contains("x-own: 1"), "{plain}");
        assert!(!plain.contains("secret"), "{plain}");
    }

    #[test]
    fn an_answer_is_good_bad_or_odd() {
        let told = |status: u16, body: Result<&str, &str>| {
            let body = body.map(str::to_owned).map_err(str::to_owned);
            match judged(&super::http::Answer { status, body }) {
                Finding::Good => "good".to_owned(),
                Finding::Odd(message) | Finding::Bad(message) => message,
                Finding::Errored { state, error } => format!("{state}: {error}"),
                Finding::Gone => "gone".to_owned(),
            }
        };
        assert_eq!([told(200, Ok("")), told(204, Ok(""))], ["good", "good"]);
        assert_eq!(told(302, Ok("<a>")), "Probe terminated redirects, Response body: <a>");
        let failed = [199, 404].map(|code| format!("HTTP probe failed with statuscode: {code}"));
        assert_eq!([199, 404].map(|status| told(status, Ok(""))), failed);
        assert_eq!([200, 302, 500].map(|status| told(status, Err("torn"))), ["failure: torn"; 3]);
    }

    #[tokio::test]
    async fn a_probe_whose_answer_breaks_off_is_tried_three_times() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        const TORN: &str = "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 9\r\n\r\nx";
        const WHOLE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        for (answers, want) in [
            ([TORN, TORN, WHOLE], "Good"),
            ([TORN, TORN, TORN], "Errored { state: \"failure\", error: \"unexpected EOF\" }"),
        ] {
            let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let action =
                serde_json::json!({"httpGet": {"port": server.local_addr().unwrap().port()}, "timeoutSeconds": 60});
            let probe: Probe = serde_json::from_value(action).unwrap();
            let context = context();
            let answering = async {
                for answer in answers {
                    let (mut stream, _) = server.accept().await.unwrap();
                    assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            };
            let (finding, ()) = tokio::join!(probe_once(&context, &probe), answering);
            assert_eq!(format!("{finding:?}"), want);
        }
    }
}
