//! The rows of `tables/resources.txt`, parsed when the crate is built.

use super::row::{GroupVersionKind, Resource, Scope, Str, Subresource, Verbs};
use crate::schema::Schema;

/// A row as the build script writes it.
struct Row {
    group: &'static str,
    version: &'static str,
    plural: &'static str,
    kind: &'static str,
    singular: &'static str,
    namespaced: bool,
    verbs: u8,
    short_names: &'static [&'static str],
    categories: &'static [&'static str],
    /// Name, group, version, kind, verbs.
    subresources: &'static [(&'static str, &'static str, &'static str, &'static str, u8)],
}

include!(concat!(env!("OUT_DIR"), "/resources.rs"));

/// Rows whose objects are stored under another group or version: group, version, plural, hub group, hub version.
const HUBS: &[(&str, &str, &str, &str, &str)] = &[
    ("autoscaling", "v1", "horizontalpodautoscalers", "autoscaling", "v2"),
    ("events.k8s.io", "v1", "events", "", "v1"),
];

/// Every built-in row in discovery order.
pub(super) fn rows() -> impl Iterator<Item = Resource> {
    ROWS.iter().map(|row| {
        let hub = HUBS.iter().find(|h| (h.0, h.1, h.2) == (row.group, row.version, row.plural));
        let hub = hub.map_or((row.group, row.version), |h| (h.3, h.4));
        let gvk = GroupVersionKind::new(row.group, row.version, row.kind);
        Resource {
            schema: Schema::of_kind(&gvk).unwrap_or(Schema::ANY),
            gvk,
            plural: Str::Borrowed(row.plural),
            singular: Str::Borrowed(row.singular),
            scope: if row.namespaced { Scope::Namespaced } else { Scope::Cluster },
            verbs: Verbs::from_bits(row.verbs),
            short_names: row.short_names.iter().copied().map(Str::Borrowed).collect(),
            categories: row.categories.iter().copied().map(Str::Borrowed).collect(),
            subresources: row
                .subresources
                .iter()
                .map(|&(name, group, version, kind, verbs)| Subresource {
                    name: Str::Borrowed(name),
                    gvk: GroupVersionKind::new(group, version, kind),
                    verbs: Verbs::from_bits(verbs),
                })
                .collect(),
            hub: (Str::Borrowed(hub.0), Str::Borrowed(hub.1)),
            custom: None,
        }
    })
}
