//! Choosing node ports.

use std::collections::HashSet;
use std::ops::RangeInclusive;

use rand::RngExt;
use rk_api::meta;
use rk_api::status::{Path, Reason, Status};
use serde_json::{Value, json};

use super::service::refused;

const TRIES: usize = 64;

fn protocol(port: &Value) -> String {
    let protocol = meta::text(port, &["protocol"]);
    if protocol.is_empty() { "TCP".to_owned() } else { protocol.to_owned() }
}

/// A number as it was asked for, be it one of a port or not; zero asks for none.
pub(super) fn asked(port: &Value, field: &str) -> Option<i64> {
    port.get(field).and_then(Value::as_i64).filter(|number| *number != 0)
}

fn number(port: &Value, field: &str) -> Option<u16> {
    asked(port, field).and_then(|number| u16::try_from(number).ok())
}

/// The node ports of a Service's ports.
pub(super) fn of_ports(service: &Value) -> HashSet<u16> {
    let ports = meta::at(service, &["spec", "ports"]).as_array();
    ports.into_iter().flatten().filter_map(|port| number(port, "nodePort")).collect()
}

/// The node port of a Service's health check.
pub(super) fn of_check(service: &Value) -> Option<u16> {
    number(meta::at(service, &["spec"]), "healthCheckNodePort")
}

/// The node ports that a Service holds. A number is one Service's, whatever the protocol.
pub(super) fn of(service: &Value) -> HashSet<u16> {
    let mut found = of_ports(service);
    found.extend(of_check(service));
    found
}

/// A free port. The first 86 ports of the default range are left to those who choose their own (KEP-3668).
fn pick(range: &RangeInclusive<u16>, taken: &HashSet<u16>) -> Option<u16> {
    let size = u32::from(range.end().saturating_sub(*range.start())) + 1;
    let band = if size < 16 { 0 } else { (size / 32).clamp(16, 128).min(size) };
    let dynamic = range.start().saturating_add(u16::try_from(band).unwrap_or(0));
    let free = |port: &u16| !taken.contains(port);
    let mut random = rand::rng();
    if dynamic <= *range.end() {
        for _ in 0..TRIES {
            let port = random.random_range(dynamic..=*range.end());
            if free(&port) {
                return Some(port);
            }
        }
    }
    (dynamic..=*range.end()).chain(*range.start()..dynamic).find(free)
}

/// Why a number that is asked for cannot be had, in upstream's words.
fn unavailable(wanted: u16, range: &RangeInclusive<u16>, is_taken: bool) -> Option<String> {
    if !range.contains(&wanted) {
        return Some(outside(range));
    }
    is_taken.then(|| "provided port is already allocated".to_owned())
}

fn outside(range: &RangeInclusive<u16>) -> String {
    let (first, last) = (range.start(), range.end());
    format!("provided port is not in the valid range. The range of valid ports is {first}-{last}")
}

/// What decides which node ports a Service gets.
pub(super) struct Rules<'a> {
    pub range: &'a RangeInclusive<u16>,
    /// Whether ports that ask for none get one.
    pub fill: bool,
    /// The numbers that the Service's ports have already; `None` of one that is not there yet. Of such a one, entries of one port share the
    /// first number of that, and no others share any.
    pub had: Option<HashSet<u16>>,
}

/// A port that has its number.
struct Given {
    port: u64,
    protocol: String,
    number: u16,
}

/// Gives the ports of a Service the node ports that they ask for, and the others theirs; returns what they have.
///
/// # Errors
/// 422 for the first number that cannot be had, 500 when there are no more, or when a change names one twice for a protocol.
pub(super) fn complete(service: &mut Value, rules: &Rules<'_>, taken: &HashSet<u16>) -> Result<HashSet<u16>, Status> {
    let name = meta::name(service).to_owned();
    let mut own: Vec<Given> = Vec::new();
    let list = Path::new("spec.ports");
    let Some(ports) = service.get_mut("spec").and_then(|spec| spec.get_mut("ports")).and_then(Value::as_array_mut)
    else {
        return Ok(HashSet::new());
    };
    let given = |port: &Value, number: u16| {
        let service_port = port.get("port").and_then(Value::as_u64).unwrap_or(0);
        Given { port: service_port, protocol: protocol(port), number }
    };
    // Ports that were asked for go first, so that a free choice never takes one of them.
    for (index, port) in ports.iter().enumerate() {
        let Some(wanted) = asked(port, "nodePort") else { continue };
        let place = list.index(index);
        let place = place.child("nodePort");
        let Ok(wanted) = u16::try_from(wanted) else {
            return Err(refused(&name, &place, wanted, outside(rules.range)));
        };
        let asked = given(port, wanted);
        let mut others = own.iter().filter(|other| other.number == wanted);
        let why = match &rules.had {
            Some(_) if others.clone().any(|other| other.protocol == asked.protocol) => {
                return Err(duplicate(&asked));
            }
            // What it has stays, whatever the range is now; and a number is chosen once.
            Some(had) if had.contains(&wanted) || others.next().is_some() => None,
            Some(_) => unavailable(wanted, rules.range, taken.contains(&wanted)),
            None if own.iter().find(|other| other.port == asked.port).is_some_and(|first| first.number == wanted) => {
                None
            }
            None => unavailable(wanted, rules.range, taken.contains(&wanted) || others.next().is_some()),
        };
        if let Some(why) = why {
            return Err(refused(&name, &place, wanted, why));
        }
        own.push(asked);
    }
    for port in ports.iter_mut().filter(|port| rules.fill && number(port, "nodePort").is_none()) {
        let mut filled = given(&*port, 0);
        // The same Service port under another protocol shares the number (DNS over UDP and TCP).
        let shared = own.iter().find(|other| other.port == filled.port).map(|other| other.number);
        let shared = shared.filter(|_| rules.had.is_none());
        let busy: HashSet<u16> = taken.iter().copied().chain(own.iter().map(|other| other.number)).collect();
        let Some(chosen) = shared.or_else(|| pick(rules.range, &busy)) else {
            return Err(Status::internal("failed to allocate a nodePort: range is full"));
        };
        port["nodePort"] = json!(chosen);
        filled.number = chosen;
        own.push(filled);
    }
    Ok(own.into_iter().map(|port| port.number).collect())
}

/// A number that a change names twice, which upstream's server does not expect.
fn duplicate(port: &Given) -> Status {
    Status::new(Reason::Unknown, format!("duplicate nodePort: {{{} {}}}", port.protocol, port.number))
}

/// Gives a Service its health check port; returns that, if it can be one. One that it `had` stays, and rules refuse another in its place.
///
/// # Errors
/// 500, as upstream, when it cannot be had.
pub(super) fn health_check(
    service: &mut Value,
    had: bool,
    range: &RangeInclusive<u16>,
    taken: &HashSet<u16>,
) -> Result<Option<u16>, Status> {
    if let Some(wanted) = asked(meta::at(service, &["spec"]), "healthCheckNodePort") {
        let number = u16::try_from(wanted).ok();
        let why = match number {
            Some(number) => unavailable(number, range, taken.contains(&number)),
            None => Some(outside(range)),
        };
        return match why {
            Some(why) if !had => {
                Err(Status::internal(format!("failed to allocate requested HealthCheck NodePort {wanted}: {why}")))
            }
            _ => Ok(number),
        };
    }
    let chosen = pick(range, taken)
        .ok_or_else(|| Status::internal("failed to allocate a HealthCheck NodePort 0: range is full"))?;
    service["spec"]["healthCheckNodePort"] = json!(chosen);
    Ok(Some(chosen))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(service: &mut Value, had: Option<&[u16]>, taken: &[u16]) -> Result<HashSet<u16>, Status> {
        let had = had.map(|had| had.iter().copied().collect());
        complete(service, &Rules { range: &(30000..=32767), fill: true, had }, &taken.iter().copied().collect())
    }

    #[test]
    fn a_port_under_two_protocols_shares_its_number() {
        let mut service = json!({"spec": {"ports": [
            {"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}, {"port": 80, "nodePort": 30080},
        ]}});
        let mut changed = service.clone();
        assert_eq!(completed(&mut service, None, &[]).unwrap().len(), 2);
        let ports = &service["spec"]["ports"];
        assert_eq!(ports[0]["nodePort"], ports[1]["nodePort"]);
        assert_eq!(ports[2]["nodePort"], 30080);
        assert_eq!(completed(&mut changed, Some(&[]), &[]).unwrap().len(), 3, "but for those of a change");
    }

    #[test]
    fn a_change_keeps_the_numbers_that_there_are_and_names_none_twice() {
        let service = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80, "nodePort": 20080}]}});
        assert_eq!(completed(&mut service.clone(), Some(&[20080]), &[]).unwrap(), HashSet::from([20080]));
        assert_eq!(completed(&mut service.clone(), Some(&[]), &[]).unwrap_err().code, 422);
        let mut twice = service;
        twice["spec"]["ports"] = json!([{"port": 80, "nodePort": 30080}, {"port": 81, "nodePort": 30080}]);
        let refused = completed(&mut twice, Some(&[30080]), &[]).unwrap_err();
        assert_eq!((refused.code, refused.message.as_str()), (500, "duplicate nodePort: {TCP 30080}"));
    }

    #[test]
    fn a_number_is_of_one_port_and_one_service_whatever_the_protocol() {
        let mut service = json!({"metadata": {"name": "s"}, "spec": {"ports": [
            {"port": 53, "protocol": "UDP", "nodePort": 30053}, {"port": 54, "protocol": "TCP", "nodePort": 30053},
        ]}});
        let why = "Service \"s\" is invalid: spec.ports[1].nodePort: Invalid value: 30053: provided port is already allocated";
        assert_eq!(completed(&mut service.clone(), None, &[]).unwrap_err().message, why);
        assert_eq!(
            completed(&mut service.clone(), Some(&[]), &[]).unwrap(),
            HashSet::from([30053]),
            "changes are not held to it"
        );
        assert_eq!(completed(&mut service.clone(), Some(&[]), &[30053]).unwrap_err().code, 422);
        service["spec"]["ports"][1]["port"] = json!(53);
        assert_eq!(completed(&mut service, None, &[]).unwrap(), HashSet::from([30053]));
        // The first number of a port is shared, a later one is not; that one is there twice is told by the rules.
        service["spec"]["ports"] = json!([
            {"port": 53, "protocol": "UDP", "nodePort": 30053}, {"port": 53, "protocol": "TCP", "nodePort": 30054},
            {"port": 53, "protocol": "SCTP", "nodePort": 30054},
        ]);
        let refused = completed(&mut service.clone(), None, &[]).unwrap_err();
        assert!(refused.message.contains("spec.ports[2].nodePort: Invalid value: 30054: "), "{refused}");
        service["spec"]["ports"] =
            json!([{"port": 53, "protocol": "UDP", "nodePort": 30053}, {"port": 53, "protocol": "UDP"}]);
        completed(&mut service, None, &[]).unwrap();
        assert_eq!(service["spec"]["ports"][1]["nodePort"], 30053);
    }

    #[test]
    fn dynamic_ports_come_from_the_upper_band_until_it_is_full() {
        let default = 30000..=32767;
        for _ in 0..200 {
            let port = pick(&default, &HashSet::new()).unwrap();
            assert!((30086..=32767).contains(&port), "{port}");
        }
        let small = 30000..=30063;
        let mut taken = HashSet::new();
        let mut ports = Vec::new();
        while let Some(port) = pick(&small, &taken) {
            assert!(taken.insert(port));
            ports.push(port);
        }
        let (upper, lower) = ports.split_at(48);
        assert!(upper.iter().all(|port| *port >= 30016) && lower.iter().all(|port| *port < 30016), "{ports:?}");
        assert_eq!(ports.len(), 64);
    }

    #[test]
    fn a_taken_or_foreign_port_is_refused() {
        for (port, refused) in [(30001, true), (30002, false), (80, true), (-1, true), (70000, true)] {
            let mut service = json!({"spec": {"ports": [{"port": 1, "nodePort": port}]}});
            assert_eq!(completed(&mut service, None, &[30001]).is_err(), refused, "{port}");
        }
    }

    #[test]
    fn a_health_check_port_that_cannot_be_had_is_the_server_s_error() {
        let mut service = json!({"spec": {"healthCheckNodePort": 30001}});
        let (range, taken) = (30000..=32767, HashSet::from([30001]));
        let refused = health_check(&mut service, false, &range, &taken).unwrap_err();
        let why = "Internal error occurred: failed to allocate requested HealthCheck NodePort 30001: provided port is already allocated";
        assert_eq!((refused.code, refused.message.as_str()), (500, why));
        assert_eq!(health_check(&mut service, true, &range, &taken).unwrap(), Some(30001));
        for (number, had) in [(-1, false), (-1, true), (70000, false)] {
            let mut service = json!({"spec": {"healthCheckNodePort": number}});
            let told = health_check(&mut service, had, &range, &taken);
            assert_eq!(told.is_err(), !had, "{number}");
            assert_eq!(service["spec"]["healthCheckNodePort"], number, "it is not exchanged for another");
        }
    }
}
