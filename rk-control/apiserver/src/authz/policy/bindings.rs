//! Who holds which of the default roles.

use super::{BindingRow, Namespaced, RoleRow, role};

const fn bind(name: &'static str, role: &'static str, subjects: &'static [&'static str]) -> BindingRow {
    BindingRow { name, role, subjects }
}

pub(super) const CLUSTER: &[BindingRow] = &[
    bind("cluster-admin", "cluster-admin", &["Group:system:masters"]),
    bind("system:monitoring", "system:monitoring", &["Group:system:monitoring"]),
    bind("system:discovery", "system:discovery", &["Group:system:authenticated"]),
    bind("system:basic-user", "system:basic-user", &["Group:system:authenticated"]),
    bind(
        "system:public-info-viewer",
        "system:public-info-viewer",
        &["Group:system:authenticated", "Group:system:unauthenticated"],
    ),
    bind("system:node-proxier", "system:node-proxier", &["User:system:kube-proxy"]),
    bind("system:kube-controller-manager", "system:kube-controller-manager", &["User:system:kube-controller-manager"]),
    bind("system:kube-dns", "system:kube-dns", &["ServiceAccount:kube-system/kube-dns"]),
    bind("system:kube-scheduler", "system:kube-scheduler", &["User:system:kube-scheduler"]),
    bind("system:volume-scheduler", "system:volume-scheduler", &["User:system:kube-scheduler"]),
    bind(
        "system:service-account-issuer-discovery",
        "system:service-account-issuer-discovery",
        &["Group:system:serviceaccounts"],
    ),
    // Nodes are authorized by the node authorizer; upstream keeps this binding without subjects for compatibility.
    bind("system:node", "system:node", &[]),
    // What upstream's policy does not know: nodes that are proxy and DNS server themselves, and whose serving certificates are approved.
    bind("rk:node", "rk:node", &["Group:system:nodes"]),
    bind("rk:node-proxier", "system:node-proxier", &["Group:system:nodes"]),
    bind("rk:node-dns", "system:kube-dns", &["Group:system:nodes"]),
    bind(
        "rk:kubelet-serving-approver",
        "system:certificates.k8s.io:kubelet-serving-approver",
        &["ServiceAccount:kube-system/certificate-controller"],
    ),
    bind("kubeadm:get-nodes", "kubeadm:get-nodes", &["Group:system:bootstrappers:kubeadm:default-node-token"]),
    bind(
        "kubeadm:kubelet-bootstrap",
        "system:node-bootstrapper",
        &["Group:system:bootstrappers:kubeadm:default-node-token"],
    ),
    bind(
        "kubeadm:node-autoapprove-bootstrap",
        "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
        &["Group:system:bootstrappers:kubeadm:default-node-token"],
    ),
    bind(
        "kubeadm:node-autoapprove-certificate-rotation",
        "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
        &["Group:system:nodes"],
    ),
    bind("kubeadm:cluster-admins", "cluster-admin", &["Group:kubeadm:cluster-admins"]),
];

const fn within<T>(namespace: &'static str, row: T) -> Namespaced<T> {
    Namespaced { namespace, row }
}

pub(super) const NAMESPACED_ROLES: &[Namespaced<RoleRow>] = &[
    within(
        "kube-system",
        role(
            "extension-apiserver-authentication-reader",
            &["get,list,watch core configmaps extension-apiserver-authentication"],
        ),
    ),
    within("kube-system", role("system:controller:bootstrap-signer", &["get,list,watch core secrets"])),
    within("kube-system", role("system:controller:cloud-provider", &["create,get,list,watch core configmaps"])),
    within(
        "kube-system",
        role(
            "system:controller:token-cleaner",
            &["delete,get,list,watch core secrets", "create,patch,update core,events.k8s.io events"],
        ),
    ),
    within(
        "kube-system",
        role(
            "system::leader-locking-kube-controller-manager",
            &["watch core configmaps", "get,update core configmaps kube-controller-manager"],
        ),
    ),
    within(
        "kube-system",
        role(
            "system::leader-locking-kube-scheduler",
            &["watch core configmaps", "get,update core configmaps kube-scheduler"],
        ),
    ),
    within(
        "kube-public",
        role(
            "system:controller:bootstrap-signer",
            &[
                "get,list,watch core configmaps",
                "update core configmaps cluster-info",
                "create,patch,update core,events.k8s.io events",
            ],
        ),
    ),
    within("kube-public", role("kubeadm:bootstrap-signer-clusterinfo", &["get core configmaps cluster-info"])),
];

pub(super) const NAMESPACED: &[Namespaced<BindingRow>] = &[
    within(
        "kube-system",
        bind(
            "system::extension-apiserver-authentication-reader",
            "extension-apiserver-authentication-reader",
            &["User:system:kube-controller-manager", "User:system:kube-scheduler"],
        ),
    ),
    within(
        "kube-system",
        bind(
            "system:controller:bootstrap-signer",
            "system:controller:bootstrap-signer",
            &["ServiceAccount:kube-system/bootstrap-signer"],
        ),
    ),
    within(
        "kube-system",
        bind(
            "system:controller:cloud-provider",
            "system:controller:cloud-provider",
            &["ServiceAccount:kube-system/cloud-provider"],
        ),
    ),
    within(
        "kube-system",
        bind(
            "system:controller:token-cleaner",
            "system:controller:token-cleaner",
            &["ServiceAccount:kube-system/token-cleaner"],
        ),
    ),
    within(
        "kube-system",
        bind(
            "system::leader-locking-kube-controller-manager",
            "system::leader-locking-kube-controller-manager",
            &["User:system:kube-controller-manager", "ServiceAccount:kube-system/kube-controller-manager"],
        ),
    ),
    within(
        "kube-system",
        bind(
            "system::leader-locking-kube-scheduler",
            "system::leader-locking-kube-scheduler",
            &["User:system:kube-scheduler", "ServiceAccount:kube-system/kube-scheduler"],
        ),
    ),
    within(
        "kube-public",
        bind(
            "system:controller:bootstrap-signer",
            "system:controller:bootstrap-signer",
            &["ServiceAccount:kube-system/bootstrap-signer"],
        ),
    ),
    within(
        "kube-public",
        bind(
            "kubeadm:bootstrap-signer-clusterinfo",
            "kubeadm:bootstrap-signer-clusterinfo",
            &["User:system:anonymous"],
        ),
    ),
];
