//! Keys that a TPM keeps: sealed blobs as tokens of a LUKS2 header.

use super::noise;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rk_luks::{Secret, Token};
use rk_tpm::Sealed;
use serde_json::{Map, Value, json};
use std::fs::File;
use std::path::Path;

/// Type of our tokens; fields are named as `systemd-tpm2` names them, where they mean the same.
pub const TOKEN: &str = "rk-tpm2";
/// The kernel's own manager of a TPM's small memory stands behind this one.
const DEVICE: &str = "/dev/tpmrm0";
const SECRET: usize = 32;
/// In a token: the TPM's secret is half of it, and STATE has the other.
const BOUND: &str = "rk-bound";
/// Why half of a secret opens nothing.
pub const ANOTHER_STATE: &str = "it belongs to another STATE than this one, which was reset or exchanged";
const ANOTHER_DATA: &str = "it is not the one that belongs to this machine's STATE, and was reset or exchanged";

/// Makes a secret and seals it to what the machine measures now. The secret that opens is that, joined with `binding`.
pub fn seal(pcrs: &[u8], binding: Option<&str>) -> Result<(Secret, Sealed), String> {
    let mut secret = vec![0; SECRET];
    noise(&mut secret).map_err(|err| err.to_string())?;
    let sealed = rk_tpm::seal(&mut device()?, &secret, pcrs).map_err(|err| err.to_string())?;
    Ok((joined(secret, binding), sealed))
}

fn joined(mut secret: Vec<u8>, binding: Option<&str>) -> Secret {
    secret.extend(binding.unwrap_or_default().as_bytes());
    Secret::new(secret)
}

/// Whether STATE has a part in opening by this token.
pub fn is_bound(token: &Token) -> bool {
    token.value.get(BOUND).and_then(Value::as_bool) == Some(true)
}

/// Either both know of each other or neither does.
fn fits(bound: bool, binding: Option<&str>) -> Result<(), String> {
    match (bound, binding) {
        (true, None) => Err(ANOTHER_STATE.to_owned()),
        (false, Some(_)) => Err(ANOTHER_DATA.to_owned()),
        (true, Some(_)) | (false, None) => Ok(()),
    }
}

/// Has the TPM give back what the token holds, and joins it with `binding`.
pub fn unseal(token: &Token, binding: Option<&str>) -> Result<Secret, String> {
    fits(is_bound(token), binding)?;
    let sealed = read(&token.value).ok_or("the header's TPM token is torn")?;
    let secret = rk_tpm::unseal(&mut device()?, &sealed).map_err(|err| err.to_string())?;
    Ok(joined(secret, binding))
}

fn device() -> Result<File, String> {
    if !Path::new(DEVICE).exists() {
        return Err("this machine has no TPM 2.0".to_owned());
    }
    File::options().read(true).write(true).open(DEVICE).map_err(|err| format!("{DEVICE}: {err}"))
}

/// The token that says how `slot` is opened.
pub fn token(sealed: &Sealed, slot: u32, bound: bool) -> Value {
    let pcrs: Vec<u8> = sealed.pcrs.iter().map(|(pcr, _)| *pcr).collect();
    let values: Map<String, Value> =
        sealed.pcrs.iter().map(|(pcr, value)| (pcr.to_string(), hex::encode(value).into())).collect();
    json!({
        "type": TOKEN, "keyslots": [slot.to_string()], "tpm2-blob": STANDARD.encode(&sealed.blob),
        "tpm2-pcrs": pcrs, "tpm2-pcr-bank": "sha256", "tpm2-primary-alg": "ecc", "rk-pcr-values": values, BOUND: bound,
    })
}

fn read(token: &Value) -> Option<Sealed> {
    let blob = STANDARD.decode(token.get("tpm2-blob")?.as_str()?).ok()?;
    let numbers = token.get("tpm2-pcrs")?.as_array()?.iter().map(|pcr| u8::try_from(pcr.as_u64()?).ok());
    let pcrs = numbers.collect::<Option<Vec<u8>>>()?;
    let value = |pcr: u8| {
        let text = token.get("rk-pcr-values").and_then(|values| values.get(pcr.to_string())?.as_str());
        hex::decode(text.unwrap_or_default()).unwrap_or_default()
    };
    Some(Sealed { blob, pcrs: pcrs.into_iter().map(|pcr| (pcr, value(pcr))).collect() })
}

/// The PCRs that a token is sealed to.
pub fn pcrs(token: &Token) -> Vec<u8> {
    read(&token.value).map(|sealed| sealed.pcrs.into_iter().map(|(pcr, _)| pcr).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_volume_wants_its_own_state_and_a_state_its_own_volume() {
        let sealed = Sealed { blob: vec![1], pcrs: Vec::new() };
        let at = |bound| Token { id: 0, keyslots: Vec::new(), value: token(&sealed, 0, bound) };
        for (bound, binding, fine) in
            [(true, Some("a"), true), (true, None, false), (false, Some("a"), false), (false, None, true)]
        {
            assert_eq!(fits(is_bound(&at(bound)), binding).is_ok(), fine, "{bound} {binding:?}");
        }
        let old = Token { id: 0, keyslots: Vec::new(), value: json!({"type": TOKEN}) };
        assert!(!is_bound(&old));
        assert_ne!(joined(vec![1], Some("a")).bytes(), joined(vec![1], None).bytes());
    }

    #[test]
    fn a_token_reads_back_and_a_torn_one_is_none() {
        let sealed = Sealed { blob: vec![1, 2, 3], pcrs: vec![(7, vec![0xaa; 32]), (11, vec![0xbb; 32])] };
        let token = token(&sealed, 0, false);
        assert_eq!(read(&token), Some(sealed));
        for key in ["tpm2-blob", "tpm2-pcrs"] {
            for wrong in [Value::Null, json!("?"), json!([-1]), json!(["7"])] {
                let mut torn = token.clone();
                torn[key] = wrong;
                assert_eq!(read(&torn), None, "{key}");
            }
        }
    }
}
