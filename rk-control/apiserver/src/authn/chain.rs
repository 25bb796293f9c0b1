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

/// The user of a request: a bearer token if there is one, else the connection's certificate, else `system:anonymous`.
///
/// # Errors
/// 401 when credentials were offered and none is valid.
pub async fn authenticate(core: &Core, headers: &HeaderMap, connection: &Connection) -> Result<User, Status> {
    if let Peer::InProcess(user) = &connection.peer {
        return Ok(User::clone(user));
    }
    let started = Instant::now();
    let user = offered(core, headers, connection).await;
    core.metrics.access.authenticated(user.is_ok(), started.elapsed());
    if let Ok(user) = &user {
        core.metrics.access.user(&user.name);
    }
    user
}

async fn offered(core: &Core, headers: &HeaderMap, connection: &Connection) -> Result<User, Status> {
    if let Peer::Certified { user, until } = &connection.peer {
        return certified(core, user, *until);
    }
    if let Some(token) = bearer(headers) {
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

/// The token of an `Authorization: Bearer` header, or of the WebSocket subprotocol that browsers use instead.
fn bearer(headers: &HeaderMap) -> Option<String> {
    let Some(value) = headers.get(AUTHORIZATION) else { return websocket_bearer(headers) };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| token.to_owned())
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
