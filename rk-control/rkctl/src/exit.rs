//! Outcomes by class: scripts tell a node that is away from one that refuses.

use std::process::ExitCode;
use tonic::{Code, Status};

/// The class of an outcome; its number is the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Done.
    Good = 0,
    /// Anything without a class of its own.
    Other = 1,
    /// What was given is wrong: flags (clap uses the same number), configs, names.
    Usage = 2,
    /// The node cannot be reached, or does not answer in time.
    Unreachable = 3,
    /// The node does not know the caller, or the caller's role is too small.
    Refused = 4,
    /// The node is not in a state for this, or its version cannot do it.
    Precondition = 5,
    /// What was asked for is not there.
    NotFound = 6,
    /// The node answers and is not well.
    Unhealthy = 7,
}

impl From<Class> for ExitCode {
    fn from(class: Class) -> ExitCode {
        ExitCode::from(class as u8)
    }
}

/// A failure with a class.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct Failure {
    /// Its class.
    pub class: Class,
    text: String,
}

impl Failure {
    /// A failure told by this text.
    pub fn new(class: Class, text: impl Into<String>) -> Failure {
        Failure { class, text: text.into() }
    }
}

/// The class of what a node answered.
pub fn class_of(status: &Status) -> Class {
    match status.code() {
        Code::Ok => Class::Good,
        Code::InvalidArgument | Code::OutOfRange => Class::Usage,
        Code::Unavailable | Code::DeadlineExceeded => Class::Unreachable,
        Code::PermissionDenied | Code::Unauthenticated => Class::Refused,
        Code::FailedPrecondition | Code::Unimplemented | Code::ResourceExhausted => Class::Precondition,
        Code::NotFound => Class::NotFound,
        _ => Class::Other,
    }
}

/// Whether no node said this: the connection broke off while it answered.
fn is_broken(status: &Status) -> bool {
    matches!(status.code(), Code::Unknown | Code::Internal) && std::error::Error::source(status).is_some()
}

/// The class of any error: the first in its chain that has one.
pub fn class_of_error(err: &anyhow::Error) -> Class {
    for cause in err.chain() {
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            return failure.class;
        }
        if let Some(status) = cause.downcast_ref::<Status>() {
            return if is_broken(status) { Class::Unreachable } else { class_of(status) };
        }
    }
    Class::Other
}

/// What a person reads of an error: of a node's answer its words, not the protocol's.
pub fn words(err: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in err.chain() {
        let status = cause.downcast_ref::<Status>();
        let broken = status.is_some_and(is_broken);
        let part = match status {
            Some(_) if broken => "the connection to the node broke off".to_owned(),
            Some(status) if !status.message().is_empty() => status.message().to_owned(),
            Some(status) => status.code().description().to_owned(),
            None => cause.to_string(),
        };
        // Some libraries repeat their source.
        if !text.ends_with(&part) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&part);
        }
        // What is below is told in the words of the layers that it came through.
        if broken {
            break;
        }
    }
    text
}

/// Prints an error and answers its exit code.
pub fn report(err: &anyhow::Error) -> ExitCode {
    eprintln!("rkctl: {}", words(err));
    class_of_error(err).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn classes_are_found_below_contexts_and_words_are_the_nodes_own() {
        let err = Err::<(), _>(Status::permission_denied("needs role admin")).context("10.0.0.1").unwrap_err();
        assert_eq!(class_of_error(&err), Class::Refused);
        assert_eq!(words(&err), "10.0.0.1: needs role admin");
        assert_eq!(class_of_error(&anyhow::anyhow!("x")), Class::Other);
        assert_eq!(class_of_error(&Failure::new(Class::Unhealthy, "x").into()), Class::Unhealthy);
    }

    #[test]
    fn a_connection_that_broke_off_is_told_as_that() {
        let cause = std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "peer closed connection: see a web page");
        let err = Err::<(), _>(Status::from_error(Box::new(cause))).context("10.0.0.1").unwrap_err();
        assert_eq!(class_of_error(&err), Class::Unreachable);
        assert_eq!(words(&err), "10.0.0.1: the connection to the node broke off");
        let err = anyhow::Error::from(Status::internal("the disk failed"));
        assert_eq!((class_of_error(&err), words(&err)), (Class::Other, "the disk failed".to_owned()));
    }
}
