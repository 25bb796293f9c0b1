//! Device access on cgroup v2: a small BPF program per container, made from the OCI rules.
//!
//! cgroup v2 has no `devices` controller; the kernel asks programs of type `BPF_PROG_TYPE_CGROUP_DEVICE` instead, with the kind of
//! access, the kind of device and its numbers. Rules are tried from the last to the first, so that later ones win, and the
//! first that fits decides; what fits none is denied.

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result};
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

/// One instruction, laid out as the kernel's `struct bpf_insn`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Insn {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

const LOAD_WORD: u8 = 0x61; // BPF_LDX | BPF_MEM | BPF_W
const MOVE_REG: u8 = 0xbf; // BPF_ALU64 | BPF_MOV | BPF_X
const MOVE_IMM: u8 = 0xb7; // BPF_ALU64 | BPF_MOV | BPF_K
const AND_IMM: u8 = 0x57; // BPF_ALU64 | BPF_AND | BPF_K
const SHIFT_RIGHT: u8 = 0x77; // BPF_ALU64 | BPF_RSH | BPF_K
const JUMP_NE: u8 = 0x55; // BPF_JMP | BPF_JNE | BPF_K
const EXIT: u8 = 0x95; // BPF_JMP | BPF_EXIT
const DEV_BLOCK: i32 = 1;
const DEV_CHAR: i32 = 2;
const ACCESS_MKNOD: i32 = 1;
const ACCESS_READ: i32 = 2;
const ACCESS_WRITE: i32 = 4;
const ACCESS_ALL: i32 = ACCESS_MKNOD | ACCESS_READ | ACCESS_WRITE;
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_ATTACH: libc::c_long = 8;
const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;

fn insn(code: u8, dst: u8, src: u8, offset: i16, immediate: i32) -> Insn {
    Insn { code, registers: dst | src << 4, offset, immediate }
}

/// The program for `rules`. Registers: r2 kind of device, r3 access asked for, r4 major, r5 minor.
fn program(rules: &[LinuxDeviceCgroup]) -> Vec<Insn> {
    let mut code = vec![
        insn(LOAD_WORD, 2, 1, 0, 0),
        insn(MOVE_REG, 3, 2, 0, 0),
        insn(AND_IMM, 2, 0, 0, 0xffff),
        insn(SHIFT_RIGHT, 3, 0, 0, 16),
        insn(LOAD_WORD, 4, 1, 4, 0),
        insn(LOAD_WORD, 5, 1, 8, 0),
    ];
    for rule in rules.iter().rev() {
        let block = rule_block(rule);
        let always = !block.iter().any(|i| i.code == JUMP_NE);
        code.extend(block);
        if always {
            // The kernel refuses programs with code that is never reached.
            return code;
        }
    }
    code.extend([insn(MOVE_IMM, 0, 0, 0, 0), insn(EXIT, 0, 0, 0, 0)]);
    code
}

fn rule_block(rule: &LinuxDeviceCgroup) -> Vec<Insn> {
    let mut tests: Vec<Insn> = Vec::new();
    let kind = match rule.typ().unwrap_or_default() {
        LinuxDeviceType::B => Some(DEV_BLOCK),
        LinuxDeviceType::C | LinuxDeviceType::U => Some(DEV_CHAR),
        LinuxDeviceType::A | LinuxDeviceType::P => None,
    };
    if let Some(kind) = kind {
        tests.push(insn(JUMP_NE, 2, 0, 0, kind));
    }
    let access = access_bits(rule.access().as_deref().unwrap_or("rwm"));
    if access != ACCESS_ALL {
        // Fits only when nothing outside the rule's access is asked for.
        tests.push(insn(MOVE_REG, 1, 3, 0, 0));
        tests.push(insn(AND_IMM, 1, 0, 0, !access & ACCESS_ALL));
        tests.push(insn(JUMP_NE, 1, 0, 0, 0));
    }
    for (register, number) in [(4, rule.major()), (5, rule.minor())] {
        if let Some(number) = number.and_then(|n| i32::try_from(n).ok()).filter(|n| *n >= 0) {
            tests.push(insn(JUMP_NE, register, 0, 0, number));
        }
    }
    let length = tests.len() + 2;
    for (at, test) in tests.iter_mut().enumerate() {
        if test.code == JUMP_NE {
            // Past the end of this block.
            test.offset = i16::try_from(length - at - 1).unwrap_or(i16::MAX);
        }
    }
    tests.push(insn(MOVE_IMM, 0, 0, 0, i32::from(rule.allow())));
    tests.push(insn(EXIT, 0, 0, 0, 0));
    tests
}

fn access_bits(access: &str) -> i32 {
    access.chars().fold(0, |bits, letter| {
        bits | match letter {
            'r' => ACCESS_READ,
            'w' => ACCESS_WRITE,
            'm' => ACCESS_MKNOD,
            _ => 0,
        }
    })
}

/// Enforces `rules` on everything in the cgroup directory `dir`, from now until the cgroup is removed.
pub fn enforce(dir: &Path, rules: &[LinuxDeviceCgroup]) -> Result<()> {
    let cgroup = File::open(dir).with_context(|| format!("open cgroup {}", dir.display()))?;
    let code = program(rules);
    let loaded = load(&code).context("load the device rules (needs CONFIG_BPF_SYSCALL and CONFIG_CGROUP_BPF)")?;
    attach(&cgroup, &loaded).with_context(|| format!("attach the device rules to {}", dir.display()))
}

/// `union bpf_attr` as far as BPF_PROG_LOAD reads it here; the kernel takes what is left out as zero.
#[repr(C)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
}

#[repr(C)]
struct AttachAttr {
    target_fd: u32,
    prog_fd: u32,
    attach_type: u32,
    flags: u32,
}

fn load(code: &[Insn]) -> std::io::Result<OwnedFd> {
    let attr = LoadAttr {
        prog_type: PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: u32::try_from(code.len()).map_err(|_| std::io::ErrorKind::InvalidInput)?,
        insns: code.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
    };
    // SAFETY: `attr` is valid for its size during the call and points at `insn_cnt` instructions and a terminated string; the
    // kernel verifies the program.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const attr, size_of::<LoadAttr>()) };
    let fd = i32::try_from(fd).map_err(|_| std::io::ErrorKind::InvalidData)?;
    if fd < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn attach(cgroup: &File, program: &OwnedFd) -> std::io::Result<()> {
    let attr = AttachAttr {
        target_fd: cgroup.as_raw_fd() as u32,
        prog_fd: program.as_raw_fd() as u32,
        attach_type: ATTACH_CGROUP_DEVICE,
        flags: 0,
    };
    // SAFETY: `attr` is valid for its size during the call and holds no pointers.
    let rc = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_ATTACH, &raw const attr, size_of::<AttachAttr>()) };
    if rc != 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(json: &str) -> Vec<LinuxDeviceCgroup> {
        serde_json::from_str(json).unwrap()
    }

    /// Runs a program as the kernel would for one access.
    fn decide(code: &[Insn], kind: i32, access: i32, major: i32, minor: i32) -> bool {
        let mut regs = [0i64; 6];
        let mut at = 0usize;
        loop {
            let i = code[at];
            let (dst, src) = ((i.registers & 15) as usize, (i.registers >> 4) as usize);
            match i.code {
                LOAD_WORD => regs[dst] = i64::from([kind | access << 16, major, minor][i.offset as usize / 4]),
                MOVE_REG => regs[dst] = regs[src],
                MOVE_IMM => regs[dst] = i64::from(i.immediate),
                AND_IMM => regs[dst] &= i64::from(i.immediate),
                SHIFT_RIGHT => regs[dst] >>= i.immediate,
                JUMP_NE => at += if regs[dst] != i64::from(i.immediate) { i.offset as usize } else { 0 },
                EXIT => return regs[0] != 0,
                other => panic!("unknown instruction {other:#x}"),
            }
            at += 1;
        }
    }

    #[test]
    fn the_last_rule_that_fits_decides_and_the_rest_is_denied() {
        let code = program(&rules(
            r#"[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","access":"m"},
                {"allow":true,"type":"c","major":1,"minor":3,"access":"rwm"},{"allow":true,"type":"c","major":136,"access":"rw"}]"#,
        ));
        for (kind, access, major, minor, allowed) in [
            (DEV_CHAR, ACCESS_READ | ACCESS_WRITE, 1, 3, true),
            (DEV_CHAR, ACCESS_MKNOD, 10, 200, true),
            (DEV_CHAR, ACCESS_MKNOD | ACCESS_READ, 10, 200, false),
            (DEV_CHAR, ACCESS_READ, 136, 7, true),
            (DEV_BLOCK, ACCESS_READ, 254, 0, false),
            (DEV_BLOCK, ACCESS_MKNOD, 254, 0, false),
        ] {
            assert_eq!(decide(&code, kind, access, major, minor), allowed, "{kind} {access} {major}:{minor}");
        }
    }

    #[test]
    fn nothing_follows_a_rule_that_always_fits() {
        let code =
            program(&rules(r#"[{"allow":true,"type":"c","major":1,"access":"r"},{"allow":false,"access":"rwm"}]"#));
        assert_eq!(code.iter().filter(|i| i.code == EXIT).count(), 1);
        assert!(!decide(&code, DEV_CHAR, ACCESS_READ, 1, 3));
    }

    #[test]
    fn a_privileged_rule_allows_everything() {
        let code = program(&rules(r#"[{"allow":true,"access":"rwm"}]"#));
        assert!(decide(&code, DEV_BLOCK, ACCESS_ALL, 254, 0));
        assert!(!decide(&program(&[]), DEV_CHAR, ACCESS_READ, 1, 3));
    }
}
