//! The API as a service of this process.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::USER_AGENT;
use http::{HeaderValue, Request, Response};
use http_body_util::BodyExt;

use crate::authn::User;
use crate::discovery::GIT_VERSION;
use crate::http::{Body, BoxError, Connection, Peer};
use crate::server::{Core, UNMANAGED};

/// The API as a [`tower::Service`] in this process: no sockets, no TLS, the same path as any other request.
#[derive(Clone)]
pub struct InProcess {
    core: Arc<Core>,
    connection: Arc<Connection>,
    /// The program that a component is elsewhere: fields that it writes are its own by this name.
    agent: Option<HeaderValue>,
}

impl InProcess {
    pub(crate) fn new(core: Arc<Core>, user: User) -> Self {
        let agent = agent(&user.name);
        let connection = Arc::new(Connection { peer: Peer::InProcess(Arc::new(user)), address: None });
        Self { core, connection, agent }
    }
}

/// The user agent of a component, if a user is one.
fn agent(user: &str) -> Option<HeaderValue> {
    let program = match user {
        "system:kube-scheduler" => "kube-scheduler",
        "system:kube-controller-manager" => "kube-controller-manager",
        account if account.starts_with("system:serviceaccount:kube-system:") => "kube-controller-manager",
        _ => return None,
    };
    HeaderValue::try_from(format!("{program}/{GIT_VERSION}")).ok()
}

impl<B> tower::Service<Request<B>> for InProcess
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let core = Arc::clone(&self.core);
        let connection = Arc::clone(&self.connection);
        let mut request = request;
        if let Some(agent) = self.agent.clone() {
            request.headers_mut().entry(USER_AGENT).or_insert(agent);
            request.headers_mut().insert(UNMANAGED, HeaderValue::from_static("true"));
        }
        Box::pin(async move {
            let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
            Ok(core.handle(request, &connection).await)
        })
    }
}
