//! What the published schemas tell of fields besides their structure: the values that there are, the ones that absent fields stand for,
//! and which fields exclude each other.

use rk_api::schema::{Schema, Shape};
use serde_json::{Value, json};

/// Fields, and the values that each of them takes.
const CHOICES: &[(&str, &str)] = &[
    (
        "admissionregistration/v1.MatchResources.matchPolicy admissionregistration/v1.MutatingWebhook.matchPolicy \
         admissionregistration/v1.ValidatingWebhook.matchPolicy",
        "Equivalent|Exact",
    ),
    (
        "admissionregistration/v1.MutatingAdmissionPolicySpec.failurePolicy \
         admissionregistration/v1.MutatingWebhook.failurePolicy \
         admissionregistration/v1.ValidatingAdmissionPolicySpec.failurePolicy \
         admissionregistration/v1.ValidatingWebhook.failurePolicy",
        "Fail|Ignore",
    ),
    (
        "admissionregistration/v1.MutatingAdmissionPolicySpec.reinvocationPolicy \
         admissionregistration/v1.MutatingWebhook.reinvocationPolicy",
        "IfNeeded|Never",
    ),
    (
        "admissionregistration/v1.MutatingWebhook.sideEffects admissionregistration/v1.ValidatingWebhook.sideEffects",
        "None|NoneOnDryRun|Some|Unknown",
    ),
    ("admissionregistration/v1.Mutation.patchType", "ApplyConfiguration|JSONPatch"),
    (
        "admissionregistration/v1.NamedRuleWithOperations.operations admissionregistration/v1.RuleWithOperations.operations",
        "*|CONNECT|CREATE|DELETE|UPDATE",
    ),
    (
        "admissionregistration/v1.NamedRuleWithOperations.scope admissionregistration/v1.RuleWithOperations.scope",
        "*|Cluster|Namespaced",
    ),
    ("admissionregistration/v1.ValidatingAdmissionPolicyBindingSpec.validationActions", "Audit|Deny|Warn"),
    (
        "apiextensions/v1.ValidationRule.reason",
        "FieldValueDuplicate|FieldValueForbidden|FieldValueInvalid|FieldValueRequired",
    ),
    ("apps/v1.DaemonSetUpdateStrategy.type apps/v1.StatefulSetUpdateStrategy.type", "OnDelete|RollingUpdate"),
    ("apps/v1.DeploymentStrategy.type", "Recreate|RollingUpdate"),
    ("apps/v1.StatefulSetSpec.podManagementPolicy", "OrderedReady|Parallel"),
    ("batch/v1.CronJobSpec.concurrencyPolicy", "Allow|Forbid|Replace"),
    ("batch/v1.JobSpec.completionMode", "Indexed|NonIndexed"),
    ("batch/v1.JobSpec.podReplacementPolicy", "Failed|TerminatingOrFailed"),
    ("batch/v1.PodFailurePolicyOnExitCodesRequirement.operator", "In|NotIn"),
    ("batch/v1.PodFailurePolicyRule.action", "Count|FailIndex|FailJob|Ignore"),
    (
        "certificates/v1.CertificateSigningRequestSpec.usages",
        "any|cert sign|client auth|code signing|content commitment|crl sign|data encipherment|decipher only|digital signature|\
         email protection|encipher only|ipsec end system|ipsec tunnel|ipsec user|key agreement|key encipherment|microsoft sgc|\
         netscape sgc|ocsp signing|s/mime|server auth|signing|timestamping",
    ),
    ("core/v1.AppArmorProfile.type core/v1.SeccompProfile.type", "Localhost|RuntimeDefault|Unconfined"),
    ("core/v1.AzureDiskVolumeSource.cachingMode", "None|ReadOnly|ReadWrite"),
    ("core/v1.AzureDiskVolumeSource.kind", "Dedicated|Managed|Shared"),
    (
        "core/v1.Container.imagePullPolicy core/v1.EphemeralContainer.imagePullPolicy core/v1.ImageVolumeSource.pullPolicy",
        "Always|IfNotPresent|Never",
    ),
    (
        "core/v1.Container.terminationMessagePolicy core/v1.EphemeralContainer.terminationMessagePolicy",
        "FallbackToLogsOnError|File",
    ),
    (
        "core/v1.ContainerPort.protocol core/v1.EndpointPort.protocol core/v1.PortStatus.protocol core/v1.ServicePort.protocol \
         discovery/v1.EndpointPort.protocol networking/v1.IngressPortStatus.protocol networking/v1.NetworkPolicyPort.protocol",
        "SCTP|TCP|UDP",
    ),
    (
        "core/v1.ContainerStatus.stopSignal core/v1.Lifecycle.stopSignal",
        "SIGABRT|SIGALRM|SIGBUS|SIGCHLD|SIGCLD|SIGCONT|SIGFPE|SIGHUP|SIGILL|SIGINT|SIGIO|SIGIOT|SIGKILL|SIGPIPE|SIGPOLL|\
         SIGPROF|SIGPWR|SIGQUIT|SIGRTMAX|SIGRTMAX-1|SIGRTMAX-10|SIGRTMAX-11|SIGRTMAX-12|SIGRTMAX-13|SIGRTMAX-14|SIGRTMAX-2|\
         SIGRTMAX-3|SIGRTMAX-4|SIGRTMAX-5|SIGRTMAX-6|SIGRTMAX-7|SIGRTMAX-8|SIGRTMAX-9|SIGRTMIN|SIGRTMIN+1|SIGRTMIN+10|\
         SIGRTMIN+11|SIGRTMIN+12|SIGRTMIN+13|SIGRTMIN+14|SIGRTMIN+15|SIGRTMIN+2|SIGRTMIN+3|SIGRTMIN+4|SIGRTMIN+5|SIGRTMIN+6|\
         SIGRTMIN+7|SIGRTMIN+8|SIGRTMIN+9|SIGSEGV|SIGSTKFLT|SIGSTOP|SIGSYS|SIGTERM|SIGTRAP|SIGTSTP|SIGTTIN|SIGTTOU|SIGURG|\
         SIGUSR1|SIGUSR2|SIGVTALRM|SIGWINCH|SIGXCPU|SIGXFSZ",
    ),
    ("core/v1.HTTPGetAction.scheme", "HTTP|HTTPS"),
    (
        "core/v1.HostPathVolumeSource.type",
        "|BlockDevice|CharDevice|Directory|DirectoryOrCreate|File|FileOrCreate|Socket",
    ),
    ("core/v1.ModifyVolumeStatus.status", "InProgress|Infeasible|Pending"),
    ("core/v1.NamespaceStatus.phase", "Active|Terminating"),
    ("core/v1.NodeSelectorRequirement.operator", "DoesNotExist|Exists|Gt|In|Lt|NotIn"),
    ("core/v1.NodeStatus.phase", "Pending|Running|Terminated"),
    (
        "core/v1.PersistentVolumeClaimSpec.accessModes core/v1.PersistentVolumeClaimStatus.accessModes \
         core/v1.PersistentVolumeSpec.accessModes",
        "ReadOnlyMany|ReadWriteMany|ReadWriteOnce|ReadWriteOncePod",
    ),
    ("core/v1.PersistentVolumeClaimSpec.volumeMode core/v1.PersistentVolumeSpec.volumeMode", "Block|Filesystem"),
    (
        "core/v1.PersistentVolumeClaimStatus.allocatedResourceStatuses",
        "ControllerResizeInProgress|ControllerResizeInfeasible|NodeResizeInProgress|NodeResizeInfeasible|NodeResizePending",
    ),
    ("core/v1.PersistentVolumeClaimStatus.phase", "Bound|Lost|Pending"),
    (
        "core/v1.PersistentVolumeSpec.persistentVolumeReclaimPolicy storage/v1.StorageClass.reclaimPolicy",
        "Delete|Recycle|Retain",
    ),
    ("core/v1.PersistentVolumeStatus.phase", "Available|Bound|Failed|Pending|Released"),
    ("core/v1.PodSecurityContext.fsGroupChangePolicy", "Always|OnRootMismatch"),
    ("core/v1.PodSecurityContext.supplementalGroupsPolicy", "Merge|Strict"),
    ("core/v1.PodSpec.dnsPolicy", "ClusterFirst|ClusterFirstWithHostNet|Default|None"),
    ("core/v1.PodSpec.preemptionPolicy scheduling/v1.PriorityClass.preemptionPolicy", "Never|PreemptLowerPriority"),
    ("core/v1.PodSpec.restartPolicy", "Always|Never|OnFailure"),
    ("core/v1.PodStatus.phase", "Failed|Pending|Running|Succeeded|Unknown"),
    ("core/v1.PodStatus.qosClass", "BestEffort|Burstable|Guaranteed"),
    (
        "core/v1.ResourceQuotaSpec.scopes core/v1.ScopedResourceSelectorRequirement.scopeName",
        "BestEffort|CrossNamespacePodAffinity|NotBestEffort|NotTerminating|PriorityClass|Terminating|VolumeAttributesClass",
    ),
    ("core/v1.ScopedResourceSelectorRequirement.operator", "DoesNotExist|Exists|In|NotIn"),
    ("core/v1.SecurityContext.procMount", "Default|Unmasked"),
    ("core/v1.ServiceSpec.externalTrafficPolicy core/v1.ServiceSpec.internalTrafficPolicy", "Cluster|Local"),
    ("core/v1.ServiceSpec.ipFamilies", "|IPv4|IPv6"),
    ("core/v1.ServiceSpec.ipFamilyPolicy", "PreferDualStack|RequireDualStack|SingleStack"),
    ("core/v1.ServiceSpec.sessionAffinity", "ClientIP|None"),
    ("core/v1.ServiceSpec.type", "ClusterIP|ExternalName|LoadBalancer|NodePort"),
    ("core/v1.Taint.effect core/v1.Toleration.effect", "NoExecute|NoSchedule|PreferNoSchedule"),
    ("core/v1.Toleration.operator", "Equal|Exists|Gt|Lt"),
    (
        "core/v1.TopologySpreadConstraint.nodeAffinityPolicy core/v1.TopologySpreadConstraint.nodeTaintsPolicy",
        "Honor|Ignore",
    ),
    ("core/v1.TopologySpreadConstraint.whenUnsatisfiable", "DoNotSchedule|ScheduleAnyway"),
    ("core/v1.VolumeMount.mountPropagation", "Bidirectional|HostToContainer|None"),
    ("discovery/v1.EndpointSlice.addressType", "FQDN|IPv4|IPv6"),
    ("networking/v1.HTTPIngressPath.pathType", "Exact|ImplementationSpecific|Prefix"),
    ("networking/v1.NetworkPolicySpec.policyTypes", "Egress|Ingress"),
    ("policy/v1.PodDisruptionBudgetSpec.unhealthyPodEvictionPolicy", "AlwaysAllow|IfHealthyBudget"),
    ("resource/v1.DeviceAllocationConfiguration.source", "FromClaim|FromClass"),
    ("resource/v1.DeviceSubRequest.allocationMode resource/v1.ExactDeviceRequest.allocationMode", "All|ExactCount"),
    ("resource/v1.DeviceTaint.effect resource/v1.DeviceToleration.effect", "NoExecute|NoSchedule|None"),
    ("resource/v1.DeviceToleration.operator", "Equal|Exists"),
    ("storage/v1.StorageClass.volumeBindingMode", "Immediate|WaitForFirstConsumer"),
];

/// What absent fields stand for where that is not the zero value, or where it would not be told.
const DEFAULTS: &[(&str, &str)] = &[
    ("autoscaling/v1.ScaleSpec.replicas", "0"),
    ("core/v1.AzureDiskVolumeSource.cachingMode", "\"ReadWrite\""),
    ("core/v1.AzureDiskVolumeSource.fsType", "\"ext4\""),
    ("core/v1.AzureDiskVolumeSource.kind", "\"Shared\""),
    ("core/v1.AzureDiskVolumeSource.readOnly", "false"),
    ("core/v1.ConfigMapEnvSource.name", "\"\""),
    ("core/v1.ConfigMapKeySelector.name", "\"\""),
    ("core/v1.ConfigMapProjection.name", "\"\""),
    ("core/v1.ConfigMapVolumeSource.name", "\"\""),
    ("core/v1.ContainerPort.protocol", "\"TCP\""),
    ("core/v1.FileKeySelector.optional", "false"),
    ("core/v1.GRPCAction.service", "\"\""),
    ("core/v1.ISCSIPersistentVolumeSource.iscsiInterface", "\"default\""),
    ("core/v1.ISCSIVolumeSource.iscsiInterface", "\"default\""),
    ("core/v1.LocalObjectReference.name", "\"\""),
    ("core/v1.RBDPersistentVolumeSource.keyring", "\"/etc/ceph/keyring\""),
    ("core/v1.RBDPersistentVolumeSource.pool", "\"rbd\""),
    ("core/v1.RBDPersistentVolumeSource.user", "\"admin\""),
    ("core/v1.RBDVolumeSource.keyring", "\"/etc/ceph/keyring\""),
    ("core/v1.RBDVolumeSource.pool", "\"rbd\""),
    ("core/v1.RBDVolumeSource.user", "\"admin\""),
    ("core/v1.ReplicationControllerSpec.minReadySeconds", "0"),
    ("core/v1.ReplicationControllerSpec.replicas", "1"),
    ("core/v1.ScaleIOPersistentVolumeSource.fsType", "\"xfs\""),
    ("core/v1.ScaleIOPersistentVolumeSource.storageMode", "\"ThinProvisioned\""),
    ("core/v1.ScaleIOVolumeSource.fsType", "\"xfs\""),
    ("core/v1.ScaleIOVolumeSource.storageMode", "\"ThinProvisioned\""),
    ("core/v1.SecretEnvSource.name", "\"\""),
    ("core/v1.SecretKeySelector.name", "\"\""),
    ("core/v1.SecretProjection.name", "\"\""),
    ("core/v1.ServicePort.protocol", "\"TCP\""),
    ("resource/v1.DeviceToleration.operator", "\"Equal\""),
];

/// Fields that clients must give, and of which no default is told.
const WITHOUT: &[&str] = &[
    "admissionregistration/v1.ValidatingAdmissionPolicyBindingSpec.policyName",
    "authentication/v1.TokenReviewSpec.token",
    "core/v1.ContainerRestartRule.action",
    "core/v1.ContainerRestartRuleOnExitCodes.operator",
    "core/v1.ImageVolumeStatus.imageRef",
    "core/v1.PodCertificateProjection.keyType",
    "core/v1.PodCertificateProjection.signerName",
    "networking/v1.ParentReference.name",
    "networking/v1.ParentReference.resource",
];

/// Types of whose fields at most one is set: the field that names it, where there is one, then those by what it says of them.
const UNIONS: &[(&str, &str, &[(&str, &str)])] = &[
    ("core/v1.AppArmorProfile", "type", &[("localhostProfile", "LocalhostProfile")]),
    ("core/v1.PodSchedulingGroup", "", &[("podGroupName", "PodGroupName")]),
    ("core/v1.SeccompProfile", "type", &[("localhostProfile", "LocalhostProfile")]),
    ("flowcontrol/v1.LimitResponse", "type", &[("queuing", "Queuing")]),
    ("flowcontrol/v1.PriorityLevelConfigurationSpec", "type", &[("exempt", "Exempt"), ("limited", "Limited")]),
    ("flowcontrol/v1.Subject", "kind", &[("group", "Group"), ("serviceAccount", "ServiceAccount"), ("user", "User")]),
];

/// The values that a field of a type (`core/v1.Pod`) takes, or those in it where it is a list or map; `None` for those of any text.
pub fn choices(name: &str, field: &str) -> Option<Value> {
    let place = format!("{name}.{field}");
    let (_, values) = CHOICES.iter().find(|(fields, _)| fields.split(' ').any(|own| own == place))?;
    Some(values.split('|').collect())
}

/// What a field stands for that is absent; `None` for those that may be absent.
pub fn default_of(name: &str, field: &str, schema: &Schema) -> Option<Value> {
    let place = format!("{name}.{field}");
    if let Some((_, text)) = DEFAULTS.iter().find(|(own, _)| *own == place) {
        return Some(serde_json::from_str(text).expect("defaults are JSON"));
    }
    let told = schema.shape() == Shape::Object || schema.is_written();
    if schema.is_pointer() || !told || WITHOUT.contains(&place.as_str()) {
        return None;
    }
    zero(schema)
}

/// The zero value of what is neither list nor map nor has a form of its own in JSON.
pub fn zero(schema: &Schema) -> Option<Value> {
    match schema.shape() {
        Shape::Object => Some(json!({})),
        Shape::String => Some(json!("")),
        Shape::Bool => Some(json!(false)),
        Shape::Int32 | Shape::Int64 | Shape::Double => Some(json!(0)),
        _ => None,
    }
}

/// The extension that names the fields of a type which exclude each other.
pub fn unions(name: &str) -> Option<Value> {
    let (_, discriminator, members) = UNIONS.iter().find(|(own, _, _)| *own == name)?;
    let members: serde_json::Map<String, Value> =
        members.iter().map(|(field, value)| ((*field).to_owned(), json!(value))).collect();
    let mut union = json!({"fields-to-discriminateBy": members});
    if !discriminator.is_empty() {
        union["discriminator"] = json!(discriminator);
    }
    Some(json!([union]))
}
