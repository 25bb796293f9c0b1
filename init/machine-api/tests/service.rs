//! The service whole: over TCP and TLS on loopback, with certificates as `rkctl` makes them.

mod support;

use rk_machine_proto::v1::{self, Empty};
use rk_machine_proto::{METHODS, Role, SERVICE};
use support::{Node, block_on};
use tonic::Code;

#[test]
fn a_reader_reads_and_is_told_what_it_lacks() {
    block_on(async {
        let node = Node::start(false).await;
        let mut client = node.client(Some(Role::Reader)).await;
        let version = client.version(Empty {}).await.unwrap().into_inner();
        assert_eq!((version.mode.as_str(), version.version.as_str()), ("running", env!("CARGO_PKG_VERSION")));
        let refused = client.reboot(v1::RestartRequest::default()).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
        assert!(refused.message().contains("needs role operator"), "{refused:?}");
        let config = client.get_config(Empty {}).await.unwrap().into_inner();
        assert!(!config.config.contains("0123456789abcdef") && config.config.contains("<secret>"), "{}", config.config);
        assert_eq!(config.source, "a test");
    });
}

#[test]
fn an_admin_sees_secrets_and_an_operator_may_reboot() {
    block_on(async {
        let node = Node::start(false).await;
        let config = node.client(Some(Role::Admin)).await.get_config(Empty {}).await.unwrap().into_inner().config;
        assert!(config.contains("abcdef.0123456789abcdef"));
        let request = v1::RestartRequest::default();
        node.client(Some(Role::Operator)).await.reboot(request).await.unwrap();
        assert!(node.asked().contains(&"reboot".to_owned()), "{:?}", node.asked());
    });
}

#[test]
fn a_certificate_without_a_role_opens_nothing_and_one_by_strangers_not_even_the_connection() {
    block_on(async {
        let node = Node::start(false).await;
        let refused = node.client(None).await.version(Empty {}).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
        assert!(node.stranger().await.is_err());
        assert!(node.anonymous().await.is_err());
    });
}

/// Sends what no client sends to every method.
async fn nonsense(node: &Node) {
    for (name, _) in METHODS {
        for body in [Vec::new(), vec![0xff; 700], (0..=255).collect(), vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]] {
            let code = node.raw(Role::Admin, &format!("{SERVICE}{name}"), body).await;
            assert!(code != Code::Unknown && code != Code::Cancelled, "{name}: {code:?}");
        }
    }
}

#[test]
fn garbage_and_empty_messages_on_every_method_harm_no_node_in_maintenance() {
    block_on(async {
        let node = Node::start(true).await;
        nonsense(&node).await;
        let version = node.client_in_maintenance().await.version(Empty {}).await.unwrap().into_inner();
        assert_eq!(version.mode, "maintenance");
        assert!(node.asked().is_empty(), "{:?}", node.asked());
    });
}

#[test]
fn garbage_and_empty_messages_on_every_method_harm_nothing() {
    block_on(async {
        let node = Node::start(false).await;
        // The ones that would do something with an empty message are understood; PID 1 is a fake here.
        nonsense(&node).await;
        // More than a request may hold is refused, and the connection's owner is served on.
        let code = node.raw(Role::Admin, &format!("{SERVICE}ValidateConfig"), vec![0x0a; 2 << 20]).await;
        assert!([Code::OutOfRange, Code::ResourceExhausted].contains(&code), "{code:?}");
        assert_eq!(node.raw(Role::Admin, &format!("{SERVICE}Shell"), Vec::new()).await, Code::Unimplemented);
        node.client(Some(Role::Reader)).await.version(Empty {}).await.unwrap();
    });
}

#[test]
fn bytes_that_are_no_tls_are_dropped() {
    block_on(async {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let node = Node::start(false).await;
        let mut stream = tokio::net::TcpStream::connect(node.address).await.unwrap();
        stream.write_all(&[0x16; 4096]).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        node.client(Some(Role::Reader)).await.version(Empty {}).await.unwrap();
    });
}

#[test]
fn in_maintenance_anyone_may_give_a_config_and_nothing_else() {
    block_on(async {
        let node = Node::start(true).await;
        let mut client = node.client_in_maintenance().await;
        assert_eq!(client.version(Empty {}).await.unwrap().into_inner().mode, "maintenance");
        assert_eq!(client.get_config(Empty {}).await.unwrap_err().code(), Code::FailedPrecondition);
        assert_eq!(client.reboot(v1::RestartRequest::default()).await.unwrap_err().code(), Code::FailedPrecondition);
        let wrong = v1::ApplyRequest { config: "role: boss".to_owned(), ..v1::ApplyRequest::default() };
        assert_eq!(client.apply_config(wrong).await.unwrap_err().code(), Code::InvalidArgument);
        let nowhere = v1::InstallRequest { disk: "/dev/none".to_owned(), disk_bytes: 4 << 20, ..Default::default() };
        assert_eq!(client.plan_install(nowhere).await.unwrap_err().code(), Code::NotFound);
        assert!(node.asked().is_empty());
        let good = v1::ApplyRequest { config: support::CONFIG.to_owned(), ..v1::ApplyRequest::default() };
        client.apply_config(good).await.unwrap();
        assert_eq!(node.asked(), ["apply"]);
        assert!(node.offered().contains("control-plane"));
    });
}

#[test]
fn a_trial_is_asked_of_pid_1_and_a_dry_run_is_not() {
    block_on(async {
        let node = Node::start(false).await;
        let mut client = node.client(Some(Role::Admin)).await;
        let patch = |mode: v1::ApplyMode| v1::PatchRequest {
            patch: "kubelet: {maxPods: 7}".to_owned(),
            mode: mode.into(),
            try_seconds: 0,
        };
        let told = client.patch_config(patch(v1::ApplyMode::DryRun)).await.unwrap().into_inner();
        assert_eq!(told.changes.iter().map(|change| change.path.as_str()).collect::<Vec<_>>(), ["kubelet.maxPods"]);
        assert!(node.asked().is_empty());
        let tried = client.patch_config(patch(v1::ApplyMode::Try)).await.unwrap().into_inner();
        assert_eq!(tried.reverts_in_seconds, 60);
        client.confirm_config(Empty {}).await.unwrap();
        assert_eq!(node.asked(), ["try 60", "confirm"]);
    });
}

#[test]
fn a_new_certificate_is_signed_elsewhere_and_taken_into_use() {
    block_on(async {
        let node = Node::start(false).await;
        let mut client = node.client(Some(Role::Admin)).await;
        let before = node.certificate().await;
        let request = client.request_certificate(Empty {}).await.unwrap().into_inner().request;
        let certificate = node.sign(&request);
        client.install_certificate(v1::InstallCertificateRequest { certificate }).await.unwrap();
        assert_ne!(node.certificate().await, before);
        assert_eq!(node.asked(), ["apply"]);
    });
}

#[test]
fn files_are_streamed_whole_and_secrets_refused() {
    block_on(async {
        let node = Node::start(false).await;
        let mut client = node.client(Some(Role::Operator)).await;
        let path = |path: &str| v1::PathRequest { path: path.to_owned() };
        let mut stream = client.read_file(path("/proc/cpuinfo")).await.unwrap().into_inner();
        let mut text = Vec::new();
        while let Some(chunk) = stream.message().await.unwrap() {
            text.extend(chunk.data);
        }
        assert!(String::from_utf8_lossy(&text).contains("processor"));
        let refused = client.read_file(path("/proc/self/environ")).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
    });
}

#[test]
fn a_capture_sees_packets_of_others_and_not_its_own() {
    block_on(async {
        let node = Node::start(false).await;
        let mut client = node.client(Some(Role::Operator)).await;
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let wanted = v1::CaptureRequest {
            interface: "lo".to_owned(),
            protocol: "udp".to_owned(),
            // Others on this host send datagrams, too.
            port: socket.local_addr().unwrap().port().into(),
            packets: 1,
            seconds: 120,
            ..v1::CaptureRequest::default()
        };
        let mut stream = match client.capture(wanted).await {
            Ok(stream) => stream.into_inner(),
            // Without the right to listen there is nothing to see.
            Err(status) if status.message().contains("not permitted") => return,
            Err(status) => panic!("{status:?}"),
        };
        let sender = tokio::spawn(async move {
            loop {
                let _ = socket.send_to(b"seen", socket.local_addr().unwrap());
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        });
        let mut file = Vec::new();
        while let Some(chunk) = stream.message().await.unwrap() {
            file.extend(chunk.data);
        }
        sender.abort();
        assert_eq!(file[..4], [0xd4, 0xc3, 0xb2, 0xa1]);
        assert!(file.windows(4).any(|window| window == b"seen"), "{} bytes", file.len());
    });
}
