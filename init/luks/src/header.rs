//! A header as a whole: found in its copies, opened by a secret, changed, written.

use crate::binary::{BINARY, Binary, SIZE, SIZES};
use crate::error::odd;
use crate::kdf::{Cost, Hash};
use crate::keyslot::{Keyslot, room};
use crate::metadata::{Check, MOST_SLOTS, Metadata, Segment, Token};
use crate::text::bytes;
use crate::{LuksError, Random, Secret};
use serde_json::Value;

/// Bytes before the data: room for a dozen keyslots.
const DATA: u64 = 4 << 20;
/// Two keys of AES-256.
const KEY: usize = 64;
/// The data are encrypted in sectors of a page, which is also the block of our file systems.
const SECTOR: u32 = 4096;
const SUBSYSTEM: &str = "rk";
/// Of a random volume key, which nobody guesses.
const CHECK_ITERATIONS: u32 = 1000;

/// Reads so many bytes from there.
pub type Source<'a> = &'a dyn Fn(u64, usize) -> std::io::Result<Vec<u8>>;

/// Bytes that belong at an offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// Where.
    pub offset: u64,
    /// What.
    pub bytes: Vec<u8>,
}

/// A header.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    binary: Binary,
    metadata: Metadata,
}

/// A volume key, and the keyslot that gave it.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The keyslot's number.
    pub slot: u32,
    /// The key of the data.
    pub key: Secret,
}

impl Header {
    /// A new header without keyslots, and the key of its data.
    ///
    /// # Errors
    /// There is no noise to be had.
    pub fn new(label: &str, random: Random<'_>) -> Result<(Header, Secret), LuksError> {
        let (mut key, mut salt, mut id) = (vec![0; KEY], vec![0; 32], [0; 16]);
        for bytes in [key.as_mut_slice(), &mut salt, &mut id] {
            random(bytes)?;
        }
        let key = Secret::new(key);
        let digest = Hash::Sha256.stretch(key.bytes(), &salt, CHECK_ITERATIONS, 32)?;
        let check = Check {
            kind: "pbkdf2".to_owned(),
            keyslots: Vec::new(),
            segments: vec!["0".to_owned()],
            hash: "sha256".to_owned(),
            iterations: CHECK_ITERATIONS,
            salt: bytes(salt),
            digest: bytes(digest.bytes().to_vec()),
        };
        let binary = Binary {
            size: SIZE as u64,
            sequence: 0,
            label: label.to_owned(),
            uuid: uuid(id),
            subsystem: SUBSYSTEM.to_owned(),
        };
        let keyslots = DATA - 2 * SIZE as u64;
        let metadata = Metadata::new(&Segment::new(DATA, SECTOR), &check, (SIZE - BINARY) as u64, keyslots);
        Ok((Header { binary, metadata }, key))
    }

    /// Reads the newer of the copies that are whole.
    ///
    /// # Errors
    /// None is, or what it says makes no sense.
    pub fn read(read: Source<'_>) -> Result<Header, LuksError> {
        let mut found: Vec<(Binary, String)> = copy(read, 0)?.into_iter().collect();
        // Where the second copy lies is said by the first; without that, it is looked for.
        let places = found.first().map_or(SIZES.to_vec(), |(binary, _)| vec![binary.size]);
        for place in places {
            found.extend(copy(read, place)?);
        }
        let (binary, json) = found.into_iter().max_by_key(|(binary, _)| binary.sequence).ok_or(LuksError::Torn)?;
        Ok(Header { binary, metadata: Metadata::parse(&json)? })
    }

    /// Its label.
    pub fn label(&self) -> &str {
        &self.binary.label
    }

    /// Identity of the volume.
    pub fn uuid(&self) -> &str {
        &self.binary.uuid
    }

    /// Where the data lie.
    ///
    /// # Errors
    /// They are encrypted in a way that is not known here.
    pub fn segment(&self) -> Result<Segment, LuksError> {
        self.metadata.segment()
    }

    /// Numbers of the keyslots that are understood.
    pub fn slots(&self) -> Vec<u32> {
        self.metadata.keyslots().into_iter().map(|(slot, _)| slot).collect()
    }

    /// What it says, as a value.
    pub(crate) fn text_value(&self) -> Option<Value> {
        serde_json::from_str(&self.metadata.text()).ok()
    }

    /// Tokens of one type.
    pub fn tokens(&self, kind: &str) -> Vec<Token> {
        self.metadata.tokens(kind)
    }

    /// Tries a secret on all keyslots, or on these alone.
    ///
    /// # Errors
    /// No keyslot opens with it.
    pub fn open(&self, secret: &Secret, only: Option<&[u32]>, read: Source<'_>) -> Result<Opened, LuksError> {
        let mut worst = LuksError::WrongSecret;
        for (slot, keyslot) in self.metadata.keyslots() {
            if only.is_some_and(|only| !only.contains(&slot)) {
                continue;
            }
            match keyslot.open(secret.bytes(), read) {
                Ok(key) if self.is_right(slot, &key)? => return Ok(Opened { slot, key }),
                Ok(_) => {}
                Err(err) => worst = err,
            }
        }
        Err(worst)
    }

    fn is_right(&self, slot: u32, key: &Secret) -> Result<bool, LuksError> {
        let Some(check) = self.metadata.check_of(slot) else { return Ok(false) };
        let size = check.digest.0.len().min(64);
        let digest = Hash::named(&check.hash)?.stretch(key.bytes(), &check.salt.0, check.iterations, size)?;
        Ok(size >= 20 && digest.bytes() == check.digest.0)
    }

    /// Puts the volume key into a keyslot under a secret: into `slot` if it is there, else into a new one. Answers the slot and
    /// what its area must hold, to be written before the header.
    ///
    /// # Errors
    /// There is no room.
    pub fn set_key(
        &mut self,
        slot: Option<u32>,
        key: &Secret,
        secret: &Secret,
        cost: Cost,
        random: Random<'_>,
    ) -> Result<(u32, Write), LuksError> {
        let slots = self.metadata.keyslots();
        let there = slot.and_then(|slot| slots.iter().find(|(number, _)| *number == slot));
        let wanted = room(key.bytes().len());
        let (slot, offset) = match there {
            Some((number, keyslot)) if keyslot.place().1 >= wanted => (*number, keyslot.place().0),
            _ => self.free(&slots, wanted)?,
        };
        let (keyslot, area) = Keyslot::make(offset, key, secret.bytes(), cost, random)?;
        self.metadata.set_keyslot(slot, &keyslot)?;
        Ok((slot, Write { offset, bytes: area }))
    }

    fn free(&self, slots: &[(u32, Keyslot)], wanted: u64) -> Result<(u32, u64), LuksError> {
        let slot =
            (0..MOST_SLOTS).find(|number| slots.iter().all(|(taken, _)| taken != number)).ok_or(LuksError::Full)?;
        let start = 2 * self.binary.size;
        let end = start.saturating_add(self.metadata.keyslots_end());
        let mut taken: Vec<(u64, u64)> = slots.iter().map(|(_, keyslot)| keyslot.place()).collect();
        taken.sort_unstable();
        let mut offset = start;
        for (at, size) in taken {
            if offset.saturating_add(wanted) <= at {
                break;
            }
            offset = offset.max(at.saturating_add(size));
        }
        if offset.saturating_add(wanted) > end { Err(LuksError::Full) } else { Ok((slot, offset)) }
    }

    /// Notes something beside the keyslots, under its number or a new one.
    ///
    /// # Errors
    /// There is no number left.
    pub fn set_token(&mut self, id: Option<u32>, value: Value) -> Result<(), LuksError> {
        self.metadata.set_token(id, value)
    }

    /// Both copies, the second one first: whatever is cut off, one of them is whole.
    ///
    /// # Errors
    /// The text has outgrown its room.
    pub fn encode(&mut self, random: Random<'_>) -> Result<[Write; 2], LuksError> {
        self.binary.sequence = self.binary.sequence.saturating_add(1);
        let json = self.metadata.text();
        let mut at = |offset| {
            let bytes = self.binary.encode(&json, offset, random)?.ok_or(LuksError::Full)?;
            Ok::<Write, LuksError>(Write { offset, bytes })
        };
        Ok([at(self.binary.size)?, at(0)?])
    }
}

fn copy(read: Source<'_>, offset: u64) -> Result<Option<(Binary, String)>, LuksError> {
    let head = read(offset, BINARY)?;
    let Some(size) = Binary::size_of(&head, offset) else { return Ok(None) };
    let whole = read(offset, usize::try_from(size).map_err(odd)?)?;
    Ok(Binary::decode(&whole, offset))
}

/// Random bytes as a UUID of version 4.
fn uuid(mut id: [u8; 16]) -> String {
    for (at, keep, set) in [(6, 0x0f, 0x40), (8, 0x3f, 0x80)] {
        if let Some(byte) = id.get_mut(at) {
            *byte = *byte & keep | set;
        }
    }
    let text = hex::encode(id);
    let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_with_odd_json_and_a_right_checksum_is_refused_or_opens_nothing() {
        let mut noise = |bytes: &mut [u8]| {
            bytes.fill(7);
            Ok(())
        };
        let (mut header, key) = Header::new("l", &mut noise).unwrap();
        header.set_key(None, &key, &Secret::new(vec![1]), Cost::Random, &mut noise).unwrap();
        let good = header.metadata.text();
        let mut odd: Vec<String> =
            (0..good.len()).step_by(7).map(|at| good.replacen(&good[at..at + 1], "", 1)).collect();
        odd.extend((0..good.len()).step_by(11).map(|at| good[..at].to_owned()));
        for (from, to) in [
            ("\"offset\":\"32768\"", "\"offset\":\"18446744073709551615\""),
            ("\"size\":\"258048\"", "\"size\":\"18446744073709551615\""),
            ("\"key_size\":64", "\"key_size\":4294967295"),
            ("\"key_size\":64", "\"key_size\":0"),
            ("\"stripes\":4000", "\"stripes\":0"),
            ("\"keyslots_size\":\"4161536\"", "\"keyslots_size\":\"x\""),
        ] {
            assert!(good.contains(from), "{from}: {good}");
            odd.push(good.replace(from, to));
        }
        for json in odd {
            let first = header.binary.encode(&json, 0, &mut noise).unwrap().unwrap_or_default();
            let disk = |at: u64, size: usize| {
                let at = usize::try_from(at).unwrap_or(usize::MAX).min(first.len());
                Ok(first.get(at..at.saturating_add(size).min(first.len())).unwrap_or_default().to_vec())
            };
            let Ok(read) = Header::read(&disk) else { continue };
            assert!(read.open(&Secret::new(vec![2]), None, &disk).is_err(), "{json}");
            let _ = (read.segment().is_ok(), read.tokens("rk-tpm2"), read.slots());
        }
    }
}
