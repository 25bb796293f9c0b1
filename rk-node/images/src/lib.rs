//! Container images of a node: pull, verify, unpack, snapshot, collect.
//!
//! [`Images`] is a cloneable handle over one directory:
//!
//! ```text
//! ROOT/lock                    held by the one process that owns the directory
//! ROOT/records/<hex>.json      one image: its names, manifest digest, config and layers
//! ROOT/layers/<alg>-<hex>/     one unpacked layer by diff ID: `layer.erofs`, mounted at `fs/` while it is in use, and `meta.json`; or,
//!                              of earlier releases and where the kernel cannot do that, a tree of files `fs/`
//! ROOT/ingest/<random>/        layers being unpacked; emptied on start
//! ROOT/partial/<alg>-<hex>     what came of a layer, by its digest in the registry, while it is not here yet
//! ROOT/damaged/<random>/       layers that are not what was unpacked, with `users.json`: the snapshots that stand on them
//! ROOT/snapshots/<key>/        one container's writable layer: `upper/ work/ rootfs/ record.json`
//! ```
//!
//! A layer streams from the registry (or an image layout on this machine, [`Images::import`]) through digest check, decompression and
//! tar reader straight into a file in `ingest/`, and is renamed into `layers/` only when both the blob digest and the diff ID are right; so
//! nothing partial is ever visible and no layer is held in memory. Identical pulls in flight share one download; dropping the last
//! waiter cancels it. What came of a large layer is kept in `partial/` until the layer is here, and the next pull goes on behind it.
//!
//! Invariants: a record's layers exist; a snapshot's layers exist; everything else in `layers/` is garbage and [`Images::gc`]
//! removes it, and what is in `damaged/` when the last of its users went, and what is too old or too much of `partial/`. All state
//! survives a crash between any two system calls.

mod blob;
mod challenge;
mod config;
mod endpoint;
mod error;
mod image;
mod images;
mod layer;
mod layout;
mod load;
mod manifest;
mod mounts;
mod overlay;
mod partial;
mod progress;
mod pull;
mod record;
mod reference;
mod registry;
mod repairs;
mod retry;
mod scrub;
mod snapshot;
mod source;
mod store;
mod stream;
mod tls;
mod transport;

pub use config::{Auth, Config, Keep, Mirror, Pace, Part, Reserve};
pub use endpoint::registry_host;
pub use error::{Error, ErrorKind, Result};
pub use image::{FsInfo, Image, ImageConfig, ImageId, Shift, Snapshot};
pub use images::{Images, Imported};
pub use layout::Archive;
pub use progress::{LayerProgress, LayerState, Progress, Pulls, Totals};
pub use reference::{Digest, Reference};
pub use tls::ClientCertificate;
