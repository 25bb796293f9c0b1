//! What a machine consists of.

use super::drive::{Bus, Drive};
use super::firmware::Firmware;
use crate::Accel;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The board.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Machine {
    /// virtio-mmio only: boots fastest.
    #[default]
    Microvm,
    /// A PC with PCIe.
    Q35,
}

/// A TCP port of the host that leads to a port of the guest through the uplink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forward {
    /// Where the host listens.
    pub host: SocketAddr,
    /// Port in the guest.
    pub guest: u16,
}

/// A network card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Nic {
    /// Slirp: DHCP, NAT, the host at 10.0.2.2, forwarded ports.
    Uplink {
        /// Address of the card.
        mac: String,
        /// Ports of the host that lead in.
        forwards: Vec<Forward>,
    },
    /// As an uplink, where clouds are: a connection to port 80 of 169.254.169.254 leads to a process of its own, by its standard input and output.
    Cloud {
        /// Address of the card.
        mac: String,
        /// The process, as a shell would be told.
        service: String,
        /// Ports of the host that lead in.
        forwards: Vec<Forward>,
    },
    /// A port of a [`crate::switch::Switch`], by its socket.
    Switch {
        /// Address of the card.
        mac: String,
        /// The listening socket of the port.
        socket: PathBuf,
    },
    /// A port of a [`crate::switch::Switch`] behind a card of this model, at this place on the PCI bus of a [`Machine::Q35`].
    Card {
        /// Address of the card.
        mac: String,
        /// The listening socket of the port.
        socket: PathBuf,
        /// QEMU's name of the model.
        model: &'static str,
        /// Its device number.
        place: u8,
    },
    /// A wire that a tap device of the namespace that QEMU runs in and a port of a [`crate::switch::Switch`] share; the card boots.
    Shared {
        /// Address of the card.
        mac: String,
        /// Name of the tap device.
        tap: String,
        /// The listening socket of the port.
        socket: PathBuf,
    },
    /// Slirp that also serves network boot: DHCP tells `file`, TFTP hands out what is in `folder`.
    Netboot {
        /// Address of the card.
        mac: String,
        /// What TFTP serves.
        folder: PathBuf,
        /// The boot file.
        file: String,
        /// Ports of the host that lead in.
        forwards: Vec<Forward>,
    },
}

/// A machine to be.
#[derive(Debug, Clone)]
pub struct VmSpec {
    /// Name of files and messages.
    pub name: String,
    /// Folder of logs.
    pub dir: PathBuf,
    /// Folder of sockets; its path must leave room within the 107 bytes of a socket's path.
    pub sockets: PathBuf,
    /// The board.
    pub machine: Machine,
    /// The accelerator.
    pub accel: Accel,
    /// Processors.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Memory nodes, each with a socket of its own; processors and memory are shared out evenly.
    pub memory_nodes: u32,
    /// Boots the machine's own media, or the kernel when one is named below, as an EFI program; else QEMU loads the kernel.
    pub firmware: Option<Firmware>,
    /// A bzImage.
    pub kernel: PathBuf,
    /// Initial RAM file system.
    pub initramfs: Option<PathBuf>,
    /// Words of the kernel's command line.
    pub cmdline: Vec<String>,
    /// Block devices, in order.
    pub drives: Vec<Drive>,
    /// Network cards, in order.
    pub nics: Vec<Nic>,
    /// What the hardware clock says at the start, such as `2016-11-21T08:00:00`; the true time when absent.
    pub clock: Option<String>,
    /// A program with its first arguments that QEMU is started by, such as one that makes a namespace for it.
    pub starter: Vec<String>,
    /// Socket of a TPM.
    pub tpm: Option<PathBuf>,
    /// A restart is one, with the memory as it was; else it ends the machine.
    pub restarts: bool,
    /// A machine config that QEMU hands over by `fw_cfg`.
    pub fw_cfg: Option<PathBuf>,
    /// What the firmware of a [`Machine::Q35`] tells of the machine, as options of `-smbios`.
    pub smbios: Vec<String>,
    /// A watchdog on the PCI bus of a [`Machine::Q35`], which resets the machine when it is not fed.
    pub watchdog: bool,
    /// UEFI boots from the network by HTTP; else it tries PXE first, for minutes where nobody answers.
    pub http_boot: bool,
    /// A VGA card on the PCI bus of a [`Machine::Q35`], whose text [`crate::qmp::Qmp::screen`] reads.
    pub screen: bool,
}

/// Words of the kernel's command line that every machine gets.
///
/// `no_timer_check`: on a busy host an emulated timer ticks too late for the kernel's check of it, which panics then.
const CMDLINE: [&str; 4] = ["console=ttyS0", "quiet", "panic=-1", "no_timer_check"];

impl VmSpec {
    /// A machine without drives and network: one processor, 512 MiB.
    pub fn new(name: &str, dir: &Path, accel: Accel, kernel: &Path, initramfs: Option<&Path>) -> VmSpec {
        VmSpec {
            name: name.to_owned(),
            dir: dir.to_owned(),
            sockets: dir.to_owned(),
            machine: Machine::Microvm,
            accel,
            cpus: 1,
            memory_mib: 512,
            memory_nodes: 1,
            firmware: None,
            kernel: kernel.to_owned(),
            initramfs: initramfs.map(Path::to_owned),
            cmdline: CMDLINE.iter().map(|&word| word.to_owned()).collect(),
            drives: Vec::new(),
            nics: Vec::new(),
            clock: None,
            starter: Vec::new(),
            tpm: None,
            restarts: false,
            fw_cfg: None,
            smbios: Vec::new(),
            watchdog: false,
            http_boot: false,
            screen: false,
        }
    }

    /// A machine that boots its own media: one processor, 1 GiB.
    pub fn firmware(name: &str, dir: &Path, accel: Accel, firmware: Firmware) -> VmSpec {
        VmSpec {
            firmware: Some(firmware),
            machine: Machine::Q35,
            memory_mib: 1024,
            ..VmSpec::new(name, dir, accel, Path::new(""), None)
        }
    }

    /// Adds a virtio block device.
    pub fn drive(self, path: &Path, read_only: bool) -> Self {
        self.drive_on(Bus::Virtio, path, read_only)
    }

    /// Adds a block device; firmware boots from the first one that it can.
    pub fn drive_on(mut self, bus: Bus, path: &Path, read_only: bool) -> Self {
        let extension = path.extension().and_then(|extension| extension.to_str());
        let format = ["qcow2", "vmdk"].into_iter().find(|format| extension == Some(*format)).unwrap_or("raw");
        self.drives.push(Drive { path: path.to_owned(), read_only, bus, sector: 512, format });
        self
    }

    /// Adds a network card.
    pub fn nic(mut self, nic: Nic) -> Self {
        self.nics.push(nic);
        self
    }

    /// Log of the console.
    pub fn console_log(&self) -> PathBuf {
        self.dir.join(format!("{}.console.log", self.name))
    }

    /// What QEMU itself printed.
    pub fn qemu_log(&self) -> PathBuf {
        self.dir.join(format!("{}.qemu.log", self.name))
    }

    /// Socket of the console, for people.
    pub fn console_socket(&self) -> PathBuf {
        self.sockets.join(format!("{}.tty", self.name))
    }

    /// Socket of the monitor.
    pub fn qmp_socket(&self) -> PathBuf {
        self.sockets.join(format!("{}.qmp", self.name))
    }
}
