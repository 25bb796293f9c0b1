//! What a component tells of itself: `/statusz` (KEP-4827) and `/flagz` (KEP-4828), as text for people or as an object of
//! `config.k8s.io`, as a client accepts it. Nothing here does IO: who serves a page says what stands in it.

mod accept;
mod flagz;
mod head;
mod statusz;

pub use accept::{Answer, Format, OFFERED, Version, negotiate};
pub use flagz::Flagz;
pub use statusz::{Statusz, folders};
