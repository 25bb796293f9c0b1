//! Acting as somebody else (`Impersonate-*` headers), for those who may.

use http::HeaderMap;
use rk_api::status::Status;

use super::user::{SERVICE_ACCOUNT_PREFIX, UNAUTHENTICATED, User};
use crate::audit;
use crate::authz::Attributes;
use crate::http::Query;
use crate::server::Core;

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";

/// The user that the request is to be judged as.
///
/// # Errors
/// 400 for headers without a user, 403 when the caller may not impersonate.
pub async fn impersonate(core: &Core, headers: &HeaderMap, caller: User) -> Result<User, Status> {
    let texts = |name: &str| -> Vec<String> {
        headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).map(str::to_owned).collect()
    };
    let name = texts(USER).into_iter().next().unwrap_or_default();
    let groups = texts(GROUP);
    let uid = texts(UID).into_iter().next().unwrap_or_default();
    let extra: Vec<(String, String)> = headers
        .iter()
        .filter_map(|(key, value)| {
            let key = key.as_str().strip_prefix(EXTRA)?;
            Some((decode_key(key), value.to_str().ok()?.to_owned()))
        })
        .collect();
    if name.is_empty() {
        if groups.is_empty() && uid.is_empty() && extra.is_empty() {
            return Ok(caller);
        }
        return Err(Status::internal(format!(
            "requested [{}] without impersonating a user",
            groups.iter().map(|group| format!("{{Group  {group}    }}")).collect::<Vec<_>>().join(" ")
        )));
    }
    let account = name.strip_prefix(SERVICE_ACCOUNT_PREFIX).and_then(|rest| rest.split_once(':'));
    let check = |group: &str, resource: &str, subresource: &str, namespace: &str, name: &str| Attributes {
        verb: "impersonate".to_owned(),
        group: group.to_owned(),
        version: "v1".to_owned(),
        resource: resource.to_owned(),
        subresource: subresource.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        ..Attributes::default()
    };
    let mut wanted = vec![match account {
        Some((namespace, name)) => check("", "serviceaccounts", "", namespace, name),
        None => check("", "users", "", "", &name),
    }];
    wanted.extend(groups.iter().map(|group| check("", "groups", "", "", group)));
    if !uid.is_empty() {
        wanted.push(check("authentication.k8s.io", "uids", "", "", &uid));
    }
    wanted.extend(extra.iter().map(|(key, value)| check("authentication.k8s.io", "userextras", key, "", value)));
    for attributes in &wanted {
        core.authorizer.check(core, &caller, attributes).await?;
    }
    let mut user = match account {
        Some((namespace, account)) if groups.is_empty() => User::service_account(namespace, account, &uid),
        _ if name == "system:anonymous" => User::anonymous(),
        _ => User { uid, ..User::new(name, []) },
    };
    // The groups asked for come first, the implied one last, as upstream orders them.
    let implied = std::mem::take(&mut user.groups);
    for group in groups.iter().chain(&implied) {
        user.add_group(group);
    }
    if user.in_group(UNAUTHENTICATED) {
        user.groups.retain(|group| group != super::AUTHENTICATED);
    }
    for (key, value) in extra {
        user.extra.entry(key).or_default().push(value);
    }
    audit::impersonated(&user);
    Ok(user)
}

fn decode_key(key: &str) -> String {
    // Percent-encoded by clients, since a header name cannot hold a slash.
    Query::parse(&format!("{key}=")).first_name().unwrap_or_else(|| key.to_owned())
}
