//! Label and field selectors of a request.

use std::sync::Arc;

use rk_api::resources::Resource;
use rk_api::selector::{CustomFields, FieldSelector, LabelSelector};
use rk_api::status::Status;
use serde_json::Value;

use super::call::Call;
use crate::conversion;
use crate::server::Core;
use crate::storage::Cached;

/// Which objects a list or watch is about.
#[derive(Debug, Clone, Default)]
pub(super) struct Selection {
    labels: LabelSelector,
    fields: FieldSelector,
    /// What the definition of a custom kind lets selectors name: each version has fields of its own, so objects are looked at
    /// in the version that was asked for.
    served: Option<Served>,
}

#[derive(Debug, Clone)]
struct Served {
    fields: FieldSelector,
    row: Arc<Resource>,
}

impl Selection {
    pub(super) fn parse(call: &Call) -> Result<Self, Status> {
        let labels = LabelSelector::parse(call.query.text("labelSelector"))
            .map_err(|error| Status::bad_request(error.to_string()))?;
        let added = call.resource.custom.as_ref().map(|custom| &custom.selectable[..]);
        let custom = added.map(|selectable| CustomFields { selectable, namespaced: call.resource.namespaced() });
        let fields = FieldSelector::parse(call.query.text("fieldSelector"), &call.resource.gvk, custom)
            .map_err(|error| Status::bad_request(error.to_string()))?;
        let added = added.unwrap_or_default();
        let (own, terms) = fields.terms.into_iter().partition(|(field, ..)| added.contains(field));
        let own = FieldSelector { terms: own };
        let served = (!own.is_empty()).then(|| Served { fields: own, row: Arc::clone(&call.resource) });
        Ok(Self { labels, fields: FieldSelector { terms }, served })
    }

    /// Also pins the name, for a watch on one object's path.
    pub(super) fn with_name(mut self, name: &str) -> Self {
        if !name.is_empty() && self.fields.required_value("metadata.name").is_none() {
            self.fields.terms.push(("metadata.name".to_owned(), true, name.to_owned()));
        }
        self
    }

    pub(super) fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty() && self.served.is_none()
    }

    /// Whether nothing that is the same in every version leaves the object out; [`Selection::judge`] is the whole answer.
    pub(super) fn may_match(&self, object: &Cached) -> bool {
        self.fields.matches_texts(|field| object.field(field)) && self.labels.matches_values(|key| object.label(key))
    }

    /// Whether each object is selected, in their order.
    ///
    /// # Errors
    /// An object could not be converted to the version whose fields are selected by.
    pub(super) async fn judge(&self, core: &Core, objects: &[&Cached]) -> Result<Vec<bool>, Status> {
        let mut verdicts: Vec<bool> = objects.iter().map(|object| self.may_match(object)).collect();
        let Some(served) = &self.served else { return Ok(verdicts) };
        let mut converted: Vec<(&mut bool, Value)> = Vec::new();
        for (verdict, object) in verdicts.iter_mut().zip(objects).filter(|(verdict, _)| **verdict) {
            if served.row.is_hub() && !object.is_foreign() {
                *verdict = served.fields.matches_texts(|field| object.field(field));
            } else {
                converted.push((verdict, object.value()));
            }
        }
        let (verdicts_left, values): (Vec<_>, Vec<_>) = converted.into_iter().unzip();
        let values = conversion::all_to(core, values, &served.row).await?;
        for (verdict, value) in verdicts_left.into_iter().zip(values) {
            *verdict = served.fields.matches_paths(&value);
        }
        Ok(verdicts)
    }

    /// The selected ones of objects that [may match](Selection::may_match).
    ///
    /// # Errors
    /// As [`Selection::judge`].
    pub(super) async fn sift(&self, core: &Core, objects: Vec<Arc<Cached>>) -> Result<Vec<Arc<Cached>>, Status> {
        if self.served.is_none() {
            return Ok(objects);
        }
        let seen: Vec<&Cached> = objects.iter().map(AsRef::as_ref).collect();
        let verdicts = self.judge(core, &seen).await?;
        Ok(objects.into_iter().zip(verdicts).filter_map(|(object, selected)| selected.then_some(object)).collect())
    }
}
