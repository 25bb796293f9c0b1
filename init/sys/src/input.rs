//! Input events: the power button of ACPI machines arrives as a key.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;

/// Code of the power key in linux/input-event-codes.h.
pub const KEY_POWER: u16 = 116;

const EVENT_SIZE: usize = 24;
const EV_KEY: u16 = 1;

/// A key that went down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyPress {
    /// Key code.
    pub code: u16,
}

/// Opens every input device, never waiting on reads. A machine without any gives none.
pub fn open_input_devices() -> Vec<File> {
    let Ok(entries) = fs::read_dir("/dev/input") else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("event"))
        .filter_map(|entry| {
            OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(entry.path()).ok()
        })
        .collect()
}

/// Finds the key presses in what a device was read to hold: whole `struct input_event`s of a 64-bit kernel.
pub fn decode_key_presses(bytes: &[u8]) -> Vec<KeyPress> {
    bytes
        .chunks_exact(EVENT_SIZE)
        .filter_map(|event| {
            let kind = u16::from_ne_bytes(event.get(16..18)?.try_into().ok()?);
            let code = u16::from_ne_bytes(event.get(18..20)?.try_into().ok()?);
            let value = i32::from_ne_bytes(event.get(20..24)?.try_into().ok()?);
            (kind == EV_KEY && value == 1).then_some(KeyPress { code })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: u16, code: u16, value: i32) -> Vec<u8> {
        let mut bytes = vec![0; 16];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(code.to_ne_bytes());
        bytes.extend(value.to_ne_bytes());
        bytes
    }

    #[test]
    fn a_key_press_is_told_from_release_and_other_events() {
        let mut bytes = event(EV_KEY, KEY_POWER, 1);
        bytes.extend(event(EV_KEY, KEY_POWER, 0));
        bytes.extend(event(0, 0, 0));
        bytes.extend([1, 2, 3]);
        assert_eq!(decode_key_presses(&bytes), [KeyPress { code: KEY_POWER }]);
    }
}
