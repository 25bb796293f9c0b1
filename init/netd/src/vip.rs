//! Addresses that control planes share. `rk-control`, which knows who leads, writes until when this machine does; this puts the
//! address on its link until then. The kernel is told the end as well, so that the address goes even when everyone who
//! looks after it is gone. Nothing is remembered: whoever starts anew looks at the deadline alone.

use crate::announce::announcement;
use crate::log;
use crate::rtnl::{Address, Kernel};
use ipnet::IpNet;
use rk_sys::{FileWatch, SysError};
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

/// `rk-control --vip-file`: milliseconds since the kernel started, until which this machine leads.
const DEADLINE: &str = "/run/rk/vip";
/// How often the deadline is looked at where its file is not watched, or the kernel refused what follows from it.
const LOOK_EVERY: u64 = 500;
/// No term is longer: what says so is torn or foreign.
const LONGEST: u64 = 60_000;
/// A deadline that moved by less is not worth a word to the kernel.
const STEP: u64 = 2_500;
/// Milliseconds between the first announcements; neighbours may miss some.
const FIRST: [u64; 3] = [1_000, 2_000, 5_000];
/// Milliseconds between later ones: switches forget.
const LATER: u64 = 30_000;

/// What is to be done with an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    /// Give it to the link, or keep it there, until then.
    Lend(u64),
    /// Take it from the link.
    Take,
    /// Tell neighbours.
    Announce,
}

/// One address on one link.
#[derive(Debug, Default)]
struct Vip {
    /// Until when the kernel has it, if it has.
    lent: Option<u64>,
    looked: bool,
    announced: usize,
    announce_at: u64,
}

impl Vip {
    /// What is due now, when this machine leads until `deadline`.
    fn turn(&mut self, now: u64, deadline: Option<u64>) -> Vec<Act> {
        let deadline = deadline.filter(|until| *until > now && *until - now <= LONGEST);
        let first = !std::mem::replace(&mut self.looked, true);
        let Some(until) = deadline else {
            // At the first look, too: whoever was here before may have left it.
            let had = self.lent.take().is_some();
            return if had || first { vec![Act::Take] } else { Vec::new() };
        };
        let mut acts = Vec::new();
        if self.lent.is_none() {
            (self.announced, self.announce_at) = (0, now);
        }
        if self.lent.is_none_or(|lent| lent <= now || until.abs_diff(lent) >= STEP) {
            self.lent = Some(until);
            acts.push(Act::Lend(until));
        }
        if now >= self.announce_at {
            self.announce_at = now + FIRST.get(self.announced).copied().unwrap_or(LATER);
            self.announced = self.announced.saturating_add(1);
            acts.push(Act::Announce);
        }
        acts
    }

    /// When there is something to do though the deadline stays as it is.
    fn due(&self) -> u64 {
        self.lent.map_or(u64::MAX, |until| until.min(self.announce_at))
    }
}

/// All of them, by link and address.
#[derive(Debug)]
pub struct Vips {
    file: PathBuf,
    all: BTreeMap<(u32, IpAddr), Vip>,
    watch: Watch,
    due: Option<u64>,
}

/// How the deadline's changes come to be known.
#[derive(Debug)]
enum Watch {
    /// Nobody asked yet.
    None,
    Told(FileWatch),
    /// The kernel does not tell: somebody must look.
    Looks,
}

impl Default for Vips {
    fn default() -> Vips {
        Vips::by(Path::new(DEADLINE))
    }
}

impl Vips {
    fn by(file: &Path) -> Vips {
        Vips { file: file.to_owned(), all: BTreeMap::new(), watch: Watch::None, due: None }
    }

    /// When [`Vips::turn`] is due; never without an address to share.
    pub fn due(&self) -> u64 {
        self.due.unwrap_or(u64::MAX)
    }

    /// What is readable when the deadline may have moved: then [`Vips::heed`].
    pub fn news(&self) -> Option<BorrowedFd<'_>> {
        match &self.watch {
            Watch::Told(watch) => Some(watch.as_fd()),
            Watch::None | Watch::Looks => None,
        }
    }

    /// Takes the news; [`Vips::turn`] is due when the deadline is among them.
    pub fn heed(&mut self) {
        let Watch::Told(watch) = &self.watch else { return };
        match watch.changed() {
            Ok(false) => {}
            Ok(true) => self.due = Some(0),
            Err(err) => {
                self.look(&err);
                self.due = Some(0);
            }
        }
    }

    fn look(&mut self, err: &SysError) {
        log::info(format_args!("{}; it is looked at twice a second", log::chain(err)));
        self.watch = Watch::Looks;
    }

    /// Looks at the deadline and does what follows. `links` are those with an address to share: index, name, address.
    pub fn turn<'a>(&mut self, now: u64, links: impl Iterator<Item = (u32, &'a str, IpAddr)>, kernel: &mut Kernel) {
        let mut wanted: BTreeMap<IpAddr, (u32, &str)> = BTreeMap::new();
        for (index, name, ip) in links {
            // An entry that matches several links means the first.
            wanted.entry(ip).or_insert((index, name));
        }
        self.all.retain(|(link, ip), _| wanted.get(ip).is_some_and(|(index, _)| index == link));
        let new = wanted.iter().any(|(ip, (link, _))| !self.all.contains_key(&(*link, *ip)));
        self.due = self.due.filter(|_| !wanted.is_empty());
        if wanted.is_empty() || (!new && self.due.is_some_and(|due| now < due)) {
            return;
        }
        // Before the look: what is written in between is news.
        if matches!(self.watch, Watch::None) {
            match FileWatch::new(&self.file) {
                Ok(watch) => self.watch = Watch::Told(watch),
                Err(err) => self.look(&err),
            }
        }
        let deadline = fs::File::open(&self.file).ok().and_then(read_deadline);
        let mut due = if matches!(self.watch, Watch::Looks) { now + LOOK_EVERY } else { u64::MAX };
        for (ip, (link, name)) in wanted {
            let vip = self.all.entry((link, ip)).or_default();
            let had = vip.lent.is_some();
            for act in vip.turn(now, deadline) {
                let lends = matches!(act, Act::Lend(_));
                carry_out(now, act, had, Address { link, net: IpNet::from(ip) }, name, kernel, vip);
                if lends && vip.lent.is_none() {
                    due = due.min(now + LOOK_EVERY);
                }
            }
            due = due.min(vip.due());
        }
        self.due = Some(due);
    }
}

fn carry_out(now: u64, act: Act, had: bool, address: Address, name: &str, kernel: &mut Kernel, vip: &mut Vip) {
    let ip = address.net.addr();
    match act {
        Act::Lend(until) => {
            let seconds = u32::try_from(until.saturating_sub(now) / 1000).unwrap_or(1);
            match kernel.lend_address(&address, seconds) {
                Ok(()) if had => {}
                Ok(()) => log::news(format_args!("{name} has {ip}, which the control planes share: this one leads")),
                Err(err) => {
                    // The next look tries again.
                    vip.lent = None;
                    log::warn(format_args!("putting {ip} on {name}: {}", log::chain(&err)));
                }
            }
        }
        // It may be gone already: the kernel was told its end.
        Act::Take => {
            if kernel.delete_address(&address).is_ok() {
                log::news(format_args!("{name} has {ip} no more: this control plane does not lead"));
            }
        }
        Act::Announce => {
            let Some(mac) = hardware_address(name) else { return };
            let said = announcement(ip, mac);
            if let Err(err) = rk_sys::send_on_link(address.link, said.ether_type, said.to, &said.packet) {
                log::info(format_args!("announcing {ip} on {name}: {}", log::chain(&err)));
            }
        }
    }
}

/// The address that the link uses now; that of a bond is not its cards' permanent one.
fn hardware_address(link: &str) -> Option<[u8; 6]> {
    let text = fs::read_to_string(format!("/sys/class/net/{link}/address")).ok()?;
    let pairs: Vec<u8> = text.trim().split(':').filter_map(|pair| u8::from_str_radix(pair, 16).ok()).collect();
    pairs.try_into().ok()
}

/// `None` for anything but one number.
fn read_deadline(from: impl Read) -> Option<u64> {
    let mut text = String::new();
    from.take(32).read_to_string(&mut text).ok()?;
    text.trim_end().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_comes_with_the_deadline_and_goes_with_it() {
        let mut vip = Vip::default();
        assert_eq!(vip.turn(0, None), [Act::Take], "what another left behind");
        assert_eq!(vip.turn(500, None), []);
        assert_eq!(vip.turn(1_000, Some(11_000)), [Act::Lend(11_000), Act::Announce]);
        assert_eq!(vip.turn(1_500, Some(11_000)), []);
        assert_eq!(vip.turn(2_000, Some(11_000)), [Act::Announce], "some neighbours missed the first");
        assert_eq!(vip.turn(3_000, Some(13_000)), [], "a small step");
        assert_eq!(vip.turn(3_500, Some(13_500)), [Act::Lend(13_500)]);
        assert_eq!(vip.turn(13_499, Some(13_500)), [Act::Announce]);
        assert_eq!(vip.turn(13_500, Some(13_500)), [Act::Take]);
        assert_eq!(vip.turn(14_000, Some(13_500)), []);
        assert_eq!(vip.turn(20_000, Some(30_000)), [Act::Lend(30_000), Act::Announce], "a new term");
    }

    #[test]
    fn a_leader_that_gives_up_early_loses_the_address_at_once() {
        let mut vip = Vip::default();
        assert_eq!(vip.turn(0, Some(10_000)), [Act::Lend(10_000), Act::Announce]);
        assert_eq!(vip.turn(500, None), [Act::Take]);
    }

    #[test]
    fn one_that_begins_anew_goes_on_with_the_term_that_it_finds() {
        assert_eq!(Vip::default().turn(5_000, Some(9_000)), [Act::Lend(9_000), Act::Announce]);
    }

    #[test]
    fn deadlines_that_nobody_wrote_are_none() {
        assert_eq!(Vip::default().turn(0, Some(LONGEST + 1)), [Act::Take]);
        for (text, read) in [
            ("12\n", Some(12)),
            ("", None),
            ("12 13", None),
            ("-1", None),
            ("x", None),
            ("99999999999999999999999", None),
        ] {
            assert_eq!(read_deadline(text.as_bytes()), read, "{text}");
        }
    }

    /// The whole way over two machines, by a common clock: a leader renews every two seconds, falls silent at a moment, and another leads
    /// fifteen seconds after the last renewal that it saw. Each acts when its deadline is written and when something is due; the second may
    /// be late by a moment.
    #[test]
    fn two_machines_never_have_it_at_once_whenever_one_falls_silent() {
        const TERM: u64 = 10_000;
        const SILENCE: u64 = 15_000;
        for silent_at in (2_000..6_000).step_by(250) {
            let (mut first, mut second) = (Vip::default(), Vip::default());
            let last_renewal = silent_at / 2_000 * 2_000;
            let mut moved = false;
            for now in (0..40_000).step_by(100) {
                let (a, b) = (now / 2_000 * 2_000, now);
                let deadline = Some(a.min(last_renewal) + TERM);
                if (now % 2_000 == 0 && now <= last_renewal) || now >= first.due() {
                    first.turn(now, deadline);
                }
                if now % 2_000 == 300 || now >= second.due() {
                    second.turn(now, (b >= last_renewal + SILENCE).then_some(b + TERM));
                }
                // The kernel lets go by itself.
                let has = |vip: &Vip| vip.lent.is_some_and(|until| until > now);
                assert!(!(has(&first) && has(&second)), "silent at {silent_at}: both at {now}");
                moved |= has(&second);
            }
            assert!(moved, "silent at {silent_at}: nobody took over");
        }
    }
}

/// Against the kernel, in a network of its own; only root has one to give.
#[cfg(test)]
mod kernel {
    use super::*;
    use std::time::{Duration, Instant};

    /// The loopback link takes addresses as any other.
    const LOOPBACK: u32 = 1;

    #[test]
    fn an_address_follows_what_is_written_without_anybody_looking() {
        std::thread::spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a network namespace, which takes root");
            let dir = std::env::temp_dir().join(format!("rk-vip-{}", std::process::id()));
            fs::create_dir_all(&dir).unwrap();
            let (file, new) = (dir.join("vip"), dir.join("vip.new"));
            let mut kernel = Kernel::open().unwrap();
            kernel.set_up(LOOPBACK).unwrap();
            let ip: IpAddr = "192.0.2.7".parse().unwrap();
            let address = Address { link: LOOPBACK, net: IpNet::from(ip) };
            let has = |kernel: &mut Kernel| kernel.snapshot().unwrap().addresses.contains(&address);
            let mut vips = Vips::by(&file);
            let turn = |vips: &mut Vips, kernel: &mut Kernel| {
                let now = rk_sys::boot_millis();
                vips.turn(now, [(LOOPBACK, "lo", ip)].into_iter(), kernel);
                now
            };
            turn(&mut vips, &mut kernel);
            assert!(!has(&mut kernel) && vips.due() == u64::MAX, "{vips:?}");
            let told = |vips: &mut Vips| {
                let news = vips.news().expect("a watch");
                assert!(rk_sys::wait_readable(&[news], Some(Duration::from_secs(60))).unwrap().is(0), "no news");
                vips.heed();
                assert_eq!(vips.due(), 0);
            };
            fs::write(&new, format!("{}\n", rk_sys::boot_millis() + 50_000)).unwrap();
            fs::rename(&new, &file).unwrap();
            told(&mut vips);
            let now = turn(&mut vips, &mut kernel);
            assert!(has(&mut kernel));
            assert!(vips.due() > now, "nothing is due but the next announcement: {vips:?}");
            fs::remove_file(&file).unwrap();
            told(&mut vips);
            turn(&mut vips, &mut kernel);
            assert!(!has(&mut kernel) && vips.due() == u64::MAX, "{vips:?}");
            fs::remove_dir_all(&dir).unwrap();
        })
        .join()
        .unwrap();
    }

    #[test]
    fn the_kernel_takes_a_lent_address_back_by_itself() {
        std::thread::spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a network namespace, which takes root");
            let mut kernel = Kernel::open().unwrap();
            kernel.set_up(LOOPBACK).unwrap();
            for ip in ["192.0.2.9", "2001:db8::9"] {
                let address = Address { link: LOOPBACK, net: IpNet::from(ip.parse::<IpAddr>().unwrap()) };
                let has = |kernel: &mut Kernel| kernel.snapshot().unwrap().addresses.contains(&address);
                kernel.lend_address(&address, 60).unwrap();
                assert!(has(&mut kernel), "{ip}");
                kernel.delete_address(&address).unwrap();
                assert!(!has(&mut kernel), "{ip}");
                kernel.lend_address(&address, 60).unwrap();
                // As often as it is renewed, the last word counts.
                kernel.lend_address(&address, 1).unwrap();
                let late = Instant::now() + Duration::from_secs(120);
                while has(&mut kernel) {
                    assert!(Instant::now() < late, "{ip} is still there");
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
        })
        .join()
        .unwrap();
    }
}
