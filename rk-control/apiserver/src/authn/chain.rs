//! The order in which credentials are tried.

use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use rk_api::status::Status;

use super::{User, bootstrap_token};
use crate::http::{Connection, Peer};
use crate::proxy::BEARER_PROTOCOL;
use crate::server::Core;

/// What a client hears whose token stands after two spaces; upstream's words.
const SPACED: &str = "the provided Authorization header contains extra space before the bearer token, and is ignored";

/// The user of a request: that of the connection's certificate, else of a bearer token, else `system:anonymous`. What is odd about the
/// credentials is left in `warnings`.
///
/// # Errors
/// 401 when credentials were offered and none is valid.
pub async fn authenticate(
    core: &Core,
    headers: &HeaderMap,
    connection: &Connection,
    warnings: &mut Vec<String>,
) -> Result<User, Status> {
    if let Peer::InProcess(user) = &connection.peer {
        return Ok(User::clone(user));
    }
    let started = Instant::now();
    let user = offered(core, headers, connection, warnings).await;
    core.metrics.access.authenticated(user.is_ok(), started.elapsed());
    if let Ok(user) = &user {
        core.metrics.access.user(&user.name);
    }
    user
}

async fn offered(
    core: &Core,
    headers: &HeaderMap,
    connection: &Connection,
    warnings: &mut Vec<String>,
) -> Result<User, Status> {
    if let Peer::Certified { user, until } = &connection.peer {
        return certified(core, user, *until);
    }
    if let Some(token) = bearer(headers, warnings) {
        return match authenticate_token(core, &token, &[]).await? {
            Ok((user, _)) => Ok(user),
            Err(_) => Err(Status::unauthorized("")),
        };
    }
    match &connection.peer {
        Peer::Refused(why) => {
            tracing::info!(address = ?connection.address, %why, "client certificate refused");
            Err(Status::unauthorized(""))
        }
        _ => Ok(User::anonymous()),
    }
}

/// A connection may outlast the certificate that opened it.
fn certified(core: &Core, user: &User, until: i64) -> Result<User, Status> {
    let left = until - jiff::Timestamp::now().as_second();
    core.metrics.access.certificate(left);
    if left < 0 {
        tracing::info!(user = user.name, "client certificate has expired");
        return Err(Status::unauthorized(""));
    }
    Ok(user.clone())
}

/// The token of an `Authorization: Bearer` header, or of the WebSocket subprotocol that browsers use instead. What follows the token is
/// of no meaning; after two spaces there is none.
fn bearer(headers: &HeaderMap, warnings: &mut Vec<String>) -> Option<String> {
    let Some(value) = headers.get(AUTHORIZATION) else { return websocket_bearer(headers) };
    let mut parts = value.to_str().ok()?.trim().splitn(3, ' ');
    let (scheme, token) = (parts.next()?, parts.next()?);
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    if token.is_empty() {
        warnings.push(SPACED.to_owned());
        return None;
    }
    Some(token.to_owned())
}

fn websocket_bearer(headers: &HeaderMap) -> Option<String> {
    let protocols = headers.get(SEC_WEBSOCKET_PROTOCOL)?.to_str().ok()?;
    let encoded = protocols.split(',').find_map(|protocol| protocol.trim().strip_prefix(BEARER_PROTOCOL))?;
    String::from_utf8(URL_SAFE_NO_PAD.decode(encoded).ok()?).ok()
}

/// The user of a bearer token, and the audiences that it is valid for; else what there is to say of it besides that it is not valid, in
/// upstream's words, or nothing.
pub type Verdict = Result<(User, Vec<String>), String>;

/// Whose a bearer token is, and for which of the audiences (empty: this server's own).
///
/// # Errors
/// The objects to check it against cannot be read.
pub async fn authenticate_token(core: &Core, token: &str, audiences: &[String]) -> Result<Verdict, Status> {
    if let Some(user) = bootstrap_token::authenticate(core, token).await? {
        return Ok(Ok((user, Vec::new())));
    }
    core.tokens.authenticate(core, token, audiences).await
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_token_stands_between_the_first_and_the_second_space() {
        for (header, token, warned) in [
            ("Bearer a.b", Some("a.b"), false),
            (" bearer a.b ", Some("a.b"), false),
            ("BEARER a.b c d", Some("a.b"), false),
            ("Bearer  a.b", None, true),
            ("Bearer ", None, false),
            ("Bearer", None, false),
            ("Basic a.b", None, false),
            ("", None, false),
        ] {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(header))]);
            let mut warnings = Vec::new();
            assert_eq!(bearer(&headers, &mut warnings).as_deref(), token, "{header}");
            assert_eq!(warnings.len(), usize::from(warned), "{header}");
        }
        assert_eq!(bearer(&HeaderMap::new(), &mut Vec::new()), None);
    }
}
