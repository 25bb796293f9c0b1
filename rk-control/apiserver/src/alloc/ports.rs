//! Choosing node ports.

use std::collections::HashSet;
use std::ops::RangeInclusive;

use rand::RngExt;
use rk_api::meta;
use rk_api::status::{FieldErrors, Path};
use serde_json::{Value, json};

const TRIES: usize = 64;

fn protocol(port: &Value) -> String {
    let protocol = meta::text(port, &["protocol"]);
    if protocol.is_empty() { "TCP".to_owned() } else { protocol.to_owned() }
}

fn number(port: &Value, field: &str) -> Option<u16> {
    port.get(field).and_then(Value::as_u64).and_then(|number| u16::try_from(number).ok()).filter(|number| *number != 0)
}

/// The node ports that a Service holds, with their protocols.
pub(super) fn of(service: &Value) -> Vec<(String, u16)> {
    let ports = meta::at(service, &["spec", "ports"]).as_array();
    let mut found: Vec<_> =
        ports.into_iter().flatten().filter_map(|port| Some((protocol(port), number(port, "nodePort")?))).collect();
    found.extend(number(meta::at(service, &["spec"]), "healthCheckNodePort").map(|port| ("TCP".to_owned(), port)));
    found
}

/// A free port for a protocol. The first 86 ports of the default range are left to those who choose their own (KEP-3668).
fn pick(range: &RangeInclusive<u16>, protocol: &str, taken: &HashSet<(String, u16)>) -> Option<u16> {
    let size = u32::from(range.end().saturating_sub(*range.start())) + 1;
    let band = if size < 16 { 0 } else { (size / 32).clamp(16, 128).min(size) };
    let dynamic = range.start().saturating_add(u16::try_from(band).unwrap_or(0));
    let free = |port: &u16| !taken.contains(&(protocol.to_owned(), *port));
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

/// Gives the ports of a Service the node ports that they ask for, and with `fill` one to each of the others; returns what they have.
pub(super) fn complete(
    service: &mut Value,
    range: &RangeInclusive<u16>,
    taken: &HashSet<(String, u16)>,
    fill: bool,
    errors: &mut FieldErrors,
) -> HashSet<(String, u16)> {
    let mut own: HashSet<(String, u16)> = HashSet::new();
    let mut by_port: Vec<(u64, String, u16)> = Vec::new();
    let list = Path::new("spec.ports");
    let Some(ports) = service.get_mut("spec").and_then(|spec| spec.get_mut("ports")).and_then(Value::as_array_mut)
    else {
        return own;
    };
    // Ports that were asked for go first, so that a free choice never takes one of them.
    for (index, port) in ports.iter().enumerate() {
        let Some(wanted) = number(port, "nodePort") else { continue };
        let key = (protocol(port), wanted);
        let item = list.index(index);
        if !range.contains(&wanted) {
            let why = format!(
                "provided port is not in the valid range. The range of valid ports is {}-{}",
                range.start(),
                range.end()
            );
            errors.invalid(&item.child("nodePort"), wanted, why);
        } else if taken.contains(&key) || own.contains(&key) {
            errors.invalid(&item.child("nodePort"), wanted, "provided port is already allocated");
        } else {
            by_port.push((port.get("port").and_then(Value::as_u64).unwrap_or(0), key.0.clone(), wanted));
            own.insert(key);
        }
    }
    for (index, port) in ports.iter_mut().enumerate() {
        if !fill || number(port, "nodePort").is_some() {
            continue;
        }
        let protocol = protocol(port);
        let service_port = port.get("port").and_then(Value::as_u64).unwrap_or(0);
        // The same Service port under another protocol shares the number where it can (DNS over UDP and TCP).
        let shared = by_port
            .iter()
            .find(|(own_port, other, number)| {
                let key = (protocol.clone(), *number);
                *own_port == service_port && *other != protocol && !taken.contains(&key) && !own.contains(&key)
            })
            .map(|(_, _, number)| *number);
        let busy: HashSet<(String, u16)> = taken.union(&own).cloned().collect();
        match shared.or_else(|| pick(range, &protocol, &busy)) {
            Some(chosen) => {
                port["nodePort"] = json!(chosen);
                by_port.push((service_port, protocol.clone(), chosen));
                own.insert((protocol, chosen));
            }
            None => {
                errors.invalid(&list.index(index).child("nodePort"), 0, "failed to allocate a nodePort: range is full")
            }
        }
    }
    own
}

/// Gives a Service its health check port; returns what was newly taken.
pub(super) fn health_check(
    service: &mut Value,
    range: &RangeInclusive<u16>,
    taken: &HashSet<(String, u16)>,
    errors: &mut FieldErrors,
) -> Option<(String, u16)> {
    let path = Path::new("spec.healthCheckNodePort");
    let wanted = number(meta::at(service, &["spec"]), "healthCheckNodePort");
    match wanted.or_else(|| pick(range, "TCP", taken)) {
        Some(port) if wanted.is_some() && (taken.contains(&("TCP".to_owned(), port)) || !range.contains(&port)) => {
            errors.invalid(
                &path,
                port,
                "failed to allocate requested HealthCheck NodePort: provided port is already allocated or out of range",
            );
            None
        }
        Some(port) => {
            service["spec"]["healthCheckNodePort"] = json!(port);
            Some(("TCP".to_owned(), port))
        }
        None => {
            errors.invalid(&path, 0, "failed to allocate a HealthCheck NodePort: range is full");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_under_two_protocols_shares_its_number() {
        let mut service = json!({"spec": {"ports": [
            {"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}, {"port": 80, "nodePort": 30080},
        ]}});
        let mut errors = FieldErrors::new();
        let own = complete(&mut service, &(30000..=32767), &HashSet::new(), true, &mut errors);
        assert!(errors.is_empty() && own.len() == 3);
        let ports = &service["spec"]["ports"];
        assert_eq!(ports[0]["nodePort"], ports[1]["nodePort"]);
        assert_eq!(ports[2]["nodePort"], 30080);
    }

    #[test]
    fn dynamic_ports_come_from_the_upper_band_until_it_is_full() {
        let default = 30000..=32767;
        for _ in 0..200 {
            let port = pick(&default, "TCP", &HashSet::new()).unwrap();
            assert!((30086..=32767).contains(&port), "{port}");
        }
        let small = 30000..=30063;
        let mut taken = HashSet::new();
        let mut ports = Vec::new();
        while let Some(port) = pick(&small, "TCP", &taken) {
            assert!(taken.insert(("TCP".to_owned(), port)));
            ports.push(port);
        }
        let (upper, lower) = ports.split_at(48);
        assert!(upper.iter().all(|port| *port >= 30016) && lower.iter().all(|port| *port < 30016), "{ports:?}");
        assert_eq!(ports.len(), 64);
        assert!(pick(&small, "UDP", &taken).is_some());
    }

    #[test]
    fn a_taken_or_foreign_port_is_refused() {
        let taken = HashSet::from([("TCP".to_owned(), 30001)]);
        for (port, refused) in [(30001, true), (30002, false), (80, true)] {
            let mut service = json!({"spec": {"ports": [{"port": 1, "nodePort": port}]}});
            let mut errors = FieldErrors::new();
            complete(&mut service, &(30000..=32767), &taken, true, &mut errors);
            assert_eq!(!errors.is_empty(), refused, "{port}");
        }
    }
}
