//! The server as a whole: what is shared between requests, and the way of one request through it.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use futures::FutureExt as _;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap};
use http::{HeaderValue, Method, Request, Response};
use http_body_util::BodyExt;
use rk_api::resources::Registry;
use rk_api::status::Status;
use rk_store::Store;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::aggregation::Aggregated;
use crate::alloc::ServiceAllocator;
use crate::audit::{self, Audit};
use crate::authn::{self, ClientCertificates, SecretTokens, TokenIssuer, User};
use crate::authz::Authorizer;
use crate::callout::Callouts;
use crate::config::Config;
use crate::deadline::{self, is_late, lasts};
use crate::discovery::{self, Discovery};
use crate::handlers;
use crate::health::{Health, Hook};
use crate::http::{
    Accept, Body, BoxError, Connection, Limits, Query, RequestInfo, ResourcePath, add_warnings, counted,
    serve_listener, status_response, wants_pretty,
};
use crate::in_process::InProcess;
use crate::metrics::{Filter, Metrics};
use crate::pki::Pki;
use crate::proxy::KubeletClient;
use crate::storage::{self, Storage};
use crate::tls::Identities;
use crate::{admission, aggregation, bootstrap, custom, flow, tls};

/// What configurations come as that are to be applied.
const APPLY: &str = "application/apply-patch+yaml";

/// A watch that carries this header is told of objects without their managed fields. Components in this process do: their caches drop them,
/// and to write, to read and to drop them is a third of what an event costs.
pub(crate) const UNMANAGED: &str = "x-rk-unmanaged";

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store cannot be read.
    #[error("the store cannot be read")]
    Store(#[from] rk_store::StoreError),
    /// The audit log cannot be written.
    #[error("the audit log {path} cannot be opened")]
    Audit {
        /// Its path.
        path: String,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// A key or certificate cannot be used.
    #[error("{what} cannot be used; check the PKI directory")]
    Tls {
        /// Which.
        what: &'static str,
        /// The library's answer.
        #[source]
        source: BoxError,
    },
}

/// What all requests share.
pub struct Core {
    /// Settings.
    pub config: Config,
    registry: RwLock<Arc<Registry>>,
    /// Objects.
    pub storage: Arc<Storage>,
    /// Signs and checks service account tokens.
    pub tokens: TokenIssuer,
    /// Those that lie in Secrets.
    pub secret_tokens: SecretTokens,
    /// Decides who may do what.
    pub authorizer: Authorizer,
    /// Cluster IPs and node ports.
    pub services: ServiceAllocator,
    /// Speaks to kubelets.
    pub kubelets: KubeletClient,
    /// Discovery documents.
    pub discovery: Discovery,
    /// Kinds made by CustomResourceDefinitions.
    pub custom: custom::Served,
    /// Admission webhooks.
    pub webhooks: admission::Hooks,
    /// Admission policies.
    pub policies: admission::Policies,
    /// Calls webhooks.
    pub callouts: Callouts,
    /// APIs that other servers serve.
    pub aggregated: Aggregated,
    /// Which FlowSchema a request matches.
    pub flows: flow::Flows,
    /// Health checks.
    pub health: Health,
    /// Figures for `/metrics`.
    pub metrics: Metrics,
    /// The cluster's authority, PEM.
    pub ca_certificate: String,
    /// The authority of this server's front proxy certificate, PEM.
    pub front_proxy_ca: String,
    /// Tells who did what, if anybody wants to know.
    pub audit: Option<Arc<Audit>>,
    /// Ends long requests at shutdown.
    pub shutdown: CancellationToken,
}

impl Core {
    /// The resource table as of now.
    #[must_use]
    pub fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.registry.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Publishes a changed resource table and forgets what was made from the old one.
    pub fn set_registry(&self, registry: Registry) {
        *self.registry.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(registry);
        self.discovery.invalidate();
    }

    /// Serves one request. Never fails: every failure is a `Status`.
    pub async fn handle(self: &Arc<Self>, request: Request<Body>, connection: &Connection) -> Response<Body> {
        let id = audit::id_of(request.headers());
        let mut response = match &self.audit {
            None => self.answer(request, connection, &id).await,
            Some(audit) => audit::recorded(audit, &id, self.answer(request, connection, &id)).await,
        };
        response.headers_mut().insert(audit::AUDIT_ID, id);
        response
    }

    async fn answer(
        self: &Arc<Self>,
        request: Request<Body>,
        connection: &Connection,
        id: &HeaderValue,
    ) -> Response<Body> {
        let started = Instant::now();
        let head = request.method() == Method::HEAD;
        let query = Query::parse(request.uri().query().unwrap_or_default());
        let info = RequestInfo::parse(request.method(), request.uri().path(), &query);
        let pretty = wants_pretty(request.headers(), &query);
        let accepted: Vec<HeaderValue> = request.headers().get_all(ACCEPT).iter().cloned().collect();
        let (verb, path) = (told_verb(&info.verb, request.headers()), info.path.clone());
        let (resource, dry_run) = (info.resource.clone(), query.get("dryRun").is_some());
        let under_way = self.metrics.enter(&verb);
        let (mut warnings, mut matched) = (Vec::new(), None);
        let allotted = deadline::allotted(&info, &query);
        let answered = {
            // Large: moved nowhere.
            let answer = pin!(self.route(request, connection, id, (query, info), &mut warnings, &mut matched));
            deadline::within(allotted, answer).await
        };
        let mut response = match answered {
            Ok(response) => response,
            Err(status) => {
                audit::failed(&status);
                if is_late(&status) {
                    self.metrics.terminated(&verb, resource.as_ref(), status.code);
                }
                let accept = Accept::of_failure(accepted);
                status_response(&status, accept.format, pretty || accept.pretty)
            }
        };
        add_warnings(&mut response, &warnings);
        if let Some(matched) = matched {
            matched.tell(response.headers_mut());
        }
        if head {
            // HTTP/2 takes a body in answer to HEAD for a broken stream.
            *response.body_mut() = http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync();
        }
        let (code, took) = (response.status().as_u16(), started.elapsed());
        let resource = resource.filter(|path| !matches!(code, 401 | 403 | 404) || self.serves(path));
        tracing::debug!(verb, path, code, ms = took.as_millis() as u64, "request");
        drop(under_way);
        self.metrics.observe((verb.as_str(), path.as_str()), resource.as_ref(), dry_run, code, took);
        self.measured(response, (verb, path), resource)
    }

    /// Whether a path is one of the resource table. Who is refused, or finds nothing, may have named anything: of that no figures are
    /// kept.
    fn serves(&self, path: &ResourcePath) -> bool {
        let registry = self.registry();
        let resource = registry.get(&path.group, &path.version, &path.resource);
        resource.is_some_and(|own| path.subresource.is_empty() || own.subresource(&path.subresource).is_some())
    }

    /// Counts the bytes of an answer; streams have no length that would say anything.
    fn measured(
        self: &Arc<Self>,
        response: Response<Body>,
        (verb, path): (String, String),
        resource: Option<ResourcePath>,
    ) -> Response<Body> {
        if lasts(&verb, resource.as_ref()) || matches!(response.status().as_u16(), 101 | 405) {
            return response;
        }
        let core = Arc::clone(self);
        response.map(|body| counted(body, move |bytes| core.metrics.sized(&verb, &path, resource.as_ref(), bytes)))
    }

    async fn route(
        self: &Arc<Self>,
        mut request: Request<Body>,
        connection: &Connection,
        id: &HeaderValue,
        (query, info): (Query, RequestInfo),
        warnings: &mut Vec<String>,
        matched: &mut Option<flow::Matched>,
    ) -> Result<Response<Body>, Status> {
        let user = authn::authenticate(self, request.headers(), connection, warnings).await;
        if self.audit.is_some() {
            let asked = audit::Asked { uri: request.uri(), headers: request.headers(), connection, info: &info };
            let level = audit::begin(&asked, user.as_ref().ok());
            if level == audit::Level::RequestResponse {
                // What is shown in events must not be packed.
                request.headers_mut().remove(ACCEPT_ENCODING);
            }
        }
        if !lasts(&info.verb, info.resource.as_ref()) {
            query.timeout().map_err(Status::bad_request)?;
        }
        let user = user?;
        let user = authn::impersonate(self, request.headers(), user, &info).await?;
        if info.verb == "watch" || !lasts(&info.verb, info.resource.as_ref()) {
            *matched = self.metrics.access.timed(Filter::Fairness, || self.flows.matched(&user, &info));
        }
        self.authorizer.authorize(self, &user, &info).await?;
        if let Some(remote) = self.aggregated.serving(&info.path) {
            request.headers_mut().insert(audit::AUDIT_ID, id.clone());
            return aggregation::forward(self, &remote, &user, request).await;
        }
        match info.resource.clone() {
            Some(path) if !info.path.starts_with("//") => {
                let asked = handlers::Asked { user, path, verb: info.verb, query };
                handlers::dispatch(Arc::clone(self), asked, request, warnings).await
            }
            _ => discovery::serve(self, &user, &info, &query, request).await,
        }
    }
}

/// The verb as it is told: an apply is another thing than the patch as which it comes.
fn told_verb(verb: &str, headers: &HeaderMap) -> String {
    let is_apply = headers.get(CONTENT_TYPE).is_some_and(|own| own.as_bytes() == APPLY.as_bytes());
    if verb == "patch" && is_apply { "apply".to_owned() } else { verb.to_owned() }
}

/// The API server.
#[derive(Clone)]
pub struct ApiServer {
    core: Arc<Core>,
    tls: Arc<rustls::ServerConfig>,
    identities: Identities,
    certificates: Arc<ClientCertificates>,
    limits: Limits,
    /// Whether the server's own loops run.
    keeping: Arc<AtomicBool>,
}

impl ApiServer {
    /// Makes a server on a store and starts its background tasks; must be called inside a Tokio runtime. The server answers at
    /// once; [`ApiServer::bootstrap`] then makes the objects that every cluster has.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn new(config: Config, pki: &Pki, store: Arc<dyn Store>) -> Result<Self, StartError> {
        let shutdown = CancellationToken::new();
        let opened = config.audit.clone().map(|audit| {
            let path = audit.log.path.display().to_string();
            Audit::open(audit).map_err(|source| StartError::Audit { path, source })
        });
        let audit = opened.transpose()?;
        let storage = Arc::new(Storage::new(store));
        let start = storage.store().revision().await?;
        let tokens = TokenIssuer::new(&pki.service_account_key, &config.service_account_keys, &config.issuer)
            .map_err(|error| StartError::Tls { what: "the service account keys", source: error.into() })?;
        let certificates = Arc::new(tls::client_certificates(pki)?);
        let identities = Identities::new(pki)?;
        let tls = Arc::new(identities.server_config(Arc::clone(&certificates))?);
        let kubelets = KubeletClient::new(identities.kubelet_config(pki)?);
        let core = Arc::new(Core {
            registry: RwLock::new(Arc::new(Registry::builtin())),
            tokens,
            secret_tokens: SecretTokens::default(),
            authorizer: Authorizer::default(),
            services: ServiceAllocator::new(&config),
            kubelets,
            discovery: Discovery::default(),
            custom: custom::Served::default(),
            webhooks: admission::Hooks::default(),
            policies: admission::Policies::default(),
            callouts: Callouts::new(Arc::clone(&identities.front_proxy)),
            aggregated: Aggregated::default(),
            flows: flow::Flows::default(),
            health: Health::default(),
            metrics: Metrics::default(),
            ca_certificate: pki.ca_certificate().to_owned(),
            front_proxy_ca: pki.front_proxy_ca().to_owned(),
            audit,
            shutdown: shutdown.clone(),
            storage: Arc::clone(&storage),
            config,
        });
        storage.set_progress(start);
        tokio::spawn(storage::run_dispatcher(storage, start, shutdown).boxed());
        core.health.finish(Hook::Caches);
        Ok(Self { core, tls, identities, certificates, limits: Limits::default(), keeping: Arc::default() })
    }

    /// Makes what every cluster has: namespaces, default roles, the `kubernetes` and DNS Services, cluster-info, and repairs the
    /// allocations of Services. Safe to repeat; `/readyz` tells when it is done, and the first turns of the loops that it starts.
    ///
    /// # Errors
    /// The first object that could not be made, as a `Status`.
    pub async fn bootstrap(&self) -> Result<(), Status> {
        custom::sync(&self.core).await?;
        self.core.health.finish(Hook::CustomKinds);
        bootstrap::run(&self.core).await?;
        crate::alloc::settle(&self.core).await?;
        self.core.health.finish(Hook::ServiceAddresses);
        if !self.keeping.swap(true, Ordering::AcqRel) {
            tokio::spawn(crate::alloc::run_keeper(Arc::clone(&self.core)).boxed());
            tokio::spawn(custom::run(Arc::clone(&self.core)).boxed());
            tokio::spawn(aggregation::run(Arc::clone(&self.core)).boxed());
            tokio::spawn(admission::run_policies(Arc::clone(&self.core)).boxed());
            self.core.health.finish(Hook::Admission);
            tokio::spawn(flow::run(Arc::clone(&self.core)).boxed());
            tokio::spawn(authn::run_secret_tokens(Arc::clone(&self.core)).boxed());
            self.core.health.finish(Hook::CustomKindsKeeper);
        }
        Ok(())
    }

    /// Serves a listener until `shutdown`, then drains it. Several listeners may be served at once.
    pub async fn serve(&self, listener: TcpListener, shutdown: CancellationToken) {
        serve_listener(
            Arc::clone(&self.core),
            listener,
            Arc::clone(&self.tls),
            Arc::clone(&self.certificates),
            self.limits.clone(),
            shutdown,
        )
        .await;
    }

    /// Shows the certificates of `pki` in new handshakes, as server and as client; what is open stays open. The authorities are those of
    /// the start.
    ///
    /// # Errors
    /// [`StartError::Tls`] names what cannot be used; it and what comes after it stays as it was.
    pub fn renew(&self, pki: &Pki) -> Result<(), StartError> {
        self.identities.replace(pki)
    }

    /// Ends watches and background tasks. Call it when `serve` is to drain: watches never end by themselves.
    pub fn shutdown(&self) {
        self.core.shutdown.cancel();
    }

    /// Waits, for a bounded time, until the audit log has all events so far; tells whether it came to that.
    pub async fn flush_audit(&self) -> bool {
        match &self.core.audit {
            Some(audit) => audit.flush().await,
            None => true,
        }
    }

    /// Tells the figures of others in this process at `/metrics`, in Prometheus' text format.
    pub fn also_tell(&self, figures: fn() -> String) {
        self.core.metrics.also(figures);
    }

    /// The API as a service inside this process, as `user` (see [`User::component`]); for `kube::Client::new`.
    #[must_use]
    pub fn in_process_service(&self, user: User) -> InProcess {
        InProcess::new(Arc::clone(&self.core), user)
    }

    /// What requests share; for the binary's own health checks and for tests.
    #[must_use]
    pub fn core(&self) -> &Arc<Core> {
        &self.core
    }
}
