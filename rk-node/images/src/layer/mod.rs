//! From compressed bytes to a layer on the disk: [`tar`] reads, [`sparse`] knows holes, [`unpack`] applies, [`budget`] and [`memory`]
//! count, [`seal`] tells later whether it is still the same.
//!
//! A layer has one of two forms ([`Form`]), each with a [`target::Target`] that knows how to make it: a [`tree`] of files, where
//! [`beneath`] stays inside, or one [`packed`] file, whose paths [`resolve`] follows in memory. Only those, the seal and
//! [`crate::mounts`] know which it is.

mod beneath;
mod budget;
mod decompress;
mod file_seal;
mod memory;
mod packed;
mod pax;
mod resolve;
mod seal;
mod sparse;
mod summed;
mod tar;
mod target;
mod tree;
mod tree_seal;
mod unpack;

pub(crate) use budget::Budget;
pub(crate) use packed::FILE;
pub(crate) use seal::{Reading, Seal};
pub(crate) use tar::{Kind, Reader};
pub(crate) use target::{Form, SHOWN};
pub(crate) use unpack::{Limits, Meta, unpack};

#[cfg(test)]
mod tests;
