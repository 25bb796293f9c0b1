//! What claims of volumes take, in total and by storage class.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use rk_api::meta::Quantity as Amount;

use crate::usage::{ONE, Usage, amount};

const STORAGE_CLASS: &str = ".storageclass.storage.k8s.io/";
/// The older place of a storage class.
const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

/// A claim, in total and by storage class.
#[must_use]
pub fn of_claim(claim: &PersistentVolumeClaim) -> Usage {
    let total = [("persistentvolumeclaims", Some(ONE)), ("requests.storage", size(claim))];
    let mut usage = Usage::from([("count/persistentvolumeclaims".to_owned(), ONE)]);
    let class = storage_class(claim);
    for (name, amount) in total.into_iter().filter_map(|(name, amount)| Some((name, amount?))) {
        usage.insert(name.to_owned(), amount);
        if !class.is_empty() {
            usage.insert(format!("{class}{STORAGE_CLASS}{name}"), amount);
        }
    }
    usage
}

fn storage_class(claim: &PersistentVolumeClaim) -> &str {
    let annotated = claim.metadata.annotations.as_ref().and_then(|all| all.get(CLASS_ANNOTATION));
    let named = || claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_ref());
    annotated.or_else(named).map(String::as_str).unwrap_or_default()
}

/// What is asked for, or what is still allocated while less is asked for (KEP-1790), in whole bytes.
fn size(claim: &PersistentVolumeClaim) -> Option<Amount> {
    let requests = claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
    let asked = amount(requests.get("storage")?);
    let allocated = claim.status.as_ref().and_then(|status| status.allocated_resources.as_ref()?.get("storage"));
    let most = allocated.map_or(asked, |allocated| amount(allocated).max(asked));
    Some(if most.is_integer() { most } else { Amount::from_units(most.units(), most.format()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn told(usage: &Usage) -> Vec<String> {
        usage.iter().map(|(name, amount)| format!("{name}={amount}")).collect()
    }

    #[test]
    fn a_claim_is_counted_in_total_and_by_class() {
        let claim = |object: Value| told(&of_claim(&serde_json::from_value(object).unwrap()));
        let spec = json!({"storageClassName": "gold", "resources": {"requests": {"storage": "10Gi"}}});
        let gold = [
            "count/persistentvolumeclaims=1",
            "gold.storageclass.storage.k8s.io/persistentvolumeclaims=1",
            "gold.storageclass.storage.k8s.io/requests.storage=10Gi",
            "persistentvolumeclaims=1",
            "requests.storage=10Gi",
        ];
        assert_eq!(claim(json!({"spec": spec})), gold);
        let old = json!({"metadata": {"annotations": {"volume.beta.kubernetes.io/storage-class": "gold"}},
            "spec": {"resources": {"requests": {"storage": "10Gi"}}}});
        assert_eq!(claim(old), gold);
        let shrinking = json!({"spec": spec, "status": {"allocatedResources": {"storage": "20Gi"}}});
        assert_eq!(claim(shrinking)[4], "requests.storage=20Gi");
        let odd = json!({"spec": {"resources": {"requests": {"storage": "1500m"}}}});
        assert_eq!(claim(odd), ["count/persistentvolumeclaims=1", "persistentvolumeclaims=1", "requests.storage=2"]);
    }
}
