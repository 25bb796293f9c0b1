//! Acting as somebody else (`Impersonate-*` headers), for those who may.

mod modes;

pub use modes::Habits;

use std::collections::BTreeMap;
use std::time::Instant;

use http::{HeaderMap, HeaderValue};
use rk_api::status::Status;

use super::user::User;
use crate::audit;
use crate::authz::Attributes;
use crate::http::{RequestInfo, decode};
use crate::metrics::Filter;
use crate::server::Core;

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";

/// Somebody, as the headers say it: nothing is completed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    name: String,
    uid: String,
    groups: Vec<String>,
    extra: BTreeMap<String, Vec<String>>,
}

/// The user that the request is to be judged as.
///
/// # Errors
/// 400 for headers without a user, 403 when the caller may not impersonate.
pub async fn impersonate(core: &Core, headers: &HeaderMap, caller: User, info: &RequestInfo) -> Result<User, Status> {
    let begun = Instant::now();
    let user = shown_as(core, headers, caller, info).await?;
    core.metrics.access.passed(Filter::Impersonation, begun.elapsed());
    Ok(user)
}

async fn shown_as(core: &Core, headers: &HeaderMap, caller: User, info: &RequestInfo) -> Result<User, Status> {
    let Some(wanted) = Wanted::of(headers)? else { return Ok(caller) };
    let (user, constraint) = modes::become_wanted(core, &caller, &wanted, &Attributes::of_request(info)).await?;
    audit::impersonated(&user, constraint);
    Ok(user)
}

impl Wanted {
    /// `None` where nobody is to be impersonated.
    fn of(headers: &HeaderMap) -> Result<Option<Self>, Status> {
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let first = |name: &str| headers.get(name).map(text).unwrap_or_default();
        let mut wanted = Self {
            name: first(USER),
            uid: first(UID),
            groups: headers.get_all(GROUP).iter().map(text).collect(),
            extra: BTreeMap::new(),
        };
        for (name, value) in headers {
            let Some(key) = name.as_str().strip_prefix(EXTRA) else { continue };
            // Percent-encoded by clients, since a header name cannot hold a slash.
            wanted.extra.entry(decode(key, false)).or_default().push(text(value));
        }
        if !wanted.name.is_empty() {
            return Ok(Some(wanted));
        }
        if wanted == Self::default() {
            return Ok(None);
        }
        Err(Status::bad_request(format!("requested {} without impersonating a user name", wanted.shown())))
    }

    /// In the notation of upstream's language, which its refusal shows.
    fn shown(&self) -> String {
        let list = |list: &[String]| match list {
            [] => "[]string(nil)".to_owned(),
            _ => format!("[]string{{{}}}", list.iter().map(|one| format!("{one:?}")).collect::<Vec<_>>().join(", ")),
        };
        let extra: Vec<String> = self.extra.iter().map(|(key, values)| format!("{key:?}:{}", list(values))).collect();
        let extra = if extra.is_empty() { "(nil)".to_owned() } else { format!("{{{}}}", extra.join(", ")) };
        let Self { name, uid, groups, .. } = self;
        format!(
            "&user.DefaultInfo{{Name:{name:?}, UID:{uid:?}, Groups:{}, Extra:map[string][]string{extra}}}",
            list(groups)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_say_who_is_wanted_or_nothing() {
        let mut headers = HeaderMap::new();
        assert_eq!(Wanted::of(&headers), Ok(None));
        headers.append(GROUP, HeaderValue::from_static("a"));
        headers.append(GROUP, HeaderValue::from_static("b"));
        headers.append("impersonate-extra-example.com%2fscope", HeaderValue::from_static("x"));
        let refused = Wanted::of(&headers).unwrap_err();
        assert_eq!(
            (refused.code, refused.message.as_str()),
            (
                400,
                "requested &user.DefaultInfo{Name:\"\", UID:\"\", Groups:[]string{\"a\", \"b\"}, \
                 Extra:map[string][]string{\"example.com/scope\":[]string{\"x\"}}} without impersonating a user name"
            )
        );
        headers.insert(USER, HeaderValue::from_static("jane"));
        let wanted = Wanted::of(&headers).unwrap().unwrap();
        assert_eq!((wanted.name.as_str(), wanted.groups.len()), ("jane", 2));
        assert_eq!(wanted.extra["example.com/scope"], ["x"]);
    }
}
