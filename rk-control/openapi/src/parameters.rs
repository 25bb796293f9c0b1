//! Query and path parameters of operations.

use serde_json::{Value, json};

use crate::spec::Spec;

/// One parameter, described for both versions of the specification.
struct Parameter(&'static str, &'static str, &'static str);

const PRETTY: Parameter = Parameter("pretty", "string", "If 'true', then the output is pretty printed.");
const DRY_RUN: Parameter =
    Parameter("dryRun", "string", "When present, nothing is stored; 'All' runs every stage otherwise.");
const FIELD_MANAGER: Parameter =
    Parameter("fieldManager", "string", "The name that owns the fields which this request sets.");
const FIELD_VALIDATION: Parameter =
    Parameter("fieldValidation", "string", "What happens to unknown or duplicate fields: Ignore, Warn or Strict.");
const FORCE: Parameter =
    Parameter("force", "boolean", "Take over fields that other managers own; for apply requests only.");

const RESOURCE_VERSION: Parameter =
    Parameter("resourceVersion", "string", "The version that the answer must be at, or not older than.");

const WATCH: &[Parameter] = &[
    Parameter("allowWatchBookmarks", "boolean", "Ask for bookmark events, which carry only a resourceVersion."),
    Parameter("watch", "boolean", "Watch for changes to the described resources, instead of one answer."),
];

const LIST: &[Parameter] = &[
    Parameter("continue", "string", "The token of the previous page."),
    Parameter("fieldSelector", "string", "Restrict the list of returned objects by their fields."),
    Parameter("labelSelector", "string", "Restrict the list of returned objects by their labels."),
    Parameter("limit", "integer", "The most objects to answer with."),
    RESOURCE_VERSION,
    Parameter("resourceVersionMatch", "string", "How resourceVersion constrains the answer: Exact or NotOlderThan."),
    Parameter("sendInitialEvents", "boolean", "Begin a watch with what is there already."),
    Parameter(
        "shardSelector",
        "string",
        "Restrict the objects to a part of them; unless that feature is on, all are meant.",
    ),
    Parameter("timeoutSeconds", "integer", "End the request after this many seconds, whatever it is doing."),
];

const DELETE: &[Parameter] = &[
    DRY_RUN,
    Parameter("gracePeriodSeconds", "integer", "Seconds that the object may take to end; 0 deletes at once."),
    Parameter("ignoreStoreReadErrorWithClusterBreakingPotential", "boolean", "Delete even what cannot be read back."),
    Parameter("orphanDependents", "boolean", "Deprecated: use propagationPolicy."),
    Parameter("propagationPolicy", "string", "What becomes of dependents: Orphan, Background or Foreground."),
];

/// What an operation does, as far as its parameters depend on it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Use {
    Read,
    List,
    Write,
    Patch,
    Delete,
    DeleteCollection,
    Connect,
    /// Of a custom kind, whose reads may ask for a version.
    CustomRead,
    /// Of a custom kind: without a body, and told by the parameters of a list alone.
    CustomDeleteCollection,
}

/// The query parameters of an operation.
pub fn query(spec: Spec, usage: Use) -> Vec<Value> {
    let lists: &[&[Parameter]] = match usage {
        Use::Read => &[&[PRETTY]],
        Use::CustomRead => &[&[PRETTY, RESOURCE_VERSION]],
        Use::List | Use::CustomDeleteCollection => &[&[PRETTY], LIST, WATCH],
        Use::Write => &[&[PRETTY, DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION]],
        Use::Patch => &[&[PRETTY, DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION, FORCE]],
        Use::Delete => &[&[PRETTY], DELETE],
        Use::DeleteCollection => &[&[PRETTY], DELETE, LIST],
        Use::Connect => &[],
    };
    lists.iter().copied().flatten().map(|parameter| value(spec, "query", parameter, false)).collect()
}

/// The parameters that a path's own segments stand for.
pub fn path(spec: Spec, path: &str) -> Vec<Value> {
    const SEGMENTS: &[Parameter] = &[
        Parameter("name", "string", "The name of the object."),
        Parameter("namespace", "string", "The namespace of the object."),
        Parameter("path", "string", "The path inside what is proxied to."),
    ];
    let stands = |parameter: &&Parameter| path.contains(&format!("{{{}}}", parameter.0));
    SEGMENTS.iter().filter(stands).map(|parameter| value(spec, "path", parameter, true)).collect()
}

fn value(spec: Spec, place: &str, Parameter(name, kind, text): &Parameter, required: bool) -> Value {
    let mut parameter = json!({"name": name, "in": place, "description": text, "uniqueItems": true});
    if required {
        parameter["required"] = json!(true);
    }
    match spec {
        Spec::V2 => parameter["type"] = json!(kind),
        Spec::V3 => {
            parameter["schema"] = json!({"type": kind, "uniqueItems": true});
            if let Some(object) = parameter.as_object_mut() {
                object.remove("uniqueItems");
            }
        }
    }
    parameter
}
