//! A signature without the time of day: `sbsign` writes when it signed, and two signatures of the same program would differ.
//!
//! The date becomes the one by which everything in an image is dated, and the attributes that hold it are signed anew. With an RSA key that
//! is the same signature every time. Nothing reads the date: firmware judges by key and hash.

use anyhow::{Context, Result, ensure};
use ring::rand::SystemRandom;
use ring::rsa::KeyPair;
use ring::signature::RSA_PKCS1_SHA256;
use std::fs;
use std::ops::Range;
use std::path::Path;

/// 2025-01-01, as ASN.1's UTCTime.
const DATE: &[u8; 13] = b"250101000000Z";
/// 1.2.840.113549.1.9.5
const SIGNING_TIME: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x05];
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OCTETS: u8 = 0x04;
const TIME: u8 = 0x17;
/// `[0]`: what is signed, and optional.
const ATTRIBUTES: u8 = 0xa0;
/// Offsets in a PE32+ program: of its header, and from that on of its checksum and of the place and size of its signatures.
const HEADER: usize = 0x3c;
const CHECKSUM: usize = 24 + 64;
const SIGNATURES: usize = 24 + 112 + 4 * 8;
/// Length, revision and kind, before the signature itself.
const SIGNATURE_HEAD: usize = 8;

/// Gives the only signature of a program a fixed date. With a key of another kind than RSA in plain PEM it stays as it is.
///
/// # Errors
/// The key is unreadable, or the signature is not as `sbsign` makes it.
pub fn undate(program: &mut [u8], key: &Path) -> Result<()> {
    let pem = fs::read(key).with_context(|| format!("reading {}", key.display()))?;
    let Some(key) = rsa(&pem) else { return Ok(()) };
    let at = signature_at(program).context("the signed program has no signature")?;
    let der = program.get_mut(at..).context("the signature lies behind the end")?;
    let parts = Parts::of(der).context("the signature is not of the form that is known")?;
    let message = parts.dated(der).context("the signature has no date")?;
    let place = der.get_mut(parts.signature).context("the signature is torn")?;
    ensure!(place.len() == key.public().modulus_len(), "the signature is of another key");
    let signed = key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), &message, place);
    signed.ok().context("signing")?;
    sum(program).context("the signed program is torn")
}

/// The key, when it is one of RSA.
fn rsa(pem: &[u8]) -> Option<KeyPair> {
    let parsed = pem::parse(pem).ok()?;
    match parsed.tag() {
        "PRIVATE KEY" => KeyPair::from_pkcs8(parsed.contents()).ok(),
        "RSA PRIVATE KEY" => KeyPair::from_der(parsed.contents()).ok(),
        _ => None,
    }
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let word = bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
    usize::try_from(u32::from_le_bytes(word)).ok()
}

/// Where the signature begins; `None` without any.
fn signature_at(program: &[u8]) -> Option<usize> {
    let place = number(program, number(program, HEADER)?.checked_add(SIGNATURES)?)?;
    if place == 0 { None } else { place.checked_add(SIGNATURE_HEAD) }
}

/// The checksum of a program: all words of 16 bits but its own, with their carries, and the length.
fn sum(program: &mut [u8]) -> Option<()> {
    let at = number(program, HEADER)?.checked_add(CHECKSUM)?;
    program.get_mut(at..at.checked_add(4)?)?.fill(0);
    let mut sum = 0_u32;
    for pair in program.chunks(2) {
        let word = u16::from_le_bytes([*pair.first()?, pair.get(1).copied().unwrap_or(0)]);
        sum += u32::from(word);
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let sum = sum.checked_add(u32::try_from(program.len()).ok()?)?;
    program.get_mut(at..at.checked_add(4)?)?.copy_from_slice(&sum.to_le_bytes());
    Some(())
}

/// A value of DER: where it begins, and where its content lies.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Value {
    tag: u8,
    at: usize,
    content: Range<usize>,
}

impl Value {
    fn read(der: &[u8], at: usize) -> Option<Value> {
        let (tag, first) = (*der.get(at)?, usize::from(*der.get(at + 1)?));
        let long = if first < 0x80 { 0 } else { first & 0x7f };
        let begin = at + 2 + long;
        let length = match long {
            0 => first,
            1..=3 => der.get(at + 2..begin)?.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
            _ => return None,
        };
        der.get(begin..begin + length)?;
        Some(Value { tag, at, content: begin..begin + length })
    }

    /// The values in it.
    fn values(&self, der: &[u8]) -> Option<Vec<Value>> {
        let (mut at, mut found) = (self.content.start, Vec::new());
        while at < self.content.end {
            let value = Value::read(der.get(..self.content.end)?, at)?;
            at = value.content.end;
            found.push(value);
        }
        Some(found)
    }
}

/// Of a signature (PKCS #7): the attributes that are signed, and what they are signed with.
#[derive(Debug, PartialEq, Eq)]
struct Parts {
    attributes: Value,
    signature: Range<usize>,
}

impl Parts {
    /// Of the only signer.
    fn of(der: &[u8]) -> Option<Parts> {
        let whole = Value::read(der, 0).filter(|whole| whole.tag == SEQUENCE)?;
        let data = whole.values(der)?.get(1)?.values(der)?.into_iter().next()?;
        let signers = data.values(der)?.pop().filter(|last| last.tag == SET)?.values(der)?;
        let [signer] = signers.as_slice() else { return None };
        let fields = signer.values(der)?;
        let attributes = fields.iter().find(|field| field.tag == ATTRIBUTES)?.clone();
        let signature = fields.last().filter(|last| last.tag == OCTETS)?.content.clone();
        Some(Parts { attributes, signature })
    }

    /// Sets the date; answers what is to be signed: the attributes, as the set that they are.
    fn dated(&self, der: &mut [u8]) -> Option<Vec<u8>> {
        let attributes = self.attributes.values(der)?;
        let fields = attributes.iter().filter_map(|attribute| attribute.values(der)).filter(|fields| fields.len() == 2);
        let time = fields
            .into_iter()
            .find(|fields| fields.first().is_some_and(|name| der.get(name.content.clone()) == Some(SIGNING_TIME)));
        let time = time?.pop()?.values(der)?.pop().filter(|time| time.tag == TIME)?;
        let place = der.get_mut(time.content).filter(|place| place.len() == DATE.len())?;
        place.copy_from_slice(DATE);
        let mut message = der.get(self.attributes.at..self.attributes.content.end)?.to_vec();
        *message.first_mut()? = SET;
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let length = u8::try_from(content.len()).unwrap();
        let head = if length < 0x80 { vec![tag, length] } else { vec![tag, 0x81, length] };
        [head, content].concat()
    }

    /// A signature with these attributes, and four bytes in the place of what the key made.
    fn signature(attributes: &[u8]) -> Vec<u8> {
        let signer =
            value(SEQUENCE, &[&value(2, &[&[1]]), attributes, &value(SEQUENCE, &[]), &value(OCTETS, &[b"made"])]);
        let data = value(SEQUENCE, &[&value(2, &[&[1]]), &value(SET, &[&signer])]);
        value(SEQUENCE, &[&value(6, &[&[1, 2]]), &value(0xa0, &[&data])])
    }

    fn attribute(name: &[u8], kind: u8, text: &[u8]) -> Vec<u8> {
        value(SEQUENCE, &[&value(6, &[name]), &value(SET, &[&value(kind, &[text])])])
    }

    #[test]
    fn two_signatures_of_different_days_sign_the_same() {
        let at = |time: &[u8; 13]| {
            let others = attribute(&[1, 2, 3], OCTETS, &[7; 100]);
            let mut der = signature(&value(ATTRIBUTES, &[&others, &attribute(SIGNING_TIME, TIME, time)]));
            let parts = Parts::of(&der).unwrap();
            assert_eq!(der.get(parts.signature.clone()), Some(b"made".as_slice()));
            (parts.dated(&mut der).unwrap(), der)
        };
        let (message, der) = at(b"261122072231Z");
        assert_eq!(at(b"250101000000Z"), (message.clone(), der));
        assert_eq!(message.first(), Some(&SET));
        assert!(message.windows(DATE.len()).any(|text| text == DATE));
    }

    #[test]
    fn what_is_no_such_signature_is_told_and_torn_ones_break_nothing() {
        let whole = signature(&value(ATTRIBUTES, &[&attribute(SIGNING_TIME, TIME, b"261122072231Z")]));
        for end in 0..whole.len() {
            assert_eq!(Parts::of(&whole[..end]), None, "{end}");
        }
        let mut undated = signature(&value(ATTRIBUTES, &[&attribute(&[1, 2, 3], OCTETS, b"text")]));
        assert_eq!(Parts::of(&undated).unwrap().dated(&mut undated), None);
        assert_eq!(signature_at(&[0; 1024]), None);
        assert_eq!(sum(&mut [0xff; 64]), None);
    }

    #[test]
    fn keys_of_other_kinds_leave_a_signature_as_it_is() {
        assert!(rsa(b"no key").is_none());
        assert!(rsa(b"-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n").is_none());
    }
}
