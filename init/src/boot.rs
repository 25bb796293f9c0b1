//! The second stage: from a bare root to the loop of PID 1.

use crate::console::Journal;
use crate::pid1::{Machine, Settings};
use crate::slots::Slots;
use crate::storage::Storage;
use crate::{
    boots, cgroups, clock, console, crash, datadisk, etc, failure, limits, lockdown, minimum, mounts, reset, stage1,
    sysctls, trial, watchdog,
};
use std::fs;
use std::path::Path;
use std::process::ExitCode;

/// Logs of our own services.
const LOG_DIR: &str = "/var/log/rk";
/// A kernel command line is at most 2048 bytes on this architecture; files of `/proc` are trusted to be so.
const CMDLINE: &str = "/proc/cmdline";

/// Prepares the machine and runs it until its end.
pub fn run() -> ExitCode {
    let mut journal = Journal::default();
    let signals = match rk_sys::SignalQueue::open() {
        Ok(signals) => signals,
        Err(err) => return failure::give_up("hearing signals", &err),
    };
    mounts::mount_all(&mut journal);
    // Before anything is dated: files and certificates.
    clock::raise(&mut journal);
    journal.check("hearing ctrl-alt-del", rk_sys::route_ctrl_alt_del_to_init());
    // rk-node and the proxy read settings that appear with the links; nothing is up yet.
    sysctls::apply(&mut journal);
    lockdown::lock(&mut journal);
    limits::raise(&mut journal);
    cgroups::prepare(&mut journal);
    let cmdline = fs::read_to_string(CMDLINE).unwrap_or_default();
    let mut storage = Storage::default();
    storage.mount(&mut journal, &cmdline, None);
    journal.open(Path::new(LOG_DIR));
    let slots = Slots::find(&mut journal, &cmdline);
    let machine_id = settle(&mut journal, &mut storage, &cmdline, slots.as_ref());
    let began = std::env::var(stage1::BEGAN).unwrap_or_else(|_| "?".to_owned());
    journal.say(format_args!(
        "rk {} ready for its config after {} ms (pid 1 began at {began} ms)",
        env!("CARGO_PKG_VERSION"),
        rk_sys::boot_millis()
    ));
    let settings = Settings {
        log_filter: rk_config::cmdline_value(&cmdline, "rk.log").map(str::to_owned),
        debug: rk_config::cmdline_value(&cmdline, "rk.debug").is_some(),
        no_maintenance: rk_config::cmdline_value(&cmdline, "rk.maintenance") == Some("off"),
        watchdog: watchdog::patience(rk_config::cmdline_value(&cmdline, "rk.watchdog")),
        trial_limit: rk_config::cmdline_value(&cmdline, "rk.trial")
            .and_then(|seconds| seconds.parse::<u64>().ok())
            .map_or(trial::LIMIT, |seconds| seconds.saturating_mul(1000)),
        log_dir: Path::new(LOG_DIR).to_owned(),
        machine_id,
        cmdline,
    };
    let end = Machine::new(journal, signals, settings, slots, storage).run();
    // Only reached when the machine could not be ended: PID 1 must not return.
    console::line(&format!("rk: {}; the machine can be switched off", console::chain(&end)));
    loop {
        std::thread::park();
    }
}

/// What is done once STATE and DATA are mounted: when the machine starts, or when it is unlocked. Answers the machine's id.
pub fn settle(journal: &mut Journal, storage: &mut Storage, cmdline: &str, slots: Option<&Slots>) -> String {
    if storage.locked.is_empty() {
        if reset::carry_out(journal, slots.map(Slots::disk), storage) {
            storage.mount(journal, cmdline, None);
            datadisk::make_dirs(journal);
            journal.open(Path::new(LOG_DIR));
        }
        boots::count(journal);
        if slots.is_some_and(|slots| !slots.on_trial()) {
            minimum::raise(journal);
        }
        crash::collect(journal);
    }
    etc::populate(journal)
}
