//! What takes a container's host ports away again: all at once, and only then the note of them.

use std::{collections::BTreeSet, fs, path::Path};

use rk_nft::{Batch, Element, Netfilter, Stored};

use super::{HAIRPINS, Mapping, PORTS, TABLE, chain, failed, family, hairpin_of, open};
use crate::types::CniError;

/// The mappings that a file tells of; none when there is no such file.
pub(super) fn read(path: &Path) -> Vec<Mapping> {
    fs::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

/// Whether a port leads where it was mapped to.
pub(super) fn present(netfilter: &Netfilter, mapping: &Mapping) -> Result<bool, CniError> {
    let known = list(netfilter, mapping.v6, PORTS)?;
    Ok(known.iter().any(|(key, data)| *key == mapping.key && *data == mapping.target))
}

fn list(netfilter: &Netfilter, v6: bool, set: &str) -> Result<Vec<Stored>, CniError> {
    netfilter.elements(family(v6), TABLE, set).map_err(|e| failed("list host ports", chain(&e)))
}

/// Removes what the file says is mapped, then the file.
pub(super) fn remove(path: &Path) -> Result<(), CniError> {
    let mappings = read(path);
    if !mappings.is_empty() {
        let netfilter = open()?;
        let mut batch = Batch::new();
        for v6 in [false, true] {
            let own: Vec<&Mapping> = mappings.iter().filter(|mapping| mapping.v6 == v6).collect();
            let leftovers = leftovers(&own, &list(&netfilter, v6, PORTS)?, &list(&netfilter, v6, HAIRPINS)?);
            let elements = |keys: BTreeSet<Vec<u8>>| keys.into_iter().map(Element::key).collect::<Vec<_>>();
            batch.delete_elements(family(v6), TABLE, PORTS, &elements(leftovers.ports));
            batch.delete_elements(family(v6), TABLE, HAIRPINS, &elements(leftovers.hairpins));
        }
        netfilter.commit(batch).map_err(|e| failed("unmap host ports", chain(&e)))?;
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(failed(format!("remove {}", path.display()), error))
        }
        _ => Ok(()),
    }
}

/// Keys of the elements that go with a container.
#[derive(Debug, Default, PartialEq)]
struct Leftovers {
    ports: BTreeSet<Vec<u8>>,
    hairpins: BTreeSet<Vec<u8>>,
}

/// What there is of a container's own mappings of one family. A port that leads elsewhere by now is left alone, and so is the hairpin of
/// an address that other ports lead to; one whose ports are gone already goes all the same.
fn leftovers(own: &[&Mapping], ports: &[Stored], hairpins: &[Stored]) -> Leftovers {
    let is_own = |(key, data): &&Stored| own.iter().any(|mapping| mapping.key == *key && mapping.target == *data);
    let (going, staying): (Vec<&Stored>, Vec<&Stored>) = ports.iter().partition(is_own);
    let needed: BTreeSet<Vec<u8>> = staying.iter().map(|(_, target)| hairpin_of(target)).collect();
    let known: BTreeSet<&Vec<u8>> = hairpins.iter().map(|(key, _)| key).collect();
    let addresses = own.iter().map(|mapping| hairpin_of(&mapping.target));
    Leftovers {
        ports: going.iter().map(|(key, _)| key.clone()).collect(),
        hairpins: addresses.filter(|key| known.contains(key) && !needed.contains(key)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: [u8; 4] = [10, 0, 0, 1];
    const B: [u8; 4] = [10, 0, 0, 2];

    fn port(number: u8, address: [u8; 4]) -> Mapping {
        let target = [address.as_slice(), &[0, 80, 0, 0]].concat();
        Mapping { v6: false, key: vec![0, 0, 0, 0, 6, 0, 0, 0, 0, number, 0, 0], target }
    }

    fn gone(own: &[Mapping], ports: &[Mapping], hairpins: &[[u8; 4]]) -> (usize, Vec<Vec<u8>>) {
        let ports: Vec<Stored> = ports.iter().map(|mapping| (mapping.key.clone(), mapping.target.clone())).collect();
        let hairpins: Vec<Stored> = hairpins.iter().map(|ip| ([*ip, *ip].concat(), Vec::new())).collect();
        let found = leftovers(&own.iter().collect::<Vec<_>>(), &ports, &hairpins);
        (found.ports.len(), found.hairpins.into_iter().map(|key| key[..4].to_vec()).collect())
    }

    #[test]
    fn a_hairpin_goes_with_the_last_port_that_leads_to_its_address() {
        let own = [port(1, A), port(2, A), port(1, A)];
        let gone = |ports: &[Mapping], hairpins: &[[u8; 4]]| gone(&own, ports, hairpins);
        let (a, none) = (vec![A.to_vec()], Vec::<Vec<u8>>::new());
        assert_eq!(gone(&[port(1, A), port(2, A), port(3, B)], &[A, B]), (2, a.clone()));
        assert_eq!(gone(&[port(1, A), port(3, A)], &[A]), (1, none.clone()), "another port leads there");
        assert_eq!(gone(&[port(1, B), port(2, B)], &[A, B]), (0, a), "both ports are another container's");
        assert_eq!(gone(&[port(1, A)], &[B]), (1, none.clone()), "no hairpin was made");
        assert_eq!(gone(&[], &[A, B]).1, [A.to_vec()], "the ports went first");
        assert_eq!(gone(&[], &[]), (0, none));
    }
}
