//! The two gRPC services: each method turns a request into a call of the modules that do the work.

mod image;
mod lists;
mod metrics;
mod runtime;
mod status;
mod streams;

use std::sync::Arc;

use crate::runtime::Runtime;

/// Both services over one runtime.
#[derive(Clone)]
pub(crate) struct Service(pub Arc<Runtime>);
