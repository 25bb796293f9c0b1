//! URLs for streaming sessions, after what is wrong with a request was said.

use rk_cri_api::v1::*;
use rk_streaming::ExecOptions;

use super::Service;
use crate::error::{Error, Result};
use crate::exec;
use crate::record::Phase;
use crate::streaming::Wish;

fn checked(options: ExecOptions) -> Result<ExecOptions> {
    if options.tty && options.stderr {
        return Err(Error::Invalid("tty and stderr cannot both be true".into()));
    }
    if !options.stdin && !options.stdout && !options.stderr {
        return Err(Error::Invalid("one of stdin, stdout, or stderr must be set".into()));
    }
    Ok(options)
}

impl Service {
    pub(super) fn exec_url(&self, request: ExecRequest) -> Result<String> {
        let record = exec::running(&self.0, &request.container_id)?;
        if request.cmd.is_empty() {
            return Err(Error::Invalid("the command is empty".into()));
        }
        let options = checked(ExecOptions {
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            tty: request.tty,
        })?;
        self.0.tickets.issue(Wish::Exec { container: record.id, cmd: request.cmd, options })
    }

    pub(super) fn attach_url(&self, request: AttachRequest) -> Result<String> {
        let record = exec::running(&self.0, &request.container_id)?;
        let options = checked(ExecOptions {
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            tty: request.tty,
        })?;
        if options.tty != record.config.tty {
            return Err(Error::Invalid(format!("container {:?} was made with tty: {}", record.id, record.config.tty)));
        }
        self.0.tickets.issue(Wish::Attach { container: record.id, options })
    }

    pub(super) fn port_forward_url(&self, request: PortForwardRequest) -> Result<String> {
        let record = self.0.tables.sandbox(&request.pod_sandbox_id)?.get();
        if record.phase != Phase::Ready {
            return Err(Error::State(format!("sandbox {:?} is not running", record.id)));
        }
        let ports = request
            .port
            .iter()
            .map(|port| u16::try_from(*port).map_err(|_| Error::Invalid(format!("{port} is not a port"))));
        let ports = ports.collect::<Result<Vec<_>>>()?;
        self.0.tickets.issue(Wish::PortForward { sandbox: record.id, ports })
    }
}
