//! Encrypting a partition: a new key, its keyslots, an empty file system. The header that makes it a volume comes last.

use super::open::{map, put};
use super::{HEADER, Order, at, blank, noise, tpm, wipe};
use rk_luks::{Cost, Header, Secret};
use std::fs::File;
use std::path::Path;

/// Formats and opens; the answer says what opens it from now on.
pub fn format(order: &Order) -> Result<String, String> {
    let told = |err: rk_luks::LuksError| err.to_string();
    let (device, binding) = (&order.device, order.binding.as_deref());
    let file = at(device.display(), File::options().read(true).write(true).open(device))?;
    let (mut header, key) = Header::new(&order.label, &mut noise).map_err(told)?;
    let (mut areas, mut by) = (Vec::new(), Vec::new());
    if !order.pcrs.is_empty() {
        // First: a machine without a TPM loses nothing.
        let (secret, sealed) = tpm::seal(&order.pcrs, binding)?;
        let (slot, area) = header.set_key(None, &key, &secret, Cost::Random, &mut noise).map_err(told)?;
        header.set_token(None, tpm::token(&sealed, slot, binding.is_some())).map_err(told)?;
        areas.push(area);
        by.push("the TPM");
    }
    for passphrase in &order.passphrases {
        let secret = Secret::new(passphrase.clone().into_bytes());
        let (_, area) = header.set_key(None, &key, &secret, Cost::Passphrase, &mut noise).map_err(told)?;
        areas.push(area);
        by.push("a passphrase");
    }
    if areas.is_empty() {
        return Err("nothing would open it".to_owned());
    }
    let segment = header.segment().map_err(told)?;
    if segment.offset() != HEADER {
        return Err(format!("the header has no {HEADER} bytes"));
    }
    wipe(device)?;
    put(&file, areas)?;
    let mapped = map(order, &header, &key)?;
    let made = blank::write(Path::new(&mapped), &order.label);
    let headers = header.encode(&mut noise).map_err(told);
    if let Err(reason) = made.map(drop).and(headers.and_then(|headers| put(&file, headers))) {
        let _ = rk_sys::close_mapped(&order.name);
        return Err(reason);
    }
    Ok(by.join(" and "))
}
