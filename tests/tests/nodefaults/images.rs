//! Images that are not what they say, and pulls that end with the machine's power.

use super::{HOLDINGS, back_to, cluster, delete, observers, pod, ready, ready_node, sh, unharmed};
use rk_qemu::http::Body;
use rk_qemu::oci::{Archive, Entry, ImageConfig, ImageName, digest, media, push, write_layout};
use rk_tests::{Kubectl, Shared, eventually, limit, number};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// Distinguishes the blobs of this run from those that the registry has kept.
pub fn fresh() -> String {
    format!("{:?} {}", std::time::SystemTime::now(), std::process::id())
}

/// Pushes an image made of these files; answers the digest of its layer.
pub fn pushed(shared: &Shared, name: &str, entries: &[Entry]) -> String {
    let layout = shared.artifacts.work.join("nodefaults-layouts").join(name);
    let full: ImageName = format!("rk.local/{name}:demo").parse().expect("name");
    let config = ImageConfig { cmd: vec!["/bin/true".into()], ..ImageConfig::default() };
    write_layout(&layout, &full, entries, &config).expect("layout");
    push(&shared.cluster.registry().client(), &Archive::open(&layout, None).expect("archive")).expect("push");
    manifest(shared, name)["layers"][0]["digest"].as_str().expect("digest").to_owned()
}

fn manifest(shared: &Shared, name: &str) -> Value {
    let client = shared.cluster.registry().client();
    let path = format!("/v2/rk.local/{name}/manifests/demo");
    let answer = client.expect("GET", &path, &[("Accept", media::MANIFEST)], Body::Empty, &[200]).expect("manifest");
    serde_json::from_slice(&answer.body).expect("JSON")
}

/// Where the registry keeps a blob.
fn blob(shared: &Shared, digest: &str) -> PathBuf {
    let hex = digest.strip_prefix("sha256:").expect("sha256");
    let root = shared.artifacts.registry_storage.join("docker/registry/v2/blobs/sha256");
    root.join(&hex[..2]).join(hex).join("data")
}

fn put(shared: &Shared, name: &str, bytes: &[u8]) -> String {
    let (client, digest) = (shared.cluster.registry().client(), digest(bytes));
    let start = format!("/v2/rk.local/{name}/blobs/uploads/");
    let session = client.expect("POST", &start, &[], Body::Empty, &[202]).expect("upload");
    let location = session.header("location").expect("location").to_owned();
    let path = location
        .split_once("://")
        .map_or(location.clone(), |(_, rest)| rest[rest.find('/').expect("path")..].to_owned());
    let target = format!("{path}{}digest={digest}", if path.contains('?') { '&' } else { '?' });
    client
        .expect("PUT", &target, &[("Content-Type", "application/octet-stream")], Body::Bytes(bytes), &[201])
        .expect("blob");
    digest
}

/// Pushes an image of one plain layer, whose config names `diff_id`, or the right one.
fn crafted(shared: &Shared, name: &str, layer: &[u8], diff_id: Option<&str>) {
    let of_layer = put(shared, name, layer);
    let diff_id = diff_id.unwrap_or(&of_layer);
    let config = json!({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["/bin/true"]},
        "rootfs": {"type": "layers", "diff_ids": [diff_id]}})
    .to_string();
    let of_config = put(shared, name, config.as_bytes());
    let manifest = json!({"schemaVersion": 2, "mediaType": media::MANIFEST,
        "config": {"mediaType": media::CONFIG, "digest": of_config, "size": config.len()},
        "layers": [{"mediaType": media::LAYER, "digest": of_layer, "size": layer.len()}]})
    .to_string();
    let path = format!("/v2/rk.local/{name}/manifests/demo");
    let client = shared.cluster.registry().client();
    client
        .expect("PUT", &path, &[("Content-Type", media::MANIFEST)], Body::Bytes(manifest.as_bytes()), &[201])
        .expect("manifest");
}

/// A tar of entries whose names and targets are written as they are.
fn tar(entries: &[(tar::EntryType, &str, &str)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (kind, name, link) in entries {
        let mut header = tar::Header::new_gnu();
        let raw = header.as_old_mut();
        raw.name[..name.len()].copy_from_slice(name.as_bytes());
        raw.linkname[..link.len()].copy_from_slice(link.as_bytes());
        let content: &[u8] = if *kind == tar::EntryType::Regular { b"evil" } else { b"" };
        header.set_entry_type(*kind);
        header.set_size(content.len() as u64);
        header.set_mode(0o777);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_cksum();
        archive.append(&header, content).expect("tar");
    }
    archive.into_inner().expect("tar")
}

fn run(kubectl: &Kubectl, name: &str) {
    kubectl.apply(&pod(name, "exec sleep 600", "", "").replace("busybox:demo", &format!("{name}:demo")));
}

/// Waits until the pull has failed; answers why.
fn refused(kubectl: &Kubectl, name: &str) -> String {
    eventually(name, limit(90), || {
        let seen = kubectl.try_path(&["pod", name], "{.status.containerStatuses[0].state.waiting}")?;
        if seen.contains("ErrImagePull") || seen.contains("ImagePullBackOff") { Ok(seen) } else { Err(seen) }
    })
}

/// Files and directories that the node keeps for images.
const KEPT: &str = "cd /proc/1/root/var/lib/rk/images; find . -maxdepth 2 | grep -v lost+found | sort | tr '\\n' ' '";

#[test]
fn images_that_are_not_what_they_say_fail_their_own_pod_and_nothing_of_them_is_kept() {
    let shared = cluster();
    let kubectl = shared.kubectl.new_namespace("hostile-images");
    observers(&kubectl);
    let before =
        (sh(&kubectl, "inspector", KEPT).expect("images"), sh(&kubectl, "inspector", HOLDINGS).expect("holdings"));
    let noise: String = (0..40_000).map(|n: u64| format!("{:x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    let content = || vec![Entry::file("noise", 0o644, format!("{}{noise}", fresh()))];
    let corrupt = blob(&shared, &pushed(&shared, "corrupt", &content()));
    let mut bytes = fs::read(&corrupt).expect("blob");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    fs::write(&corrupt, bytes).expect("blob");
    let truncated = blob(&shared, &pushed(&shared, "truncated", &content()));
    let file = fs::OpenOptions::new().write(true).open(&truncated).expect("blob");
    file.set_len(file.metadata().expect("size").len() / 2).expect("size");
    use tar::EntryType::{Link, Regular, Symlink};
    crafted(
        &shared,
        "mislabelled",
        &tar(&[(Regular, &format!("f{}", std::process::id()), "")]),
        Some(&digest(b"another layer")),
    );
    for name in ["corrupt", "truncated", "mislabelled"] {
        run(&kubectl, name);
    }
    for (name, word) in
        [("corrupt", "rk.local/corrupt"), ("truncated", "rk.local/truncated"), ("mislabelled", "unpacked layer")]
    {
        let told = refused(&kubectl, name);
        assert!(told.to_lowercase().contains(word), "{name}: {told}");
    }
    let evil = "proc/1/root/var/lib/rk-evil";
    crafted(
        &shared,
        "climbing",
        &tar(&[
            (Regular, "../../../../../../../../var/lib/rk-evil", ""),
            (Regular, "/var/lib/rk-evil", ""),
            (Symlink, "up", "../../../../../../../../var/lib"),
            (Regular, "up/rk-evil", ""),
            (Symlink, "all", "/"),
            (Regular, "all/var/lib/rk-evil", ""),
            (Link, "hard", "../../../../../../../../run/rk/machine.json"),
            (Regular, "hard", ""),
        ]),
        None,
    );
    run(&kubectl, "climbing");
    eventually("an end of the climb", limit(60), || {
        let seen = kubectl.try_path(
            &["pod", "climbing"],
            "{.status.containerStatuses[0].state}{.status.containerStatuses[0].lastState}",
        )?;
        // Refused, or contained: then there is no such program in it.
        if ["ErrImagePull", "ImagePullBackOff", "RunContainerError", "CrashLoopBackOff"]
            .iter()
            .any(|r| seen.contains(r))
        {
            Ok(())
        } else {
            Err(seen)
        }
    });
    let escaped =
        sh(&kubectl, "inspector", &format!("ls /{evil} 2>/dev/null; grep -c evil /proc/1/root/run/rk/machine.json"));
    assert!(escaped.as_ref().is_err() || escaped.as_deref().is_ok_and(|s| s.trim() == "0"), "{escaped:?}");
    delete(&kubectl, &["pod", "corrupt", "truncated", "mislabelled", "climbing"]);
    // The registry is right again, and so is the next pull.
    fs::remove_file(&corrupt).expect("blob");
    fs::remove_file(&truncated).expect("blob");
    // A pull that was under way is given up after its pod.
    eventually("nothing partial", limit(60), || {
        let told = sh(&kubectl, "inspector", KEPT)?;
        let partial: Vec<&str> =
            told.split_whitespace().filter(|path| path.contains("ingest") && path.matches('/').count() > 1).collect();
        if partial.is_empty() { Ok(()) } else { Err(format!("{partial:?} beside {}", before.0)) }
    });
    back_to(&kubectl, &before.1);
    unharmed(&kubectl);
}

/// One file of so many times 16 MiB of zeros, as a gzip of some KiB for each of them.
fn bomb(times: u64) -> Vec<u8> {
    let gzip = |bytes: &[u8]| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::Write::write_all(&mut gzip, bytes).expect("gzip");
        gzip.finish().expect("gzip")
    };
    let mut header = tar::Header::new_gnu();
    header.set_path("zeros").expect("name");
    header.set_entry_type(tar::EntryType::Regular);
    header.set_size(times << 24);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    let zeros = gzip(&vec![0; 1 << 24]);
    let mut layer = gzip(header.as_bytes());
    (0..times).for_each(|_| layer.extend_from_slice(&zeros));
    layer
}

#[test]
fn a_bomb_is_given_up_before_the_disk_is_short() {
    let shared = cluster();
    let kubectl = shared.kubectl.new_namespace("image-bomb");
    observers(&kubectl);
    let before = sh(&kubectl, "inspector", HOLDINGS).expect("holdings");
    // What may be used is nearly used, so that the bomb writes little: evictions would begin at a tenth of the disk.
    let fill = "set -- $(df -k /v | tail -n 1); fallocate -l $((($4 - $2 / 10 - 400 * 1024) * 1024)) /v/all; touch /full; exec sleep 36000";
    let volume = "  volumes: [{name: v, emptyDir: {}}]\n";
    kubectl.apply(&pod("filler", fill, volume, "    volumeMounts: [{name: v, mountPath: /v}]\n"));
    ready(&kubectl, "filler");
    eventually("a disk that is nearly full", limit(60), || sh(&kubectl, "filler", "test -e /full"));
    crafted(&shared, "bomb", &bomb(64), Some(&digest(fresh().as_bytes())));
    run(&kubectl, "bomb");
    let told = refused(&kubectl, "bomb");
    assert!(told.contains("must stay so"), "{told}");
    sh(&kubectl, "neighbour", "head -c 1000000 /dev/zero > /written").expect("the neighbour writes on");
    let pressure = "{.status.conditions[?(@.type==\"DiskPressure\")].status}";
    assert_eq!(kubectl.path(&["node", "worker-1"], pressure), "False");
    assert_eq!(kubectl.path(&["pod", "filler"], "{.status.phase}"), "Running");
    delete(&kubectl, &["pod", "bomb"]);
    eventually("nothing of it is kept", limit(60), || {
        match sh(&kubectl, "inspector", "ls /proc/1/root/var/lib/rk/images/ingest | wc -l")?.trim() {
            "0" => Ok(()),
            left => Err(left.to_owned()),
        }
    });
    delete(&kubectl, &["pod", "filler"]);
    back_to(&kubectl, &before);
    unharmed(&kubectl);
}

#[test]
fn a_layer_that_lost_a_block_is_pulled_again_for_the_next_pod() {
    let shared = cluster();
    let kubectl = shared.kubectl.new_namespace("lost-block");
    observers(&kubectl);
    let stamp = fresh();
    let entries: Vec<Entry> = (0..3).map(|n| Entry::file(&format!("to-be-lost-{n}"), 0o644, stamp.clone())).collect();
    pushed(&shared, "damaged", &entries);
    let all_are_seen = |name: &str| {
        let volume = "  volumes: [{name: i, image: {reference: 'rk.local/damaged:demo'}}]\n";
        let mount = "    volumeMounts: [{name: i, mountPath: /i}]\n";
        kubectl.apply(&pod(name, "ls /i | wc -l; exec sleep 600", volume, mount));
        ready(&kubectl, name);
        eventually("all files are counted", limit(60), || {
            let answer = kubectl.run(&["logs", name]);
            if answer.out.trim() == "3" { Ok(()) } else { Err(answer.out + &answer.err) }
        });
        delete(&kubectl, &["pod", name]);
    };
    all_are_seen("before");
    // The block that tells what the others are.
    let lose = "cd /proc/1/root/var/lib/rk/images/layers; f=$(grep -l to-be-lost-1 */layer.erofs) && \
                dd if=/dev/zero of=$f bs=4096 count=1 conv=notrunc";
    sh(&kubectl, "inspector", lose).expect("a lost block");
    // A process looks at a layer once.
    sh(&kubectl, "inspector", "kill -9 $(pidof rk-node)").ok();
    ready_node(&kubectl);
    all_are_seen("after");
    eventually("what is left of the layer is gone", limit(60), || {
        match sh(&kubectl, "inspector", "ls /proc/1/root/var/lib/rk/images/damaged | wc -l")?.trim() {
            "0" => Ok(()),
            left => Err(left.to_owned()),
        }
    });
    unharmed(&kubectl);
}

#[test]
fn a_pull_that_was_broken_off_goes_on_after_the_agent_was_killed() {
    let shared = cluster();
    let kubectl = shared.kubectl.new_namespace("broken-off");
    observers(&kubectl);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ u64::from(std::process::id());
    let noise = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    });
    let noise: Vec<u8> = noise.take(24 << 20).collect();
    let stored = blob(&shared, &pushed(&shared, "broken-off", &[Entry::file("noise", 0o644, noise)]));
    let whole = fs::read(&stored).expect("blob");
    let half = whole.len() / 2;
    fs::write(&stored, &whole[..half]).expect("half of the blob");
    let volume = "  volumes: [{name: i, image: {reference: 'rk.local/broken-off:demo'}}]\n";
    let mount = "    volumeMounts: [{name: i, mountPath: /i}]\n";
    kubectl.apply(&pod("broken-off", "wc -c < /i/noise; exec sleep 600", volume, mount));
    let partial = "/proc/1/root/var/lib/rk/images/partial";
    eventually("what came is kept", limit(120), || {
        let told = sh(&kubectl, "inspector", &format!("cat {partial}/* | wc -c"))?;
        if told.trim() == half.to_string() { Ok(()) } else { Err(told) }
    });
    sh(&kubectl, "inspector", "kill -9 $(pidof rk-node)").ok();
    fs::write(&stored, &whole).expect("the blob");
    ready_node(&kubectl);
    ready(&kubectl, "broken-off");
    eventually("the file is counted", limit(60), || {
        let answer = kubectl.run(&["logs", "broken-off"]);
        if answer.out.trim() == (24 << 20).to_string() { Ok(()) } else { Err(answer.out + &answer.err) }
    });
    let log = sh(&kubectl, "inspector", "grep -c 'goes on where it ended' /proc/1/root/var/log/rk/node.log");
    assert!(log.as_ref().is_ok_and(|count| count.trim() != "0"), "{log:?}");
    assert_eq!(sh(&kubectl, "inspector", &format!("ls {partial} | wc -l")).expect("partial").trim(), "0");
    delete(&kubectl, &["pod", "broken-off"]);
    unharmed(&kubectl);
}

#[test]
fn power_cuts_in_mid_unpack_leave_a_node_that_pulls_and_runs() {
    let mut shared = cluster();
    let kubectl = shared.kubectl.new_namespace("power-cuts");
    observers(&kubectl);
    let before = sh(&kubectl, "inspector", HOLDINGS).expect("holdings");
    let binary = fs::read(shared.artifacts.images.join("busybox/oci-layout")).expect("layout");
    for turn in 0..number("RK_CUTS", 2, 50) {
        let name = format!("large-{turn}");
        let stamp = fresh();
        let mut entries = vec![Entry::dir("d"), Entry::file("layout", 0o644, binary.clone())];
        entries.extend((0..6000).map(|n| Entry::file(&format!("d/{n}"), 0o644, format!("{stamp} {n}"))));
        pushed(&shared, &name, &entries);
        let volume = format!("  volumes: [{{name: i, image: {{reference: 'rk.local/{name}:demo'}}}}]\n");
        kubectl.apply(&pod(
            &name,
            "ls /i/d | wc -l; exec sleep 600",
            &volume,
            "    volumeMounts: [{name: i, mountPath: /i}]\n",
        ));
        eventually("the pull", limit(60), || {
            let events = kubectl.try_path(
                &["events"],
                &format!("{{range .items[?(@.involvedObject.name==\"{name}\")]}}{{.reason}} {{end}}"),
            )?;
            if events.contains("Pulling") { Ok(()) } else { Err(events) }
        });
        // Another moment each time: the pull takes a second or two.
        std::thread::sleep(Duration::from_millis(150 + 370 * (turn as u64 % 7)));
        shared.cluster.kill_node("worker-1").expect("kill");
        shared.cluster.start_node("worker-1").expect("start");
        ready_node(&kubectl);
        ready(&kubectl, &name);
        // It is Ready from its first moment on, before it has counted.
        eventually("all files are counted", limit(60), || {
            let answer = kubectl.run(&["logs", &name]);
            if answer.out.trim() == "6000" { Ok(()) } else { Err(answer.out + &answer.err) }
        });
        ready(&kubectl, "inspector");
        delete(&kubectl, &["pod", &name]);
    }
    ready(&kubectl, "neighbour");
    back_to(&kubectl, &before);
    ready_node(&kubectl);
}
