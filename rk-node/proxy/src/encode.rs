//! Changes as nftables messages, and the fixed part of the tables.

use std::net::IpAddr;

use ipnet::IpNet;
use rk_nft::{
    Batch, Chain, Cmp, CtKey, Element, Expr, Family, Hook, MetaKey, NatKind, PayloadBase, Reg, Set, Value, Verdict,
    lookup,
};

use crate::{
    endpoints::Backend,
    plan::{Fate, Rule, Slot, Sticky},
    state::Change,
};

/// Name of our tables.
pub const TABLE: &str = "rk-proxy";
/// Packets of connections that postrouting masquerades; the bit that the ecosystem uses for it.
const MARK: u32 = 0x4000;
const SERVICES: &str = "services";
const NODE_PORTS: &str = "node-ports";
const REFUSED: &str = "refused";
const REFUSED_NODE_PORTS: &str = "refused-node-ports";
const CLUSTER_IPS: &str = "cluster-ips";
const HAIRPINS: &str = "hairpins";
const REJECT: &str = "reject";

/// Widths and offsets of a family.
#[derive(Clone, Copy)]
struct Ip {
    family: Family,
    v6: bool,
    /// Bytes of an address.
    len: u32,
    /// Registers of an address.
    words: u8,
    source_at: u32,
    target_at: u32,
}

impl Ip {
    fn new(v6: bool) -> Self {
        match v6 {
            false => Self { family: Family::Ip, v6, len: 4, words: 1, source_at: 12, target_at: 16 },
            true => Self { family: Family::Ip6, v6, len: 16, words: 4, source_at: 8, target_at: 24 },
        }
    }

    fn source(self, to: Reg) -> Expr {
        Expr::Payload { base: PayloadBase::Network, offset: self.source_at, len: self.len, to }
    }

    fn target(self, to: Reg) -> Expr {
        Expr::Payload { base: PayloadBase::Network, offset: self.target_at, len: self.len, to }
    }

    /// `daddr . protocol . port` from register 0 on, looked up in a verdict map.
    fn by_address(self, map: &str) -> Vec<Expr> {
        let protocol = Reg(self.words);
        let mut rule = vec![self.target(Reg(0))];
        rule.extend(protocol_and_port(protocol));
        rule.push(Expr::VerdictMap { set: map.into(), key: Reg(0) });
        rule
    }

    /// The node's own addresses but loopback, then `protocol . port` looked up in a verdict map.
    fn by_node_port(self, map: &str) -> Vec<Expr> {
        let mut rule = vec![
            Expr::FibAddrType { source: false, to: Reg(0) },
            // RTN_LOCAL
            Expr::Cmp { op: Cmp::Eq, reg: Reg(0), value: 2u32.to_ne_bytes().to_vec() },
            self.target(Reg(0)),
        ];
        if self.v6 {
            rule.push(Expr::Cmp { op: Cmp::Ne, reg: Reg(0), value: std::net::Ipv6Addr::LOCALHOST.octets().to_vec() });
        } else {
            rule.push(Expr::Bitwise { from: Reg(0), to: Reg(0), mask: vec![255, 0, 0, 0], xor: vec![0; 4] });
            rule.push(Expr::Cmp { op: Cmp::Ne, reg: Reg(0), value: vec![127, 0, 0, 0] });
        }
        rule.extend(protocol_and_port(Reg(0)));
        rule.push(Expr::VerdictMap { set: map.into(), key: Reg(0) });
        rule
    }

    fn within(self, net: &IpNet, op: Cmp) -> Vec<Expr> {
        let mask = octets(net.netmask());
        vec![
            Expr::Bitwise { from: Reg(0), to: Reg(8), xor: vec![0; mask.len()], mask },
            Expr::Cmp { op, reg: Reg(8), value: octets(net.network()) },
        ]
    }
}

fn protocol_and_port(at: Reg) -> [Expr; 2] {
    [
        Expr::Meta { key: MetaKey::L4Proto, to: at },
        Expr::Payload { base: PayloadBase::Transport, offset: 2, len: 2, to: Reg(at.0 + 1) },
    ]
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn mark() -> Vec<Expr> {
    vec![
        Expr::Meta { key: MetaKey::Mark, to: Reg(9) },
        Expr::Bitwise {
            from: Reg(9),
            to: Reg(9),
            mask: (!MARK).to_ne_bytes().to_vec(),
            xor: MARK.to_ne_bytes().to_vec(),
        },
        Expr::SetMark { from: Reg(9) },
    ]
}

/// The fixed part: a fresh table in place of whatever was there, with maps, hooks and the rules that read the maps.
pub fn skeleton(batch: &mut Batch, v6: bool) {
    let ip = Ip::new(v6);
    // Adding first makes the removal succeed whether or not there is an old table.
    batch.add_table(ip.family, TABLE);
    batch.delete_table(ip.family, TABLE);
    batch.add_table(ip.family, TABLE);
    let verdicts = |name, key_len| Set { name, key_type: 0, key_len, data_len: Some(0), timeout_ms: None };
    let plain = |name, key_len| Set { name, key_type: 0, key_len, data_len: None, timeout_ms: None };
    for set in [
        verdicts(SERVICES, ip.len + 8),
        verdicts(NODE_PORTS, 8),
        verdicts(REFUSED, ip.len + 8),
        verdicts(REFUSED_NODE_PORTS, 8),
        plain(CLUSTER_IPS, ip.len),
        plain(HAIRPINS, 2 * ip.len),
    ] {
        batch.add_set(ip.family, TABLE, &set);
    }
    batch.add_chain(ip.family, TABLE, Chain { name: REJECT, hook: None });
    let tcp = [
        Expr::Meta { key: MetaKey::L4Proto, to: Reg(0) },
        Expr::Cmp { op: Cmp::Eq, reg: Reg(0), value: vec![6] },
        Expr::RejectReset,
    ];
    batch.add_rule(ip.family, TABLE, REJECT, &tcp, &[]);
    let port_unreachable = if v6 { 4 } else { 3 };
    batch.add_rule(ip.family, TABLE, REJECT, &[Expr::RejectIcmp { code: port_unreachable }], &[]);
    for (name, number) in [("nat-prerouting", 0), ("nat-output", 3)] {
        let hook = Hook { kind: "nat", number, priority: -100 };
        batch.add_chain(ip.family, TABLE, Chain { name, hook: Some(hook) });
        batch.add_rule(ip.family, TABLE, name, &ip.by_address(SERVICES), &[]);
        batch.add_rule(ip.family, TABLE, name, &ip.by_node_port(NODE_PORTS), &[]);
    }
    for (name, number) in [("filter-input", 1), ("filter-forward", 2), ("filter-output", 3)] {
        let hook = Hook { kind: "filter", number, priority: 0 };
        batch.add_chain(ip.family, TABLE, Chain { name, hook: Some(hook) });
        batch.add_rule(ip.family, TABLE, name, &[new_connection(), ip.by_address(REFUSED)].concat(), &[]);
        if name == "filter-forward" {
            continue;
        }
        batch.add_rule(ip.family, TABLE, name, &[new_connection(), ip.by_node_port(REFUSED_NODE_PORTS)].concat(), &[]);
    }
    for name in ["filter-forward", "filter-output"] {
        let unserved = [ip.target(Reg(0)), lookup(CLUSTER_IPS, Reg(0)), Expr::Verdict(Verdict::Goto(REJECT.into()))];
        batch.add_rule(ip.family, TABLE, name, &[new_connection(), unserved.to_vec()].concat(), &[]);
    }
    postrouting(batch, ip);
}

/// Only a connection's first packet asks for rules; all later ones follow it.
fn new_connection() -> Vec<Expr> {
    vec![
        Expr::Ct { key: CtKey::State, to: Reg(0) },
        Expr::Bitwise { from: Reg(0), to: Reg(0), mask: 8u32.to_ne_bytes().to_vec(), xor: vec![0; 4] },
        Expr::Cmp { op: Cmp::Ne, reg: Reg(0), value: vec![0; 4] },
    ]
}

fn postrouting(batch: &mut Batch, ip: Ip) {
    let name = "nat-postrouting";
    batch.add_chain(ip.family, TABLE, Chain { name, hook: Some(Hook { kind: "nat", number: 4, priority: 100 }) });
    let marked = [
        Expr::Meta { key: MetaKey::Mark, to: Reg(0) },
        Expr::Bitwise { from: Reg(0), to: Reg(1), mask: MARK.to_ne_bytes().to_vec(), xor: vec![0; 4] },
        Expr::Cmp { op: Cmp::Ne, reg: Reg(1), value: vec![0; 4] },
        // Cleared, so that a packet that enters the stack again (in a tunnel) is not masqueraded twice.
        Expr::Bitwise { from: Reg(0), to: Reg(0), mask: (!MARK).to_ne_bytes().to_vec(), xor: vec![0; 4] },
        Expr::SetMark { from: Reg(0) },
        Expr::Masquerade { random: true },
    ];
    batch.add_rule(ip.family, TABLE, name, &marked, &[]);
    let itself =
        [ip.source(Reg(0)), ip.target(Reg(ip.words)), lookup(HAIRPINS, Reg(0)), Expr::Masquerade { random: true }];
    batch.add_rule(ip.family, TABLE, name, &itself, &[]);
}

/// Appends changes, in their order, to a transaction.
pub fn program(batch: &mut Batch, v6: bool, changes: &[Change]) {
    let ip = Ip::new(v6);
    for change in changes {
        match change {
            Change::AddSticky(name) => add_sticky(batch, ip, name),
            Change::RemoveSticky(name) => {
                batch.delete_set(ip.family, TABLE, &clients(name));
                batch.delete_set(ip.family, TABLE, &backends(name));
            }
            Change::AddStickyBackend(name, backend) => {
                batch.add_elements(ip.family, TABLE, &backends(name), &[Element::key(target(backend))]);
            }
            Change::RemoveStickyBackend(name, backend) => {
                batch.delete_elements(ip.family, TABLE, &backends(name), &[Element::key(target(backend))]);
            }
            Change::AddChain(name) => batch.add_chain(ip.family, TABLE, Chain { name, hook: None }),
            Change::SetRules(name, rules) => {
                batch.flush_chain(ip.family, TABLE, name);
                rules.iter().for_each(|rule| add_rule(batch, ip, name, rule));
            }
            Change::ClearChain(name) => batch.flush_chain(ip.family, TABLE, name),
            Change::RemoveChain(name) => batch.delete_chain(ip.family, TABLE, name),
            Change::AddSlot(slot, fate) => {
                let (set, key) = place(slot);
                batch.add_elements(ip.family, TABLE, set, &[Element { key, value: value(fate) }]);
            }
            Change::RemoveSlot(slot) => {
                let (set, key) = place(slot);
                batch.delete_elements(ip.family, TABLE, set, &[Element::key(key)]);
            }
        }
    }
}

fn clients(name: &str) -> String {
    format!("clients-{name}")
}

fn backends(name: &str) -> String {
    format!("backends-{name}")
}

fn add_sticky(batch: &mut Batch, ip: Ip, name: &str) {
    let (clients, backends) = (clients(name), backends(name));
    let target_len = ip.len + 4;
    // The timeout here is only a default; every rule that adds a client gives its own.
    let map =
        Set { name: &clients, key_type: 0, key_len: ip.len, data_len: Some(target_len), timeout_ms: Some(10_800_000) };
    batch.add_set(ip.family, TABLE, &map);
    batch.add_set(
        ip.family,
        TABLE,
        &Set { name: &backends, key_type: 0, key_len: target_len, data_len: None, timeout_ms: None },
    );
}

fn padded(port: u16) -> [u8; 4] {
    let [high, low] = port.to_be_bytes();
    [high, low, 0, 0]
}

fn target((ip, port): &Backend) -> Vec<u8> {
    [octets(*ip), padded(*port).to_vec()].concat()
}

/// The map or set of a slot, and its key there.
fn place(slot: &Slot) -> (&'static str, Vec<u8>) {
    let port_key =
        |protocol: &crate::model::Protocol, port: &u16| [[protocol.number(), 0, 0, 0], padded(*port)].concat();
    match slot {
        Slot::Service(ip, protocol, port) => (SERVICES, [octets(*ip), port_key(protocol, port)].concat()),
        Slot::Refused(ip, protocol, port) => (REFUSED, [octets(*ip), port_key(protocol, port)].concat()),
        Slot::NodePort(protocol, port) => (NODE_PORTS, port_key(protocol, port)),
        Slot::RefusedNodePort(protocol, port) => (REFUSED_NODE_PORTS, port_key(protocol, port)),
        Slot::ClusterIp(ip) => (CLUSTER_IPS, octets(*ip)),
        Slot::Hairpin(ip) => (HAIRPINS, [octets(*ip), octets(*ip)].concat()),
    }
}

fn value(fate: &Fate) -> Value {
    match fate {
        Fate::Chain(chain) => Value::Verdict(Verdict::Goto(chain.clone())),
        Fate::Reject => Value::Verdict(Verdict::Goto(REJECT.into())),
        Fate::Drop => Value::Verdict(Verdict::Drop),
        Fate::Listed => Value::None,
    }
}

fn add_rule(batch: &mut Batch, ip: Ip, chain: &str, rule: &Rule) {
    let goto = |chain: &str| Expr::Verdict(Verdict::Goto(chain.to_owned()));
    let mut exprs = Vec::new();
    let mut maps = Vec::new();
    match rule {
        Rule::MasqueradeUnlessFrom(nets) => {
            exprs.push(ip.source(Reg(0)));
            exprs.extend(nets.iter().flat_map(|net| ip.within(net, Cmp::Ne)));
            exprs.extend(mark());
        }
        Rule::Masquerade => exprs.extend(mark()),
        Rule::From(net, to) => {
            exprs.push(ip.source(Reg(0)));
            exprs.extend(ip.within(net, Cmp::Eq));
            exprs.push(goto(to));
        }
        Rule::FromNode(to) => {
            exprs.push(Expr::FibAddrType { source: true, to: Reg(0) });
            exprs.push(Expr::Cmp { op: Cmp::Eq, reg: Reg(0), value: 2u32.to_ne_bytes().to_vec() });
            exprs.extend(mark());
            exprs.push(goto(to));
        }
        Rule::Goto(to) => exprs.push(goto(to)),
        Rule::Resume(sticky) => {
            exprs.push(ip.source(CLIENT));
            exprs.push(Expr::Lookup { set: clients(&sticky.name), key: CLIENT, to: Some(CHOSEN), invert: false });
            exprs.push(lookup(&backends(&sticky.name), CHOSEN));
            exprs.push(remember(sticky));
            exprs.push(translate(ip));
        }
        Rule::Balance(targets, sticky) => {
            choose(ip, targets, &mut exprs, &mut maps);
            if let Some(sticky) = sticky {
                exprs.push(ip.source(CLIENT));
                // What is remembered leads to a backend that no longer serves, or `Resume` would have taken it.
                exprs.push(Expr::Forget { set: clients(&sticky.name), key: CLIENT, data: CHOSEN });
                exprs.push(remember(sticky));
            }
            exprs.push(translate(ip));
        }
    }
    batch.add_rule(ip.family, TABLE, chain, &exprs, &maps);
}

/// Where a backend's address is loaded to, its port behind it.
const CHOSEN: Reg = Reg(1);
/// Where the client's address is loaded to.
const CLIENT: Reg = Reg(8);
/// Name of a rule's own map of backends.
const BY_INDEX: &str = "by-index";

fn choose(ip: Ip, targets: &[Backend], exprs: &mut Vec<Expr>, maps: &mut Vec<(Set<'static>, Vec<Element>)>) {
    if let [(address, port)] = targets {
        exprs.push(Expr::Immediate { to: CHOSEN, value: octets(*address) });
        exprs.push(Expr::Immediate { to: Reg(CHOSEN.0 + ip.words), value: padded(*port).to_vec() });
        return;
    }
    exprs.push(Expr::Random { modulus: targets.len() as u32, to: Reg(0) });
    exprs.push(Expr::Lookup { set: BY_INDEX.into(), key: Reg(0), to: Some(CHOSEN), invert: false });
    let indexed = targets.iter().zip(0u32..);
    let elements =
        indexed.map(|(backend, n)| Element { key: n.to_ne_bytes().to_vec(), value: Value::Data(target(backend)) });
    maps.push((
        Set { name: BY_INDEX, key_type: 0, key_len: 4, data_len: Some(ip.len + 4), timeout_ms: None },
        elements.collect(),
    ));
}

fn remember(sticky: &Sticky) -> Expr {
    Expr::Update { set: clients(&sticky.name), key: CLIENT, data: Some(CHOSEN), timeout_ms: sticky.timeout_ms }
}

fn translate(ip: Ip) -> Expr {
    Expr::Nat { kind: NatKind::Dnat, v6: ip.v6, addr: CHOSEN, port: Some(Reg(CHOSEN.0 + ip.words)) }
}
