//! `host-local`: addresses from ranges, one file for each, in the layout of the reference plugin.
//!
//! ```text
//! DATADIR/<network>/10.244.1.7            "<container ID>\r\n<interface>"
//! DATADIR/<network>/last_reserved_ip.0    where the next search begins
//! DATADIR/<network>/lock
//! ```

use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, Write},
    net::IpAddr,
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use rustix::fs::{FlockOperation, flock};
use serde::Deserialize;
use serde_json::{Value, to_value};

use super::{
    Answer,
    request::{Command, Request, failed},
};
use crate::types::{CniError, CniResult, IpConfig, Route};

#[derive(Debug, Deserialize)]
struct Config {
    ipam: Ipam,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ipam {
    #[serde(default)]
    ranges: Vec<Vec<Range>>,
    /// The older way to give one range.
    #[serde(flatten)]
    single: Option<Range>,
    #[serde(default)]
    routes: Vec<Route>,
    #[serde(default)]
    data_dir: Option<PathBuf>,
    #[serde(default)]
    resolv_conf: Option<Value>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Range {
    subnet: IpNet,
    range_start: Option<IpAddr>,
    range_end: Option<IpAddr>,
    gateway: Option<IpAddr>,
}

pub(super) fn run(request: &Request) -> Answer {
    let config: Config = request.config()?;
    if config.ipam.resolv_conf.is_some() {
        return Err(CniError::new(
            CniError::UNSUPPORTED,
            "ipam.resolvConf is not supported: pods get their resolver from the kubelet",
        ));
    }
    // What was reserved is given back whatever the ranges are now.
    let sets = match request.command {
        Command::Del | Command::Gc => Vec::new(),
        Command::Add | Command::Check | Command::Status => config.ipam.sets()?,
    };
    let directory = config.ipam.data_dir.clone().unwrap_or_else(|| "/var/lib/cni/networks".into()).join(&request.name);
    if request.command == Command::Status {
        return Ok(None);
    }
    let store = Store::open(&directory).map_err(|e| failed(format!("open {}", directory.display()), e))?;
    let fail = |e: io::Error| failed(format!("use {}", directory.display()), e);
    let owner = format!("{}\r\n{}", request.container_id, request.if_name);
    match request.command {
        Command::Add => add(request, &config.ipam, &sets, &store, &owner),
        Command::Del => store.release(|content| content == owner).map(|()| None).map_err(fail),
        Command::Check => match store.owned(&owner).map_err(fail)?.is_empty() {
            true => Err(CniError::new(
                CniError::FAILED,
                format!("no address is reserved for container {}", request.container_id),
            )),
            false => Ok(None),
        },
        Command::Gc => {
            let kept: Vec<String> =
                request.keep()?.iter().map(|k| format!("{}\r\n{}", k.container_id, k.ifname)).collect();
            store.release(|content| !kept.iter().any(|k| k == content)).map(|()| None).map_err(fail)
        }
        Command::Status => Ok(None),
    }
}

fn add(request: &Request, ipam: &Ipam, sets: &[Vec<Range>], store: &Store, owner: &str) -> Answer {
    let fail = |e: io::Error| failed("reserve an address", e);
    // Every file is read, and once: a repeated ADD gets what the first one got.
    let all = store.all().map_err(fail)?;
    let mut owned: Vec<IpAddr> = all.iter().filter(|(.., content)| content == owner).map(|(ip, ..)| *ip).collect();
    let mut taken: HashSet<IpAddr> = all.into_iter().map(|(ip, ..)| ip).collect();
    let mut ips = Vec::new();
    for (index, set) in sets.iter().enumerate() {
        let kept =
            owned.iter().position(|ip| set.iter().any(|range| range.contains(*ip))).map(|at| owned.swap_remove(at));
        let ip = match kept {
            Some(ip) => Some(ip),
            None => store.reserve(index, set, &mut taken, owner).map_err(fail)?,
        };
        let Some((ip, range)) = ip.and_then(|ip| Some((ip, set.iter().find(|range| range.contains(ip))?))) else {
            store.release(|content| content == owner).map_err(fail)?;
            let subnets: Vec<String> = set.iter().map(|range| range.subnet.to_string()).collect();
            return Err(CniError::new(
                CniError::AGAIN,
                format!("no IP addresses available in range set {}", subnets.join(", ")),
            ));
        };
        let address = IpNet::new(ip, range.subnet.prefix_len()).map_err(|e| failed("address", e))?;
        ips.push(IpConfig { version: None, interface: None, address, gateway: Some(range.gateway()) });
    }
    let result = CniResult { ips, routes: ipam.routes.clone(), ..CniResult::default() }.versioned(&request.version);
    to_value(result).map(Some).map_err(|e| failed("encode result", e))
}

impl Ipam {
    fn sets(&self) -> Result<Vec<Vec<Range>>, CniError> {
        let bad = |reason: String| CniError::new(CniError::CONFIG, format!("ipam: {reason}"));
        let sets: Vec<Vec<Range>> =
            self.single.iter().map(|r| vec![r.clone()]).chain(self.ranges.iter().cloned()).collect();
        if sets.is_empty() || sets.iter().any(Vec::is_empty) {
            return Err(bad("no ranges are given".into()));
        }
        for range in sets.iter().flatten() {
            let inside = |ip: Option<IpAddr>| ip.is_none_or(|ip| range.subnet.contains(&ip));
            if !inside(range.range_start) || !inside(range.range_end) || range.first() > range.last() {
                return Err(bad(format!("range {}-{} does not lie in {}", range.first(), range.last(), range.subnet)));
            }
        }
        if sets.iter().any(|set| set.iter().any(|r| r.first().is_ipv4()) && set.iter().any(|r| r.first().is_ipv6())) {
            return Err(bad("mixed address families in a range set".into()));
        }
        let all: Vec<_> =
            sets.iter().enumerate().flat_map(|(at, set)| set.iter().map(move |range| (at, range))).collect();
        for (index, (i, one)) in all.iter().enumerate() {
            let Some((j, other)) = all.iter().skip(index + 1).find(|(_, other)| one.overlaps(other)) else { continue };
            return Err(bad(match i == j {
                true => format!("subnets {one} and {other} overlap"),
                false => format!("range set {i} overlaps with {j}"),
            }));
        }
        Ok(sets)
    }
}

impl Range {
    /// The lowest address that may be handed out.
    fn first(&self) -> IpAddr {
        self.range_start.unwrap_or_else(|| step(self.subnet.network(), 1))
    }

    /// The highest address that may be handed out; IPv4 keeps the broadcast address.
    fn last(&self) -> IpAddr {
        self.range_end.unwrap_or_else(|| match self.subnet {
            IpNet::V4(net) if net.prefix_len() < 31 => step(IpAddr::V4(net.broadcast()), -1),
            net => net.broadcast(),
        })
    }

    fn gateway(&self) -> IpAddr {
        self.gateway.unwrap_or_else(|| step(self.subnet.network(), 1))
    }

    fn contains(&self, ip: IpAddr) -> bool {
        (self.first()..=self.last()).contains(&ip)
    }

    /// Whether both have an address in common; those of two families have none.
    fn overlaps(&self, other: &Self) -> bool {
        self.first() <= other.last() && other.first() <= self.last()
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.first(), self.last())
    }
}

fn step(ip: IpAddr, by: i8) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => IpAddr::V4(u32::from(ip).saturating_add_signed(by.into()).into()),
        IpAddr::V6(ip) => IpAddr::V6(u128::from(ip).saturating_add_signed(by.into()).into()),
    }
}

/// The reservations of one network, locked while it lives.
struct Store {
    directory: PathBuf,
    _lock: File,
}

impl Store {
    fn open(directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let lock = File::create(directory.join("lock"))?;
        flock(&lock, FlockOperation::LockExclusive)?;
        Ok(Self { directory: directory.to_owned(), _lock: lock })
    }

    /// Every reservation: file names that are addresses, with their owners.
    fn all(&self) -> io::Result<Vec<(IpAddr, PathBuf, String)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            // IPv6 addresses are written with '_' where the file system minds ':'.
            let name = path.file_name().unwrap_or_default().to_string_lossy().replace('_', ":");
            if let Ok(ip) = name.parse() {
                let owner = fs::read_to_string(&path)?;
                found.push((ip, path, owner));
            }
        }
        Ok(found)
    }

    fn owned(&self, owner: &str) -> io::Result<Vec<IpAddr>> {
        Ok(self.all()?.into_iter().filter(|(.., content)| content == owner).map(|(ip, ..)| ip).collect())
    }

    fn release(&self, doomed: impl Fn(&str) -> bool) -> io::Result<()> {
        for (_, path, owner) in self.all()? {
            if doomed(&owner) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// The next free address after the one handed out last: a freed address rests as long as possible. `taken` are all that are
    /// reserved, of which it is one afterwards.
    fn reserve(
        &self,
        index: usize,
        set: &[Range],
        taken: &mut HashSet<IpAddr>,
        owner: &str,
    ) -> io::Result<Option<IpAddr>> {
        let memory = self.directory.join(format!("last_reserved_ip.{index}"));
        let last: Option<IpAddr> = fs::read_to_string(&memory).ok().and_then(|text| text.trim().parse().ok());
        let free = |range: &Range, ip: &IpAddr| *ip != range.gateway() && !taken.contains(ip);
        let at = last.and_then(|last| set.iter().position(|range| range.contains(last))).unwrap_or(0);
        let (before, after) = set.split_at(at);
        let start = last.map(|last| step(last, 1));
        let resumed = after.iter().chain(before).enumerate().find_map(|(n, range)| {
            let from = start.filter(|ip| n == 0 && range.contains(*ip)).unwrap_or_else(|| range.first());
            // When the last one was a range's end, the search goes on with the next range.
            let exhausted = n == 0 && last == Some(range.last());
            walk(from, range.last()).filter(|_| !exhausted).find(|ip| free(range, ip))
        });
        let found = resumed
            .or_else(|| set.iter().find_map(|range| walk(range.first(), range.last()).find(|ip| free(range, ip))));
        if let Some(ip) = found {
            let path = self.directory.join(ip.to_string());
            let mut file = File::options().write(true).create_new(true).open(&path)?;
            let written = file.write_all(owner.as_bytes()).and_then(|()| file.sync_all());
            written.or_else(|error| discard(&path, error))?;
            fs::write(&memory, ip.to_string())?;
            taken.insert(ip);
        }
        Ok(found)
    }
}

/// Takes away a reservation that does not name its owner, whom nobody could give it back for; the error why it does not.
fn discard(path: &Path, error: io::Error) -> io::Result<()> {
    let _ = fs::remove_file(path);
    Err(error)
}

fn walk(from: IpAddr, to: IpAddr) -> impl Iterator<Item = IpAddr> {
    std::iter::successors(Some(from), move |ip| (*ip < to).then(|| step(*ip, 1))).take_while(move |ip| *ip <= to)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(subnet: &str) -> Range {
        Range { subnet: subnet.parse().expect("subnet"), range_start: None, range_end: None, gateway: None }
    }

    fn reserve(store: &Store, set: &[Range], owner: &str) -> Option<String> {
        let mut taken = store.all().expect("all").into_iter().map(|(ip, ..)| ip).collect();
        let ip = store.reserve(0, set, &mut taken, owner).expect("reserve");
        assert!(ip.is_none_or(|ip| taken.contains(&ip)));
        ip.map(|ip| ip.to_string())
    }

    #[test]
    fn addresses_are_handed_out_in_turn_and_never_twice() {
        let dir = tempfile::tempdir().expect("tempdir");
        let store = Store::open(dir.path()).expect("open");
        let set = [range("10.1.2.0/29")];
        let take = |owner: &str| reserve(&store, &set, owner);
        let first: Vec<_> = ["a", "b", "c", "d", "e"].iter().map(|owner| take(owner).expect("free")).collect();
        assert_eq!(first, ["10.1.2.2", "10.1.2.3", "10.1.2.4", "10.1.2.5", "10.1.2.6"]);
        assert_eq!(take("f"), None);
        store.release(|owner| owner == "b").expect("release");
        assert_eq!(take("g").as_deref(), Some("10.1.2.3"));
        store.release(|owner| owner == "a" || owner == "d").expect("release");
        assert_eq!(take("h").as_deref(), Some("10.1.2.5"), "the search goes on after the last one");
        assert_eq!(take("i").as_deref(), Some("10.1.2.2"));
    }

    #[test]
    fn an_address_whose_owner_could_not_be_written_is_free_again() {
        let dir = tempfile::tempdir().expect("tempdir");
        let store = Store::open(dir.path()).expect("open");
        let set = [range("10.1.2.0/29")];
        fs::write(dir.path().join("10.1.2.2"), "").expect("as on a full disk");
        assert_eq!(reserve(&store, &set, "a").as_deref(), Some("10.1.2.3"));
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let told = discard(&dir.path().join("10.1.2.2"), full).expect_err("told");
        assert_eq!(told.kind(), io::ErrorKind::StorageFull);
        assert!(store.all().expect("all").iter().all(|(.., owner)| owner == "a"));
    }

    #[test]
    fn several_ranges_are_used_one_after_another() {
        let dir = tempfile::tempdir().expect("tempdir");
        let store = Store::open(dir.path()).expect("open");
        let set = [range("10.1.2.0/30"), range("fd00::/126")];
        let all: Vec<String> = std::iter::from_fn(|| reserve(&store, &set, "x")).collect();
        assert_eq!(all, ["10.1.2.2", "fd00::2", "fd00::3"]);
    }

    /// What the plugin answers to a command of container `c` with these ranges.
    fn call(dir: &Path, command: &str, ranges: Value) -> Result<Value, CniError> {
        let config = serde_json::json!({
            "cniVersion": "1.0.0", "name": "n", "type": "bridge",
            "ipam": {"type": "host-local", "dataDir": dir, "ranges": ranges},
        });
        let asked = [("CNI_COMMAND", command), ("CNI_CONTAINERID", "c"), ("CNI_NETNS", "/n"), ("CNI_IFNAME", "eth0")];
        let environment = asked.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
        crate::plugin::call("host-local", config, environment, "/none".into())
    }

    #[test]
    fn a_repeated_add_gives_the_same_addresses_of_every_set() {
        let dir = tempfile::tempdir().expect("tempdir");
        let ranges = serde_json::json!([
            [{"subnet": "10.1.2.0/29", "rangeEnd": "10.1.2.3"}],
            [{"subnet": "10.1.2.0/29", "rangeStart": "10.1.2.4"}],
        ]);
        let add = || {
            let result = call(dir.path(), "ADD", ranges.clone()).expect("add");
            let ips = result["ips"].as_array().expect("ips").iter();
            ips.map(|ip| ip["address"].as_str().expect("address").to_owned()).collect::<Vec<String>>()
        };
        let given = add();
        assert_eq!(given, ["10.1.2.2/29", "10.1.2.4/29"]);
        assert_eq!(add(), given);
    }

    #[test]
    fn ranges_with_an_address_in_common_are_refused_and_what_they_reserved_is_given_back() {
        let dir = tempfile::tempdir().expect("tempdir");
        fs::create_dir_all(dir.path().join("n")).expect("directory");
        let reserved = dir.path().join("n/10.1.2.2");
        fs::write(&reserved, "c\r\neth0").expect("reservation");
        let net = |subnet: &str| serde_json::json!({"subnet": subnet});
        for (ranges, want) in [
            (serde_json::json!([[net("10.1.2.0/29")], [net("10.1.2.0/28")]]), "range set 0 overlaps with 1"),
            (
                serde_json::json!([[net("10.1.3.0/29"), net("10.1.2.0/29"), net("10.1.2.0/30")]]),
                "subnets 10.1.2.1-10.1.2.6 and 10.1.2.1-10.1.2.2 overlap",
            ),
            (serde_json::json!([[net("10.1.2.0/29"), net("fd00::/64")]]), "mixed address families in a range set"),
        ] {
            let refused = call(dir.path(), "ADD", ranges.clone()).expect_err("refused");
            assert!(refused.to_string().contains(want), "{refused}");
            call(dir.path(), "DEL", ranges).expect("given back");
            assert!(!reserved.exists());
            fs::write(&reserved, "c\r\neth0").expect("reservation");
        }
    }
}
