//! Network boot by what UEFI brings itself: the EFI program by PXE and by HTTP, without iPXE.

use super::proxy::namespace;
use super::{READY, folder, spec, start};
use rk_qemu::switch::Switch;
use rk_qemu::vm::{Nic, Vm, VmSpec};
use rk_tests::{artifacts, limit, uefi};

const MAC: &str = "52:54:00:00:00:01";
/// Kernel and root come by firmware that is emulated.
pub(super) const FETCHED: u64 = 300;
/// Port of the web server.
const WEB: u16 = 8080;

/// Boots until the node waits for its config; `logs` of the folder are shown where it does not.
fn boots(spec: &VmSpec, logs: &[&str]) -> Vm {
    let mut vm = start(spec);
    let said = |name: &&str| std::fs::read_to_string(spec.dir.join(name)).unwrap_or_default();
    if let Err(err) = vm.wait_console(READY, limit(FETCHED)) {
        panic!("{err}\n{}", logs.iter().map(said).collect::<Vec<_>>().join("\n"));
    }
    vm
}

#[test]
fn uefi_boots_the_node_by_its_own_pxe() {
    let dir = folder("media", "pxe-uefi");
    let (folder, file) = (artifacts().media.join("pxe"), "rk.efi".into());
    let card = Nic::Netboot { mac: MAC.into(), folder, file, forwards: Vec::new() };
    let mut vm = boots(&spec(&dir, uefi(&dir)).nic(card), &[]);
    let text = vm.console().text();
    assert!(text.contains("Start PXE over IPv4") && text.contains("NBP filename is rk.efi"), "{text}");
    vm.kill();
}

#[test]
fn uefi_boots_the_node_by_http() {
    let dir = folder("media", "http-uefi");
    let switch = Switch::new(&dir);
    let (_, socket) = switch.add_port().expect("port");
    let mut spec = spec(&dir, uefi(&dir)).nic(Nic::Shared { mac: MAC.into(), tap: "rk0".into(), socket });
    spec.http_boot = true;
    // A client of HTTP boot takes no answer that does not call itself one (UEFI specification, "HTTP Boot").
    let options = [
        "--dhcp-range=192.168.99.50,192.168.99.60 --dhcp-vendorclass=set:http,HTTPClient".to_owned(),
        "--dhcp-option-force=tag:http,60,HTTPClient".to_owned(),
        format!("--dhcp-boot=tag:http,http://192.168.99.1:{WEB}/rk.efi"),
    ];
    let web = format!(
        "setpriv --pdeathsig KILL -- python3 -m http.server --protocol HTTP/1.1 --bind 192.168.99.1 --directory {} {WEB} \
         > {} 2>&1 &",
        artifacts().media.join("pxe").display(),
        dir.join("web.log").display()
    );
    spec.starter = namespace(&dir, &options, &web);
    let mut vm = boots(&spec, &["dnsmasq.log", "web.log"]);
    let text = vm.console().text();
    assert!(text.contains("Start HTTP Boot over IPv4") && !text.contains("Start PXE"), "{text}");
    vm.kill();
    let asked = std::fs::read_to_string(dir.join("web.log")).expect("the web server's log");
    assert!(asked.contains("\"GET /rk.efi HTTP/1.1\" 200"), "{asked}");
}
