//! Bytes of rtnetlink: headers, attributes, in the machine's byte order, aligned to four.

/// A message under construction.
#[derive(Debug)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// Starts a message: kind, flags, sequence number, and the fixed part that its kind has.
    pub fn new(kind: u16, flags: u16, sequence: u32, fixed: &[u8]) -> Writer {
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend(0u32.to_ne_bytes());
        bytes.extend(fixed);
        Writer { bytes }
    }

    /// Appends an attribute.
    pub fn attribute(mut self, kind: u16, value: &[u8]) -> Writer {
        append(&mut self.bytes, kind, value);
        self
    }

    /// The whole message.
    pub fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX).to_ne_bytes();
        for (slot, byte) in self.bytes.iter_mut().zip(length) {
            *slot = byte;
        }
        self.bytes
    }
}

/// Attributes without a message around them: what is nested in another attribute.
#[derive(Debug, Default)]
pub struct Attributes {
    bytes: Vec<u8>,
}

impl Attributes {
    /// Appends an attribute.
    pub fn with(mut self, kind: u16, value: &[u8]) -> Attributes {
        append(&mut self.bytes, kind, value);
        self
    }

    /// All of them.
    pub fn bytes(self) -> Vec<u8> {
        self.bytes
    }
}

fn append(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// One message of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// `RTM_…` or `NLMSG_…`.
    pub kind: u16,
    /// Sequence number of the request that it answers.
    pub sequence: u32,
    /// What follows the header.
    pub payload: &'a [u8],
}

/// The messages of a datagram; ends at the first that is broken.
pub fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
        let payload = bytes.get(16..length)?;
        let message = Message { kind: u16_at(bytes, 4)?, sequence: u32_at(bytes, 8)?, payload };
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// The attributes behind a fixed part, as kind and value; ends at the first that is broken.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        // The upper two bits of the kind are flags.
        let kind = u16_at(bytes, 2)? & 0x3fff;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// Two bytes at an offset.
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

/// Four bytes at an offset.
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let bytes =
            Writer::new(16, 5, 7, &[1, 2, 3, 4]).attribute(3, b"eth0\0").attribute(4, &1500u32.to_ne_bytes()).finish();
        let all: Vec<_> = messages(&bytes).collect();
        let [message] = all.as_slice() else { panic!("{all:?}") };
        assert_eq!((message.kind, message.sequence), (16, 7));
        let found: Vec<_> = attributes(&message.payload[4..]).collect();
        assert_eq!(found, [(3, b"eth0\0".as_slice()), (4, &1500u32.to_ne_bytes())]);
    }

    #[test]
    fn broken_lengths_end_the_reading() {
        let good = Writer::new(16, 0, 0, &[]).finish();
        for cut in 0..good.len() {
            assert_eq!(messages(&good[..cut]).count(), 0);
        }
        assert_eq!(messages(&[0; 64]).count(), 0);
        assert_eq!(messages(&[0xff; 64]).count(), 0);
        assert_eq!(attributes(&[0; 64]).count(), 0);
        assert_eq!(attributes(&[3, 0, 1, 0]).count(), 0);
        assert_eq!(attributes(&[4, 0, 1, 0]).count(), 1);
    }
}
