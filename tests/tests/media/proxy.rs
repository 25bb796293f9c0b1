//! Network boot where the DHCP server knows nothing of it: a stock dnsmasq beside it tells of the boot file, and hands out the files.

use super::{Firmware, READY, folder, spec, start};
use rk_image::Program;
use rk_qemu::switch::{Switch, dhcp_server};
use rk_qemu::vm::Nic;
use rk_tests::{artifacts, limit};
use std::net::Ipv4Addr;
use std::path::Path;

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 99, 2);
const LEASE: Ipv4Addr = Ipv4Addr::new(192, 168, 99, 50);

/// A program that makes a network namespace with a tap device that has the address 192.168.99.1, `beside` (commands of a shell) and dnsmasq
/// with these options on it, and becomes its further arguments. dnsmasq says what it does in `dnsmasq.log` of `dir`.
pub(super) fn namespace(dir: &Path, options: &[String], beside: &str) -> Vec<String> {
    let root = artifacts().closures.join("dnsmasq-base");
    let dnsmasq = Program::Unpacked { root, path: "usr/sbin/dnsmasq".into() }.command().expect("dnsmasq");
    let mut words = vec![dnsmasq.get_program().display().to_string()];
    words.extend(dnsmasq.get_args().map(|word| word.display().to_string()));
    let log = dir.join("dnsmasq.log");
    words.extend([
        // It may not become another user in a namespace that has one alone.
        "--no-daemon --conf-file=/dev/null --pid-file= --port=0".to_owned(),
        "--interface=rk0 --bind-interfaces --log-dhcp".to_owned(),
        format!("--dhcp-leasefile={}", dir.join("leases").display()),
    ]);
    words.extend_from_slice(options);
    let script = format!(
        "set -e; export PATH=$PATH:/usr/sbin:/sbin; ip link set lo up; ip tuntap add rk0 mode tap; \
         ip address add 192.168.99.1/24 dev rk0; ip link set rk0 up; {beside} \
         setpriv --pdeathsig KILL -- {} > {} 2>&1 & exec \"$@\"",
        words.join(" "),
        log.display()
    );
    ["unshare", "--map-root-user", "--net", "sh", "-c", &script, "sh"].map(str::to_owned).to_vec()
}

#[test]
fn a_proxy_dhcp_server_boots_the_node_beside_a_dhcp_server_that_knows_nothing_of_it() {
    let dir = folder("media", "proxy");
    let switch = Switch::new(&dir);
    let (_, socket) = switch.add_port().expect("port");
    let server = dhcp_server(&switch, SERVER, LEASE).expect("a DHCP server");
    let card = Nic::Shared { mac: "52:54:00:00:00:01".into(), tap: "rk0".into(), socket };
    let mut spec = spec(&dir, Firmware::Bios).nic(card);
    let options = [
        "--dhcp-range=192.168.99.0,proxy --enable-tftp".to_owned(),
        format!("--tftp-root={}", artifacts().media.join("pxe").display()),
        "--pxe-service=x86PC,rk,boot.ipxe --dhcp-boot=boot.ipxe".to_owned(),
    ];
    spec.starter = namespace(&dir, &options, "");
    let mut vm = start(&spec);
    // TFTP waits for each packet.
    vm.wait_console(READY, limit(240)).unwrap_or_else(|err| {
        panic!("{err}\n{}", std::fs::read_to_string(dir.join("dnsmasq.log")).unwrap_or_default())
    });
    vm.wait_console(&format!("has {LEASE}/24 by DHCP from {SERVER}"), limit(60)).unwrap_or_else(|err| panic!("{err}"));
    assert!(server.answered() >= 4, "firmware and node each ask twice");
    let log = std::fs::read_to_string(dir.join("dnsmasq.log")).expect("dnsmasq's log");
    for word in ["proxy", "boot.ipxe", "pxe/initramfs"] {
        assert!(log.contains(word), "no {word} in {log}");
    }
}
