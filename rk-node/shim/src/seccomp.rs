//! OCI seccomp profiles to BPF programs, and their installation.
//!
//! A filter of `seccompiler` knows two actions, a profile many. The kernel runs every installed filter and takes the most
//! restrictive answer, so a profile becomes one filter that lets everything named pass and gives the default to the rest, and one
//! more per other action that gives it to what it names and lets the rest pass.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompOperator as Op, LinuxSyscall,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

use crate::syscalls;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Compiles `profile` to the filters that together enforce it, in the order in which to install them. Names that the kernel does
/// not have are skipped, as the reference runtime does; anything else that cannot be enforced is an error.
pub fn compile(profile: &LinuxSeccomp) -> Result<Vec<BpfProgram>> {
    let default = action(profile.default_action(), profile.default_errno_ret())?;
    let mut named = Rules::new();
    let mut others: Vec<(SeccompAction, Rules)> = Vec::new();
    for rule in profile.syscalls().iter().flatten() {
        let wanted = action(rule.action(), rule.errno_ret())?;
        if wanted != default {
            add(&mut named, rule)?;
        }
        if wanted != SeccompAction::Allow && wanted != default {
            match others.iter_mut().find(|(known, _)| *known == wanted) {
                Some((_, rules)) => add(rules, rule)?,
                None => {
                    let mut rules = Rules::new();
                    add(&mut rules, rule)?;
                    others.push((wanted, rules));
                }
            }
        }
    }
    let mut filters = Vec::new();
    if default != SeccompAction::Allow {
        filters.push(program(named, default, SeccompAction::Allow)?);
    }
    for (wanted, rules) in others {
        if !rules.is_empty() {
            filters.push(program(rules, SeccompAction::Allow, wanted)?);
        }
    }
    // The last one installed must still let the earlier ones' installation calls pass; so the strictest, the first, goes last.
    filters.reverse();
    Ok(filters)
}

fn program(rules: Rules, mismatch: SeccompAction, matched: SeccompAction) -> Result<BpfProgram> {
    let filter =
        SeccompFilter::new(rules, mismatch, matched, TargetArch::x86_64).context("build the seccomp filter")?;
    BpfProgram::try_from(filter).context("compile the seccomp filter")
}

fn action(action: Action, errno: Option<u32>) -> Result<SeccompAction> {
    Ok(match action {
        Action::ScmpActAllow => SeccompAction::Allow,
        Action::ScmpActErrno => SeccompAction::Errno(errno.unwrap_or(libc::EPERM as u32)),
        Action::ScmpActKill | Action::ScmpActKillThread => SeccompAction::KillThread,
        Action::ScmpActKillProcess => SeccompAction::KillProcess,
        Action::ScmpActTrap => SeccompAction::Trap,
        Action::ScmpActLog => SeccompAction::Log,
        Action::ScmpActTrace => SeccompAction::Trace(errno.unwrap_or(libc::EPERM as u32)),
        Action::ScmpActNotify => bail!("seccomp action SCMP_ACT_NOTIFY is not supported: remove it from the profile"),
    })
}

fn add(rules: &mut Rules, rule: &LinuxSyscall) -> Result<()> {
    let conditions = conditions(rule.args().as_deref().unwrap_or_default())?;
    for number in rule.names().iter().filter_map(|name| syscalls::number(name)) {
        let entry = rules.entry(number);
        if conditions.is_empty() {
            // An empty list of rules means "always".
            entry.or_default().clear();
        } else {
            let always =
                matches!(&entry, std::collections::btree_map::Entry::Occupied(known) if known.get().is_empty());
            if !always {
                entry.or_default().push(SeccompRule::new(conditions.clone())?);
            }
        }
    }
    Ok(())
}

fn conditions(args: &[LinuxSeccompArg]) -> Result<Vec<SeccompCondition>> {
    args.iter()
        .map(|arg| {
            let (op, value) = match arg.op() {
                Op::ScmpCmpNe => (SeccompCmpOp::Ne, arg.value()),
                Op::ScmpCmpLt => (SeccompCmpOp::Lt, arg.value()),
                Op::ScmpCmpLe => (SeccompCmpOp::Le, arg.value()),
                Op::ScmpCmpEq => (SeccompCmpOp::Eq, arg.value()),
                Op::ScmpCmpGe => (SeccompCmpOp::Ge, arg.value()),
                Op::ScmpCmpGt => (SeccompCmpOp::Gt, arg.value()),
                // OCI: `value` is the mask, `valueTwo` what must remain.
                Op::ScmpCmpMaskedEq => (SeccompCmpOp::MaskedEq(arg.value()), arg.value_two().unwrap_or(0)),
            };
            let index = u8::try_from(arg.index()).context("seccomp argument index is out of range 0-5")?;
            SeccompCondition::new(index, SeccompCmpArgLen::Qword, op, value).context("seccomp argument condition")
        })
        .collect()
}

/// Installs `filters` on the calling thread. Needs CAP_SYS_ADMIN or no_new_privs; unlike `seccompiler::apply_filter` it does not
/// set the latter, which would disarm set-user-id programs in a container that may have them.
pub fn install(filters: &[BpfProgram]) -> std::io::Result<()> {
    for filter in filters {
        let program = libc::sock_fprog {
            len: u16::try_from(filter.len()).map_err(|_| std::io::ErrorKind::InvalidInput)?,
            filter: filter.as_ptr().cast_mut().cast(),
        };
        // SAFETY: `program` points at `len` instructions that outlive the call (both layouts are the kernel's `sock_filter`); the
        // kernel copies and verifies them.
        let rc = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
        if rc != 0 {
            return Err(std::io::Error::last_os_error());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(json: &str) -> LinuxSeccomp {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_profile_becomes_one_filter_per_action_that_differs_from_allow() {
        for (json, filters) in [
            (r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#, 0),
            (
                r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read","nosuchcall"],"action":"SCMP_ACT_ALLOW"}]}"#,
                1,
            ),
            (
                r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW"},
                   {"names":["clone3"],"action":"SCMP_ACT_ERRNO","errnoRet":38}]}"#,
                2,
            ),
            (r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_ERRNO"}]}"#, 1),
        ] {
            assert_eq!(compile(&profile(json)).unwrap().len(), filters, "{json}");
        }
    }

    #[test]
    fn notify_is_refused_rather_than_ignored() {
        let json = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_NOTIFY"}]}"#;
        assert!(compile(&profile(json)).unwrap_err().to_string().contains("SCMP_ACT_NOTIFY"));
    }

    #[test]
    fn an_installed_filter_answers_with_the_errno_asked_for() {
        let json = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
            {"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":38},
            {"names":["personality"],"action":"SCMP_ACT_ERRNO","args":[{"index":0,"value":8,"op":"SCMP_CMP_EQ"}]}]}"#;
        let filters = compile(&profile(json)).unwrap();
        // A thread of its own: filters cannot be taken off again.
        let seen = std::thread::spawn(move || {
            // SAFETY: prctl with constant arguments; only this thread is concerned.
            unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
            install(&filters).unwrap();
            let made = std::fs::create_dir("/tmp/never").unwrap_err().raw_os_error();
            // SAFETY: personality takes no pointers; 0xffffffff only queries.
            let (denied, asked) = unsafe { (libc::personality(8), libc::personality(0xffff_ffff)) };
            (made, denied, asked >= 0)
        })
        .join()
        .unwrap();
        assert_eq!(seen, (Some(libc::ENOSYS), -1, true));
    }
}
