//! A machine whose operator restarts it, where nobody stands by to switch it on again.

use super::{boot_as, folder, paper};
use rk_tests::{Operator, artifacts, limit};

#[test]
fn a_machine_that_is_told_to_restart_comes_back_by_itself_as_those_of_up_do() {
    let dir = folder("restart");
    let config = paper(&Operator::new(&artifacts(), &dir), &dir);
    let mut guest = boot_as("restart", &dir, Some(&config), &[], |spec| spec.restarts = true);
    guest.answers();
    let mark = guest.vm.console().mark();
    guest.rkctl(&["node", "reboot", "--no-drain"]).good();
    for words in ["reboot asked by the machine API", "ready for its config", "config accepted"] {
        guest.vm.wait_console_from(mark, words, limit(60)).unwrap_or_else(|err| panic!("{err}"));
    }
    guest.answers();
    assert!(guest.vm.ended().is_none(), "the machine went down");
}
