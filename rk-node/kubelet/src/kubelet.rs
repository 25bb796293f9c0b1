//! Putting the parts together.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use futures::FutureExt as _;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;

use crate::cgroups::Cgroups;
use crate::claims::{Claims, wipe};
use crate::context::{Context, NodeFacts};
use crate::cpus::{CPU_DIR, Cpus};
use crate::devices::Devices;
use crate::disk::make_dirs;
use crate::events::{PodRef, Recorder};
use crate::eviction::{LocalUse, Orders, evict_loop};
use crate::heartbeat::Heartbeat;
use crate::images::{Images, NodeCredentials, Providers, PullRecords};
use crate::join::{ServingCert, initial_serving, rotate_client, rotate_serving};
use crate::known::{ALONE, Store, keep_loop};
use crate::manager::Manager;
use crate::memory::{Memory, ReservedError};
use crate::meters::Meters;
use crate::node::{
    Machine, NodeLoop, Shortages, Sources, kept_memory, lease_loop, machine, most_tasks, node_ips, pods_together,
};
use crate::numa::{Numa, Pinned, TopologyRules};
use crate::plugins::Takers;
use crate::pod::given::Withheld;
use crate::probes::ProbePace;
use crate::resources::page_size;
use crate::runtime::{Pleg, Runtime, runtime_is_up};
use crate::server::{self, State};
use crate::services::Services;
use crate::static_pods::{Asked, Asker, Fetched, Manifests, Shown};
use crate::status_manager::StatusManager;
use crate::swap::{SWAP_FILE, SwapRule};
use crate::userns::PodUsers;
use crate::views::PodViews;
use crate::volumes::{Csi, Drivers, InUse, NodeObject, Objects, VolumeManager, most_loop, tend_loop};
use crate::{Options, Session, devices, image_gc, logs, oom, plugins, static_pods};

/// Changed pods on their way from the runtime to the manager: as many as one relist of a full node can name.
const CHANGES: usize = 1024;

/// What the composing binary wants to hear.
pub struct Hooks {
    /// Gets the node's pod CIDR as soon as it is known, and when it changes; where it has one of each family, with a comma between.
    pub pod_cidr: watch::Sender<Option<String>>,
    /// Becomes true when the machine goes down: all pods are ended and [`run`] returns.
    pub shutdown: watch::Receiver<bool>,
}

/// Why the kubelet cannot run at all.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No address.
    #[error("the node has no address: set kubelet.nodeIP, or give an interface a route to the cluster's endpoint")]
    NoAddress,
    /// The machine swaps and must not.
    #[error("running with swap on is not supported, please disable swap or set failSwapOn to false")]
    SwapOn,
    /// Settings that would divide the machine up wrongly.
    #[error("invalid configuration: {}", .0.join("; "))]
    Settings(Vec<String>),
    /// Memory is reserved otherwise than the node keeps it.
    #[error("invalid configuration: reservedMemory")]
    Memory(#[from] ReservedError),
    /// No certificate to serve with.
    #[error("no certificate to serve with")]
    Serving(#[from] crate::join::CsrError),
    /// The certificate cannot be used.
    #[error("no certificate to serve with")]
    Pki(#[from] crate::join::PkiError),
}

/// What the kubelet begins with: its options, as far as they fit the machine, and the machine as it is.
struct Beginning {
    options: Options,
    ips: Vec<IpAddr>,
    machine: Machine,
    swap: SwapRule,
    numa: Numa,
    memory: Memory,
}

impl Beginning {
    async fn look(mut options: Options, session: &Session) -> Result<Self, StartError> {
        if !options.faults.is_empty() {
            return Err(StartError::Settings(options.faults));
        }
        let ips = node_ips(&options, session).await;
        if ips.is_empty() {
            return Err(StartError::NoAddress);
        }
        let machine = machine(&options.dirs.kubelet);
        if options.fail_swap_on && machine.swap > 0 {
            return Err(StartError::SwapOn);
        }
        let swap = SwapRule {
            behavior: options.swap,
            memory: i64::try_from(machine.memory).unwrap_or(i64::MAX),
            capacity: i64::try_from(machine.swap).unwrap_or(i64::MAX),
            controlled: false,
        };
        options.max_pods = options.pace.pods(options.max_pods, machine.cpus);
        let numa = Numa::read(Path::new("/sys/devices/system/node"), machine.memory, &machine.huge_pages);
        if numa.0.len() > options.topology.most_nodes {
            let most = options.topology.most_nodes;
            tracing::error!("unsupported on machines with more than {most} NUMA Nodes: the topology manager is off");
            options.topology = TopologyRules::default();
        }
        let kept = kept_memory(&machine, &options);
        let memory = Memory::open(&options.dirs.kubelet, &numa, &options.memory_policy, kept)?;
        Ok(Self { options, ips, machine, swap, numa, memory })
    }
}

/// Runs the kubelet until the machine goes down. A plain end of the process leaves all containers as they are.
pub async fn run(options: Options, session: Session, hooks: Hooks) -> Result<(), StartError> {
    let Beginning { options, ips, machine, mut swap, numa, memory } = Beginning::look(options, &session).await?;
    if let Err(error) = make_dirs(&options.dirs.kubelet) {
        tracing::error!(dir = %options.dirs.kubelet.display(), "the kubelet's directories cannot be made: {error}");
    }
    let runtime = Runtime::connect(&options.dirs.cri_socket);
    runtime_is_up(&runtime).await;
    if options.cpu_policy.gives_whole_cores() {
        // Told from the start.
        runtime.meters.managers.whole_cores(Pinned::default());
    }
    let client = session.client.clone();
    let mut tasks = JoinSet::new();

    let (recorder, write_events) = Recorder::new(client.clone(), options.node_name.clone(), options.pace.events);
    let (status, write_statuses) = StatusManager::new(client.clone());
    let (services, follow_services) = Services::new(client.clone());
    tasks.spawn(write_events.boxed());
    tasks.spawn(write_statuses.boxed());
    tasks.spawn(follow_services.boxed());

    let (facts, node) = watch::channel(NodeLoop::initial_facts(&options, &machine, &ips));
    let (known, recalled) = (Store::new(&options.dirs.kubelet), facts.clone());
    let (healthy, pleg_health) = watch::channel(Ok(()));
    let (changed, changes) = mpsc::channel(CHANGES);
    tasks.spawn(Pleg::new(runtime.clone()).run(changed.clone(), healthy).boxed());
    let devices = Devices::open(&options.dirs.kubelet);
    let cpus = Cpus::open(&options.dirs.kubelet, Path::new(CPU_DIR), &options.cpu_policy);
    let cgroups = pod_cgroups(&options, &machine).beside(cpus.clone());
    let (shortages, in_use) = (Shortages::default(), InUse::default());
    let node_loop = NodeLoop::new(Sources {
        devices: devices.clone(),
        options: options.clone(),
        client: client.clone(),
        recorder: recorder.clone(),
        runtime: runtime.clone(),
        machine,
        ips: ips.clone(),
        facts,
        pleg: pleg_health,
        shortages: shortages.clone(),
        in_use: in_use.clone(),
        shutdown: hooks.shutdown.clone(),
    });
    tasks.spawn(node_loop.run().boxed());
    tasks.spawn(lease_loop(client.clone(), options.node_name.clone(), options.pace.lease_seconds).boxed());
    tasks.spawn(pass_pod_cidr(node.clone(), runtime.clone(), hooks.pod_cidr).boxed());
    tasks.spawn(recall_pod_cidr(recalled, known.surroundings().pod_cidr).boxed());
    tasks.spawn(logs::rotate_loop(runtime.clone(), options.logs).boxed());

    let (views, pods) = PodViews::new();
    let unused = image_gc::Sources { runtime: runtime.clone(), pods: pods.clone() };
    let (records, lack) = collect_images(&mut tasks, &options, unused, recorder.clone());
    swap.controlled = cgroups.root().join("kubepods").join(SWAP_FILE).exists();
    recorder.normal(&PodRef::node(&options.node_name), "Starting", "Starting kubelet.");
    tasks.spawn(oom::watch_loop(recorder.clone(), options.node_name.clone()).boxed());
    if swap.controlled && options.enforce_allocatable {
        let message = "Updated Node Allocatable limit across pods";
        recorder.normal(&PodRef::node(&options.node_name), "NodeAllocatableEnforced", message);
    }
    let sync_loop = Heartbeat::default();
    let claims = claims(&mut tasks, &options, &client, &runtime);
    let context = Arc::new(Context {
        client: client.clone(),
        runtime: runtime.clone(),
        recorder: recorder.clone(),
        volumes: volumes(&mut tasks, &options, &client, &claims, &runtime.meters, in_use),
        images: Images::new(
            runtime,
            recorder,
            NodeCredentials::new(&options.dirs.kubelet, &options.registry_auth),
            Providers::new(&options.credential_providers, &options.dirs.credential_providers, client.clone()),
            records,
            &options.pace,
            lack,
        ),
        status,
        services,
        devices,
        claims,
        cpus,
        memory,
        numa,
        swap,
        users: PodUsers::open(&options.dirs.kubelet, options.ids_per_pod),
        known,
        withheld: Withheld::default(),
        evictions: Orders::default(),
        shortages,
        local: LocalUse::new(&options.dirs.pod_logs),
        probes: ProbePace::default(),
        cgroups,
        sync_loop: sync_loop.clone(),
        pods,
        node,
        options: options.clone(),
    });
    tasks.spawn(devices::serve(context.clone()).boxed());
    tasks.spawn(evict_loop(context.clone(), changed).boxed());
    tasks.spawn(server::serve_healthz(options.healthz, sync_loop).boxed());
    tasks.spawn(keep_loop(context.clone()).boxed());
    tasks.spawn(tend_loop(context.clone()).boxed());
    let (statics, shown) = static_pods(&mut tasks, client, &context, &session.ca_pem)?;
    let manager = Manager::new(context.clone(), statics, shown, views);
    serve(&mut tasks, &options, &session, &ips, State::new(context, &session))?;
    manager.run(changes, hooks.shutdown).await;
    Ok(())
}

/// Removes images that nobody uses, for ever; answers with the records of what was pulled, and with what to tell when a pull lacks room.
fn collect_images(
    tasks: &mut JoinSet<()>,
    options: &Options,
    unused: image_gc::Sources,
    recorder: Recorder,
) -> (Arc<PullRecords>, Arc<Notify>) {
    let (storage, node) = (options.dirs.kubelet.clone(), options.node_name.clone());
    let records = Arc::new(PullRecords::open(&options.dirs.kubelet, options.image_verification.clone()));
    let lack = Arc::new(Notify::new());
    let (noted, lacking) = (records.clone(), lack.clone());
    tasks.spawn(image_gc::collect_loop(unused, recorder, node, storage, options.image_gc, noted, lacking).boxed());
    (records, lack)
}

/// The claims of pods. Until their drivers have registered, this node offers nothing.
fn claims(tasks: &mut JoinSet<()>, options: &Options, client: &kube::Client, runtime: &Runtime) -> Claims {
    tasks.spawn(wipe(client.clone(), options.node_name.clone(), None).boxed());
    Claims::open(&options.dirs.kubelet, client.clone(), &options.node_name, runtime.meters.clone())
}

/// What makes the pods' volumes, with the plugins that register for that, and for claims, from now on.
fn volumes(
    tasks: &mut JoinSet<()>,
    options: &Options,
    client: &kube::Client,
    claims: &Claims,
    meters: &Arc<Meters>,
    in_use: InUse,
) -> VolumeManager {
    let (kubelet, node) = (&options.dirs.kubelet, &options.node_name);
    let (objects, drivers) = (Objects::new(client.clone()), Drivers::new(meters.clone()));
    let object = NodeObject::new(client.clone(), node.clone(), drivers.clone());
    tasks.spawn(most_loop(client.clone(), drivers.clone(), object.clone()).boxed());
    let takers = Takers { volumes: drivers.clone(), object, claims: claims.drivers().clone() };
    tasks.spawn(plugins::register_loop(kubelet.clone(), takers).boxed());
    let csi = Csi::new(kubelet, node.clone(), objects.clone(), drivers, in_use);
    VolumeManager::new(kubelet, objects, csi, options.secrets_in_memory, meters.clone())
}

/// The cgroups of pods, held to what all pods may have together.
fn pod_cgroups(options: &Options, machine: &Machine) -> Cgroups {
    let page_sizes = machine.huge_pages.iter().map(|(kib, _)| page_size(*kib)).collect();
    let cgroups = Cgroups::new(&options.dirs.cgroup, options.pod_pids, page_sizes);
    if let Err(error) = cgroups.prepare(pods_together(machine, options, most_tasks())) {
        tracing::error!("the kubepods cgroups cannot be made: {error}");
    }
    cgroups
}

fn serve(
    tasks: &mut JoinSet<()>,
    options: &Options,
    session: &Session,
    ips: &[IpAddr],
    state: Arc<State>,
) -> Result<(), StartError> {
    let (user, host) = (options.user(), options.node_name.clone());
    let serving = ServingCert::new(&initial_serving(session, &user, &host, ips)?)?;
    if let Some(address) = options.read_only() {
        tracing::warn!(%address, "pods and metrics can be read here by anybody: readOnlyPort is set");
        tasks.spawn(server::serve_read_only(address, state.clone()).boxed());
    }
    tasks.spawn(server::serve(options.listen, session.ca_pem.clone(), serving.clone(), state).boxed());
    tasks.spawn(rotate_client(session.clone(), options.clone()).boxed());
    tasks.spawn(rotate_serving(session.clone(), serving, user, host, ips.to_vec()).boxed());
    Ok(())
}

/// The static pods, followed from now on, and where to tell which of them the API shows.
fn static_pods(
    tasks: &mut JoinSet<()>,
    client: kube::Client,
    context: &Context,
    ca_pem: &str,
) -> Result<(watch::Receiver<Asked>, watch::Sender<Shown>), StartError> {
    let node = context.options.node_name.clone();
    let (dir, given) = (context.options.dirs.manifests.clone(), context.options.static_pods.clone());
    let rules = context.options.static_pod_url.clone();
    let (tell_fetched, fetched) = watch::channel(Fetched { heard: rules.url.is_empty(), pods: Vec::new() });
    if !rules.url.is_empty() {
        tasks.spawn(static_pods::fetch_loop(Asker::new(rules, node.clone(), ca_pem)?, tell_fetched).boxed());
    }
    let manifests = Manifests { dir, given, fetched, node: node.clone() };
    let (runtime, status) = (context.runtime.clone(), context.status.clone());
    let (tell, statics) = watch::channel(manifests.asked());
    let Asked { pods: present, whole, .. } = statics.borrow().clone();
    let (show, shown) = watch::channel(Shown { present, whole, ..Default::default() });
    tasks.spawn(static_pods::watch_loop(manifests, context.recorder.clone(), tell).boxed());
    tasks.spawn(static_pods::mirror_loop(client, node, runtime, status, shown).boxed());
    Ok((statics, show))
}

/// Goes on with the pod CIDR that was known before, when the API does not answer in time. One that answers and has none yet gives the
/// node another: what a Node object of before had may be another's by now.
async fn recall_pod_cidr(facts: watch::Sender<NodeFacts>, known: Option<String>) {
    let Some(cidr) = known else { return };
    tokio::time::sleep(ALONE).await;
    facts.send_if_modified(|facts| {
        let unheard = !facts.heard && facts.pod_cidr.is_none();
        if unheard {
            tracing::warn!(%cidr, "the API does not answer: the node keeps its pod CIDR");
            facts.pod_cidr = Some(cidr);
        }
        unheard
    });
}

/// Hands the pod CIDR to the composing binary and to the runtime.
async fn pass_pod_cidr(mut node: watch::Receiver<NodeFacts>, runtime: Runtime, tell: watch::Sender<Option<String>>) {
    let mut known = None;
    loop {
        let now = node.borrow_and_update().pod_cidr.clone();
        if now != known
            && let Some(cidr) = &now
        {
            tracing::info!(%cidr, "the node's pod CIDR is known");
            tell.send_replace(now.clone());
            if let Err(error) = runtime.update_pod_cidr(cidr).await {
                tracing::debug!("telling the runtime the pod CIDR: {error}");
            }
            known = now;
        }
        if node.changed().await.is_err() {
            return;
        }
    }
}
