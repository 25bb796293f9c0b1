//! Places of an image for what outlives its containers, where nothing is mounted.

use std::path::{Path, PathBuf};

use rk_cri_api::v1::Mount;
use rk_images::ImageConfig;

use super::inside;
use crate::error::{IoContext, Result};
use crate::runtime::absolute;

/// Where the kernel shows itself: what an image has there is nowhere in a container.
const OF_THE_KERNEL: [&str; 3] = ["proc", "sys", "dev"];

/// Makes the directories that an image names as volumes and lacks, for the container's user; `owner` is that one on the node. Where
/// something is mounted, or something else is, nothing is made. Answers with those that are there: in the container, and on the node.
pub(super) fn make(
    rootfs: &Path,
    image: &ImageConfig,
    mounts: &[Mount],
    owner: (u32, u32),
) -> Result<Vec<(PathBuf, PathBuf)>> {
    let mounted = |path: &Path| mounts.iter().any(|m| Path::new(&m.container_path).components().eq(path.components()));
    let wanted = image.volumes.iter().filter_map(|path| absolute(path, "volume").ok());
    let top = inside::place(rootfs, Path::new("")).at("find the root", rootfs)?;
    let mut found = Vec::new();
    for path in wanted.filter(|path| !mounted(path.as_path())) {
        match inside::make(rootfs, &path, owner) {
            // Something that is no directory is in the way.
            Err(error) if inside::is_absent(&error) => {}
            made => made.at("make a volume's directory", &path)?,
        }
        // By its name and by where links of the image lead: what is mounted at either would hide what is mounted below.
        let own = |place: &PathBuf| is_own(Path::new("/"), &path) && is_own(&top, place) && place.is_dir();
        let place = inside::place(rootfs, &path).ok().filter(own);
        found.extend(place.map(|place| (path, place)));
    }
    Ok(found)
}

/// Whether a place in the tree at `top` is neither the tree's root nor the kernel's.
fn is_own(top: &Path, place: &Path) -> bool {
    let within = place.strip_prefix(top).ok().filter(|within| within.file_name().is_some());
    within.is_some_and(|within| !OF_THE_KERNEL.iter().any(|of| within.starts_with(of)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    #[test]
    fn an_image_has_its_volumes_within_it_unless_something_is_mounted_or_in_the_way() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap().join("root");
        fs::create_dir_all(root.join("usr/srv")).unwrap();
        fs::write(root.join("file"), "").unwrap();
        symlink("/usr/srv", root.join("srv")).unwrap();
        symlink("../../outside", root.join("up")).unwrap();
        symlink("/", root.join("all")).unwrap();
        symlink("dev", root.join("devices")).unwrap();
        let told = [
            "/var/lib/db",
            "/srv/www/",
            "/usr/srv",
            "/file",
            "/file/below",
            "/up/there",
            "/mounted",
            "/../out",
            "relative",
            "/",
            "/dev/own",
            "/all",
            "/devices/own",
        ];
        let image = ImageConfig { volumes: told.map(str::to_owned).to_vec(), ..ImageConfig::default() };
        let mount = Mount { container_path: "/mounted/".to_owned(), ..Mount::default() };
        let own = fs::metadata(&root).unwrap();
        for _ in 0..2 {
            let found = make(&root, &image, std::slice::from_ref(&mount), (own.uid(), own.gid())).unwrap();
            let places = [("/var/lib/db", "var/lib/db"), ("/srv/www/", "usr/srv/www"), ("/usr/srv", "usr/srv")];
            assert_eq!(found, places.map(|(path, place)| (PathBuf::from(path), root.join(place))));
        }
        let there = |path: &str| root.join(path).is_dir();
        assert!(there("var/lib/db") && there("usr/srv/www") && root.join("file").is_file());
        assert!(!there("mounted") && !there("relative") && !there("out"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "something was made outside");
        assert_eq!(fs::metadata(root.join("var/lib")).unwrap().mode() & 0o700, 0o700);
    }
}
