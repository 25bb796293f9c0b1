//! What ResourceClaims are marked with by those who look after them.

/// The annotation of a ResourceClaim that the scheduler made for the extended resources of the pod which owns it (KEP-5004); its value is
/// `true`.
pub const EXTENDED_CLAIM: &str = "resource.kubernetes.io/extended-resource-claim";

/// The finalizer that keeps a ResourceClaim while it has devices.
pub const DEVICES_FINALIZER: &str = "resource.kubernetes.io/delete-protection";
