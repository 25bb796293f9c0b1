//! `rkctl support`: evidence of all nodes in one archive, without secrets.

use crate::args::{Global, Support};
use crate::connect::{Client, connect};
use crate::exit::{Class, class_of_error, words};
use crate::node::{Question, ask, in_time, known};
use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use rk_machine_proto::v1::{Chunk, DmesgRequest, Empty, EventsRequest, LogsRequest, PathRequest};
use serde_json::Value;
use std::fs::File;
use std::time::Duration;
use tonic::{Code, Status, Streaming};

/// Bytes of one log; the rest is left out.
const MOST_LOG: usize = 32 << 20;
/// Where nodes keep what the kernel said before a crash, a folder for each.
const CRASHES: &str = "/var/lib/rk/crash";

type Bundle = tar::Builder<GzEncoder<File>>;

/// Collects what can be had; the archive itself lists what cannot.
///
/// # Errors
/// The archive cannot be written, or no node is named.
pub async fn run(global: &Global, wanted: &Support) -> Result<Class> {
    let (trust, nodes) = known(global)?;
    let file = File::create(&wanted.file).with_context(|| format!("making {}", wanted.file.display()))?;
    let mut bundle = tar::Builder::new(GzEncoder::new(file, Compression::default()));
    let mut class = Class::Good;
    for node in nodes {
        let folder = node.replace([':', '[', ']', '/'], "_");
        match connect(&node, &trust).await {
            Ok(mut client) => collect(&mut bundle, &folder, &mut client, wanted.lines, global.timeout).await?,
            Err(err) => {
                eprintln!("rkctl: {node}: {}", words(&err));
                add(&mut bundle, &format!("{folder}/unreachable"), words(&err).as_bytes())?;
                class = class.max(class_of_error(&err));
            }
        }
    }
    bundle.into_inner()?.finish()?.sync_all()?;
    eprintln!("wrote {}", wanted.file.display());
    Ok(class)
}

async fn collect(bundle: &mut Bundle, folder: &str, client: &mut Client, lines: u32, limit: Duration) -> Result<()> {
    let questions = [
        ("version", Question::Version),
        ("health", Question::Health),
        ("services", Question::Services),
        ("processes", Question::Processes),
        ("mounts", Question::Mounts),
        ("disks", Question::Disks),
        ("memory", Question::Memory),
        ("cpu", Question::Cpu),
        ("sockets", Question::Sockets(false)),
        ("interfaces", Question::Interfaces),
        ("routes", Question::Routes),
        ("time", Question::Time),
        ("certificates", Question::Certificates),
    ];
    let mut services = Vec::new();
    for (name, question) in questions {
        let answer = in_time(limit, ask(client, &question)).await;
        if let (Question::Services, Ok(answer)) = (&question, &answer) {
            services = names(answer);
        }
        match answer {
            Ok(answer) => {
                add(bundle, &format!("{folder}/{name}.json"), serde_json::to_string_pretty(&answer)?.as_bytes())?;
            }
            Err(err) => add(bundle, &format!("{folder}/{name}.error"), words(&err).as_bytes())?,
        }
    }
    let config = client.get_config(Empty {}).await.map(|reply| hidden(&reply.into_inner().config));
    let config = config.unwrap_or_else(|status| format!("# {}\n", status.message()));
    add(bundle, &format!("{folder}/config.yaml"), config.as_bytes())?;
    services.push("init".to_owned());
    for service in services {
        let request = LogsRequest { source: service.clone(), follow: false, tail: lines };
        let text = text(client.logs(request).await.map(tonic::Response::into_inner)).await;
        add(bundle, &format!("{folder}/logs/{service}.log"), &text)?;
    }
    let request = DmesgRequest { follow: false, tail: lines };
    let dmesg = text(client.dmesg(request).await.map(tonic::Response::into_inner)).await;
    add(bundle, &format!("{folder}/dmesg"), &without_config(&dmesg))?;
    add(bundle, &format!("{folder}/events"), events(client).await.as_bytes())?;
    crashes(bundle, folder, client).await
}

/// What the kernel left of crashes.
async fn crashes(bundle: &mut Bundle, folder: &str, client: &mut Client) -> Result<()> {
    let crashes = match entries(client, CRASHES).await {
        Ok(crashes) => crashes,
        Err(status) if status.code() == Code::NotFound => return Ok(()),
        Err(status) => return add(bundle, &format!("{folder}/crash.error"), status.message().as_bytes()),
    };
    for crash in crashes {
        for record in entries(client, &format!("{CRASHES}/{crash}")).await.unwrap_or_default() {
            let request = PathRequest { path: format!("{CRASHES}/{crash}/{record}") };
            let said = text(client.read_file(request).await.map(tonic::Response::into_inner)).await;
            add(bundle, &format!("{folder}/crash/{crash}/{record}"), &without_config(&said))?;
        }
    }
    Ok(())
}

/// Names in a folder of the node, those that are names in an archive as well.
async fn entries(client: &mut Client, path: &str) -> Result<Vec<String>, Status> {
    let reply = client.list_directory(PathRequest { path: path.to_owned() }).await?.into_inner();
    let names = reply.entries.into_iter().map(|entry| entry.name);
    Ok(names.filter(|name| !name.starts_with('.') && !name.contains('/')).collect())
}

/// What the kernel said, without the config that it may have been started with: it tells its command line.
fn without_config(said: &[u8]) -> Vec<u8> {
    rk_config::hidden_in_cmdline(&String::from_utf8_lossy(said)).into_bytes()
}

fn names(services: &Value) -> Vec<String> {
    let rows = services.get("services").and_then(Value::as_array).into_iter().flatten();
    rows.filter_map(|row| row.get("name")?.as_str().map(str::to_owned)).collect()
}

/// The config without its secrets, whoever asked.
fn hidden(config: &str) -> String {
    match rk_config::parse(config) {
        Ok(parsed) => serde_yaml_ng::to_string(&rk_config::redacted(&parsed.config)).unwrap_or_default(),
        // What a node shows to others than admins is no whole config any more, and has no secrets.
        Err(_) if config.contains("<secret>") && !config.contains("PRIVATE KEY") => config.to_owned(),
        Err(err) => format!("# not shown: {err}\n"),
    }
}

async fn text(stream: Result<Streaming<Chunk>, tonic::Status>) -> Vec<u8> {
    let mut all = Vec::new();
    let mut stream = match stream {
        Ok(stream) => stream,
        Err(status) => return format!("rkctl: {}\n", status.message()).into_bytes(),
    };
    while all.len() < MOST_LOG {
        match stream.message().await {
            Ok(Some(chunk)) => all.extend(chunk.data),
            Ok(None) => return all,
            Err(status) => {
                all.extend(format!("rkctl: {}\n", status.message()).into_bytes());
                return all;
            }
        }
    }
    all
}

async fn events(client: &mut Client) -> String {
    let mut stream = match client.events(EventsRequest { follow: false }).await {
        Ok(response) => response.into_inner(),
        Err(status) => return format!("rkctl: {}\n", status.message()),
    };
    let mut all = String::new();
    while let Ok(Some(event)) = stream.message().await {
        all.push_str(&format!("{} {}\n", event.boot_millis, event.message));
    }
    all
}

fn add(bundle: &mut Bundle, path: &str, bytes: &[u8]) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o600);
    header.set_mtime(jiff::Timestamp::now().as_second().unsigned_abs());
    header.set_cksum();
    bundle.append_data(&mut header, path, bytes).with_context(|| format!("adding {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_never_holds_a_secret() {
        let yaml = "apiVersion: rk.dev/v1alpha1\nkind: MachineConfig\nrole: control-plane\ncluster: {token: abcdef.0123456789abcdef}\n";
        assert!(!hidden(yaml).contains("0123456789abcdef"));
        assert!(hidden("cluster:\n  token: <secret>\nrole: worker\n").contains("<secret>"));
        let said = b"Command line: quiet rk.config=base64:cm9sZTo+/g== panic=10\nrk.config=base64:AAAA";
        assert_eq!(without_config(said), b"Command line: quiet rk.config=<secret> panic=10\nrk.config=<secret>");
        assert!(!hidden("token: <secret>\nkey: PRIVATE KEY\n").contains("PRIVATE KEY"));
    }
}
