//! Bringing a volume to a pod and taking it away again: attach, publish, and back.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, SecretReference};
use k8s_openapi::api::storage::v1::{CSIDriver, VolumeAttachment};
use kube::Api;
use rk_figures::Figures;
use rk_plugin_api::csi;
use rk_plugin_api::csi::node_service_capability::rpc;
use tokio::time::{Instant, sleep};
use tonic::Code;

use super::crowded::Crowded;
use super::data::{self, VolumeData};
use super::drivers::{Drivers, failed};
use super::in_use::InUse;
use super::stage::PLUGIN;
use super::stats::VolumeStats;
use super::volume::{CsiVolume, Lifecycle, attachment_name, staging_name};
use crate::api_error;
use crate::plugins::words;
use crate::pod::spec;
use crate::volumes::held::PATIENCE;
use crate::volumes::objects::Objects;
use crate::volumes::ownership;
use crate::volumes::tally::of_driver;
use crate::volumes::token::Tokens;

/// How long a look at a pod's volumes waits for the controller to attach one.
const ATTACH: Duration = Duration::from_secs(15);
/// How often it looks.
const ATTACH_PACE: Duration = Duration::from_millis(500);

/// Where a volume is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placed {
    /// A directory or file to be mounted.
    Tree(PathBuf),
    /// A device node.
    Device(PathBuf),
}

/// The CSI side of the volume manager.
pub struct Csi {
    kubelet: PathBuf,
    node: String,
    pub(super) objects: Objects,
    pub(super) drivers: Drivers,
    pub(super) in_use: InUse,
    /// Published by this process: asked again of the driver only when it wants that.
    published: Mutex<BTreeSet<PathBuf>>,
    /// Where this process has begun to have volumes staged, and whether they are: asked for again only after they were let go.
    pub(super) staged: Mutex<BTreeMap<PathBuf, bool>>,
    /// See [`Self::left`].
    pub(super) left: Mutex<BTreeMap<PathBuf, i64>>,
    locks: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    crowded: Crowded,
    /// What volumes hold, by their directories.
    pub(super) figures: Figures<PathBuf, VolumeStats>,
}

/// Directories as upstream makes them: nobody but root looks in.
pub(super) fn make_dir(path: &Path) -> Result<(), String> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o750)
        .create(path)
        .map_err(|e| format!("making {}: {e}", path.display()))
}

impl Csi {
    /// For the volumes below `kubelet`, with these drivers. Which of them are there is told through `in_use`.
    pub fn new(kubelet: &Path, node: String, objects: Objects, drivers: Drivers, in_use: InUse) -> Self {
        let (published, staged, left) = (Mutex::default(), Mutex::default(), Mutex::default());
        let (kubelet, crowded) = (kubelet.to_owned(), Crowded::default());
        let (locks, figures) = (Mutex::default(), Figures::new(PATIENCE));
        Self { kubelet, node, objects, drivers, in_use, published, staged, left, locks, crowded, figures }
    }

    pub(super) fn pods_dir(&self) -> PathBuf {
        self.kubelet.join("pods")
    }

    pub(super) fn pod_dir(&self, uid: &str) -> PathBuf {
        self.pods_dir().join(uid)
    }

    pub(super) fn plugin_dir(&self) -> PathBuf {
        self.kubelet.join(PLUGIN)
    }

    /// One volume is worked on by one pod at a time: staging is shared by all of them.
    pub(super) fn lock(&self, driver: &str, handle: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        locks.entry(format!("{driver}^{handle}")).or_default().clone()
    }

    async fn driver_object(&self, name: &str) -> Result<Option<CSIDriver>, String> {
        let api: Api<CSIDriver> = Api::all(self.objects.client().clone());
        api.get_opt(name).await.map_err(|e| format!("reading CSIDriver {name}: {}", api_error::text(&e)))
    }

    /// Sets a volume up for a pod and says where it is. Safe to repeat.
    pub async fn set_up(&self, pod: &Pod, volume: &CsiVolume, tokens: &Tokens) -> Result<Placed, String> {
        let (dir, target) = self.places(pod, volume);
        let placed = if volume.block { Placed::Device(target.clone()) } else { Placed::Tree(target.clone()) };
        let known = self.published.lock().unwrap_or_else(PoisonError::into_inner).contains(&target);
        let object = match known {
            true => None,
            false => self.driver_object(&volume.driver).await?,
        };
        if known {
            return Ok(placed);
        }
        volume.allowed(object.as_ref())?;
        let driver = self.drivers.get(&volume.driver)?;
        let lock = self.lock(&volume.driver, &volume.handle);
        let _held = lock.lock().await;
        if volume.is_for_one_pod() && self.is_used_by_another(spec::uid(pod), volume) {
            return Err("volume uses the ReadWriteOncePod access mode and is already in use by another pod".into());
        }
        let (group, on_mismatch) = ownership::wanted(pod, false);
        let by_driver = group.filter(|_| driver.can(rpc::Type::VolumeMountGroup));
        let stages = volume.lifecycle == Lifecycle::Persistent && driver.can(rpc::Type::StageUnstageVolume);
        let staging = stages.then(|| self.staging(volume));
        if let Some(parent) = target.parent() {
            make_dir(parent)?;
        }
        let before = VolumeData::read(&dir);
        let mut data = VolumeData {
            spec_name: volume.spec_name.clone(),
            pod_volume: volume.pod_volume.clone(),
            claim: volume.claim.clone(),
            volume_handle: volume.handle.clone(),
            driver_name: volume.driver.clone(),
            volume_lifecycle_mode: volume.lifecycle.as_str().into(),
            target: volume.block.then(|| target.clone()),
            staging: staging.clone(),
            unpublished: before.as_ref().is_none_or(|known| known.unpublished),
            group: before.and_then(|known| known.group),
        };
        let note = |data: &VolumeData| {
            data.write(&dir).map_err(|e| format!("writing the volume's data in {}: {e}", dir.display()))
        };
        note(&data)?;
        let publish_context = self.attached(volume, object.as_ref()).await?;
        self.stage(&driver, volume, &data, &publish_context, by_driver).await?;
        let mut volume_context = volume.context(pod, object.as_ref());
        let mut secrets = self.secrets(volume.publish_secret.as_ref()).await?;
        if let Some(of_account) = self.tokens(pod, object.as_ref(), tokens).await? {
            let secret = object.as_ref().and_then(|d| d.spec.service_account_token_in_secrets) == Some(true);
            let place = if secret { &mut secrets } else { &mut volume_context };
            place.insert("csi.storage.k8s.io/serviceAccount.tokens".into(), of_account);
        }
        let request = csi::NodePublishVolumeRequest {
            volume_id: volume.handle.clone(),
            publish_context,
            staging_target_path: staging.map(|s| s.to_string_lossy().into_owned()).unwrap_or_default(),
            target_path: target.to_string_lossy().into_owned(),
            volume_capability: Some(volume.capability(driver.tells_writers_apart(), by_driver)),
            readonly: volume.read_only,
            secrets,
            volume_context,
        };
        if std::mem::take(&mut data.unpublished) {
            note(&data)?;
        }
        let mut client = driver.client();
        driver.call("NodePublishVolume", client.node_publish_volume(request)).await.map_err(|e| words(&e))?;
        if by_driver.is_none() && volume.is_to_be_given(object.as_ref(), group, data.group) {
            let path = target.clone();
            tokio::task::spawn_blocking(move || ownership::apply(&path, group, false, on_mismatch))
                .await
                .map_err(|e| e.to_string())?
                .map_err(|e| format!("applying fsGroup: {e}"))?;
            data.group = group;
            note(&data)?;
        }
        if object.is_none_or(|o| o.spec.requires_republish != Some(true)) {
            self.published.lock().unwrap_or_else(PoisonError::into_inner).insert(target);
        }
        Ok(placed)
    }

    /// The directory of the volume's data, and where the driver is to publish it.
    pub(super) fn places(&self, pod: &Pod, volume: &CsiVolume) -> (PathBuf, PathBuf) {
        let uid = spec::uid(pod);
        if volume.block {
            let dir = self.pod_dir(uid).join("volumeDevices/kubernetes.io~csi").join(&volume.spec_name);
            return (dir, self.plugin_dir().join("volumeDevices/publish").join(&volume.spec_name).join(uid));
        }
        let dir = self.pod_dir(uid).join("volumes/kubernetes.io~csi").join(&volume.spec_name);
        (dir.clone(), dir.join("mount"))
    }

    pub(super) fn staging(&self, volume: &CsiVolume) -> PathBuf {
        if volume.block {
            return self.plugin_dir().join("volumeDevices/staging").join(&volume.spec_name);
        }
        self.plugin_dir().join(&volume.driver).join(staging_name(&volume.handle)).join(data::TREE)
    }

    /// Waits until the controller has attached the volume, when its driver wants that; its words are for the driver. What is known of the
    /// volume is on disk.
    async fn attached(
        &self,
        volume: &CsiVolume,
        object: Option<&CSIDriver>,
    ) -> Result<HashMap<String, String>, String> {
        let wanted = object.and_then(|d| d.spec.attach_required).unwrap_or(true);
        if volume.lifecycle == Lifecycle::Ephemeral {
            return Ok(HashMap::new());
        }
        let change = self.in_use.change();
        if !wanted {
            return Ok(HashMap::new());
        }
        let deadline = Instant::now() + ATTACH;
        if !self.in_use.is_told(change, deadline).await {
            return Err("Volume has not been added to the list of VolumesInUse in the node's volume status".into());
        }
        let name = attachment_name(&volume.handle, &volume.driver, &self.node);
        let api: Api<VolumeAttachment> = Api::all(self.objects.client().clone());
        loop {
            // The controller may not have made it yet, and one that is on its way out must not be counted on.
            let found = api_error::unless_forbidden(api.get_opt(&name).await)
                .map_err(|e| format!("reading VolumeAttachment {name}: {}", api_error::text(&e)))?;
            let found = found.filter(|a| a.metadata.deletion_timestamp.is_none());
            let status = found.and_then(|a| a.status).unwrap_or_default();
            if status.attached {
                self.crowded.forget(&name);
                return Ok(status.attachment_metadata.unwrap_or_default().into_iter().collect());
            }
            if status.attach_error.as_ref().and_then(|e| e.error_code) == Some(Code::ResourceExhausted as i32) {
                self.drivers.note_full(&volume.driver);
                // Only where the driver wants to be asked how many volumes the node takes, as upstream has it.
                if object.and_then(|d| d.spec.node_allocatable_update_period_seconds).is_some_and(|every| every > 0) {
                    self.crowded.note(&name, Instant::now());
                }
            }
            if let Some(message) = status.attach_error.and_then(|e| e.message) {
                return Err(format!("the volume could not be attached: {message}"));
            }
            if Instant::now() >= deadline {
                return Err(format!(
                    "timed out waiting for external-attacher of {} CSI driver to attach volume {}",
                    volume.driver, volume.handle
                ));
            }
            sleep(ATTACH_PACE).await;
        }
    }

    /// Whether the volume could not be attached for so long for want of room on the node that its pod is to wait no longer.
    pub fn gives_up(&self, volume: &CsiVolume) -> bool {
        self.crowded.gives_up(&attachment_name(&volume.handle, &volume.driver, &self.node), Instant::now())
    }

    pub(super) async fn secrets(&self, reference: Option<&SecretReference>) -> Result<HashMap<String, String>, String> {
        let Some(reference) = reference else { return Ok(HashMap::new()) };
        let (name, namespace) =
            (reference.name.as_deref().unwrap_or_default(), reference.namespace.as_deref().unwrap_or_default());
        let found = self.objects.secret(namespace, name, Duration::ZERO).await.map_err(|e| api_error::text(&e))?;
        let found = found.ok_or_else(|| format!("secret {namespace}/{name} not found"))?;
        let data = found.data.clone().unwrap_or_default();
        Ok(data.into_iter().map(|(key, value)| (key, String::from_utf8_lossy(&value.0).into_owned())).collect())
    }

    /// Service account tokens that the driver wants for its own logins, by their audiences, as JSON.
    async fn tokens(&self, pod: &Pod, object: Option<&CSIDriver>, tokens: &Tokens) -> Result<Option<String>, String> {
        let wanted = object.and_then(|d| d.spec.token_requests.clone()).unwrap_or_default();
        if wanted.is_empty() {
            return Ok(None);
        }
        let mut all = serde_json::Map::new();
        for request in wanted {
            let projection = k8s_openapi::api::core::v1::ServiceAccountTokenProjection {
                audience: Some(request.audience.clone()).filter(|a| !a.is_empty()),
                expiration_seconds: request.expiration_seconds,
                path: String::new(),
            };
            let (token, expires) = tokens.with_expiry(self.objects.client(), pod, &projection).await?;
            all.insert(
                request.audience,
                serde_json::json!({"token": token, "expirationTimestamp": expires.to_string()}),
            );
        }
        Ok(Some(serde_json::Value::Object(all).to_string()))
    }

    /// Takes all CSI volumes of a pod away. What a driver refuses is tried again by the caller.
    pub async fn tear_down(&self, uid: &str) -> Result<(), String> {
        let mut problems = Vec::new();
        for dir in data::of_pod(&self.pod_dir(uid)) {
            // Without data nothing was ever asked of a driver.
            let Some(known) = VolumeData::read(&dir) else { continue };
            let lock = self.lock(&known.driver_name, &known.volume_handle);
            let _held = lock.lock().await;
            // Whoever had the lock may have published it meanwhile, or taken it away.
            let Some(known) = VolumeData::read(&dir) else { continue };
            let begun = Instant::now();
            let taken = self.take_away(&dir, &known).await;
            let (storage, plugin) = (&self.drivers.meters().storage, of_driver(&known.driver_name));
            storage.operated(&plugin, "volume_unmount", taken.is_ok(), begun.elapsed());
            if let Err(problem) = taken {
                problems.push(format!("volume {}: {problem}", known.spec_name));
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(problems.join(", ")) }
    }

    /// Takes one volume of a pod away. The caller holds its lock.
    async fn take_away(&self, dir: &Path, known: &VolumeData) -> Result<(), String> {
        if !known.unpublished {
            self.unpublish(dir, known).await?;
            // From now on it is the node's alone.
            self.record(known)?;
        }
        VolumeData::remove(dir).map_err(|e| format!("removing the volume's data: {e}"))?;
        self.release(known).await;
        self.in_use.change();
        Ok(())
    }

    async fn unpublish(&self, dir: &Path, known: &VolumeData) -> Result<(), String> {
        let driver = self.drivers.get(&known.driver_name)?;
        let target = known.target.clone().unwrap_or_else(|| dir.join("mount"));
        self.published.lock().unwrap_or_else(PoisonError::into_inner).remove(&target);
        self.left().remove(&target);
        let request = csi::NodeUnpublishVolumeRequest {
            volume_id: known.volume_handle.clone(),
            target_path: target.to_string_lossy().into_owned(),
        };
        let what = "NodeUnpublishVolume";
        let done = driver.call(what, driver.client().node_unpublish_volume(request)).await;
        done.map(drop).map_err(|e| failed(what, &e))
    }

    fn is_used_by_another(&self, uid: &str, volume: &CsiVolume) -> bool {
        let own = self.pod_dir(uid);
        data::all(&self.pods_dir()).iter().any(|(dir, data)| {
            !dir.starts_with(&own) && data.driver_name == volume.driver && data.volume_handle == volume.handle
        })
    }
}
