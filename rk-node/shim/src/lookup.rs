//! Finding a container's command as `execvp` would, with the words that Go's `os/exec` and so every Kubernetes user knows.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The file to execute for `command` with `path` as `$PATH` and the current directory as it is, or the reason why there is none.
pub fn find(command: &str, path: &str) -> Result<PathBuf, String> {
    if command.contains('/') {
        return check(Path::new(command))
            .map(|()| PathBuf::from(command))
            .map_err(|why| format!("exec: {command:?}: {why}"));
    }
    let mut reason = None;
    for dir in path.split(':') {
        let candidate = if dir.is_empty() { Path::new(".").join(command) } else { Path::new(dir).join(command) };
        match check(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(why) if why.ends_with("permission denied") => reason = Some(why),
            Err(_) => {}
        }
    }
    match reason {
        Some(why) if !command.is_empty() => Err(format!("exec: {command:?}: {why}")),
        _ => Err(format!("exec: {command:?}: executable file not found in $PATH")),
    }
}

fn check(file: &Path) -> Result<(), String> {
    let meta = fs::metadata(file).map_err(|error| match error.kind() {
        ErrorKind::NotFound => format!("stat {}: no such file or directory", file.display()),
        ErrorKind::NotADirectory => format!("stat {}: not a directory", file.display()),
        ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => format!("stat {}: {error}", file.display()),
    })?;
    if meta.is_dir() {
        return Err("is a directory".into());
    }
    if meta.permissions().mode() & 0o111 == 0 {
        return Err("permission denied".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_and_unusable_commands_are_named_as_users_know_them() {
        let dir = tempfile::tempdir().unwrap();
        let plain = dir.path().join("plain");
        fs::write(&plain, "").unwrap();
        let path = dir.path().to_str().unwrap();
        for (command, text) in [
            ("foo", r#"exec: "foo": executable file not found in $PATH"#.to_owned()),
            ("", r#"exec: "": executable file not found in $PATH"#.to_owned()),
            ("/no/foo", r#"exec: "/no/foo": stat /no/foo: no such file or directory"#.to_owned()),
            (path, format!("exec: {path:?}: is a directory")),
            ("plain", r#"exec: "plain": permission denied"#.to_owned()),
        ] {
            assert_eq!(find(command, path).unwrap_err(), text);
        }
        fs::set_permissions(&plain, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find("plain", &format!("/nowhere:{path}")).unwrap(), plain);
    }
}
