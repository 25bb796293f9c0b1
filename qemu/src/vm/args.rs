//! How a machine is said to QEMU.

use super::drive::Drive;
use super::firmware::Firmware;
use super::spec::{Forward, Machine, Nic, VmSpec};
use crate::Accel;
use crate::qmp::UPLINK;
use std::path::Path;

impl VmSpec {
    /// The arguments of `qemu-system-x86_64`.
    pub fn args(&self) -> Vec<String> {
        let mut args: Vec<String> = Vec::new();
        let mut add = |words: &[&str]| args.extend(words.iter().map(|w| (*w).to_owned()));
        add(&["-name", &self.name, "-nodefaults", "-no-user-config", "-display", "none"]);
        if !self.restarts {
            add(&["-no-reboot"]);
        }
        add(&["-machine", self.board()]);
        for arg in self.accel.args() {
            // Processors that take turns never run code that another one is patching, which threads of their own do now and then.
            add(&[if self.memory_nodes > 1 { arg.replace("thread=multi", "thread=single") } else { arg.to_owned() }
                .as_str()]);
        }
        add(&["-smp", &self.processors(), "-m", &format!("{}M", self.memory_mib)]);
        for arg in self.memory() {
            add(&[&arg]);
        }
        add(&["-rtc", &format!("base={}", self.clock.as_deref().unwrap_or("utc"))]);
        for arg in self.start() {
            add(&[&arg]);
        }
        let tty = format!(
            "socket,id=tty,path={},server=on,wait=off,logfile={},logappend=on",
            escape(&self.console_socket()),
            escape(&self.console_log())
        );
        add(&["-chardev", &tty, "-serial", "chardev:tty"]);
        let qmp = format!("socket,id=qmp,path={},server=on,wait=off", escape(&self.qmp_socket()));
        add(&["-chardev", &qmp, "-mon", "chardev=qmp,mode=control"]);
        add(&["-object", "rng-random,id=rng,filename=/dev/urandom", "-device", &self.device("rng", "rng=rng")]);
        if let Some(config) = &self.fw_cfg {
            add(&["-fw_cfg", &format!("name=opt/rk/config,file={}", escape(config))]);
        }
        if self.http_boot {
            // OVMF's names of what it may not do (OvmfPkg/Library/PxeBcPcdProducerLib).
            for family in ["IPv4", "IPv6"] {
                add(&["-fw_cfg", &format!("name=opt/org.tianocore/{family}PXESupport,string=n")]);
            }
        }
        for told in &self.smbios {
            add(&["-smbios", told]);
        }
        if self.watchdog {
            add(&["-device", "i6300esb", "-action", "watchdog=reset"]);
        }
        if self.screen {
            add(&["-device", "VGA"]);
        }
        if let Some(tpm) = &self.tpm {
            add(&["-chardev", &format!("socket,id=tpm,path={}", escape(tpm))]);
            add(&["-tpmdev", "emulator,id=tpm0,chardev=tpm", "-device", "tpm-tis,tpmdev=tpm0"]);
        }
        args.extend(self.disks());
        args.extend(self.cards());
        args
    }

    /// Disks, and the controllers that they hang on.
    fn disks(&self) -> Vec<String> {
        let mut args: Vec<String> = Vec::new();
        let mut add = |words: &[&str]| args.extend(words.iter().map(|w| (*w).to_owned()));
        add(&Drive::controllers(&self.drives));
        // The network first, where it boots: a config drive has the mark of what boots, and says that it does not and waits.
        let turns = if self.nics.iter().any(boots) { self.nics.len() } else { 0 };
        // A kernel that firmware is given has the first turn, and needs no second.
        let tried = self.firmware.is_some() && self.kernel == Path::new("");
        for (n, drive) in self.drives.iter().enumerate() {
            let (path, access) = (escape(&drive.path), if drive.read_only { "on" } else { "off" });
            // A crash of the host may cost a disk that is thrown away anyway; a crash of the guest costs nothing.
            let format = drive.format;
            add(&[
                "-drive",
                &format!("id=disk{n},if=none,format={format},cache=unsafe,read-only={access},file={path}"),
            ]);
            add(&["-device", &drive.device(n, self.virtio(), tried.then_some(turns + n))]);
        }
        args
    }

    /// Network cards, and what they are plugged into.
    fn cards(&self) -> Vec<String> {
        let mut args: Vec<String> = Vec::new();
        let mut add = |words: &[&str]| args.extend(words.iter().map(|w| (*w).to_owned()));
        // UEFI boots by itself; the card's own program, iPXE, would come before it.
        let program = if self.firmware.as_ref().is_some_and(Firmware::is_uefi) { ",romfile=" } else { "" };
        for (n, nic) in self.nics.iter().enumerate() {
            let (id, mac, backends) = netdev(n, nic);
            let boot = if boots(nic) { format!(",bootindex={n}{program}") } else { String::new() };
            for backend in backends {
                add(&["-netdev", &backend]);
            }
            let device = match nic {
                // Nobody boots from it: it needs no program of its own for that.
                Nic::Card { model, place, .. } => format!("{model},netdev={id},mac={mac},addr={place:#x},romfile="),
                _ => self.device("net", &format!("netdev={id},mac={mac}{boot}")),
            };
            add(&["-device", &device]);
        }
        args
    }

    /// The processors of one socket, or of one for each memory node.
    fn processors(&self) -> String {
        match self.memory_nodes {
            0 | 1 => self.cpus.to_string(),
            nodes => format!("{},sockets={nodes},cores={},threads=1", self.cpus, self.cpus / nodes),
        }
    }

    /// What shares processors and memory out among memory nodes.
    fn memory(&self) -> Vec<String> {
        let (nodes, each) = (u64::from(self.memory_nodes), self.cpus / self.memory_nodes.max(1));
        if nodes < 2 {
            return Vec::new();
        }
        let node = |n: u32| {
            let (first, last) = (n * each, (n + 1) * each - 1);
            let backend = format!("memory-backend-ram,id=mem{n},size={}M", self.memory_mib / nodes);
            [
                "-object".to_owned(),
                backend,
                "-numa".to_owned(),
                format!("node,nodeid={n},cpus={first}-{last},memdev=mem{n}"),
            ]
        };
        (0..self.memory_nodes).flat_map(node).collect()
    }

    /// A microvm has no clock that an emulated processor could measure its own by (no PM timer, no HPET, and hardware-reduced
    /// ACPI forbids the PIT): without KVM its kernel hangs at boot more often than not, so q35 stands in.
    fn machine(&self) -> Machine {
        if self.accel == Accel::Tcg || self.firmware.is_some() { Machine::Q35 } else { self.machine }
    }

    /// A kernel that QEMU loads, or the firmware that finds one.
    fn start(&self) -> Vec<String> {
        if let Some(firmware) = &self.firmware {
            let mut args = firmware.args();
            if self.kernel != Path::new("") {
                args.extend(["-kernel".to_owned(), display(&self.kernel)]);
            }
            return args;
        }
        let mut args = vec!["-kernel".to_owned(), display(&self.kernel)];
        if let Some(initramfs) = &self.initramfs {
            args.extend(["-initrd".to_owned(), display(initramfs)]);
        }
        args.extend(["-append".to_owned(), self.cmdline.join(" ")]);
        args
    }

    fn board(&self) -> &'static str {
        match self.machine() {
            Machine::Microvm => "microvm,acpi=on,pcie=off,rtc=on,pit=off,pic=off,isa-serial=on,x-option-roms=off",
            Machine::Q35 if self.firmware.as_ref().is_some_and(Firmware::is_locked) => {
                "q35,smm=on,vmport=off,smbus=off"
            }
            Machine::Q35 if self.drives.iter().any(Drive::is_sata) => "q35,smm=off,vmport=off,smbus=off",
            Machine::Q35 => "q35,smm=off,vmport=off,sata=off,smbus=off",
        }
    }

    fn virtio(&self) -> &'static str {
        match self.machine() {
            Machine::Microvm => "device",
            Machine::Q35 => "pci",
        }
    }

    fn device(&self, kind: &str, options: &str) -> String {
        format!("virtio-{kind}-{},{options}", self.virtio())
    }
}

/// Whether the machine may boot from this card.
fn boots(nic: &Nic) -> bool {
    matches!(nic, Nic::Netboot { .. } | Nic::Shared { .. })
}

/// Ports of the host that lead into slirp.
fn ports(forwards: &[Forward]) -> String {
    forwards.iter().map(|f| format!(",hostfwd=tcp:{}:{}-:{}", f.host.ip(), f.host.port(), f.guest)).collect()
}

/// The id that the card is wired to, its address, and what QEMU makes for it.
fn netdev(n: usize, nic: &Nic) -> (String, &str, Vec<String>) {
    match nic {
        Nic::Uplink { mac, forwards } => {
            (UPLINK.to_owned(), mac, vec![format!("user,id={UPLINK},ipv6=off{}", ports(forwards))])
        }
        Nic::Cloud { mac, service, forwards } => {
            let (service, ports) = (service.replace(',', ",,"), ports(forwards));
            let backend = format!(
                "user,id={UPLINK},ipv6=off,net=169.254.0.0/16,guestfwd=tcp:169.254.169.254:80-cmd:{service}{ports}"
            );
            (UPLINK.to_owned(), mac, vec![backend])
        }
        Nic::Netboot { mac, folder, file, forwards } => {
            let (folder, ports) = (escape(folder), ports(forwards));
            let backend = format!("user,id={UPLINK},ipv6=off,tftp={folder},bootfile={file}{ports}");
            (UPLINK.to_owned(), mac, vec![backend])
        }
        Nic::Switch { mac, socket } | Nic::Card { mac, socket, .. } => {
            let id = format!("net{n}");
            let backend = stream(&id, socket);
            (id, mac, vec![backend])
        }
        Nic::Shared { mac, tap, socket } => {
            let id = format!("net{n}");
            let port = |name: &str, more: &str| format!("hubport,id={name},hubid={n}{more}");
            let backends = vec![
                port(&id, ""),
                format!("tap,id={id}t,ifname={tap},script=no,downscript=no"),
                port(&format!("{id}tp"), &format!(",netdev={id}t")),
                stream(&format!("{id}s"), socket),
                port(&format!("{id}sp"), &format!(",netdev={id}s")),
            ];
            (id, mac, backends)
        }
    }
}

fn stream(id: &str, socket: &Path) -> String {
    format!("stream,id={id},server=off,addr.type=unix,addr.path={}", escape(socket))
}

fn display(path: &Path) -> String {
    path.display().to_string()
}

/// QEMU's option lists end at a comma; a doubled one is literal.
pub(super) fn escape(path: &Path) -> String {
    display(path).replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::super::drive::Bus;
    use super::*;
    use std::net::SocketAddr;

    fn spec() -> VmSpec {
        VmSpec::new("w1", Path::new("/d"), Accel::Kvm, Path::new("/k"), Some(Path::new("/i")))
    }

    fn after(args: &[String], flag: &str) -> Vec<String> {
        args.windows(2).filter(|w| w.first().is_some_and(|f| f == flag)).filter_map(|w| w.get(1).cloned()).collect()
    }

    #[test]
    fn the_board_decides_the_bus_of_devices() {
        let micro = spec().drive(Path::new("/a"), true).args();
        assert!(after(&micro, "-device").contains(&"virtio-blk-device,drive=disk0".to_owned()));
        let q35 = VmSpec { machine: Machine::Q35, ..spec().drive(Path::new("/a"), true) }.args();
        assert!(after(&q35, "-device").contains(&"virtio-blk-pci,drive=disk0".to_owned()));
    }

    #[test]
    fn a_machine_ends_at_a_restart_unless_it_is_to_go_on() {
        assert!(spec().args().contains(&"-no-reboot".to_owned()));
        assert!(!VmSpec { restarts: true, ..spec() }.args().contains(&"-no-reboot".to_owned()));
    }

    #[test]
    fn a_card_of_a_model_has_its_place_on_the_bus() {
        let mac = "52:54:00:00:00:12".into();
        let card = Nic::Card { mac, socket: "/s".into(), model: "e1000e", place: 16 };
        let args = VmSpec { machine: Machine::Q35, ..spec().nic(card) }.args();
        let wanted = "e1000e,netdev=net0,mac=52:54:00:00:00:12,addr=0x10,romfile=";
        assert!(after(&args, "-device").contains(&wanted.to_owned()), "{args:?}");
    }

    #[test]
    fn a_watchdog_resets_the_machine() {
        let args = VmSpec { watchdog: true, machine: Machine::Q35, ..spec() }.args();
        assert!(after(&args, "-device").contains(&"i6300esb".to_owned()), "{args:?}");
        assert_eq!(after(&args, "-action"), ["watchdog=reset"]);
    }

    #[test]
    fn a_machine_has_a_screen_when_it_is_asked_for() {
        let screen = |screen| VmSpec { screen, machine: Machine::Q35, ..spec() }.args().contains(&"VGA".to_owned());
        assert!(screen(true) && !screen(false));
    }

    #[test]
    fn a_file_s_name_tells_its_format() {
        for (name, format) in [("/a.raw", "raw"), ("/a", "raw"), ("/a.qcow2", "qcow2"), ("/a.vmdk", "vmdk")] {
            let args = spec().drive(Path::new(name), false).args();
            let wanted = format!("format={format},");
            assert!(after(&args, "-drive").iter().any(|drive| drive.contains(&wanted)), "{args:?}");
        }
    }

    #[test]
    fn forwards_become_part_of_the_uplink() {
        let forwards = vec![Forward { host: SocketAddr::from(([127, 0, 0, 1], 7000)), guest: 6443 }];
        let args = spec().nic(Nic::Uplink { mac: "52:54:00:00:00:01".into(), forwards }).args();
        assert_eq!(after(&args, "-netdev"), ["user,id=uplink,ipv6=off,hostfwd=tcp:127.0.0.1:7000-:6443"]);
    }

    #[test]
    fn commas_in_paths_are_doubled() {
        let args = spec().drive(Path::new("/a,b"), false).args();
        assert!(after(&args, "-drive").iter().any(|d| d.ends_with("file=/a,,b")), "{args:?}");
    }

    #[test]
    fn firmware_takes_the_place_of_the_kernel_and_boots_the_drives_in_order() {
        let uefi = Firmware::Uefi { code: "/code".into(), variables: "/vars".into() };
        let spec = VmSpec::firmware("m", Path::new("/d"), Accel::Kvm, uefi);
        let args =
            spec.drive_on(Bus::Cd, Path::new("/iso"), true).drive_on(Bus::Usb, Path::new("/stick"), false).args();
        assert!(!args.contains(&"-kernel".to_owned()), "{args:?}");
        let devices = after(&args, "-device");
        assert!(devices.contains(&"ide-cd,bus=ide.0,drive=disk0,bootindex=0".to_owned()), "{devices:?}");
        assert!(devices.contains(&"usb-storage,bus=usb.0,drive=disk1,bootindex=1".to_owned()), "{devices:?}");
        assert!(after(&args, "-machine").iter().all(|board| !board.contains("sata=off")));
    }

    #[test]
    fn uefi_boots_a_card_by_itself_and_by_http_alone_when_asked() {
        let card = || Nic::Netboot {
            mac: "52:54:00:00:00:01".into(),
            folder: "/pxe".into(),
            file: "rk.efi".into(),
            forwards: Vec::new(),
        };
        let uefi = Firmware::Uefi { code: "/code".into(), variables: "/vars".into() };
        let args = |firmware, http_boot| {
            let spec = VmSpec::firmware("a", Path::new("/run/a"), Accel::Tcg, firmware).nic(card());
            VmSpec { http_boot, ..spec }.args()
        };
        let bare = |args: &[String]| after(args, "-device").iter().any(|said| said.ends_with("bootindex=0,romfile="));
        assert!(bare(&args(uefi.clone(), false)) && !bare(&args(Firmware::Bios, false)));
        assert!(after(&args(uefi.clone(), false), "-fw_cfg").is_empty());
        assert_eq!(after(&args(uefi, true), "-fw_cfg").len(), 2);
    }

    #[test]
    fn a_card_that_boots_has_its_turn_before_config_drives() {
        let spec =
            VmSpec::firmware("a", Path::new("/run/a"), Accel::Tcg, Firmware::Bios).drive(Path::new("/seed"), true);
        let forwards = vec![Forward { host: "127.0.0.1:5000".parse().unwrap(), guest: 50000 }];
        let (mac, folder, file) = ("52:54:00:00:00:01".into(), "/pxe".into(), "boot.ipxe".into());
        let args = spec.nic(Nic::Netboot { mac, folder, file, forwards }).args();
        assert!(
            args.iter().any(|said| said.ends_with("bootfile=boot.ipxe,hostfwd=tcp:127.0.0.1:5000-:50000")),
            "{args:?}"
        );
        let devices = after(&args, "-device");
        for (device, turn) in [("virtio-net-pci", "bootindex=0"), ("virtio-blk-pci", "bootindex=1")] {
            assert!(devices.iter().any(|said| said.starts_with(device) && said.ends_with(turn)), "{devices:?}");
        }
    }

    #[test]
    fn a_cloud_is_an_address_of_its_own_and_what_the_firmware_tells() {
        let forwards = vec![Forward { host: "127.0.0.1:5000".parse().expect("address"), guest: 50_000 }];
        let card = Nic::Cloud { mac: "52:54:00:00:00:01".into(), service: "relay a,b".into(), forwards };
        let args = VmSpec { smbios: vec!["type=1,product=p".into()], ..spec().nic(card) }.args();
        assert_eq!(after(&args, "-smbios"), ["type=1,product=p"]);
        let backend = after(&args, "-netdev").concat();
        assert!(
            backend.ends_with("guestfwd=tcp:169.254.169.254:80-cmd:relay a,,b,hostfwd=tcp:127.0.0.1:5000-:50000"),
            "{backend}"
        );
    }
}
