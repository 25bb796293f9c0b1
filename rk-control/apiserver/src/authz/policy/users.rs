//! Roles for people: cluster-admin, admin, edit, view and what they are merged from.

use super::{RoleRow, role};

const TO_ADMIN: &str = "rbac.authorization.k8s.io/aggregate-to-admin";
const TO_EDIT: &str = "rbac.authorization.k8s.io/aggregate-to-edit";
const TO_VIEW: &str = "rbac.authorization.k8s.io/aggregate-to-view";

const ADMIN_RULES: &[&str] = &[
    "create authorization.k8s.io localsubjectaccessreviews",
    "create,delete,deletecollection,get,list,patch,update,watch rbac.authorization.k8s.io rolebindings,roles",
];

const EDIT_RULES: &[&str] = &[
    "get,list,watch core pods/attach,pods/exec,pods/portforward,pods/proxy,secrets,services/proxy",
    "impersonate core serviceaccounts",
    "create,delete,deletecollection,patch,update core pods,pods/attach,pods/exec,pods/portforward,pods/proxy",
    "create core pods/eviction",
    "create,delete,deletecollection,patch,update core configmaps,persistentvolumeclaims,replicationcontrollers,replicationcontrollers/scale,secrets,serviceaccounts,services,services/proxy",
    "create core serviceaccounts/token",
    "create,delete,deletecollection,patch,update core,events.k8s.io events",
    "create,delete,deletecollection,patch,update apps daemonsets,deployments,deployments/rollback,deployments/scale,replicasets,replicasets/scale,statefulsets,statefulsets/scale",
    "create,delete,deletecollection,patch,update autoscaling horizontalpodautoscalers",
    "create,delete,deletecollection,patch,update batch cronjobs,jobs",
    "create,delete,deletecollection,patch,update extensions daemonsets,deployments,deployments/rollback,deployments/scale,ingresses,networkpolicies,replicasets,replicasets/scale,replicationcontrollers/scale",
    "create,delete,deletecollection,patch,update policy poddisruptionbudgets",
    "create,delete,deletecollection,patch,update networking.k8s.io ingresses,networkpolicies",
    "create,delete,deletecollection,get,list,patch,update,watch coordination.k8s.io leases",
    "create,delete,deletecollection,patch,update resource.k8s.io resourceclaims,resourceclaimtemplates",
];

const VIEW_RULES: &[&str] = &[
    "get,list,watch core configmaps,endpoints,persistentvolumeclaims,persistentvolumeclaims/status,pods,replicationcontrollers,replicationcontrollers/scale,serviceaccounts,services,services/status",
    "get,list,watch core bindings,limitranges,namespaces/status,pods/log,pods/status,replicationcontrollers/status,resourcequotas,resourcequotas/status",
    "get,list,watch core namespaces",
    "get,list,watch core,events.k8s.io events",
    "get,list,watch discovery.k8s.io endpointslices",
    "get,list,watch apps controllerrevisions,daemonsets,daemonsets/status,deployments,deployments/scale,deployments/status,replicasets,replicasets/scale,replicasets/status,statefulsets,statefulsets/scale,statefulsets/status",
    "get,list,watch autoscaling horizontalpodautoscalers,horizontalpodautoscalers/status",
    "get,list,watch batch cronjobs,cronjobs/status,jobs,jobs/status",
    "get,list,watch extensions daemonsets,daemonsets/status,deployments,deployments/scale,deployments/status,ingresses,ingresses/status,networkpolicies,replicasets,replicasets/scale,replicasets/status,replicationcontrollers/scale",
    "get,list,watch policy poddisruptionbudgets,poddisruptionbudgets/status",
    "get,list,watch networking.k8s.io ingresses,ingresses/status,networkpolicies",
    "get,list,watch resource.k8s.io resourceclaims,resourceclaims/status,resourceclaimtemplates",
];

/// The merged rules of an aggregated role; the same union that the API server computes at run time from labels.
pub(super) fn aggregated(label: &str) -> Vec<&'static str> {
    let parts: &[&[&'static str]] = match label {
        TO_ADMIN => &[ADMIN_RULES, EDIT_RULES, VIEW_RULES],
        TO_EDIT => &[EDIT_RULES, VIEW_RULES],
        _ => &[VIEW_RULES],
    };
    parts.concat()
}

pub(super) const ROLES: &[RoleRow] = &[
    role("cluster-admin", &["* * *", "* urls *"]),
    RoleRow { name: "admin", labels: &[], aggregates: Some(TO_ADMIN), rules: &[] },
    RoleRow { name: "edit", labels: &[TO_ADMIN], aggregates: Some(TO_EDIT), rules: &[] },
    RoleRow { name: "view", labels: &[TO_EDIT], aggregates: Some(TO_VIEW), rules: &[] },
    RoleRow { name: "system:aggregate-to-admin", labels: &[TO_ADMIN], aggregates: None, rules: ADMIN_RULES },
    RoleRow { name: "system:aggregate-to-edit", labels: &[TO_EDIT], aggregates: None, rules: EDIT_RULES },
    RoleRow { name: "system:aggregate-to-view", labels: &[TO_VIEW], aggregates: None, rules: VIEW_RULES },
    role(
        "system:discovery",
        &["get urls /api,/api/*,/apis,/apis/*,/healthz,/livez,/openapi,/openapi/*,/readyz,/version,/version/"],
    ),
    role(
        "system:basic-user",
        &[
            "create authorization.k8s.io selfsubjectaccessreviews,selfsubjectrulesreviews",
            "create authentication.k8s.io selfsubjectreviews",
        ],
    ),
    role("system:public-info-viewer", &["get urls /healthz,/livez,/readyz,/version,/version/"]),
    role(
        "system:monitoring",
        &[
            "get urls /flagz,/healthz,/healthz/*,/livez,/livez/*,/metrics,/metrics/slis,/readyz,/readyz/*,/statusz",
            "get core nodes/metrics",
        ],
    ),
    role(
        "system:service-account-issuer-discovery",
        &[
            "get urls /.well-known/openid-configuration,/.well-known/openid-configuration/,/openid/v1/jwks,/openid/v1/jwks/",
        ],
    ),
    role(
        "system:heapster",
        &["get,list,watch core events,namespaces,nodes,pods", "get,list,watch extensions deployments"],
    ),
];
