//! Stations that machines of a test ask: the time, an address.

use super::{Datagram, Station, Switch};
use crate::Result;
use std::net::Ipv4Addr;
use std::time::{SystemTime, UNIX_EPOCH};

const NTP: u16 = 123;
const DHCP: u16 = 67;
/// Seconds from 1900 to 1970.
const EPOCH: u64 = 2_208_988_800;
/// Bytes of a DHCP message before its options.
const FIXED: usize = 240;

/// A time server (RFC 4330) that knows the host's time.
pub fn time_server(switch: &Switch, address: Ipv4Addr) -> Result<Station> {
    Station::start(switch, address, move |datagram| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        let seconds = (now.as_secs() + EPOCH) as u32;
        let fraction = ((u64::from(now.subsec_nanos()) << 32) / 1_000_000_000) as u32;
        time((datagram.to == (address, NTP)).then_some(datagram.payload)?, seconds, fraction)
    })
}

/// The answer of a server of stratum 2: the question's stamp, then the time of its arrival and of the answer's departure.
fn time(question: &[u8], seconds: u32, fraction: u32) -> Option<Vec<u8>> {
    let asked = question.get(40..48)?;
    let stamp = [seconds.to_be_bytes(), fraction.to_be_bytes()].concat();
    let head = [&[0x24, 2, 6, 0xe8], [0; 20].as_slice()].concat();
    Some([head.as_slice(), asked, &stamp, &stamp].concat())
}

/// A DHCP server (RFC 2131) that has one address to give and knows nothing of boot files.
pub fn dhcp_server(switch: &Switch, address: Ipv4Addr, lease: Ipv4Addr) -> Result<Station> {
    dhcp_server_in(switch, None, address, lease)
}

/// As [`dhcp_server`], in a VLAN.
pub fn dhcp_server_in(switch: &Switch, vlan: Option<u16>, address: Ipv4Addr, lease: Ipv4Addr) -> Result<Station> {
    Station::start_in(switch, vlan, address, move |datagram: &Datagram<'_>| {
        offer((datagram.to.1 == DHCP).then_some(datagram.payload)?, address, lease)
    })
}

/// An offer for a discovery; for a request that is ours to answer an acknowledgement, or a refusal when it asks for another address.
fn offer(message: &[u8], server: Ipv4Addr, lease: Ipv4Addr) -> Option<Vec<u8>> {
    let other = option(message, 50).is_some_and(|asked| asked != lease.octets());
    let kind = match option(message, 53)? {
        [1] => 2,
        [3] if other && option(message, 54).is_none() => 6,
        [3] if option(message, 54).is_none_or(|chosen| chosen == server.octets()) => 5,
        _ => return None,
    };
    let mut reply = message.get(..FIXED)?.to_vec();
    reply.splice(..1, [2]);
    reply.splice(16..20, lease.octets());
    reply.splice(20..24, server.octets());
    reply.extend([53, 1, kind, 51, 4, 0, 0, 14, 16, 1, 4, 255, 255, 255, 0, 54, 4]);
    reply.extend(server.octets());
    reply.push(255);
    Some(reply)
}

/// The bytes of an option.
fn option(message: &[u8], number: u8) -> Option<&[u8]> {
    let mut rest = message.get(FIXED..)?;
    loop {
        match rest {
            [0, more @ ..] => rest = more,
            [code, length, more @ ..] => {
                let value = more.get(..usize::from(*length))?;
                if *code == number {
                    return Some(value);
                }
                rest = more.get(usize::from(*length)..)?;
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_for_another_server_are_left_to_it() {
        let (server, lease) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 9));
        let message = |options: &[u8]| [[1; FIXED].as_slice(), options].concat();
        let kind =
            |options: &[u8]| offer(&message(options), server, lease).and_then(|r| option(&r, 53).map(<[u8]>::to_vec));
        assert_eq!(kind(&[0, 53, 1, 1, 255]), Some(vec![2]));
        assert_eq!(kind(&[53, 1, 3, 54, 4, 10, 0, 0, 1, 255]), Some(vec![5]));
        assert_eq!(kind(&[53, 1, 3, 54, 4, 10, 0, 0, 2, 255]), None);
        assert_eq!(kind(&[53, 1, 3, 50, 4, 10, 0, 0, 9, 255]), Some(vec![5]));
        assert_eq!(kind(&[53, 1, 3, 50, 4, 10, 0, 0, 8, 255]), Some(vec![6]), "an address of another network");
        assert_eq!(kind(&[53, 9]), None);
        let reply = offer(&message(&[53, 1, 1]), server, lease).expect("an offer");
        assert_eq!((reply[0], &reply[16..20]), (2, [10, 0, 0, 9].as_slice()));
    }

    #[test]
    fn a_question_without_a_stamp_gets_no_time() {
        assert_eq!(time(&[0; 47], 1, 2), None);
        let answer = time(&[7; 48], 1, 2).expect("an answer");
        assert_eq!(
            (answer.len(), &answer[24..32], &answer[40..48]),
            (48, [7; 8].as_slice(), [0, 0, 0, 1, 0, 0, 0, 2].as_slice())
        );
    }
}
