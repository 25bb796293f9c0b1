//! Disks and partitions, and what is on them.

use super::{line, mounts};
use rk_machine_proto::v1::Disk;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The kernel counts sizes in these, whatever the disk's own sectors are.
const UNIT: u64 = 512;
const MOST: usize = 512;

/// All of them, in order of name; loop and RAM disks left out.
pub fn read() -> Vec<Disk> {
    let Ok(devices) = rk_sys::block_devices() else { return Vec::new() };
    let mounted: BTreeMap<String, String> =
        mounts::read().into_iter().map(|mount| (mount.source, mount.target)).collect();
    devices.into_iter().take(MOST).map(|device| one(&device, &mounted)).collect()
}

fn one(device: &rk_sys::BlockDevice, mounted: &BTreeMap<String, String>) -> Disk {
    let class = Path::new("/sys/class/block").join(&device.name);
    let whole = fs::canonicalize(&class).unwrap_or_else(|_| class.clone());
    let partition = class.join("partition").exists();
    let parent = whole.parent().filter(|_| partition);
    let base = parent.unwrap_or(&whole);
    let fact = |name: &str| line(base.join(name));
    let path = device.path.display().to_string();
    // A disk that cannot be read is listed all the same.
    let found = rk_sys::read_superblock(&device.path).ok().flatten();
    Disk {
        size_bytes: line(class.join("size")).parse::<u64>().unwrap_or(0).saturating_mul(UNIT),
        sector_bytes: fact("queue/logical_block_size").parse().unwrap_or(0),
        model: fact("device/model"),
        serial: [fact("device/serial"), fact("serial")].into_iter().find(|text| !text.is_empty()).unwrap_or_default(),
        bus: bus(&whole).to_owned(),
        rotational: fact("queue/rotational") == "1",
        read_only: line(class.join("ro")) == "1",
        parent: parent.and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        filesystem: found.as_ref().map(|found| found.fstype.to_owned()).unwrap_or_default(),
        label: found.map(|found| found.label).unwrap_or_default(),
        mounted_on: mounted.get(&path).cloned().unwrap_or_default(),
        name: device.name.clone(),
        path,
    }
}

/// How the disk is attached, by its place in the device tree.
fn bus(device: &Path) -> &'static str {
    let text = device.display().to_string();
    const BUSES: [(&str, &str); 6] = [
        ("/nvme", "nvme"),
        ("/usb", "usb"),
        ("/ata", "ata"),
        ("/virtio", "virtio"),
        ("/mmc", "mmc"),
        ("/host", "scsi"),
    ];
    BUSES.iter().find(|(mark, _)| text.contains(mark)).map_or("", |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bus_is_told_by_the_place_in_the_device_tree() {
        let table = [
            ("/sys/devices/pci0000:00/0000:00:03.0/virtio1/block/vda", "virtio"),
            ("/sys/devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/block/sda", "ata"),
            ("/sys/devices/pci0000:00/0000:00:04.0/nvme/nvme0/nvme0n1", "nvme"),
            ("/sys/devices/pci0000:00/0000:00:14.0/usb1/1-1/host6/target6:0:0/6:0:0:0/block/sdb", "usb"),
            ("/sys/devices/virtual/block/dm-0", ""),
        ];
        for (path, wanted) in table {
            assert_eq!(bus(Path::new(path)), wanted, "{path}");
        }
    }
}
