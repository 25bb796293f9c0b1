//! Setting volumes up, refreshing them and taking them down, per pod.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Pod, Volume};
use rk_figures::Ask;

use super::atomic_writer::{Payload, publish};
use super::claim;
use super::csi::{Csi, CsiVolume, Outcome, Placed, VolumeStats, growth};
use super::groups::Groups;
use super::held::{Held, Holdings, Which};
use super::objects::Objects;
use super::payload::downward;
use super::problem::VolumeError;
use super::settled::Settled;
use super::source::Collector;
use super::tally::{self, Tally};
use super::token::Tokens;
use super::usage::{Usage, Volumes, is_of_others, never_written};
use super::{empty_dir, host_path, mounted, nfs, ownership, persistent, tmpfs};
use crate::meters::Meters;
use crate::pod::spec;
use crate::translate::FieldContext;

/// How old an object may be when a running pod's volumes are refreshed.
const REFRESH_AGE: Duration = Duration::from_secs(30);
/// Whatever took so long to fail waits for somebody for whom the volumes after it would wait, too.
const HANGS: Duration = Duration::from_secs(10);

/// A persistent volume whose claim leaves growth to its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grown {
    /// Its name.
    pub volume: String,
    /// Name of the claim behind it.
    pub claim: String,
    /// UID of the claim.
    pub uid: String,
    /// What came of it, or why nothing did.
    pub came: Result<Outcome, String>,
}

/// Does the work; one for all pods.
pub struct VolumeManager {
    pub(super) pods: PathBuf,
    objects: Objects,
    tokens: Tokens,
    pub(super) csi: Csi,
    held: Holdings,
    settled: Settled,
    tally: Tally,
    pub(super) groups: Groups,
    secrets_in_memory: bool,
    meters: Arc<Meters>,
}

impl VolumeManager {
    /// A manager over `<kubelet>/pods`. `secrets_in_memory`: files that must not reach a disk are kept on tmpfs.
    pub fn new(kubelet: &Path, objects: Objects, csi: Csi, secrets_in_memory: bool, meters: Arc<Meters>) -> Self {
        let (pods, tokens, held) = (kubelet.join("pods"), Tokens::default(), Holdings::default());
        let (settled, tally, groups) = (Settled::default(), Tally::default(), Groups::default());
        Self { pods, objects, tokens, csi, held, settled, tally, groups, secrets_in_memory, meters }
    }

    /// By plugin, how many volumes pods are to have, and how many they have.
    pub fn count(&self) -> BTreeMap<String, [usize; 2]> {
        self.tally.count()
    }

    /// A pod's directory.
    pub fn pod_dir(&self, uid: &str) -> PathBuf {
        self.pods.join(uid)
    }

    /// The reader of ConfigMaps and Secrets.
    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    /// What the pod's volumes hold, by their drivers' count or by the kubelet's own.
    pub async fn stats(&self, uid: &str, ask: Ask) -> Vec<VolumeStats> {
        let mut all = self.csi.stats(uid, ask).await;
        all.extend(self.held.stats(uid, Which::All, ask).await);
        all
    }

    /// The same without volumes of the kubelet's own, whose files would all be counted.
    pub async fn claim_stats(&self, uid: &str, ask: Ask) -> Vec<VolumeStats> {
        let mut all = self.csi.stats(uid, ask).await;
        all.extend(self.held.stats(uid, Which::Claimed, ask).await);
        all
    }

    /// What the pod's volumes hold that count as its ephemeral storage.
    pub async fn ephemeral_stats(&self, uid: &str, ask: Ask) -> Vec<VolumeStats> {
        self.held.stats(uid, Which::Ephemeral, ask).await
    }

    /// Sets all volumes of the pod up that its containers see, from objects no older than `max_age`, or all that can be: the error is the
    /// first one's. Safe to repeat. What has grown on the way, or should have, is told in `grown`, whatever becomes of the others: it grows
    /// once. A pod does not begin with a volume that could not be grown.
    pub async fn set_up(
        &self,
        pod: &Pod,
        fields: &FieldContext,
        max_age: Duration,
        grown: &mut Vec<Grown>,
    ) -> Result<Volumes, VolumeError> {
        let volumes = self.each(pod, fields, max_age, grown).await?;
        let failed = grown.iter().find_map(|one| Some((one.volume.clone(), one.came.as_ref().err()?.clone())));
        match failed {
            Some((volume, reason)) => Err(VolumeError::of_growth(volume, reason)),
            None => Ok(volumes),
        }
    }

    /// Brings what changed in the API into a running pod's volumes; as [`Self::set_up`], but a pod goes on with a volume that could not be
    /// grown. Paths of the node are not looked at again.
    pub async fn refresh(
        &self,
        pod: &Pod,
        fields: &FieldContext,
        grown: &mut Vec<Grown>,
    ) -> Result<Volumes, VolumeError> {
        self.each(pod, fields, REFRESH_AGE, grown).await
    }

    async fn each(
        &self,
        pod: &Pod,
        fields: &FieldContext,
        max_age: Duration,
        grown: &mut Vec<Grown>,
    ) -> Result<Volumes, VolumeError> {
        let (mut volumes, mut held) = (Volumes::default(), BTreeMap::new());
        let mut problem: Option<VolumeError> = None;
        let usage = Usage::of(pod);
        let all = pod.spec.as_ref().and_then(|s| s.volumes.as_deref()).unwrap_or_default();
        // The node's own first: no driver or server that hangs keeps a token from being made anew.
        let (late, early): (Vec<&Volume>, Vec<&Volume>) = all.iter().partition(|volume| is_of_others(volume));
        for volume in early.into_iter().chain(late) {
            let collector = Collector { pod, fields, objects: &self.objects, tokens: &self.tokens, max_age };
            if let Some(image) = &volume.image {
                let entry = (image.reference.clone().unwrap_or_default(), image.pull_policy.clone());
                volumes.images.insert(volume.name.clone(), entry);
                continue;
            }
            if !usage.has(&volume.name) {
                continue;
            }
            let begun = Instant::now();
            let placed = match self.place(pod, volume, &collector, &usage, grown).await {
                Ok(placed) => placed,
                // The others go on: a token is made anew though a ConfigMap is gone.
                Err(found) => {
                    problem.get_or_insert(found);
                    if begun.elapsed() >= HANGS {
                        break;
                    }
                    continue;
                }
            };
            volumes.read_only.insert(volume.name.clone(), never_written(volume));
            match placed {
                Placed::Tree(path) => {
                    held.extend(Held::of(pod, volume, &path).map(|of| (volume.name.clone(), of)));
                    volumes.paths.insert(volume.name.clone(), path);
                }
                Placed::Device(path) => drop(volumes.devices.insert(volume.name.clone(), path)),
            }
        }
        if let Some(problem) = problem {
            return Err(problem);
        }
        self.held.set(spec::uid(pod), held);
        Ok(volumes)
    }

    /// Brings a volume to its pod, or what is new into one that the pod has.
    async fn place(
        &self,
        pod: &Pod,
        volume: &Volume,
        collector: &Collector<'_>,
        usage: &Usage<'_>,
        grown: &mut Vec<Grown>,
    ) -> Result<Placed, VolumeError> {
        if let Some(placed) = self.settled.get(spec::uid(pod), &volume.name) {
            return Ok(placed);
        }
        match self.of_others(pod, volume, usage, grown).await? {
            Some(placed) => Ok(placed),
            None => {
                let work = self.one(pod, volume, collector);
                let done = self.tallied(pod, volume, tally::of_own(volume), work).await;
                done.map(Placed::Tree).map_err(VolumeError::of(&volume.name))
            }
        }
    }

    /// Counts a volume, and how long it takes until its pod has it.
    async fn tallied<T>(
        &self,
        pod: &Pod,
        volume: &Volume,
        plugin: &str,
        work: impl Future<Output = Result<T, String>>,
    ) -> Result<T, String> {
        let (uid, begun) = (spec::uid(pod), Instant::now());
        let there = self.tally.want(uid, &volume.name, plugin);
        let done = work.await;
        if !there || done.is_err() {
            self.meters.storage.operated(plugin, "volume_mount", done.is_ok(), begun.elapsed());
        }
        if done.is_ok() {
            self.tally.have(uid, &volume.name);
        }
        done
    }

    /// A volume that others provide: a persistent one behind a claim, or one of a CSI driver. `None` for all other kinds.
    async fn of_others(
        &self,
        pod: &Pod,
        volume: &Volume,
        usage: &Usage<'_>,
        grown: &mut Vec<Grown>,
    ) -> Result<Option<Placed>, VolumeError> {
        let of_pod = VolumeError::of(&volume.name);
        if let Some(inline) = &volume.csi {
            let asked = CsiVolume::ephemeral(pod, &volume.name, inline);
            let (plugin, work) = (tally::of_driver(&asked.driver), self.csi.set_up(pod, &asked, &self.tokens));
            return self.tallied(pod, volume, &plugin, work).await.map(Some).map_err(of_pod);
        }
        let pod_dir = self.pod_dir(spec::uid(pod));
        if let Some(source) = &volume.nfs {
            let export = nfs::Export::of(source, Vec::new(), false);
            let work = nfs::place(&pod_dir, &volume.name, &export);
            let done = self.tallied(pod, volume, tally::NFS, work).await;
            return done.map(|path| Some(Placed::Tree(path))).map_err(of_pod);
        }
        let Some(claim) = claim::claim_of(pod, volume) else { return Ok(None) };
        // A kubelet that begins anew finds a running pod with what it has.
        let runs = pod.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Running");
        let held = runs || self.tally.has(spec::uid(pod), &volume.name);
        let found = claim::bound(self.objects.client(), pod, volume, &claim, held).await;
        let (bound, persistent) = found.map_err(&of_pod)?;
        let mode = persistent.spec.as_ref().and_then(|s| s.volume_mode.as_deref());
        usage.suits(&volume.name, mode).map_err(of_pod)?;
        self.groups.note(spec::uid(pod), &volume.name, &persistent);
        let name = persistent.metadata.name.clone().unwrap_or_default();
        let named = VolumeError::of(&name);
        let read_only = volume.persistent_volume_claim.as_ref().and_then(|c| c.read_only) == Some(true);
        if let Some(asked) = CsiVolume::persistent(&persistent, read_only) {
            let asked = asked.behind(&volume.name, &claim);
            let (plugin, work) = (tally::of_driver(&asked.driver), self.csi.set_up(pod, &asked, &self.tokens));
            let placed = self.tallied(pod, volume, &plugin, work).await;
            let crowded = placed.is_err() && self.csi.gives_up(&asked);
            let placed = placed.map_err(|reason| VolumeError { crowded, ..named(reason) })?;
            if let Some(growth) = growth(&bound, &persistent) {
                let source = persistent.spec.as_ref().and_then(|s| s.csi.as_ref());
                let secret = source.and_then(|c| c.node_expand_secret_ref.as_ref());
                let came = self.csi.expand(pod, &asked, &bound, secret, &growth).await;
                let (volume, uid) = (asked.spec_name.clone(), bound.metadata.uid.clone().unwrap_or_default());
                grown.push(Grown { volume, claim, uid, came });
            }
            return Ok(Some(placed));
        }
        if let Some(source) = persistent.spec.as_ref().and_then(|s| s.nfs.as_ref()) {
            let options = nfs::options(&persistent);
            let export = nfs::Export::of(source, options, read_only);
            let work = nfs::place(&pod_dir, &name, &export);
            let done = self.tallied(pod, volume, tally::NFS, work).await;
            return done.map(|path| Some(Placed::Tree(path))).map_err(named);
        }
        let group = ownership::wanted(pod, read_only);
        let plugin = tally::of_path(&persistent);
        let work = blocking(move || persistent::place(&pod_dir, &persistent, group));
        let placed = self.tallied(pod, volume, plugin, work).await.map_err(named)?;
        self.settled.note(spec::uid(pod), &volume.name, &placed);
        Ok(Some(placed))
    }

    async fn one(&self, pod: &Pod, volume: &Volume, collector: &Collector<'_>) -> Result<PathBuf, String> {
        let dir = |plugin: &str| self.pod_dir(spec::uid(pod)).join("volumes").join(plugin).join(&volume.name);
        if let Some(host) = &volume.host_path {
            let path = PathBuf::from(&host.path);
            host_path::prepare(&path, host.type_.as_deref().unwrap_or_default())?;
            self.settled.note(spec::uid(pod), &volume.name, &Placed::Tree(path.clone()));
            return Ok(path);
        }
        if let Some(empty) = &volume.empty_dir {
            let path = dir("kubernetes.io~empty-dir");
            empty_dir::place(pod, empty, collector.fields.allocatable.get("memory"), &path)?;
            return Ok(path);
        }
        let (path, files) = if let Some(map) = &volume.config_map {
            let optional = map.optional == Some(true);
            (
                dir("kubernetes.io~configmap"),
                collector.config_map(&map.name, map.items.as_deref(), map.default_mode, optional).await?,
            )
        } else if let Some(secret) = &volume.secret {
            let name = secret.secret_name.as_deref().unwrap_or_default();
            let optional = secret.optional == Some(true);
            (
                dir("kubernetes.io~secret"),
                collector.secret(name, secret.items.as_deref(), secret.default_mode, optional).await?,
            )
        } else if let Some(projected) = &volume.projected {
            (dir("kubernetes.io~projected"), collector.projected(projected).await?)
        } else if let Some(fields) = &volume.downward_api {
            let items = fields.items.as_deref().unwrap_or_default();
            (dir("kubernetes.io~downward-api"), downward(pod, collector.fields, items, fields.default_mode)?)
        } else {
            return Err(format!("{} volumes are not supported by this node", kind(volume)));
        };
        // Secrets, tokens and pod facts stay off the disk; ConfigMaps are public enough.
        let memory = volume.config_map.is_none() && self.secrets_in_memory;
        let fs_group = pod.spec.as_ref().and_then(|s| s.security_context.as_ref()).and_then(|c| c.fs_group);
        blocking(move || publish_at(&path, &files, memory, fs_group).map(|()| path)).await
    }

    /// Takes all volumes of a pod down and removes its directory.
    pub async fn tear_down(&self, uid: &str) -> Result<(), String> {
        self.tokens.forget(uid);
        self.held.forget(uid);
        self.settled.forget(uid);
        self.groups.forget(uid);
        // Parts of volumes before these: what is still mounted somewhere lives on, though its driver has let it go.
        remove(self.pod_dir(uid).join("volume-subpaths")).await?;
        // Then what no driver has, which may be memory: a driver may be away for long.
        let volumes = self.pod_dir(uid).join("volumes");
        let own = entries(&volumes).map(|e| e.path()).filter(|dir| dir.is_dir() && !dir.ends_with("kubernetes.io~csi"));
        let mut gone = Ok(());
        for dir in own {
            // One that stays, as that of a server that is away, keeps no other.
            gone = gone.and(remove(dir).await);
        }
        gone.and(self.csi.tear_down(uid).await)?;
        remove(volumes).await?;
        self.tally.forget(uid);
        Ok(())
    }

    /// Removes the pod's directory with everything in it.
    pub async fn remove_pod_dir(&self, uid: &str) -> Result<(), String> {
        self.tear_down(uid).await?;
        remove(self.pod_dir(uid)).await
    }

    /// UIDs of pods that have a directory.
    pub fn known_pods(&self) -> Vec<String> {
        entries(&self.pods).filter_map(|e| e.file_name().into_string().ok()).collect()
    }
}

/// File work off the two runtime threads: a slow disk must not stop probes and leases.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(|e| e.to_string())?
}

fn entries(of: &Path) -> impl Iterator<Item = fs::DirEntry> + use<> {
    fs::read_dir(of).into_iter().flatten().flatten()
}

/// Removes a tree of a pod's, with what is mounted in it.
async fn remove(dir: PathBuf) -> Result<(), String> {
    blocking(move || mounted::remove_tree(&dir).map_err(|e| e.to_string())).await
}

fn publish_at(path: &Path, files: &Payload, memory: bool, fs_group: Option<i64>) -> Result<(), String> {
    let work = || -> std::io::Result<()> {
        fs::create_dir_all(path)?;
        if memory {
            tmpfs::ensure_tmpfs(path, None, 0o755, None)?;
        }
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
        publish(path, files, |fresh| ownership::apply(fresh, fs_group, true, false))?;
        if fs_group.is_some() {
            ownership::apply(path, fs_group, true, true)?;
        }
        Ok(())
    };
    work().map_err(|e| format!("{}: {e}", path.display()))
}

/// The kind of a volume as its field is called, for messages.
fn kind(volume: &Volume) -> String {
    let value = serde_json::to_value(volume).unwrap_or_default();
    let key = value.as_object().and_then(|o| o.keys().find(|k| *k != "name").cloned());
    key.unwrap_or_else(|| "sourceless".into())
}
