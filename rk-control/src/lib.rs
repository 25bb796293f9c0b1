//! `rk-control`: a whole Kubernetes control plane in one process.
//!
//! It keeps its state in `--data-dir` (PKI, SQLite) or in etcd, serves the API at once, and then starts scheduler and
//! controllers as in-process clients of it. Everything can be killed at any moment and started again.

mod args;
mod audit;
mod components;
mod encryption;
mod flags;
mod listen;
mod ranges;
mod renewal;
mod serve;
mod snapshot;
mod storage;
mod vip;

use anyhow::Context;
use std::process::ExitCode;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Does what the command line asks for: serve, or a command on the database.
pub fn main() -> ExitCode {
    rk_panics::end_the_process();
    if let Some(command) = snapshot::Command::asked_for() {
        return command.run();
    }
    let read = flags::read(std::env::args_os()).unwrap_or_else(|error| error.exit());
    // By targets alone: nothing here has spans to filter by, and a filter of their fields brings an engine for patterns.
    let asked: Option<Targets> = std::env::var("RK_LOG").ok().and_then(|text| text.parse().ok());
    let filter = asked.unwrap_or_else(|| Targets::new().with_default(tracing::Level::INFO));
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(terminal).with_target(false);
    tracing_subscriber::registry().with(filter).with(lines).init();
    match run(read) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rk-control: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// After how many turns of tasks a thread looks for what came in. A turn that tells the hundred watchers of a connection takes up to a
/// millisecond: by the runtime's own 61, requests would wait until thousands have been told.
const LOOK_EVERY: u32 = 8;

/// How many threads serve, unless one is told: as many as there are processors, since an event for a thousand watchers is work for all of
/// them. Two at least, so that one long answer does not hold up the others; eight at most, since each costs memory.
fn workers(processors: usize) -> usize {
    processors.clamp(2, 8)
}

fn run(read: flags::Read) -> anyhow::Result<()> {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = read.args.threads.unwrap_or(workers(processors)).max(1);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .event_interval(LOOK_EVERY)
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    let result = runtime.block_on(serve::serve(read));
    // Blocking store calls may still run; they are crash-safe, so they need not be waited for.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    result
}

#[cfg(test)]
mod tests {
    use super::workers;

    #[test]
    fn as_many_threads_serve_as_there_are_processors_within_bounds() {
        assert_eq!([1, 2, 3, 8, 64].map(workers), [2, 2, 3, 8, 8]);
    }
}
