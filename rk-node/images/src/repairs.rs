//! Directories that a layer has only because something lies in them hide the owner and mode that a lower layer gives: which are to be
//! repeated above all layers, and how.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::{File, Metadata},
    io::ErrorKind,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Mode, OFlags, ResolveFlags, getxattr},
    io::Errno,
};

use crate::error::{IoContext, Result};

/// Owner and mode of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dress {
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
}

/// Directories of a layer, each with whether it hides what lower layers have below it: many paths have the same parents.
type Covers = HashMap<PathBuf, bool>;

/// Directories of a layer that are remembered at once. Paths come in order, so that those with the same parents follow one another.
const MOST_KNOWN: usize = 1024;

/// The directories to repeat with their dress, parents first. The root always needs one: an overlay shows its upper root. `implicit`
/// lists those without an entry of their own, layer by layer from the top as `layers`.
///
/// # Errors
/// The disk does not tell what a layer has: a mode that is not known is not guessed.
pub(crate) fn repairs(layers: &[PathBuf], implicit: &[&BTreeSet<String>]) -> Result<BTreeMap<PathBuf, Dress>> {
    let mut repairs = BTreeMap::new();
    let wanted: BTreeSet<&String> = implicit.iter().copied().flatten().collect();
    let root = String::new();
    let mut known = vec![Covers::new(); layers.len()];
    for path in wanted.into_iter().chain([&root]) {
        let Some((dress, hidden)) = resolve(layers, implicit, &mut known, Path::new(path))? else { continue };
        if !hidden && !path.is_empty() {
            continue;
        }
        // Repeating a directory repeats its parents, so these need their own dress too.
        for parent in Path::new(path).ancestors().skip(1) {
            if let Some((dress, _)) = resolve(layers, implicit, &mut known, parent)? {
                repairs.insert(parent.to_owned(), dress);
            }
        }
        repairs.insert(PathBuf::from(path), dress);
    }
    Ok(repairs)
}

/// The dress by the topmost layer that states one, and whether a layer above hides it. Without any, the topmost implicit one. What a
/// layer covers of lower ones states nothing; `known` is what was found of that, layer by layer.
fn resolve(
    layers: &[PathBuf],
    implicit: &[&BTreeSet<String>],
    known: &mut [Covers],
    path: &Path,
) -> Result<Option<(Dress, bool)>> {
    let mut fallback = None;
    for (index, (layer, known)) in layers.iter().zip(known).enumerate() {
        let root = match File::open(layer) {
            // It was put aside meanwhile, which who mounts it sees.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            other => other.at("open", layer)?,
        };
        match stat_beneath(&root, path) {
            Ok(meta) if meta.is_dir() => {
                let dress = Dress { uid: meta.uid(), gid: meta.gid(), mode: meta.mode() & 0o7777 };
                let stated = implicit.get(index).is_none_or(|set| path.to_str().is_none_or(|path| !set.contains(path)));
                if stated {
                    return Ok(Some((dress, fallback.is_some())));
                }
                fallback.get_or_insert(dress);
            }
            // Something else is here by this name, or by that of a parent: a whiteout, a file, a link.
            Ok(_) | Err(Errno::NOTDIR | Errno::LOOP) => break,
            Err(Errno::NOENT) => {}
            Err(error) => Err::<(), _>(error).at("look at", layer.join(path))?,
        }
        let opaque = |directory: &Path| is_opaque(&root, directory);
        let Some(parent) = path.parent() else { continue };
        if covers(parent, known, &opaque).at("look at", layer.join(parent))? {
            break;
        }
    }
    Ok(fallback.map(|dress| (dress, false)))
}

/// Never through a link: layers are foreign content.
fn open_beneath(root: &File, path: &Path) -> rustix::io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat2(root, path, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)
}

fn stat_beneath(root: &File, path: &Path) -> rustix::io::Result<Metadata> {
    let found = File::from(open_beneath(root, path)?);
    found.metadata().map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

/// Whether a layer hides what lower ones have below this directory, or below one that it is in.
fn covers(
    directory: &Path,
    known: &mut Covers,
    opaque: &dyn Fn(&Path) -> rustix::io::Result<bool>,
) -> rustix::io::Result<bool> {
    // The root of a layer covers nothing: it is merged with those below it.
    let Some(parent) = directory.parent() else { return Ok(false) };
    if let Some(found) = known.get(directory) {
        return Ok(*found);
    }
    let found = covers(parent, known, opaque)? || opaque(directory)?;
    if known.len() >= MOST_KNOWN {
        known.clear();
    }
    known.insert(directory.to_owned(), found);
    Ok(found)
}

/// Whether a directory of a layer hides what lower ones have there; one that is not there hides nothing.
fn is_opaque(root: &File, directory: &Path) -> rustix::io::Result<bool> {
    let found = match open_beneath(root, directory) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(false),
        other => other?,
    };
    let mut value = [0_u8; 1];
    match getxattr(format!("/proc/self/fd/{}", found.as_raw_fd()), c"trusted.overlay.opaque", &mut value) {
        Err(Errno::IO) => Err(Errno::IO),
        other => Ok(other.is_ok() && value == *b"y"),
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, fs, os::unix::fs::PermissionsExt};

    use rustix::fs::{CWD, FileType, XattrFlags, mknodat, setxattr};

    use super::*;

    /// What a layer has: a directory with its mode, an opaque one, or a whiteout.
    enum Has {
        Directory(u32),
        Opaque(u32),
        Whiteout,
    }
    use Has::{Directory, Opaque, Whiteout};

    /// What is in a layer, by its path.
    type Entries = Vec<(&'static str, Has)>;

    fn layer(root: &Path, entries: &[(&str, Has)]) -> PathBuf {
        fs::create_dir(root).expect("layer");
        for (path, has) in entries {
            let path = root.join(path);
            let (Directory(mode) | Opaque(mode)) = has else {
                mknodat(CWD, &path, FileType::CharacterDevice, Mode::empty(), 0).expect("whiteout");
                continue;
            };
            fs::create_dir(&path).expect("directory");
            fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).expect("mode");
            if let Opaque(_) = has {
                setxattr(&path, c"trusted.overlay.opaque", b"y", XattrFlags::empty()).expect("opaque");
            }
        }
        root.to_owned()
    }

    #[test]
    fn each_directory_of_a_layer_is_looked_at_once() {
        let looked = RefCell::new(Vec::new());
        let opaque = |directory: &Path| {
            looked.borrow_mut().push(directory.display().to_string());
            if directory == Path::new("a/broken") { Err(Errno::IO) } else { Ok(directory == Path::new("a/o")) }
        };
        let mut known = Covers::new();
        for (path, want) in [("", false), ("a", false), ("a/b", false), ("a/o", true), ("a/o/p", true), ("a/b", false)]
        {
            assert_eq!(covers(Path::new(path), &mut known, &opaque), Ok(want), "{path:?}");
        }
        assert_eq!(*looked.borrow(), ["a", "a/b", "a/o"]);
        for _ in 0..2 {
            assert_eq!(covers(Path::new("a/broken"), &mut known, &opaque), Err(Errno::IO), "and it is not remembered");
        }
        for n in 0..2 * MOST_KNOWN {
            assert_eq!(covers(&Path::new("many").join(n.to_string()), &mut known, &opaque), Ok(false));
        }
        assert!(known.len() <= MOST_KNOWN);
    }

    #[test]
    fn what_is_covered_by_a_layer_between_gives_no_mode() {
        let top = || vec![("p", Directory(0o755)), ("p/d", Directory(0o755))];
        let lowest = || vec![("p", Directory(0o700)), ("p/d", Directory(0o711))];
        let cases: Vec<(&str, Entries, [u32; 2])> = vec![
            ("nothing between", vec![], [0o700, 0o711]),
            ("another mode", vec![("p", Directory(0o750))], [0o750, 0o711]),
            ("a whiteout", vec![("p", Directory(0o750)), ("p/d", Whiteout)], [0o750, 0o755]),
            ("a whiteout above", vec![("p", Whiteout)], [0o755, 0o755]),
            ("opaque", vec![("p", Opaque(0o750))], [0o750, 0o755]),
            ("opaque with its own", vec![("p", Opaque(0o750)), ("p/d", Directory(0o770))], [0o750, 0o770]),
        ];
        for (what, between, modes) in cases {
            let dir = tempfile::tempdir().expect("tempdir");
            let named = |name: &str| dir.path().join(name);
            let layers = [layer(&named("c"), &top()), layer(&named("b"), &between), layer(&named("a"), &lowest())];
            let implicit = [BTreeSet::from(["", "p", "p/d"].map(String::from)), BTreeSet::new(), BTreeSet::new()];
            let repaired = repairs(&layers, &implicit.each_ref()).expect("repairs");
            let mode = |path: &str, own: u32| repaired.get(Path::new(path)).map_or(own, |dress| dress.mode);
            assert_eq!([mode("p", 0o755), mode("p/d", 0o755)], modes, "{what}: {repaired:?}");
        }
    }
}
