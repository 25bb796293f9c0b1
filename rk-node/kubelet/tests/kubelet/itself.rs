//! What a node renews and tells of itself: certificates by the cluster's own signer, events.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, LogParams, Patch, PatchParams};
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::json;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::support::{Rig, eventually, ready};

/// The life of the certificates; seven to nine tenths of it have passed two to sixty-two seconds after the start of a test.
const LIFE: Duration = Duration::from_secs(300);
/// How much of it is left when a test starts.
const LEFT: Duration = Duration::from_secs(92);

/// The node's certificate and key for `usage`, signed by the cluster.
fn signed(rig: &Rig, usage: ExtendedKeyUsagePurpose, ends: SystemTime) -> String {
    let pki = rig.dir.path().join("control/pki");
    let read = |name: &str| std::fs::read_to_string(pki.join(name)).unwrap();
    let authority = Issuer::from_ca_cert_pem(&read("ca.crt"), KeyPair::from_pem(&read("ca.key")).unwrap()).unwrap();
    let mut params = CertificateParams::new(vec!["node-a".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
    params.distinguished_name.push(DnType::CommonName, "system:node:node-a");
    params.extended_key_usages = vec![usage];
    params.not_before = (ends - LIFE).into();
    params.not_after = ends.into();
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    format!("{}{}", certificate.pem(), key.serialize_pem())
}

/// Ends the kubelet once it has both certificates, and puts others in their places that end in `left`; answers the files, and
/// the end in seconds since the epoch.
async fn stopped_with(rig: &mut Rig, left: Duration) -> ([PathBuf; 2], i64) {
    let pki = &rig.options.dirs.pki;
    let files = [pki.join("kubelet-client.pem"), pki.join("kubelet-serving.pem")];
    eventually("both certificates", 60, || async {
        if files.iter().all(|file| file.exists()) { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    rig.kubelet = None;
    let ends = SystemTime::now() + left;
    let usages = [ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    for (file, usage) in files.iter().zip(usages) {
        std::fs::write(file, signed(rig, usage, ends)).unwrap();
    }
    (files, i64::try_from(ends.duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap())
}

/// When the certificate in a file ends, seconds since the epoch.
fn end_of(file: &Path) -> i64 {
    let der = CertificateDer::from_pem_slice(&std::fs::read(file).unwrap()).unwrap();
    let (_, certificate) = X509Certificate::from_der(&der).unwrap();
    certificate.validity().not_after.timestamp()
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_renewed_before_they_end_and_the_node_goes_on() {
    let mut rig = Rig::new().await;
    rig.create("web", json!({"containers": [{"name": "c", "image": "img:1", "command": ["run"]}]})).await;
    rig.status("web", "the pod is ready", 30, ready).await;
    let running = rig.cri.running("web");
    let (files, ends) = stopped_with(&mut rig, LEFT).await;
    rig.start_kubelet();
    assert_eq!(files.each_ref().map(|file| end_of(file)), [ends; 2]);
    for file in &files {
        eventually("another certificate before this one ends", LEFT.as_secs(), || async {
            let late = jiff::Timestamp::now().as_second() >= ends;
            let end = end_of(file);
            assert!(end > ends || !late, "it has ended");
            if end > ends { Ok(()) } else { Err(end.to_string()) }
        })
        .await;
    }

    // What the node says after that it says with the new certificate.
    let leases: Api<Lease> = Api::namespaced(rig.control.client.clone(), "kube-node-lease");
    eventually("a heartbeat after the end of the first certificate", 90, || async {
        let lease = leases.get("node-a").await.map_err(|e| e.to_string())?;
        let renewed = lease.spec.and_then(|spec| spec.renew_time).map(|time| time.0.as_second());
        if renewed.is_some_and(|at| at > ends) { Ok(()) } else { Err(format!("{renewed:?}")) }
    })
    .await;
    let container = LogParams { container: Some("c".into()), ..Default::default() };
    let log = rig.pods().logs("web", &container).await.expect("the log through the server's new certificate");
    assert_eq!((log.as_str(), rig.cri.running("web")), ("hello from run\n", running));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_object_others_made_has_its_volumes_attached() {
    let mut rig = Rig::new().await;
    rig.kubelet = None;
    let nodes: Api<Node> = Api::all(rig.control.client.clone());
    let bare = json!({"metadata": {"annotations": {"volumes.kubernetes.io/controller-managed-attach-detach": null}}});
    nodes.patch("node-a", &PatchParams::default(), &Patch::Merge(bare)).await.unwrap();
    rig.start_kubelet();
    eventually("it is marked as one that registers is", 60, || async {
        let node = nodes.get("node-a").await.map_err(|e| e.to_string())?;
        let marks = node.metadata.annotations.unwrap_or_default();
        let managed = marks.get("volumes.kubernetes.io/controller-managed-attach-detach");
        if managed.is_some_and(|managed| managed == "true") { Ok(()) } else { Err(format!("{marks:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_from_a_clock_that_was_ahead_are_replaced_by_token() {
    let mut rig = Rig::new().await;
    rig.node_ready().await;
    let (files, _) = stopped_with(&mut rig, 100 * LIFE).await;
    let written = files.each_ref().map(|file| std::fs::read(file).unwrap());
    rig.start_kubelet();
    for (file, early) in files.iter().zip(&written) {
        eventually("a certificate that is valid now", 90, || async {
            if std::fs::read(file).unwrap() != *early { Ok(()) } else { Err(file.display().to_string()) }
        })
        .await;
    }
    rig.create("web", json!({"containers": [{"name": "c", "image": "img:1", "command": ["run"]}]})).await;
    rig.status("web", "the pod is ready", 60, ready).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_tells_of_its_turns_by_events() {
    let rig = Rig::new().await;
    rig.tells("node-a", &["Starting", "NodeHasSufficientMemory", "NodeHasNoDiskPressure", "NodeHasSufficientPID"])
        .await;
    let nodes: Api<Node> = Api::all(rig.control.client.clone());
    for (cordoned, reason) in [(true, "NodeNotSchedulable"), (false, "NodeSchedulable")] {
        let patch = Patch::Merge(json!({"spec": {"unschedulable": cordoned}}));
        nodes.patch("node-a", &PatchParams::default(), &patch).await.unwrap();
        rig.tells("node-a", &[reason]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_has_a_lease_that_is_its_own_and_renews_it() {
    let rig = Rig::new().await;
    let node = Api::<Node>::all(rig.control.client.clone()).get("node-a").await.unwrap();
    let leases: Api<Lease> = Api::namespaced(rig.control.client.clone(), "kube-node-lease");
    let renewed_after = async |before: Option<i64>| {
        eventually("a renewed lease", 30, || async {
            let lease = leases.get("node-a").await.map_err(|e| e.to_string())?;
            let spec = lease.spec.clone().unwrap_or_default();
            let owners = lease.metadata.owner_references.clone().unwrap_or_default();
            let own = owners.iter().any(|owner| Some(&owner.uid) == node.metadata.uid.as_ref());
            let whole = spec.holder_identity.as_deref() == Some("node-a") && spec.lease_duration_seconds == Some(40);
            let at = spec.renew_time.map(|time| time.0.as_second());
            if own && whole && at > before { Ok(at) } else { Err(format!("{lease:?}")) }
        })
        .await
    };
    let first = renewed_after(None).await;
    renewed_after(first).await;
}

/// What the node says to a request for a checkpoint.
async fn checkpoint(rig: &Rig, of: &str) -> String {
    // Past the API server, whose proxy leads to no loopback address.
    let kubeconfig = kube::config::Kubeconfig::read_from(rig.dir.path().join("control/admin.kubeconfig")).unwrap();
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.unwrap();
    config.cluster_url = format!("https://{}", rig.options.listen).parse().unwrap();
    config.accept_invalid_certs = true;
    let node = kube::Client::try_from(config).unwrap();
    let request = http::Request::post(format!("/checkpoint/default/{of}")).body(Vec::new()).unwrap();
    let refused = node.request_text(request).await;
    format!("{:?}", refused.expect_err("this runtime makes none"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_the_runtime_cannot_make_is_an_error_of_its_own() {
    let rig = Rig::new().await;
    rig.create("web", json!({"containers": [{"name": "c", "image": "img:1", "command": ["run"]}]})).await;
    rig.status("web", "the pod is ready", 30, ready).await;
    for (of, words) in [
        ("none/c", "pod does not exist"),
        ("web/none", "container none does not exist"),
        ("web/c?timeout=x", "cannot parse value of timeout parameter"),
        ("web/c", "checkpointing of default/web/c failed"),
    ] {
        // Its server may come a moment later than the pod.
        eventually(of, 30, || async {
            let told = checkpoint(&rig, of).await;
            if told.contains(words) { Ok(()) } else { Err(told) }
        })
        .await;
    }
}
