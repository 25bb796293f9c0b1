//! QEMU's machine protocol (QMP): JSON lines over a unix socket.

use crate::{Error, Result};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// QEMU answers at once; this bounds a monitor that is stuck.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// Longest line of the protocol that is read.
const MAX_LINE: u64 = 1 << 20;

/// One connection to a machine's monitor. QEMU serves one at a time: keep it short.
pub struct Qmp {
    stream: BufReader<UnixStream>,
}

impl Qmp {
    /// Connects and negotiates.
    pub fn connect(socket: &Path) -> Result<Qmp> {
        let stream = UnixStream::connect(socket).map_err(Error::file("connect to", socket))?;
        stream.set_read_timeout(Some(ANSWER_LIMIT)).map_err(Error::file("set up", socket))?;
        let mut qmp = Qmp { stream: BufReader::new(stream) };
        qmp.line("greeting")?;
        qmp.execute("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Runs one command and answers its return value.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let mut text = json!({"execute": command, "arguments": arguments}).to_string();
        text.push('\n');
        let refused = |reason: String| Error::Qmp { command: command.to_owned(), reason };
        self.stream.get_mut().write_all(text.as_bytes()).map_err(|e| refused(e.to_string()))?;
        loop {
            let answer = self.line(command)?;
            if let Some(value) = answer.get("return") {
                return Ok(value.clone());
            }
            if let Some(error) = answer.get("error") {
                return Err(refused(error.get("desc").and_then(Value::as_str).unwrap_or("refused").to_owned()));
            }
        }
    }

    fn line(&mut self, command: &str) -> Result<Value> {
        let failed = |reason: String| Error::Qmp { command: command.to_owned(), reason };
        let mut line = String::new();
        let read =
            std::io::Read::take(&mut self.stream, MAX_LINE).read_line(&mut line).map_err(|e| failed(e.to_string()))?;
        if read == 0 {
            return Err(failed("the monitor closed the connection".into()));
        }
        serde_json::from_str(&line).map_err(|e| failed(format!("unreadable answer: {e}")))
    }

    /// What a screen in VGA's text mode shows, in lines of 80 columns, below what scrolled off it. By way of `file`, which QEMU writes.
    pub fn screen(&mut self, file: &Path) -> Result<String> {
        self.execute("pmemsave", json!({"val": TEXT_MEMORY, "size": TEXT_BYTES, "filename": file}))?;
        std::fs::read(file).map(|bytes| text_of(&bytes)).map_err(Error::file("read", file))
    }

    /// Presses the power button: the guest shuts down by itself.
    pub fn powerdown(&mut self) -> Result<()> {
        self.execute("system_powerdown", json!({})).map(drop)
    }

    /// Ends QEMU at once.
    pub fn quit(&mut self) -> Result<()> {
        self.execute("quit", json!({})).map(drop)
    }

    /// Plugs the cable of a network card in or out; cards count from zero, an uplink is [`UPLINK`].
    pub fn set_link(&mut self, netdev: &str, up: bool) -> Result<()> {
        self.execute("set_link", json!({"name": netdev, "up": up})).map(drop)
    }

    /// Forwards a TCP port of the host (`host`) to `guest_port` through the uplink.
    pub fn forward(&mut self, host: SocketAddr, guest_port: u16) -> Result<()> {
        let line = format!("hostfwd_add {UPLINK} tcp:{}:{}-:{guest_port}", host.ip(), host.port());
        let answer = self.execute("human-monitor-command", json!({"command-line": line}))?;
        match answer.as_str().unwrap_or_default().trim() {
            "" => Ok(()),
            said => Err(Error::Qmp { command: line, reason: said.to_owned() }),
        }
    }
}

/// Where the text of a VGA card lies, and how much memory it has.
const TEXT_MEMORY: u64 = 0xb8000;
const TEXT_BYTES: u64 = 0x8000;
const COLUMNS: usize = 80;

/// Every other byte is a character, the next one its colours.
fn text_of(memory: &[u8]) -> String {
    let shown = |byte: &u8| if (b' '..=b'~').contains(byte) { char::from(*byte) } else { ' ' };
    let cells: Vec<char> = memory.iter().step_by(2).map(shown).collect();
    cells.chunks(COLUMNS).map(|line| line.iter().collect::<String>().trim_end().to_owned() + "\n").collect()
}

/// The id of the uplink's netdev in every machine of ours.
pub const UPLINK: &str = "uplink";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_screen_is_every_other_byte_in_lines_of_80() {
        let mut memory: Vec<u8> = [b' ', 7].repeat(2 * COLUMNS);
        for (column, character) in b"rk 1".iter().enumerate() {
            memory[2 * (COLUMNS + column)] = *character;
        }
        memory[0] = 0xdb;
        assert_eq!(text_of(&memory), "\nrk 1\n");
    }
}
