//! Volumes that are staged on the node: each has a record of its own until its driver has let it go, whatever becomes of its pods.
//!
//! A pod ends once its own mounts are gone. That a driver does not unstage a volume keeps no pod: it is asked again, until it does or
//! another pod wants the volume.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{MutexGuard, PoisonError};

use rk_plugin_api::csi;

use super::data::{self, VolumeData};
use super::drivers::{Driver, failed, is_final};
use super::mount::{Csi, make_dir};
use super::volume::{CsiVolume, Lifecycle};
use crate::plugins::words;

/// Where volumes are staged, below the kubelet's directory.
pub(super) const PLUGIN: &str = "plugins/kubernetes.io/csi";

impl Csi {
    fn staged(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.staged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down that a volume may be staged, when it is one that can be.
    pub(super) fn record(&self, known: &VolumeData) -> Result<(), String> {
        let Some((record, dir)) = known.as_staged().zip(known.staging.as_deref().and_then(data::record_dir)) else {
            return Ok(());
        };
        if VolumeData::read(&dir).is_some_and(|old| old.is_same_volume(&record)) {
            return Ok(());
        }
        record.write(&dir).map_err(|e| format!("writing the volume's data in {}: {e}", dir.display()))
    }

    /// Has a volume staged where its data says, unless that was done. The caller holds its lock.
    pub(super) async fn stage(
        &self,
        driver: &Driver,
        volume: &CsiVolume,
        known: &VolumeData,
        publish_context: &HashMap<String, String>,
        group: Option<i64>,
    ) -> Result<(), String> {
        let Some(staging) = &known.staging else { return Ok(()) };
        if self.staged().contains(staging) {
            return Ok(());
        }
        let request = csi::NodeStageVolumeRequest {
            volume_id: volume.handle.clone(),
            publish_context: publish_context.clone(),
            staging_target_path: staging.to_string_lossy().into_owned(),
            volume_capability: Some(volume.capability(driver, group)),
            secrets: self.secrets(volume.stage_secret.as_ref()).await?,
            volume_context: volume.attributes.clone().into_iter().collect(),
        };
        self.record(known)?;
        make_dir(staging)?;
        let Err(status) = driver.call("NodeStageVolume", driver.client().node_stage_volume(request)).await else {
            self.staged().insert(staging.clone());
            return Ok(());
        };
        // Whatever an earlier try has begun, there is nothing to be unstaged by now.
        if is_final(&status) && !self.users(known).iter().any(|user| !user.unpublished) {
            forget(staging)?;
        }
        Err(format!("MountVolume.MountDevice failed: {}", words(&status)))
    }

    /// Has a volume unstaged that no pod wants any more. The caller holds its lock.
    pub(super) async fn release(&self, known: &VolumeData) {
        let Some(staging) = known.staging.as_deref() else { return };
        let recorded = data::record_dir(staging).and_then(|dir| VolumeData::read(&dir));
        if recorded.is_none() || !self.users(known).is_empty() {
            return;
        }
        if let Err(problem) = self.unstage(known, staging).await {
            tracing::warn!(volume = %known.spec_name, "it stays staged for now: {problem}");
        }
    }

    async fn unstage(&self, known: &VolumeData, staging: &Path) -> Result<(), String> {
        let driver = self.drivers.get(&known.driver_name)?;
        // Even if the driver refuses: it may have begun.
        self.staged().remove(staging);
        let request = csi::NodeUnstageVolumeRequest {
            volume_id: known.volume_handle.clone(),
            staging_target_path: staging.to_string_lossy().into_owned(),
        };
        let what = "NodeUnstageVolume";
        driver.call(what, driver.client().node_unstage_volume(request)).await.map_err(|e| failed(what, &e))?;
        forget(staging)
    }

    /// Has all those unstaged that no pod wants and whose drivers are there: an earlier try has failed, or nobody was there to try.
    pub async fn release_unused(&self) {
        for (_, known) in data::staged(&self.plugin_dir()) {
            if !self.users(&known).is_empty() || self.drivers.get(&known.driver_name).is_err() {
                continue;
            }
            let lock = self.lock(&known.driver_name, &known.volume_handle);
            let _held = lock.lock().await;
            self.release(&known).await;
        }
    }

    /// What pods have of a volume, or want of it.
    fn users(&self, known: &VolumeData) -> Vec<VolumeData> {
        let all = data::all(&self.pods_dir()).into_iter().map(|(_, user)| user);
        all.filter(|user| user.is_same_volume(known)).collect()
    }

    /// Volumes that this node uses, by the names that the attach/detach controller gives them.
    pub fn in_use(kubelet: &Path) -> Vec<String> {
        let of_pods = data::all(&kubelet.join("pods")).into_iter();
        let all = of_pods.chain(data::staged(&kubelet.join(PLUGIN))).map(|(_, known)| known);
        let persistent = all.filter(|known| known.volume_lifecycle_mode == Lifecycle::Persistent.as_str());
        let names: BTreeSet<String> = persistent.map(|known| known.unique_name()).collect();
        names.into_iter().collect()
    }
}

/// Removes what the node has of a staged volume. A directory that is not empty has something of its driver's: it stays for the operator.
fn forget(staging: &Path) -> Result<(), String> {
    let _ = fs::remove_dir(staging);
    let Some(dir) = data::record_dir(staging) else { return Ok(()) };
    VolumeData::remove(&dir).map_err(|e| format!("removing the volume's data: {e}"))?;
    let _ = fs::remove_dir(&dir);
    let _ = dir.parent().filter(|_| dir.ends_with(data::OF_DEVICE)).map(fs::remove_dir);
    Ok(())
}
