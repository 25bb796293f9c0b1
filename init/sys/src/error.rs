//! The error of all wrappers.

use std::io;

/// A syscall failed.
#[derive(Debug, thiserror::Error)]
#[error("{call} {object}: {source}")]
pub struct SysError {
    /// The syscall or idiom.
    pub call: &'static str,
    /// What it was done to.
    pub object: String,
    /// Why.
    pub source: io::Error,
}

/// Result with [`SysError`].
pub type Result<T> = std::result::Result<T, SysError>;

impl SysError {
    pub(crate) fn new(call: &'static str, object: impl Into<String>, source: impl Into<io::Error>) -> SysError {
        SysError { call, object: object.into(), source: source.into() }
    }

    pub(crate) fn last(call: &'static str, object: impl Into<String>) -> SysError {
        SysError::new(call, object, io::Error::last_os_error())
    }

    /// The errno, if the kernel gave one.
    pub fn errno(&self) -> Option<i32> {
        self.source.raw_os_error()
    }
}

/// An error and its sources in one line; a source that the error before it has told already is not told twice.
pub fn chain(err: &dyn std::error::Error) -> String {
    let mut text = err.to_string();
    let mut source = err.source();
    while let Some(inner) = source {
        let told = inner.to_string();
        if !text.ends_with(&told) {
            text.push_str(": ");
            text.push_str(&told);
        }
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("mounting the root")]
    struct Outer(#[source] SysError);

    #[test]
    fn each_source_is_told_once() {
        let error = Outer(SysError::new("mount", "/sysroot", io::Error::other("no such device")));
        assert_eq!(chain(&error), "mounting the root: mount /sysroot: no such device");
    }
}
