//! Which path does what.

use std::sync::Arc;
use std::time::Instant;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use k8s_openapi::List;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::auth::{self, Auth, User};
use super::body::{Body, Refusal, json, refuse, text};
use super::health::Health;
use super::pages::{Name, Pages};
use super::params::Params;
use super::rates::Rates;
use super::requests::{Counted, Server};
use super::{cadvisor, checkpoint, configz, container_logs, flagz, metrics, node_logs, statusz, streaming, summary};
use crate::context::Shared;
use crate::join::{Pki, Session};
use crate::meters::LinkMeters;
use crate::pod::spec;
use crate::runtime::{self, RuntimeContainer, RuntimePod};
use crate::views::PodViews;

/// What handlers work with.
pub struct State {
    /// Shared handles.
    pub context: Shared,
    /// The pods of this node.
    pub pods: PodViews,
    /// CPU readings of the node and its services.
    pub rates: Rates,
    /// Where the kubelet's certificates are.
    pub certificates: Pki,
    /// What is counted of the ties to the API server.
    pub link: Arc<LinkMeters>,
    pages: Pages,
    auth: Auth,
    health: Health,
}

impl State {
    /// State for the server.
    pub fn new(context: Shared, session: &Session) -> Arc<Self> {
        let (pods, certificates, link) = (context.pods.clone(), session.pki.clone(), session.link.meters.clone());
        let auth = Auth::new(context.client.clone(), context.options.node_name.clone());
        let health = Health::new(context.sync_loop.clone());
        let (rates, pages) = (Rates::default(), Pages::default());
        Arc::new(Self { context, pods, rates, certificates, link, pages, auth, health })
    }

    /// A pod by name, of this UID when one is given.
    pub fn pod(&self, namespace: &str, name: &str, uid: Option<&str>) -> Result<Arc<Pod>, Refusal> {
        self.pods
            .find(namespace, name)
            .filter(|pod| uid.is_none_or(|uid| spec::uid(pod) == uid))
            .ok_or_else(|| refuse(StatusCode::NOT_FOUND, format!("pod \"{namespace}/{name}\" does not exist")))
    }

    /// What the runtime holds of a pod.
    pub async fn runtime_pod(&self, pod: &Pod) -> Result<RuntimePod, Refusal> {
        self.context
            .runtime
            .pod(spec::uid(pod))
            .await
            .map_err(|e| refuse(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))
    }

    /// The running instance of a container.
    pub async fn running(&self, pod: &Pod, container: &str) -> Result<RuntimeContainer, Refusal> {
        let found = self.runtime_pod(pod).await?;
        match found.container(container) {
            Some(c) if c.running() => Ok(c.clone()),
            _ => Err(refuse(StatusCode::NOT_FOUND, format!("container not found (\"{container}\")"))),
        }
    }
}

/// Handles one request.
pub async fn handle(state: Arc<State>, certificate: Option<User>, request: Request<Incoming>) -> Response<Body> {
    let (counted, begun) = (Counted::of(&request, Server::ReadWrite), Instant::now());
    let response = answer(&state, certificate, request).await;
    counted.answered(&state.context.runtime.meters, begun.elapsed());
    response
}

async fn answer(state: &Arc<State>, certificate: Option<User>, request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let user = match state.auth.user(certificate.as_ref(), request.headers()).await {
        Ok(Some(user)) => user,
        Ok(None) => return text(StatusCode::UNAUTHORIZED, "Unauthorized"),
        Err(error) => {
            tracing::warn!("a token could not be reviewed: {}", crate::api_error::chain(&error));
            return text(StatusCode::UNAUTHORIZED, "Unauthorized");
        }
    };
    match state.auth.allowed(&user, request.method(), &path).await {
        Ok(true) => {}
        Ok(false) => {
            return text(StatusCode::FORBIDDEN, auth::refusal(&user, request.method(), &path));
        }
        Err(error) => {
            tracing::warn!(user = %user.name, "a request could not be authorized: {}", crate::api_error::chain(&error));
            return text(StatusCode::INTERNAL_SERVER_ERROR, "Authorization error");
        }
    }
    route(state, request, &path).await.unwrap_or_else(Into::into)
}

/// Answers a request that is allowed.
pub async fn route(state: &Arc<State>, request: Request<Incoming>, path: &str) -> Result<Response<Body>, Refusal> {
    let params = Params::parse(request.uri().query());
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let read = matches!(*request.method(), Method::GET | Method::HEAD);
    if !state.context.options.debugging && looks_inside(&parts) {
        return Err(refuse(StatusCode::METHOD_NOT_ALLOWED, "Debug endpoints are disabled.\n"));
    }
    match parts.as_slice() {
        ["healthz"] if read => Ok(state.health.answer(None, request.uri().query())),
        ["healthz", name] if read => Ok(state.health.answer(Some(*name), None)),
        ["metrics", "slis"] if read => Ok(state.health.metrics()),
        ["logs", ..] if !state.context.options.system_logs => {
            Err(refuse(StatusCode::METHOD_NOT_ALLOWED, "logs endpoint is disabled.\n"))
        }
        ["logs", ..] if read => {
            let pods = &state.context.options.dirs.pod_logs;
            node_logs::logs(pods.parent().unwrap_or(pods), path).await
        }
        ["pods"] if read => Ok(json(&pod_list(state))),
        ["runningpods"] if read => running_pods(state).await,
        ["configz"] if read => Ok(json(&configz::configz(&state.context.options))),
        ["flagz"] if read => flagz::flagz(&state.context.options, request.headers()),
        ["statusz"] if read => statusz::statusz(request.headers()),
        ["metrics"] if read => Ok(page(state, Name::Kubelet).await),
        ["metrics", "resource"] if read => Ok(page(state, Name::Resource).await),
        ["metrics", "cadvisor"] if read => Ok(page(state, Name::Cadvisor).await),
        ["metrics", "probes"] if read => Ok(metrics::probes(state)),
        ["stats", "summary"] if read => match params.is_set(&["only_cpu_and_memory"]) {
            true => Ok(page(state, Name::CpuAndMemory).await),
            false => Ok(page(state, Name::Summary).await),
        },
        ["containerLogs", namespace, pod, container] if read => {
            container_logs::logs(state, namespace, pod, container, &params).await
        }
        ["exec", namespace, pod, container] => {
            streaming::exec(state, request, (namespace, pod, None), container, &params).await
        }
        ["exec", namespace, pod, uid, container] => {
            streaming::exec(state, request, (namespace, pod, Some(uid)), container, &params).await
        }
        ["attach", namespace, pod, container] => {
            streaming::attach(state, request, (namespace, pod, None), container, &params).await
        }
        ["attach", namespace, pod, uid, container] => {
            streaming::attach(state, request, (namespace, pod, Some(uid)), container, &params).await
        }
        ["portForward", namespace, pod] => {
            streaming::port_forward(state, request, (namespace, pod, None), &params).await
        }
        ["portForward", namespace, pod, uid] => {
            streaming::port_forward(state, request, (namespace, pod, Some(uid)), &params).await
        }
        ["checkpoint", namespace, pod, container] if *request.method() == Method::POST => {
            checkpoint::checkpoint(state, namespace, pod, container, &params).await
        }
        ["run", namespace, pod, container] if *request.method() == Method::POST => {
            run(state, (namespace, pod, None), container, &params).await
        }
        ["run", namespace, pod, uid, container] if *request.method() == Method::POST => {
            run(state, (namespace, pod, Some(uid)), container, &params).await
        }
        _ => Err(refuse(StatusCode::NOT_FOUND, "404 page not found\n")),
    }
}

/// Whether a path leads into containers, or tells what runs in them beside what the API knows.
fn looks_inside(parts: &[&str]) -> bool {
    const INSIDE: [&str; 8] = ["run", "exec", "attach", "portForward", "containerLogs", "runningpods", "debug", "logs"];
    parts.first().is_some_and(|first| INSIDE.contains(first))
}

/// A page that costs much to make.
async fn page(state: &Arc<State>, name: Name) -> Response<Body> {
    let held = Arc::clone(state);
    let make = || async move {
        match name {
            Name::Kubelet => metrics::kubelet(&held).await,
            Name::Resource => metrics::resource(&held).await,
            Name::Cadvisor => cadvisor::cadvisor(&held).await,
            Name::Summary => summary::summary(&held, false).await,
            Name::CpuAndMemory => summary::summary(&held, true).await,
        }
    };
    state.pages.get(name, make).await
}

fn pod_list(state: &State) -> List<Pod> {
    let items = state
        .pods
        .all()
        .iter()
        .map(|pod| {
            let mut pod = (**pod).clone();
            // The kubelet's own view may be newer than the API's.
            pod.status = state.context.status.latest(spec::uid(&pod)).or(pod.status);
            pod
        })
        .collect();
    List { items, ..Default::default() }
}

async fn running_pods(state: &State) -> Result<Response<Body>, Refusal> {
    let failed = |e: runtime::RuntimeError| refuse(StatusCode::INTERNAL_SERVER_ERROR, e.to_string());
    let mut items: std::collections::BTreeMap<String, serde_json::Value> = Default::default();
    for container in state.context.runtime.list_containers().await.map_err(failed)? {
        if container.state != rk_cri_api::v1::ContainerState::ContainerRunning as i32 {
            continue;
        }
        let label = |key: &str| container.labels.get(key).cloned().unwrap_or_default();
        let entry = items.entry(label(runtime::POD_UID)).or_insert_with(|| {
            json!({"metadata": {"name": label(runtime::POD_NAME), "namespace": label(runtime::POD_NAMESPACE), "uid": label(runtime::POD_UID)},
                "spec": {"containers": []}, "status": {}})
        });
        let one =
            json!({"name": label(runtime::CONTAINER_NAME), "image": container.image.map(|i| i.image), "resources": {}});
        if let Some(list) = entry.pointer_mut("/spec/containers").and_then(|c| c.as_array_mut()) {
            list.push(one);
        }
    }
    let items: Vec<_> = items.into_values().collect();
    Ok(json(&json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})))
}

/// Runs a command and returns its output.
async fn run(
    state: &State,
    target: streaming::Target<'_>,
    container: &str,
    params: &Params,
) -> Result<Response<Body>, Refusal> {
    let pod = state.pod(target.0, target.1, target.2)?;
    let container = state.running(&pod, container).await?;
    let command = params.get("cmd").unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    let failed = |e: runtime::RuntimeError| refuse(StatusCode::INTERNAL_SERVER_ERROR, e.to_string());
    let answer =
        state.context.runtime.exec_sync(&container.id, command, std::time::Duration::ZERO).await.map_err(failed)?;
    let mut output = answer.stdout;
    output.extend_from_slice(&answer.stderr);
    Ok(super::body::response(StatusCode::OK, "text/plain; charset=utf-8", output))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_into_containers_are_told_from_those_about_the_node() {
        for (path, want) in [
            ("/exec/ns/p/c", true),
            ("/containerLogs/ns/p/c", true),
            ("/runningpods/", true),
            ("/logs/", true),
            ("/debug/pprof", true),
            ("/pods", false),
            ("/metrics/cadvisor", false),
            ("/", false),
        ] {
            let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
            assert_eq!(looks_inside(&parts), want, "{path}");
        }
    }
}
