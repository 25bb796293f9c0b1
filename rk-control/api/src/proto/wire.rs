//! Protobuf's wire format: tags, varints and lengths.

use crate::decode::DecodeError;

/// A field's value as it stands on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Raw<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

/// A message that ends before its fields do.
fn cut_off() -> DecodeError {
    DecodeError::Proto("unexpected EOF".to_owned())
}

fn malformed(what: &str) -> DecodeError {
    DecodeError::Proto(format!("proto: {what}"))
}

impl<'a> Raw<'a> {
    /// The value of a length-delimited field.
    pub(super) fn bytes(self) -> Result<&'a [u8], DecodeError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(malformed("wrong wireType for a length-delimited field")),
        }
    }

    /// The value of a string field.
    pub(super) fn text(self) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| malformed("string field contains invalid UTF-8"))
    }

    /// The value of an integer or boolean field.
    pub(super) fn integer(self) -> Result<i64, DecodeError> {
        match self {
            // Negative numbers are sign-extended to ten bytes, so the bits are those of an i64.
            Self::Varint(value) => Ok(value as i64),
            _ => Err(malformed("wrong wireType for an integer field")),
        }
    }

    /// The value of a double field.
    pub(super) fn double(self) -> Result<f64, DecodeError> {
        match self {
            Self::Fixed64(bits) => Ok(f64::from_bits(bits)),
            _ => Err(malformed("wrong wireType for a double field")),
        }
    }
}

/// Iterates over the fields of a message: number and value.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn of(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn varint(&mut self) -> Result<u64, DecodeError> {
        let (value, rest) = varint(self.rest)?;
        self.rest = rest;
        Ok(value)
    }

    fn take(&mut self, size: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(size).ok_or_else(cut_off)?;
        self.rest = rest;
        Ok(taken)
    }

    fn field(&mut self) -> Result<(u32, Raw<'a>), DecodeError> {
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).ok().filter(|number| *number > 0);
        let number = number.ok_or_else(|| malformed("illegal tag"))?;
        let value = match tag & 7 {
            0 => Raw::Varint(self.varint()?),
            1 => Raw::Fixed64(u64::from_le_bytes(array(self.take(8)?)?)),
            2 => {
                let size = usize::try_from(self.varint()?)
                    .map_err(|_| malformed("negative length found during unmarshaling"))?;
                Raw::Bytes(self.take(size)?)
            }
            5 => Raw::Fixed32(u32::from_le_bytes(array(self.take(4)?)?)),
            other => return Err(malformed(&format!("illegal wireType {other}"))),
        };
        Ok((number, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Raw<'a>), DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

fn array<const N: usize>(bytes: &[u8]) -> Result<[u8; N], DecodeError> {
    bytes.try_into().map_err(|_| cut_off())
}

/// Reads one varint; answers it and what follows.
pub(super) fn varint(bytes: &[u8]) -> Result<(u64, &[u8]), DecodeError> {
    let mut value = 0u64;
    for (index, byte) in bytes.iter().enumerate().take(10) {
        // The tenth byte has room for one bit only.
        if index == 9 && *byte > 1 {
            return Err(malformed("integer overflow"));
        }
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok((value, bytes.get(index + 1..).unwrap_or_default()));
        }
    }
    Err(if bytes.len() < 10 { cut_off() } else { malformed("integer overflow") })
}

/// Appends fields to a message.
#[derive(Debug, Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn with_capacity(size: usize) -> Self {
        Self(Vec::with_capacity(size))
    }

    /// A message behind a prefix.
    pub(super) fn starting_with(prefix: &[u8], size: usize) -> Self {
        let mut bytes = Vec::with_capacity(prefix.len() + size);
        bytes.extend_from_slice(prefix);
        Self(bytes)
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn tag(&mut self, number: u32, wire_type: u64) {
        self.varint(u64::from(number) << 3 | wire_type);
    }

    pub(super) fn integer(&mut self, number: u32, value: i64) {
        self.tag(number, 0);
        self.varint(value as u64);
    }

    pub(super) fn double(&mut self, number: u32, value: f64) {
        self.tag(number, 1);
        self.0.extend_from_slice(&value.to_bits().to_le_bytes());
    }

    pub(super) fn bytes(&mut self, number: u32, value: &[u8]) {
        self.announce(number, value.len());
        self.append(value);
    }

    /// What stands before a field of so many bytes.
    pub(super) fn announce(&mut self, number: u32, length: usize) {
        self.tag(number, 2);
        self.varint(length as u64);
    }

    /// Bytes of a field that was announced.
    pub(super) fn append(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}
