//! nftables transactions and conntrack clean-up, spoken to the kernel directly.
//!
//! [`Batch`] collects changes, [`Netfilter::commit`] applies them as one transaction: all or nothing, without a moment in
//! between. Rules are lists of [`Expr`], the virtual machine's own instructions, so nothing is parsed and nothing is executed.
//! [`Netfilter::dump`] and [`conntrack`] read back what the kernel holds.

mod attr;
mod batch;
pub mod conntrack;
mod expr;
mod socket;

pub use batch::{Batch, Chain, Element, Family, Hook, Set, Value};
pub use expr::{Cmp, CtKey, Expr, MetaKey, NatKind, PayloadBase, Reg, Verdict, lookup};
pub use socket::{Error, Netfilter, Stored};
