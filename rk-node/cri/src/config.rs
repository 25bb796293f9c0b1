use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rk_images::Images;

use crate::{PodNetwork, Starter};

/// What [`crate::serve`] needs to know.
#[derive(Clone)]
pub struct Config {
    /// Unix socket to serve CRI on; made with mode 0660. `/run/rk/cri.sock`.
    pub socket: PathBuf,
    /// Records that survive reboots. `/var/lib/rk/cri`.
    pub state_dir: PathBuf,
    /// Sandboxes' directories with shim sockets; on tmpfs. `/run/rk/sandboxes`. Keep it short: with an id and a socket name it
    /// must fit the 107 bytes of a unix address.
    pub run_dir: PathBuf,
    /// Where network namespaces are pinned. `/run/netns`.
    pub netns_dir: PathBuf,
    /// The image store.
    pub images: Images,
    /// Where pods get their network from.
    pub network: Arc<dyn PodNetwork>,
    /// Address of the streaming server; port 0 chooses one. Only the kubelet of this node may reach it: loopback.
    pub streaming: SocketAddr,
    /// The shim's binary. `/bin/rk-shim`.
    pub shim: PathBuf,
    /// Who starts it.
    pub starter: Starter,
    /// cgroup v2 directory that shims move into; it must not be below the one of the caller, or they die with it.
    /// `/sys/fs/cgroup/rk/shims`.
    pub shim_cgroup: PathBuf,
    /// The node's resolver file, for pods that inherit it. `/etc/resolv.conf`.
    pub resolv_conf: PathBuf,
    /// Version that `Version` reports, a semantic version.
    pub version: String,
}

impl Config {
    /// The paths of a node, with this image store and this network.
    pub fn new(images: Images, network: Arc<dyn PodNetwork>, starter: Starter) -> Self {
        Self {
            socket: "/run/rk/cri.sock".into(),
            state_dir: "/var/lib/rk/cri".into(),
            run_dir: "/run/rk/sandboxes".into(),
            netns_dir: "/run/netns".into(),
            images,
            network,
            streaming: SocketAddr::from(([127, 0, 0, 1], 0)),
            shim: "/bin/rk-shim".into(),
            starter,
            shim_cgroup: "/sys/fs/cgroup/rk/shims".into(),
            resolv_conf: "/etc/resolv.conf".into(),
            version: env!("CARGO_PKG_VERSION").into(),
        }
    }
}
