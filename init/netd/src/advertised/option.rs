//! Options of an advertisement as bytes (RFC 4861, section 4.6; RFC 8106, section 5).

use super::MOST_ENTRIES;
use std::net::Ipv6Addr;

const RESOLVERS: u8 = 25;
const DOMAINS: u8 = 31;
/// The bytes in which an option counts its length.
const UNIT: usize = 8;
/// Kind and length.
const HEAD: usize = 2;
/// Options looked at in one message.
const MOST_OPTIONS: usize = 16;
/// Parts of a name, and bytes of a part; longer ones are not legal.
const MOST_LABELS: usize = 128;
const LONGEST_LABEL: u8 = 63;

/// What one option says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// Seconds from now on in which it is true: 0 takes it back, `u32::MAX` is for ever.
    pub seconds: u32,
    /// What is true.
    pub says: Says,
}

/// See [`Word`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Says {
    /// These resolve names.
    Resolvers(Vec<Ipv6Addr>),
    /// Short names are looked for in these.
    Domains(Vec<String>),
}

/// Reads options as the kernel hands them on; what is not understood is passed over.
pub fn decode(bytes: &[u8]) -> Vec<Word> {
    options(bytes).filter_map(|(kind, value)| word(kind, value)).collect()
}

/// Kind, and what follows the length; ends at the first that is broken.
fn options(mut bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (option, rest) = bytes.split_at_checked(usize::from(*bytes.get(1)?) * UNIT)?;
        bytes = rest;
        Some((*option.first()?, option.get(HEAD..)?))
    })
    .take(MOST_OPTIONS)
}

/// Two bytes are reserved, four are the lifetime, what follows depends on the kind.
fn word(kind: u8, value: &[u8]) -> Option<Word> {
    let seconds = u32::from_be_bytes(value.get(2..6)?.try_into().ok()?);
    let entries = value.get(6..)?;
    let says = match kind {
        RESOLVERS => Says::Resolvers(resolvers(entries)?),
        DOMAINS => Says::Domains(domains(entries)?),
        _ => return None,
    };
    Some(Word { seconds, says })
}

/// Nothing of an option that ends in the middle of an address.
fn resolvers(bytes: &[u8]) -> Option<Vec<Ipv6Addr>> {
    let (addresses, rest) = bytes.as_chunks::<16>();
    rest.is_empty().then_some(())?;
    let addresses = addresses.iter().take(MOST_ENTRIES).map(|octets| Ipv6Addr::from(*octets));
    let found: Vec<Ipv6Addr> = addresses.filter(is_of_use).collect();
    (!found.is_empty()).then_some(found)
}

/// An address of one link means nothing in the network of a pod, which is given the node's resolvers, and no reader of theirs knows scopes.
fn is_of_use(address: &Ipv6Addr) -> bool {
    !(address.is_unspecified() || address.is_loopback() || address.is_multicast() || address.is_unicast_link_local())
}

/// Nothing of an option whose names do not end; names that are no domains of hosts are left out, for they would go into files that others parse.
fn domains(mut bytes: &[u8]) -> Option<Vec<String>> {
    let mut found = Vec::new();
    for _ in 0..MOST_ENTRIES {
        // The last unit is filled with zeros.
        if bytes.iter().all(|byte| *byte == 0) {
            break;
        }
        let (name, rest) = domain(bytes)?;
        found.push(name);
        bytes = rest;
    }
    found.retain(|name| rk_config::is_dns_subdomain(name));
    (!found.is_empty()).then_some(found)
}

/// A name as RFC 1035, section 3.1, writes it, and what is behind it. There are no pointers here.
fn domain(mut bytes: &[u8]) -> Option<(String, &[u8])> {
    let mut labels = Vec::new();
    for _ in 0..MOST_LABELS {
        let (length, rest) = bytes.split_first()?;
        (*length <= LONGEST_LABEL).then_some(())?;
        let (label, rest) = rest.split_at_checked(usize::from(*length))?;
        bytes = rest;
        if label.is_empty() {
            return Some((labels.join("."), bytes));
        }
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
    }
    None
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An option with this lifetime and content, filled up to whole units.
    pub(crate) fn option(kind: u8, seconds: u32, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind, 0, 0, 0];
        bytes.extend(seconds.to_be_bytes());
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(UNIT), 0);
        bytes[1] = u8::try_from(bytes.len() / UNIT).unwrap();
        bytes
    }

    pub(crate) fn ip(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    fn addresses(texts: &[&str]) -> Vec<u8> {
        texts.iter().flat_map(|text| ip(text).octets()).collect()
    }

    #[test]
    fn resolvers_are_read_with_their_lifetime_and_those_of_one_link_are_left_out() {
        for (told, seconds, found) in [
            (vec!["fd00::53"], 600, vec!["fd00::53"]),
            (vec!["fd00::53", "2001:db8::1"], 0, vec!["fd00::53", "2001:db8::1"]),
            (vec!["fe80::1", "fd00::53"], u32::MAX, vec!["fd00::53"]),
            (vec!["fe80::1", "::", "::1", "ff02::fb"], 600, vec![]),
        ] {
            let says = Says::Resolvers(found.iter().map(|text| ip(text)).collect());
            let wanted = if found.is_empty() { vec![] } else { vec![Word { seconds, says }] };
            assert_eq!(decode(&option(RESOLVERS, seconds, &addresses(&told))), wanted, "{told:?}");
        }
    }

    #[test]
    fn domains_are_read_and_what_is_no_domain_of_hosts_is_left_out() {
        let one = |names: &[&str]| {
            let says = Says::Domains(names.iter().map(|name| (*name).to_owned()).collect());
            vec![Word { seconds: 600, says }]
        };
        let table: [(&[u8], Vec<Word>); 7] = [
            (b"\x03one\x07Example\x00\x03two\x00", one(&["one.example", "two"])),
            (b"\x03one\x00\x0ca\nnameserver\x00\x03two\x00", one(&["one", "two"])),
            (b"\x02\xff\xfe\x00\x03two\x00", one(&["two"])),
            (b"\x0cnameserver x\x00", vec![]),
            (b"\x03one\x00\x20two", vec![]),
            (b"\x03one\xc0\x00", vec![]),
            (b"", vec![]),
        ];
        for (content, found) in table {
            assert_eq!(decode(&option(DOMAINS, 600, content)), found, "{content:?}");
        }
    }

    #[test]
    fn options_follow_each_other_and_others_are_passed_over() {
        let words = [
            option(5, 0, &[0; 8]),
            option(RESOLVERS, 600, &addresses(&["fd00::53"])),
            option(DOMAINS, 60, b"\x03one\x00"),
        ];
        let words = decode(&words.concat());
        assert_eq!(words.iter().map(|word| word.seconds).collect::<Vec<_>>(), [600, 60]);
    }

    #[test]
    fn no_option_gives_more_than_is_kept_and_torn_ones_give_nothing() {
        let many: Vec<String> = (1..=100).map(|number| format!("fd00::{number:x}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let words = decode(&option(RESOLVERS, 9, &addresses(&many)));
        let [Word { says: Says::Resolvers(found), .. }] = words.as_slice() else { panic!("{words:?}") };
        assert_eq!(found.len(), MOST_ENTRIES);
        assert!(decode(&option(RESOLVERS, 9, &addresses(&["fd00::53"])[..8])).is_empty());
        let whole = option(RESOLVERS, 9, &addresses(&["fd00::53"]));
        for cut in 0..whole.len() {
            assert!(decode(&whole[..cut]).is_empty(), "{cut}");
        }
        for fill in [0, 1, 25, 31, 0xff] {
            let _ = decode(&[fill; 300]);
        }
        assert!(decode(&[RESOLVERS, 0, 0, 0, 0, 0, 0, 9]).is_empty());
        assert!(decode(&option(RESOLVERS, 9, &addresses(&["fd00::53"])).repeat(100)).len() <= MOST_OPTIONS);
    }
}
