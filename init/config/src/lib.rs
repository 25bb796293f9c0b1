//! The machine config: everything that a node is told about itself.
//!
//! YAML comes in through [`parse`], which answers either with a [`Parsed`] config (and the names of the keys that it did
//! not know) or with **every** field that is wrong and why. Nothing here reads the network or a clock; the one file reader
//! is [`load_accepted`], for the JSON form that PID 1 leaves in `/run/rk/machine.json` for the services it starts.
//!
//! Invariants of a parsed [`MachineConfig`]: all addresses, hosts, labels and tokens have been checked; a `control-plane`
//! config has a `controlPlane` section; a `worker` has an endpoint, a token and a CA hash.

mod accepted;
mod diff;
mod error;
mod families;
mod grace;
mod merge;
mod network;
mod parse;
mod parse_network;
mod parse_plane;
mod parse_upkeep;
mod plane;
mod reader;
mod source;
mod types;
mod upkeep;
mod validate;
mod validate_ranges;
mod validate_vip;

pub use accepted::{
    ACCEPTED_PATH, ALIVE_PATH, IMAGES_SOCKET, INVITATION_PATH, MAX_IMAGES_BYTES, OFFERED_PATH, PULLS_SOCKET, STATE_DIR,
    load_accepted, save_accepted, to_json, to_yaml,
};
pub use diff::{Change, SECRETS, diff, redacted};
pub use error::{ConfigError, FieldError};
pub use families::{FamilyError, NodeIps, Ranges};
pub use grace::go_duration;
pub use merge::merge_patch;
pub use network::{BondMode, Interface, LinkMatch, Network, Ntp, Route, Virtual};
pub use parse::{MAX_CONFIG_BYTES, Parsed, parse, unknown_keys};
pub use plane::{Audit, CertificateAuthority, ControlPlane, Etcd, Identity, MachineApi};
pub use source::{
    CMDLINE_KEY, CmdlineConfig, CmdlineError, cmdline_value, encode_for_cmdline, from_cmdline, hidden_in_cmdline,
};
pub use types::{
    API_VERSION, Cluster, Kubelet, MachineConfig, Mirror, Registries, RegistryAuth, RegistryTls, Role, Taint,
    TaintEffect,
};
pub use upkeep::{Disks, Encryption, LogFormat, LogTarget, Logging, Metrics, Unlock, Upgrade};
pub use validate::{is_dns_label, is_dns_subdomain};
