//! Which disk an operator means, and whether it may be written to: decisions over what the machine has.

use rk_machine_proto::SECTOR_KEY;
use rk_machine_proto::v1::Disk;
use tonic::Status;

/// The one disk that `wanted` means: a path such as `/dev/sda`, or rules parted by commas, such as
/// `serial=S4X2,size=largest`. Keys: `serial`, `wwid`, `model` (a part of it), `bus`, `size` (`smallest` or `largest` of the rest).
///
/// # Errors
/// None or several match; the error lists the disks that there are.
pub fn choose<'a>(disks: &'a [Disk], wanted: &str) -> Result<&'a Disk, Status> {
    let mut fit: Vec<&Disk> = disks.iter().filter(|disk| is_whole(disk)).collect();
    let all = fit.clone();
    let told = || all.iter().map(|disk| describe(disk)).collect::<Vec<_>>().join("\n");
    if wanted.starts_with('/') {
        fit.retain(|disk| disk.path == wanted);
    } else {
        for rule in wanted.split(',') {
            let (key, value) = rule.split_once('=').unwrap_or((rule, ""));
            match (key.trim(), value.trim()) {
                ("serial", value) if !value.is_empty() => fit.retain(|disk| disk.serial == value),
                ("wwid", value) if !value.is_empty() => fit.retain(|disk| disk.wwid == value),
                ("model", value) if !value.is_empty() => fit.retain(|disk| disk.model.contains(value)),
                ("bus", value) if !value.is_empty() => fit.retain(|disk| disk.bus == value),
                ("size", "smallest") => keep_extreme(&mut fit, |disks| disks.min()),
                ("size", "largest") => keep_extreme(&mut fit, |disks| disks.max()),
                _ => {
                    let text = format!(
                        "{rule:?} is not a rule for disks; write a path, or serial=, wwid=, model=, bus=, size=smallest, size=largest"
                    );
                    return Err(Status::invalid_argument(text));
                }
            }
        }
    }
    match fit.as_slice() {
        [disk] => Ok(disk),
        [] => Err(Status::not_found(format!("no disk is {wanted}; there are\n{}", told()))),
        _ => Err(Status::failed_precondition(format!("several disks are {wanted}; say more. There are\n{}", told()))),
    }
}

/// Whether an image of `bytes` may be written there.
///
/// # Errors
/// It is in use, too small, of other sectors, or holds something and `wipe` is not said.
pub fn permit(disks: &[Disk], disk: &Disk, bytes: u64, sector: u32, wipe: bool) -> Result<(), Status> {
    let refused = |text: String| Err(Status::failed_precondition(format!("{text}; nothing was changed")));
    let parts: Vec<&Disk> = disks.iter().filter(|part| part.parent == disk.name).collect();
    if let Some(used) = parts.iter().copied().chain([disk]).find(|part| !part.mounted_on.is_empty()) {
        return refused(format!("{} is in use: {} is mounted on {}", disk.path, used.path, used.mounted_on));
    }
    if disk.size_bytes < bytes {
        return refused(format!("{} has {} bytes, and the image needs {bytes}", disk.path, disk.size_bytes));
    }
    let held: Vec<String> = contents(disks, disk).into_iter().map(describe).collect();
    if !wipe && !held.is_empty() {
        return refused(format!("{} is not empty; --wipe erases\n{}", disk.path, held.join("\n")));
    }
    // Last, for the caller may send the image for other sectors then.
    if disk.sector_bytes != sector {
        let text = format!("{} has sectors of {} bytes, and the image is for {sector}", disk.path, disk.sector_bytes);
        let mut status = Status::failed_precondition(text + "; nothing was changed");
        status.metadata_mut().insert(SECTOR_KEY, disk.sector_bytes.into());
        return Err(status);
    }
    Ok(())
}

/// What a disk holds: its partitions, and itself when it has a file system.
pub fn contents<'a>(disks: &'a [Disk], disk: &'a Disk) -> Vec<&'a Disk> {
    let mut held: Vec<&Disk> = disks.iter().filter(|part| part.parent == disk.name).collect();
    if !disk.filesystem.is_empty() {
        held.push(disk);
    }
    held
}

/// Why [`choose`] took the one that it took, in words.
pub fn reason(disks: &[Disk], wanted: &str) -> String {
    let count = disks.iter().filter(|disk| is_whole(disk)).count();
    match (wanted.starts_with('/'), count) {
        (true, _) => "named by its path".to_owned(),
        (false, 1) => format!("the only disk, and {wanted}"),
        (false, _) => format!("the one of {count} disks that is {wanted}"),
    }
}

fn is_whole(disk: &Disk) -> bool {
    disk.parent.is_empty()
        && disk.size_bytes > 0
        && !disk.read_only
        && !["dm-", "sr", "md"].iter().any(|prefix| disk.name.starts_with(prefix))
}

fn keep_extreme(disks: &mut Vec<&Disk>, pick: impl Fn(&mut dyn Iterator<Item = u64>) -> Option<u64>) {
    let size = pick(&mut disks.iter().map(|disk| disk.size_bytes));
    disks.retain(|disk| Some(disk.size_bytes) == size);
}

fn describe(disk: &Disk) -> String {
    let Disk { path, size_bytes, bus, model, serial, filesystem, label, .. } = disk;
    let facts = [bus.as_str(), model, serial, filesystem, label];
    let facts: Vec<&str> = facts.into_iter().filter(|fact| !fact.is_empty()).collect();
    format!("  {path}, {} MiB {}", size_bytes >> 20, facts.join(" ")).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(name: &str, size: u64, bus: &str, serial: &str) -> Disk {
        Disk {
            name: name.to_owned(),
            path: format!("/dev/{name}"),
            size_bytes: size << 20,
            sector_bytes: 512,
            bus: bus.to_owned(),
            serial: serial.to_owned(),
            model: "QEMU DISK".to_owned(),
            wwid: format!("eui.{name}"),
            ..Disk::default()
        }
    }

    fn machine() -> Vec<Disk> {
        let part = Disk {
            parent: "sda".to_owned(),
            filesystem: "ext4".to_owned(),
            label: "family".to_owned(),
            ..disk("sda1", 900, "ata", "")
        };
        let cd = Disk { read_only: true, ..disk("sr0", 20, "ata", "") };
        vec![
            disk("nvme0n1", 4000, "nvme", "N1"),
            disk("sda", 1000, "ata", "S1"),
            part,
            disk("sdb", 1000, "usb", "S2"),
            cd,
        ]
    }

    #[test]
    fn a_path_or_rules_mean_exactly_one_whole_disk() {
        let disks = machine();
        let name = |wanted: &str| choose(&disks, wanted).map(|disk| disk.name.clone()).map_err(|err| err.code());
        assert_eq!(name("/dev/sda"), Ok("sda".to_owned()));
        assert_eq!(name("serial=S2"), Ok("sdb".to_owned()));
        assert_eq!(name("wwid=eui.sdb"), Ok("sdb".to_owned()));
        assert_eq!(name("size=largest"), Ok("nvme0n1".to_owned()));
        assert_eq!(name("bus=ata,size=smallest"), Ok("sda".to_owned()));
        assert_eq!(name("model=QEMU"), Err(tonic::Code::FailedPrecondition));
        assert_eq!(name("size=smallest"), Err(tonic::Code::FailedPrecondition));
        assert_eq!(name("/dev/sda1"), Err(tonic::Code::NotFound));
        assert_eq!(name("/dev/sr0"), Err(tonic::Code::NotFound));
        for wrong in ["", "disk", "serial=", "wwid=", "colour=red"] {
            assert_eq!(name(wrong), Err(tonic::Code::InvalidArgument), "{wrong}");
        }
    }

    #[test]
    fn it_is_told_why_a_disk_was_chosen_and_what_it_holds() {
        let disks = machine();
        assert_eq!(reason(&disks, "/dev/sda"), "named by its path");
        assert_eq!(reason(&disks, "size=largest"), "the one of 3 disks that is size=largest");
        assert_eq!(reason(&disks[..1], "bus=nvme"), "the only disk, and bus=nvme");
        let held = |wanted: &str| contents(&disks, choose(&disks, wanted).unwrap()).len();
        assert_eq!((held("/dev/sda"), held("/dev/sdb")), (1, 0));
    }

    #[test]
    fn a_disk_that_holds_something_is_refused_and_its_content_shown() {
        let disks = machine();
        let may = |wanted: &str, bytes: u64, wipe| permit(&disks, choose(&disks, wanted).unwrap(), bytes, 512, wipe);
        let refused = may("/dev/sda", 5, false).unwrap_err();
        assert!(refused.message().contains("/dev/sda1") && refused.message().contains("family"), "{refused:?}");
        assert!(may("/dev/sda", 5, true).is_ok() && may("/dev/sdb", 5, false).is_ok());
        assert!(may("/dev/sdb", 1 << 40, true).unwrap_err().message().contains("needs"));
    }

    #[test]
    fn disks_in_use_and_of_other_sectors_are_refused_whatever_is_said() {
        let mut disks = machine();
        disks[2].mounted_on = "/var".to_owned();
        disks[3].sector_bytes = 4096;
        let may = |wanted: &str| {
            permit(&disks, choose(&disks, wanted).unwrap(), 5, 512, true).unwrap_err().message().to_owned()
        };
        assert!(may("/dev/sda").contains("mounted on /var"));
        assert!(may("/dev/sdb").contains("4096"));
        assert!(permit(&disks, choose(&disks, "/dev/sdb").unwrap(), 5, 4096, false).is_ok());
    }
}
