//! Questions that have one answer.

use super::shapes;
use crate::connect::Client;
use crate::output::Shape;
use anyhow::Result;
use rk_machine_proto::v1::{self, Empty};
use serde_json::Value;

/// A question.
#[derive(Debug, Clone)]
pub enum Question {
    /// Versions.
    Version,
    /// Whether it is well.
    Health,
    /// Services.
    Services,
    /// Restart one.
    Restart(String),
    /// Processes.
    Processes,
    /// Mounts.
    Mounts,
    /// Disks.
    Disks,
    /// Memory.
    Memory,
    /// Processors.
    Cpu,
    /// Sockets; those that listen.
    Sockets(bool),
    /// Links.
    Interfaces,
    /// Routes.
    Routes,
    /// A folder.
    List(String),
    /// The clock.
    Time,
    /// Pulls of images.
    Pulls,
    /// Certificates.
    Certificates,
    /// Check a config.
    Validate(String),
    /// Keep the config on trial.
    Confirm,
    /// Open encrypted disks.
    Unlock(String),
    /// Erase.
    Reset {
        /// Config and identity.
        state: bool,
        /// Images, pods, logs.
        data: bool,
        /// Everything.
        all: bool,
    },
}

impl Question {
    /// How the answer becomes a table; none for deeds.
    pub fn shape(&self) -> Option<Shape> {
        Some(match self {
            Question::Version => shapes::VERSION,
            Question::Health => shapes::HEALTH,
            Question::Services => shapes::SERVICES,
            Question::Processes => shapes::PROCESSES,
            Question::Mounts => shapes::MOUNTS,
            Question::Disks => shapes::DISKS,
            Question::Memory => shapes::MEMORY,
            Question::Cpu => shapes::CPU,
            Question::Sockets(_) => shapes::SOCKETS,
            Question::Interfaces => shapes::INTERFACES,
            Question::Routes => shapes::ROUTES,
            Question::List(_) => shapes::DIRECTORY,
            Question::Time => shapes::TIME,
            Question::Pulls => shapes::PULLS,
            Question::Certificates => shapes::CERTIFICATES,
            Question::Validate(_) => shapes::VALIDATION,
            Question::Restart(_) | Question::Confirm | Question::Unlock(_) | Question::Reset { .. } => return None,
        })
    }

    /// A second table of the same answer.
    pub fn details(&self) -> Option<Shape> {
        matches!(self, Question::Memory).then_some(shapes::SERVICE_MEMORY)
    }
}

/// Asks a node.
///
/// # Errors
/// Its refusal.
pub async fn ask(client: &mut Client, question: &Question) -> Result<Value> {
    macro_rules! call {
        ($method:ident) => {
            call!($method, Empty {})
        };
        ($method:ident, $request:expr) => {
            serde_json::to_value(client.$method($request).await?.into_inner())?
        };
    }
    Ok(match question {
        Question::Version => call!(version),
        Question::Health => call!(health),
        Question::Services => call!(list_services),
        Question::Restart(name) => call!(restart_service, v1::ServiceRequest { name: name.clone() }),
        Question::Processes => call!(processes),
        Question::Mounts => call!(mounts),
        Question::Disks => call!(disks),
        Question::Memory => call!(memory),
        Question::Cpu => call!(cpu),
        Question::Sockets(listening_only) => call!(sockets, v1::SocketsRequest { listening_only: *listening_only }),
        Question::Interfaces => call!(interfaces),
        Question::Routes => call!(routes),
        Question::List(path) => call!(list_directory, v1::PathRequest { path: path.clone() }),
        Question::Time => call!(time),
        Question::Pulls => {
            let mut answers = client.pulls(v1::PullsRequest { follow: false }).await?.into_inner();
            serde_json::to_value(answers.message().await?.unwrap_or_default())?
        }
        Question::Certificates => call!(list_certificates),
        Question::Validate(config) => call!(validate_config, v1::ValidateRequest { config: config.clone() }),
        Question::Confirm => call!(confirm_config),
        Question::Unlock(passphrase) => call!(unlock, v1::UnlockRequest { passphrase: passphrase.clone() }),
        Question::Reset { state, data, all } => {
            call!(reset, v1::ResetRequest { state: *state, data: *data, all: *all })
        }
    })
}
