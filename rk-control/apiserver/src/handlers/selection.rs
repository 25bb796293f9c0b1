//! Label and field selectors of a request.

use rk_api::meta::labels;
use rk_api::selector::{FieldSelector, LabelSelector};
use rk_api::status::Status;

use super::call::Call;
use crate::storage::Cached;

/// Which objects a list or watch is about.
#[derive(Debug, Clone, Default)]
pub(super) struct Selection {
    labels: LabelSelector,
    fields: FieldSelector,
}

impl Selection {
    pub(super) fn parse(call: &Call) -> Result<Self, Status> {
        let labels = LabelSelector::parse(call.query.text("labelSelector"))
            .map_err(|error| Status::bad_request(error.to_string()))?;
        let added = call.resource.custom.as_ref().map_or(&[][..], |custom| &custom.selectable);
        let fields = FieldSelector::parse(call.query.text("fieldSelector"), &call.resource.gvk, added)
            .map_err(|error| Status::bad_request(error.to_string()))?;
        Ok(Self { labels, fields })
    }

    /// Also pins the name, for a watch on one object's path.
    pub(super) fn with_name(mut self, name: &str) -> Self {
        if !name.is_empty() && self.fields.required_value("metadata.name").is_none() {
            self.fields.terms.push(("metadata.name".to_owned(), true, name.to_owned()));
        }
        self
    }

    pub(super) fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    pub(super) fn matches(&self, object: &Cached) -> bool {
        (self.fields.is_empty() || self.fields.matches(&object.select))
            && (self.labels.is_empty() || self.labels.matches(labels(&object.select)))
    }
}
