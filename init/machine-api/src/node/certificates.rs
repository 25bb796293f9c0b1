//! The certificates that lie on this node.

use crate::trust::facts;
use rk_machine_proto::v1::Certificate;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::fs;
use std::path::Path;

/// Folders of certificates, and whose they are.
const FOLDERS: [(&str, &str); 2] = [("kubelet", "/var/lib/rk/pki"), ("control plane", "/var/lib/rk-control/pki")];
const MOST_FILES: usize = 64;
const MOST_BYTES: u64 = 256 << 10;
/// Certificates of one file.
const MOST_CHAIN: usize = 8;

/// All of them: the machine API's own (from the config), then files.
pub fn list(api: Option<&rk_config::MachineApi>) -> Vec<Certificate> {
    let mut found = of_api(api);
    if let Some(api) = api {
        found.extend(of_pem("machine API authority", &api.ca));
    }
    for (whose, folder) in FOLDERS {
        found.extend(of_folder(whose, Path::new(folder)));
    }
    found
}

/// The machine API's own.
pub fn of_api(api: Option<&rk_config::MachineApi>) -> Vec<Certificate> {
    api.map(|api| of_pem("machine API", &api.identity.certificate)).unwrap_or_default()
}

fn of_folder(whose: &str, folder: &Path) -> Vec<Certificate> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<_> = entries.flatten().take(MOST_FILES).map(|entry| entry.path()).collect();
    files.sort();
    files
        .iter()
        .filter(|path| path.is_file())
        .flat_map(|path| {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            of_pem(&format!("{whose}: {name}"), &crate::facts::text(path, MOST_BYTES))
        })
        .collect()
}

fn of_pem(usage: &str, pem: &str) -> Vec<Certificate> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .take(MOST_CHAIN)
        .flatten()
        .filter_map(|der| Some(facts(&der)?.message(usage)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_noise_beside_certificates_are_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["n".to_owned()]).unwrap();
        fs::write(dir.path().join("both.pem"), format!("{}{}", made.signing_key.serialize_pem(), made.cert.pem()))
            .unwrap();
        fs::write(dir.path().join("noise"), [0xff; 300]).unwrap();
        let found = of_folder("kubelet", dir.path());
        assert_eq!(found.iter().map(|c| c.r#use.as_str()).collect::<Vec<_>>(), ["kubelet: both.pem"]);
    }
}
