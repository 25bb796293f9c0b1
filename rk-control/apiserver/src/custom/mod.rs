//! CustomResourceDefinitions at work: each becomes rows of the resource table, documents of OpenAPI, and a status that says so.
//!
//! One loop compares definitions with what is served ([`keeper`]); what becomes of a definition is decided in [`conditions`].

mod api_services;
mod conditions;
mod instances;
mod keeper;
mod publish;

pub(crate) use api_services::CUSTOM as CUSTOM_PRIORITIES;
pub(crate) use conditions::retired;
pub use keeper::{run, sync};
pub use publish::Served;
