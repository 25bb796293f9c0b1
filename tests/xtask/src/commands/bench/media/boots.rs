//! From power-on to a control plane whose node is Ready, by medium.

use super::super::host::ms;
use super::super::machines::{median, number_after};
use super::super::table::Row;
use super::Bench;
use crate::report::Step;
use anyhow::{Context, Result, bail};
use rk_qemu::cidata;
use rk_qemu::cluster::{API_PORT, NodePlan, Surroundings, kubeconfig, machine_config};
use rk_qemu::http::serve_folder;
use rk_qemu::kube::Api;
use rk_qemu::pki::Pki;
use rk_qemu::registry::free_port;
use rk_qemu::switch::Switch;
use rk_qemu::vm::{Bus, Firmware, Forward, Nic, Vm, VmSpec};
use std::path::Path;
use std::time::{Duration, Instant};

/// Boots of each medium.
const BOOTS: usize = 3;
/// Under KVM; scaled for TCG.
const LIMIT: u64 = 180;

/// What is booted, and by what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Medium {
    Direct,
    IsoOnCd { uefi: bool },
    IsoOnStick,
    Raw { uefi: bool },
    Qcow2,
    Pxe,
    Uki,
}

const MEDIA: [(Medium, &str); 9] = [
    (Medium::Direct, "kernel and initramfs, loaded by QEMU"),
    (Medium::IsoOnCd { uefi: false }, "ISO on a CD, BIOS"),
    (Medium::IsoOnCd { uefi: true }, "ISO on a CD, UEFI"),
    (Medium::IsoOnStick, "ISO on a USB stick, UEFI"),
    (Medium::Raw { uefi: false }, "raw disk, BIOS"),
    (Medium::Raw { uefi: true }, "raw disk, UEFI"),
    (Medium::Qcow2, "qcow2, BIOS"),
    (Medium::Pxe, "PXE: iPXE by HTTP, BIOS"),
    (Medium::Uki, "UKI, UEFI"),
];

/// One boot, in its parts.
#[derive(Debug, Clone, Copy)]
struct Times {
    firmware: Duration,
    kernel: Duration,
    ready: Duration,
}

/// A row for each medium.
pub fn measure(bench: &Bench, step: &Step) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (medium, name) in MEDIA {
        let mut seen = Vec::new();
        for n in 0..BOOTS {
            step.say(format!("{name}, {} of {BOOTS}", n + 1));
            seen.push(boot(bench, medium).with_context(|| format!("boot from {name}"))?);
        }
        let middle = |part: fn(&Times) -> Duration| ms(median(&mut seen.iter().map(part).collect::<Vec<_>>()));
        let measured = format!(
            "{}; firmware and loader {}, kernel to PID 1 {}, PID 1 to Ready {}",
            middle(|t| t.firmware + t.kernel + t.ready),
            middle(|t| t.firmware),
            middle(|t| t.kernel),
            middle(|t| t.ready)
        );
        let budget = if medium == Medium::Direct { "PID 1 ≤ 1 s, Ready ≤ 3 s later" } else { "—" };
        rows.push(Row::new(format!("power-on to Ready, {name}, median of {BOOTS}"), measured, budget));
    }
    Ok(rows)
}

/// Boots a control plane of its own and waits until it is Ready.
fn boot(bench: &Bench, medium: Medium) -> Result<Times> {
    let dir = bench.folder("boot")?;
    let (plan, pki, port) = (NodePlan::of(0), Pki::generate()?, free_port()?);
    let around = Surroundings {
        cluster: "bench".into(),
        control_plane: plan.address.ip,
        registry: "http://10.0.2.2:1".into(),
        time_servers: Vec::new(),
        kubelet: serde_json::Value::Null,
        node_mask: None,
        dual_stack: false,
        swap_mib: 0,
    };
    let seed = dir.join("cidata.img");
    cidata::create(&seed, &machine_config(&plan, &around, &pki)?, "instance-id: bench\n")?;
    let kubeconfig_path = dir.join("kubeconfig");
    std::fs::write(&kubeconfig_path, kubeconfig("bench", port.port(), &pki)).context("write the kubeconfig")?;
    let switch = Switch::new(&dir);
    let (_, socket) = switch.add_port()?;
    let mut spec = spec(bench, medium, &dir)?;
    spec.memory_mib = 2048;
    spec = spec.drive(&seed, true);
    let forwards = vec![Forward { host: port, guest: API_PORT }];
    let mac = plan.address.uplink_mac.clone();
    spec = spec.nic(match medium {
        Medium::Pxe => {
            let folder = bench.media.join("pxe");
            let file = format!("http://10.0.2.2:{}/boot.ipxe", serve_folder(&folder)?);
            Nic::Netboot { mac, folder, file, forwards: Vec::new() }
        }
        _ => Nic::Uplink { mac, forwards },
    });
    spec = spec.nic(Nic::Switch { mac: plan.address.mac.clone(), socket });
    let begin = Instant::now();
    let mut vm = Vm::start(&spec)?;
    if medium == Medium::Pxe {
        vm.qmp()?.forward(port, API_PORT)?;
    }
    let line = vm.wait_console("pid 1 began at", bench.limit(LIMIT))?;
    let seen = begin.elapsed();
    let (began, said) = (number_after(&line, "began at ")?, number_after(&line, "config after ")?);
    let api = Api::from_kubeconfig(&kubeconfig_path)?;
    while !api.nodes().is_ok_and(|nodes| nodes.iter().any(|node| node.ready)) {
        if begin.elapsed() > bench.limit(LIMIT) {
            bail!("the node is not Ready:\n{}", vm.console().tail());
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    let (whole, kernel) = (begin.elapsed(), Duration::from_millis(began));
    let firmware = seen.saturating_sub(Duration::from_millis(said));
    vm.kill();
    Ok(Times { firmware, kernel, ready: whole.saturating_sub(firmware + kernel) })
}

/// The machine with its medium, without network and config.
fn spec(bench: &Bench, medium: Medium, dir: &Path) -> Result<VmSpec> {
    let accel = bench.artifacts.accel;
    let with = |firmware| VmSpec::firmware("m", dir, accel, firmware);
    let by = |uefi: bool| -> Result<VmSpec> { Ok(with(if uefi { bench.uefi(dir)? } else { Firmware::Bios })) };
    Ok(match medium {
        Medium::Direct => {
            let pxe = bench.media.join("pxe");
            VmSpec::new("m", dir, accel, &pxe.join("vmlinuz"), Some(&pxe.join("initramfs")))
        }
        Medium::IsoOnCd { uefi } => by(uefi)?.drive_on(Bus::Cd, &bench.media.join("rk.iso"), true),
        Medium::IsoOnStick => by(true)?.drive_on(Bus::Usb, &bench.media.join("rk.iso"), true),
        Medium::Raw { uefi } => by(uefi)?.drive(&bench.copy("rk.raw", dir)?, false),
        Medium::Qcow2 => by(false)?.drive(&bench.copy("rk.qcow2", dir)?, false),
        Medium::Pxe => with(Firmware::Bios),
        Medium::Uki => VmSpec { kernel: bench.media.join("rk.efi"), ..by(true)? },
    })
}
