//! A host on the switch that is no machine: it answers ARP for its address, and each UDP datagram by a function.

use super::{Mac, Switch, read_frame, write_frame};
use crate::{Error, Result};
use std::borrow::Cow;
use std::io::BufReader;
use std::net::{Ipv4Addr, Shutdown};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const EVERYONE: Mac = [0xff; 6];
const ARP: [u8; 2] = [8, 6];
const IPV4: [u8; 2] = [8, 0];
/// What a frame says that has a tag of a VLAN (IEEE 802.1Q).
const TAGGED: [u8; 2] = [0x81, 0];
const UDP: u8 = 17;

/// A datagram as it arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// Who sent it; `0.0.0.0` while it has no address.
    pub from: (Ipv4Addr, u16),
    /// The destination: the station or everyone.
    pub to: (Ipv4Addr, u16),
    /// What it carries.
    pub payload: &'a [u8],
}

/// A running station; dropping it takes it off the network.
#[derive(Debug)]
pub struct Station {
    stream: UnixStream,
    answered: Arc<AtomicU64>,
}

impl Station {
    /// Puts one on a port of its own. `answer` gives what goes back to where a datagram came from.
    pub fn start(
        switch: &Switch,
        address: Ipv4Addr,
        answer: impl FnMut(&Datagram<'_>) -> Option<Vec<u8>> + Send + 'static,
    ) -> Result<Station> {
        Station::start_in(switch, None, address, answer)
    }

    /// As [`Station::start`], in a VLAN: it hears what has this tag and nothing else.
    pub fn start_in(
        switch: &Switch,
        vlan: Option<u16>,
        address: Ipv4Addr,
        answer: impl FnMut(&Datagram<'_>) -> Option<Vec<u8>> + Send + 'static,
    ) -> Result<Station> {
        let (_, socket) = switch.add_port()?;
        let stream = UnixStream::connect(&socket).map_err(Error::file("connect to", &socket))?;
        let (reader, writer) = (stream.try_clone(), stream.try_clone());
        let reader = BufReader::new(reader.map_err(Error::file("clone", &socket))?);
        let writer = writer.map_err(Error::file("clone", &socket))?;
        let answered = Arc::new(AtomicU64::new(0));
        let host = Host { address, mac: mac_of(address), vlan };
        let counter = Arc::clone(&answered);
        std::thread::spawn(move || serve(host, reader, writer, answer, &counter));
        Ok(Station { stream, answered })
    }

    /// How many datagrams it has answered.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }
}

impl Drop for Station {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

fn serve(
    host: Host,
    mut reader: BufReader<UnixStream>,
    mut writer: UnixStream,
    mut answer: impl FnMut(&Datagram<'_>) -> Option<Vec<u8>>,
    answered: &AtomicU64,
) {
    let mut frame = Vec::new();
    while matches!(read_frame(&mut reader, &mut frame), Ok(true)) {
        let heard = host.heard(&frame);
        let reply = heard.and_then(|frame| {
            host.arp(&frame).or_else(|| {
                let reply = host.udp(&frame, &mut answer)?;
                answered.fetch_add(1, Ordering::Relaxed);
                Some(reply)
            })
        });
        let reply = reply.map(|frame| host.said(frame));
        if reply.is_some_and(|reply| write_frame(&mut writer, &reply).is_err()) {
            return;
        }
    }
}

/// A locally administered address that says which station it is.
fn mac_of(address: Ipv4Addr) -> Mac {
    let [a, b, c, d] = address.octets();
    [2, 0xfe, a, b, c, d]
}

#[derive(Debug, Clone, Copy)]
struct Host {
    address: Ipv4Addr,
    mac: Mac,
    vlan: Option<u16>,
}

impl Host {
    /// A frame without the tag of this host's VLAN; none when it is of another.
    fn heard<'a>(&self, frame: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        let Some(vlan) = self.vlan else { return Some(Cow::Borrowed(frame)) };
        let tag = be16(frame, 14).filter(|_| frame.get(12..14) == Some(&TAGGED))?;
        // The upper four bits are priorities.
        (tag & 0xfff == vlan).then_some(())?;
        Some(Cow::Owned([frame.get(..12)?, frame.get(16..)?].concat()))
    }

    /// A frame as it goes out.
    fn said(&self, mut frame: Vec<u8>) -> Vec<u8> {
        if let Some(vlan) = self.vlan {
            frame.splice(12..12, [TAGGED, vlan.to_be_bytes()].concat());
        }
        frame
    }

    /// The answer to a question for our hardware address.
    fn arp(&self, frame: &[u8]) -> Option<Vec<u8>> {
        let body = frame.get(14..42).filter(|_| frame.get(12..14) == Some(&ARP))?;
        let asks = body.get(6..8) == Some(&[0, 1]) && body.get(24..28) == Some(&self.address.octets());
        let asker = body.get(8..18).filter(|_| asks)?;
        let mut reply = [asker.get(..6)?, &self.mac, &ARP, body.get(..6)?, &[0, 2], &self.mac].concat();
        reply.extend(self.address.octets());
        reply.extend_from_slice(asker);
        Some(reply)
    }

    /// The answer to a datagram for us or for everyone.
    fn udp(&self, frame: &[u8], answer: &mut impl FnMut(&Datagram<'_>) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
        let packet = frame.get(14..).filter(|_| frame.get(12..14) == Some(&IPV4))?;
        let header = usize::from(packet.first()? & 15) * 4;
        let total = usize::from(be16(packet, 2)?);
        let udp = packet.get(header..total).filter(|_| packet.get(9) == Some(&UDP))?;
        let datagram = Datagram {
            from: (ip(packet, 12)?, be16(udp, 0)?),
            to: (ip(packet, 16)?, be16(udp, 2)?),
            payload: udp.get(8..)?,
        };
        let ours = datagram.to.0 == self.address || datagram.to.0.is_broadcast();
        let payload = answer(&datagram).filter(|_| ours)?;
        // Who has no address yet hears what everyone hears.
        let (mac, to) = match datagram.from.0.is_unspecified() {
            true => (EVERYONE, Ipv4Addr::BROADCAST),
            false => (frame.get(6..12)?.try_into().ok()?, datagram.from.0),
        };
        Some(self.datagram(mac, (to, datagram.from.1), datagram.to.1, &payload))
    }

    fn datagram(&self, mac: Mac, to: (Ipv4Addr, u16), from: u16, payload: &[u8]) -> Vec<u8> {
        let length = |more: usize| u16::try_from(payload.len() + more).unwrap_or(u16::MAX).to_be_bytes();
        let mut header = [&[0x45, 0], length(28).as_slice(), &[0, 0, 0, 0, 64, UDP, 0, 0]].concat();
        header.extend(self.address.octets());
        header.extend(to.0.octets());
        let sum = checksum(&header);
        header.splice(10..12, sum.to_be_bytes());
        // No checksum of the payload: IPv4 allows it.
        let udp = [from.to_be_bytes(), to.1.to_be_bytes(), length(8), [0, 0]].concat();
        [mac.as_slice(), &self.mac, &IPV4, &header, &udp, payload].concat()
    }
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn ip(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(at..at + 4)?).ok()?))
}

/// The internet checksum (RFC 1071) of a header of whole words.
fn checksum(header: &[u8]) -> u16 {
    let mut sum: u32 = (0..header.len()).step_by(2).filter_map(|at| be16(header, at)).map(u32::from).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUEST: Mac = [2, 0, 0, 0, 0, 9];

    fn host() -> Host {
        let address = Ipv4Addr::new(10, 0, 0, 1);
        Host { address, mac: mac_of(address), vlan: None }
    }

    #[test]
    fn a_question_for_its_address_is_answered_and_one_for_another_is_not() {
        let ask = |last: u8| {
            let mut frame = [EVERYONE.as_slice(), &GUEST, &ARP, &[0, 1, 8, 0, 6, 4, 0, 1], &GUEST].concat();
            frame.extend([10, 0, 0, 9, 0, 0, 0, 0, 0, 0, 10, 0, 0, last]);
            frame
        };
        let reply = host().arp(&ask(1)).expect("an answer");
        assert_eq!((&reply[..6], &reply[22..28], &reply[32..38]), (&GUEST[..], &host().mac[..], &GUEST[..]));
        assert_eq!(host().arp(&ask(2)), None);
    }

    #[test]
    fn a_datagram_goes_back_with_ports_turned_round_and_runts_nowhere() {
        let guest = Host { address: Ipv4Addr::new(10, 0, 0, 9), mac: GUEST, vlan: None };
        let question = guest.datagram(host().mac, (host().address, 123), 4000, b"what");
        let mut seen = Vec::new();
        let reply = host().udp(&question, &mut |datagram: &Datagram<'_>| {
            seen = datagram.payload.to_vec();
            Some(b"that".to_vec())
        });
        assert_eq!(seen, b"what");
        assert_eq!(reply, Some(host().datagram(GUEST, (guest.address, 4000), 123, b"that")));
        for end in 0..question.len() - 4 {
            assert_eq!(host().udp(&question[..end], &mut |_| Some(Vec::new())), None, "{end}");
        }
    }

    #[test]
    fn a_host_in_a_vlan_hears_its_own_tag_alone_and_answers_with_it() {
        let (plain, tagged) = (host(), Host { vlan: Some(7), ..host() });
        let frame = plain.datagram(GUEST, (plain.address, 123), 4000, b"what");
        let sent = tagged.said(frame.clone());
        assert_eq!(sent[12..16], [0x81, 0, 0, 7]);
        assert_eq!(tagged.heard(&sent).as_deref(), Some(frame.as_slice()));
        assert_eq!(tagged.heard(&frame), None);
        assert_eq!(Host { vlan: Some(8), ..host() }.heard(&sent), None);
        // Who knows of no VLAN takes the tag for a protocol of others.
        assert_eq!(
            plain.heard(&sent).and_then(|frame| plain.udp(&frame, &mut |_: &Datagram<'_>| Some(Vec::new()))),
            None
        );
        for end in 0..16 {
            assert_eq!(tagged.heard(&sent[..end]), None, "{end}");
        }
    }
}
