//! hostPath volumes: checking or making the path as the type says.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;

/// Checks `path` against a hostPath type, making it where the type says so. Errors are texts for the FailedMount event.
pub fn prepare(path: &Path, type_: &str) -> Result<(), String> {
    let shown = path.display();
    let meta = match fs::metadata(path) {
        Ok(meta) => Some(meta.file_type()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(format!("{shown}: {e}")),
    };
    match (type_, meta) {
        ("", Some(_)) => Ok(()),
        // Without a type nothing is checked; the runtime makes a directory, as it always did.
        ("", None) => make_dir(path),
        ("DirectoryOrCreate", None) => make_dir(path),
        ("DirectoryOrCreate" | "Directory", Some(t)) if t.is_dir() => Ok(()),
        ("FileOrCreate", None) => fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(path)
            .map(drop)
            .map_err(|e| format!("{shown}: {e}")),
        ("FileOrCreate" | "File", Some(t)) if t.is_file() => Ok(()),
        ("Socket", Some(t)) if t.is_socket() => Ok(()),
        ("CharDevice", Some(t)) if t.is_char_device() => Ok(()),
        ("BlockDevice", Some(t)) if t.is_block_device() => Ok(()),
        ("Directory" | "DirectoryOrCreate", _) => {
            Err(format!("hostPath type check failed: {shown} is not a directory"))
        }
        ("File" | "FileOrCreate", _) => Err(format!("hostPath type check failed: {shown} is not a file")),
        ("Socket", _) => Err(format!("hostPath type check failed: {shown} is not a socket file")),
        ("CharDevice", _) => Err(format!("hostPath type check failed: {shown} is not a character device")),
        ("BlockDevice", _) => Err(format!("hostPath type check failed: {shown} is not a block device")),
        (other, _) => Err(format!("{other} is an invalid volume type")),
    }
}

fn make_dir(path: &Path) -> Result<(), String> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(path).map_err(|e| format!("{}: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_checked_and_made() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "x").unwrap();
        for (name, type_, ok) in [
            ("file", "", true),
            ("file", "File", true),
            ("file", "Directory", false),
            ("none", "File", false),
            ("none", "Directory", false),
            ("new-file", "FileOrCreate", true),
            ("new/dir", "DirectoryOrCreate", true),
            ("file", "Socket", false),
            ("file", "Nonsense", false),
        ] {
            assert_eq!(prepare(&at(name), type_).is_ok(), ok, "{name} {type_}");
        }
        assert!(at("new/dir").is_dir() && at("new-file").is_file());
    }
}
