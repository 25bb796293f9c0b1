//! What every page begins with.

use serde_json::{Value, json};

use crate::accept::{GROUP, Version};

/// The first lines of a page (`statusz`, `flagz`) of a component.
pub(crate) fn title(component: &str, page: &str) -> String {
    format!(
        "\n{component} {page}\nWarning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and \
         is for debugging purposes only.\n"
    )
}

/// An object about a component that says no more than that.
pub(crate) fn object(component: &str, kind: &str, version: Version) -> Value {
    json!({"kind": kind, "apiVersion": format!("{GROUP}/{}", version.as_str()), "metadata": {"name": component}})
}
