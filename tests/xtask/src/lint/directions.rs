//! Which crate of ours may use which: the table of `docs/ARCHITECTURE.md`, held by `cargo metadata`.

use super::Metadata;

/// Crate, and what it may use of ours. Dev-dependencies are free.
const ALLOWED: &[(&str, &[&str])] = &[
    ("rk-sys", &[]),
    ("rk-gpt", &[]),
    ("rk-slots", &[]),
    ("rk-luks", &[]),
    ("rk-tpm", &[]),
    ("rk-panics", &[]),
    ("rk-config", &[]),
    ("rk-supervise", &[]),
    ("rk-netd", &["rk-config", "rk-sys"]),
    ("rk-init", &["rk-sys", "rk-gpt", "rk-slots", "rk-luks", "rk-tpm", "rk-config", "rk-supervise", "rk-netd"]),
    ("rk-machine-proto", &[]),
    (
        "rk-machine-api",
        &["rk-machine-proto", "rk-config", "rk-supervise", "rk-sys", "rk-panics", "rk-slots", "rk-netd"],
    ),
    ("rk-cri-api", &["rk-sys"]),
    ("rk-plugin-api", &[]),
    ("rk-figures", &[]),
    ("rk-quantity", &[]),
    ("rk-streaming", &[]),
    ("rk-shim-protocol", &[]),
    ("rk-shim", &["rk-shim-protocol", "rk-sys", "rk-panics"]),
    ("rk-resolve", &[]),
    ("rk-erofs", &[]),
    ("rk-images", &["rk-sys", "rk-resolve", "rk-figures", "rk-erofs"]),
    ("rk-nft", &[]),
    ("rk-cni", &["rk-nft"]),
    (
        "rk-cri",
        &[
            "rk-cri-api",
            "rk-streaming",
            "rk-shim-protocol",
            "rk-images",
            "rk-cni",
            "rk-figures",
            "rk-quantity",
            "rk-sys",
        ],
    ),
    (
        "rk-kubelet",
        &[
            "rk-api",
            "rk-cri-api",
            "rk-plugin-api",
            "rk-config",
            "rk-correlator",
            "rk-lenient",
            "rk-watch",
            "rk-figures",
            "rk-quantity",
            "rk-resolve",
            "rk-sys",
            "rk-zpages",
        ],
    ),
    ("rk-proxy", &["rk-nft", "rk-lenient", "rk-watch"]),
    ("rk-dns", &["rk-lenient", "rk-watch", "rk-resolve"]),
    (
        "rk-node",
        &[
            "rk-kubelet",
            "rk-cri",
            "rk-cri-api",
            "rk-plugin-api",
            "rk-streaming",
            "rk-shim-protocol",
            "rk-images",
            "rk-cni",
            "rk-proxy",
            "rk-dns",
            "rk-config",
            "rk-watch",
            "rk-sys",
            "rk-panics",
        ],
    ),
    ("rk-api", &[]),
    ("rk-quota", &["rk-api"]),
    ("rk-cel", &["rk-api"]),
    ("rk-store", &[]),
    ("rk-lenient", &[]),
    ("rk-watch", &[]),
    ("rk-correlator", &[]),
    ("rk-client", &["rk-watch", "rk-correlator"]),
    ("rk-openapi", &["rk-api"]),
    ("rk-zpages", &[]),
    ("rk-apiserver", &["rk-api", "rk-quota", "rk-cel", "rk-store", "rk-openapi", "rk-resolve", "rk-zpages"]),
    ("rk-scheduler", &["rk-client", "rk-lenient", "rk-api", "rk-cel"]),
    ("rk-controllers", &["rk-client", "rk-watch", "rk-lenient", "rk-api", "rk-quota"]),
    (
        "rk-control",
        &[
            "rk-api",
            "rk-store",
            "rk-client",
            "rk-openapi",
            "rk-apiserver",
            "rk-scheduler",
            "rk-controllers",
            "rk-panics",
        ],
    ),
    ("rk", &["rk-node", "rk-control", "rk-machine-api", "rk-cni"]),
    ("rkctl", &["rk-machine-proto", "rk-config", "rk-image", "rk-slots"]),
    ("rk-kernel", &["rk-config"]),
    ("rk-image", &["rk-config", "rk-gpt", "rk-slots"]),
    ("rk-qemu", &["rk-config"]),
    ("rk-tests", &["rk-machine-proto", "rk-plugin-api", "rk-qemu", "rk-image", "rk-kernel", "rk-config"]),
    ("xtask", &["rk-qemu", "rk-image", "rk-kernel", "rk-config"]),
];

/// Every dependency that points where it may not, and every crate that the table does not know.
pub fn directions(metadata: &Metadata) -> Vec<String> {
    let ours: Vec<&str> = metadata.ours().map(|p| p.name.as_str()).collect();
    let mut findings = Vec::new();
    for package in metadata.ours() {
        let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == package.name) else {
            findings.push(format!(
                "{} is not in the table of lint/directions.rs; add it there and in docs/ARCHITECTURE.md",
                package.name
            ));
            continue;
        };
        for dependency in package.dependencies.iter().filter(|d| d.kind.as_deref() != Some("dev")) {
            let name = dependency.name.as_str();
            if ours.contains(&name) && !allowed.contains(&name) {
                findings.push(format!("{} may not use {name}", package.name));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::metadata::{Dependency, Package};
    use super::*;

    fn package(name: &str, uses: &[(&str, Option<&str>)]) -> Package {
        let dependencies =
            uses.iter().map(|(n, k)| Dependency { name: (*n).into(), kind: k.map(str::to_owned) }).collect();
        Package { id: name.into(), name: name.into(), version: "0".into(), license: None, dependencies }
    }

    fn metadata(packages: Vec<Package>) -> Metadata {
        let workspace_members = packages.iter().map(|p| p.id.clone()).collect();
        Metadata { packages, workspace_members }
    }

    #[test]
    fn an_arrow_that_points_up_is_found_and_a_dev_dependency_is_not() {
        let all = vec![
            package("rk-store", &[]),
            package("rk-client", &[]),
            package("rk-scheduler", &[("rk-store", None), ("serde", None)]),
            package("rk-controllers", &[("rk-store", Some("dev")), ("rk-client", None)]),
        ];
        assert_eq!(directions(&metadata(all)), ["rk-scheduler may not use rk-store"]);
    }

    #[test]
    fn a_crate_without_a_row_is_named() {
        assert_eq!(directions(&metadata(vec![package("rk-utils", &[])])).len(), 1);
    }

    #[test]
    fn the_workspace_keeps_its_directions() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let metadata = Metadata::read(&root).expect("cargo metadata");
        assert_eq!(directions(&metadata), Vec::<String>::new());
    }
}
