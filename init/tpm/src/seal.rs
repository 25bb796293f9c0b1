//! Sealing and unsealing.

use crate::command::{Buffer, Command};
use crate::response::{Reader, ask};
use crate::{TpmError, Transport};

/// The highest PCR there is.
pub const MOST_PCR: u8 = 23;

const OWNER: u32 = 0x4000_0001;
const NULL: u32 = 0x4000_0007;
const ALG_SHA256: u16 = 0x000b;
const ALG_AES: u16 = 0x0006;
const ALG_CFB: u16 = 0x0043;
const ALG_ECC: u16 = 0x0023;
const ALG_KEYED_HASH: u16 = 0x0008;
const ALG_NULL: u16 = 0x0010;
const NIST_P256: u16 = 0x0003;
/// fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA, restricted, decrypt: a storage key.
const STORAGE_KEY: u32 = 0x0003_0472;
/// fixedTPM, fixedParent, noDA: got back by its policy alone.
const SEALED_OBJECT: u32 = 0x0000_0412;
const POLICY: u8 = 1;
const TRIAL: u8 = 3;
/// Any value will do: nothing here is protected by the session's nonce.
const NONCE: [u8; 16] = [0x72; 16];

/// A secret that only the TPM which sealed it gives back, while these PCRs are what they were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// `TPM2B_PRIVATE` and behind it `TPM2B_PUBLIC`.
    pub blob: Vec<u8>,
    /// PCRs of the SHA-256 bank and what was in them then.
    pub pcrs: Vec<(u8, Vec<u8>)>,
}

/// Seals a secret of at most 128 bytes to what is in these PCRs now.
///
/// # Errors
/// The TPM refuses, lacks a PCR, or cannot be spoken with.
pub fn seal(tpm: &mut dyn Transport, secret: &[u8], pcrs: &[u8]) -> Result<Sealed, TpmError> {
    let values = pcrs.iter().map(|pcr| Ok((*pcr, read_pcr(tpm, *pcr)?))).collect::<Result<Vec<_>, TpmError>>()?;
    let policy = policy(tpm, pcrs)?;
    let parent = primary(tpm)?;
    let sealed = create(tpm, parent, secret, &policy);
    flush(tpm, parent);
    Ok(Sealed { blob: sealed?, pcrs: values })
}

/// Gets the secret back.
///
/// # Errors
/// It was sealed by another TPM or to other measurements, which are named; or the TPM cannot be spoken with.
pub fn unseal(tpm: &mut dyn Transport, sealed: &Sealed) -> Result<Vec<u8>, TpmError> {
    let parent = primary(tpm)?;
    let loaded = load(tpm, parent, &sealed.blob);
    flush(tpm, parent);
    let object = loaded?;
    let pcrs: Vec<u8> = sealed.pcrs.iter().map(|(pcr, _)| *pcr).collect();
    let secret = open(tpm, object, &pcrs);
    flush(tpm, object);
    match secret {
        Err(TpmError::Measured { .. }) => Err(TpmError::Measured { which: changed(tpm, sealed) }),
        other => other,
    }
}

/// What is in a PCR of the SHA-256 bank.
///
/// # Errors
/// The bank is switched off, or the TPM cannot be spoken with.
pub fn read_pcr(tpm: &mut dyn Transport, pcr: u8) -> Result<Vec<u8>, TpmError> {
    let command = Command::new("PCR_Read", 0x17e, &[]).with(|p| selection(p, &[pcr]));
    let answer = ask(tpm, &command, false)?.parameters;
    let mut reader = Reader::of(command.name, &answer);
    reader.u32()?;
    for _ in 0..reader.u32()?.min(16) {
        reader.u16()?;
        let size = reader.u8()?;
        reader.take(usize::from(size))?;
    }
    match reader.u32()? {
        1 => Ok(reader.sized()?.to_vec()),
        _ => Err(TpmError::NoPcr(pcr)),
    }
}

/// Which PCRs differ, for the operator.
fn changed(tpm: &mut dyn Transport, sealed: &Sealed) -> String {
    let differs = |tpm: &mut dyn Transport, pcr: u8, value: &[u8]| read_pcr(tpm, pcr).is_ok_and(|now| now != value);
    let names: Vec<String> = sealed
        .pcrs
        .iter()
        .filter(|(pcr, value)| differs(tpm, *pcr, value))
        .map(|(pcr, _)| format!("PCR {pcr}"))
        .collect();
    if names.is_empty() { "its PCRs".to_owned() } else { names.join(", ") }
}

/// The storage key: the same one each time, for the TPM derives it from its seed.
fn primary(tpm: &mut dyn Transport) -> Result<u32, TpmError> {
    let public = Buffer::built(|p| {
        p.u16(ALG_ECC).u16(ALG_SHA256).u32(STORAGE_KEY).sized(&[]);
        p.u16(ALG_AES).u16(128).u16(ALG_CFB).u16(ALG_NULL).u16(NIST_P256).u16(ALG_NULL);
        p.sized(&[]).sized(&[]);
    });
    let command = Command::new("CreatePrimary", 0x131, &[OWNER]).by_password().with(|p| {
        p.sized(&[0; 4]).sized(&public).sized(&[]).u32(0);
    });
    Ok(ask(tpm, &command, true)?.handle)
}

fn create(tpm: &mut dyn Transport, parent: u32, secret: &[u8], policy: &[u8]) -> Result<Vec<u8>, TpmError> {
    let sensitive = Buffer::built(|p| {
        p.sized(&[]).sized(secret);
    });
    let public = Buffer::built(|p| {
        p.u16(ALG_KEYED_HASH).u16(ALG_SHA256).u32(SEALED_OBJECT).sized(policy).u16(ALG_NULL).sized(&[]);
    });
    let command = Command::new("Create", 0x153, &[parent]).by_password().with(|p| {
        p.sized(&sensitive).sized(&public).sized(&[]).u32(0);
    });
    let answer = ask(tpm, &command, false)?.parameters;
    let mut reader = Reader::of(command.name, &answer);
    let (private, public) = (reader.sized()?, reader.sized()?);
    Ok(Buffer::built(|p| {
        p.sized(private).sized(public);
    }))
}

fn load(tpm: &mut dyn Transport, parent: u32, blob: &[u8]) -> Result<u32, TpmError> {
    let mut reader = Reader::of("Load", blob);
    let (private, public) = (reader.sized()?, reader.sized()?);
    let command = Command::new("Load", 0x157, &[parent]).by_password().with(|p| {
        p.sized(private).sized(public);
    });
    Ok(ask(tpm, &command, true)?.handle)
}

fn open(tpm: &mut dyn Transport, object: u32, pcrs: &[u8]) -> Result<Vec<u8>, TpmError> {
    let session = begin(tpm, POLICY, pcrs)?;
    let command = Command::new("Unseal", 0x15e, &[object]).by_session(session);
    match ask(tpm, &command, false) {
        Ok(answer) => Ok(Reader::of(command.name, &answer.parameters).sized()?.to_vec()),
        Err(err) => {
            flush(tpm, session);
            Err(err)
        }
    }
}

/// What a session must have been told before an object with this policy opens.
fn policy(tpm: &mut dyn Transport, pcrs: &[u8]) -> Result<Vec<u8>, TpmError> {
    let session = begin(tpm, TRIAL, pcrs)?;
    let command = Command::new("PolicyGetDigest", 0x189, &[session]);
    let answer = ask(tpm, &command, false);
    flush(tpm, session);
    Ok(Reader::of(command.name, &answer?.parameters).sized()?.to_vec())
}

/// A session that was shown what is in the PCRs now.
fn begin(tpm: &mut dyn Transport, kind: u8, pcrs: &[u8]) -> Result<u32, TpmError> {
    let command = Command::new("StartAuthSession", 0x176, &[NULL, NULL]).with(|p| {
        p.sized(&NONCE).sized(&[]).u8(kind).u16(ALG_NULL).u16(ALG_SHA256);
    });
    let session = ask(tpm, &command, true)?.handle;
    let shown = Command::new("PolicyPCR", 0x17f, &[session]).with(|p| {
        p.sized(&[]);
        selection(p, pcrs);
    });
    match ask(tpm, &shown, false) {
        Ok(_) => Ok(session),
        Err(err) => {
            flush(tpm, session);
            Err(err)
        }
    }
}

/// Forgets an object or session. A TPM that cannot is left to the kernel, which forgets what a closed descriptor had.
fn flush(tpm: &mut dyn Transport, handle: u32) {
    let command = Command::new("FlushContext", 0x165, &[]).with(|p| {
        p.u32(handle);
    });
    let _ = ask(tpm, &command, false);
}

fn selection(p: &mut Buffer, pcrs: &[u8]) {
    let bits = pcrs.iter().filter(|pcr| **pcr <= MOST_PCR).fold(0u32, |bits, pcr| bits | 1 << pcr);
    let [a, b, c, _] = bits.to_le_bytes();
    p.u32(1).u16(ALG_SHA256).u8(3).raw(&[a, b, c]);
}
