//! `rkctl config`: a new cluster on paper.

use crate::args::{EtcdFiles, Format, Gen, PaperConfig, RoleName};
use crate::context::Context;
use crate::exit::{Class, Failure};
use crate::output;
use crate::pki::{Pair, Secrets};
use anyhow::{Context as _, Result};
use rk_config::{
    CertificateAuthority, ControlPlane, Etcd, Identity, Interface, LinkMatch, MachineApi, MachineConfig,
    Role as MachineRole, Taint, TaintEffect,
};
use rk_machine_proto::Role;
use serde_json::{Value, json};
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Carries out a `config` command.
///
/// # Errors
/// Files that are there already, wrong configs, unreadable secrets.
pub fn run(format: Format, command: PaperConfig) -> Result<Class> {
    match command {
        PaperConfig::Gen(wanted) => generate(format, &wanted),
        PaperConfig::Validate { file } => validate(format, &file),
        PaperConfig::Client { secrets, role, name } => client(&secrets, role, &name),
    }
}

fn generate(format: Format, wanted: &Gen) -> Result<Class> {
    let secrets = match &wanted.secrets {
        Some(path) => {
            let secrets = load(path)?;
            anyhow::ensure!(
                secrets.cluster == wanted.cluster,
                Failure::new(
                    Class::Usage,
                    format!(
                        "{} holds the secrets of cluster {}, not of {}",
                        path.display(),
                        secrets.cluster,
                        wanted.cluster
                    )
                )
            );
            secrets
        }
        None => Secrets::generate(&wanted.cluster)?,
    };
    if wanted.control_planes.len() > 1 && wanted.etcd.endpoints.is_empty() && wanted.patch.is_none() {
        let text = "several control planes need one etcd: name it by --etcd, or by controlPlane.etcd in a --patch";
        return Err(Failure::new(Class::Usage, text.to_owned()).into());
    }
    let patch = wanted.patch.as_deref().map(read).transpose()?;
    let mut files = Vec::new();
    if wanted.secrets.is_none() {
        files.push(("secrets.yaml".to_owned(), serde_yaml_ng::to_string(&secrets)?));
        let admin = secrets.operator("admin", Role::Admin)?;
        let operator = Context {
            cluster: wanted.cluster.clone(),
            nodes: Vec::new(),
            ca: secrets.machine_authority.certificate.clone(),
            certificate: admin.certificate,
            key: admin.key,
        };
        files.push(("rkctl.yaml".to_owned(), serde_yaml_ng::to_string(&operator)?));
    }
    let named = !wanted.control_planes.is_empty() || !wanted.workers.is_empty();
    let (any_plane, any_worker) = if named { (vec![], vec![]) } else { (vec![None], vec![None]) };
    let some = |names: &[String]| names.iter().cloned().map(Some).collect::<Vec<_>>();
    for (role, names) in [
        (MachineRole::ControlPlane, [any_plane, some(&wanted.control_planes)].concat()),
        (MachineRole::Worker, [any_worker, some(&wanted.workers)].concat()),
    ] {
        for name in names {
            let word = if role == MachineRole::Worker { "worker" } else { "control-plane" };
            let file = format!("{}.yaml", name.as_deref().unwrap_or(word));
            files.push((file, machine(wanted, &secrets, role, name, patch.as_deref())?));
        }
    }
    write_all(&wanted.output, &files, wanted.force)?;
    let paths: Vec<String> = files.iter().map(|(name, _)| wanted.output.join(name).display().to_string()).collect();
    match format {
        Format::Table => paths.iter().for_each(|path| eprintln!("wrote {path}")),
        Format::Json | Format::Yaml => output::made(format, "files", &paths)?,
    }
    Ok(Class::Good)
}

/// A machine config, checked by the node's own parser.
fn machine(
    wanted: &Gen,
    secrets: &Secrets,
    role: MachineRole,
    name: Option<String>,
    patch: Option<&str>,
) -> Result<String> {
    let word = if role == MachineRole::Worker { "worker" } else { "control-plane" };
    let identity = secrets.node(name.as_deref().unwrap_or(word))?;
    let mut config = MachineConfig { role, hostname: name, ..MachineConfig::default() };
    config.cluster.name = wanted.cluster.clone();
    config.cluster.endpoint = Some(wanted.endpoint.clone());
    config.cluster.token = Some(secrets.bootstrap_token.clone());
    config.cluster.ca_hash = Some(secrets.cluster_hash()?);
    config.machine_api = Some(MachineApi {
        ca: secrets.machine_authority.certificate.clone(),
        identity: Identity { certificate: identity.certificate, key: identity.key },
        ..MachineApi::default()
    });
    if role == MachineRole::ControlPlane {
        let key = "node-role.kubernetes.io/control-plane".to_owned();
        config.kubelet.taints = vec![Taint { key, value: String::new(), effect: TaintEffect::NoSchedule }];
        let authority =
            |pair: &Pair| CertificateAuthority { certificate: pair.certificate.clone(), key: pair.key.clone() };
        config.control_plane = Some(ControlPlane {
            advertise: host_of(&wanted.endpoint),
            ca: Some(authority(&secrets.cluster_authority)),
            front_proxy_ca: secrets.front_proxy_authority.as_ref().map(authority),
            service_account_key: secrets.service_account_key.clone(),
            secretbox_encryption_secret: secrets.secretbox_encryption_secret.clone(),
            etcd: etcd(&wanted.etcd)?,
            ..ControlPlane::default()
        });
        config.network.interfaces.extend(wanted.vip.as_ref().map(|link| shared(link, &wanted.endpoint)).transpose()?);
    }
    let mut yaml = rk_config::to_yaml(&config)?;
    if let Some(patch) = patch {
        let patch = serde_yaml_ng::from_str(patch)
            .map_err(|err| Failure::new(Class::Usage, format!("the patch is not valid YAML: {err}")))?;
        let mut whole = serde_json::to_value(&config)?;
        rk_config::merge_patch(&mut whole, patch);
        yaml = serde_yaml_ng::to_string(&whole)?;
    }
    for key in check(&yaml)? {
        eprintln!("rkctl: config key {key} is unknown and has no effect");
    }
    Ok(yaml)
}

/// The link whose address the control planes share.
fn shared(link: &str, endpoint: &str) -> Result<Interface> {
    let vip = host_of(endpoint).and_then(|host| host.parse().ok());
    let vip =
        vip.ok_or_else(|| Failure::new(Class::Usage, format!("--vip needs an endpoint by address, not {endpoint}")))?;
    let matches = LinkMatch { name: Some(link.to_owned()), ..LinkMatch::default() };
    Ok(Interface { matches, dhcp: true, vip: Some(vip), ..Interface::default() })
}

fn etcd(files: &EtcdFiles) -> Result<Option<Etcd>> {
    if files.endpoints.is_empty() {
        return Ok(None);
    }
    let text = |file: &Option<PathBuf>| file.as_deref().map(read).transpose().map(Option::unwrap_or_default);
    let (ca, certificate, key) = (text(&files.ca)?, text(&files.certificate)?, text(&files.key)?);
    Ok(Some(Etcd { endpoints: files.endpoints.clone(), ca, certificate, key }))
}

fn host_of(endpoint: &str) -> Option<String> {
    let authority = endpoint.split_once("://")?.1.split('/').next()?;
    match authority.strip_prefix('[') {
        Some(v6) => v6.split_once(']').map(|(host, _)| host.to_owned()),
        None => authority.split(':').next().map(str::to_owned),
    }
}

/// Every wrong field at once; the unknown keys when there is none.
///
/// # Errors
/// The config is refused.
pub fn check(text: &str) -> Result<Vec<String>> {
    match rk_config::parse(text) {
        Ok(parsed) => Ok(parsed.warnings),
        Err(err) => {
            let mut lines: Vec<String> = err.fields().iter().map(|field| format!("  {field}")).collect();
            lines.extend(
                rk_config::unknown_keys(text).iter().map(|key| format!("  {key}: is unknown and has no effect")),
            );
            Err(Failure::new(Class::Usage, format!("the config is refused:\n{}", lines.join("\n"))).into())
        }
    }
}

/// Tells people what is wrong, and programs in the form in which a node answers the same question.
fn validate(format: Format, file: &Path) -> Result<Class> {
    let text = read(file)?;
    if format != Format::Table {
        let (document, class) = verdict(&text);
        output::write(output::encoded(format, false, &[(String::new(), document)])?.as_bytes())?;
        return Ok(class);
    }
    for key in check(&text)? {
        println!("unknown key {key} has no effect");
    }
    println!("the config is good");
    Ok(Class::Good)
}

fn verdict(text: &str) -> (Value, Class) {
    let (errors, unknown) = match rk_config::parse(text) {
        Ok(parsed) => (Vec::new(), parsed.warnings),
        Err(err) => (err.fields(), rk_config::unknown_keys(text)),
    };
    let class = if errors.is_empty() { Class::Good } else { Class::Usage };
    let errors: Vec<Value> =
        errors.into_iter().map(|field| json!({"path": field.path, "reason": field.reason})).collect();
    (json!({"valid": errors.is_empty(), "errors": errors, "unknown_keys": unknown}), class)
}

fn client(secrets: &Path, role: RoleName, name: &str) -> Result<Class> {
    let secrets = load(secrets)?;
    let role = match role {
        RoleName::Reader => Role::Reader,
        RoleName::Operator => Role::Operator,
        RoleName::Admin => Role::Admin,
    };
    let pair = secrets.operator(name, role)?;
    let context = Context {
        cluster: secrets.cluster,
        nodes: Vec::new(),
        ca: secrets.machine_authority.certificate,
        certificate: pair.certificate,
        key: pair.key,
    };
    output::write(serde_yaml_ng::to_string(&context)?.as_bytes())?;
    Ok(Class::Good)
}

/// The secrets of a cluster.
///
/// # Errors
/// The file is something else.
pub fn load(path: &Path) -> Result<Secrets> {
    serde_yaml_ng::from_str(&read(path)?).map_err(|err| {
        Failure::new(Class::Usage, format!("{} holds no secrets of a cluster: {err}", path.display())).into()
    })
}

/// A text file, bounded as configs are; `-` is standard input.
///
/// # Errors
/// It cannot be read.
pub fn read(path: &Path) -> Result<String> {
    let most = rk_config::MAX_CONFIG_BYTES as u64 + 1;
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(most).read_to_string(&mut text)
    } else {
        fs::File::open(path).and_then(|file| file.take(most).read_to_string(&mut text))
    };
    read.map_err(|err| Failure::new(Class::Usage, format!("{}: {err}", path.display())))?;
    Ok(text)
}

/// Writes all files or, when one is there already, none. All hold secrets.
fn write_all(dir: &Path, files: &[(String, String)], force: bool) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    let there: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).filter(|name| dir.join(name).exists()).collect();
    if !force && !there.is_empty() {
        let text = format!("{} are there already in {}; --force replaces them", there.join(", "), dir.display());
        return Err(Failure::new(Class::Precondition, text).into());
    }
    for (name, text) in files {
        let path = dir.join(name);
        let new = dir.join(format!("{name}.new"));
        let _ = fs::remove_file(&new);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &path).with_context(|| format!("placing {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_an_endpoint_is_what_clients_dial() {
        for (endpoint, host) in
            [("https://10.0.0.1:6443", "10.0.0.1"), ("https://[fd00::1]:6443", "fd00::1"), ("https://a.b/x", "a.b")]
        {
            assert_eq!(host_of(endpoint).as_deref(), Some(host));
        }
    }

    #[test]
    fn programs_read_the_verdict_on_a_config_as_a_node_gives_it() {
        let head = "apiVersion: rk.dev/v1alpha1\nkind: MachineConfig\nrole: control-plane\ncolour: blue\n";
        let (good, class) = verdict(head);
        assert_eq!((good, class), (json!({"valid": true, "errors": [], "unknown_keys": ["colour"]}), Class::Good));
        let (wrong, class) = verdict(&format!("{head}hostname: A_B\n"));
        assert_eq!((wrong["valid"].clone(), wrong["errors"][0]["path"].clone()), (json!(false), json!("hostname")));
        assert_eq!(wrong["unknown_keys"], json!(["colour"]));
        assert_eq!(class, Class::Usage);
    }

    fn gen_words(line: &str) -> Gen {
        use crate::args::{Args, Command, ConfigCommand};
        use clap::Parser;
        match Args::try_parse_from(line.split(' ')).expect(line).command {
            Command::Config(ConfigCommand::Paper(PaperConfig::Gen(wanted))) => *wanted,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn several_control_planes_share_an_etcd_their_keys_and_an_address() {
        let folder = tempfile::tempdir().expect("temporary directory");
        let dir = folder.path().join("demo");
        let line = format!(
            "rkctl config gen demo https://10.0.0.9:6443 --vip eth0 --etcd http://a:2379,http://b:2379 --control-plane c1 \
             --control-plane c2 --worker w1 --output {}",
            dir.display()
        );
        generate(Format::Table, &gen_words(&line)).expect("generated");
        let config = |name: &str| {
            let text = fs::read_to_string(dir.join(format!("{name}.yaml"))).expect(name);
            rk_config::parse(&text).expect(name).config
        };
        let (first, second, worker) = (config("c1"), config("c2"), config("w1"));
        assert_eq!(first.control_plane, second.control_plane);
        let plane = first.control_plane.expect("a control plane");
        assert!(plane.front_proxy_ca.is_some() && plane.service_account_key.is_some());
        assert!(plane.secretbox_encryption_secret.is_some(), "Secrets are encrypted by one key");
        assert_eq!(plane.etcd.expect("etcd").endpoints, ["http://a:2379", "http://b:2379"]);
        assert_eq!(plane.advertise.as_deref(), Some("10.0.0.9"));
        assert_eq!(second.network.vips(), ["10.0.0.9".parse::<std::net::IpAddr>().expect("address")]);
        assert!(worker.network.interfaces.is_empty() && worker.control_plane.is_none());

        for (refused, why) in [
            (
                "rkctl config gen demo https://10.0.0.9:6443 --control-plane c1 --control-plane c2 --output d",
                "need one etcd",
            ),
            ("rkctl config gen demo https://demo.example:6443 --vip eth0 --output d", "by address"),
        ] {
            let error = generate(Format::Table, &gen_words(refused)).expect_err(refused);
            assert!(error.to_string().contains(why), "{error}");
        }
    }
}
