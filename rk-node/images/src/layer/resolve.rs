//! Paths of archives within a tree in memory, as the kernel resolves them for `openat2(RESOLVE_IN_ROOT)`: links are followed, and `..`
//! and absolute ones stay inside.

use std::io;

use rk_erofs::{Body, Id, Tree};
use rustix::io::Errno;

/// Links that one path may go through, as the kernel has it.
const MAX_LINKS: usize = 40;
/// Longest path, as the kernel has it: one byte of PATH_MAX ends it.
const MAX_PATH: usize = 4095;

/// Finds parents, and remembers the last: archives list the children of a directory together.
#[derive(Default)]
pub(super) struct Resolver {
    last: Option<(Vec<u8>, Id)>,
}

impl Resolver {
    /// Forgets the remembered parent, which may be gone.
    pub fn forget(&mut self) {
        self.last = None;
    }

    /// Resolves a clean relative path to its parent and a name; missing parents are made and reported to `made`.
    pub fn spot(&mut self, tree: &mut Tree, path: &[u8], made: &mut dyn FnMut(&[u8])) -> io::Result<(Id, Vec<u8>)> {
        let (parent, name) = match path.iter().rposition(|b| *b == b'/') {
            Some(slash) => (path.get(..slash).unwrap_or_default(), path.get(slash + 1..).unwrap_or_default()),
            None => (&[][..], path),
        };
        if name.len() > rk_erofs::MAX_NAME {
            return Err(Errno::NAMETOOLONG.into());
        }
        if let Some((_, id)) = self.last.as_ref().filter(|(known, _)| known == parent) {
            return Ok((*id, name.to_vec()));
        }
        let id = match directory(tree, parent) {
            Err(Errno::NOENT) => make_parents(tree, parent, made)?,
            other => other?,
        };
        self.last = Some((parent.to_vec(), id));
        Ok((id, name.to_vec()))
    }
}

/// The directory that a path leads to.
fn directory(tree: &Tree, path: &[u8]) -> Result<Id, Errno> {
    if path.len() > MAX_PATH {
        return Err(Errno::NAMETOOLONG);
    }
    let mut at = Tree::ROOT;
    let mut links = 0;
    // What is still to come, the next part last.
    let mut parts: Vec<&[u8]> = path.rsplit(|b| *b == b'/').collect();
    while let Some(part) = parts.pop() {
        let Body::Directory { parent, .. } = tree.body(at) else { return Err(Errno::NOTDIR) };
        match part {
            b"" | b"." => continue,
            b".." => {
                at = *parent;
                continue;
            }
            _ if part.len() > rk_erofs::MAX_NAME => return Err(Errno::NAMETOOLONG),
            _ => {}
        }
        let child = tree.child(at, part).ok_or(Errno::NOENT)?;
        let Body::Symlink(target) = tree.body(child) else {
            at = child;
            continue;
        };
        links += 1;
        if links > MAX_LINKS {
            return Err(Errno::LOOP);
        }
        if target.starts_with(b"/") {
            at = Tree::ROOT;
        }
        parts.extend(target.rsplit(|b| *b == b'/'));
    }
    match tree.body(at) {
        Body::Directory { .. } => Ok(at),
        _ => Err(Errno::NOTDIR),
    }
}

fn make_parents(tree: &mut Tree, path: &[u8], made: &mut dyn FnMut(&[u8])) -> io::Result<Id> {
    let mut at = Tree::ROOT;
    let mut end = 0;
    for part in path.split(|b| *b == b'/') {
        end += part.len() + usize::from(end > 0);
        let prefix = path.get(..end).unwrap_or_default();
        at = match directory(tree, prefix) {
            Err(Errno::NOENT) => {
                // What is there by that name is a dangling link: following it would guess at what the image meant.
                let id = tree.add_directory(at, part, 0o755)?;
                made(prefix);
                id
            }
            other => other?,
        };
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `d/e` and `file`, and links between them.
    fn tree() -> Tree {
        let mut tree = Tree::default();
        let d = tree.add_directory(Tree::ROOT, b"d", 0o755).expect("d");
        tree.add_directory(d, b"e", 0o755).expect("e");
        tree.add(Tree::ROOT, b"file", Body::Fifo).expect("file");
        for (name, target) in [
            ("absolute", "/d/e"),
            ("relative", "d/../d/./e/"),
            ("up", "../../../.."),
            ("loop", "loop"),
            ("dangling", "nowhere"),
            ("to-file", "file"),
            ("through", "absolute/.."),
        ] {
            tree.add(Tree::ROOT, name.as_bytes(), Body::Symlink(target.as_bytes().into())).expect(name);
        }
        for n in 1..=41 {
            let target = if n == 1 { "d".to_owned() } else { format!("chain-{}", n - 1) };
            let name = format!("chain-{n}");
            tree.add(Tree::ROOT, name.as_bytes(), Body::Symlink(target.into_bytes().into())).expect(&name);
        }
        tree
    }

    #[test]
    fn links_are_followed_and_nothing_leads_out() {
        let tree = tree();
        let d = tree.child(Tree::ROOT, b"d").expect("d");
        let e = tree.child(d, b"e").expect("e");
        let (long, longer) = ("n".repeat(256), "d/".repeat(2048));
        for (path, to) in [
            ("", Ok(Tree::ROOT)),
            ("d", Ok(d)),
            ("d/e", Ok(e)),
            ("absolute", Ok(e)),
            ("relative", Ok(e)),
            ("through", Ok(d)),
            ("up", Ok(Tree::ROOT)),
            ("up/up/d/e", Ok(e)),
            ("loop", Err(Errno::LOOP)),
            ("chain-40", Ok(d)),
            ("chain-41", Err(Errno::LOOP)),
            ("dangling", Err(Errno::NOENT)),
            ("none/x", Err(Errno::NOENT)),
            ("file", Err(Errno::NOTDIR)),
            ("file/x", Err(Errno::NOTDIR)),
            ("to-file/x", Err(Errno::NOTDIR)),
            (&long, Err(Errno::NAMETOOLONG)),
            (&longer, Err(Errno::NAMETOOLONG)),
        ] {
            assert_eq!(directory(&tree, path.as_bytes()), to, "{path}");
        }
    }

    #[test]
    fn missing_parents_are_made_and_told_but_not_behind_a_dangling_link() {
        let mut tree = tree();
        let mut resolver = Resolver::default();
        let mut made = Vec::new();
        let mut spot = |path: &str| {
            let mut note = |path: &[u8]| made.push(String::from_utf8_lossy(path).into_owned());
            resolver.spot(&mut tree, path.as_bytes(), &mut note).map(|(id, name)| (id, String::from_utf8(name)))
        };
        let (first, name) = spot("absolute/x/y/name").expect("through a link");
        assert_eq!(name.as_deref(), Ok("name"));
        assert_eq!(spot("absolute/x/y/other").expect("again").0, first);
        assert_eq!(spot("d/e/x/y/other").expect("by its own name").0, first);
        assert_eq!(spot("dangling/x").err().map(|error| error.kind()), Some(io::ErrorKind::AlreadyExists));
        assert_eq!(spot(&"n".repeat(256)).err().map(|error| error.kind()), Some(io::ErrorKind::InvalidFilename));
        assert_eq!(made, ["absolute/x", "absolute/x/y"]);
    }
}
