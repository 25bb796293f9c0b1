//! Keeping the Node object true: registering, reporting status, learning labels and podCIDR from it.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Node, NodeFeatures, NodeRuntimeHandler, NodeStatus};
use kube::api::{Api, Patch, PatchParams, PostParams};
use rk_watch::Event;
use serde_json::json;
use tokio::sync::{mpsc, watch};

use super::conditions::{Health, conditions};
use super::info::{Machine, system_info};
use super::pressure::Pressure;
use super::reported::Reported;
use super::shortages::Shortages;
use super::turns::Turns;
use super::{note, object, pressure};
use crate::context::NodeFacts;
use crate::devices::Devices;
use crate::events::Recorder;
use crate::runtime::Runtime;
use crate::volumes::{Csi, InUse};
use crate::{Options, clock, features};

/// While not ready, changes are looked for at this pace: a booting node should be Ready at once.
const EAGER: Duration = Duration::from_millis(200);
/// The pace at which a node that stays unready is looked at.
const UNREADY: Duration = Duration::from_secs(1);
/// How often images are listed.
const IMAGES: Duration = Duration::from_secs(60);

/// What the runtime says of itself.
#[derive(Clone, Debug, Default)]
pub struct RuntimeView {
    /// Why it is not ready.
    pub runtime: Option<String>,
    /// Why its network is not ready.
    pub network: Option<String>,
    /// `name://version`.
    pub version: String,
    /// Its handlers and what they can do.
    pub handlers: Vec<NodeRuntimeHandler>,
    /// Whether it knows `supplementalGroupsPolicy`.
    pub groups_policy: bool,
}

/// Looks at the runtime once.
async fn look(runtime: &Runtime, version: &mut String) -> RuntimeView {
    if version.is_empty()
        && let Ok(answer) = runtime.version().await
    {
        *version = format!("{}://{}", answer.runtime_name, answer.runtime_version);
    }
    let (status, handlers, features) = match runtime.status().await {
        Ok(answer) => (answer.status.unwrap_or_default(), answer.runtime_handlers, answer.features.unwrap_or_default()),
        Err(error) => {
            return RuntimeView { runtime: Some(error.to_string()), version: version.clone(), ..Default::default() };
        }
    };
    let problem = |type_: &str| match status.conditions.iter().find(|c| c.r#type == type_) {
        Some(c) if c.status => None,
        Some(c) => Some(format!("{type_}=false reason:{} message:{}", c.reason, c.message)),
        None => Some(format!("{type_} is not reported")),
    };
    RuntimeView {
        runtime: problem("RuntimeReady"),
        network: problem("NetworkReady"),
        version: version.clone(),
        handlers: object::runtime_handlers(handlers),
        groups_policy: features.supplemental_groups_policy,
    }
}

/// What the loop works with.
pub struct Sources {
    /// Devices of plugins.
    pub devices: Devices,
    /// Settings.
    pub options: Options,
    /// Client for the API server.
    pub client: kube::Client,
    /// Where events of the node go.
    pub recorder: Recorder,
    /// The runtime.
    pub runtime: Runtime,
    /// What the machine has.
    pub machine: Machine,
    /// The node's addresses.
    pub ips: Vec<IpAddr>,
    /// Where facts of the node are told.
    pub facts: watch::Sender<NodeFacts>,
    /// Whether the runtime's pods can be listed.
    pub pleg: watch::Receiver<Result<(), String>>,
    /// What was short of late.
    pub shortages: Shortages,
    /// When volumes came or went.
    pub in_use: InUse,
    /// Becomes true when the machine goes down.
    pub shutdown: watch::Receiver<bool>,
}

/// The task that keeps the Node object.
pub struct NodeLoop {
    options: Options,
    devices: Devices,
    api: Api<Node>,
    runtime: Runtime,
    machine: Machine,
    ips: Vec<IpAddr>,
    facts: watch::Sender<NodeFacts>,
    pleg: watch::Receiver<Result<(), String>>,
    shutdown: watch::Receiver<bool>,
    version: String,
    images: Option<(Instant, Vec<k8s_openapi::api::core::v1::ContainerImage>)>,
    reported: Option<Reported>,
    current: Option<Node>,
    /// Whether the running list has shown the node.
    listed: bool,
    shortages: Shortages,
    in_use: InUse,
    turns: Turns,
}

impl NodeLoop {
    /// The loop over these facts.
    pub fn new(sources: Sources) -> Self {
        let Sources { devices, options, client, recorder, runtime, machine, ips, .. } = sources;
        let Sources { facts, pleg, shortages, in_use, shutdown, .. } = sources;
        let api = Api::all(client);
        let turns = Turns::new(recorder, options.node_name.clone());
        Self {
            options,
            devices,
            api,
            runtime,
            machine,
            ips,
            facts,
            pleg,
            shutdown,
            version: String::new(),
            images: None,
            reported: None,
            current: None,
            listed: false,
            shortages,
            in_use,
            turns,
        }
    }

    /// Facts that are known before the Node object is.
    pub fn initial_facts(options: &Options, machine: &Machine, ips: &[IpAddr]) -> NodeFacts {
        NodeFacts {
            host_ips: ips.iter().map(ToString::to_string).collect(),
            labels: object::labels(options),
            allocatable: object::allocatable(machine, options),
            memory: i64::try_from(machine.memory).unwrap_or(i64::MAX),
            ..NodeFacts::default()
        }
    }

    /// Runs for ever.
    pub async fn run(self) {
        let (tell, events) = mpsc::unbounded_channel();
        let follow = super::follow::follow(
            self.api.clone().into_client(),
            self.options.node_name.clone(),
            self.facts.clone(),
            tell,
        );
        tokio::select! {
            () = follow => {}
            () = self.report_for_ever(events) => {}
        }
    }

    async fn report_for_ever(mut self, mut events: mpsc::UnboundedReceiver<Event<Node>>) {
        for label in object::refused_labels(&self.options) {
            tracing::warn!(
                label,
                "a node may not set this label on itself: it is left out; set it with kubectl instead"
            );
        }
        let mut listed = false;
        // Faster would ask the API server in vain.
        let period = self.options.pace.status_update.max(UNREADY);
        let (mut shutdown, mut leaving) = (self.shutdown.clone(), false);
        let mut pause = EAGER;
        let mut next = tokio::time::Instant::now();
        let mut volumes = self.in_use.changes();
        loop {
            tokio::select! {
                event = events.recv() => {
                    let Some(event) = event else { return };
                    listed |= matches!(event, Event::Complete);
                    self.on_event(event);
                    if self.current.is_none() || self.reported.is_none() {
                        next = tokio::time::Instant::now();
                    }
                }
                // Whoever mounts one waits until that is told.
                Ok(()) = volumes.changed() => next = tokio::time::Instant::now(),
                () = going_down(&mut shutdown), if !leaving => {
                    leaving = true;
                    next = tokio::time::Instant::now();
                }
                () = tokio::time::sleep_until(next) => {
                    match self.report(listed).await {
                        Ok(true) => pause = period,
                        Ok(false) => pause = if pause > UNREADY { EAGER } else { (pause + EAGER).min(UNREADY) },
                        Err(error) => {
                            tracing::warn!("reporting the node's status: {}", crate::api_error::chain(&error));
                            pause = (pause * 2).clamp(UNREADY, period);
                        }
                    }
                    next = tokio::time::Instant::now() + pause;
                }
            }
        }
    }

    fn on_event(&mut self, event: Event<Node>) {
        match event {
            Event::Begin => self.listed = false,
            Event::Complete if !self.listed => {
                // It went while nobody watched.
                self.turns.forget();
                self.current = None;
                self.reported = None;
            }
            Event::Applied(node) | Event::Listed(node) => {
                // Whoever missed the node's heartbeats hears at once that it is there.
                if self.reported.take_if(|reported| reported.is_denied_by(&node)).is_some() {
                    self.turns.forget();
                }
                self.turns.schedulable(self.current.as_ref(), &node);
                self.current = Some(node);
                self.listed = true;
            }
            Event::Deleted(_) | Event::Vanished(_) => {
                tracing::info!("the node's object was deleted: registering anew");
                self.turns.forget();
                self.current = None;
                self.reported = None;
            }
            // Of the own node whatever is known holds until it can be read again.
            Event::Unread(_) => self.listed = true,
            Event::Complete => {}
        }
    }

    /// What is short now, or was of late.
    fn pressure(&self) -> Pressure {
        let (options, now) = (&self.options, Instant::now());
        let observed = pressure::Observed::now(options);
        self.shortages.saw(observed.pressure(options.eviction, options.soft_eviction.thresholds), now);
        self.shortages.told(options.pressure_transition, now)
    }

    async fn status(&mut self) -> (NodeStatus, bool) {
        let view = look(&self.runtime, &mut self.version).await;
        let runtime_problem =
            view.runtime.or_else(|| self.pleg.borrow().clone().err().map(|e| format!("PLEG is not healthy: {e}")));
        let problem = view.network.clone();
        self.facts.send_if_modified(|f| {
            f.network_problem != problem && {
                f.network_problem = problem;
                true
            }
        });
        let health = Health {
            runtime: runtime_problem,
            network: view.network,
            pressure: self.pressure(),
            going_down: *self.shutdown.borrow(),
        };
        let ready = health.runtime.is_none() && health.network.is_none();
        if self.images.as_ref().is_none_or(|(at, _)| at.elapsed() > IMAGES)
            && let Ok(list) = self.runtime.list_images().await
        {
            self.images = Some((Instant::now(), object::images(list, self.options.pace.status_images)));
        }
        let old =
            self.reported.as_ref().map(|r| &r.status).or_else(|| self.current.as_ref().and_then(|n| n.status.as_ref()));
        let old = old.and_then(|s| s.conditions.clone()).unwrap_or_default();
        let mut capacity = object::capacity(&self.machine, self.options.max_pods);
        let mut allocatable = object::allocatable(&self.machine, &self.options);
        let known = self.current.as_ref().and_then(|n| n.status.as_ref());
        object::advertise(known, &mut capacity, &mut allocatable);
        // What the node's own plugins say comes before what anybody has written into the object.
        self.devices.add_to(&mut capacity, &mut allocatable);
        self.facts.send_if_modified(|facts| {
            let news = facts.allocatable != allocatable;
            facts.allocatable.clone_from(&allocatable);
            news
        });
        let status = NodeStatus {
            addresses: Some(object::addresses(&self.options.node_name, &self.ips)),
            capacity: Some(capacity),
            allocatable: Some(allocatable),
            conditions: Some(conditions(&health, &old, &clock::now_seconds())),
            daemon_endpoints: Some(object::daemon_endpoints(self.options.listen.port())),
            images: self.images.as_ref().map(|(_, list)| list.clone()),
            runtime_handlers: Some(view.handlers).filter(|list| !list.is_empty()),
            features: Some(NodeFeatures { supplemental_groups_policy: Some(view.groups_policy) }),
            declared_features: Some(features::declared()),
            volumes_in_use: Some(Csi::in_use(&self.options.dirs.kubelet)),
            node_info: Some(system_info(view.version, &self.machine)),
            ..Default::default()
        };
        (status, ready)
    }

    /// Registers the node when it is not there, else writes its status when due. Returns whether the node is ready.
    async fn report(&mut self, listed: bool) -> Result<bool, kube::Error> {
        let change = self.in_use.latest();
        let (status, ready) = self.status().await;
        let (why, used) = (note::why(&status), status.volumes_in_use.clone());
        let told = self.tell(status, ready, listed).await;
        if self.reported.as_ref().is_some_and(|reported| reported.status.volumes_in_use == used) {
            self.in_use.tell(change);
        }
        note::leave(&told, &why);
        told
    }

    async fn tell(&mut self, status: NodeStatus, ready: bool, listed: bool) -> Result<bool, kube::Error> {
        if self.current.is_none() {
            if listed || self.reported.is_none() {
                self.register(status).await?;
            }
            return Ok(ready);
        }
        if self.reported.as_ref().is_none_or(|reported| reported.is_due(&status, self.options.pace.status_report)) {
            match self.write(status).await {
                Err(kube::Error::Api(answer)) if answer.code == 404 => {
                    self.current = None;
                    return Ok(false);
                }
                other => other?,
            }
        }
        Ok(ready)
    }

    async fn register(&mut self, status: NodeStatus) -> Result<(), kube::Error> {
        let node = object::node(&self.options, status.clone());
        match self.api.create(&PostParams::default(), &node).await {
            Ok(made) => {
                tracing::info!(node = %self.options.node_name, "the node is registered");
                self.turns.status(None, &status);
                self.current = Some(made);
                // An API server may drop the status of a new object: it is a subresource.
                self.write(status).await
            }
            Err(kube::Error::Api(answer)) if answer.code == 409 => {
                let marks = json!({"metadata": object::marks(&self.options)});
                let known =
                    self.api.patch(&self.options.node_name, &PatchParams::default(), &Patch::Merge(marks)).await?;
                self.current = Some(known);
                self.write(status).await
            }
            Err(error) => Err(error),
        }
    }

    async fn write(&mut self, status: NodeStatus) -> Result<(), kube::Error> {
        // Conditions are replaced by type, so that those of others stay.
        let others = self.current.iter().filter_map(|n| n.status.as_ref()).flat_map(|s| s.conditions.iter().flatten());
        let mut merged = status.clone();
        if let Some(own) = &mut merged.conditions {
            let types: Vec<String> = own.iter().map(|c| c.type_.clone()).collect();
            own.extend(others.filter(|c| !types.contains(&c.type_)).cloned());
        }
        let mut body = json!({"status": merged});
        object::leave_alone(self.current.as_ref().and_then(|n| n.status.as_ref()), &mut body["status"]);
        // A merge keeps what it does not name: what is no longer advertised is taken back by name.
        for gone in object::withdrawn(self.current.as_ref().and_then(|n| n.status.as_ref()), &status) {
            body["status"]["allocatable"][gone] = serde_json::Value::Null;
        }
        let patch = Patch::Merge(body);
        let written = self.api.patch_status(&self.options.node_name, &PatchParams::default(), &patch).await?;
        self.turns.status(self.current.as_ref().and_then(|n| n.status.as_ref()), &status);
        self.reported = Some(Reported::now(status, Some(&written)));
        Ok(())
    }
}

async fn going_down(shutdown: &mut watch::Receiver<bool>) {
    if shutdown.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}
