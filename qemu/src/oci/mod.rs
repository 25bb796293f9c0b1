//! OCI images on the host: names, deterministic layers, layouts, archives of others, and pushing them to a registry.
//!
//! An archive (an OCI layout as folder or tar, or what `docker save` writes) is opened as an [`Archive`]: a blob store and
//! named roots. [`push`] walks each root's descriptors and uploads what the registry lacks.

mod archive;
mod build;
mod docker_save;
mod layer;
mod name;
mod push;
mod store;

pub use archive::{Archive, NamedRoot};
pub use build::{ImageConfig, write_layout};
pub use layer::{Entry, Kind, gzip_layer};
pub use name::ImageName;
pub use push::push;
pub use store::{BlobStore, Descriptor, digest};

/// Media types that this crate writes or must tell apart.
pub mod media {
    /// An OCI image manifest.
    pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// An OCI image index.
    pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// An OCI image config.
    pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// A layer as plain tar; `+gzip` and `+zstd` are appended for compressed ones.
    pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    /// Docker's manifest, schema 2.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker's manifest list.
    pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

    /// Whether a descriptor of this type leads to further manifests.
    pub fn is_index(media_type: &str) -> bool {
        matches!(media_type, INDEX | DOCKER_LIST)
    }

    /// Whether a descriptor of this type is a manifest of one image.
    pub fn is_manifest(media_type: &str) -> bool {
        matches!(media_type, MANIFEST | DOCKER_MANIFEST)
    }
}
