//! Manifests and indexes, OCI and Docker schema 2 (pure).

use serde::Deserialize;

use crate::{
    error::{Error, Result},
    image::ImageConfig,
    reference::Digest,
};

/// What we ask a registry for.
pub(crate) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";
/// Registries refuse larger manifests themselves.
pub(crate) const MAX_MANIFEST: usize = 4 << 20;
/// Configs carry labels and history; real ones are a few KiB.
pub(crate) const MAX_CONFIG: usize = 4 << 20;
/// What the kernel and our patience stack: overlayfs takes at most 500 layers, Docker 127.
const MAX_LAYERS: usize = 127;

/// The name that images use for this machine.
pub(crate) const ARCH: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };

/// A pointer to content.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub media_type: String,
    pub digest: Digest,
    pub size: u64,
    #[serde(default)]
    pub platform: Option<Platform>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Platform {
    #[serde(default)]
    pub architecture: String,
    #[serde(default)]
    pub os: String,
    #[serde(default)]
    pub variant: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: Option<u32>,
    manifests: Option<Vec<Descriptor>>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
}

/// A parsed manifest document.
#[derive(Debug, PartialEq)]
pub(crate) enum Manifest {
    /// Choose one of these.
    Index(Vec<Descriptor>),
    /// An image: config, and layers from the lowest up.
    Image(Descriptor, Vec<Descriptor>),
}

/// Parses a manifest or an index; `what` names it in errors.
pub(crate) fn parse(what: &str, bytes: &[u8]) -> Result<Manifest> {
    let bad = |reason: String| Error::Malformed { what: what.to_owned(), reason };
    let document: Document = serde_json::from_slice(bytes).map_err(|e| bad(format!("not a manifest: {e}")))?;
    if document.schema_version == Some(1) {
        return Err(bad(
            "Docker schema 1 manifests are no longer supported: push the image again with a current tool".into()
        ));
    }
    match document {
        Document { manifests: Some(manifests), config: None, layers: None, .. } => Ok(Manifest::Index(manifests)),
        Document { manifests: None, config: Some(config), layers: Some(layers), .. } => {
            if layers.len() > MAX_LAYERS {
                return Err(Error::Limit { what: what.to_owned(), limit: format!("more than {MAX_LAYERS} layers") });
            }
            if let Some(odd) = layers.iter().find(|l| !is_layer(&l.media_type)) {
                return Err(bad(format!("unsupported layer media type {:?}", odd.media_type)));
            }
            Ok(Manifest::Image(config, layers))
        }
        _ => Err(bad("neither an image manifest nor an index".into())),
    }
}

/// Compression is told from the bytes, so only the kind of content matters here.
fn is_layer(media_type: &str) -> bool {
    let kind = media_type.split_once('+').map_or(media_type, |(kind, _)| kind);
    matches!(
        kind,
        "application/vnd.oci.image.layer.v1.tar"
            | "application/vnd.oci.image.layer.nondistributable.v1.tar"
            | "application/vnd.docker.image.rootfs.diff.tar"
            | "application/vnd.docker.image.rootfs.diff.tar.gzip"
            | "application/vnd.docker.image.rootfs.diff.tar.zstd"
            | "application/vnd.docker.image.rootfs.foreign.diff.tar"
            | "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    ) && !media_type.ends_with("+encrypted")
}

/// The entry of an index for this machine: exact platform first, then one without a platform.
pub(crate) fn choose<'a>(what: &str, manifests: &'a [Descriptor]) -> Result<&'a Descriptor> {
    let fits = |d: &&Descriptor| {
        d.platform.as_ref().is_some_and(|p| {
            p.os == "linux" && p.architecture == ARCH && matches!(p.variant.as_deref(), None | Some("" | "v1" | "v8"))
        })
    };
    let unnamed = |d: &&Descriptor| d.platform.is_none();
    let found = manifests.iter().find(fits).or_else(|| manifests.iter().find(unnamed));
    found.ok_or_else(|| Error::NoPlatform { what: what.to_owned(), arch: ARCH })
}

#[derive(Deserialize)]
struct ConfigDocument {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default)]
    config: Option<ImageConfig>,
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Option<Vec<Digest>>,
}

/// Parses an image config: what to start, and the diff IDs of its layers.
pub(crate) fn parse_config(what: &str, bytes: &[u8]) -> Result<(ImageConfig, Vec<Digest>)> {
    let document: ConfigDocument = serde_json::from_slice(bytes)
        .map_err(|e| Error::Malformed { what: what.to_owned(), reason: format!("not an image config: {e}") })?;
    let other = |value: &str, ours: &str| !value.is_empty() && value != ours;
    if other(&document.os, "linux") || other(&document.architecture, ARCH) {
        return Err(Error::NoPlatform { what: what.to_owned(), arch: ARCH });
    }
    Ok((document.config.unwrap_or_default(), document.rootfs.diff_ids.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(c: char, platform: &str) -> String {
        let digest = c.to_string().repeat(64);
        format!(
            r#"{{"mediaType":"application/vnd.oci.image.layer.v1.tar+zstd","digest":"sha256:{digest}","size":1{platform}}}"#
        )
    }

    #[test]
    fn the_entry_for_this_machine_is_chosen() {
        let p = |os: &str, arch: &str, variant: &str| {
            format!(r#","platform":{{"os":"{os}","architecture":"{arch}","variant":"{variant}"}}"#)
        };
        let index = format!(
            r#"{{"schemaVersion":2,"manifests":[{},{},{},{}]}}"#,
            descriptor('a', &p("linux", "s390x", "")),
            descriptor('b', &p("linux", ARCH, "v3")),
            descriptor('c', &p("linux", ARCH, "")),
            descriptor('d', &p("unknown", "unknown", "")),
        );
        let Manifest::Index(all) = parse("x", index.as_bytes()).expect("index") else { panic!("not an index") };
        assert_eq!(choose("x", &all).expect("entry").digest.hex(), "c".repeat(64));
        assert!(matches!(choose("x", &all[..1]), Err(Error::NoPlatform { .. })));
    }

    #[test]
    fn documents_that_are_two_things_or_none_are_refused() {
        let d = descriptor('a', "");
        for bad in [
            "{}".to_owned(),
            "[]".into(),
            format!(r#"{{"manifests":[{d}],"config":{d},"layers":[{d}]}}"#),
            r#"{"schemaVersion":1,"fsLayers":[]}"#.into(),
            format!(r#"{{"config":{d},"layers":[{}]}}"#, d.replace("image.layer", "helm.chart")),
            format!(r#"{{"config":{d},"layers":[{}]}}"#, vec![d.clone(); 128].join(",")),
            format!(r#"{{"config":{d},"layers":[{}]}}"#, d.replace("sha256:", "sha256:../")),
        ] {
            assert!(parse("x", bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(parse("x", format!(r#"{{"config":{d},"layers":[{d}]}}"#).as_bytes()).is_ok());
    }

    #[test]
    fn docker_s_layers_are_taken_in_every_packing_and_encrypted_ones_are_refused() {
        for (kind, fine) in [
            ("vnd.docker.image.rootfs.diff.tar", true),
            ("vnd.docker.image.rootfs.diff.tar.gzip", true),
            ("vnd.docker.image.rootfs.diff.tar.zstd", true),
            ("vnd.docker.image.rootfs.foreign.diff.tar.gzip", true),
            ("vnd.oci.image.layer.v1.tar", true),
            ("vnd.oci.image.layer.v1.tar+gzip", true),
            ("vnd.oci.image.layer.v1.tar+gzip+encrypted", false),
            ("vnd.docker.plugin.v1+json", false),
        ] {
            let layer = descriptor('a', "").replace("vnd.oci.image.layer.v1.tar+zstd", kind);
            let document = format!(r#"{{"schemaVersion":2,"config":{layer},"layers":[{layer}]}}"#);
            assert_eq!(parse("x", document.as_bytes()).is_ok(), fine, "{kind}");
        }
    }

    #[test]
    fn configs_with_nulls_as_docker_writes_them_are_read() {
        let raw = r#"{"os":"linux","config":{"Cmd":null,"Env":["A=b"],"Volumes":{"/d":{}},"Labels":null},"rootfs":{"type":"layers","diff_ids":null}}"#;
        let (config, layers) = parse_config("x", raw.as_bytes()).expect("config");
        assert_eq!((config.env, config.volumes, layers.len()), (vec!["A=b".to_owned()], vec!["/d".to_owned()], 0));
        assert!(matches!(parse_config("x", br#"{"os":"windows","rootfs":{}}"#), Err(Error::NoPlatform { .. })));
    }
}
