//! Where a frame goes: a learning bridge, without IO.

use std::collections::HashMap;

/// Most addresses that are remembered; a guest that invents sources gets its traffic flooded, no more.
const MAX_ADDRESSES: usize = 4096;

/// Number of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId(pub usize);

/// An Ethernet address.
pub type Mac = [u8; 6];

/// What to do with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Drop,
    /// Out of one port.
    Port(PortId),
    /// Out of all ports but the one it came from.
    Flood,
}

/// The table of addresses.
#[derive(Debug, Default)]
pub struct Bridge {
    table: HashMap<Mac, PortId>,
}

impl Bridge {
    /// Learns the source of `frame`, which came in at `from`, and decides.
    pub fn decide(&mut self, from: PortId, frame: &[u8]) -> Verdict {
        let (Some(destination), Some(source)) = (mac(frame, 0), mac(frame, 6)) else { return Verdict::Drop };
        if frame.len() < 14 || is_group(source) {
            return Verdict::Drop;
        }
        if self.table.len() < MAX_ADDRESSES || self.table.contains_key(&source) {
            self.table.insert(source, from);
        }
        match self.table.get(&destination) {
            _ if is_group(destination) => Verdict::Flood,
            Some(port) if *port == from => Verdict::Drop,
            Some(port) => Verdict::Port(*port),
            None => Verdict::Flood,
        }
    }
}

fn mac(frame: &[u8], at: usize) -> Option<Mac> {
    frame.get(at..at + 6)?.try_into().ok()
}

fn is_group(mac: Mac) -> bool {
    mac[0] & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Mac = [2, 0, 0, 0, 0, 1];
    const B: Mac = [2, 0, 0, 0, 0, 2];
    const ALL: Mac = [0xff; 6];

    fn frame(to: Mac, from: Mac) -> Vec<u8> {
        [to.as_slice(), from.as_slice(), &[8, 0]].concat()
    }

    #[test]
    fn unknown_addresses_flood_and_known_ones_do_not() {
        let mut bridge = Bridge::default();
        let cases = [
            (0, frame(B, A), Verdict::Flood),
            (1, frame(A, B), Verdict::Port(PortId(0))),
            (0, frame(B, A), Verdict::Port(PortId(1))),
            (0, frame(ALL, A), Verdict::Flood),
            (2, frame(B, A), Verdict::Port(PortId(1))),
            (1, frame(A, B), Verdict::Port(PortId(2))),
        ];
        for (n, (port, frame, want)) in cases.into_iter().enumerate() {
            assert_eq!(bridge.decide(PortId(port), &frame), want, "step {n}");
        }
    }

    #[test]
    fn runts_group_sources_and_echoes_are_dropped() {
        let mut bridge = Bridge::default();
        assert_eq!(bridge.decide(PortId(0), &[0; 13]), Verdict::Drop);
        assert_eq!(bridge.decide(PortId(0), &frame(A, ALL)), Verdict::Drop);
        bridge.decide(PortId(0), &frame(B, A));
        assert_eq!(bridge.decide(PortId(0), &frame(A, B)), Verdict::Drop);
    }

    #[test]
    fn the_table_does_not_grow_without_end() {
        let mut bridge = Bridge::default();
        for n in 0..2 * MAX_ADDRESSES as u32 {
            let [a, b, c, d] = n.to_be_bytes();
            bridge.decide(PortId(0), &frame(ALL, [2, 0, a, b, c, d]));
        }
        assert_eq!(bridge.table.len(), MAX_ADDRESSES);
    }
}
