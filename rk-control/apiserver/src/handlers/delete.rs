//! DELETE of one object.

use http::{Response, StatusCode};
use rk_api::resources::Resource;
use rk_api::status::Status;

use super::call::Call;
use super::options::DeleteOptions;
use super::remove::{Removed, remove};
use super::render;
use crate::audit;
use crate::conversion;
use crate::http::Body;

/// Kinds whose deletion is answered with the object instead of a `Status`; upstream's list.
const RETURNS_OBJECT: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "pods",
            "podtemplates",
            "persistentvolumes",
            "persistentvolumeclaims",
            "resourcequotas",
            "serviceaccounts",
            "services",
        ],
    ),
    ("storage.k8s.io", &["csidrivers", "csinodes", "storageclasses", "volumeattachments", "volumeattributesclasses"]),
    ("resource.k8s.io", &["deviceclasses", "resourceclaims", "resourceclaimtemplates", "resourceslices"]),
];

fn returns_object(hub: &Resource) -> bool {
    RETURNS_OBJECT.iter().any(|(group, plurals)| *hub.gvk.group == **group && plurals.contains(&&*hub.plural))
}

/// Who deletes Jobs without a word about their pods is told that these stay.
pub(super) fn warn_of_orphans(call: &mut Call, options: &DeleteOptions) {
    let job = &*call.hub.gvk.group == "batch" && &*call.hub.gvk.kind == "Job";
    if job && options.propagation.is_none() {
        let what = "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set \
                    propagationPolicy=Orphan to suppress this warning";
        call.warnings.push(what.to_owned());
    }
}

/// Serves DELETE.
pub(super) async fn delete(call: &mut Call, body: Body) -> Result<Response<Body>, Status> {
    let body = call.read(body).await?;
    let options = DeleteOptions::parse(&call.headers, &call.query, &body)?;
    warn_of_orphans(call, &options);
    let name = call.path.name.clone();
    match remove(call, &name, &options).await? {
        Removed::Gone(object) => {
            if returns_object(&call.hub) {
                let object = conversion::to(&call.core, object, &call.resource).await?;
                return render::object(call, StatusCode::OK, &object);
            }
            let status = Status::deleted(&call.resource, &name, rk_api::meta::uid(&object));
            audit::told(&status);
            render::object(call, StatusCode::OK, &status)
        }
        Removed::Waiting(object) => {
            let code = if options.cascading { StatusCode::ACCEPTED } else { StatusCode::OK };
            let object = conversion::to(&call.core, object, &call.resource).await?;
            render::object(call, code, &object)
        }
    }
}
