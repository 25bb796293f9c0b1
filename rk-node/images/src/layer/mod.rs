//! From compressed bytes to a directory: [`tar`] reads, [`beneath`] stays inside, [`unpack`] applies.

mod beneath;
mod decompress;
mod tar;
mod unpack;

pub(crate) use tar::{Kind, Reader};
pub(crate) use unpack::{Limits, Meta, unpack};

#[cfg(test)]
mod tests;
