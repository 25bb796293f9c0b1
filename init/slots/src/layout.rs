//! Where the slots of a running machine lie, as PID 1 tells it through its socket: a line per fact.

use crate::Slot;

/// The disk that a machine runs from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The slot that runs.
    pub booted: Slot,
    /// Its root hash in hex.
    pub hash: String,
    /// The disk.
    pub disk: String,
    /// The partition of the other slot.
    pub other: String,
    /// Where the EFI partition is mounted while it is open; empty otherwise.
    pub esp: String,
    /// The slot that runs is on trial.
    pub trial: bool,
}

impl Layout {
    /// The text.
    pub fn encode(&self) -> String {
        let Layout { booted, hash, disk, other, esp, trial } = self;
        format!("booted {booted}\nhash {hash}\ndisk {disk}\nother {other}\nesp {esp}\ntrial {}\n", u8::from(*trial))
    }

    /// Reads the text.
    pub fn decode(text: &str) -> Option<Layout> {
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
        let owned = |key: &str| value(key).map(str::to_owned);
        Some(Layout {
            booted: Slot::of_letter(value("booted")?)?,
            hash: owned("hash")?,
            disk: owned("disk")?,
            other: owned("other")?,
            esp: owned("esp")?,
            trial: value("trial")? == "1",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_survives_the_socket() {
        let layout = Layout {
            booted: Slot::B,
            hash: "ab".repeat(32),
            disk: "/dev/vda".to_owned(),
            other: "/dev/vda3".to_owned(),
            esp: String::new(),
            trial: true,
        };
        assert_eq!(Layout::decode(&layout.encode()), Some(layout));
        assert_eq!(Layout::decode("nonsense"), None);
    }
}
