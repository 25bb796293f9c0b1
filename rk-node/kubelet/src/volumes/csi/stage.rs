//! Volumes that are staged on the node: each has a record of its own until its driver has let it go, whatever becomes of its pods.
//!
//! A pod ends once its own mounts are gone. That a driver does not unstage a volume keeps no pod: it is asked again, until it does or
//! another pod wants the volume.

use std::collections::{BTreeMap, BTreeSet, HashMap};
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
    fn staged(&self) -> MutexGuard<'_, BTreeMap<PathBuf, bool>> {
        self.staged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down that a volume may be staged, when it is one that can be; false when that was written already.
    pub(super) fn record(&self, known: &VolumeData) -> Result<bool, String> {
        let Some((record, dir)) = known.as_staged().zip(known.staging.as_deref().and_then(data::record_dir)) else {
            return Ok(false);
        };
        if VolumeData::read(&dir).is_some_and(|old| old.is_same_volume(&record)) {
            return Ok(false);
        }
        make_dir(&dir)?;
        let written = record.write(&dir).map(|()| true);
        written.map_err(|e| format!("writing the volume's data in {}: {e}", dir.display()))
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
        if self.staged().get(staging) == Some(&true) {
            return Ok(());
        }
        let request = csi::NodeStageVolumeRequest {
            volume_id: volume.handle.clone(),
            publish_context: publish_context.clone(),
            staging_target_path: staging.to_string_lossy().into_owned(),
            volume_capability: Some(volume.capability(driver.tells_writers_apart(), group)),
            secrets: self.secrets(volume.stage_secret.as_ref()).await?,
            volume_context: volume.attributes.clone().into_iter().collect(),
        };
        if self.record(known)? {
            self.staged().insert(staging.clone(), false);
        }
        make_dir(staging)?;
        let Err(status) = driver.call("NodeStageVolume", driver.client().node_stage_volume(request)).await else {
            self.staged().insert(staging.clone(), true);
            return Ok(());
        };
        if is_final(&status) {
            self.give_up(known, staging)?;
        }
        Err(format!("MountVolume.MountDevice failed: {}", words(&status)))
    }

    /// The driver has refused for good: whatever an earlier try of this process has begun, there is nothing to be unstaged by now. What
    /// was recorded before this process may have been staged then, and what a pod has published surely was.
    fn give_up(&self, known: &VolumeData, staging: &Path) -> Result<(), String> {
        let own = self.staged().remove(staging).is_some();
        if own && self.users(known).iter().all(|user| user.unpublished) {
            forget(staging)?;
        }
        Ok(())
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

    /// Whether any driver is here.
    pub fn has_drivers(&self) -> bool {
        !self.drivers.is_empty()
    }

    /// Has all those unstaged that no pod wants and whose drivers are there: an earlier try has failed, or nobody was there to try.
    pub async fn release_unused(&self) {
        let staged = data::staged(&self.plugin_dir());
        if staged.is_empty() {
            return;
        }
        let wanted: BTreeSet<String> = data::all(&self.pods_dir()).iter().map(|(_, user)| user.unique_name()).collect();
        for (_, known) in staged {
            if wanted.contains(&known.unique_name()) || self.drivers.get(&known.driver_name).is_err() {
                continue;
            }
            let lock = self.lock(&known.driver_name, &known.volume_handle);
            let _held = lock.lock().await;
            self.release(&known).await;
            self.in_use.change();
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

#[cfg(test)]
mod tests {
    use super::super::drivers::Drivers;
    use super::super::in_use::InUse;
    use super::*;
    use crate::volumes::objects::Objects;

    /// A node without drivers and without an API.
    fn csi(kubelet: &Path) -> Csi {
        let api = tower::service_fn(|_: http::Request<kube::client::Body>| {
            std::future::ready(Err::<http::Response<kube::client::Body>, tower::BoxError>("nobody is there".into()))
        });
        Csi::new(
            kubelet,
            "n".to_owned(),
            Objects::new(kube::Client::new(api, "default")),
            Drivers::default(),
            InUse::default(),
        )
    }

    /// What a pod wants of the volume that is staged below `kubelet`, and where that is written.
    fn wanted(kubelet: &Path, pod: &str, unpublished: bool) -> (PathBuf, VolumeData) {
        let known = VolumeData {
            spec_name: "pv".into(),
            volume_handle: "h".into(),
            driver_name: "d".into(),
            volume_lifecycle_mode: Lifecycle::Persistent.as_str().into(),
            staging: Some(kubelet.join(PLUGIN).join("d/0123").join(data::TREE)),
            unpublished,
            ..Default::default()
        };
        let dir = kubelet.join("pods").join(pod).join("volumes/kubernetes.io~csi/pv");
        known.write(&dir).unwrap();
        (dir, known)
    }

    #[tokio::test]
    async fn a_volume_waits_for_its_driver_and_a_pod_only_where_that_has_published() {
        let kubelet = tempfile::tempdir().unwrap();
        let csi = csi(kubelet.path());
        let (dir, known) = wanted(kubelet.path(), "a", true);
        assert_eq!(csi.record(&known), Ok(true));
        csi.tear_down("a").await.unwrap();
        assert!(VolumeData::read(&dir).is_none());
        csi.release_unused().await;
        assert_eq!(Csi::in_use(kubelet.path()), ["kubernetes.io/csi/d^h"]);
        assert_eq!(data::staged(&csi.plugin_dir()).len(), 1, "nobody has unstaged it");

        let (dir, _) = wanted(kubelet.path(), "b", false);
        let problem = csi.tear_down("b").await.unwrap_err();
        assert!(problem.ends_with("driver name d not found in the list of registered CSI drivers"), "{problem}");
        assert!(VolumeData::read(&dir).is_some());
    }

    #[tokio::test]
    async fn what_was_recorded_before_this_process_or_is_published_is_not_given_up() {
        let kubelet = tempfile::tempdir().unwrap();
        let (dir, known) = wanted(kubelet.path(), "a", true);
        let staging = known.staging.clone().unwrap();
        let begin = |csi: &Csi| {
            let new = csi.record(&known).unwrap();
            if new {
                csi.staged().insert(staging.clone(), false);
            }
            csi.give_up(&known, &staging).unwrap();
            (new, data::staged(&csi.plugin_dir()).len())
        };
        let first = csi(kubelet.path());
        assert_eq!(begin(&first), (true, 0), "its own");
        assert_eq!(first.record(&known), Ok(true));
        let after = csi(kubelet.path());
        assert_eq!(begin(&after), (false, 1), "of an earlier process");
        forget(&staging).unwrap();
        // As a kubelet that keeps no such records has left it.
        wanted(kubelet.path(), "a", false);
        assert_eq!(begin(&after), (true, 1), "the pod has it");
        assert!(VolumeData::read(&dir).is_some());
    }
}
