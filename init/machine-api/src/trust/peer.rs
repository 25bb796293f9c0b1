//! Who calls, and whether they may.

use rk_machine_proto::{Access, Role, access_of};
use tonic::Status;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Organizations looked at in one certificate.
const MOST_ORGANIZATIONS: usize = 16;

/// The other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// Anyone, while the node has no config.
    Anyone,
    /// The holder of a certificate that the authority signed.
    Known {
        /// The certificate's common name.
        name: String,
        /// The highest role that it carries; none is possible.
        role: Option<Role>,
    },
}

impl Peer {
    /// Reads name and role out of a certificate that TLS has verified.
    pub fn of_certificate(der: &[u8]) -> Peer {
        let Ok((_, certificate)) = X509Certificate::from_der(der) else {
            return Peer::Known { name: String::new(), role: None };
        };
        let name =
            certificate.subject().iter_common_name().next().and_then(|name| name.as_str().ok()).unwrap_or_default();
        let organizations = certificate.subject().iter_organization().take(MOST_ORGANIZATIONS);
        let role = organizations.filter_map(|name| Role::of_organization(name.as_str().ok()?)).max();
        Peer::Known { name: name.to_owned(), role }
    }

    /// For the log.
    pub fn name(&self) -> &str {
        match self {
            Peer::Anyone => "anyone",
            Peer::Known { name, .. } => name,
        }
    }

    /// Whether secrets may be shown.
    pub fn is_admin(&self) -> bool {
        matches!(self, Peer::Known { role: Some(Role::Admin), .. })
    }
}

/// Decides about a call to the method at `path`.
///
/// # Errors
/// The answer to the caller: the method does not exist, or the role is too small, and which one is needed.
pub fn judge(peer: &Peer, path: &str) -> Result<(), Status> {
    let Some(Access { role: needed, maintenance }) = access_of(path) else {
        return Err(Status::unimplemented("the machine API has no such method; rkctl may be newer than the node"));
    };
    match peer {
        Peer::Anyone if maintenance => Ok(()),
        Peer::Anyone => Err(Status::failed_precondition(
            "the node is in maintenance mode: it has no config; give it one with rkctl node apply --insecure",
        )),
        Peer::Known { role: Some(role), .. } if *role >= needed => Ok(()),
        Peer::Known { role, name } => Err(Status::permission_denied(format!(
            "this needs role {}; the certificate of {name:?} carries {}",
            needed.name(),
            role.map_or("none", Role::name)
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rk_machine_proto::{METHODS, SERVICE};
    use tonic::Code;

    fn known(role: Option<Role>) -> Peer {
        Peer::Known { name: "x".to_owned(), role }
    }

    #[test]
    fn every_method_is_refused_to_lesser_roles_and_to_none() {
        for (name, access) in METHODS {
            let path = format!("{SERVICE}{name}");
            assert_eq!(judge(&known(None), &path).unwrap_err().code(), Code::PermissionDenied, "{name}");
            for role in Role::ALL {
                assert_eq!(judge(&known(Some(role)), &path).is_ok(), role >= access.role, "{name} {role:?}");
            }
            assert_eq!(judge(&Peer::Anyone, &path).is_ok(), access.maintenance, "{name}");
        }
    }

    #[test]
    fn an_unknown_method_is_told_as_such_to_everyone() {
        for peer in [Peer::Anyone, known(Some(Role::Admin))] {
            assert_eq!(judge(&peer, "/rk.machine.v1.Machine/Shell").unwrap_err().code(), Code::Unimplemented);
        }
    }

    #[test]
    fn the_highest_organization_counts_and_foreign_ones_do_not() {
        let certificate = |organizations: &[&str]| {
            let mut params = rcgen::CertificateParams::default();
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.distinguished_name.push(rcgen::DnType::CommonName, "ann");
            for organization in organizations {
                params.distinguished_name.push(rcgen::DnType::OrganizationName, *organization);
            }
            let key = rcgen::KeyPair::generate().unwrap();
            Peer::of_certificate(params.self_signed(&key).unwrap().der())
        };
        assert_eq!(certificate(&["system:masters"]), Peer::Known { name: "ann".to_owned(), role: None });
        assert_eq!(certificate(&["rk:operator"]), Peer::Known { name: "ann".to_owned(), role: Some(Role::Operator) });
        assert!(!certificate(&["rk:administrator"]).is_admin());
    }
}
