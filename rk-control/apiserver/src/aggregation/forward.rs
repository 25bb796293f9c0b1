//! Passing a request on to the server that has its group.

use std::fmt::Write;

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use rk_api::status::Status;

use super::Remote;
use crate::authn::User;
use crate::http::{Body, text_response};
use crate::proxy;
use crate::server::Core;

/// The headers in which a front proxy names the user; what a client sent under these names is never passed on.
pub(crate) const USER: &str = "x-remote-user";
pub(crate) const UID: &str = "x-remote-uid";
pub(crate) const GROUP: &str = "x-remote-group";
pub(crate) const EXTRA: &str = "x-remote-extra-";

/// Serves a request by the server behind an APIService.
///
/// # Errors
/// The user cannot be told in headers, or the other server broke off.
pub async fn forward(
    core: &Core,
    remote: &Remote,
    user: &User,
    mut request: Request<Body>,
) -> Result<Response<Body>, Status> {
    let unavailable = || text_response(StatusCode::SERVICE_UNAVAILABLE, "service unavailable\n");
    if !remote.available {
        return Ok(unavailable());
    }
    introduce(request.headers_mut(), user).ok_or_else(|| Status::internal("the user cannot be told in headers"))?;
    let opened = core.callouts.connect(core, &remote.client, remote.insecure).await;
    let (sender, address) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            tracing::warn!(group = remote.group, version = remote.version, %error, "an aggregated API does not answer");
            return Ok(unavailable());
        }
    };
    let target = request.uri().path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string);
    proxy::forward(sender, address, &target, request).await
}

/// Replaces whatever a request says of its user by who it is.
fn introduce(headers: &mut HeaderMap, user: &User) -> Option<()> {
    let claimed: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("x-remote-")).cloned().collect();
    for name in claimed {
        headers.remove(name);
    }
    headers.insert(USER, HeaderValue::from_str(&user.name).ok()?);
    if !user.uid.is_empty() {
        headers.insert(UID, HeaderValue::from_str(&user.uid).ok()?);
    }
    for group in &user.groups {
        headers.append(GROUP, HeaderValue::from_str(group).ok()?);
    }
    for (key, values) in &user.extra {
        let name = HeaderName::try_from(format!("{EXTRA}{}", escaped(key))).ok()?;
        for value in values {
            headers.append(name.clone(), HeaderValue::from_str(value).ok()?);
        }
    }
    Some(())
}

/// A key as part of a header's name: what must not stand there is percent-encoded.
fn escaped(key: &str) -> String {
    let mut out = String::with_capacity(key.len());
    for byte in key.bytes() {
        if byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_speaks_for_another() {
        let mut headers = HeaderMap::new();
        for name in ["X-Remote-User", "X-Remote-Group", "X-Remote-Extra-Scopes"] {
            headers.append(HeaderName::try_from(name).unwrap(), "system:masters".parse().unwrap());
        }
        let mut user = User::new("jane", ["devs".to_owned()]);
        user.extra.insert("example.com/role".to_owned(), vec!["a".to_owned()]);
        introduce(&mut headers, &user).unwrap();
        assert_eq!(headers.get_all(USER).iter().collect::<Vec<_>>(), ["jane"]);
        assert_eq!(headers.get_all(GROUP).iter().collect::<Vec<_>>(), ["devs", "system:authenticated"]);
        assert_eq!(headers["x-remote-extra-example.com%2frole"], "a");
        assert!(!headers.contains_key("x-remote-extra-scopes"));
    }
}
