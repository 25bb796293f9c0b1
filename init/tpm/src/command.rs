//! Commands as bytes: big-endian, sizes before what they count.

const NO_SESSIONS: u16 = 0x8001;
const SESSIONS: u16 = 0x8002;
/// Authorization by a password, which is empty here.
const PASSWORD: u32 = 0x4000_0009;

/// A command that is being written.
pub(crate) struct Command {
    pub(crate) name: &'static str,
    code: u32,
    handles: Vec<u8>,
    session: Option<u32>,
    parameters: Buffer,
}

/// Bytes that grow.
#[derive(Default, Clone)]
pub(crate) struct Buffer(pub(crate) Vec<u8>);

impl Buffer {
    pub(crate) fn u8(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    pub(crate) fn u16(&mut self, value: u16) -> &mut Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(crate) fn u32(&mut self, value: u32) -> &mut Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// A `TPM2B`: its size in two bytes, then itself. Ours are far below 64 KiB; more would be cut, and refused by the TPM.
    pub(crate) fn sized(&mut self, bytes: &[u8]) -> &mut Self {
        let size = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        self.u16(size).raw(bytes.get(..usize::from(size)).unwrap_or_default())
    }

    pub(crate) fn built(fill: impl FnOnce(&mut Buffer)) -> Vec<u8> {
        let mut buffer = Buffer::default();
        fill(&mut buffer);
        buffer.0
    }
}

impl Command {
    /// A command on these objects.
    pub(crate) fn new(name: &'static str, code: u32, handles: &[u32]) -> Command {
        let handles = handles.iter().flat_map(|handle| handle.to_be_bytes()).collect();
        Command { name, code, handles, session: None, parameters: Buffer::default() }
    }

    /// Authorized by an empty password.
    pub(crate) fn by_password(mut self) -> Self {
        self.session = Some(PASSWORD);
        self
    }

    /// Authorized by a policy session, which ends with it.
    pub(crate) fn by_session(mut self, session: u32) -> Self {
        self.session = Some(session);
        self
    }

    /// Writes its parameters.
    pub(crate) fn with(mut self, fill: impl FnOnce(&mut Buffer)) -> Self {
        fill(&mut self.parameters);
        self
    }

    /// Whether the response has a size before its parameters.
    pub(crate) fn has_session(&self) -> bool {
        self.session.is_some()
    }

    /// The whole command.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = Buffer::default();
        body.raw(&self.handles);
        if let Some(session) = self.session {
            // Session, no nonce, no attributes, no HMAC.
            body.u32(9).u32(session).u16(0).u8(0).u16(0);
        }
        body.raw(&self.parameters.0);
        let mut command = Buffer::default();
        let tag = if self.session.is_some() { SESSIONS } else { NO_SESSIONS };
        let size = u32::try_from(body.0.len() + 10).unwrap_or(u32::MAX);
        command.u16(tag).u32(size).u32(self.code).raw(&body.0);
        command.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_counts_itself_and_names_its_session() {
        let plain = Command::new("flush", 0x165, &[]).with(|p| {
            p.u32(0x8000_0000);
        });
        let plain = plain.encode();
        assert_eq!(plain, [0x80, 1, 0, 0, 0, 14, 0, 0, 1, 0x65, 0x80, 0, 0, 0]);
        let authorized = Command::new("unseal", 0x15e, &[0x8000_0001]).by_password().encode();
        assert_eq!(authorized.len(), 10 + 4 + 4 + 9);
        assert_eq!(authorized.get(14..23), Some([0, 0, 0, 9, 0x40, 0, 0, 9, 0].as_slice()));
    }
}
