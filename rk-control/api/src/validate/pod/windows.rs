//! What a pod may say of its containers on Windows (KEP-689, KEP-1043, KEP-1981).

use std::sync::LazyLock;

use regex_lite::Regex;
use serde_json::Value;

use super::super::get::{field, list, named};
use crate::meta::{at, dns1123_subdomain};
use crate::status::{FieldErrors, Path};

/// Largest inline credential spec, in KiB.
const MAX_SPEC_KIB: usize = 64;
/// Longest domain of a user, exclusive, in bytes.
const MAX_DOMAIN: usize = 256;
/// Longest name of a user, in bytes.
const MAX_USER: usize = 104;
const KINDS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];
/// What no name of a user holds.
const NOT_IN_USERS: [char; 16] = ['"', '/', '\\', ':', ';', '|', '=', ',', '+', '*', '?', '<', '>', '@', '[', ']'];

/// Names of domains: those of NetBIOS and those of DNS.
static DOMAINS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    let label = "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?";
    let forms = [r#"^[^\\/:*?"<>|.][^\\/:*?"<>|]{0,14}$"#.to_owned(), format!(r"^{label}(?:\.{label})*$")];
    forms.iter().filter_map(|form| Regex::new(form).ok()).collect()
});

/// `windowsOptions` of a security context.
pub(super) fn options(context: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let Some(options) = field(context, "windowsOptions") else { return };
    let path = path.child("windowsOptions");
    if let Some(name) = options.get("gmsaCredentialSpecName").and_then(Value::as_str) {
        named(errors, &path.child("gmsaCredentialSpecName"), name, dns1123_subdomain(name));
    }
    if let Some(spec) = options.get("gmsaCredentialSpec").and_then(Value::as_str) {
        let path = path.child("gmsaCredentialSpec");
        if spec.is_empty() {
            errors.invalid(&path, spec, "gmsaCredentialSpec cannot be an empty string");
        } else if spec.len() > MAX_SPEC_KIB * 1024 {
            errors.invalid(&path, spec, format!("gmsaCredentialSpec size must be under {MAX_SPEC_KIB} KiB"));
        }
    }
    if let Some(user) = options.get("runAsUserName").and_then(Value::as_str) {
        for why in wrong_with_user(user) {
            errors.invalid(&path.child("runAsUserName"), user, format!("runAsUserName{why}"));
        }
    }
}

/// What is wrong with `DOMAIN\user` or `user`, after the name of the field.
fn wrong_with_user(name: &str) -> Vec<String> {
    if name.is_empty() {
        return vec![" cannot be an empty string".to_owned()];
    }
    if name.chars().any(|c| c.is_ascii_control()) {
        return vec![" cannot contain control characters".to_owned()];
    }
    let (domain, user) = match name.split_once('\\') {
        Some((_, rest)) if rest.contains('\\') => {
            return vec![" cannot contain more than one backslash".to_owned()];
        }
        Some((domain, user)) => (Some(domain), user),
        None => (None, name),
    };
    let mut wrong = Vec::new();
    if let Some(domain) = domain {
        if domain.len() >= MAX_DOMAIN {
            wrong.push(format!("'s Domain length must be under {MAX_DOMAIN} characters"));
        }
        if !DOMAINS.iter().any(|form| form.is_match(domain)) {
            wrong.push("'s Domain doesn't match the NetBios nor the DNS format".to_owned());
        }
    }
    if user.is_empty() {
        wrong.push("'s User cannot be empty".to_owned());
    } else if user.len() > MAX_USER {
        wrong.push(format!("'s User length must not be longer than {MAX_USER} characters"));
    }
    if !user.is_empty() && user.chars().all(|c| matches!(c, '.' | ' ')) {
        wrong.push("'s User cannot contain only periods or spaces".to_owned());
    }
    if user.contains(NOT_IN_USERS) {
        wrong.push("'s User cannot contain the following characters: \"/\\:;|=,+*?<>@[]".to_owned());
    }
    wrong
}

/// Containers that are processes of their host are so together, and with its network.
pub(super) fn host_process(spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let wish = |holder: &Value| at(holder, &["securityContext", "windowsOptions", "hostProcess"]).as_bool();
    let of_pod = wish(spec);
    let (mut some, mut all) = (false, true);
    for kind in KINDS {
        for (index, container) in list(spec, kind).iter().enumerate() {
            let own = wish(container);
            if let (Some(own), Some(of_pod)) = (own, of_pod)
                && own != of_pod
            {
                let why = format!("pod hostProcess value must be identical if both are specified, was {of_pod}");
                let path = path.child(kind);
                let path = path.index(index);
                let path = path.child("securityContext");
                errors.invalid(&path.child("windowsOptions").child("hostProcess"), own, why);
            }
            let is = own.or(of_pod) == Some(true);
            (some, all) = (some || is, all && is);
        }
    }
    if !some {
        return;
    }
    if !all {
        let why = "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        errors.invalid(path, "", why);
    }
    if spec.get("hostNetwork").and_then(Value::as_bool) != Some(true) {
        let why = "hostNetwork must be true if pod contains any hostProcess containers";
        errors.invalid(&path.child("hostNetwork"), false, why);
    }
}
