//! What became of a claim: what was allocated, for whom, and what drivers tell of it.

use std::collections::HashSet;

use serde_json::Value;

use super::super::addresses;
use super::super::condition::conditions;
use super::super::get::{field, immutable, list, named, one_of, text};
use super::super::pod;
use super::super::storage::driver_name;
use super::claim::{configuration, raw};
use super::name::{self, Requests};
use super::{MAX, binding, bounded, tolerations, unique};
use crate::meta::{at, dns1123_label};
use crate::status::{FieldErrors, Path};

/// Most users of a claim.
const MAX_USERS: usize = 256;
/// Most conditions of a device.
const MAX_CONDITIONS: usize = 8;
/// Largest data of a device, in bytes.
const DATA_MAX: usize = 10 * 1024;
/// Longest name of a network interface, in bytes.
const INTERFACE_MAX: usize = 256;
/// Longest address of a network card, in bytes.
const ADDRESS_MAX: usize = 128;
/// Most addresses of a network interface.
const MAX_ADDRESSES: usize = 16;

/// ResourceClaim, `status`.
pub(in super::super) fn claim_status_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let names = Requests::of(at(new, &["spec", "devices"]));
    let deleted = field(at(new, &["metadata"]), "deletionTimestamp").is_some();
    let (new, old) = (at(new, &["status"]), at(old, &["status"]));
    let path = Path::new("status");
    users(new, &path, errors);
    devices(new, &path, errors);
    let allocation = field(new, "allocation");
    if !list(new, "reservedFor").is_empty() {
        let before: HashSet<&Value> = list(old, "reservedFor").iter().collect();
        let added = || list(new, "reservedFor").iter().any(|user| !before.contains(user));
        let path = path.child("reservedFor");
        if allocation.is_none() {
            errors.forbidden(&path, "may not be specified when `allocated` is not set");
        } else if deleted && added() {
            let why = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
            errors.forbidden(&path, why);
        }
    }
    let path = path.child("allocation");
    match (allocation, field(old, "allocation")) {
        (Some(new), Some(old)) => immutable(errors, &path, Some(new), Some(old)),
        (Some(new), None) => self::allocation(new, &names, &path, errors),
        (None, _) => {}
    }
}

fn users(status: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let users = bounded(status, "reservedFor", MAX_USERS, path, errors);
    let path = path.child("reservedFor");
    for (index, user) in users.iter().enumerate() {
        for key in ["resource", "name", "uid"] {
            if text(user, key).is_empty() {
                errors.required(&path.index(index).child(key), "");
            }
        }
    }
    unique(users.iter().map(|user| text(user, "uid")), &path, errors);
}

/// Which device it is, and which share of it.
fn identity(device: &Value) -> String {
    let share = text(device, "shareID");
    let own = ["driver", "pool", "device"].map(|key| text(device, key)).join("/");
    if share.is_empty() { own } else { format!("{own}/{share}") }
}

fn devices(status: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let results = list(at(status, &["allocation", "devices"]), "results");
    let allocated: HashSet<String> = results.iter().map(identity).collect();
    let own: Vec<String> = list(status, "devices").iter().map(identity).collect();
    let path = path.child("devices");
    for (index, (device, identity)) in list(status, "devices").iter().zip(&own).enumerate() {
        let path = path.index(index);
        self::device(device, &path, errors);
        if !allocated.contains(identity) {
            errors.invalid(&path, identity.as_str(), "must be an allocated device in the claim");
        }
    }
    unique(own.iter().map(String::as_str), &path, errors);
}

fn device(device: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    place(device, path, errors);
    let count = list(device, "conditions").len();
    if count > MAX_CONDITIONS {
        errors.too_many(&path.child("conditions"), count, MAX_CONDITIONS);
    }
    conditions(device, path, errors);
    if let Some(data) = field(device, "data") {
        raw(data, &path.child("data"), DATA_MAX, errors);
    }
    if let Some(network) = field(device, "networkData") {
        self::network(network, &path.child("networkData"), errors);
    }
}

fn network(network: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    for (key, max) in [("interfaceName", INTERFACE_MAX), ("hardwareAddress", ADDRESS_MAX)] {
        if text(network, key).len() > max {
            errors.too_long(&path.child(key), max);
        }
    }
    let addresses = bounded(network, "ips", MAX_ADDRESSES, path, errors);
    let path = path.child("ips");
    for (index, address) in addresses.iter().filter_map(Value::as_str).enumerate() {
        if let Some(why) = wrong_with_address(address) {
            errors.invalid(&path.index(index), address, why);
        }
    }
    unique(addresses.iter().filter_map(Value::as_str), &path, errors);
}

/// What is wrong with an address and the length of its network, which are written in one way.
fn wrong_with_address(text: &str) -> Option<String> {
    let Some(read) = addresses::lenient_range(text) else {
        return Some("must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)".to_owned());
    };
    let (plain, length) = (read.addr().to_canonical(), read.prefix_len());
    // The length of an IPv4 address within an IPv6 one is told as that of the one within.
    let length = if plain != read.addr() && length > 32 { length.saturating_sub(96) } else { length };
    let canonical = format!("{plain}/{length}");
    (canonical != text).then(|| format!("must be in canonical form ({canonical:?})"))
}

/// Where a device is: driver, pool, name and share.
fn place(device: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    driver_name(errors, &path.child("driver"), text(device, "driver"));
    name::pool(text(device, "pool"), &path.child("pool"), errors);
    let own = text(device, "device");
    named(errors, &path.child("device"), own, dns1123_label(own));
    if let Some(share) = field(device, "shareID").and_then(Value::as_str) {
        share_id(share, &path.child("shareID"), errors);
    }
}

/// A UUID in the one form that is written.
fn share_id(id: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    let lengths: [usize; 5] = [8, 4, 4, 4, 12];
    let parts: Vec<&str> = id.split('-').collect();
    let fits = |(part, length): (&&str, usize)| part.len() == length && part.bytes().all(|b| b.is_ascii_hexdigit());
    let is_whole = parts.len() == lengths.len() && parts.iter().zip(lengths).all(fits);
    let why = match id.len() {
        32 | 36 if !is_whole && !fits((&id, 32)) => "error validating uid: invalid UUID format".to_owned(),
        36 if !id.bytes().any(|b| b.is_ascii_uppercase()) => return,
        // The lengths of forms that are read and not written: without dashes, in braces, after `urn:uuid:`.
        32 | 36 | 38 | 45 => "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal \
                              characters"
            .to_owned(),
        length => format!("error validating uid: invalid UUID length: {length}"),
    };
    errors.invalid(path, id, why);
}

/// What a scheduler chose.
fn allocation(allocation: &Value, names: &Requests<'_>, path: &Path<'_>, errors: &mut FieldErrors) {
    let devices = at(allocation, &["devices"]);
    let here = path.child("devices");
    for (index, result) in bounded(devices, "results", MAX, &here, errors).iter().enumerate() {
        let path = here.child("results");
        let path = path.index(index);
        names.reference(text(result, "request"), &path.child("request"), errors);
        place(result, &path, errors);
        binding(result, &path, errors);
        tolerations(result, &path, errors);
    }
    for (index, config) in bounded(devices, "config", 2 * MAX, &here, errors).iter().enumerate() {
        let path = here.child("config");
        let path = path.index(index);
        one_of(errors, &path.child("source"), text(config, "source"), &["FromClaim", "FromClass"], true);
        names.references(config, &path, errors);
        configuration(config, &path, errors);
    }
    if let Some(selector) = field(allocation, "nodeSelector") {
        pod::node_selector(selector, &path.child("nodeSelector"), errors);
    }
}
