//! Netlink attributes: nested type-length-value, padded to four bytes.

/// `NLA_F_NESTED`
const NESTED: u16 = 0x8000;

/// Appends attributes to a buffer.
#[derive(Debug, Default)]
pub(crate) struct Attrs(pub Vec<u8>);

impl Attrs {
    /// An attribute of raw bytes.
    pub fn bytes(&mut self, kind: u16, value: &[u8]) {
        // Callers keep values far below 64 KiB; a longer one would be cut by the kernel's own length field.
        self.0.extend_from_slice(&((value.len() + 4) as u16).to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    /// A big-endian number of 32 bits.
    pub fn be32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// A big-endian number of 64 bits.
    pub fn be64(&mut self, kind: u16, value: u64) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// A NUL-terminated name.
    pub fn name(&mut self, kind: u16, value: &str) {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.bytes(kind, &bytes);
    }

    /// An attribute that holds what `fill` appends.
    pub fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let start = self.0.len();
        self.bytes(kind | NESTED, &[]);
        fill(self);
        let len = ((self.0.len() - start) as u16).to_ne_bytes();
        if let Some(field) = self.0.get_mut(start..start + 2) {
            field.copy_from_slice(&len);
        }
    }
}

/// Walks attributes; stops at the first torn one.
pub(crate) fn iter(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?) & 0x3fff;
        let value = bytes.get(4..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The first attribute of a kind.
pub(crate) fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    iter(bytes).find(|(k, _)| *k == kind).map(|(_, value)| value)
}
