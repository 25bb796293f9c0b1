//! What this node declares that it can do (KEP-5328).

/// `status.declaredFeatures`, sorted: WebSockets of clients may be passed on as they are; a pod is resized as a whole; so are init
/// containers that are no sidecars; all containers start again when one ends in a way that its rules name (KEP-5532).
const DECLARED: [&str; 4] = [
    "ExtendWebSocketsToKubelet",
    "InPlacePodLevelResourcesVerticalScaling",
    "InPlacePodVerticalScalingInitContainers",
    "RestartAllContainersOnContainerExits",
];

/// What the node declares.
pub fn declared() -> Vec<String> {
    DECLARED.map(str::to_owned).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_declares_is_sorted() {
        assert!(declared().is_sorted(), "as clients find it on every node");
    }
}
