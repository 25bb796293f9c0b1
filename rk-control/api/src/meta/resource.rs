//! Whose a resource is by its name.

use super::qualified_name;

/// What precedes the name of a device class in the extended resource that every class has without saying so (KEP-5004).
pub const CLASS_RESOURCE: &str = "deviceclass.resource.kubernetes.io/";

/// Whether a resource is of the system's own domain.
#[must_use]
pub fn is_native_resource(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// Whether a resource is of somebody else's domain, and may be bounded by quotas.
#[must_use]
pub fn is_extended_resource(name: &str) -> bool {
    !is_native_resource(name)
        && !name.starts_with("requests.")
        && qualified_name(&format!("requests.{name}")).is_empty()
}

/// Whether devices of a class may stand behind a resource: an extended one, or that of a class itself.
#[must_use]
pub fn may_be_devices(name: &str) -> bool {
    name.starts_with(CLASS_RESOURCE) || is_extended_resource(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_are_told_apart_by_their_domain() {
        for (name, native, extended, devices) in [
            ("cpu", true, false, false),
            ("hugepages-2Mi", true, false, false),
            ("node.kubernetes.io/x", true, false, false),
            ("deviceclass.resource.kubernetes.io/gpu", true, false, true),
            ("example.com/gpu", false, true, true),
            ("requests.example.com/gpu", false, false, false),
            ("example.com/-gpu", false, false, false),
        ] {
            let told = (is_native_resource(name), is_extended_resource(name), may_be_devices(name));
            assert_eq!(told, (native, extended, devices), "{name}");
        }
    }
}
