//! Block devices of a machine.

use std::path::PathBuf;

/// What a block device is attached to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Bus {
    /// virtio-blk.
    #[default]
    Virtio,
    /// A CD drive on the AHCI controller of the board.
    Cd,
    /// A disk on the AHCI controller of the board.
    Ahci,
    /// A USB stick.
    Usb,
    /// NVMe.
    Nvme,
    /// A SCSI disk behind virtio-scsi.
    Scsi,
}

/// A block device backed by a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drive {
    /// The file.
    pub path: PathBuf,
    /// The guest may not write.
    pub read_only: bool,
    /// How the guest sees it.
    pub bus: Bus,
    /// Bytes of a sector, of disks: 512 or 4096.
    pub sector: u32,
    /// The file's format by QEMU's name, such as `raw`.
    pub format: &'static str,
}

impl Drive {
    /// Arguments for the controllers that `drives` share; boards bring AHCI themselves.
    pub(super) fn controllers(drives: &[Drive]) -> Vec<&'static str> {
        let any = |bus| drives.iter().any(|drive| drive.bus == bus);
        let mut args = Vec::new();
        if any(Bus::Usb) {
            args.extend(["-device", "qemu-xhci,id=usb"]);
        }
        if any(Bus::Scsi) {
            args.extend(["-device", "virtio-scsi-pci,id=scsi"]);
        }
        args
    }

    /// Whether it needs the board's AHCI controller.
    pub(super) fn is_sata(&self) -> bool {
        matches!(self.bus, Bus::Cd | Bus::Ahci)
    }

    /// The device of drive number `n`; `virtio` is the bus of the board's virtio devices, `boot` is its turn among what the firmware tries.
    pub(super) fn device(&self, n: usize, virtio: &str, boot: Option<usize>) -> String {
        let device = match self.bus {
            Bus::Virtio => format!("virtio-blk-{virtio},drive=disk{n}"),
            Bus::Cd => format!("ide-cd,bus=ide.{n},drive=disk{n}"),
            Bus::Ahci => format!("ide-hd,bus=ide.{n},serial=rk{n},drive=disk{n}"),
            Bus::Usb => format!("usb-storage,bus=usb.0,drive=disk{n}"),
            Bus::Nvme => format!("nvme,serial=rk{n},drive=disk{n}"),
            Bus::Scsi => format!("scsi-hd,bus=scsi.0,serial=rk{n},drive=disk{n}"),
        };
        let sector = match self.sector {
            0 | 512 => String::new(),
            bytes => format!(",logical_block_size={bytes},physical_block_size={bytes}"),
        };
        let boot = boot.map_or_else(String::new, |turn| format!(",bootindex={turn}"));
        format!("{device}{sector}{boot}")
    }
}
