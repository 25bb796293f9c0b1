//! `rk-init`: PID 1 of a node, as `rk-init netd` its network daemon, and as `rk-init volume` what opens its encrypted disks.
//!
//! As PID 1 it runs twice. In the initramfs ([`stage1`]) it mounts the erofs root, moves there and runs itself anew. Then
//! ([`boot`]) it mounts the rest, prepares `/etc`, cgroups and kernel settings, and enters the loop ([`pid1`]) that looks for
//! a machine config, supervises `netd`, `rk-control` and `rk-node`, reaps orphans and takes the machine down in order.
//!
//! PID 1 has one thread, parses nothing from the network, and nothing in it may panic: a failed step is told on the console
//! and the next one is tried.

mod adopt;
mod binding;
mod boot;
mod boots;
mod cgroups;
mod clock;
mod console;
mod control;
mod control_plane;
mod crash;
mod crypt;
mod datadisk;
mod discover;
mod esp;
mod etc;
mod events;
mod failure;
mod going_down;
mod grow;
mod integrity;
mod limits;
mod lockdown;
mod logs;
mod minimum;
mod mounts;
mod moving;
mod own_state;
mod page;
mod pid1;
mod rate;
mod reset;
mod root;
mod seed;
mod services;
mod slots;
mod stage1;
mod state;
mod storage;
mod swap;
mod sysctls;
mod trial;
mod volume;
mod watchdog;

use std::process::ExitCode;

fn main() -> ExitCode {
    // The kernel hands words of its command line that it does not know to PID 1 as arguments: they mean nothing here.
    if rk_sys::pid() == 1 {
        failure::tell_panics_on_the_console();
        if stage1::applies() {
            return stage1::run();
        }
        return boot::run();
    }
    match std::env::args().nth(1).as_deref() {
        Some("netd") => rk_netd::run(),
        Some("volume") => volume::run(),
        Some("--version") => {
            console::line(&format!("rk-init {}", env!("CARGO_PKG_VERSION")));
            ExitCode::SUCCESS
        }
        _ => {
            console::line("usage: rk-init netd | volume | --version (as PID 1: no arguments)");
            ExitCode::from(2)
        }
    }
}
