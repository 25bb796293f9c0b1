//! Which resources are encrypted in the store, and by which keys.

use crate::args::Args;
use anyhow::Context;
use rk_apiserver::encryption_keys;
use rk_apiserver::storage::resource_of_key;
use rk_store::Encryption;
use std::path::Path;

/// What `--encryption-provider-config` says; without it Secrets alone, by the cluster's own keys, where it has any. To be called before the
/// PKI is made: a key is made for a new cluster alone.
pub fn load(args: &Args) -> anyhow::Result<Encryption> {
    if let Some(file) = &args.encryption_provider_config {
        return Ok(Encryption::parse(&read(file)?, resource_of_key)?);
    }
    let dir = args.data_dir.join("pki");
    let keys = encryption_keys(&dir, args.etcd.is_empty())?;
    if keys.is_empty() {
        return Ok(Encryption::none(resource_of_key));
    }
    Encryption::of_secrets(keys, resource_of_key).with_context(|| {
        format!("{0}/secretbox.key or {0}/secretbox.keys holds no key of 32 bytes in base64", dir.display())
    })
}

/// Errors in upstream's words.
fn read(file: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(file).with_context(|| {
        format!("error opening encryption provider configuration file {:?}", file.display().to_string())
    })?;
    anyhow::ensure!(
        !text.is_empty(),
        "encryption provider configuration file {:?} is empty",
        file.display().to_string()
    );
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn args(dir: &Path, more: &[&str]) -> Args {
        let dir = dir.display().to_string();
        Args::try_parse_from([&["rk-control", "--data-dir", dir.as_str()][..], more].concat()).expect("arguments")
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named() {
        let dir = tempfile::tempdir().expect("dir");
        let file = dir.path().join("enc.yaml").display().to_string();
        let told = || {
            let error = load(&args(dir.path(), &["--encryption-provider-config", &file])).expect_err("refused");
            format!("{error:#}")
        };
        assert!(told().starts_with(&format!("error opening encryption provider configuration file {file:?}: ")));
        std::fs::write(&file, "").expect("written");
        assert_eq!(told(), format!("encryption provider configuration file {file:?} is empty"));
        std::fs::write(&file, "kind: Pod").expect("written");
        assert!(told().starts_with("error while parsing file: "), "{}", told());
        assert!(!dir.path().join("pki").exists(), "no key is made where a file says what is encrypted");
    }

    #[test]
    fn a_new_cluster_encrypts_secrets_and_one_on_etcd_what_it_is_told() {
        let dir = tempfile::tempdir().expect("dir");
        let own = load(&args(dir.path(), &[])).expect("keys");
        assert!(format!("{own:?}").contains("secrets"), "{own:?}");
        let other = tempfile::tempdir().expect("dir");
        let shared = load(&args(other.path(), &["--etcd", "http://a:2379"])).expect("nothing");
        assert!(!format!("{shared:?}").contains("secrets"), "{shared:?}");
        std::fs::write(dir.path().join("pki/secretbox.key"), "no key").expect("written");
        let error = load(&args(dir.path(), &[])).expect_err("refused");
        assert!(format!("{error:#}").contains("secretbox.key"), "{error:#}");
    }
}
