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
        serial: first([
            fact("device/serial"),
            fact("serial"),
            unit_serial(&base.join("device/vpd_pg80")),
            usb_serial(base),
        ]),
        wwid: words(&first([fact("wwid"), fact("device/wwid")])),
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

fn first<const N: usize>(texts: [String; N]) -> String {
    texts.into_iter().find(|text| !text.is_empty()).unwrap_or_default()
}

/// With one blank where there were more: makers pad what they say.
fn words(text: &str) -> String {
    text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

/// Disks behind SCSI, SATA ones among them, tell their serial number in a page of their own.
fn unit_serial(page: &Path) -> String {
    fs::read(page).ok().as_deref().and_then(serial_of_page).unwrap_or_default()
}

/// SPC's page 0x80: four bytes of head, with the length in the last two, and ASCII.
fn serial_of_page(page: &[u8]) -> Option<String> {
    let (head, rest) = page.split_first_chunk::<4>()?;
    let [_, 0x80, high, low] = *head else { return None };
    let text = rest.get(..usize::from(u16::from_be_bytes([high, low])))?;
    let text = std::str::from_utf8(text).ok()?.trim_matches(['\0', ' ']);
    text.chars().all(|c| c.is_ascii_graphic() || c == ' ').then(|| words(text))
}

/// A stick's is that of the USB device which it is.
fn usb_serial(disk: &Path) -> String {
    let device = disk.ancestors().find(|above| above.join("idVendor").exists());
    device.map(|device| line(device.join("serial"))).unwrap_or_default()
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
    fn a_serial_number_is_read_out_of_its_page() {
        let table: [(&[u8], Option<&str>); 6] = [
            (b"\0\x80\0\x08  QM0001", Some("QM0001")),
            (b"\0\x80\0\x04ab \0and more", Some("ab")),
            (b"\0\x80\0\x09short", None),
            (b"\0\x83\0\x02ab", None),
            (b"\0\x80\0\x02\x01\x02", None),
            (b"\0\x80", None),
        ];
        for (page, wanted) in table {
            assert_eq!(serial_of_page(page).as_deref(), wanted, "{page:?}");
        }
        assert_eq!(words("t10.ATA     QEMU HARDDISK   QM00001  "), "t10.ATA QEMU HARDDISK QM00001");
    }

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
