//! From compressed bytes to a directory: [`tar`] reads, [`sparse`] knows holes, [`beneath`] stays inside, [`unpack`] applies, [`budget`]
//! counts, [`seal`] tells later whether it is still the same.

mod beneath;
mod budget;
mod decompress;
mod seal;
mod sparse;
mod tar;
mod unpack;

pub(crate) use budget::Budget;
pub(crate) use seal::{Reading, Seal};
pub(crate) use tar::{Kind, Reader};
pub(crate) use unpack::{Limits, Meta, unpack};

#[cfg(test)]
mod tests;
