//! `rkctl config`: a new cluster on paper.

use crate::args::{ConfigCommand, Gen, RoleName};
use crate::context::Context;
use crate::exit::{Class, Failure};
use crate::output;
use crate::pki::Secrets;
use anyhow::{Context as _, Result};
use rk_config::{
    CertificateAuthority, ControlPlane, Identity, MachineApi, MachineConfig, Role as MachineRole, Taint, TaintEffect,
};
use rk_machine_proto::Role;
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Carries out a `config` command.
///
/// # Errors
/// Files that are there already, wrong configs, unreadable secrets.
pub fn run(command: ConfigCommand) -> Result<Class> {
    match command {
        ConfigCommand::Gen(wanted) => generate(&wanted),
        ConfigCommand::Validate { file } => validate(&file),
        ConfigCommand::Client { secrets, role, name } => client(&secrets, role, &name),
    }
}

fn generate(wanted: &Gen) -> Result<Class> {
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
    for (name, _) in &files {
        eprintln!("wrote {}", wanted.output.join(name).display());
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
        let pair = &secrets.cluster_authority;
        config.control_plane = Some(ControlPlane {
            advertise: host_of(&wanted.endpoint),
            ca: Some(CertificateAuthority { certificate: pair.certificate.clone(), key: pair.key.clone() }),
            ..ControlPlane::default()
        });
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
            let lines: Vec<String> = err.fields().iter().map(|field| format!("  {field}")).collect();
            Err(Failure::new(Class::Usage, format!("the config is refused:\n{}", lines.join("\n"))).into())
        }
    }
}

fn validate(file: &Path) -> Result<Class> {
    for key in check(&read(file)?)? {
        println!("unknown key {key} has no effect");
    }
    println!("the config is good");
    Ok(Class::Good)
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
}
