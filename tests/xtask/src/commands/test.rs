//! `test`: every test, each step on a line, the guests' ones one after the other.

use super::TestArgs;
use crate::lint;
use crate::paths::Paths;
use crate::report::{Report, duration};
use crate::run::{ALL, cargo_for_all, tail};
use crate::setup::{self, Profile};
use anyhow::{Context, Result, bail};
use rk_qemu::artifacts::ARTIFACTS_ENV;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

/// The tiers that need built artifacts, in the order in which they say most about what is broken.
const TIERS: [&str; 16] = [
    "api",
    "images",
    "boot",
    "media",
    "slots",
    "machine",
    "node",
    "numa",
    "cri",
    "nodefaults",
    "network",
    "dualstack",
    "cluster",
    "chaos",
    "faults",
    "planes",
];

/// The tiers that run without being asked for, an hour with all that is built before; each run says what it left out.
const USUAL: [&str; 5] = ["host", "api", "boot", "network", "cluster"];
/// In the place of names: all of them.
const ALL_TIERS: &str = "all";

/// How many tests of a binary, or checks, passed and failed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

pub fn run(paths: &Paths, args: &TestArgs) -> Result<ExitCode> {
    if let Some(unknown) =
        args.tiers.iter().find(|t| !["host", ALL_TIERS].contains(&t.as_str()) && !TIERS.contains(&t.as_str()))
    {
        bail!("no tier is named {unknown:?}; there are host, {}, and {ALL_TIERS}", TIERS.join(", "));
    }
    let wanted = |tier: &str| match args.tiers.as_slice() {
        [] => USUAL.contains(&tier),
        named => named.iter().any(|t| t == tier || t == ALL_TIERS),
    };
    let (report, start) = (Report::new(), Instant::now());
    let artifacts = setup::prepare(paths, &report, args.setup.install(), args.setup.accel, Profile::Test)?;
    std::fs::create_dir_all(&artifacts.work).with_context(|| format!("create {}", artifacts.work.display()))?;
    let mut total = Tally::default();
    if wanted("host") {
        total += directions(paths, &report)?;
        let mut command = cargo_for_all(&paths.root);
        // No crate has tests in its documentation, and examples are what benches run: both take minutes to build.
        command.args(["test", "--workspace", "--lib", "--bins", "--tests", "--no-fail-fast"]);
        command.env("RK_ETCD", &artifacts.etcd).env("KUBECTL", &artifacts.kubectl);
        // What the guests run: a test that built its own would build every crate below it anew, with features of its own.
        command.env("RK_CONTROL_BIN", artifacts.binaries.join("rk-control"));
        command.envs(setup::cryptography(paths, &report)?);
        total += suite("host tests", &mut command, &artifacts.work.join("host.log"), &report)?;
    }
    if wanted("media") || wanted("slots") {
        setup::media_for_tests(paths, &report)?;
    }
    if wanted("machine") {
        setup::shells(paths, &report)?;
    }
    for tier in TIERS.into_iter().filter(|t| wanted(t)) {
        let mut command = cargo_for_all(&paths.root);
        command.arg("test").args(ALL).args(["--test", tier]);
        command.args(["--", "--test-threads", "1"]);
        command.env(ARTIFACTS_ENV, paths.artifacts());
        total += suite(&format!("tier {tier}"), &mut command, &artifacts.work.join(format!("{tier}.log")), &report)?;
    }
    let left_out: Vec<&str> = TIERS.into_iter().filter(|tier| !wanted(tier)).collect();
    if !left_out.is_empty() {
        say!("\nnot run: {} (cargo xtask test {})", left_out.join(", "), left_out.join(" "));
    }
    say!("\nall tests took {}; logs are in {}", duration(start.elapsed()), paths.show(&artifacts.work));
    say!("{} passed, {} failed", total.passed, total.failed);
    Ok(if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The dependency directions count as one test.
fn directions(paths: &Paths, report: &Report) -> Result<Tally> {
    report.step("dependency directions", |_| {
        let findings = lint::directions(&lint::Metadata::read(&paths.root)?);
        findings.iter().for_each(|f| say!("{f}"));
        let failed = u64::from(!findings.is_empty());
        let tally = Tally { passed: 1 - failed, failed };
        Ok((tally, note(tally)))
    })
}

/// Runs one `cargo test`, keeps all it says in `log`, and shows the end of it when something failed.
fn suite(name: &str, command: &mut Command, log: &Path, report: &Report) -> Result<Tally> {
    let tally = report.step(name, |_| {
        let file = std::fs::File::create(log).with_context(|| format!("create {}", log.display()))?;
        let twin = file.try_clone().context("log of tests")?;
        let status =
            command.stdin(Stdio::null()).stdout(file).stderr(twin).status().context("cannot run cargo test")?;
        let text = std::fs::read_to_string(log).unwrap_or_default();
        let mut tally = tally(&text);
        // A binary that does not compile or dies says no result; it counts all the same.
        if !status.success() && tally.failed == 0 {
            tally.failed = 1;
        }
        Ok((tally, note(tally)))
    })?;
    if tally.failed > 0 {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        say!("{}\n(all of it: {})", failures(&text), log.display());
    }
    Ok(tally)
}

fn note(tally: Tally) -> String {
    format!("{} passed, {} failed", tally.passed, tally.failed)
}

/// Adds up libtest's `test result:` lines.
fn tally(text: &str) -> Tally {
    let mut sum = Tally::default();
    for line in text.lines().filter(|l| l.starts_with("test result: ")) {
        let number = |word: &str| -> u64 {
            let part = line.split(['.', ';']).find(|p| p.trim_end().ends_with(word));
            part.and_then(|p| p.split_whitespace().next()).and_then(|n| n.parse().ok()).unwrap_or(0)
        };
        sum += Tally { passed: number(" passed"), failed: number(" failed") };
    }
    sum
}

/// What libtest says of each failed test; else the end of the log, for what did not even run.
fn failures(text: &str) -> String {
    let mut told = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("\nfailures:\n\n---- ") {
        let section = rest.get(at..).unwrap_or_default();
        let end = section.find("\ntest result: ").unwrap_or(section.len());
        told.push_str(section.get(..end).unwrap_or_default());
        rest = section.get(end..).unwrap_or_default();
    }
    if told.is_empty() { tail(text) } else { told }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::path::PathBuf;

    const LOG: &str = "running 2 tests\ntest a ... ok\ntest b ... FAILED\n\nfailures:\n\n---- b stdout ----\nboom\n\nfailures:\n    b\n\n\
        test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s\n\
        test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s\n";

    #[test]
    fn results_of_several_binaries_are_added_up() {
        assert_eq!(tally(LOG), Tally { passed: 13, failed: 1 });
    }

    #[test]
    fn what_failed_is_told_with_its_output() {
        let told = failures(LOG);
        assert!(told.contains("boom") && !told.contains("test a"), "{told}");
    }

    /// The name of the test program whose root a file is, as cargo finds it.
    fn program(path: &Path) -> Option<&OsStr> {
        let root = if path.ends_with("main.rs") { path.parent()? } else { path };
        let found = path.extension()? == "rs" && root.parent()?.ends_with("tests");
        if found { root.file_stem() } else { None }
    }

    /// The roots of the test programs of all crates below `dir`.
    fn test_files(dir: &Path, into: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
            let (path, name) = (entry.path(), entry.file_name());
            if entry.file_type().unwrap().is_dir() && name != "target" && !name.to_string_lossy().starts_with('.') {
                test_files(&path, into);
            } else if program(&path).is_some() {
                into.push(path);
            }
        }
    }

    #[test]
    fn programs_are_found_where_cargo_finds_them() {
        let cases = [
            ("a/tests/boot.rs", Some("boot")),
            ("a/tests/boot/main.rs", Some("boot")),
            ("a/tests/boot/mod.rs", None),
            ("a/tests/boot.py", None),
            ("a/src/main.rs", None),
        ];
        for (path, name) in cases {
            assert_eq!(program(Path::new(path)), name.map(OsStr::new), "{path}");
        }
    }

    #[test]
    fn no_other_test_of_the_workspace_is_named_like_a_tier() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
        let mut files = Vec::new();
        test_files(root, &mut files);
        let ours = root.join("tests/tests");
        for tier in TIERS {
            let mut named = files.iter().filter(|path| program(path).is_some_and(|name| name == tier));
            assert!(
                named.all(|path| path.starts_with(&ours)),
                "another crate has a test {tier}, and the tier runs it, too"
            );
        }
        assert!(files.contains(&ours.join("boot.rs")), "they lie elsewhere");
    }

    #[test]
    fn without_a_result_the_end_of_the_log_is_told() {
        assert_eq!(failures("error: could not compile"), "error: could not compile");
    }
}
