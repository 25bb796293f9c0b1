//! The life of the control plane itself, of namespaces and of nodes.

use crate::cluster::node::Nodes;
use crate::cluster::{ControlPlane, eventually};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, DnType, KeyPair};

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_is_furnished_and_goes_with_all_of_its_content() {
    let plane = ControlPlane::start().await;
    plane.kubectl("create namespace shop");
    plane.shows("serviceaccount default -n shop", ".metadata.name", "default").await;
    plane.shows("configmap kube-root-ca.crt -n shop", ".metadata.name", "kube-root-ca.crt").await;
    plane.kubectl("create deployment web --image=x -n shop");
    plane.kubectl("create configmap settings -n shop");
    plane.kubectl("delete namespace shop --timeout=180s");
    plane.gone("namespace shop").await;
    assert_eq!(
        plane.kubectl("get all,configmaps -A -o jsonpath={.items[?(@.metadata.namespace=='shop')].metadata.name}"),
        ""
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_control_plane_comes_back_with_every_write_and_goes_on() {
    let mut plane = ControlPlane::start().await;
    for n in 0..20 {
        plane.kubectl(&format!("create configmap c{n}"));
    }
    plane.kubectl("create deployment web --image=x --replicas=2");
    plane.crash_and_restart().await;
    assert_eq!(plane.kubectl("get configmaps -o name").lines().filter(|l| l.starts_with("configmap/c")).count(), 20);
    let _nodes = Nodes::start(plane.client().await, &["n1"]).await;
    plane.kubectl("rollout status deployment/web --timeout=180s");
    assert!(plane.stop(), "ends by itself when asked to");
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_get_their_own_pod_ranges() {
    let plane = ControlPlane::start().await;
    let _nodes = Nodes::start(plane.client().await, &["n1", "n2", "n3"]).await;
    eventually("three distinct ranges", || async {
        let ranges = plane.kubectl("get nodes -o jsonpath={.items[*].spec.podCIDR}");
        let distinct: std::collections::BTreeSet<&str> = ranges.split_whitespace().collect();
        if distinct.len() == 3 { Ok(()) } else { Err(ranges) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_a_dual_stack_cluster_get_a_range_of_each_family() {
    let dual = ["--pod-cidr", "10.244.0.0/16,fd00:10:244::/56", "--service-cidr", "10.96.0.0/16,fd00:10:96::/112"];
    let plane = ControlPlane::start_with(|_| dual.map(str::to_owned).to_vec()).await;
    let _nodes = Nodes::start(plane.client().await, &["n1", "n2"]).await;
    eventually("two ranges of each family", || async {
        let ranges = plane.kubectl("get nodes -o jsonpath={.items[*].spec.podCIDRs[*]}");
        let mut distinct: Vec<&str> = ranges.split_whitespace().collect();
        distinct.sort_unstable();
        let wanted = ["10.244.0.0/24", "10.244.1.0/24", "fd00:10:244:1::/64", "fd00:10:244::/64"];
        if distinct == wanted { Ok(()) } else { Err(ranges) }
    })
    .await;
    let first = plane.kubectl("get node n1 -o jsonpath={.spec.podCIDR},{.spec.podCIDRs[1]}");
    assert!(first.starts_with("10.244.") && first.contains(",fd00:10:244:"), "{first}");
    plane.shows("servicecidr kubernetes", ".spec.cidrs[*]", "10.96.0.0/16 fd00:10:96::/112").await;
    plane.shows("service kubernetes", ".spec.clusterIPs[*]", "10.96.0.1").await;
    plane.shows("service kube-dns -n kube-system", ".spec.clusterIPs[*]", "10.96.0.10").await;
}

fn request(plane: &ControlPlane, name: &str, signer: &str, usage: &str, sans: Vec<String>) {
    let mut params = CertificateParams::new(sans).expect("names");
    params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
    params.distinguished_name.push(DnType::CommonName, "system:node:n1");
    let pem = params.serialize_request(&KeyPair::generate().expect("key")).expect("request").pem().expect("pem");
    let user = if usage == "client auth" { "system:bootstrap:abcdef" } else { "system:node:n1" };
    let group = if usage == "client auth" { "system:bootstrappers:kubeadm:default-node-token" } else { "system:nodes" };
    let file = plane.kubeconfig().with_file_name(format!("{name}.yaml"));
    let manifest = format!(
        "apiVersion: certificates.k8s.io/v1\nkind: CertificateSigningRequest\nmetadata: {{name: {name}}}\n\
         spec: {{signerName: {signer}, usages: [digital signature, {usage}], request: {}}}\n",
        STANDARD.encode(pem)
    );
    std::fs::write(&file, manifest).expect("written");
    plane.kubectl(&format!(
        "create -f {} --as={user} --as-group={group} --as-group=system:authenticated",
        file.display()
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn kubelets_get_certificates_for_themselves_only() {
    let plane = ControlPlane::start().await;
    let _nodes = Nodes::start(plane.client().await, &["n1"]).await;
    plane.shows("node n1", ".status.addresses[0].address", "192.0.2.1").await;
    request(&plane, "client", "kubernetes.io/kube-apiserver-client-kubelet", "client auth", vec![]);
    request(
        &plane,
        "serving",
        "kubernetes.io/kubelet-serving",
        "server auth",
        vec!["192.0.2.1".to_owned(), "n1".to_owned()],
    );
    request(&plane, "foreign", "kubernetes.io/kubelet-serving", "server auth", vec!["192.0.2.99".to_owned()]);
    for name in ["client", "serving"] {
        eventually(&format!("{name} to be issued"), || async {
            let seen = plane.kubectl(&format!("get csr {name} -o jsonpath={{.status.certificate}}"));
            let pem = STANDARD.decode(&seen).unwrap_or_default();
            if pem.starts_with(b"-----BEGIN CERTIFICATE-----") {
                Ok(())
            } else {
                Err(plane.kubectl(&format!("get csr {name} -o yaml")))
            }
        })
        .await;
    }
    assert_eq!(plane.kubectl("get csr foreign -o jsonpath={.status}"), "{}", "nobody vouches for a foreign address");
}
