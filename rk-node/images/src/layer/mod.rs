//! From compressed bytes to a directory: [`tar`] reads, [`beneath`] stays inside, [`unpack`] applies, [`budget`] counts.

mod beneath;
mod budget;
mod decompress;
mod tar;
mod unpack;

pub(crate) use budget::Budget;
pub(crate) use tar::{Kind, Reader};
pub(crate) use unpack::{Limits, Meta, unpack};

#[cfg(test)]
mod tests;
