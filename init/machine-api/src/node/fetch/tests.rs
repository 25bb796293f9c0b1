//! Against small servers on loopback that answer as the clouds do.

use super::*;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;

const YAML: &str = "apiVersion: rk.dev/v1alpha1\nkind: MachineConfig\nrole: control-plane\n";

/// A server that answers each request by what `answer` makes of its head; every head is told.
fn server(answer: impl Fn(&str) -> (u16, String) + Send + 'static) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let (sender, heads) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut head = String::new();
            let mut byte = [0];
            while !head.ends_with("\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
                head.push(char::from(byte[0]));
            }
            let (status, body) = answer(&head.to_lowercase());
            let _ = write!(stream, "HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            if sender.send(head).is_err() {
                return;
            }
        }
    });
    (base, heads)
}

fn look(place: &Place) -> Result<String, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(ask(place)).and_then(|text| judge(&text))
}

fn hostname(yaml: &str) -> Option<String> {
    rk_config::parse(yaml).unwrap().config.hostname
}

#[test]
fn ec2_gives_nothing_without_a_token_and_the_config_with_it() {
    let (base, heads) = server(|head| match head {
        h if h.starts_with("put /latest/api/token") && h.contains("ttl-seconds: 300") => (200, "tok-1".into()),
        h if !h.contains("x-aws-ec2-metadata-token: tok-1") => (401, String::new()),
        h if h.starts_with("get /latest/user-data") => (200, YAML.into()),
        h if h.starts_with("get /latest/meta-data/local-hostname") => (200, "ip-10-0-0-1".into()),
        _ => (404, String::new()),
    });
    let yaml = look(&Place::Cloud { platform: Platform::Aws, base }).unwrap();
    assert_eq!(hostname(&yaml).as_deref(), Some("ip-10-0-0-1"));
    assert_eq!(heads.iter().take(3).count(), 3);
}

#[test]
fn gce_azure_and_openstack_are_asked_in_their_own_way() {
    let (gcp, _heads) = server(|head| match head {
        h if !h.contains("metadata-flavor: google") => (403, String::new()),
        h if h.starts_with("get /computemetadata/v1/instance/attributes/user-data ") => (200, YAML.into()),
        h if h.starts_with("get /computemetadata/v1/instance/hostname") => (200, "vm-1.c.example.internal".into()),
        _ => (404, String::new()),
    });
    let yaml = look(&Place::Cloud { platform: Platform::Gcp, base: gcp }).unwrap();
    assert_eq!(hostname(&yaml).as_deref(), Some("vm-1.c.example.internal"));
    let (azure, _heads) = server(|head| match head {
        h if !h.contains("metadata: true") => (400, String::new()),
        h if h.contains("/compute/userdata?") => {
            let word = rk_config::encode_for_cmdline(YAML);
            (200, word.trim_start_matches("rk.config=base64:").into())
        }
        _ => (404, String::new()),
    });
    let yaml = look(&Place::Cloud { platform: Platform::Azure, base: azure }).unwrap();
    assert_eq!(hostname(&yaml), None);
    let (openstack, _heads) = server(|head| match head {
        h if h.starts_with("get /openstack/latest/user_data ") => (200, YAML.into()),
        _ => (404, String::new()),
    });
    look(&Place::Cloud { platform: Platform::OpenStack, base: openstack }).unwrap();
}

#[test]
fn a_url_is_believed_only_with_the_hash_that_was_pinned() {
    let (base, _heads) = server(|_| (200, YAML.into()));
    let place = |sha256: &str| Place::Url { url: format!("{base}/m.yaml"), sha256: Some(sha256.to_owned()) };
    look(&place(&hex::encode(Sha256::digest(YAML)))).unwrap();
    assert!(look(&place(&"0".repeat(64))).unwrap_err().contains("rk.config.sha256"));
}

#[test]
fn what_is_no_config_or_no_answer_is_told() {
    let (base, _heads) = server(|_| (200, "role: boss".into()));
    assert!(look(&Place::Url { url: base, sha256: None }).unwrap_err().contains("role"));
    let (base, _heads) = server(|_| (500, String::new()));
    assert!(look(&Place::Url { url: base, sha256: None }).unwrap_err().contains("500"));
    let closed = crate::telemetry::hold("127.0.0.1:0".parse().unwrap());
    let url = format!("http://{}/", closed.local_addr().unwrap());
    assert!(look(&Place::Url { url, sha256: None }).unwrap_err().contains("talking to"));
}

#[test]
fn the_command_line_says_where_to_look() {
    assert_eq!(
        Place::of("quiet rk.config=https://a/b rk.config.sha256=AB"),
        Some(Place::Url { url: "https://a/b".to_owned(), sha256: Some("ab".to_owned()) })
    );
    assert_eq!(
        Place::of("rk.platform=gcp rk.metadata=http://10.0.2.2:80/"),
        Some(Place::Cloud { platform: Platform::Gcp, base: "http://10.0.2.2:80".to_owned() })
    );
    assert_eq!(Place::of("rk.platform=metal"), None);
}
