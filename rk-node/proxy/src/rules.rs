//! The rules, all of which read maps; none names a Service.
//!
//! Registers of a class' rules: a frontend's key stands from 0 on, what it leads to (group, class) in 6 and 7. Then 6 with what
//! follows it is the key into `endpoints` (group, index) and `clients` (group, client), and 0 with what follows the key into
//! `backends` (group, address, port), whose last two are also where the packet goes.

use ipnet::IpNet;
use rk_nft::{Cmp, CtKey, Expr, Family, MetaKey, NatKind, PayloadBase, Reg, Verdict, lookup};

use crate::{
    encode::{
        BACKENDS, CLASSES, CLIENTS, CLUSTER_IPS, DROPPED, ENDPOINTS, FRONTENDS, HAIRPINS, REJECT, REJECTED, octets,
    },
    plan::Traffic,
    state::Class,
};

/// Packets of connections that postrouting masquerades; the bit that the ecosystem uses for it.
const MARK: u32 = 0x4000;
/// `RTN_LOCAL`: an address of this host.
const LOCAL: u32 = 2;
const GROUP: Reg = Reg(6);
const AFTER_GROUP: Reg = Reg(7);
const GROUP_COPY: Reg = Reg(0);
const CHOSEN: Reg = Reg(1);

type Rule = Vec<Expr>;

/// Widths and offsets of a family.
#[derive(Clone, Copy)]
pub(crate) struct Ip {
    pub family: Family,
    pub v6: bool,
    /// Bytes of an address.
    pub len: u32,
    /// Registers of an address.
    words: u8,
    source_at: u32,
    target_at: u32,
}

impl Ip {
    /// The widths of IPv4, or of IPv6.
    pub fn new(v6: bool) -> Self {
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

    /// Loads a frontend's key: the packet's address or zeros, protocol and port.
    fn frontend(self, node_port: bool) -> Rule {
        let address = match node_port {
            true => Expr::Immediate { to: Reg(0), value: vec![0; self.len as usize] },
            false => self.target(Reg(0)),
        };
        let port = Expr::Payload { base: PayloadBase::Transport, offset: 2, len: 2, to: Reg(self.words + 1) };
        vec![address, Expr::Meta { key: MetaKey::L4Proto, to: Reg(self.words) }, port]
    }

    /// The packet is for an address of this node that is not loopback.
    fn to_node(self) -> Rule {
        let mut rule = vec![
            Expr::FibAddrType { source: false, to: Reg(0) },
            Expr::Cmp { op: Cmp::Eq, reg: Reg(0), value: LOCAL.to_ne_bytes().to_vec() },
            self.target(Reg(0)),
        ];
        if self.v6 {
            rule.push(Expr::Cmp { op: Cmp::Ne, reg: Reg(0), value: std::net::Ipv6Addr::LOCALHOST.octets().to_vec() });
        } else {
            rule.push(Expr::Bitwise { from: Reg(0), to: Reg(0), mask: vec![255, 0, 0, 0], xor: vec![0; 4] });
            rule.push(Expr::Cmp { op: Cmp::Ne, reg: Reg(0), value: vec![127, 0, 0, 0] });
        }
        rule
    }

    /// The packet's source lies in a network, or does not.
    fn from(self, net: &IpNet, op: Cmp) -> Rule {
        let mask = octets(net.netmask());
        vec![
            self.source(Reg(0)),
            Expr::Bitwise { from: Reg(0), to: Reg(8), xor: vec![0; mask.len()], mask },
            Expr::Cmp { op, reg: Reg(8), value: octets(net.network()) },
        ]
    }
}

fn join(parts: impl IntoIterator<Item = Rule>) -> Rule {
    parts.into_iter().flatten().collect()
}

/// Hooks before routing: a frontend leads to its class.
pub(crate) fn translate(ip: Ip) -> Vec<Rule> {
    let dispatch = vec![
        Expr::Lookup { set: FRONTENDS.into(), key: Reg(0), to: Some(GROUP), invert: false },
        Expr::VerdictMap { set: CLASSES.into(), key: AFTER_GROUP },
    ];
    vec![join([ip.frontend(false), dispatch.clone()]), join([ip.to_node(), ip.frontend(true), dispatch])]
}

/// Hooks after translation: what still bears a frontend that nobody serves here is refused.
pub(crate) fn refuse(ip: Ip, node_ports: bool, cluster_ips: bool) -> Vec<Rule> {
    // Only a connection's first packet asks for rules; all later ones follow it.
    let new = vec![
        Expr::Ct { key: CtKey::State, to: Reg(0) },
        Expr::Bitwise { from: Reg(0), to: Reg(0), mask: 8u32.to_ne_bytes().to_vec(), xor: vec![0; 4] },
        Expr::Cmp { op: Cmp::Ne, reg: Reg(0), value: vec![0; 4] },
    ];
    let goto = || Expr::Verdict(Verdict::Goto(REJECT.into()));
    let mut rules = Vec::new();
    for (set, verdict) in [(REJECTED, goto()), (DROPPED, Expr::Verdict(Verdict::Drop))] {
        let end = || vec![lookup(set, Reg(0)), verdict.clone()];
        rules.push(join([new.clone(), ip.frontend(false), end()]));
        if node_ports {
            rules.push(join([new.clone(), ip.to_node(), ip.frontend(true), end()]));
        }
    }
    if cluster_ips {
        rules.push(join([new, vec![ip.target(Reg(0)), lookup(CLUSTER_IPS, Reg(0)), goto()]]));
    }
    rules
}

/// A TCP reset, or "port unreachable".
pub(crate) fn reject(v6: bool) -> Vec<Rule> {
    let tcp = vec![
        Expr::Meta { key: MetaKey::L4Proto, to: Reg(0) },
        Expr::Cmp { op: Cmp::Eq, reg: Reg(0), value: vec![6] },
        Expr::RejectReset,
    ];
    vec![tcp, vec![Expr::RejectIcmp { code: if v6 { 4 } else { 3 } }]]
}

/// The hook after routing: marked connections, and pods that reached themselves.
pub(crate) fn masquerade(ip: Ip) -> Vec<Rule> {
    let marked = vec![
        Expr::Meta { key: MetaKey::Mark, to: Reg(0) },
        Expr::Bitwise { from: Reg(0), to: Reg(1), mask: MARK.to_ne_bytes().to_vec(), xor: vec![0; 4] },
        Expr::Cmp { op: Cmp::Ne, reg: Reg(1), value: vec![0; 4] },
        // Cleared, so that a packet that enters the stack again (in a tunnel) is not masqueraded twice.
        Expr::Bitwise { from: Reg(0), to: Reg(0), mask: (!MARK).to_ne_bytes().to_vec(), xor: vec![0; 4] },
        Expr::SetMark { from: Reg(0) },
        Expr::Masquerade { random: true },
    ];
    let itself =
        vec![ip.source(Reg(0)), ip.target(Reg(ip.words)), lookup(HAIRPINS, Reg(0)), Expr::Masquerade { random: true }];
    vec![marked, itself]
}

fn mark() -> Rule {
    vec![
        Expr::Meta { key: MetaKey::Mark, to: Reg(0) },
        Expr::Bitwise {
            from: Reg(0),
            to: Reg(0),
            mask: (!MARK).to_ne_bytes().to_vec(),
            xor: MARK.to_ne_bytes().to_vec(),
        },
        Expr::SetMark { from: Reg(0) },
    ]
}

/// The chain of a class. Without admitted sources every packet may pass; with them each source has its rules.
pub(crate) fn class(ip: Ip, class: &Class, pod_cidrs: &[IpNet]) -> Vec<Rule> {
    let pods: Vec<&IpNet> = pod_cidrs.iter().filter(|net| net.addr().is_ipv6() == ip.v6).collect();
    let admitted: Vec<Rule> = match class.ranges.as_slice() {
        [] => vec![Vec::new()],
        ranges => ranges.iter().map(|net| ip.from(net, Cmp::Eq)).collect(),
    };
    let mut rules = Vec::new();
    for source in admitted {
        let balance = |condition: Rule, local: bool| -> Vec<Rule> {
            let start = join([source.clone(), condition]);
            let chains = balance(ip, class, local);
            chains.into_iter().map(|rule| join([start.clone(), rule])).collect()
        };
        match class.traffic {
            Traffic::Cluster => {
                if !pods.is_empty() {
                    let stranger = join(pods.iter().map(|net| ip.from(net, Cmp::Ne)));
                    rules.push(join([source.clone(), stranger, mark()]));
                }
                rules.extend(balance(Vec::new(), false));
            }
            Traffic::Local => rules.extend(balance(Vec::new(), true)),
            Traffic::External => {
                rules.push(join([source.clone(), mark()]));
                rules.extend(balance(Vec::new(), false));
            }
            Traffic::ExternalLocal => {
                let own = vec![
                    Expr::FibAddrType { source: true, to: Reg(0) },
                    Expr::Cmp { op: Cmp::Eq, reg: Reg(0), value: LOCAL.to_ne_bytes().to_vec() },
                ];
                pods.iter().for_each(|net| rules.extend(balance(ip.from(net, Cmp::Eq), false)));
                rules.push(join([source.clone(), own.clone(), mark()]));
                rules.extend(balance(own, false));
                rules.extend(balance(Vec::new(), true));
            }
        }
    }
    rules
}

/// A remembered client goes back; anybody else goes to any backend, and is remembered if the class says so.
fn balance(ip: Ip, class: &Class, local: bool) -> Vec<Rule> {
    let count = if local { class.local } else { class.cluster };
    if count == 0 {
        return Vec::new();
    }
    let mut start = ip.frontend(class.node_port);
    start.push(Expr::Lookup { set: FRONTENDS.into(), key: Reg(0), to: Some(GROUP), invert: false });
    if local {
        // The local backends are the group whose number is one higher; group numbers are even.
        start.push(Expr::Bitwise { from: GROUP, to: GROUP, mask: vec![255; 4], xor: 1u32.to_ne_bytes().to_vec() });
    }
    let go = Expr::Nat { kind: NatKind::Dnat, v6: ip.v6, addr: CHOSEN, port: Some(Reg(CHOSEN.0 + ip.words)) };
    let mut choose = start.clone();
    choose.push(Expr::Random { modulus: count, to: AFTER_GROUP });
    choose.push(Expr::Lookup { set: ENDPOINTS.into(), key: GROUP, to: Some(CHOSEN), invert: false });
    let Some(timeout_ms) = class.sticky_ms else {
        choose.push(go);
        return vec![choose];
    };
    let remember = Expr::Update { set: CLIENTS.into(), key: GROUP, data: Some(CHOSEN), timeout_ms };
    let mut resume = start;
    resume.extend([
        Expr::Bitwise { from: GROUP, to: GROUP_COPY, mask: vec![255; 4], xor: vec![0; 4] },
        ip.source(AFTER_GROUP),
        Expr::Lookup { set: CLIENTS.into(), key: GROUP, to: Some(CHOSEN), invert: false },
        lookup(BACKENDS, GROUP_COPY),
        remember.clone(),
        go.clone(),
    ]);
    // What is remembered leads to a backend that no longer serves, or the client would have gone back there.
    let forget = Expr::Forget { set: CLIENTS.into(), key: GROUP, data: CHOSEN };
    choose.extend([ip.source(AFTER_GROUP), forget, remember, go]);
    vec![resume, choose]
}
