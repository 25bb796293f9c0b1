//! VLANs, bonds and bridges: what is missing of them, and what is there and not wanted any more.

use crate::rtnl::{Link, NewLink};
use crate::selection::{Traits, matches};
use rk_config::{LinkMatch, Network, Virtual};
use std::collections::BTreeSet;

/// One step. After a step that makes links the kernel is looked at again, for others may hang on them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Make a link of this name.
    Create(String, NewLink),
    /// Make the first link part of the second. A bond takes only links that are off.
    Join {
        /// Index of the member.
        member: u32,
        /// Index of the bond or bridge.
        master: u32,
        /// It must be turned off first.
        off: bool,
    },
    /// Take a link out of what it belongs to.
    Leave(u32),
    /// Remove a link that was made.
    Delete(u32),
}

/// What is to be done, and which links of ours there are then. `ours` are names made before.
pub fn plan(network: &Network, links: &[(Link, Traits)], ours: &BTreeSet<String>) -> (Vec<Step>, BTreeSet<String>) {
    let mut steps = Vec::new();
    let mut made = BTreeSet::new();
    let by_name = |name: &str| links.iter().map(|(link, _)| link).find(|link| link.name == name);
    for entry in &network.interfaces {
        let (Some(name), Some(kind)) = (&entry.name, &entry.made) else { continue };
        match by_name(name) {
            // The kernel brings a bond of its own, whose mode is not ours; a bond keeps its mode for life.
            Some(link) if matches!(kind, Virtual::Bond { .. }) && !ours.contains(name) => {
                steps.push(Step::Delete(link.index));
            }
            Some(link) => {
                made.insert(name.clone());
                join(links, link, kind, &mut steps);
            }
            None => {
                if let Some(new) = new_link(links, kind) {
                    made.insert(name.clone());
                    steps.push(Step::Create(name.clone(), new));
                }
            }
        }
    }
    let gone = ours.iter().filter(|name| !network.interfaces.iter().any(|entry| entry.name.as_ref() == Some(*name)));
    steps.extend(gone.filter_map(|name| by_name(name)).map(|link| Step::Delete(link.index)));
    (steps, made)
}

/// Links that are part of a bond or bridge by the config; they have no addresses of their own.
pub fn members(network: &Network, links: &[(Link, Traits)]) -> BTreeSet<u32> {
    let kinds = network.interfaces.iter().filter_map(|entry| entry.made.as_ref());
    kinds.flat_map(|kind| wanted(links, kind)).map(|link| link.index).collect()
}

fn wanted<'a>(links: &'a [(Link, Traits)], kind: &Virtual) -> Vec<&'a Link> {
    let (Virtual::Bond { members, .. } | Virtual::Bridge { members, .. }) = kind else { return Vec::new() };
    links
        .iter()
        .filter(|(_, traits)| members.iter().any(|member| matches(member, traits)))
        .map(|(link, _)| link)
        .collect()
}

/// `None` while the link that it hangs on is not there.
fn new_link(links: &[(Link, Traits)], kind: &Virtual) -> Option<NewLink> {
    Some(match kind {
        Virtual::Vlan { id, parent } => NewLink::Vlan { id: *id, parent: find(links, parent)?.index },
        Virtual::Bond { mode, miimon, .. } => NewLink::Bond { mode: mode.number(), miimon: *miimon },
        Virtual::Bridge { stp, .. } => NewLink::Bridge { stp: *stp },
    })
}

fn find<'a>(links: &'a [(Link, Traits)], wanted: &LinkMatch) -> Option<&'a Link> {
    links.iter().find(|(_, traits)| matches(wanted, traits)).map(|(link, _)| link)
}

fn join(links: &[(Link, Traits)], master: &Link, kind: &Virtual, steps: &mut Vec<Step>) {
    let wanted = wanted(links, kind);
    let off = matches!(kind, Virtual::Bond { .. });
    for member in &wanted {
        if member.master != Some(master.index) && member.index != master.index {
            steps.push(Step::Join { member: member.index, master: master.index, off });
        }
    }
    let is_stray = |link: &&Link| link.master == Some(master.index) && !wanted.iter().any(|w| w.index == link.index);
    steps.extend(links.iter().map(|(link, _)| link).filter(is_stray).map(|link| Step::Leave(link.index)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use rk_config::{BondMode, Interface};

    fn link(index: u32, name: &str, master: Option<u32>) -> (Link, Traits) {
        let mac = vec![2, 0, 0, 0, 0, index as u8];
        let link = Link {
            index,
            name: name.to_owned(),
            mac,
            mtu: 1500,
            up: true,
            running: true,
            loopback: false,
            ethernet: true,
            master,
        };
        let traits = Traits {
            name: name.to_owned(),
            mac: format!("02:00:00:00:00:{index:02x}"),
            driver: None,
            path: None,
            device: name.starts_with("eth"),
        };
        (link, traits)
    }

    fn named(name: &str) -> LinkMatch {
        LinkMatch { name: Some(name.to_owned()), ..LinkMatch::default() }
    }

    fn network() -> Network {
        let entry = |name: &str, made: Virtual| Interface {
            name: Some(name.to_owned()),
            made: Some(made),
            ..Interface::default()
        };
        Network {
            interfaces: vec![
                entry("bond0", Virtual::Bond { mode: BondMode::Lacp, members: vec![named("eth*")], miimon: 100 }),
                entry("bond0.7", Virtual::Vlan { id: 7, parent: named("bond0") }),
            ],
            ..Network::default()
        }
    }

    #[test]
    fn links_are_made_one_look_after_the_other_until_nothing_is_missing() {
        let ours = BTreeSet::new();
        let bare = [link(2, "eth0", None), link(3, "eth1", None)];
        let kernels_own = [link(2, "eth0", None), link(3, "eth1", None), link(9, "bond0", None)];
        assert!(plan(&network(), &kernels_own, &ours).0.contains(&Step::Delete(9)));
        let (steps, ours) = plan(&network(), &bare, &ours);
        assert_eq!(steps, [Step::Create("bond0".to_owned(), NewLink::Bond { mode: 4, miimon: 100 })]);
        let next = [link(2, "eth0", None), link(3, "eth1", None), link(4, "bond0", None)];
        let (steps, made) = plan(&network(), &next, &ours);
        assert_eq!(
            steps,
            [
                Step::Join { member: 2, master: 4, off: true },
                Step::Join { member: 3, master: 4, off: true },
                Step::Create("bond0.7".to_owned(), NewLink::Vlan { id: 7, parent: 4 }),
            ]
        );
        let whole =
            [link(2, "eth0", Some(4)), link(3, "eth1", Some(4)), link(4, "bond0", None), link(5, "bond0.7", None)];
        assert_eq!(plan(&network(), &whole, &made), (Vec::new(), made.clone()));
        assert_eq!(members(&network(), &whole), BTreeSet::from([2, 3]));
        // Without its entry, what we made goes; what others made stays.
        let (steps, left) = plan(&Network::default(), &whole, &BTreeSet::from(["bond0.7".to_owned()]));
        assert_eq!((steps, left.len()), (vec![Step::Delete(5)], 0));
    }

    #[test]
    fn a_member_that_is_not_wanted_any_more_leaves() {
        let mut network = network();
        network.interfaces[0].made = Some(Virtual::Bridge { members: vec![named("eth0")], stp: false });
        let links =
            [link(2, "eth0", Some(4)), link(3, "eth1", Some(4)), link(4, "bond0", None), link(5, "bond0.7", None)];
        assert_eq!(plan(&network, &links, &BTreeSet::new()).0, [Step::Leave(3)]);
    }
}
