//! The demo images, made on the spot from Debian's busybox and nginx.

use super::peers::Packages;
use super::test_images;
use crate::paths::Paths;
use crate::report::Step;
use crate::run;
use anyhow::{Context, Result};
use rk_qemu::http::Client;
use rk_qemu::oci::{Archive, Entry, ImageConfig, ImageName, push, write_layout};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Changes when the content below changes, so that cached layouts are made anew.
const RECIPE: &str = "7";
/// A stable suite: the images stay the same for years. The static busybox of the one before crashes in every name look-up.
pub const SUITE: &str = "trixie";
pub const BUSYBOX: &str = "usr/bin/busybox";
/// What a cluster's registry offers.
const DEMO: [&str; 2] = ["busybox", "nginx"];

/// nginx in the foreground as root without any capability beyond the port: workers keep the master's user, all that is
/// written lies in `/tmp`, logs go to the container's streams, and the page names the pod.
const NGINX_CONF: &str = r#"user root root;
worker_processes 1;
daemon off;
pid /tmp/nginx.pid;
error_log stderr notice;
events { worker_connections 256; }
http {
  access_log /dev/stdout;
  client_body_temp_path /tmp/body;
  proxy_temp_path /tmp/proxy;
  fastcgi_temp_path /tmp/fastcgi;
  uwsgi_temp_path /tmp/uwsgi;
  scgi_temp_path /tmp/scgi;
  default_type text/html;
  server {
    listen 80;
    server_tokens off;
    root /usr/share/nginx/html;
    location = / { return 200 "<h1>Welcome to nginx</h1>\n<p>served by $hostname</p>\n"; }
    location = /hostname { return 200 "$hostname\n"; }
    location = /healthz { return 200 "ok\n"; }
  }
}
"#;

/// Makes the layouts or finds them; answers their folder.
pub fn build(paths: &Paths, step: &Step) -> Result<(PathBuf, String)> {
    let home = paths.cache.join("demo-images").join(RECIPE);
    let whole = |name: &str| home.join(name).join("oci-layout").is_file();
    if DEMO.into_iter().chain(test_images::NAMES).all(whole) {
        return Ok((home, "cached".into()));
    }
    let mut packages = Packages::new(&paths.cache);
    let busybox = packages.unpacked(step, SUITE, "busybox-static", BUSYBOX)?;
    let nginx = packages.unpacked_closure(step, SUITE, "nginx-light", "usr/sbin/nginx")?;
    step.say("writing layouts");
    let path = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()];
    let shell = ImageConfig { cmd: vec!["sh".into()], env: path.to_vec(), ..ImageConfig::default() };
    write_layout(&home.join("busybox"), &name("busybox")?, &busybox_entries(&busybox)?, &shell)?;
    let server = ImageConfig {
        entrypoint: vec!["/usr/sbin/nginx".into(), "-c".into(), "/etc/nginx/nginx.conf".into()],
        env: path.to_vec(),
        exposed_ports: vec!["80/tcp".into()],
        stop_signal: Some("SIGQUIT".into()),
        ..ImageConfig::default()
    };
    write_layout(&home.join("nginx"), &name("nginx")?, &nginx_entries(&nginx)?, &server)?;
    test_images::write(&mut packages, step, &home)?;
    Ok((home, "built".into()))
}

/// Puts the demo images into a registry; what it has already is not sent again.
pub fn push_demo(client: &Client, images: &Path) -> Result<Vec<ImageName>> {
    let mut names = Vec::new();
    for image in DEMO {
        let archive = Archive::open(&images.join(image), None)?;
        names.extend(push(client, &archive)?);
    }
    Ok(names)
}

pub fn name(image: &str) -> Result<ImageName> {
    Ok(format!("rk.local/{image}:demo").parse()?)
}

pub fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("read {}", path.display()))
}

/// What every container expects of a root.
pub fn base() -> Vec<Entry> {
    let mut entries: Vec<Entry> = ["dev", "etc", "proc", "root", "run", "sys", "var/log"].map(Entry::dir).to_vec();
    entries.push(Entry { mode: 0o1777, ..Entry::dir("tmp") });
    entries.push(Entry::file(
        "etc/passwd",
        0o644,
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    ));
    entries.push(Entry::file("etc/group", 0o644, "root:x:0:\nnogroup:x:65534:\n"));
    entries
}

pub fn busybox_entries(unpacked: &Path) -> Result<Vec<Entry>> {
    let binary = unpacked.join(BUSYBOX);
    let mut entries = base();
    entries.push(Entry::file("bin/busybox", 0o755, read(&binary)?));
    let applets = run::output(Command::new(&binary).arg("--list"))?;
    for applet in applets.lines().map(str::trim).filter(|a| !a.is_empty() && *a != "busybox" && !a.contains('/')) {
        entries.push(Entry::symlink(&format!("bin/{applet}"), "busybox"));
    }
    Ok(entries)
}

fn nginx_entries(unpacked: &Path) -> Result<Vec<Entry>> {
    let mut entries = base();
    entries.push(Entry::file("usr/sbin/nginx", 0o755, read(&unpacked.join("usr/sbin/nginx"))?));
    entries.push(Entry::file("etc/nginx/nginx.conf", 0o644, NGINX_CONF));
    entries.push(Entry::file("usr/share/nginx/html/50x.html", 0o644, "<h1>An error occurred.</h1>\n"));
    entries.extend(libraries(unpacked, "usr/sbin/nginx")?);
    Ok(entries)
}

/// The shared libraries that a program of a package needs, as the packages' own dynamic loader finds them, at their places in an image.
pub fn libraries(unpacked: &Path, program: &str) -> Result<Vec<Entry>> {
    const FOLDERS: [&str; 5] =
        ["usr/lib/x86_64-linux-gnu", "usr/lib64", "lib/x86_64-linux-gnu", "lib64", "usr/lib/ganesha"];
    let loader = FOLDERS.iter().map(|f| unpacked.join(f).join("ld-linux-x86-64.so.2")).find(|p| p.is_file());
    let loader = loader.context("libc6 has no ld-linux-x86-64.so.2")?;
    let search = FOLDERS.map(|f| unpacked.join(f).display().to_string()).join(":");
    let mut command = Command::new(&loader);
    command.args(["--inhibit-cache", "--library-path", &search, "--list"]).arg(unpacked.join(program));
    let listing = run::output(&mut command)?;
    let mut entries = vec![Entry::file("lib64/ld-linux-x86-64.so.2", 0o755, read(&loader)?)];
    for (name, path) in listing.lines().filter_map(library) {
        entries.push(Entry::file(&format!("lib/x86_64-linux-gnu/{name}"), 0o755, read(&path)?));
    }
    Ok(entries)
}

/// `libz.so.1 => /path/libz.so.1 (0x…)`
fn library(line: &str) -> Option<(String, PathBuf)> {
    let (name, rest) = line.trim().split_once(" => ")?;
    let path = rest.split(" (").next()?;
    (!name.starts_with("ld-linux")).then(|| (name.to_owned(), PathBuf::from(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loader_s_listing_names_libraries_and_their_files() {
        let line = "\tlibz.so.1 => /c/lib/libz.so.1 (0x00007f)";
        assert_eq!(library(line), Some(("libz.so.1".to_owned(), PathBuf::from("/c/lib/libz.so.1"))));
        assert_eq!(library("\tlinux-vdso.so.1 (0x00007f)"), None);
        assert_eq!(library("\tld-linux-x86-64.so.2 => /c/ld.so (0x1)"), None);
    }
}
