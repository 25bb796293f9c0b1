//! The JSON of a header. What is not understood is kept as it is: somebody else may have put it there.

use crate::LuksError;
use crate::error::odd;
use crate::keyslot::Keyslot;
use crate::text::{Bytes, Number};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Keyslots of a header, by the format.
pub(crate) const MOST_SLOTS: u32 = 32;

/// The whole text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Metadata(Value);

/// Where the encrypted data lie and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    #[serde(rename = "type")]
    kind: String,
    offset: Number,
    size: Value,
    iv_tweak: Number,
    encryption: String,
    sector_size: u32,
}

impl Segment {
    pub(crate) fn new(offset: u64, sector: u32) -> Segment {
        Segment {
            kind: "crypt".to_owned(),
            offset: Number(offset),
            size: Value::from("dynamic"),
            iv_tweak: Number(0),
            encryption: crate::keyslot::CIPHER.to_owned(),
            sector_size: sector,
        }
    }

    /// Bytes from the start of the device.
    pub fn offset(&self) -> u64 {
        self.offset.0
    }

    /// Cipher as the kernel names it.
    pub fn cipher(&self) -> &str {
        &self.encryption
    }

    /// Bytes of a sector that is encrypted as one.
    pub fn sector(&self) -> u32 {
        self.sector_size
    }

    /// Number of the first sector as the cipher counts them.
    pub fn tweak(&self) -> u64 {
        self.iv_tweak.0
    }
}

/// Says whether a key is the right one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Check {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) keyslots: Vec<String>,
    pub(crate) segments: Vec<String>,
    pub(crate) hash: String,
    pub(crate) iterations: u32,
    pub(crate) salt: Bytes,
    pub(crate) digest: Bytes,
}

/// What somebody noted beside the keyslots, to open them by other means.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    /// Its number.
    pub id: u32,
    /// Keyslots that it opens.
    pub keyslots: Vec<u32>,
    /// All of it.
    pub value: Value,
}

impl Metadata {
    pub(crate) fn new(segment: &Segment, check: &Check, json_size: u64, keyslots_size: u64) -> Metadata {
        Metadata(json!({
            "keyslots": {}, "tokens": {}, "segments": {"0": segment}, "digests": {"0": check},
            "config": {"json_size": json_size.to_string(), "keyslots_size": keyslots_size.to_string()},
        }))
    }

    pub(crate) fn parse(text: &str) -> Result<Metadata, LuksError> {
        let value: Value = serde_json::from_str(text).map_err(odd)?;
        let whole = ["keyslots", "tokens", "segments", "digests", "config"];
        match whole.into_iter().find(|name| !value.get(name).is_some_and(Value::is_object)) {
            Some(missing) => Err(odd(format!("it has no {missing}"))),
            None => Ok(Metadata(value)),
        }
    }

    pub(crate) fn text(&self) -> String {
        self.0.to_string()
    }

    /// The one segment that is looked at; others are of a re-encryption that was not finished.
    pub(crate) fn segment(&self) -> Result<Segment, LuksError> {
        let segments = self.0.get("segments").and_then(Value::as_object);
        let one = segments.filter(|all| all.len() == 1).and_then(|all| all.values().next());
        let value = one.ok_or_else(|| LuksError::Unknown("more than one segment".to_owned()))?;
        let segment: Segment = serde_json::from_value(value.clone()).map_err(odd)?;
        if segment.kind != "crypt" || segment.size != "dynamic" {
            return Err(LuksError::Unknown(format!("a segment of type {}, size {}", segment.kind, segment.size)));
        }
        if segment.encryption != crate::keyslot::CIPHER {
            return Err(LuksError::Unknown(format!("cipher {}", segment.encryption)));
        }
        Ok(segment)
    }

    /// Keyslots by number. One that is not understood is none for us.
    pub(crate) fn keyslots(&self) -> Vec<(u32, Keyslot)> {
        let slots = self.0.get("keyslots").and_then(Value::as_object);
        let read = |(id, slot): (&String, &Value)| Some((id.parse().ok()?, serde_json::from_value(slot.clone()).ok()?));
        slots.into_iter().flatten().take(MOST_SLOTS as usize).filter_map(read).collect()
    }

    pub(crate) fn keyslots_end(&self) -> u64 {
        let size = self.0.pointer("/config/keyslots_size").and_then(Value::as_str);
        size.and_then(|size| size.parse().ok()).unwrap_or(0)
    }

    /// What checks the key of a keyslot.
    pub(crate) fn check_of(&self, slot: u32) -> Option<Check> {
        let checks = self.0.get("digests").and_then(Value::as_object)?;
        let all = checks.values().filter_map(|check| serde_json::from_value::<Check>(check.clone()).ok());
        all.into_iter().find(|check| check.keyslots.contains(&slot.to_string()))
    }

    /// Tokens of one type.
    pub(crate) fn tokens(&self, kind: &str) -> Vec<Token> {
        let tokens = self.0.get("tokens").and_then(Value::as_object);
        let of = |token: &&Value| token.get("type").and_then(Value::as_str) == Some(kind);
        let read = |(id, token): (&String, &Value)| {
            let slots = token.get("keyslots").and_then(Value::as_array)?;
            let keyslots = slots.iter().filter_map(|slot| slot.as_str()?.parse().ok()).collect();
            Some(Token { id: id.parse().ok()?, keyslots, value: token.clone() })
        };
        tokens.into_iter().flatten().filter(|(_, token)| of(token)).filter_map(read).collect()
    }

    pub(crate) fn set_keyslot(&mut self, slot: u32, keyslot: &Keyslot) -> Result<(), LuksError> {
        let value = serde_json::to_value(keyslot).map_err(odd)?;
        self.object("keyslots")?.insert(slot.to_string(), value);
        let digests = self.object("digests")?.values_mut();
        for keyslots in digests.filter_map(|digest| digest.get_mut("keyslots")?.as_array_mut()) {
            let name = Value::from(slot.to_string());
            if !keyslots.contains(&name) {
                keyslots.push(name);
            }
        }
        Ok(())
    }

    /// Puts a token under its number, or under the first that is free.
    pub(crate) fn set_token(&mut self, id: Option<u32>, value: Value) -> Result<(), LuksError> {
        let tokens = self.object("tokens")?;
        let free = (0..MOST_SLOTS).find(|number| !tokens.contains_key(&number.to_string()));
        let id = id.or(free).ok_or(LuksError::Full)?;
        tokens.insert(id.to_string(), value);
        Ok(())
    }

    fn object(&mut self, name: &str) -> Result<&mut Map<String, Value>, LuksError> {
        self.0.get_mut(name).and_then(Value::as_object_mut).ok_or_else(|| odd(format!("it has no {name}")))
    }
}
