//! What the fuzz targets of a machine do with bytes from outside. The ordinary tests of rk-machine-api run the same functions over the
//! corpus.

use prost::Message;
use rk_machine_api::outside;
use rk_machine_proto::v1;

/// A machine config: what is taken is written so that it means the same.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = rk_config::from_cmdline(text);
    let _ = rk_config::unknown_keys(text);
    let Ok(parsed) = rk_config::parse(text) else { return };
    let written = rk_config::to_yaml(&parsed.config).expect("a config can be written");
    let again = rk_config::parse(&written).expect("what is written can be read");
    assert!(again.config == parsed.config && again.warnings.is_empty(), "{written}");
}

/// What comes from the network before anybody is known there: DHCP for both families, with and without headers around it, and frames of anybody.
pub fn dhcp(data: &[u8]) {
    outside::frame(data);
    rk_netd::outside::dhcp(data);
    rk_netd::outside::dhcp6(data);
}

/// Answers of time servers and name servers, and of the kernel about links.
pub fn answers(data: &[u8]) {
    rk_netd::outside::ntp(data);
    rk_netd::outside::dns(data);
    rk_netd::outside::netlink(data);
}

/// Answers of metadata services, and what is in them.
pub fn metadata(data: &[u8]) {
    outside::metadata(data);
}

/// The header of a disk that somebody had in their hands.
pub fn luks(data: &[u8]) {
    rk_luks::outside::header(data);
}

/// What a TPM answers, or whoever sits on its bus.
pub fn tpm(data: &[u8]) {
    rk_tpm::outside::answers(data);
}

/// Every message that a method of the machine API takes.
fn requests(data: &[u8]) {
    fn one<M: Message + Default + PartialEq + std::fmt::Debug>(data: &[u8]) {
        if let Ok(message) = M::decode(data) {
            let again = M::decode(message.encode_to_vec().as_slice()).expect("what is written can be read");
            assert!(again == message, "{again:?}");
        }
    }
    one::<v1::Empty>(data);
    one::<v1::ApplyRequest>(data);
    one::<v1::PatchRequest>(data);
    one::<v1::ValidateRequest>(data);
    one::<v1::ServiceRequest>(data);
    one::<v1::LogsRequest>(data);
    one::<v1::DmesgRequest>(data);
    one::<v1::SocketsRequest>(data);
    one::<v1::CaptureRequest>(data);
    one::<v1::PathRequest>(data);
    one::<v1::EventsRequest>(data);
    one::<v1::InstallCertificateRequest>(data);
    one::<v1::ResetRequest>(data);
    one::<v1::InstallRequest>(data);
    one::<v1::UpgradeRequest>(data);
    one::<v1::RestartRequest>(data);
    one::<v1::UnlockRequest>(data);
    one::<v1::Chunk>(data);
    one::<v1::ImportRequest>(data);
    one::<v1::PullsRequest>(data);
}

/// Messages to the machine API and to PID 1, and what they carry: programs, tables, paths.
pub fn machine(data: &[u8]) {
    requests(data);
    if let Some(request) = rk_supervise::control::Request::parse(data) {
        assert_eq!(rk_supervise::control::Request::parse(request.to_string().as_bytes()), Some(request));
    }
    for name in [".linux", ".initrd", ".cmdline", ".osrel"] {
        let _ = rk_slots::program::section(data, name);
    }
    let _ = rk_slots::Env::decode(data);
    for sector in [512, 4096] {
        let _ = rk_gpt::Table::decode(data, sector);
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = rk_slots::Layout::decode(text);
    let _ = rk_supervise::control::Status::decode(text);
    let _ = rk_machine_api::files::may_read(text);
    if let Some(entry) = rk_slots::Entry::parse(text) {
        assert_eq!(rk_slots::Entry::parse(&entry.to_string()), Some(entry));
    }
    if let Some(root) = rk_slots::Root::parse(text) {
        assert_eq!(rk_slots::Root::of_cmdline(&root.word()), Some(root));
    }
}
