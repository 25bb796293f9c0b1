//! DNS policy and configuration of a pod.

use serde_json::Value;

use super::super::addresses::address;
use super::super::get::{field, list, named, required_of_listed, strings, text};
use crate::meta::dns_search;
use crate::status::{FieldErrors, Path};

const MAX_SERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;
const MAX_SEARCH_CHARS: usize = 2048;

/// `dnsPolicy` and `dnsConfig`.
pub(super) fn dns(spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let policy = text(spec, "dnsPolicy");
    let policies = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    required_of_listed(errors, &path.child("dnsPolicy"), policy, &policies);
    let path = path.child("dnsConfig");
    let Some(config) = field(spec, "dnsConfig") else {
        if policy == "None" {
            errors.required(&path, "must provide `dnsConfig` when `dnsPolicy` is None");
        }
        return;
    };
    let servers = list(config, "nameservers");
    if policy == "None" && servers.is_empty() {
        let why = "must provide at least one DNS nameserver when `dnsPolicy` is None";
        return errors.required(&path.child("nameservers"), why);
    }
    if servers.len() > MAX_SERVERS {
        errors.invalid(
            &path.child("nameservers"),
            config["nameservers"].clone(),
            format!("must not have more than {MAX_SERVERS} nameservers"),
        );
    }
    for (index, server) in strings(config, "nameservers").enumerate() {
        address(server, &path.child("nameservers").index(index), errors);
    }
    searches(config, &path.child("searches"), errors);
    for (index, option) in list(config, "options").iter().enumerate() {
        if text(option, "name").is_empty() {
            errors.required(&path.child("options").index(index), "must not be empty");
        }
    }
}

fn searches(config: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let all: Vec<&str> = strings(config, "searches").collect();
    if all.len() > MAX_SEARCHES {
        errors.invalid(
            path,
            config["searches"].clone(),
            format!("must not have more than {MAX_SEARCHES} search paths"),
        );
    }
    if all.join(" ").len() > MAX_SEARCH_CHARS {
        let why =
            format!("must not have more than {MAX_SEARCH_CHARS} characters (including spaces) in the search list");
        errors.invalid(path, config["searches"].clone(), why);
    }
    for (index, search) in all.iter().enumerate() {
        if *search != "." {
            // A trailing dot marks the name as absolute.
            let name = search.strip_suffix('.').unwrap_or(search);
            named(errors, &path.index(index), name, dns_search(name));
        }
    }
}
