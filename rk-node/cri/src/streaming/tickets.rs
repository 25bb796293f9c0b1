use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// A URL not used for this long is void.
const LIFETIME: Duration = Duration::from_secs(60);
/// URLs given out and not used yet.
const MAX_WAITING: usize = 1000;

/// What a URL is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Run a command.
    Exec { container: String, cmd: Vec<String>, options: rk_streaming::ExecOptions },
    /// Join a container's stdio.
    Attach { container: String, options: rk_streaming::ExecOptions },
    /// Reach ports of a pod.
    PortForward { sandbox: String, ports: Vec<u16> },
}

/// Wishes by the token in their URL. The token is the only thing that authorises a session, so it is unguessable and used up by
/// its first use.
#[derive(Debug)]
pub(crate) struct Tickets {
    address: SocketAddr,
    waiting: Mutex<HashMap<String, (Instant, Wish)>>,
}

impl Tickets {
    /// For a server at `address`.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, waiting: Mutex::default() }
    }

    /// A URL for the wish.
    pub fn issue(&self, wish: Wish) -> Result<String> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, (since, _)| since.elapsed() < LIFETIME);
        if waiting.len() >= MAX_WAITING {
            return Err(Error::Busy(format!(
                "{MAX_WAITING} streaming sessions wait for their clients already: try again later"
            )));
        }
        let verb = match wish {
            Wish::Exec { .. } => "exec",
            Wish::Attach { .. } => "attach",
            Wish::PortForward { .. } => "portforward",
        };
        let token = hex::encode(rand::random::<[u8; 16]>());
        let url = format!("http://{}/{verb}/{token}", self.address);
        waiting.insert(token, (Instant::now(), wish));
        Ok(url)
    }

    /// The wish of a token, once.
    pub fn redeem(&self, token: &str) -> Option<Wish> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.remove(token).filter(|(since, _)| since.elapsed() < LIFETIME).map(|(_, wish)| wish)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_works_once_and_waiting_ones_are_bounded() {
        let tickets = Tickets::new("127.0.0.1:4000".parse().unwrap());
        let wish = Wish::PortForward { sandbox: "s".into(), ports: vec![80] };
        let url = tickets.issue(wish.clone()).unwrap();
        let token = url.strip_prefix("http://127.0.0.1:4000/portforward/").unwrap();
        assert_eq!(tickets.redeem(token), Some(wish.clone()));
        assert_eq!(tickets.redeem(token), None);
        for _ in 0..MAX_WAITING {
            tickets.issue(wish.clone()).unwrap();
        }
        assert!(matches!(tickets.issue(wish), Err(Error::Busy(_))));
    }
}
