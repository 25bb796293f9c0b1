//! When PID 1 itself cannot go on.

use crate::console;
use rk_sys::End;
use std::convert::Infallible;
use std::process::ExitCode;
use std::time::Duration;

/// Time to read the reason on a screen before the machine starts again.
const BEFORE_REBOOT: Duration = Duration::from_secs(10);
/// The same where nothing else is there to boot: a machine must not start for ever.
const HOPELESS: Duration = Duration::from_secs(600);

/// A panic of PID 1 is a kernel panic; this makes the reason the last thing on the console.
pub fn tell_panics_on_the_console() {
    std::panic::set_hook(Box::new(|info| {
        let text = format!("rk: PID 1 panicked, this is a bug in rk-init: {info}");
        console::line(&text);
        console::tell_kernel(&text);
        rk_sys::sync_disks();
    }));
}

/// Says why there is no way on and reboots: the image is broken, and another slot or medium may not be.
pub fn give_up(step: &str, err: &dyn std::error::Error) -> ExitCode {
    give_up_after(BEFORE_REBOOT, step, err)
}

/// As [`give_up`], where to start again will most likely find the same: not soon, but a disk may come back.
pub fn give_up_slowly(step: &str, err: &dyn std::error::Error) -> ExitCode {
    give_up_after(HOPELESS, step, err)
}

fn give_up_after(wait: Duration, step: &str, err: &dyn std::error::Error) -> ExitCode {
    console::line(&format!("rk: cannot boot: {step}: {}", console::chain(err)));
    console::line(&format!("rk: rebooting in {} s", wait.as_secs()));
    std::thread::sleep(wait);
    let Err(err): Result<Infallible, _> = rk_sys::end_machine(End::Reboot);
    console::line(&format!("rk: {}", console::chain(&err)));
    ExitCode::FAILURE
}
