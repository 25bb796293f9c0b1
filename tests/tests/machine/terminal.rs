//! What `rkctl` is to somebody at a terminal: a page about a node, and words that the shell completes.

use super::running;
use rk_image::Program;
use rk_tests::{Operator, artifacts, folder, limit};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// As bash calls it when somebody types the first letters of a verb and the tabulator.
const BASH: &str = "source ./rkctl.bash; complete -p rkctl; COMP_WORDS=(rkctl node reb); COMP_CWORD=2; \
                    _rkctl rkctl reb node; echo \"completed: ${COMPREPLY[*]}\"";
/// fish tells what it would offer there. Its own functions are where it was unpacked.
const FISH: &str = "set -g fish_function_path ROOT/usr/share/fish/functions; source ./rkctl.fish; \
                    echo completed: (complete -C 'rkctl node reb')";
/// zsh completes in a terminal alone. At this key it shows the line as it is then, and ends.
const ZSHRC: &str = r#"
module_path=(ROOT/usr/lib/x86_64-linux-gnu/zsh/*(/))
fpath=(ROOT/usr/share/zsh/functions/**/*(/))
autoload -U compinit
compinit -D -u
source ./rkctl.zsh
show() { print -r -- "completed: $BUFFER"; exit }
zle -N show
bindkey '^G' show
PROMPT='ready> '
"#;
const ZSH_KEYS: &str = "rkctl node reb\t\u{7}";

/// What a command shows in a terminal until it ends, if somebody types these keys once all the words are there.
fn typed(dir: &Path, keys: &str, words: &[&str], command: &Command) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/machine/terminal.py");
    let mut python = Command::new("python3");
    python.arg("-B").arg(script).arg(limit(60).as_secs().to_string()).arg(keys).args(words).arg("--");
    python.arg(command.get_program()).args(command.get_args());
    let output = said(dir, &mut python);
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{shown}\n{}", String::from_utf8_lossy(&output.stderr));
    shown
}

/// Runs a command at home in the folder.
fn said(dir: &Path, command: &mut Command) -> Output {
    command
        .current_dir(dir)
        .env_remove("RKCTL_CONFIG")
        .env_remove("ZDOTDIR")
        .env("HOME", dir)
        .output()
        .expect("a program")
}

/// A shell that no machine of tests need have, and the folder that it is unpacked in.
fn unpacked(shell: &str) -> (Command, PathBuf) {
    let root = artifacts().closures.join(shell);
    let program = Program::Unpacked { root: root.clone(), path: Path::new("usr/bin").join(shell) };
    (program.command().expect("cargo xtask test machine unpacks it"), root)
}

#[test]
fn a_dashboard_fills_the_terminal_and_leaves_it_as_it_was() {
    let guest = running("dashboard");
    let mut command = Command::new(artifacts().binaries.join("rkctl"));
    command.args(["--timeout", "120", "-n", &guest.node, "dashboard"]);
    let words = ["services", "memory", "processors", "health", "events", "netd", "WRONG", "ends"];
    let shown = typed(&guest.dir, "q", &words, &command);
    // The other screen while it runs, and back at its end.
    let (there, back) = (shown.find("\u{1b}[?1049h"), shown.rfind("\u{1b}[?1049l"));
    assert!(there.is_some() && there < back, "{shown:?}");
}

#[test]
fn the_shell_completes_verbs() {
    let dir = folder("machine", "completion");
    let operator = Operator::new(&artifacts(), &dir);
    for shell in ["bash", "zsh", "fish"] {
        let script = operator.run(&["completion", shell]).good();
        std::fs::write(dir.join(format!("rkctl.{shell}")), script).expect("script");
    }
    let completed = |output: &Output, line: &str| {
        let out = String::from_utf8_lossy(&output.stdout);
        assert!(out.contains(line), "{line}: {out}{}", String::from_utf8_lossy(&output.stderr));
    };
    let output = said(&dir, Command::new("bash").args(["-c", BASH]));
    completed(&output, "-F _rkctl rkctl");
    completed(&output, "completed: reboot");
    let (mut fish, root) = unpacked("fish");
    let script = FISH.replace("ROOT", &root.display().to_string());
    completed(&said(&dir, fish.args(["--no-config", "-c", &script])), "completed: reboot\t");
    let (mut zsh, root) = unpacked("zsh");
    std::fs::write(dir.join(".zshrc"), ZSHRC.replace("ROOT", &root.display().to_string())).expect(".zshrc");
    let shown = typed(&dir, ZSH_KEYS, &["ready> "], zsh.args(["-d", "-i"]));
    assert!(shown.contains("completed: rkctl node reboot "), "{shown:?}");
}
