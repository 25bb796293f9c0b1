//! Certificates that run out while the server runs.

use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use rk_apiserver::ServingNames;
use rk_apiserver::pki::Credential;
use rustls::pki_types::CertificateDer;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::support::Cluster;
use crate::support::sockets::{connect, exchange, get, listen, pair};

/// What the server showed on a connection.
fn shown(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).expect("a certificate").clone().into_owned()
}

fn leaf(credential: &Credential) -> CertificateDer<'static> {
    pair(&credential.certificate, &credential.key).0.remove(0)
}

/// A serving certificate of the cluster's authority with an hour to live.
fn short_lived(cluster: &Cluster) -> Credential {
    let authority = &cluster.pki.authority;
    let issuer = Issuer::from_ca_cert_der(authority.der(), KeyPair::from_pem(authority.key()).unwrap()).unwrap();
    let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.not_after = (SystemTime::now() + Duration::from_secs(3600)).into();
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap().pem();
    Credential { certificate, key: key.serialize_pem() }
}

#[tokio::test]
async fn a_certificate_that_runs_out_is_renewed_and_no_connection_ends() {
    let mut cluster = Cluster::start().await;
    cluster.pki.serving = short_lived(&cluster);
    let files = cluster.dir.path().join("pki");
    std::fs::write(files.join("apiserver.key"), &cluster.pki.serving.key).unwrap();
    std::fs::write(files.join("apiserver.crt"), &cluster.pki.serving.certificate).unwrap();
    cluster.server.renew(&cluster.pki).unwrap();

    let address = listen(&cluster).await;
    let mut open = connect(&cluster, address, None).await;
    assert_eq!(shown(&open), leaf(&cluster.pki.serving));

    let names = ServingNames::new("cluster.local", "10.96.0.1".parse().unwrap(), ["127.0.0.1".to_owned()]);
    let fresh = cluster.pki.renewed(&names).unwrap();
    assert_eq!(fresh.changed_since(&cluster.pki), ["apiserver"], "what lasts stays");
    cluster.server.renew(&fresh).unwrap();

    assert_eq!(shown(&connect(&cluster, address, None).await), leaf(&fresh.serving));
    let answer = exchange(&mut open, &get("/version", ""), "}").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let again = fresh.renewed(&names).unwrap();
    assert!(again.changed_since(&fresh).is_empty(), "one that lasts is kept");
}
