//! Who has which claim on this node, and what was prepared for it. Values only.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::names::base;

/// A device as its driver describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Device {
    /// The pool that it is of.
    pub pool_name: String,
    /// Its name in the pool.
    pub device_name: String,
    /// Which share of it this is.
    #[serde(rename = "shareID", skip_serializing_if = "Option::is_none")]
    pub share: Option<String>,
    /// The requests of the claim that it is for; none: all of them.
    pub request_names: Vec<String>,
    /// What the runtime adds for it.
    #[serde(rename = "cdiDeviceIDs")]
    pub cdi_ids: Vec<String>,
}

impl Device {
    /// Whether it is for a request; an empty one stands for all.
    pub fn is_for(&self, request: &str) -> bool {
        let known = || self.request_names.iter().any(|name| base(name) == base(request));
        request.is_empty() || self.request_names.is_empty() || known()
    }
}

/// A claim that pods of this node have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Claim {
    /// Its UID.
    #[serde(rename = "claimUID")]
    pub uid: String,
    /// Its name.
    #[serde(rename = "claimName")]
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// The pods that have it.
    #[serde(rename = "podUIDs")]
    pub pods: BTreeSet<String>,
    /// Its devices by driver, also of drivers that have prepared none.
    pub drivers: BTreeMap<String, Vec<Device>>,
    /// Whether all drivers have prepared it. A machine that starts anew has to have it prepared again, so that this is not kept.
    #[serde(skip)]
    pub prepared: bool,
    /// Whether all of them ever have: before that, not all of its devices are known.
    pub whole: bool,
}

impl Claim {
    /// What names it in the table.
    pub fn key(&self) -> String {
        key(&self.namespace, &self.name)
    }

    /// Whether nobody has it when this pod has gone.
    fn is_last(&self, pod: &str) -> bool {
        self.pods.len() == 1 && self.pods.contains(pod)
    }

    /// All devices, each with its driver.
    pub fn devices(&self) -> impl Iterator<Item = (&str, &Device)> {
        self.drivers.iter().flat_map(|(driver, devices)| devices.iter().map(move |device| (driver.as_str(), device)))
    }
}

/// What names a claim in the table.
pub fn key(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

/// All claims, by [`key`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Table(BTreeMap<String, Claim>);

impl Table {
    /// A claim.
    pub fn get(&self, namespace: &str, name: &str) -> Option<&Claim> {
        self.0.get(&key(namespace, name))
    }

    /// Whether a claim of this key is here.
    pub fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Claim> {
        self.0.values()
    }

    /// What names the claims that a pod has.
    pub fn of_pod(&self, pod: &str) -> BTreeSet<String> {
        let held = self.0.iter().filter(|(_, claim)| claim.pods.contains(pod));
        held.map(|(key, _)| key.clone()).collect()
    }

    /// Notes that a pod has a claim; whether that has yet to be prepared.
    ///
    /// # Errors
    /// Another one of its name is still here.
    pub fn refer(&mut self, pod: &str, claim: Claim) -> Result<bool, String> {
        let known = self.0.entry(claim.key()).or_insert_with(|| claim.clone());
        if known.uid != claim.uid {
            return Err(format!(
                "old ResourceClaim with same name {} and different UID {} still exists (previous pod force-deleted?!)",
                known.name, known.uid
            ));
        }
        known.pods.insert(pod.to_owned());
        Ok(!known.prepared)
    }

    /// Notes what a driver has prepared for a claim.
    pub fn note(&mut self, key: &str, driver: &str, devices: Vec<Device>) {
        if let Some(claim) = self.0.get_mut(key) {
            claim.drivers.insert(driver.to_owned(), devices);
        }
    }

    /// Notes that claims are prepared.
    pub fn prepared<'a>(&mut self, keys: impl Iterator<Item = &'a String>) {
        for key in keys {
            if let Some(claim) = self.0.get_mut(key) {
                (claim.prepared, claim.whole) = (true, true);
            }
        }
    }

    /// The claims that nobody has when this pod has gone.
    pub fn last_of(&self, pod: &str) -> impl Iterator<Item = &Claim> {
        self.0.values().filter(move |claim| claim.is_last(pod))
    }

    /// Takes these for unprepared: drivers that are asked to take them back may have done so, whatever they answer.
    pub fn doubt_last_of(&mut self, pod: &str) {
        self.0.values_mut().filter(|claim| claim.is_last(pod)).for_each(|claim| claim.prepared = false);
    }

    /// Forgets a pod, and the claims that it was the last one to have.
    pub fn leave(&mut self, pod: &str) {
        self.0.retain(|_, claim| !(claim.pods.remove(pod) && claim.pods.is_empty()));
    }

    /// How many claims pods have, by the drivers of their devices, and under `<any>` altogether.
    pub fn in_use(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::from([("<any>".to_owned(), self.0.len())]);
        for driver in self.0.values().flat_map(|claim| claim.drivers.keys()) {
            *counts.entry(driver.clone()).or_default() += 1;
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(name: &str, uid: &str) -> Claim {
        let drivers = BTreeMap::from([("d".to_owned(), Vec::new())]);
        Claim { uid: uid.to_owned(), name: name.to_owned(), namespace: "ns".to_owned(), drivers, ..Default::default() }
    }

    #[test]
    fn a_claim_is_prepared_once_and_left_by_its_last_pod() {
        let mut table = Table::default();
        assert_eq!(table.refer("p", claim("a", "1")), Ok(true));
        assert_eq!(table.refer("p", claim("a", "1")), Ok(true), "not prepared yet");
        let old = "old ResourceClaim with same name a and different UID 1 still exists (previous pod force-deleted?!)";
        assert_eq!(table.refer("p", claim("a", "2")), Err(old.to_owned()));
        assert_eq!(table.refer("p", claim("b", "3")), Ok(true));
        table.note("ns/a", "d", vec![Device { device_name: "x".to_owned(), ..Default::default() }]);
        table.prepared(["ns/a".to_owned()].iter());
        assert_eq!(table.refer("q", claim("a", "1")), Ok(false));
        assert_eq!(table.get("ns", "a").map(|claim| claim.devices().count()), Some(1), "what is known of it stays");
        assert_eq!(table.in_use(), BTreeMap::from([("<any>".to_owned(), 2), ("d".to_owned(), 2)]));
        assert_eq!(table.last_of("p").map(|claim| claim.name.as_str()).collect::<Vec<_>>(), ["b"]);
        table.leave("p");
        assert_eq!((table.of_pod("p").len(), table.of_pod("q").len(), table.all().count()), (0, 1, 1));
        assert_eq!(table.last_of("q").count(), 1);
        table.doubt_last_of("p");
        assert_eq!(table.refer("q", claim("a", "1")), Ok(false), "only what a pod is the last one to have");
        table.doubt_last_of("q");
        assert_eq!(table.refer("q", claim("a", "1")), Ok(true), "it may have been taken back");
        table.leave("q");
        assert_eq!(table, Table::default());
    }

    #[test]
    fn what_was_prepared_is_kept_and_has_to_be_prepared_again() {
        let mut table = Table::default();
        table.refer("p", claim("a", "1")).unwrap();
        let device = Device {
            pool_name: "pool".to_owned(),
            device_name: "x".to_owned(),
            share: Some("s".to_owned()),
            request_names: vec!["r".to_owned()],
            cdi_ids: vec!["d/c=x".to_owned()],
        };
        table.note("ns/a", "d", vec![device]);
        table.prepared(["ns/a".to_owned()].iter());
        let text = serde_json::to_string(&table).unwrap();
        let mut read: Table = serde_json::from_str(&text).unwrap();
        let known = read.get("ns", "a").unwrap();
        assert_eq!((&known.drivers, known.whole), (&table.get("ns", "a").unwrap().drivers, true));
        assert_eq!(read.refer("p", claim("a", "1")), Ok(true));
    }

    #[test]
    fn a_device_is_for_its_requests_or_for_all() {
        for (names, request, want) in [
            (&[] as &[&str], "r", true),
            (&["r"], "", true),
            (&["r"], "r", true),
            (&["r"], "s", false),
            (&["r/first", "s"], "r", true),
            (&["r/first", "s"], "r/first", true),
        ] {
            let request_names = names.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(Device { request_names, ..Default::default() }.is_for(request), want, "{names:?} {request}");
        }
    }
}
