//! The reference plugins of Debian under our runtime, alone and mixed with ours. Skips nothing: without the package it fails.

mod host;

use std::{path::PathBuf, process::Command};

use host::{Host, Netns, attachment, ours};
use serde_json::json;

/// Debian's `containernetworking-plugins`, unpacked into a cache; the system is not touched.
fn reference() -> PathBuf {
    let cache = std::env::var_os("RK_CACHE")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/rk")));
    let directory = cache.unwrap_or_else(std::env::temp_dir).join("containernetworking-plugins");
    let plugins = directory.join("usr/lib/cni");
    if !plugins.join("bridge").exists() {
        let scratch = tempfile::tempdir().expect("tempdir");
        // apt downloads as its own user, who must be able to write here.
        let run = |program: &str, args: &[&str]| {
            let output = Command::new(program).args(args).current_dir(scratch.path()).output().expect(program);
            assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        };
        run("apt-get", &["-o", "APT::Sandbox::User=root", "download", "containernetworking-plugins"]);
        let deb = std::fs::read_dir(scratch.path())
            .expect("read")
            .flatten()
            .map(|e| e.path())
            .find(|p| p.extension().is_some_and(|e| e == "deb"));
        let unpacked = directory.with_extension(format!("new-{}", std::process::id()));
        std::fs::create_dir_all(&unpacked).expect("create");
        run("dpkg", &["-x", deb.expect("package").to_str().expect("utf-8"), unpacked.to_str().expect("utf-8")]);
        // Another test process may have been faster.
        let _ = std::fs::rename(&unpacked, &directory);
        let _ = std::fs::remove_dir_all(&unpacked);
    }
    plugins
}

#[test]
fn reference_plugins_take_the_place_of_ours_one_by_one() {
    let reference = reference();
    let all = ["bridge", "host-local", "portmap", "loopback"];
    for (theirs, version) in [
        (&all[..], "1.0.0"),
        (&["bridge"][..], "0.3.1"),
        (&["host-local"][..], "0.3.1"),
        (&["loopback"][..], "0.4.0"),
        (&["portmap"][..], "0.3.0"),
    ] {
        let mut plugins = ours();
        for (name, path) in &mut plugins {
            if theirs.contains(name) {
                *path = reference.join(*name);
            }
        }
        let store = tempfile::tempdir().expect("tempdir");
        let conflist = json!({
            "cniVersion": version,
            "name": "mixed",
            "plugins": [
                {"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true, "ipam": {
                    "type": "host-local", "dataDir": store.path(),
                    "ranges": [[{"subnet": "10.244.7.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}],
                }},
                {"type": "portmap", "capabilities": {"portMappings": true}},
            ],
        });
        let host = Host::new(&conflist, &plugins);
        let (a, b) = (Netns::new("a"), Netns::new("b"));
        let (to_a, to_b) = (attachment(&a), attachment(&b));
        let both = (to_a.clone(), to_b.clone());
        host.run(async move |runtime| {
            for to in [&both.0, &both.1] {
                runtime.add(to).await.expect("add");
                runtime.check(to).await.expect("check");
            }
        });
        let server = b.serve("10.244.7.3:80");
        assert_eq!(a.ask("10.244.7.3:80").as_deref(), Ok("10.244.7.2"), "reference: {theirs:?} {version}");
        server.join().expect("server");
        host.run(async move |runtime| {
            for to in [&to_a, &to_b] {
                runtime.del(to).await.expect("del");
            }
        });
        let left: Vec<_> =
            std::fs::read_dir(store.path().join("mixed")).expect("store").flatten().map(|e| e.file_name()).collect();
        assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("10.")), "{theirs:?} left {left:?}");
    }
}
