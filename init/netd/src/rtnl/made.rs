//! Links that the node makes: VLANs, bonds, bridges, and what belongs to them.

use super::objects::{ACK, CREATE, DELETE_LINK, NEW_LINK, REQUEST, SET_LINK, UP, link_header};
use super::wire::{Attributes, Writer};

// linux/rtnetlink.h, linux/netlink.h
const EXCLUSIVE: u16 = 0x200;
const NESTED: u16 = 0x8000;

/// A link to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewLink {
    /// An 802.1Q VLAN.
    Vlan {
        /// Tag.
        id: u16,
        /// Index of the link that carries it.
        parent: u32,
    },
    /// Several links as one.
    Bond {
        /// The kernel's number of the mode.
        mode: u8,
        /// Milliseconds between looks at carriers.
        miimon: u32,
    },
    /// A switch.
    Bridge {
        /// Spanning tree.
        stp: bool,
    },
}

/// A request that turns a link off.
pub fn set_down(sequence: u32, link: u32) -> Vec<u8> {
    Writer::new(SET_LINK, REQUEST | ACK, sequence, &link_header(link, 0, UP)).finish()
}

/// A request that makes a link part of a bond or bridge; 0 takes it out.
pub fn set_master(sequence: u32, link: u32, master: u32) -> Vec<u8> {
    let message = Writer::new(SET_LINK, REQUEST | ACK, sequence, &link_header(link, 0, 0));
    message.attribute(10, &master.to_ne_bytes()).finish()
}

/// A request that removes a link that was made.
pub fn delete_link(sequence: u32, link: u32) -> Vec<u8> {
    Writer::new(DELETE_LINK, REQUEST | ACK, sequence, &link_header(link, 0, 0)).finish()
}

/// A request that makes a link. Numbers of attributes are those of linux/if_link.h.
pub fn create_link(sequence: u32, name: &str, kind: &NewLink) -> Vec<u8> {
    let mut text = name.as_bytes().to_vec();
    text.push(0);
    let (word, data): (&[u8], Vec<u8>) = match kind {
        NewLink::Vlan { id, .. } => (b"vlan\0", Attributes::default().with(1, &id.to_ne_bytes()).bytes()),
        NewLink::Bond { mode, miimon } => {
            (b"bond\0", Attributes::default().with(1, &[*mode]).with(3, &miimon.to_ne_bytes()).bytes())
        }
        NewLink::Bridge { stp } => (b"bridge\0", Attributes::default().with(5, &u32::from(*stp).to_ne_bytes()).bytes()),
    };
    let info = Attributes::default().with(1, word).with(NESTED | 2, &data).bytes();
    let mut message = Writer::new(NEW_LINK, REQUEST | ACK | CREATE | EXCLUSIVE, sequence, &link_header(0, 0, 0));
    message = message.attribute(3, &text);
    if let NewLink::Vlan { parent, .. } = kind {
        message = message.attribute(5, &parent.to_ne_bytes());
    }
    message.attribute(NESTED | 18, &info).finish()
}

#[cfg(test)]
mod tests {
    use super::super::wire::{attributes, messages, u32_at};
    use super::*;

    #[test]
    fn a_vlan_is_asked_for_with_its_parent_and_tag() {
        let bytes = create_link(7, "eth0.5", &NewLink::Vlan { id: 5, parent: 3 });
        let message = messages(&bytes).next().unwrap();
        assert_eq!((message.kind, message.sequence), (NEW_LINK, 7));
        let found: Vec<_> = attributes(&message.payload[16..]).collect();
        assert_eq!(found[0], (3, b"eth0.5\0".as_slice()));
        assert_eq!((found[1].0, u32_at(found[1].1, 0)), (5, Some(3)));
        let info: Vec<_> = attributes(found[2].1).collect();
        assert_eq!(info[0], (1, b"vlan\0".as_slice()));
        assert_eq!(attributes(info[1].1).collect::<Vec<_>>(), [(1, 5u16.to_ne_bytes().as_slice())]);
    }
}

/// Against the kernel, in a network of its own; only root has one to give.
#[cfg(test)]
mod kernel {
    use super::super::Kernel;
    use super::NewLink;

    #[test]
    fn the_kernel_makes_what_is_asked_for() {
        std::thread::spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a network namespace, which takes root");
            let mut kernel = Kernel::open().unwrap();
            let index = |kernel: &mut Kernel, name: &str| {
                kernel.snapshot().unwrap().links.into_iter().find(|link| link.name == name).unwrap()
            };
            kernel.create_link("br7", &NewLink::Bridge { stp: true }).unwrap();
            let bridge = index(&mut kernel, "br7").index;
            if let Err(err) = kernel.create_link("v5", &NewLink::Vlan { id: 5, parent: bridge }) {
                // This machine's kernel has no VLANs.
                assert_eq!(err.errno(), Some(95), "{err}");
                return;
            }
            assert!(kernel.create_link("v5", &NewLink::Vlan { id: 6, parent: bridge }).is_err());
            kernel.create_link("br8", &NewLink::Bridge { stp: false }).unwrap();
            let (vlan, second) = (index(&mut kernel, "v5").index, index(&mut kernel, "br8").index);
            kernel.set_down(vlan).unwrap();
            kernel.set_master(vlan, second).unwrap();
            assert_eq!(index(&mut kernel, "v5").master, Some(second));
            kernel.set_master(vlan, 0).unwrap();
            assert_eq!(index(&mut kernel, "v5").master, None);
            kernel.delete_link(vlan).unwrap();
            assert!(kernel.snapshot().unwrap().links.iter().all(|link| link.name != "v5"));
        })
        .join()
        .unwrap();
    }
}
