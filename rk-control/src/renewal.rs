//! Certificates that run out are made anew while the process serves: as a restart would, but no connection ends.

use rk_apiserver::{ApiServer, Pki, ServingNames};
use std::convert::Infallible;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Time between two looks. A certificate has thirty days left when it is renewed, so that a look may fail often; a clock that was set
/// meanwhile is noticed by the next one.
const PERIOD: Duration = Duration::from_secs(3600);

/// What the certificates are for.
pub struct Renewal {
    /// The names in the serving certificate.
    pub names: ServingNames,
    /// The administrator's kubeconfig, which has a certificate in it.
    pub kubeconfig: PathBuf,
    /// The server in it.
    pub url: String,
}

impl Renewal {
    /// Looks at the certificates from time to time; never returns.
    pub async fn run(self, server: &ApiServer, pki: Arc<Pki>) -> Infallible {
        let mut shown = pki;
        loop {
            tokio::time::sleep(pause(RandomState::new().build_hasher().finish())).await;
            match self.look(server, &shown).await {
                Ok(None) => {}
                Ok(Some(new)) => shown = new,
                Err(error) => tracing::error!("certificates could not be renewed, will retry: {error:#}"),
            }
        }
    }

    /// What is shown from now on, if that is anything new.
    async fn look(&self, server: &ApiServer, shown: &Arc<Pki>) -> anyhow::Result<Option<Arc<Pki>>> {
        let (held, names) = (Arc::clone(shown), self.names.clone());
        // Files are written and synced.
        let new = tokio::task::spawn_blocking(move || held.renewed(&names)).await??;
        let changed = new.changed_since(shown);
        if changed.is_empty() {
            return Ok(None);
        }
        server.renew(&new)?;
        if changed.contains(&"admin") {
            new.write_admin_kubeconfig(&self.kubeconfig, &self.url)?;
        }
        tracing::info!(certificates = changed.join(" "), "certificates were renewed");
        Ok(Some(Arc::new(new)))
    }
}

/// The period less up to a tenth of it: control planes that were started together do not look together.
fn pause(random: u64) -> Duration {
    let tenth = PERIOD / 10;
    let share = u32::try_from(random % 1000).unwrap_or(0);
    PERIOD - tenth * share / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_a_period_less_a_tenth_at_most() {
        for (random, want) in [(0, 3600), (1000, 3600), (500, 3420), (u64::MAX, 3378)] {
            assert_eq!(pause(random).as_secs(), want, "{random}");
        }
    }
}
