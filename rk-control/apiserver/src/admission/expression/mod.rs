//! Expressions (CEL) in admission: what they may refer to, their match conditions, and the check of them when they are written.
//!
//! [`scene`] holds what one request shows to expressions, [`asking`] answers what they ask of the authorizer, [`condition`] are the
//! `matchConditions` of webhooks and policies, [`check`] refuses objects whose expressions do not compile, [`rules`] are the
//! `x-kubernetes-validations` of custom kinds, [`judge`] holds objects against them, [`devices`] are the selectors of devices.

mod asking;
mod check;
mod condition;
mod devices;
mod judge;
mod rule_costs;
mod rules;
mod scene;

pub(super) use asking::with_answers;
pub(crate) use check::check;
pub(super) use condition::{Conditions, Met};
pub(crate) use judge::judge;
pub(super) use scene::Scene;

use rk_cel::{Env, Fields, Type};

/// What `request` has.
fn request() -> Type {
    let text = || Type::String;
    let kind =
        Fields::record("kubernetes.GroupVersionKind", vec![("group", text()), ("version", text()), ("kind", text())]);
    let resource = Fields::record(
        "kubernetes.GroupVersionResource",
        vec![("group", text()), ("version", text()), ("resource", text())],
    );
    let user = Fields::record(
        "kubernetes.UserInfo",
        vec![
            ("username", text()),
            ("uid", text()),
            ("groups", Type::list(text())),
            ("extra", Type::map(text(), Type::list(text()))),
        ],
    );
    Fields::record(
        "kubernetes.AdmissionRequest",
        vec![
            ("kind", kind.clone()),
            ("resource", resource.clone()),
            ("subResource", text()),
            ("requestKind", kind),
            ("requestResource", resource),
            ("requestSubResource", text()),
            ("name", text()),
            ("namespace", text()),
            ("operation", text()),
            ("userInfo", user),
            ("dryRun", Type::Bool),
            ("options", Type::Dyn),
        ],
    )
}

/// What match conditions of webhooks may refer to.
pub(super) fn of_webhooks() -> Env {
    let env = Env::new().with("object", Type::Dyn).with("oldObject", Type::Dyn);
    env.with("request", request()).with("authorizer", rk_cel::authorizer())
}

/// What expressions of policies may refer to besides their variables.
pub(super) fn of_policies(params: bool) -> Env {
    let env = of_webhooks().with("namespaceObject", Type::Dyn);
    if params { env.with("params", Type::Dyn) } else { env }
}

/// The type of `variables` once these are known.
pub(super) fn variables(known: &[(String, Type)]) -> Type {
    Fields::record("kubernetes.variables", known.to_vec())
}
