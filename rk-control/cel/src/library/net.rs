//! Addresses and networks.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Made, failed, no_overload, text};
use crate::registry::Row;
use crate::value::Value;

pub(super) const TABLE: &[Row] = &[
    Row("ip", "S>P", |_, a| match ip(text(a, 0)) {
        Some(ip) => Ok(Value::Ip(ip)),
        None => failed(format!("IP Address {:?} parse error during conversion from string", text(a, 0))),
    }),
    Row("isIP", "S>B", |_, a| Ok(Value::Bool(ip(text(a, 0)).is_some()))),
    Row("ip.isCanonical", "S>B", |_, a| match ip(text(a, 0)) {
        Some(ip) => Ok(Value::Bool(ip.to_string() == text(a, 0))),
        None => failed(format!("IP Address {:?} parse error during conversion from string", text(a, 0))),
    }),
    Row("family", ".P>I", |_, a| of(a, |ip| Value::Int(if ip.is_ipv4() { 4 } else { 6 }))),
    Row("isUnspecified", ".P>B", |_, a| of(a, |ip| Value::Bool(ip.is_unspecified()))),
    Row("isLoopback", ".P>B", |_, a| of(a, |ip| Value::Bool(ip.is_loopback()))),
    Row("isLinkLocalMulticast", ".P>B", |_, a| of(a, |ip| Value::Bool(local_multicast(ip)))),
    Row("isLinkLocalUnicast", ".P>B", |_, a| of(a, |ip| Value::Bool(local_unicast(ip)))),
    Row("isGlobalUnicast", ".P>B", |_, a| of(a, |ip| Value::Bool(global_unicast(ip)))),
    Row("cidr", "S>C", |_, a| match cidr(text(a, 0)) {
        Some(net) => Ok(Value::Cidr(net)),
        None => failed(format!("network address parse error during conversion from string {:?}", text(a, 0))),
    }),
    Row("isCIDR", "S>B", |_, a| Ok(Value::Bool(cidr(text(a, 0)).is_some()))),
    Row("containsIP", ".CP>B", |_, a| contains_ip(a)),
    Row("containsIP", ".CS>B", |_, a| contains_ip(a)),
    Row("containsCIDR", ".CC>B", |_, a| contains_net(a)),
    Row("containsCIDR", ".CS>B", |_, a| contains_net(a)),
    Row("ip", ".C>P", |_, a| net(a, |net| Value::Ip(net.addr()))),
    Row("masked", ".C>C", |_, a| net(a, |net| Value::Cidr(net.trunc()))),
    Row("prefixLength", ".C>I", |_, a| net(a, |net| Value::Int(i64::from(net.prefix_len())))),
];

/// An address; those of IPv4 within IPv6 are refused, since they read as two things.
fn ip(text: &str) -> Option<IpAddr> {
    text.parse().ok().filter(|ip| !matches!(ip, IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some()))
}

fn cidr(text: &str) -> Option<IpNet> {
    let (address, _) = text.split_once('/')?;
    ip(address)?;
    text.parse().ok()
}

fn local_multicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.octets().starts_with(&[224, 0, 0]),
        IpAddr::V6(ip) => ip.segments().first().is_some_and(|first| first & 0xff0f == 0xff02),
    }
}

fn local_unicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// What Go calls so: everything but the special ranges; private addresses count.
fn global_unicast(ip: IpAddr) -> bool {
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    !(broadcast || ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || local_unicast(ip))
}

fn of<'a>(args: &[Value<'a>], body: fn(IpAddr) -> Value<'static>) -> Made<'a> {
    match args {
        [Value::Ip(ip)] => Ok(body(*ip)),
        _ => no_overload(),
    }
}

fn net<'a>(args: &[Value<'a>], body: fn(IpNet) -> Value<'static>) -> Made<'a> {
    match args {
        [Value::Cidr(net)] => Ok(body(*net)),
        _ => no_overload(),
    }
}

fn contains_ip<'a>(args: &[Value<'a>]) -> Made<'a> {
    let [Value::Cidr(net), other] = args else { return no_overload() };
    let other = match other {
        Value::Ip(ip) => Some(*ip),
        other => other.as_str().and_then(ip),
    };
    other.map_or_else(
        || failed("IP Address parse error during conversion from string"),
        |ip| Ok(Value::Bool(net.contains(&ip))),
    )
}

fn contains_net<'a>(args: &[Value<'a>]) -> Made<'a> {
    let [Value::Cidr(net), other] = args else { return no_overload() };
    let other = match other {
        Value::Cidr(net) => Some(*net),
        other => other.as_str().and_then(cidr),
    };
    other.map_or_else(
        || failed("network address parse error during conversion from string"),
        |other| Ok(Value::Bool(net.contains(&other))),
    )
}
