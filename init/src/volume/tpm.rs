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

/// Makes a secret and seals it to what the machine measures now.
pub fn seal(pcrs: &[u8]) -> Result<(Secret, Sealed), String> {
    let mut secret = vec![0; SECRET];
    noise(&mut secret).map_err(|err| err.to_string())?;
    let sealed = rk_tpm::seal(&mut device()?, &secret, pcrs).map_err(|err| err.to_string())?;
    Ok((Secret::new(secret), sealed))
}

/// Has the TPM give back what the token holds.
pub fn unseal(token: &Token) -> Result<Secret, String> {
    let sealed = read(&token.value).ok_or("the header's TPM token is torn")?;
    rk_tpm::unseal(&mut device()?, &sealed).map(Secret::new).map_err(|err| err.to_string())
}

fn device() -> Result<File, String> {
    if !Path::new(DEVICE).exists() {
        return Err("this machine has no TPM 2.0".to_owned());
    }
    File::options().read(true).write(true).open(DEVICE).map_err(|err| format!("{DEVICE}: {err}"))
}

/// The token that says how `slot` is opened.
pub fn token(sealed: &Sealed, slot: u32) -> Value {
    let pcrs: Vec<u8> = sealed.pcrs.iter().map(|(pcr, _)| *pcr).collect();
    let values: Map<String, Value> =
        sealed.pcrs.iter().map(|(pcr, value)| (pcr.to_string(), hex::encode(value).into())).collect();
    json!({
        "type": TOKEN, "keyslots": [slot.to_string()], "tpm2-blob": STANDARD.encode(&sealed.blob),
        "tpm2-pcrs": pcrs, "tpm2-pcr-bank": "sha256", "tpm2-primary-alg": "ecc", "rk-pcr-values": values,
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
    fn a_token_reads_back_and_a_torn_one_is_none() {
        let sealed = Sealed { blob: vec![1, 2, 3], pcrs: vec![(7, vec![0xaa; 32]), (11, vec![0xbb; 32])] };
        let token = token(&sealed, 0);
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
