//! Responses as values. All reads are bounded; what is short is torn.

use crate::command::Command;
use crate::{TpmError, Transport};

/// The blob is not one of this TPM's (`TPM_RC_INTEGRITY` of the first parameter), or its parent has another seed.
const INTEGRITY: u32 = 0x09f;
/// A policy is not met: `TPM_RC_POLICY_FAIL`.
const POLICY_FAIL: u32 = 0x09d;
/// The TPM is busy: `TPM_RC_RETRY`.
const RETRY: u32 = 0x922;
/// Tries of a command that the TPM asks to repeat.
const TRIES: usize = 20;

/// What is left to read of a response.
pub(crate) struct Reader<'a> {
    command: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn of(command: &'static str, bytes: &'a [u8]) -> Reader<'a> {
        Reader { command, rest: bytes }
    }

    pub(crate) fn take(&mut self, size: usize) -> Result<&'a [u8], TpmError> {
        let (taken, rest) = self.rest.split_at_checked(size).ok_or(TpmError::Torn { command: self.command })?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, TpmError> {
        Ok(self.take(1)?.first().copied().unwrap_or_default())
    }

    pub(crate) fn u16(&mut self) -> Result<u16, TpmError> {
        let bytes = self.take(2)?.try_into().map_err(|_| TpmError::Torn { command: self.command })?;
        Ok(u16::from_be_bytes(bytes))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, TpmError> {
        let bytes = self.take(4)?.try_into().map_err(|_| TpmError::Torn { command: self.command })?;
        Ok(u32::from_be_bytes(bytes))
    }

    /// A `TPM2B`.
    pub(crate) fn sized(&mut self) -> Result<&'a [u8], TpmError> {
        let size = self.u16()?;
        self.take(usize::from(size))
    }
}

/// What came back: handles are read by the caller first, if the command gives one.
pub(crate) struct Response {
    pub(crate) handle: u32,
    pub(crate) parameters: Vec<u8>,
}

/// Sends a command and reads its response; `handle` says whether it begins with one.
pub(crate) fn ask(tpm: &mut dyn Transport, command: &Command, handle: bool) -> Result<Response, TpmError> {
    let bytes = command.encode();
    let mut response = tpm.exchange(&bytes)?;
    for _ in 1..TRIES {
        if code_of(command.name, &response)? != RETRY {
            break;
        }
        response = tpm.exchange(&bytes)?;
    }
    let mut reader = Reader::of(command.name, &response);
    reader.take(6)?;
    match reader.u32()? {
        0 => {}
        code => return Err(refusal(command.name, code)),
    }
    let handle = if handle { reader.u32()? } else { 0 };
    let parameters = if command.has_session() {
        let size = reader.u32()?;
        reader.take(usize::try_from(size).unwrap_or(usize::MAX))?
    } else {
        reader.rest
    };
    Ok(Response { handle, parameters: parameters.to_vec() })
}

fn code_of(command: &'static str, response: &[u8]) -> Result<u32, TpmError> {
    let mut reader = Reader::of(command, response);
    reader.take(6)?;
    reader.u32()
}

fn refusal(command: &'static str, code: u32) -> TpmError {
    // Of codes of format one, the bits 8 to 11 and 6 say which parameter, handle or session is meant.
    let plain = if code & 0x80 == 0 { code } else { code & 0x0bf };
    match plain {
        INTEGRITY => TpmError::Foreign,
        POLICY_FAIL => TpmError::Measured { which: String::new() },
        _ => TpmError::Refused { command, code },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Says(Vec<u8>);

    impl Transport for Says {
        fn exchange(&mut self, _: &[u8]) -> std::io::Result<Vec<u8>> {
            Ok(self.0.clone())
        }
    }

    fn asked(response: &[u8]) -> Result<Response, TpmError> {
        ask(&mut Says(response.to_vec()), &Command::new("load", 0x157, &[]).by_password(), true)
    }

    #[test]
    fn codes_are_told_whatever_parameter_or_session_they_are_about() {
        let refused = |code: u32| {
            let bytes = [&[0x80, 1, 0, 0, 0, 10], code.to_be_bytes().as_slice()].concat();
            asked(&bytes).err().map(|err| err.to_string()).unwrap_or_default()
        };
        assert!(refused(0x1df).contains("another TPM"));
        assert!(refused(0x99d).contains("measurements differ"));
        assert!(refused(0x101).contains("0x101"));
    }

    #[test]
    fn torn_responses_are_errors_at_every_length() {
        let whole = [0x80, 2, 0, 0, 0, 20, 0, 0, 0, 0, 0x80, 0, 0, 1, 0, 0, 0, 2, 7, 8];
        let good = asked(&whole).expect("a response");
        assert_eq!((good.handle, good.parameters.as_slice()), (0x8000_0001, [7, 8].as_slice()));
        for size in 0..whole.len() {
            assert!(asked(&whole[..size]).is_err(), "{size}");
        }
    }
}
