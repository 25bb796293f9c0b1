//! A transaction: the messages between "begin" and "end".

use std::collections::HashMap;

use crate::{
    attr::Attrs,
    expr::{ANONYMOUS, Expr, Verdict},
};

const SUBSYS: u16 = 10 << 8;
const BEGIN: u16 = 0x10;
const END: u16 = 0x11;
const NEW_TABLE: u16 = SUBSYS;
const DEL_TABLE: u16 = SUBSYS | 2;
const NEW_CHAIN: u16 = SUBSYS | 3;
const DEL_CHAIN: u16 = SUBSYS | 5;
const NEW_RULE: u16 = SUBSYS | 6;
const DEL_RULE: u16 = SUBSYS | 8;
const NEW_SET: u16 = SUBSYS | 9;
const NEW_ELEMENT: u16 = SUBSYS | 12;
const DEL_ELEMENT: u16 = SUBSYS | 14;
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;
/// An attribute holds at most 64 KiB, so elements travel in groups well below that.
const ELEMENTS_PER_MESSAGE: usize = 256;

/// Protocol family of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
    /// Both.
    Inet,
}

impl Family {
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Inet => 1,
            Self::Ip => 2,
            Self::Ip6 => 10,
        }
    }
}

/// Where a base chain is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hook {
    /// `nat` or `filter`.
    pub kind: &'static str,
    /// 0 prerouting, 1 input, 2 forward, 3 output, 4 postrouting.
    pub number: u32,
    /// Order among chains of the hook; lower comes first.
    pub priority: i32,
}

/// A chain of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chain<'a> {
    /// Its name.
    pub name: &'a str,
    /// Base chains have one.
    pub hook: Option<Hook>,
}

/// What the keys of a map lead to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Value {
    /// Nothing: a plain set.
    None,
    /// A verdict.
    Verdict(Verdict),
    /// Bytes.
    Data(Vec<u8>),
}

/// An element of a set or map.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Element {
    /// Fields of a concatenation are padded to four bytes each.
    pub key: Vec<u8>,
    /// What it leads to.
    pub value: Value,
}

/// A named set or map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set<'a> {
    /// Its name.
    pub name: &'a str,
    /// Type number that `nft list` shows the key by; 0 for none.
    pub key_type: u32,
    /// Bytes of a key.
    pub key_len: u32,
    /// `None` for a set, `Some(0)` for a verdict map, else bytes of a value.
    pub data_len: Option<u32>,
    /// Filled by rules; elements vanish after this many milliseconds.
    pub timeout_ms: Option<u64>,
    /// Most elements; sets that rules fill hold 65 535 unless told otherwise.
    pub size: Option<u32>,
}

/// Changes that become visible together.
#[derive(Debug)]
pub struct Batch {
    pub(crate) bytes: Vec<u8>,
    /// Sequence number of the last message.
    pub(crate) last: u32,
    last_at: usize,
    /// What each message does, for errors.
    pub(crate) what: HashMap<u32, String>,
    next_set_id: u32,
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

impl Batch {
    /// An empty transaction.
    pub fn new() -> Self {
        let mut batch = Self { bytes: Vec::new(), last: 0, last_at: 0, what: HashMap::new(), next_set_id: 1 };
        batch.frame(BEGIN, 0, 0, 10, &[]);
        batch
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.what.is_empty()
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Makes a table unless it is there.
    pub fn add_table(&mut self, family: Family, table: &str) {
        self.message(NEW_TABLE, CREATE, family, format!("add table {table}"), |a| a.name(1, table));
    }

    /// Removes a table with all that is in it; it must exist.
    pub fn delete_table(&mut self, family: Family, table: &str) {
        self.message(DEL_TABLE, 0, family, format!("delete table {table}"), |a| a.name(1, table));
    }

    /// Makes a chain unless it is there.
    pub fn add_chain(&mut self, family: Family, table: &str, chain: Chain<'_>) {
        self.message(NEW_CHAIN, CREATE, family, format!("add chain {table} {}", chain.name), |a| {
            a.name(1, table);
            a.name(3, chain.name);
            if let Some(hook) = chain.hook {
                a.nest(4, |a| {
                    a.be32(1, hook.number);
                    a.be32(2, hook.priority as u32);
                });
                a.name(7, hook.kind);
            }
        });
    }

    /// Removes a chain that nothing refers to any more, with its rules.
    pub fn delete_chain(&mut self, family: Family, table: &str, chain: &str) {
        self.message(DEL_CHAIN, 0, family, format!("delete chain {table} {chain}"), |a| {
            a.name(1, table);
            a.name(3, chain);
        });
    }

    /// Removes all rules of a chain.
    pub fn flush_chain(&mut self, family: Family, table: &str, chain: &str) {
        self.message(DEL_RULE, 0, family, format!("flush chain {table} {chain}"), |a| {
            a.name(1, table);
            a.name(2, chain);
        });
    }

    /// Appends a rule. `maps` are anonymous sets, which its lookups call by the names given here.
    pub fn add_rule(
        &mut self,
        family: Family,
        table: &str,
        chain: &str,
        rule: &[Expr],
        maps: &[(Set<'_>, Vec<Element>)],
    ) {
        let mut ids = HashMap::new();
        for (set, elements) in maps {
            let id = self.next_set_id;
            self.next_set_id += 1;
            ids.insert(set.name, id);
            self.set(family, table, &Set { name: ANONYMOUS, ..set.clone() }, Some(id));
            self.elements(NEW_ELEMENT, family, table, ANONYMOUS, Some(id), elements);
        }
        self.message(NEW_RULE, CREATE | APPEND, family, format!("add rule {table} {chain}"), |a| {
            a.name(1, table);
            a.name(2, chain);
            a.nest(4, |a| {
                for expr in rule {
                    expr.write(a, &|name| ids.get(name).copied());
                }
            });
        });
    }

    /// Makes a named set or map unless it is there.
    pub fn add_set(&mut self, family: Family, table: &str, set: &Set<'_>) {
        self.set(family, table, set, None);
    }

    /// Adds elements.
    pub fn add_elements(&mut self, family: Family, table: &str, set: &str, elements: &[Element]) {
        self.elements(NEW_ELEMENT, family, table, set, None, elements);
    }

    /// Removes elements, which must be there.
    pub fn delete_elements(&mut self, family: Family, table: &str, set: &str, elements: &[Element]) {
        self.elements(DEL_ELEMENT, family, table, set, None, elements);
    }

    fn set(&mut self, family: Family, table: &str, set: &Set<'_>, anonymous: Option<u32>) {
        let id = anonymous.unwrap_or_else(|| {
            self.next_set_id += 1;
            self.next_set_id - 1
        });
        let map = if set.data_len.is_some() { 8 } else { 0 };
        let timeout = if set.timeout_ms.is_some() { 0x10 | 0x20 } else { 0 };
        let constant = if anonymous.is_some() { 1 | 2 } else { 0 };
        self.message(NEW_SET, CREATE, family, format!("add set {table} {}", set.name), |a| {
            a.name(1, table);
            a.name(2, set.name);
            a.be32(3, constant | map | timeout);
            a.be32(4, set.key_type);
            a.be32(5, set.key_len);
            match set.data_len {
                // NFT_DATA_VERDICT
                Some(0) => a.be32(6, 0xffff_ff00),
                Some(len) => {
                    a.be32(6, 0);
                    a.be32(7, len);
                }
                None => {}
            }
            if let Some(size) = set.size {
                a.nest(9, |a| a.be32(1, size));
            }
            a.be32(10, id);
            if let Some(timeout) = set.timeout_ms {
                a.be64(11, timeout);
            }
        });
    }

    fn elements(&mut self, kind: u16, family: Family, table: &str, set: &str, id: Option<u32>, elements: &[Element]) {
        for group in elements.chunks(ELEMENTS_PER_MESSAGE) {
            let verb = if kind == NEW_ELEMENT { "add" } else { "delete" };
            let flags = if kind == NEW_ELEMENT { CREATE } else { 0 };
            self.message(kind, flags, family, format!("{verb} {} elements of {table} {set}", group.len()), |a| {
                a.name(1, table);
                a.name(2, set);
                if let Some(id) = id {
                    a.be32(4, id);
                }
                a.nest(3, |a| group.iter().for_each(|element| element.write(a)));
            });
        }
    }

    fn message(&mut self, kind: u16, flags: u16, family: Family, what: String, fill: impl FnOnce(&mut Attrs)) {
        let mut attrs = Attrs::default();
        fill(&mut attrs);
        self.frame(kind, flags, family.number(), 0, &attrs.0);
        self.what.insert(self.last, what);
    }

    fn frame(&mut self, kind: u16, flags: u16, family: u8, resource: u16, attrs: &[u8]) {
        self.last_at = self.bytes.len();
        self.last += 1;
        frame(&mut self.bytes, kind, REQUEST | flags, self.last, family, resource, attrs);
    }

    /// Asks for an acknowledgement of the last change and closes the transaction. Answers with that change's number.
    pub(crate) fn finish(&mut self) -> u32 {
        let acked = self.last;
        let flags = self
            .bytes
            .get(self.last_at + 6..self.last_at + 8)
            .and_then(|f| f.try_into().ok())
            .map_or(0, u16::from_ne_bytes);
        if let Some(field) = self.bytes.get_mut(self.last_at + 6..self.last_at + 8) {
            field.copy_from_slice(&(flags | ACK).to_ne_bytes());
        }
        self.frame(END, 0, 0, 10, &[]);
        acked
    }
}

/// A netlink message with nfnetlink's header.
pub(crate) fn frame(out: &mut Vec<u8>, kind: u16, flags: u16, seq: u32, family: u8, resource: u16, attrs: &[u8]) {
    out.extend_from_slice(&((20 + attrs.len()) as u32).to_ne_bytes());
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(&flags.to_ne_bytes());
    out.extend_from_slice(&seq.to_ne_bytes());
    out.extend_from_slice(&0u32.to_ne_bytes());
    out.extend_from_slice(&[family, 0]);
    out.extend_from_slice(&resource.to_be_bytes());
    out.extend_from_slice(attrs);
}

impl Element {
    /// An element of a plain set.
    pub fn key(key: Vec<u8>) -> Self {
        Self { key, value: Value::None }
    }

    fn write(&self, a: &mut Attrs) {
        a.nest(1, |a| {
            a.nest(1, |a| a.bytes(1, &self.key));
            match &self.value {
                Value::None => {}
                Value::Verdict(verdict) => a.nest(2, |a| verdict.write(a)),
                Value::Data(data) => a.nest(2, |a| a.bytes(1, data)),
            }
        });
    }
}
