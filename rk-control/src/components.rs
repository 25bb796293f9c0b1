//! Scheduler and controllers, as clients of the API in this process.

use crate::vip::{self, Vip};
use kube::Client;
use rk_apiserver::{ApiServer, Pki, User};
use rk_client::{Informers, Leadership, LeaseConfig, Recorders, in_process};
use rk_controllers::{Authority, PodRange};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Nobody competes with a control plane that is the only one: every renewal is a synced write that an idle machine can do without.
const SOLE_RENEWAL: Duration = Duration::from_secs(8);
/// How long its Leases last: two thirds of it, the holder's own limit, leave a machine under load time for more than one renewal.
const SOLE_DURATION: Duration = Duration::from_secs(45);

/// One name for all lives of this control plane. Several control planes tell each other apart by host, socket and boot: no other process
/// listens at `bound` on this machine, and its next boot is another life.
pub fn identity(bound: SocketAddr, sole: bool) -> String {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/sys/kernel/{name}")).ok();
    let host = read("hostname").map_or_else(|| "rk-control".to_owned(), |host| host.trim().to_owned());
    if sole {
        return format!("{host}_rk-control");
    }
    format!("{host}_{bound}_{}", read("random/boot_id").unwrap_or_default().trim())
}

/// What the components need to know.
#[derive(Clone)]
pub struct Components {
    /// Ends them.
    pub stop: CancellationToken,
    pods: Vec<PodRange>,
    sole: bool,
    identity: String,
    running: TaskTracker,
}

impl Components {
    /// `pods` are the ranges for pods, `identity` what a restart of this process is called as well, so that it takes its own Leases over
    /// at once. One that is `sole` on its store has nobody to compete with.
    pub fn new(pods: Vec<PodRange>, identity: String, sole: bool) -> Self {
        Self { stop: CancellationToken::new(), pods, sole, identity, running: TaskTracker::new() }
    }

    /// Starts them in the background.
    pub fn start(&self, server: ApiServer, pki: Arc<Pki>) {
        let this = self.clone();
        self.running.spawn(async move { this.run(&server, &pki).await });
    }

    /// Campaigns for the addresses that control planes share, beside the components and independent of them.
    pub fn share(&self, server: &ApiServer, vip: Vip) {
        let lease = self.lease(vip::LEASE);
        let (client, stop) = (in_process(server.in_process_service(User::apiserver())), self.stop.clone());
        self.running.spawn(async move { vip.run(client, lease, stop).await });
    }

    fn lease(&self, name: &str) -> LeaseConfig {
        let mut lease = LeaseConfig::new("kube-system", name, self.identity.clone());
        if self.sole {
            (lease.duration, lease.retry) = (SOLE_DURATION, SOLE_RENEWAL);
        }
        lease
    }

    /// Waits until all have ended, for `limit` at most.
    pub async fn ended(&self, limit: Duration) {
        self.running.close();
        if tokio::time::timeout(limit, self.running.wait()).await.is_err() {
            tracing::warn!("components did not end in time");
        }
    }

    /// Runs until `stop`, giving up and campaigning again whenever leadership is lost.
    async fn run(&self, server: &ApiServer, pki: &Pki) {
        while !self.stop.is_cancelled() {
            self.term(server, pki).await;
        }
    }

    /// One term as leader. Scheduler and controllers share their watches, so they lead together.
    async fn term(&self, server: &ApiServer, pki: &Pki) {
        let as_user = |user: User| in_process(server.in_process_service(user));
        let manager: Client = as_user(User::component("system:kube-controller-manager"));
        let scheduler: Client = as_user(User::component("system:kube-scheduler"));
        let end = self.stop.child_token();
        let leads = Leadership::acquire(manager.clone(), self.lease("kube-controller-manager"), end.clone()).await;
        let Some(leads) = leads else { return };
        let schedules = Leadership::acquire(scheduler.clone(), self.lease("kube-scheduler"), end.clone()).await;
        let Some(schedules) = schedules else {
            // A process that ends before that makes the next one wait for the whole term.
            return leads.released().await;
        };

        let informers = Informers::new(manager.clone());
        let authority = Authority { certificate: pki.ca_certificate().to_owned(), key: pki.authority.key().to_owned() };
        let config = rk_controllers::Config::new(Some(authority), pki.ca_certificate().to_owned(), self.pods.clone());
        let account = |name: &str| as_user(User::service_account("kube-system", name, ""));
        let shared = informers.writing_as(scheduler.clone());
        let recorders = Recorders::new(scheduler.clone());
        let scheduling = rk_scheduler::run(scheduler, &shared, &recorders, rk_scheduler::Config::default());
        let events = Recorders::new(manager.clone());
        let controlling = rk_controllers::run(manager, account, informers.clone(), events, config, end.clone());
        let ended = async {
            tokio::select! {
                () = leads.lost() => {}
                () = schedules.lost() => {}
                () = end.cancelled() => {}
            }
            end.cancel();
        };
        tokio::join!(
            async {
                tokio::select! {
                    () = scheduling => {}
                    () = end.cancelled() => {}
                }
            },
            controlling,
            ended
        );
        informers.stop();
        tokio::join!(leads.released(), schedules.released());
    }
}
