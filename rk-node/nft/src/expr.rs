//! Instructions of the nftables virtual machine. Numbers are those of `linux/netfilter/nf_tables.h`.

use crate::attr::Attrs;

/// Name of a set that lives in one rule; the kernel replaces `%d` by a number that is free.
pub(crate) const ANONYMOUS: &str = "__map%d";

/// A 32-bit register, 0 to 15; longer values use those that follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reg(pub u8);

impl Reg {
    fn number(self) -> u32 {
        8 + u32::from(self.0)
    }
}

/// Where a packet goes next.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// Let it pass this hook.
    Accept,
    /// Drop it silently.
    Drop,
    /// Continue in a chain and come back.
    Jump(String),
    /// Continue in a chain for good.
    Goto(String),
    /// Back to the caller.
    Return,
}

impl Verdict {
    fn code(&self) -> i32 {
        match self {
            Self::Drop => 0,
            Self::Accept => 1,
            Self::Jump(_) => -3,
            Self::Goto(_) => -4,
            Self::Return => -5,
        }
    }

    pub(crate) fn write(&self, attrs: &mut Attrs) {
        attrs.nest(2, |a| {
            a.be32(1, self.code() as u32);
            if let Self::Jump(chain) | Self::Goto(chain) = self {
                a.name(2, chain);
            }
        });
    }
}

/// Header that a payload offset counts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadBase {
    /// IP header.
    Network,
    /// TCP, UDP or SCTP header.
    Transport,
}

/// What `meta` loads or sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetaKey {
    /// Packet mark.
    Mark,
    /// Name of the incoming interface, 16 bytes.
    IifName,
    /// Name of the outgoing interface, 16 bytes.
    OifName,
    /// Transport protocol, one byte.
    L4Proto,
}

/// What `ct` loads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CtKey {
    /// Bits: invalid 1, established 2, related 4, new 8.
    State,
    /// Bits of the connection; 0x20 is "destination was translated".
    Status,
}

/// Comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cmp {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
}

/// Which address a translation changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NatKind {
    /// The source.
    Snat,
    /// The destination.
    Dnat,
}

/// One instruction. A comparison or lookup that does not match ends the rule.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the operands are named as in the kernel's own documentation")]
pub enum Expr {
    Payload {
        base: PayloadBase,
        offset: u32,
        len: u32,
        to: Reg,
    },
    Meta {
        key: MetaKey,
        to: Reg,
    },
    SetMark {
        from: Reg,
    },
    Ct {
        key: CtKey,
        to: Reg,
    },
    /// `to = (from & mask) ^ xor`
    Bitwise {
        from: Reg,
        to: Reg,
        mask: Vec<u8>,
        xor: Vec<u8>,
    },
    Cmp {
        op: Cmp,
        reg: Reg,
        value: Vec<u8>,
    },
    Immediate {
        to: Reg,
        value: Vec<u8>,
    },
    Verdict(Verdict),
    /// Looks a key up; with `to`, loads what the map holds.
    Lookup {
        set: String,
        key: Reg,
        to: Option<Reg>,
        invert: bool,
    },
    /// Looks a key up in a verdict map and obeys.
    VerdictMap {
        set: String,
        key: Reg,
    },
    /// A random number below `modulus`, host order.
    Random {
        modulus: u32,
        to: Reg,
    },
    /// Whether a route says that an address of the packet is local: loads the address type, 2 is local.
    FibAddrType {
        source: bool,
        to: Reg,
    },
    /// Removes an element of a map; `data` is any register, which the kernel wants named.
    Forget {
        set: String,
        key: Reg,
        data: Reg,
    },
    /// Adds an element with a timeout in milliseconds, or refreshes the timeout of the one that is there, whose data stays.
    Update {
        set: String,
        key: Reg,
        data: Option<Reg>,
        timeout_ms: u64,
    },
    Nat {
        kind: NatKind,
        v6: bool,
        addr: Reg,
        port: Option<Reg>,
    },
    /// Random source ports make collisions between nodes' connections unlikely.
    Masquerade {
        random: bool,
    },
    /// TCP reset.
    RejectReset,
    /// ICMP or ICMPv6 "destination unreachable" with this code, in a table of one family.
    RejectIcmp {
        code: u8,
    },
    Counter,
}

impl Expr {
    fn name(&self) -> &'static str {
        match self {
            Self::Payload { .. } => "payload",
            Self::Meta { .. } | Self::SetMark { .. } => "meta",
            Self::Ct { .. } => "ct",
            Self::Bitwise { .. } => "bitwise",
            Self::Cmp { .. } => "cmp",
            Self::Immediate { .. } | Self::Verdict(_) => "immediate",
            Self::Lookup { .. } | Self::VerdictMap { .. } => "lookup",
            Self::Random { .. } => "numgen",
            Self::FibAddrType { .. } => "fib",
            Self::Update { .. } | Self::Forget { .. } => "dynset",
            Self::Nat { .. } => "nat",
            Self::Masquerade { .. } => "masq",
            Self::RejectReset | Self::RejectIcmp { .. } => "reject",
            Self::Counter => "counter",
        }
    }

    /// Writes a list element; `set_id` tells the transaction's ID of an anonymous set.
    pub(crate) fn write(&self, attrs: &mut Attrs, set_id: &dyn Fn(&str) -> Option<u32>) {
        attrs.nest(1, |a| {
            a.name(1, self.name());
            a.nest(2, |a| self.operands(a, set_id));
        });
    }

    fn operands(&self, a: &mut Attrs, set_id: &dyn Fn(&str) -> Option<u32>) {
        match self {
            Self::Payload { base, offset, len, to } => {
                a.be32(1, to.number());
                a.be32(2, if *base == PayloadBase::Network { 1 } else { 2 });
                a.be32(3, *offset);
                a.be32(4, *len);
            }
            Self::Meta { key, to } => {
                a.be32(2, key.number());
                a.be32(1, to.number());
            }
            Self::SetMark { from } => {
                a.be32(2, MetaKey::Mark.number());
                a.be32(3, from.number());
            }
            Self::Ct { key, to } => {
                a.be32(2, if *key == CtKey::State { 0 } else { 2 });
                a.be32(1, to.number());
            }
            Self::Bitwise { from, to, mask, xor } => {
                a.be32(1, from.number());
                a.be32(2, to.number());
                a.be32(3, mask.len() as u32);
                a.nest(4, |a| a.bytes(1, mask));
                a.nest(5, |a| a.bytes(1, xor));
            }
            Self::Cmp { op, reg, value } => {
                a.be32(1, reg.number());
                a.be32(2, if *op == Cmp::Eq { 0 } else { 1 });
                a.nest(3, |a| a.bytes(1, value));
            }
            Self::Immediate { to, value } => {
                a.be32(1, to.number());
                a.nest(2, |a| a.bytes(1, value));
            }
            Self::Verdict(verdict) => {
                a.be32(1, 0);
                a.nest(2, |a| verdict.write(a));
            }
            Self::Lookup { set, key, to, invert } => {
                write_lookup(a, set, *key, set_id);
                if let Some(to) = to {
                    a.be32(3, to.number());
                }
                if *invert {
                    a.be32(5, 1);
                }
            }
            Self::VerdictMap { set, key } => {
                write_lookup(a, set, *key, set_id);
                a.be32(3, 0);
            }
            Self::Random { modulus, to } => {
                a.be32(1, to.number());
                a.be32(2, *modulus);
                a.be32(3, 1);
                a.be32(4, 0);
            }
            Self::FibAddrType { source, to } => {
                a.be32(1, to.number());
                a.be32(2, 3);
                a.be32(3, if *source { 1 } else { 2 });
            }
            Self::Forget { set, key, data } => {
                a.name(1, set);
                a.be32(3, 2);
                a.be32(4, key.number());
                a.be32(5, data.number());
            }
            Self::Update { set, key, data, timeout_ms } => {
                a.name(1, set);
                a.be32(3, 1);
                a.be32(4, key.number());
                if let Some(data) = data {
                    a.be32(5, data.number());
                }
                a.be64(6, *timeout_ms);
            }
            Self::Nat { kind, v6, addr, port } => {
                a.be32(1, if *kind == NatKind::Snat { 0 } else { 1 });
                a.be32(2, if *v6 { 10 } else { 2 });
                a.be32(3, addr.number());
                if let Some(port) = port {
                    a.be32(5, port.number());
                }
            }
            Self::Masquerade { random } => {
                if *random {
                    // NF_NAT_RANGE_PROTO_RANDOM_FULLY
                    a.be32(1, 16);
                }
            }
            Self::RejectReset => a.be32(1, 1),
            Self::RejectIcmp { code } => {
                a.be32(1, 0);
                a.bytes(2, &[*code]);
            }
            Self::Counter => {}
        }
    }
}

impl MetaKey {
    fn number(self) -> u32 {
        match self {
            Self::Mark => 3,
            Self::IifName => 6,
            Self::OifName => 7,
            Self::L4Proto => 16,
        }
    }
}

fn write_lookup(a: &mut Attrs, set: &str, key: Reg, set_id: &dyn Fn(&str) -> Option<u32>) {
    let id = set_id(set);
    a.name(1, if id.is_some() { ANONYMOUS } else { set });
    a.be32(2, key.number());
    if let Some(id) = id {
        a.be32(4, id);
    }
}

/// `lookup` in a set as a plain condition.
pub fn lookup(set: &str, key: Reg) -> Expr {
    Expr::Lookup { set: set.to_owned(), key, to: None, invert: false }
}
