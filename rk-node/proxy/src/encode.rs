//! The tables in the kernel's terms: names, keys and values of the maps, and steps as messages.

use std::net::IpAddr;

use rk_nft::{Batch, Chain, Element, Family, Hook, Set, Value, Verdict};

use crate::{
    endpoints::Backend,
    rules::{self, Ip},
    state::{Change, Key, Target},
};

/// Name of our tables.
pub const TABLE: &str = "rk-proxy";
/// Address, protocol, port (an address of zeros: the node's own) to group and class.
pub(crate) const FRONTENDS: &str = "frontends";
/// Group and index to address and port.
pub(crate) const ENDPOINTS: &str = "endpoints";
/// Group and backend: where remembered clients may return to.
pub(crate) const BACKENDS: &str = "backends";
/// Group and client to address and port, filled by the rules themselves.
pub(crate) const CLIENTS: &str = "clients";
/// Class to its chain.
pub(crate) const CLASSES: &str = "classes";
pub(crate) const REJECTED: &str = "rejected";
pub(crate) const DROPPED: &str = "dropped";
pub(crate) const CLUSTER_IPS: &str = "cluster-ips";
pub(crate) const HAIRPINS: &str = "hairpins";
pub(crate) const REJECT: &str = "reject";
/// Clients remembered at once over all Services; further ones are balanced anew each time.
const MAX_CLIENTS: u32 = 1 << 20;
/// Chains that are always there: the hooks' and the one that rejects.
pub(crate) const FIXED_CHAINS: usize = 7;

/// The fixed part: a fresh table in place of whatever was there, with maps, hooks and the rules that read the maps.
pub(crate) fn skeleton(batch: &mut Batch, v6: bool) {
    let ip = Ip::new(v6);
    // Adding first makes the removal succeed whether or not there is an old table.
    batch.add_table(ip.family, TABLE);
    batch.delete_table(ip.family, TABLE);
    batch.add_table(ip.family, TABLE);
    let set = |name, key_len, data_len| Set { name, key_type: 0, key_len, data_len, timeout_ms: None, size: None };
    let frontend = ip.len + 8;
    for set in [
        set(FRONTENDS, frontend, Some(8)),
        set(ENDPOINTS, 8, Some(ip.len + 4)),
        set(BACKENDS, ip.len + 8, None),
        // The timeout is only a default; every rule that adds a client gives its own.
        Set { timeout_ms: Some(10_800_000), size: Some(MAX_CLIENTS), ..set(CLIENTS, ip.len + 4, Some(ip.len + 4)) },
        set(CLASSES, 4, Some(0)),
        set(REJECTED, frontend, None),
        set(DROPPED, frontend, None),
        set(CLUSTER_IPS, ip.len, None),
        set(HAIRPINS, 2 * ip.len, None),
    ] {
        batch.add_set(ip.family, TABLE, &set);
    }
    batch.add_chain(ip.family, TABLE, Chain { name: REJECT, hook: None });
    rules::reject(v6).iter().for_each(|rule| batch.add_rule(ip.family, TABLE, REJECT, rule, &[]));
    let hooks = [
        ("nat-prerouting", "nat", 0, -100, rules::translate(ip)),
        ("nat-output", "nat", 3, -100, rules::translate(ip)),
        ("nat-postrouting", "nat", 4, 100, rules::masquerade(ip)),
        ("filter-input", "filter", 1, 0, rules::refuse(ip, true, false)),
        ("filter-forward", "filter", 2, 0, rules::refuse(ip, false, true)),
        ("filter-output", "filter", 3, 0, rules::refuse(ip, true, true)),
    ];
    for (name, kind, number, priority, rules) in hooks {
        batch.add_chain(ip.family, TABLE, Chain { name, hook: Some(Hook { kind, number, priority }) });
        rules.iter().for_each(|rule| batch.add_rule(ip.family, TABLE, name, rule, &[]));
    }
}

/// Appends steps, in their order, to a transaction.
pub(crate) fn program(batch: &mut Batch, v6: bool, pod_cidrs: &[ipnet::IpNet], steps: &[Change]) {
    let ip = Ip::new(v6);
    let mut run = Run { batch, family: ip.family, adding: true, set: "", elements: Vec::new() };
    for step in steps {
        match step {
            Change::Add(key, target) => {
                run.push(true, set_of(key), Element { key: bytes(ip, key), value: value(target) })
            }
            Change::Remove(key) => run.push(false, set_of(key), Element::key(bytes(ip, key))),
            Change::AddClass(number, class) => {
                run.flush();
                let name = chain(*number);
                run.batch.add_chain(ip.family, TABLE, Chain { name: &name, hook: None });
                for rule in rules::class(ip, class, pod_cidrs) {
                    run.batch.add_rule(ip.family, TABLE, &name, &rule, &[]);
                }
                let goto = Value::Verdict(Verdict::Goto(name));
                run.push(true, CLASSES, Element { key: number.to_ne_bytes().to_vec(), value: goto });
            }
            Change::RemoveClass(number, _) => {
                run.push(false, CLASSES, Element::key(number.to_ne_bytes().to_vec()));
                run.flush();
                run.batch.delete_chain(ip.family, TABLE, &chain(*number));
            }
        }
    }
    run.flush();
}

/// Gathers neighbours that go into the same set, so that ten thousand elements are not ten thousand messages.
struct Run<'a> {
    batch: &'a mut Batch,
    family: Family,
    adding: bool,
    set: &'static str,
    elements: Vec<Element>,
}

impl Run<'_> {
    fn push(&mut self, adding: bool, set: &'static str, element: Element) {
        if (self.adding, self.set) != (adding, set) {
            self.flush();
            (self.adding, self.set) = (adding, set);
        }
        self.elements.push(element);
    }

    fn flush(&mut self) {
        let elements = std::mem::take(&mut self.elements);
        match self.adding {
            true => self.batch.add_elements(self.family, TABLE, self.set, &elements),
            false => self.batch.delete_elements(self.family, TABLE, self.set, &elements),
        }
    }
}

fn chain(class: u32) -> String {
    format!("class-{class}")
}

fn set_of(key: &Key) -> &'static str {
    match key {
        Key::Frontend(..) => FRONTENDS,
        Key::Endpoint(..) => ENDPOINTS,
        Key::Backend(..) => BACKENDS,
        Key::Rejected(..) => REJECTED,
        Key::Dropped(..) => DROPPED,
        Key::ClusterIp(_) => CLUSTER_IPS,
        Key::Hairpin(_) => HAIRPINS,
    }
}

pub(crate) fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// Network order, padded to a register.
fn padded(port: u16) -> [u8; 4] {
    let [high, low] = port.to_be_bytes();
    [high, low, 0, 0]
}

fn backend((ip, port): &Backend) -> Vec<u8> {
    [octets(*ip), padded(*port).to_vec()].concat()
}

/// Fields of a key, each padded to registers, as rules load them.
fn bytes(ip: Ip, key: &Key) -> Vec<u8> {
    match key {
        Key::Frontend(address, protocol, port)
        | Key::Rejected(address, protocol, port)
        | Key::Dropped(address, protocol, port) => {
            let address = address.map_or_else(|| vec![0; ip.len as usize], octets);
            [address, vec![*protocol, 0, 0, 0], padded(*port).to_vec()].concat()
        }
        Key::Endpoint(group, index) => [group.to_ne_bytes(), index.to_ne_bytes()].concat(),
        Key::Backend(group, to) => [group.to_ne_bytes().to_vec(), backend(to)].concat(),
        Key::ClusterIp(address) => octets(*address),
        Key::Hairpin(address) => [octets(*address), octets(*address)].concat(),
    }
}

fn value(target: &Target) -> Value {
    match target {
        Target::Group(group, class) => Value::Data([group.to_ne_bytes(), class.to_ne_bytes()].concat()),
        Target::Backend(to) => Value::Data(backend(to)),
        Target::None => Value::None,
    }
}
