//! Opening: by the TPM, else by a passphrase.

use super::{Order, at, noise, tpm};
use rk_luks::{Cost, Header, LuksError, Opened, Secret, Write};
use rk_sys::Crypt;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Opens; the answer says by what. A key that the TPM no longer gives is sealed anew once a passphrase opened the volume.
pub fn open(order: &Order) -> Result<String, String> {
    let (device, binding) = (&order.device, order.binding.as_deref());
    let file = at(device.display(), File::options().read(true).write(true).open(device))?;
    let read = |offset: u64, size: usize| read_at(&file, offset, size);
    let mut header = Header::read(&read).map_err(|err| err.to_string())?;
    let (opened, by) = match by_tpm(&header, binding, &read) {
        Ok(Some(opened)) => (opened, "the TPM".to_owned()),
        tried => {
            let Some(opened) = by_passphrase(&header, &order.passphrases, &read)? else {
                return Err(refusal(tried.err(), &order.passphrases));
            };
            let again = if header.tokens(tpm::TOKEN).is_empty() {
                String::new()
            } else {
                reseal(&mut header, binding, &opened, &file)
            };
            (opened, format!("a passphrase{again}"))
        }
    };
    map(order, &header, &opened.key)?;
    Ok(by)
}

fn refusal(tpm: Option<String>, passphrases: &[String]) -> String {
    let given = if passphrases.is_empty() { "no passphrase is at hand" } else { "no passphrase at hand opens it" };
    tpm.map_or_else(|| given.to_owned(), |reason| format!("{reason}; {given}"))
}

/// `None` when no TPM was ever asked.
fn by_tpm(header: &Header, binding: Option<&str>, read: rk_luks::Source<'_>) -> Result<Option<Opened>, String> {
    let mut last = Ok(None);
    for token in header.tokens(tpm::TOKEN) {
        let opened = tpm::unseal(&token, binding).and_then(|secret| {
            header.open(&secret, Some(&token.keyslots), read).map_err(|err| match err {
                // The TPM gave its half.
                LuksError::WrongSecret if tpm::is_bound(&token) => tpm::ANOTHER_STATE.to_owned(),
                err => err.to_string(),
            })
        });
        match opened {
            Ok(opened) => return Ok(Some(opened)),
            Err(reason) => last = Err(reason),
        }
    }
    last
}

fn by_passphrase(header: &Header, passphrases: &[String], read: rk_luks::Source<'_>) -> Result<Option<Opened>, String> {
    // Deriving a key is dear on purpose: what a TPM opens is not tried.
    let sealed: Vec<u32> = header.tokens(tpm::TOKEN).into_iter().flat_map(|token| token.keyslots).collect();
    let slots: Vec<u32> = header.slots().into_iter().filter(|slot| !sealed.contains(slot)).collect();
    for passphrase in passphrases {
        match header.open(&Secret::new(passphrase.clone().into_bytes()), Some(&slots), read) {
            Ok(opened) => return Ok(Some(opened)),
            Err(LuksError::WrongSecret) => {}
            Err(err) => return Err(err.to_string()),
        }
    }
    Ok(None)
}

/// Lets the TPM open it again from now on; says how that went.
fn reseal(header: &mut Header, binding: Option<&str>, opened: &Opened, file: &File) -> String {
    let mut again = || -> Result<(), String> {
        for token in header.tokens(tpm::TOKEN) {
            let (secret, sealed) = tpm::seal(&tpm::pcrs(&token), binding)?;
            let slot = token.keyslots.first().copied();
            let set = header.set_key(slot, &opened.key, &secret, Cost::Random, &mut noise);
            let (slot, area) = set.map_err(|err| err.to_string())?;
            let set = header.set_token(Some(token.id), tpm::token(&sealed, slot, binding.is_some()));
            set.map_err(|err| err.to_string())?;
            put(file, [area])?;
        }
        put(file, header.encode(&mut noise).map_err(|err| err.to_string())?)
    };
    match again() {
        Ok(()) => ", and by the TPM from now on".to_owned(),
        Err(reason) => format!("; the TPM will not open it next time either: {reason}"),
    }
}

/// Writes one after the other, each to the disk itself before the next.
pub fn put(file: &File, writes: impl IntoIterator<Item = Write>) -> Result<(), String> {
    for Write { offset, bytes } in writes {
        at("writing the header", file.write_all_at(&bytes, offset).and_then(|()| file.sync_all()))?;
    }
    Ok(())
}

/// Makes the decrypted device.
pub fn map(order: &Order, header: &Header, key: &Secret) -> Result<String, String> {
    let segment = header.segment().map_err(|err| err.to_string())?;
    let bytes = rk_sys::device_bytes(&order.device).map_err(|err| rk_sys::chain(&err))?;
    let crypt = Crypt {
        cipher: segment.cipher(),
        key: key.bytes(),
        tweak: segment.tweak(),
        offset: segment.offset(),
        sector: segment.sector(),
    };
    rk_sys::open_crypt(&order.name, Path::new(&order.device), bytes, &crypt).map_err(|err| rk_sys::chain(&err))
}

/// Bytes beyond the end are missing: of a copy of the header that is not there.
pub fn read_at(file: &File, offset: u64, size: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; size];
    let mut done = 0;
    while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset.saturating_add(done as u64))? {
            0 => break,
            more => done += more,
        }
    }
    bytes.truncate(done);
    Ok(bytes)
}
