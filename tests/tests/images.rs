//! Image archives into a stock registry, and back out of it.

use rk_qemu::http::{Body, Response};
use rk_qemu::oci::{Archive, Entry, ImageConfig, ImageName, digest, media, push, write_layout};
use rk_qemu::registry::Registry;
use rk_tests::artifacts;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

fn registry(name: &str) -> (Registry, PathBuf) {
    let artifacts = artifacts();
    let dir = artifacts.work.join("images").join(name);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("folder");
    (Registry::start(&artifacts.registry, &dir.join("storage"), &dir).expect("registry"), dir)
}

fn manifest(registry: &Registry, repository: &str, reference: &str) -> Response {
    let accept = [media::MANIFEST, media::INDEX, media::DOCKER_MANIFEST, media::DOCKER_LIST].join(", ");
    let path = format!("/v2/{repository}/manifests/{reference}");
    registry
        .client()
        .expect("GET", &path, &[("Accept", &accept)], Body::Empty, &[200])
        .unwrap_or_else(|e| panic!("{e}"))
}

fn json(response: &Response) -> Value {
    serde_json::from_slice(&response.body).expect("JSON")
}

/// Fetches every blob that a manifest names and checks its digest.
fn check_blobs(registry: &Registry, repository: &str, manifest: &Value) -> usize {
    let layers = manifest["layers"].as_array().expect("layers");
    let all: Vec<&Value> = layers.iter().chain([&manifest["config"]]).collect();
    for blob in &all {
        let wanted = blob["digest"].as_str().expect("digest");
        let got =
            registry.client().expect("GET", &format!("/v2/{repository}/blobs/{wanted}"), &[], Body::Empty, &[200]);
        assert_eq!(digest(&got.unwrap_or_else(|e| panic!("{e}")).body), wanted);
    }
    all.len()
}

fn sample(layout: &Path, name: &str) {
    let config = ImageConfig { cmd: vec!["/hello".into()], ..ImageConfig::default() };
    let name: ImageName = name.parse().expect("name");
    write_layout(layout, &name, &[Entry::file("hello", 0o755, *b"hi")], &config).expect("layout");
}

fn tar_of(dir: &Path, to: &Path) {
    let mut tar = tar::Builder::new(std::fs::File::create(to).expect("create"));
    tar.follow_symlinks(false);
    tar.append_dir_all(".", dir).expect("tar");
    tar.finish().expect("tar");
}

#[test]
fn the_demo_images_are_served_under_their_names() {
    let (registry, _) = registry("demo");
    for image in ["busybox", "nginx"] {
        let archive = Archive::open(&artifacts().images.join(image), None).expect("layout");
        for _ in 0..2 {
            let names = push(&registry.client(), &archive).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(names.iter().map(ToString::to_string).collect::<Vec<_>>(), [format!("rk.local/{image}:demo")]);
        }
        let repository = format!("rk.local/{image}");
        assert_eq!(check_blobs(&registry, &repository, &json(&manifest(&registry, &repository, "demo"))), 2);
    }
}

#[test]
fn a_layout_is_taken_as_folder_and_as_tar_with_the_same_result() {
    let (registry, dir) = registry("layout");
    let layout = dir.join("layout");
    sample(&layout, "docker.io/library/hello:1");
    let packed = dir.join("layout.tar");
    tar_of(&layout, &packed);
    let mut digests = Vec::new();
    for source in [&layout, &packed] {
        push(&registry.client(), &Archive::open(source, None).expect("archive")).unwrap_or_else(|e| panic!("{e}"));
        digests.push(digest(&manifest(&registry, "docker.io/library/hello", "1").body));
    }
    assert_eq!(digests.first(), digests.get(1));
}

#[test]
fn the_older_docker_save_is_turned_into_manifests_under_all_its_tags() {
    let (registry, dir) = registry("save");
    let saved = dir.join("saved");
    let layer_dir = saved.join("abc");
    std::fs::create_dir_all(&layer_dir).expect("folder");
    std::fs::write(layer_dir.join("layer.tar"), vec![0; 10240]).expect("layer");
    std::fs::write(saved.join("config.json"), json!({"architecture": "amd64", "os": "linux"}).to_string())
        .expect("config");
    let manifests = json!([{"Config": "config.json", "RepoTags": ["hello:1", "registry.k8s.io/x/hello:2"], "Layers": ["abc/layer.tar"]}]);
    std::fs::write(saved.join("manifest.json"), manifests.to_string()).expect("manifest");
    let packed = dir.join("saved.tar");
    tar_of(&saved, &packed);
    let names =
        push(&registry.client(), &Archive::open(&packed, None).expect("archive")).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(names.len(), 2);
    for (repository, tag) in [("docker.io/library/hello", "1"), ("registry.k8s.io/x/hello", "2")] {
        let manifest = json(&manifest(&registry, repository, tag));
        assert_eq!(manifest["layers"][0]["mediaType"], media::LAYER);
        assert_eq!(check_blobs(&registry, repository, &manifest), 2);
    }
}

#[test]
fn of_an_index_with_holes_the_image_for_this_machine_is_taken() {
    let (registry, dir) = registry("holes");
    let layout = dir.join("layout");
    sample(&layout, "hello:1");
    let inner: Value = serde_json::from_slice(&std::fs::read(layout.join("index.json")).expect("index")).expect("JSON");
    let mut here = inner["manifests"][0].clone();
    here["platform"] = json!({"os": "linux", "architecture": "amd64"});
    let absent = json!({"mediaType": media::MANIFEST, "digest": format!("sha256:{}", "1".repeat(64)), "size": 5,
        "platform": {"os": "linux", "architecture": "arm64"}});
    let index = json!({"schemaVersion": 2, "mediaType": media::INDEX, "manifests": [absent, here]}).to_string();
    let hash = digest(index.as_bytes());
    std::fs::write(layout.join("blobs/sha256").join(hash.trim_start_matches("sha256:")), &index).expect("blob");
    let outer = json!({"schemaVersion": 2, "manifests": [{"mediaType": media::INDEX, "digest": hash, "size": index.len(),
        "annotations": {"io.containerd.image.name": "docker.io/library/hello:1"}}]});
    std::fs::write(layout.join("index.json"), outer.to_string()).expect("index");
    push(&registry.client(), &Archive::open(&layout, None).expect("archive")).unwrap_or_else(|e| panic!("{e}"));
    let got = json(&manifest(&registry, "docker.io/library/hello", "1"));
    assert_eq!(got["mediaType"], media::MANIFEST);
}

#[test]
fn archives_without_names_or_images_are_refused_with_advice() {
    let (_registry, dir) = registry("bad");
    let layout = dir.join("layout");
    sample(&layout, "hello:1");
    let text = std::fs::read_to_string(layout.join("index.json")).expect("index");
    std::fs::write(layout.join("index.json"), text.replace("io.containerd.image.name", "x")).expect("index");
    let nameless = Archive::open(&layout, None).expect_err("nameless").to_string();
    assert!(nameless.contains("--as"), "{nameless}");
    let name: ImageName = "given:1".parse().expect("name");
    assert_eq!(Archive::open(&layout, Some(&name)).expect("named").images.len(), 1);
    let empty = dir.join("empty");
    std::fs::create_dir_all(&empty).expect("folder");
    assert!(Archive::open(&empty, None).is_err());
    std::fs::write(dir.join("text.tar"), "this is no tar at all").expect("file");
    assert!(Archive::open(&dir.join("text.tar"), None).is_err());
}

#[test]
fn a_link_out_of_the_archive_is_not_followed() {
    let (_registry, dir) = registry("escape");
    let saved = dir.join("saved");
    std::fs::create_dir_all(&saved).expect("folder");
    std::os::unix::fs::symlink("/etc/passwd", saved.join("layer.tar")).expect("link");
    std::fs::write(saved.join("config.json"), "{}").expect("config");
    let manifests = json!([{"Config": "config.json", "RepoTags": ["x:1"], "Layers": ["layer.tar"]}]);
    std::fs::write(saved.join("manifest.json"), manifests.to_string()).expect("manifest");
    let error = Archive::open(&saved, None).expect_err("an escape").to_string();
    assert!(error.contains("leads out of the archive"), "{error}");
}
