//! Links, addresses and routes of one network namespace.

use std::{
    fs::File,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsRawFd, RawFd},
};

use futures::FutureExt as _;
use futures::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::{
    Handle, LinkBridge, LinkBridgePort, LinkMessageBuilder, LinkUnspec, RouteMessageBuilder,
    packet_route::{
        address::{AddressAttribute, AddressHeaderFlags},
        link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkMessage},
    },
};

use super::request::{Request, failed};
use crate::{netns::in_netns, types::CniError};

/// Netlink requests in the current namespace.
pub(super) struct Links {
    handle: Handle,
    connection: tokio::task::JoinHandle<()>,
}

impl Drop for Links {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// A link as found.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Link {
    pub index: u32,
    pub mac: String,
    pub up: bool,
    pub mtu: u32,
    /// Kind, such as `bridge`.
    pub kind: Option<InfoKind>,
    /// Index of the bridge that it is a port of.
    pub controller: Option<u32>,
}

/// Runs async work in the host's namespace, which is the process' own.
pub(super) fn on_host<T, F: Future<Output = Result<T, CniError>>>(work: impl FnOnce() -> F) -> Result<T, CniError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| failed("start runtime", e))?;
    runtime.block_on(async { work().await })
}

/// Runs async work in the container's namespace.
pub(super) fn in_container<T, F, W>(request: &Request, work: W) -> Result<T, CniError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, CniError>>,
    W: FnOnce() -> F + Send + 'static,
{
    let netns = request.netns.as_deref().ok_or_else(|| CniError::new(CniError::ENVIRONMENT, "CNI_NETNS is missing"))?;
    in_netns(netns, work).map_err(|e| failed(format!("enter network namespace {}", netns.display()), e))?
}

impl Links {
    /// Opens a connection; call it where the work is to happen.
    pub fn open() -> Result<Self, CniError> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(|e| failed("open netlink", e))?;
        Ok(Self { handle, connection: tokio::spawn(connection.boxed()) })
    }

    /// The link of this name, if there is one.
    pub async fn find(&self, name: &str) -> Result<Option<Link>, CniError> {
        let mut found = Box::pin(self.handle.link().get().match_name(name.to_owned()).execute());
        match found.try_next().await {
            Ok(message) => Ok(message.map(|m| describe(&m))),
            Err(rtnetlink::Error::NetlinkError(e)) if e.raw_code() == -nix::libc::ENODEV => Ok(None),
            Err(error) => Err(failed(format!("find link {name}"), error)),
        }
    }

    /// The link of this name, which must be there.
    pub async fn need(&self, name: &str) -> Result<Link, CniError> {
        self.find(name).await?.ok_or_else(|| CniError::new(CniError::FAILED, format!("there is no link {name}")))
    }

    /// Brings a link up.
    pub async fn up(&self, index: u32) -> Result<(), CniError> {
        let message = LinkUnspec::new_with_index(index).up().build();
        self.handle.link().change(message).execute().await.map_err(|e| failed("bring link up", e))
    }

    /// Makes a bridge with a hardware address of its own: one that is set does not change with its ports.
    pub async fn add_bridge(&self, name: &str, mtu: Option<u32>, mac: [u8; 6]) -> Result<(), CniError> {
        let mut bridge = LinkBridge::new(name).address(mac.to_vec());
        if let Some(mtu) = mtu {
            bridge = bridge.mtu(mtu);
        }
        match self.handle.link().add(bridge.build()).execute().await {
            Err(rtnetlink::Error::NetlinkError(e)) if e.raw_code() == -nix::libc::EEXIST => Ok(()),
            other => other.map_err(|e| failed(format!("create bridge {name}"), e)),
        }
    }

    /// Makes a veth pair: `host` here, `peer` in the other namespace.
    pub async fn add_veth(&self, host: &str, peer: &str, netns: &File, mtu: Option<u32>) -> Result<(), CniError> {
        let done = self.handle.link().add(veth(host, peer, netns.as_raw_fd(), mtu)).execute().await;
        done.map_err(|e| failed(format!("create veth pair {host} and {peer}"), e))
    }

    /// Plugs a link into a bridge and brings it up.
    pub async fn plug(&self, port: u32, bridge: u32, hairpin: bool) -> Result<(), CniError> {
        let message = LinkUnspec::new_with_index(port).controller(bridge).up().build();
        self.handle.link().change(message).execute().await.map_err(|e| failed("attach link to bridge", e))?;
        if hairpin {
            let message = LinkBridgePort::new(port).hairpin(true).build();
            self.handle.link().set_port(message).execute().await.map_err(|e| failed("set hairpin mode", e))?;
        }
        Ok(())
    }

    /// Removes a link; absent is fine.
    pub async fn remove(&self, name: &str) -> Result<(), CniError> {
        let Some(link) = self.find(name).await? else { return Ok(()) };
        match self.handle.link().del(link.index).execute().await {
            Err(rtnetlink::Error::NetlinkError(e)) if e.raw_code() == -nix::libc::ENODEV => Ok(()),
            other => other.map_err(|e| failed(format!("remove link {name}"), e)),
        }
    }

    /// Adds an address unless it is there. It can be used at once: who else has an IPv6 address is not asked, the allocator knows.
    pub async fn add_address(&self, index: u32, address: IpNet) -> Result<(), CniError> {
        let mut request = self.handle.address().add(index, address.addr(), address.prefix_len());
        if address.addr().is_ipv6() {
            request.message_mut().header.flags = AddressHeaderFlags::Nodad;
        }
        match request.execute().await {
            Err(rtnetlink::Error::NetlinkError(e)) if e.raw_code() == -nix::libc::EEXIST => Ok(()),
            other => other.map_err(|e| failed(format!("add address {address}"), e)),
        }
    }

    /// Addresses of a link, each with its prefix length.
    pub async fn addresses(&self, index: u32) -> Result<Vec<IpNet>, CniError> {
        let mut found = Vec::new();
        let mut list = Box::pin(self.handle.address().get().set_link_index_filter(index).execute());
        while let Some(message) = list.try_next().await.map_err(|e| failed("list addresses", e))? {
            let prefix = message.header.prefix_len;
            found.extend(message.attributes.iter().find_map(|a| match a {
                AddressAttribute::Address(ip) => IpNet::new(*ip, prefix).ok(),
                _ => None,
            }));
        }
        Ok(found)
    }

    /// Adds a route unless it is there.
    pub async fn add_route(&self, index: u32, to: IpNet, via: Option<IpAddr>) -> Result<(), CniError> {
        let message = match (to, via) {
            (IpNet::V4(to), via) => {
                let route = RouteMessageBuilder::<Ipv4Addr>::new();
                let route = route.destination_prefix(to.network(), to.prefix_len()).output_interface(index);
                match via {
                    Some(IpAddr::V4(via)) => route.gateway(via).build(),
                    _ => route.scope(rtnetlink::packet_route::route::RouteScope::Link).build(),
                }
            }
            (IpNet::V6(to), via) => {
                let route = RouteMessageBuilder::<Ipv6Addr>::new();
                let route = route.destination_prefix(to.network(), to.prefix_len()).output_interface(index);
                match via {
                    Some(IpAddr::V6(via)) => route.gateway(via).build(),
                    _ => route.build(),
                }
            }
        };
        match self.handle.route().add(message).execute().await {
            Err(rtnetlink::Error::NetlinkError(e)) if e.raw_code() == -nix::libc::EEXIST => Ok(()),
            other => other.map_err(|e| failed(format!("add route {to}"), e)),
        }
    }
}

/// A veth pair, one queue at each end. Unasked the kernel makes one for each processor that there could be, uses the first, and takes the
/// others away again with two waits for all processors under its one lock of links (`veth_init_queues` of Linux 6.12).
fn veth(host: &str, peer: &str, netns: RawFd, mtu: Option<u32>) -> LinkMessage {
    let end = |message: LinkMessageBuilder<LinkUnspec>| {
        let message = message
            .append_extra_attribute(LinkAttribute::NumTxQueues(1))
            .append_extra_attribute(LinkAttribute::NumRxQueues(1));
        match mtu {
            Some(mtu) => message.mtu(mtu),
            None => message,
        }
    };
    let peer_end = end(LinkUnspec::new_with_name(peer).setns_by_fd(netns)).build();
    let pair = LinkMessageBuilder::<LinkUnspec>::new_with_info_kind(InfoKind::Veth).name(host.to_owned());
    end(pair).set_info_data(InfoData::Veth(InfoVeth::Peer(peer_end))).build()
}

fn describe(message: &LinkMessage) -> Link {
    let mut link = Link {
        index: message.header.index,
        mac: String::new(),
        up: message.header.flags.contains(LinkFlags::Up),
        mtu: 0,
        kind: None,
        controller: None,
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::Address(mac) => {
                link.mac = mac.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(":");
            }
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Controller(index) => link.controller = Some(*index),
            LinkAttribute::LinkInfo(info) => {
                link.kind = info.iter().find_map(|i| match i {
                    rtnetlink::packet_route::link::LinkInfo::Kind(kind) => Some(kind.clone()),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    link
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_route::link::LinkInfo;

    use super::*;

    #[test]
    fn both_ends_of_a_pair_ask_for_one_queue() {
        let one = |message: &LinkMessage| {
            let asks = |wanted: LinkAttribute| message.attributes.contains(&wanted);
            asks(LinkAttribute::NumTxQueues(1)) && asks(LinkAttribute::NumRxQueues(1)) && asks(LinkAttribute::Mtu(1400))
        };
        let pair = veth("veth1", "eth0", 7, Some(1400));
        let data = pair.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::LinkInfo(info) => info.iter().find_map(|info| match info {
                LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))) => Some(peer),
                _ => None,
            }),
            _ => None,
        });
        let peer = data.expect("a peer");
        assert!(one(&pair) && one(peer), "{pair:?}");
        assert!(peer.attributes.contains(&LinkAttribute::NetNsFd(7)));
        assert!(pair.attributes.contains(&LinkAttribute::IfName("veth1".to_owned())));
    }
}
