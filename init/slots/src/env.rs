//! GRUB's block of variables: a text of fixed size, written in place, sector by sector.

use crate::{Slot, TRIES};
use sha2::{Digest, Sha256};

/// Size of the block, which GRUB never changes.
pub const ENV_BYTES: usize = 1024;
const MAGIC: &str = "# GRUB Environment Block\n";

/// What GRUB goes by: the good slot, and one on trial with boots left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Env {
    /// Booted when none is on trial.
    pub good: Slot,
    /// Booted as long as it has boots left.
    pub trial: Option<Slot>,
    /// Boots left of the trial.
    pub left: u32,
}

impl Env {
    /// A slot that is good, and no trial.
    pub fn good(slot: Slot) -> Env {
        Env { good: slot, trial: None, left: 0 }
    }

    /// A trial beside a good slot.
    pub fn trial(good: Slot, trial: Slot) -> Env {
        Env { good, trial: Some(trial), left: TRIES }
    }

    /// The block.
    pub fn encode(&self) -> Vec<u8> {
        let trial = self.trial.map(Slot::letter).unwrap_or_default();
        let text = format!("{MAGIC}good={}\ntrial={trial}\nleft={}\n", self.good, self.left);
        let mut bytes = text.into_bytes();
        bytes.resize(ENV_BYTES, b'#');
        bytes
    }

    /// Reads a block; `None` when it is none of ours.
    pub fn decode(bytes: &[u8]) -> Option<Env> {
        let text = bytes.get(..ENV_BYTES).and_then(|bytes| std::str::from_utf8(bytes).ok())?.strip_prefix(MAGIC)?;
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        Some(Env {
            good: Slot::of_letter(value("good")?)?,
            trial: value("trial").and_then(Slot::of_letter),
            left: value("left").and_then(|left| left.parse().ok()).unwrap_or(0),
        })
    }

    /// The commands that make GRUB go by it; `$root` is the EFI partition. Each slot's own commands lie in `rk/<slot>/boot.cfg`.
    pub fn script() -> String {
        let file = format!("($root)/{}", crate::ENV_PATH);
        // GRUB that is installed with this script can check sums; an older one can not, and its script does not say so.
        let mut script =
            format!("set sums=1\nset good=a\nset trial=\nset left=0\nload_env --file {file}\nset slot=$good\n");
        script += "if [ -n \"$trial\" ]; then\n";
        for left in (1..=TRIES).rev() {
            let word = if left == TRIES { "if" } else { "elif" };
            script += &format!("{word} [ \"$left\" = {left} ]; then set left={}; set slot=$trial\n", left - 1);
        }
        script += &format!("fi\nif [ \"$slot\" = \"$trial\" ]; then save_env --file {file} left; fi\nfi\n");
        script += "if [ \"$good\" = a ]; then set other=b; else set other=a; fi\n";
        // Each but the first is only reached when the kernels of those before cannot be loaded. Commands that an earlier version wrote only
        // load, and are booted here.
        let attempt =
            |slot: &str| format!("set torn=\nsource ($root)/rk/{slot}/boot.cfg\nif [ -z \"$torn\" ]; then boot; fi\n");
        script.extend(["$slot", "$good", "$other"].map(attempt));
        // Nothing is as it was written: what loads may still boot, and who cannot check must not keep a machine from that.
        script += "set sums=\n";
        script.extend(["$good", "$other"].map(attempt));
        script + "reboot\n"
    }
}

/// Kernel and initramfs of a slot as `sha256sum` tells of files, for GRUB to check before it loads them: `rk/<slot>/sums`.
pub fn sums(kernel: &[u8], initramfs: &[u8]) -> String {
    let line = |name: &str, bytes: &[u8]| format!("{}  {name}\n", hex::encode(Sha256::digest(bytes)));
    line("vmlinuz", kernel) + &line("initrd", initramfs)
}

/// Memory in which the kernel's last words outlive a warm start, and the kernel's way to it (Documentation/admin-guide/ramoops.rst). On
/// BIOS machines alone: a kernel takes one place for them, and UEFI's variables outlive a power cut too.
///
/// At 128 MiB: memory on every machine that runs this, above where GRUB puts the kernel, below its own heap and the initramfs, which it
/// puts at the end of memory; and the kernel keeps away from what `memmap` takes, wherever chance puts it. Quoted, for GRUB knows `$`.
const LAST_WORDS: &str =
    "'memmap=1M$0x8000000' ramoops.mem_address=0x8000000 ramoops.mem_size=0x100000 ramoops.record_size=65536";

/// A kernel command line as a script of GRUB has it: words with signs that mean something there, such as the `&` of a URL, are quoted. What
/// the line itself quotes, for the kernel, is quoted for GRUB, too.
pub fn grub_words(cmdline: &str) -> String {
    let mut within = false;
    let word = |word: &str| {
        let was_within = within;
        within ^= word.matches('"').count() % 2 == 1;
        let means_something = word.contains(['$', ';', '&', '|', '<', '>', '{', '}', '#', '\'']);
        if means_something && !was_within && !word.contains('"') {
            // A quote within quotes: out, the quote by itself, and in again.
            format!("'{}'", word.replace('\'', r"'\''"))
        } else {
            word.to_owned()
        }
    };
    cmdline.split_ascii_whitespace().map(word).collect::<Vec<_>>().join(" ")
}

/// What GRUB does for a slot: `rk/<slot>/boot.cfg`. Whoever comes back from it finds `torn` set: its kernel or its initramfs is not what was
/// written, or the kernel could not be loaded. Both are read and checked before either is loaded, because of a loaded kernel there is no way
/// back: GRUB gives the second one that it loads no command line. So a kernel without its initramfs is not booted, and no other one after it.
pub fn boot_commands(slot: Slot, cmdline: &str) -> String {
    let folder = format!("($root)/rk/{slot}");
    let check = format!("if sha256sum --prefix {folder} --check {folder}/sums ; then set whole=1; fi\n");
    let check = format!("set whole=1\nif [ -n \"$sums\" ]; then\nset whole=\n{check}fi\n");
    let linux = format!("if linux {folder}/vmlinuz {LAST_WORDS} {} ; then\n", grub_words(cmdline));
    let initrd = format!("if initrd {folder}/initrd ; then\nboot\nfi\nreboot\nfi\n");
    check + "if [ -n \"$whole\" ]; then\n" + &linux + &initrd + "fi\nset torn=1\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_reads_back_and_keeps_its_size() {
        for env in [Env::good(Slot::B), Env::trial(Slot::A, Slot::B), Env { left: 0, ..Env::trial(Slot::A, Slot::B) }] {
            let bytes = env.encode();
            assert_eq!(bytes.len(), ENV_BYTES);
            assert_eq!(Env::decode(&bytes), Some(env));
        }
    }

    #[test]
    fn noise_is_no_block() {
        for bytes in [vec![], vec![0; ENV_BYTES], vec![0xff; ENV_BYTES], MAGIC.as_bytes().to_vec()] {
            assert_eq!(Env::decode(&bytes), None);
        }
    }

    #[test]
    fn the_script_counts_every_try_down_by_one() {
        let script = Env::script();
        for left in 1..=TRIES {
            assert!(script.contains(&format!("[ \"$left\" = {left} ]; then set left={}; ", left - 1)), "{script}");
        }
        assert_eq!(script.matches("\nif ").count(), script.matches("fi\n").count());
    }

    #[test]
    fn a_slot_whose_kernel_cannot_be_loaded_is_followed_by_the_good_one_and_by_the_other() {
        let script = Env::script();
        let at = |slot: &str| script.find(&format!("source ($root)/rk/{slot}/boot.cfg\nif [ -z \"$torn\" ]")).unwrap();
        assert!(at("$slot") < at("$good") && at("$good") < at("$other"), "{script}");
        assert!(script.ends_with("fi\nreboot\n"));
        let commands = boot_commands(Slot::B, "quiet rk.root=x\n");
        assert!(commands.contains("\nif linux ($root)/rk/b/vmlinuz ") && commands.contains(" rk.root=x ; then\n"));
        assert!(commands.ends_with("boot\nfi\nreboot\nfi\nfi\nset torn=1\n"), "{commands}");
    }

    #[test]
    fn signs_that_mean_something_to_grub_reach_the_kernel() {
        for (line, wanted) in [
            ("console=ttyS0,115200 quiet\n", "console=ttyS0,115200 quiet"),
            ("quiet rk.config=https://a/b?c=1&d=2 panic=10", "quiet 'rk.config=https://a/b?c=1&d=2' panic=10"),
            ("memmap=1M$0x8000000", "'memmap=1M$0x8000000'"),
            ("rk.config=base64:YQ== rk.root=ab,1", "rk.config=base64:YQ== rk.root=ab,1"),
            ("rk.config=https://a/it's?b&c quiet", r"'rk.config=https://a/it'\''s?b&c' quiet"),
            ("dyndbg=\"file a.c +p; file b&c +p\" x;y", "dyndbg=\"file a.c +p; file b&c +p\" 'x;y'"),
        ] {
            assert_eq!(grub_words(line), wanted);
        }
        assert!(boot_commands(Slot::A, "rk.config=https://a/?b&c").contains(" 'rk.config=https://a/?b&c' ; then\n"));
    }

    #[test]
    fn a_slot_is_checked_before_it_is_loaded_and_unchecked_only_when_none_is_whole() {
        let commands = boot_commands(Slot::B, "quiet");
        let at = |words: &str| commands.find(words).unwrap();
        assert!(at("--prefix ($root)/rk/b --check ($root)/rk/b/sums ") < at("if [ -n \"$whole\" ]"), "{commands}");
        assert!(at("if [ -n \"$whole\" ]") < at("if linux "), "{commands}");
        assert_eq!(commands.matches("if ").count(), commands.matches("fi\n").count());
        let script = Env::script();
        let (checked, unchecked) = script.split_once("set sums=\n").unwrap();
        assert!(checked.starts_with("set sums=1\n"));
        assert_eq!((checked.matches("source ").count(), unchecked.matches("source ").count()), (3, 2), "{script}");
    }

    #[test]
    fn sums_are_told_as_sha256sum_tells_them() {
        // Of no bytes and of "abc" (FIPS 180-4, examples).
        let wanted = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  vmlinuz\n\
                      ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  initrd\n";
        assert_eq!(sums(b"", b"abc"), wanted);
    }
}
