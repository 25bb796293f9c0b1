//! Thin safe wrappers of the syscalls that PID 1, netd, the kubelet and the container runtime use: mounts, processes, cgroups, signals,
//! power, devices, sockets, clock.
//!
//! One wrapper per syscall or small idiom, no policy. Every error is a [`SysError`]: the call, the object, the errno.
//! This is the only crate of `init/` where `unsafe` is allowed.

mod block;
mod capture;
mod cgroup;
mod clock;
mod dm;
mod error;
mod idmap;
mod input;
mod limits;
mod loopdev;
mod mount;
mod netlink;
mod packet;
mod partition;
mod path;
mod poll;
mod power;
mod process;
mod program;
mod seccomp;
mod signal;
mod swap;
mod text;
mod tree;
mod tty;
mod watch;

pub use block::{
    BlockDevice, Superblock, block_devices, ext4_bytes, identify, is_blank, never_mounted, read_superblock,
};
pub use capture::CaptureSocket;
pub use cgroup::{CGROUP_ROOT, cgroup_dir, kill_cgroup};
pub use clock::{ClockOffset, boot_millis, set_clock, set_hardware_clock, slew_clock};
pub use dm::{Crypt, Verity, close_mapped, open_crypt, open_verity, verity_is_sound};
pub use error::{Result, SysError, chain};
pub use idmap::{MappedMount, MountChange, change_mount, mapped_mount};
pub use input::{KEY_POWER, KeyPress, decode_key_presses, open_input_devices};
pub use limits::{lift_process_limit, limit_open_files};
pub use loopdev::attach_loop;
pub use mount::{
    MountFlags, bind_file, make_shared, mount, mount_point, move_root, unescape_path, unmount, unmount_detached,
};
pub use netlink::{
    NetlinkSocket, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_IFADDR, RTNLGRP_LINK, RTNLGRP_ND_USEROPT,
};
pub use packet::{PacketSocket, bind_udp_to_link, send_on_link, udp6_on_link};
pub use partition::{
    PartitionNode, device_bytes, disk_sector, grow_ext4, partitions, reread_partitions, resize_partition, zero_out,
};
pub use path::patiently;
pub use poll::{Ready, wait_readable};
pub use power::{End, end_machine, route_ctrl_alt_del_to_init};
pub use process::{Child, Exit, SpawnSpec, kill, kill_everything, pid, process_exists, reap_one, spawn};
pub use program::release_program;
pub use seccomp::{Confinement, confine, confine_agent};
pub use signal::{Signal, SignalQueue};
pub use swap::{allocate, swap_off, swap_on};
pub use text::{bytes_as_text, text_as_bytes};
pub use tree::remove_tree;
pub use tty::{log_pipe, open_console, set_hostname, sync_disks, take_as_stdio};
pub use watch::FileWatch;
