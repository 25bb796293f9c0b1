//! Who may call what, as a table.

/// The path below which the methods lie.
pub const SERVICE: &str = "/rk.machine.v1.Machine/";

/// What a client may do. It is carried in the organization (`O=`) of the client's certificate; higher ones include lower ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Looks: state, logs, measurements. No secret is among what it sees.
    Reader,
    /// Handles the machine: restarts, reads files, captures packets.
    Operator,
    /// Owns the machine: config, credentials, data.
    Admin,
}

impl Role {
    /// All of them, from least to most.
    pub const ALL: [Role; 3] = [Role::Reader, Role::Operator, Role::Admin];

    /// The organization that carries it.
    pub fn organization(self) -> &'static str {
        match self {
            Role::Reader => "rk:reader",
            Role::Operator => "rk:operator",
            Role::Admin => "rk:admin",
        }
    }

    /// The role that an organization carries.
    pub fn of_organization(organization: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.organization() == organization)
    }

    /// As an operator writes it.
    pub fn name(self) -> &'static str {
        self.organization().strip_prefix("rk:").unwrap_or_default()
    }
}

/// What a method demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// The least role.
    pub role: Role,
    /// Whether a node without a config answers it to anyone.
    pub maintenance: bool,
}

const fn row(name: &'static str, role: Role) -> (&'static str, Access) {
    (name, Access { role, maintenance: false })
}

const fn open(name: &'static str, role: Role) -> (&'static str, Access) {
    (name, Access { role, maintenance: true })
}

/// Every method.
pub const METHODS: [(&str, Access); 40] = [
    open("Version", Role::Reader),
    row("Health", Role::Reader),
    row("GetConfig", Role::Reader),
    open("ApplyConfig", Role::Admin),
    row("PatchConfig", Role::Admin),
    open("ValidateConfig", Role::Reader),
    row("ListServices", Role::Reader),
    row("RestartService", Role::Operator),
    row("Logs", Role::Reader),
    row("Dmesg", Role::Reader),
    row("Processes", Role::Reader),
    row("Mounts", Role::Reader),
    open("Disks", Role::Reader),
    row("Memory", Role::Reader),
    row("Cpu", Role::Reader),
    row("Sockets", Role::Reader),
    open("Interfaces", Role::Reader),
    row("Routes", Role::Reader),
    row("Capture", Role::Operator),
    row("ReadFile", Role::Operator),
    row("ListDirectory", Role::Operator),
    row("Events", Role::Reader),
    row("Time", Role::Reader),
    row("ListCertificates", Role::Reader),
    row("RequestCertificate", Role::Admin),
    row("InstallCertificate", Role::Admin),
    row("Kubeconfig", Role::Admin),
    row("SnapshotStore", Role::Admin),
    row("RestoreStore", Role::Admin),
    row("Reboot", Role::Operator),
    row("Shutdown", Role::Operator),
    row("Reset", Role::Admin),
    open("Install", Role::Admin),
    open("PlanInstall", Role::Admin),
    row("Upgrade", Role::Admin),
    row("Rollback", Role::Admin),
    row("ConfirmConfig", Role::Admin),
    open("Unlock", Role::Admin),
    row("ImportImages", Role::Admin),
    row("Pulls", Role::Reader),
];

/// What the method at this HTTP path demands; `None` when there is no such method.
pub fn access_of(path: &str) -> Option<Access> {
    let name = path.strip_prefix(SERVICE)?;
    METHODS.iter().find(|(method, _)| *method == name).map(|(_, access)| *access)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_of_the_definitions_has_exactly_one_row() {
        let text = include_str!("../proto/machine.proto");
        let mut defined: Vec<&str> =
            text.lines().filter_map(|line| line.trim().strip_prefix("rpc ")?.split('(').next()).collect();
        let mut listed: Vec<&str> = METHODS.iter().map(|(name, _)| *name).collect();
        defined.sort_unstable();
        listed.sort_unstable();
        assert_eq!(defined, listed);
    }

    #[test]
    fn roles_are_ordered_and_read_back_from_their_organization() {
        assert!(Role::Reader < Role::Operator && Role::Operator < Role::Admin);
        for role in Role::ALL {
            assert_eq!(Role::of_organization(role.organization()), Some(role));
        }
        assert_eq!(Role::of_organization("system:masters"), None);
    }

    #[test]
    fn what_shows_a_secret_or_destroys_data_is_for_the_admin() {
        for method in [
            "Kubeconfig",
            "SnapshotStore",
            "RestoreStore",
            "ApplyConfig",
            "Reset",
            "Install",
            "Upgrade",
            "ImportImages",
        ] {
            assert_eq!(
                access_of(&format!("{SERVICE}{method}")).map(|access| access.role),
                Some(Role::Admin),
                "{method}"
            );
        }
        assert_eq!(access_of("/rk.machine.v1.Machine/Nothing"), None);
        assert_eq!(access_of("/other/Version"), None);
    }
}
