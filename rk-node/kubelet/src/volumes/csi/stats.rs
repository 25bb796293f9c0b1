//! What CSI volumes hold, by their drivers' own count.

use std::path::PathBuf;

use rk_figures::Ask;
use rk_plugin_api::csi::node_service_capability::rpc;
use rk_plugin_api::csi::volume_usage::Unit;
use rk_plugin_api::csi::{NodeGetVolumeStatsRequest, VolumeUsage};

use super::data::{self, VolumeData};
use super::drivers::Driver;
use super::mount::Csi;

/// One volume's numbers; what its driver does not tell is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeStats {
    /// Name in the pod.
    pub name: String,
    /// The claim behind it.
    pub claim: Option<String>,
    /// Bytes: all, free, used.
    pub bytes: Option<[u64; 3]>,
    /// Inodes: all, free, used.
    pub inodes: Option<[u64; 3]>,
    /// What is wrong with it, when its driver says so.
    pub abnormal: Option<String>,
    /// Whether it is a part of the pod's ephemeral storage.
    pub ephemeral: bool,
}

/// The last usage of a unit.
fn of(list: &[VolumeUsage], unit: Unit) -> Option<[u64; 3]> {
    let usage = list.iter().rev().find(|usage| usage.unit == unit as i32)?;
    Some([usage.total, usage.available, usage.used].map(|n| u64::try_from(n).unwrap_or(0)))
}

impl Csi {
    /// The volumes of a pod whose drivers count; one that does not answer is left out.
    pub async fn stats(&self, uid: &str, ask: Ask) -> Vec<VolumeStats> {
        let mut all = Vec::new();
        for dir in data::of_pod(&self.pod_dir(uid)) {
            let Some(known) = VolumeData::read(&dir).filter(|k| !k.pod_volume.is_empty() && !k.unpublished) else {
                continue;
            };
            let Ok(driver) = self.drivers.get(&known.driver_name) else { continue };
            if !driver.can(rpc::Type::GetVolumeStats) {
                continue;
            }
            let key = dir.clone();
            all.extend(self.figures.get(&key, ask, || count(driver, known, dir)).await);
        }
        all
    }
}

/// Asks the driver of one volume, whose directory is `dir`.
async fn count(driver: Driver, known: VolumeData, dir: PathBuf) -> Option<VolumeStats> {
    let target = known.target.clone().unwrap_or_else(|| dir.join("mount"));
    let request = NodeGetVolumeStatsRequest {
        volume_id: known.volume_handle.clone(),
        volume_path: target.to_string_lossy().into_owned(),
        staging_target_path: known.staging.map(|s| s.to_string_lossy().into_owned()).unwrap_or_default(),
    };
    match driver.ask_quickly("NodeGetVolumeStats", driver.client().node_get_volume_stats(request)).await {
        Ok(answer) => Some(VolumeStats {
            name: known.pod_volume,
            claim: known.claim,
            bytes: of(&answer.usage, Unit::Bytes),
            inodes: of(&answer.usage, Unit::Inodes),
            abnormal: answer.volume_condition.filter(|c| c.abnormal).map(|c| c.message),
            ephemeral: false,
        }),
        Err(problem) => {
            tracing::debug!(volume = %known.spec_name, "a volume is not counted: {problem}");
            None
        }
    }
}
