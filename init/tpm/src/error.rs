//! What can go wrong with a TPM, in words for an operator.

/// Why a TPM did not do it.
#[derive(Debug, thiserror::Error)]
pub enum TpmError {
    /// It cannot be spoken with.
    #[error("talking to the TPM: {0}")]
    Io(#[from] std::io::Error),
    /// Its response makes no sense.
    #[error("the TPM's answer to {command} is malformed")]
    Torn {
        /// What it was asked.
        command: &'static str,
    },
    /// It says no.
    #[error("the TPM refuses {command} with code {code:#x}")]
    Refused {
        /// What it was asked.
        command: &'static str,
        /// `TPM_RC`.
        code: u32,
    },
    /// What was sealed belongs to another TPM, or was changed.
    #[error("another TPM sealed the key, or this one was cleared")]
    Foreign,
    /// The measurements are others.
    #[error("the machine's measurements differ from those that the key was sealed to ({which})")]
    Measured {
        /// Which PCRs.
        which: String,
    },
    /// It keeps no measurements of the kind that is asked for.
    #[error("the TPM has no PCR {0} in its SHA-256 bank")]
    NoPcr(u8),
}
