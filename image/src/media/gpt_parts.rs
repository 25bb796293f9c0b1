//! The partitions of our media.

use rk_gpt::{Guid, Partition};
use sha2::{Digest, Sha256};

/// An identity that follows from `seed` and `name`: the same input gives the same disk.
pub(crate) fn derived(seed: &[u8], name: &str) -> Guid {
    let mut hasher = Sha256::new();
    hasher.update(seed);
    hasher.update(name);
    let digest: [u8; 32] = hasher.finalize().into();
    let mut id = [0; 16];
    id.copy_from_slice(digest.split_at(16).0);
    Guid::custom(id)
}

/// A partition of `disk`.
pub(crate) fn partition(disk: Guid, kind: Guid, name: &str, first: u64, last: u64) -> Partition {
    Partition { kind, id: derived(&disk.0, name), first, last, attributes: 0, name: name.to_owned() }
}

/// The EFI system partition.
pub(crate) fn efi_partition(disk: Guid, first: u64, last: u64) -> Partition {
    partition(disk, Guid::ESP, "rk-esp", first, last)
}
