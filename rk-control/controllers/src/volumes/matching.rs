//! Which volume suits which claim.

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use rk_client::{LabelMatcher, parse_value};
use std::borrow::Cow;
use std::sync::Arc;

pub(super) const BOUND_BY_US: &str = "pv.kubernetes.io/bound-by-controller";
pub(super) const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
const OTHER_CLASS: &str = "storageClassName does not match";
const OLD_CLASS: &str = "volume.beta.kubernetes.io/storage-class";

pub(super) fn class_of_claim(claim: &PersistentVolumeClaim) -> String {
    let old = claim.metadata.annotations.as_ref().and_then(|a| a.get(OLD_CLASS)).cloned();
    old.or_else(|| claim.spec.as_ref()?.storage_class_name.clone()).unwrap_or_default()
}

/// Whether the claim names a class, though it be none: it gets no default one.
pub(super) fn names_class(claim: &PersistentVolumeClaim) -> bool {
    let old = claim.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(OLD_CLASS));
    old || claim.spec.as_ref().is_some_and(|spec| spec.storage_class_name.is_some())
}

pub(super) fn class_of_volume(volume: &PersistentVolume) -> String {
    let old = volume.metadata.annotations.as_ref().and_then(|a| a.get(OLD_CLASS)).cloned();
    old.or_else(|| volume.spec.as_ref()?.storage_class_name.clone()).unwrap_or_default()
}

fn mode(mode: Option<&String>) -> &str {
    mode.map_or("Filesystem", String::as_str)
}

pub(super) fn capacity(volume: &PersistentVolume) -> i64 {
    volume.spec.as_ref().and_then(|s| s.capacity.as_ref()?.get("storage")).map_or(0, parse_value)
}

pub(super) fn requested(claim: &PersistentVolumeClaim) -> i64 {
    claim.spec.as_ref().and_then(|s| s.resources.as_ref()?.requests.as_ref()?.get("storage")).map_or(0, parse_value)
}

/// Whether the volume is promised to this very claim.
pub(super) fn is_for(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let Some(reference) = volume.spec.as_ref().and_then(|s| s.claim_ref.as_ref()) else { return false };
    let same_uid = reference.uid.as_ref().is_none_or(|uid| uid.is_empty() || Some(uid) == claim.metadata.uid.as_ref());
    reference.name == claim.metadata.name && reference.namespace == claim.metadata.namespace && same_uid
}

/// Why a volume cannot be a claim's.
pub(super) fn mismatch(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Option<Cow<'static, str>> {
    if volume.metadata.deletion_timestamp.is_some() {
        let name = volume.metadata.name.as_deref().unwrap_or_default();
        return Some(format!("the volume is marked for deletion {name:?}").into());
    }
    unlike(volume, claim).next().map(Cow::Borrowed)
}

/// All that is other of the volume than its claim wants it.
fn unlike(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> impl Iterator<Item = &'static str> {
    let (has, wants) = (volume.spec.clone().unwrap_or_default(), claim.spec.clone().unwrap_or_default());
    let modes = has.access_modes.unwrap_or_default();
    let [own, wanted] =
        [has.volume_attributes_class_name, wants.volume_attributes_class_name].map(Option::unwrap_or_default);
    let differences = [
        (capacity(volume) < requested(claim), "requested PV is too small"),
        (class_of_volume(volume) != class_of_claim(claim), OTHER_CLASS),
        (own != wanted, "volumeAttributesClassName does not match"),
        (!are_of_one_mode(volume, claim), "incompatible volumeMode"),
        (wants.access_modes.iter().flatten().any(|m| !modes.contains(m)), "incompatible accessMode"),
    ];
    differences.into_iter().filter_map(|(is_there, why)| is_there.then_some(why))
}

/// Whether both are file systems or both devices.
pub(super) fn are_of_one_mode(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let (has, wants) = (volume.spec.as_ref(), claim.spec.as_ref());
    mode(has.and_then(|s| s.volume_mode.as_ref())) == mode(wants.and_then(|s| s.volume_mode.as_ref()))
}

/// How many access modes the volume has.
fn breadth(volume: &PersistentVolume) -> usize {
    volume.spec.as_ref().and_then(|s| s.access_modes.as_ref()).map_or(0, Vec::len)
}

/// The volume for a claim: the one promised to it, else the smallest free one that suits, of those with the fewest access modes.
pub(super) fn find<'a>(
    volumes: &'a [Arc<PersistentVolume>],
    claim: &PersistentVolumeClaim,
) -> Option<&'a Arc<PersistentVolume>> {
    let selector = claim.spec.as_ref().and_then(|s| s.selector.as_ref());
    let matcher = selector.map_or_else(LabelMatcher::everything, |s| {
        LabelMatcher::new(Some(s)).unwrap_or_else(|_| LabelMatcher::nothing())
    });
    // Who has promised a volume has chosen its class.
    let is_promised = |v: &&Arc<PersistentVolume>| {
        is_for(v, claim) && v.metadata.deletion_timestamp.is_none() && unlike(v, claim).all(|why| why == OTHER_CLASS)
    };
    if let Some(promised) = volumes.iter().find(is_promised) {
        return Some(promised);
    }
    let usable = |v: &&Arc<PersistentVolume>| mismatch(v, claim).is_none();
    let free = |v: &&Arc<PersistentVolume>| {
        let phase = v.status.as_ref().and_then(|s| s.phase.as_deref());
        v.spec.as_ref().is_some_and(|s| s.claim_ref.is_none())
            && matches!(phase, Some("Available") | None)
            && matcher.matches(v.metadata.labels.as_ref())
    };
    volumes.iter().filter(usable).filter(free).min_by_key(|v| (breadth(v), capacity(v), v.metadata.name.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn volume(name: &str, size: &str, class: &str, claim: Option<&str>) -> Arc<PersistentVolume> {
        Arc::new(
            serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"capacity": {"storage": size}, "storageClassName": class,
                "accessModes": ["ReadWriteOnce"], "claimRef": claim.map(|c| json!({"namespace": "n", "name": c}))}, "status": {"phase": "Available"}}))
            .expect("valid"),
        )
    }

    fn claim(size: &str, class: &str, mode: &str) -> PersistentVolumeClaim {
        serde_json::from_value(json!({"metadata": {"name": "c", "namespace": "n"}, "spec": {"storageClassName": class, "accessModes": [mode],
            "resources": {"requests": {"storage": size}}}}))
        .expect("valid")
    }

    #[test]
    fn the_smallest_suitable_volume_is_taken_and_a_promised_one_first() {
        let volumes = [
            volume("big", "10Gi", "", None),
            volume("small", "2Gi", "", None),
            volume("tiny", "1Mi", "", None),
            volume("fast", "2Gi", "ssd", None),
            volume("taken", "1Gi", "", Some("other")),
        ];
        let name = |claim: &PersistentVolumeClaim, volumes: &[Arc<PersistentVolume>]| {
            find(volumes, claim).and_then(|v| v.metadata.name.clone())
        };
        assert_eq!(name(&claim("1Gi", "", "ReadWriteOnce"), &volumes).as_deref(), Some("small"));
        assert_eq!(name(&claim("1Gi", "ssd", "ReadWriteOnce"), &volumes).as_deref(), Some("fast"));
        assert_eq!(name(&claim("1Gi", "", "ReadWriteMany"), &volumes), None);
        let promised = [volume("small", "2Gi", "", None), volume("mine", "5Gi", "", Some("c"))];
        assert_eq!(name(&claim("1Gi", "", "ReadWriteOnce"), &promised).as_deref(), Some("mine"));
        let mut wide = PersistentVolume::clone(&volume("wide", "1Gi", "", None));
        wide.spec.get_or_insert_default().access_modes =
            Some(["ReadWriteOnce", "ReadWriteMany"].map(str::to_owned).into());
        let both = [Arc::new(wide), volume("small", "2Gi", "", None)];
        assert_eq!(
            name(&claim("1Gi", "", "ReadWriteOnce"), &both).as_deref(),
            Some("small"),
            "others may need the modes"
        );
        assert_eq!(name(&claim("1Gi", "", "ReadWriteMany"), &both).as_deref(), Some("wide"));
        let slow = [volume("small", "2Gi", "ssd", None), volume("mine", "5Gi", "disk", Some("c"))];
        assert_eq!(name(&claim("1Gi", "ssd", "ReadWriteOnce"), &slow).as_deref(), Some("mine"), "of whatever class");
        assert_eq!(name(&claim("1Gi", "ssd", "ReadWriteMany"), &slow), None);
    }

    #[test]
    fn a_claim_names_its_class_in_either_place() {
        let mut none = claim("1Gi", "", "ReadWriteOnce");
        assert!(names_class(&none), "it wants none");
        none.spec.get_or_insert_default().storage_class_name = None;
        assert!(!names_class(&none));
        none.metadata.annotations = Some([(OLD_CLASS.to_owned(), "ssd".to_owned())].into());
        assert!(names_class(&none) && class_of_claim(&none) == "ssd");
    }

    #[test]
    fn a_volume_has_the_attributes_that_its_claim_asks_for_and_is_there_to_stay() {
        let volume = |metadata: Value, class: Value| -> PersistentVolume {
            let spec = json!({"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "volumeAttributesClassName": class});
            serde_json::from_value(json!({"metadata": metadata, "spec": spec})).expect("valid")
        };
        let plain = claim("1Gi", "", "ReadWriteOnce");
        let mut gold = plain.clone();
        gold.spec.get_or_insert_default().volume_attributes_class_name = Some("gold".to_owned());
        let mut unset = plain.clone();
        unset.spec.get_or_insert_default().volume_attributes_class_name = Some(String::new());
        let other = Some("volumeAttributesClassName does not match");
        for (claim, class, want) in [
            (&plain, Value::Null, None),
            (&unset, Value::Null, None),
            (&gold, json!("gold"), None),
            (&gold, Value::Null, other),
            (&gold, json!("silver"), other),
            (&plain, json!("gold"), other),
        ] {
            let found = mismatch(&volume(json!({"name": "pv"}), class.clone()), claim);
            assert_eq!(found.as_deref(), want, "{class}");
        }
        let leaving = volume(json!({"name": "pv", "deletionTimestamp": "2026-01-01T00:00:00Z"}), Value::Null);
        assert_eq!(mismatch(&leaving, &plain).as_deref(), Some("the volume is marked for deletion \"pv\""));
    }
}
