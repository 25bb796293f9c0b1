//! The metadata services of clouds, each played by a small server that answers as the cloud does and refuses what it would refuse.

use super::{Guest, boot, boot_as, folder, paper};
use rk_qemu::cidata;
use rk_qemu::vm::{Machine, Nic, Vm, VmSpec};
use rk_tests::{MACHINE_API, Operator, artifacts, free_address, uplink};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

/// Status and body, by the head of a request in lower case and the config that is kept there.
type Service = fn(&str, &str) -> (u16, String);

/// Plays a service for as long as the test runs; answers its port.
fn serve(service: Service, config: String) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("listen");
    let port = listener.local_addr().expect("address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let (status, body) = service(&head(&mut stream), &config);
            let _ = write!(stream, "HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        }
    });
    port
}

fn head(stream: &mut TcpStream) -> String {
    let (mut head, mut byte) = (String::new(), [0]);
    while !head.ends_with("\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
        head.push(char::from(byte[0]));
    }
    head.to_lowercase()
}

/// Boots a machine in a cloud, without any other config, and sees that it takes the one that is kept there, and its name.
fn takes(platform: &str, service: Service, wanted: &str) {
    let dir = folder(platform);
    let config = paper(&Operator::new(&artifacts(), &dir), &dir);
    let port = serve(service, config);
    let words = [format!("rk.platform={platform}"), format!("rk.metadata=http://10.0.2.2:{port}")];
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut guest = boot(platform, &dir, None, &words);
    guest.says(wanted);
    guest.answers();
}

/// IMDSv2 alone: without a token that was asked for by PUT nothing is given.
fn ec2(head: &str, config: &str) -> (u16, String) {
    match head {
        h if h.starts_with("put /latest/api/token ") && h.contains("x-aws-ec2-metadata-token-ttl-seconds: ") => {
            (200, "a-token".to_owned())
        }
        h if !h.contains("x-aws-ec2-metadata-token: a-token") => (401, String::new()),
        h if h.starts_with("get /latest/user-data ") => (200, config.to_owned()),
        h if h.starts_with("get /latest/meta-data/local-hostname ") => (200, "ip-10-0-0-1".to_owned()),
        _ => (404, String::new()),
    }
}

fn gce(head: &str, config: &str) -> (u16, String) {
    match head {
        h if !h.contains("metadata-flavor: google") => (403, String::new()),
        h if h.starts_with("get /computemetadata/v1/instance/attributes/user-data ") => (200, config.to_owned()),
        h if h.starts_with("get /computemetadata/v1/instance/hostname ") => (200, "vm-1.example.internal".to_owned()),
        _ => (404, String::new()),
    }
}

fn azure(head: &str, config: &str) -> (u16, String) {
    match head {
        h if !h.contains("metadata: true") => (400, String::new()),
        h if h.starts_with("get /metadata/instance/compute/userdata?") => {
            let word = rk_config::encode_for_cmdline(config);
            (200, word.trim_start_matches("rk.config=base64:").to_owned())
        }
        h if h.starts_with("get /metadata/instance/compute/name?") => (200, "vm-2".to_owned()),
        _ => (404, String::new()),
    }
}

fn openstack(head: &str, config: &str) -> (u16, String) {
    match head {
        h if h.starts_with("get /openstack/latest/user_data ") => (200, config.to_owned()),
        h if h.starts_with("get /latest/meta-data/local-hostname ") => (200, "server-3".to_owned()),
        _ => (404, String::new()),
    }
}

#[test]
fn a_config_and_a_name_come_from_ec2_by_a_token() {
    takes("aws", ec2, "config accepted from Aws metadata: ip-10-0-0-1, Worker");
}

#[test]
fn a_config_and_a_name_come_from_gce() {
    takes("gcp", gce, "config accepted from Gcp metadata: vm-1.example.internal, Worker");
}

#[test]
fn a_config_and_a_name_come_from_azure() {
    takes("azure", azure, "config accepted from Azure metadata: vm-2, Worker");
}

#[test]
fn a_config_and_a_name_come_from_openstack() {
    takes("openstack", openstack, "config accepted from OpenStack metadata: server-3, Worker");
}

#[test]
fn a_config_comes_from_openstack_s_config_drive() {
    let dir = folder("config-drive");
    let operator = Operator::new(&artifacts(), &dir);
    let config = paper(&operator, &dir);
    let drive = dir.join("config-2.img");
    cidata::create_openstack(&drive, &config).expect("config drive");
    let artifacts = artifacts();
    let node = free_address();
    let spec = VmSpec::new("config-drive", &dir, artifacts.accel, &artifacts.kernel, Some(&artifacts.initramfs))
        .drive(&drive, true)
        .nic(uplink(&[(node, MACHINE_API)]));
    let vm = Vm::start(&spec).expect("QEMU");
    let mut guest = Guest { vm, dir, node: node.to_string(), figures: node, operator };
    guest.says("config accepted from config drive /dev/vda");
    guest.answers();
}

/// A cloud, what the firmware of its machines tells (`sys_vendor`, `product_name`, `chassis_asset_tag`), its service, and what the machine says.
const CLOUDS: [(&str, &[&str], Service, &str); 4] = [
    ("ec2", &["type=1,manufacturer=Amazon EC2"], ec2, "Aws metadata: ip-10-0-0-1, Worker"),
    ("gce", &["type=1,manufacturer=Google"], gce, "Gcp metadata: vm-1.example.internal, Worker"),
    (
        "azure",
        &["type=1,manufacturer=Microsoft Corporation", "type=3,asset=7783-7084-3265-9085-8269-3286-77"],
        azure,
        "Azure metadata: vm-2, Worker",
    ),
    ("openstack", &["type=1,product=OpenStack Nova"], openstack, "OpenStack metadata: server-3, Worker"),
];

#[test]
fn every_cloud_is_known_by_its_firmware_and_asked_at_the_address_of_all_of_them() {
    let relay = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/machine/relay.py");
    for (name, smbios, service, wanted) in CLOUDS {
        let dir = folder(&format!("known-{name}"));
        let config = paper(&Operator::new(&artifacts(), &dir), &dir);
        let port = serve(service, config);
        let mut guest = boot_as(name, &dir, None, &[], |spec| {
            spec.machine = Machine::Q35;
            spec.smbios = smbios.iter().map(|told| (*told).to_owned()).collect();
            if let Some(Nic::Uplink { mac, forwards }) = spec.nics.pop() {
                spec.nics.push(Nic::Cloud { mac, forwards, service: format!("python3 -B {relay} {port}") });
            }
        });
        guest.says(&format!("config accepted from {wanted}"));
        guest.answers();
    }
}
