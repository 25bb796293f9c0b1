//! A panic ends the process (ADR 0295), in programs that were built to unwind as well.
//!
//! Tests need unwinding, and what they boot shares its crates with them (ADR 0298). Without this, a task of such a program would
//! die unseen where that of a released one takes its process along.

/// From now on a panic of any thread ends the process, by `SIGABRT`, once its message was told. Where the compiler does so
/// itself, nothing changes.
pub fn end_the_process() {
    if cfg!(panic = "unwind") {
        let tell = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            tell(info);
            std::process::abort();
        }));
    }
}
