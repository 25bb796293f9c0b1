//! The dummy link that carries the cluster DNS address.

use std::net::IpAddr;

use futures::FutureExt as _;
use futures::TryStreamExt as _;
use rtnetlink::{Handle, LinkDummy, LinkUnspec, new_connection};

use crate::DnsError;

/// `EEXIST`: it is there already, which is what was wanted.
const EXISTS: i32 = -17;

/// Makes sure that the link exists, is up and has the address.
pub(crate) async fn ensure(link: &str, address: IpAddr) -> Result<(), DnsError> {
    let (connection, handle, _) = new_connection().map_err(DnsError::Netlink)?;
    let task = tokio::spawn(connection.boxed());
    let outcome = apply(&handle, link, address).await;
    task.abort();
    outcome.map_err(|source| DnsError::Link { link: link.to_owned(), address, source })
}

async fn apply(handle: &Handle, link: &str, address: IpAddr) -> Result<(), rtnetlink::Error> {
    existing_is_fine(handle.link().add(LinkDummy::new(link).build()).execute().await)?;
    let mut links = handle.link().get().match_name(link.to_owned()).execute();
    let index = links.try_next().await?.map_or(0, |found| found.header.index);
    handle.link().set(LinkUnspec::new_with_index(index).up().build()).execute().await?;
    let prefix = if address.is_ipv4() { 32 } else { 128 };
    existing_is_fine(handle.address().add(index, address, prefix).execute().await)
}

fn existing_is_fine(outcome: Result<(), rtnetlink::Error>) -> Result<(), rtnetlink::Error> {
    match outcome {
        Err(rtnetlink::Error::NetlinkError(message)) if message.raw_code() == EXISTS => Ok(()),
        other => other,
    }
}
