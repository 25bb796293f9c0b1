//! How the devices of DRA drivers are, of those that tell it (KEP-4680). What is told holds for a while; about a device of which nothing
//! was told, or not any more, nothing is known.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rk_plugin_api::dra_health as api;
use rk_plugin_api::dra_health::dra_resource_health_client::DraResourceHealthClient;
use tonic::Code;
use tonic::transport::Channel;

/// How long it holds unless the driver says otherwise; upstream's `DefaultHealthTimeout`.
const HOLDS: Duration = Duration::from_secs(30);
/// The longest message of the API, bytes, and how one ends that was longer.
const MESSAGE: (usize, &str) = (1024, "...");
/// Between a stream that has ended and the next.
const AGAIN: Duration = Duration::from_secs(5);

/// How a device is: `Healthy`, `Unhealthy` or `Unknown`, and what its driver says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wellbeing {
    /// As the API writes it.
    pub health: &'static str,
    /// More of it.
    pub message: Option<String>,
}

impl Wellbeing {
    const UNKNOWN: Self = Self { health: "Unknown", message: None };

    fn of(told: &api::DeviceHealth) -> Self {
        let health = match told.health() {
            api::HealthStatus::Healthy => "Healthy",
            api::HealthStatus::Unhealthy => "Unhealthy",
            api::HealthStatus::Unknown => "Unknown",
        };
        Self { health, message: Some(cut(&told.message)).filter(|message| !message.is_empty()) }
    }
}

/// A message of a length that the API takes.
fn cut(message: &str) -> String {
    let (longest, end) = MESSAGE;
    if message.len() <= longest {
        return message.to_owned();
    }
    let at = (0..=longest - end.len()).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
    format!("{}{end}", message.get(..at).unwrap_or_default())
}

/// How devices are, by pool and name, and until when that holds.
type Told = BTreeMap<(String, String), (Wellbeing, Instant)>;

/// What was told, by driver.
#[derive(Debug, Default)]
pub(super) struct Known(BTreeMap<String, Told>);

impl Known {
    /// Takes what a driver tells of its devices; whether any of them is otherwise than before. Devices that it does not name are as they
    /// were until that does not hold any more.
    pub(super) fn take(&mut self, driver: &str, devices: Vec<api::DeviceHealth>, now: Instant) -> bool {
        let known = self.0.entry(driver.to_owned()).or_default();
        let before = known.len();
        known.retain(|_, (_, until)| *until >= now);
        let mut changed = known.len() != before;
        for told in devices {
            let seconds = u64::try_from(told.health_check_timeout_seconds).unwrap_or(0);
            let holds = if seconds > 0 { Duration::from_secs(seconds) } else { HOLDS };
            let until = now.checked_add(holds).unwrap_or(now + HOLDS);
            let is = Wellbeing::of(&told);
            let id = told.device.unwrap_or_default();
            let was = known.insert((id.pool_name, id.device_name), (is.clone(), until));
            changed |= was.is_none_or(|(was, _)| was != is);
        }
        changed
    }

    /// Forgets what a driver told; whether there was anything.
    pub(super) fn forget(&mut self, driver: &str) -> bool {
        self.0.remove(driver).is_some_and(|known| !known.is_empty())
    }

    /// How a device is now.
    pub(super) fn of(&self, driver: &str, pool: &str, device: &str, now: Instant) -> Wellbeing {
        let known = self.0.get(driver).and_then(|known| known.get(&(pool.to_owned(), device.to_owned())));
        known.filter(|(_, until)| *until >= now).map_or(Wellbeing::UNKNOWN, |(is, _)| is.clone())
    }
}

/// Follows what a plugin tells of its devices, for as long as it is one that does. `tell` hears nothing when a stream has ended.
pub(super) async fn follow(channel: Channel, tell: impl Fn(Option<Vec<api::DeviceHealth>>)) {
    let mut client = DraResourceHealthClient::new(channel);
    loop {
        match client.node_watch_resources(api::NodeWatchResourcesRequest {}).await {
            Ok(stream) => {
                let mut stream = stream.into_inner();
                while let Ok(Some(told)) = stream.message().await {
                    tell(Some(told.devices));
                }
                tell(None);
            }
            Err(status) if status.code() == Code::Unimplemented => return,
            Err(status) => tracing::debug!("a DRA driver does not tell how its devices are: {}", status.message()),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(device: &str, health: api::HealthStatus, seconds: i64, message: &str) -> api::DeviceHealth {
        let id = api::DeviceIdentifier { pool_name: "p".to_owned(), device_name: device.to_owned() };
        api::DeviceHealth {
            device: Some(id),
            health: health as i32,
            health_check_timeout_seconds: seconds,
            message: message.to_owned(),
            ..Default::default()
        }
    }

    #[test]
    fn what_a_driver_told_holds_for_a_while() {
        use api::HealthStatus::{Healthy, Unhealthy};
        let (mut known, now) = (Known::default(), Instant::now());
        let later = |seconds: u64| now + Duration::from_secs(seconds);
        let is = |known: &Known, device: &str, at: Instant| known.of("d", "p", device, at).health;
        assert!(known.take("d", vec![told("a", Healthy, 0, ""), told("b", Unhealthy, 60, "hot")], now));
        assert_eq!((is(&known, "a", later(30)), is(&known, "a", later(31))), ("Healthy", "Unknown"));
        assert_eq!((is(&known, "b", later(60)), is(&known, "c", now)), ("Unhealthy", "Unknown"));
        assert_eq!(known.of("d", "p", "b", now).message.as_deref(), Some("hot"));
        assert_eq!(known.of("other", "p", "a", now), Wellbeing::UNKNOWN);
        assert!(!known.take("d", vec![told("a", Healthy, -1, "")], later(5)), "nothing is new");
        assert_eq!(is(&known, "a", later(35)), "Healthy");
        assert!(known.take("d", vec![told("a", Healthy, 0, "")], later(61)), "nothing is known of the other");
        assert!(known.take("d", vec![told("a", Unhealthy, 0, "")], later(62)));
        assert!(known.forget("d") && !known.forget("d"));
        assert_eq!(is(&known, "a", later(62)), "Unknown");
    }

    #[test]
    fn a_message_is_cut_between_letters() {
        let long = "ä".repeat(600);
        assert_eq!(cut(&long), format!("{}...", "ä".repeat(510)));
        assert_eq!(cut(&"x".repeat(1024)).len(), 1024);
        assert_eq!(cut(&"x".repeat(1025)), format!("{}...", "x".repeat(1021)));
    }
}
