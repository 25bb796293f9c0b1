//! A config on trial that cuts its machine off: nobody can reach it to take the config back, and a minute later it is there again.

use super::running;
use rk_tests::exit::UNREACHABLE;
use rk_tests::{eventually, limit};
use std::time::{Duration, Instant};

/// An address of a network that is nowhere, instead of the one by DHCP to which the way in leads.
const LOST: &str = "network: {interfaces: [{match: {name: eth0}, addresses: [10.99.0.2/24]}]}";
/// How long a trial lasts unless somebody says otherwise.
const TRIAL: Duration = Duration::from_secs(60);

#[test]
fn a_config_on_trial_that_cuts_its_machine_off_is_taken_back_after_a_minute_by_the_machine_itself() {
    let mut guest = running("lost");
    let soon = |words: &[&str]| guest.operator.run(&[&["--timeout", "10", "-n", &guest.node], words].concat());
    let begun = Instant::now();
    // Its answer may be the first thing that the cut takes.
    let told = soon(&["node", "config", "patch", "--try", LOST]);
    eventually("nobody to answer", limit(40), || {
        let outcome = soon(&["node", "version"]);
        if outcome.code == UNREACHABLE { Ok(()) } else { Err(format!("{outcome:?} after {told:?}")) }
    });
    let taken = guest.vm.wait_console("taken back", TRIAL + limit(30));
    taken.unwrap_or_else(|err| panic!("{err}"));
    assert!(begun.elapsed() >= TRIAL, "it was taken back after {:?}", begun.elapsed());
    guest.answers();
    let config = guest.rkctl(&["node", "config", "get"]).good();
    assert!(!config.contains("10.99.0.2"), "{config}");
    let links = guest.rkctl(&["node", "interfaces"]).good();
    assert!(links.contains("10.0.2.15/24") && !links.contains("10.99.0.2"), "{links}");
}
