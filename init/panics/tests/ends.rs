//! A program that panics, run by its own test.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

/// Set for the program that is to panic.
const CHILD: &str = "RK_PANICS_CHILD";
/// What the kernel calls an end by `abort`.
const SIGABRT: i32 = 6;

#[test]
fn a_thread_that_panics_takes_its_process_along() {
    if std::env::var_os(CHILD).is_some() {
        rk_panics::end_the_process();
        let _ = std::thread::spawn(|| panic!("one of many")).join();
        return;
    }
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", "a_thread_that_panics_takes_its_process_along", "--nocapture"]).env(CHILD, "1");
    let out = again.output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.signal(), Some(SIGABRT), "{}: {said}", out.status);
    assert!(said.contains("one of many"), "{said}");
}
