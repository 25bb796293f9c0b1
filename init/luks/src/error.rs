//! What can be wrong with a header.

/// Why a header does not open.
#[derive(Debug, thiserror::Error)]
pub enum LuksError {
    /// The disk cannot be read.
    #[error("reading the header: {0}")]
    Io(#[from] std::io::Error),
    /// Neither copy is whole.
    #[error("neither copy of the LUKS2 header is intact")]
    Torn,
    /// Something in it is not understood.
    #[error("the LUKS2 header asks for {0}, which is not supported here")]
    Unknown(String),
    /// Its text makes no sense.
    #[error("the LUKS2 header is malformed: {0}")]
    Odd(String),
    /// The secret opens no keyslot.
    #[error("no keyslot opens with this passphrase or key")]
    WrongSecret,
    /// All keyslots are taken, or there is no room.
    #[error("the LUKS2 header has no room for another keyslot")]
    Full,
}

pub(crate) fn odd(what: impl std::fmt::Display) -> LuksError {
    LuksError::Odd(what.to_string())
}
