//! Objects in the versions that their owners speak, as [`rk_api::managed`] asks for them.
//!
//! Counting is pure and asks no webhook: what only a webhook can answer is noted and fails the count, which is made anew once it was asked.
//! Each count gets further than the one before, since an object is asked about once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rk_api::decode::{Form, fit};
use rk_api::managed::Versions;
use rk_api::resources::{Registry, Resource};
use rk_api::schema::Schema;
use rk_api::status::Status;
use serde_json::Value;

use crate::server::Core;

/// The versions of one kind, for one request.
#[derive(Debug)]
pub struct OwnersVersions {
    registry: Arc<Registry>,
    /// The version of the request.
    resource: Arc<Resource>,
    asked: Mutex<Asked>,
}

/// What webhooks were asked.
#[derive(Debug, Default)]
struct Asked {
    answers: Vec<Answer>,
    /// What is to be asked next.
    missing: Option<(Value, Arc<Resource>)>,
}

#[derive(Debug)]
struct Answer {
    object: Value,
    api_version: String,
    converted: Value,
}

impl OwnersVersions {
    pub fn new(registry: Arc<Registry>, resource: Arc<Resource>) -> Self {
        Self { registry, resource, asked: Mutex::default() }
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The row of another version of the kind.
    fn row(&self, api_version: &str) -> Option<&Arc<Resource>> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let row = self.registry.known(group, version, &self.resource.plural)?;
        Some(row).filter(|row| row.hub == self.resource.hub)
    }

    /// Whether a webhook converts between the versions, so that counting may have to be made anew.
    pub fn are_asked_for(&self) -> bool {
        is_asked_for(&self.resource)
    }

    /// Asks for what the last count missed. Tells whether there was anything, so that counting anew gets further.
    ///
    /// # Errors
    /// The webhook failed.
    pub async fn learn(&self, core: &Core) -> Result<bool, Status> {
        let Some((object, row)) = self.asked().missing.take() else { return Ok(false) };
        let answered = super::undefaulted(core, vec![object.clone()], &row).await?.pop();
        let mut converted = answered.ok_or_else(|| Status::internal("a conversion lost its object"))?;
        let _ = fit(&mut converted, &row.schema, Form::Canonical);
        self.asked().answers.push(Answer { object, api_version: row.api_version(), converted });
        Ok(true)
    }

    /// Forgets what was answered: other objects are looked at from now on.
    pub fn forget(&self) {
        *self.asked() = Asked::default();
    }
}

impl Versions for OwnersVersions {
    fn convert(&self, object: Value, api_version: &str) -> Result<Option<(Value, Schema)>, Status> {
        let Some(row) = self.row(api_version) else { return Ok(None) };
        if !is_asked_for(row) {
            let mut object = super::by_rule(object, row, api_version)?;
            // What was valid once stays readable whatever became of the schema.
            let _ = fit(&mut object, &row.schema, Form::Canonical);
            return Ok(Some((object, row.schema.clone())));
        }
        let mut asked = self.asked();
        let known = asked.answers.iter().find(|answer| answer.api_version == api_version && answer.object == object);
        if let Some(answer) = known {
            return Ok(Some((answer.converted.clone(), row.schema.clone())));
        }
        asked.missing = Some((object, Arc::clone(row)));
        Err(Status::internal(format!("{} was not asked for in {api_version} yet", row.plural)))
    }
}

fn is_asked_for(row: &Resource) -> bool {
    row.custom.as_ref().is_some_and(|custom| custom.conversion.is_some())
}
