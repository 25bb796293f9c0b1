//! Objects of the API that a manifest names. Static pods run without the API, and a node that could have any object named for it would
//! read what it must not (upstream's `PreventStaticPodAPIReferences`).

use serde_json::Value;

/// Fields below `spec` that name objects, and what upstream calls these objects. `*` stands for each element of a list. The first that
/// is there is told of: an object, or a text that is not empty.
const REFERENCES: &[(&str, &str)] = &[
    ("serviceAccountName", "serviceaccounts"),
    // Its former name.
    ("serviceAccount", "serviceaccounts"),
    ("imagePullSecrets.*.name", "secrets"),
    ("initContainers.*.envFrom.*.secretRef.name", "secrets"),
    ("initContainers.*.env.*.valueFrom.secretKeyRef.name", "secrets"),
    ("containers.*.envFrom.*.secretRef.name", "secrets"),
    ("containers.*.env.*.valueFrom.secretKeyRef.name", "secrets"),
    ("volumes.*.azureFile.secretName", "secrets"),
    ("volumes.*.cephfs.secretRef.name", "secrets"),
    ("volumes.*.cinder.secretRef.name", "secrets"),
    ("volumes.*.csi.nodePublishSecretRef.name", "secrets"),
    ("volumes.*.flexVolume.secretRef.name", "secrets"),
    ("volumes.*.iscsi.secretRef.name", "secrets"),
    ("volumes.*.projected.sources.*.secret.name", "secrets"),
    ("volumes.*.rbd.secretRef.name", "secrets"),
    ("volumes.*.scaleIO.secretRef.name", "secrets"),
    ("volumes.*.secret.secretName", "secrets"),
    ("volumes.*.storageos.secretRef.name", "secrets"),
    ("initContainers.*.envFrom.*.configMapRef.name", "configmaps"),
    ("initContainers.*.env.*.valueFrom.configMapKeyRef.name", "configmaps"),
    ("containers.*.envFrom.*.configMapRef.name", "configmaps"),
    ("containers.*.env.*.valueFrom.configMapKeyRef.name", "configmaps"),
    ("volumes.*.configMap.name", "configmaps"),
    ("volumes.*.projected.sources.*.configMap.name", "configmaps"),
    ("resourceClaims.*", "resourceclaims"),
    // What follows is of the API whatever it names, if anything.
    ("volumes.*.configMap", "configmaps (via configmap volumes)"),
    ("volumes.*.secret", "secrets (via secret volumes)"),
    ("volumes.*.csi", "csidrivers (via CSI volumes)"),
    ("volumes.*.glusterfs", "endpoints (via glusterFS volumes)"),
    ("volumes.*.persistentVolumeClaim", "persistentvolumeclaims"),
    ("volumes.*.ephemeral", "persistentvolumeclaims (via ephemeral volumes)"),
    ("volumes.*.azureFile", "secrets (via azureFile volumes)"),
    ("volumes.*.projected.sources.*.configMap", "configmaps (via projected volumes)"),
    ("volumes.*.projected.sources.*.secret", "secrets (via projected volumes)"),
    ("volumes.*.projected.sources.*.serviceAccountToken", "serviceaccounts (via projected volumes)"),
    ("volumes.*.projected.sources.*.clusterTrustBundle", "clustertrustbundles"),
    ("volumes.*.projected.sources.*.podCertificate", "podcertificates"),
];
/// How an object that is referred to by more than its name has its name.
const NAMES: &[&str] = &["name", "claimName", "driver", "endpoints", "signerName"];

/// Why a manifest is refused that names an object of the API: upstream's words, then the field and what it names.
pub(super) fn refused(manifest: &Value) -> Option<String> {
    let spec = manifest.get("spec")?;
    REFERENCES.iter().find_map(|(path, resource)| {
        let (field, found) = first(spec, path, "spec".to_owned())?;
        let name = name(found).map(|name| format!(" names {name:?}")).unwrap_or_default();
        Some(format!("static pods may not reference {resource}: {field}{name}"))
    })
}

/// The first thing at a path, and where exactly it is.
fn first<'a>(value: &'a Value, path: &str, at: String) -> Option<(String, &'a Value)> {
    let (step, rest) = path.split_once('.').map_or((path, None), |(step, rest)| (step, Some(rest)));
    let into = |value: &'a Value, at: String| match rest {
        Some(rest) => first(value, rest, at),
        None => is_there(value).then_some((at, value)),
    };
    match step {
        "*" => {
            value.as_array()?.iter().enumerate().find_map(|(index, element)| into(element, format!("{at}[{index}]")))
        }
        key => into(value.get(key)?, format!("{at}.{key}")),
    }
}

fn is_there(value: &Value) -> bool {
    !value.is_null() && value.as_str() != Some("")
}

fn name(found: &Value) -> Option<&str> {
    found.as_str().or_else(|| NAMES.iter().find_map(|key| found.get(*key)?.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(spec: Value) -> Option<String> {
        refused(&json!({"spec": spec}))
    }

    fn volume(source: Value) -> Value {
        json!({"volumes": [{"name": "own", "emptyDir": {}}, source]})
    }

    fn projected(source: Value) -> Value {
        volume(json!({"name": "v", "projected": {"sources": [{"downwardAPI": {}}, source]}}))
    }

    #[test]
    fn a_manifest_that_names_an_object_of_the_api_is_refused_with_the_field_and_the_object() {
        for (spec, want) in [
            (json!({"serviceAccountName": "a"}), r#"serviceaccounts: spec.serviceAccountName names "a""#),
            (json!({"serviceAccount": "a"}), r#"serviceaccounts: spec.serviceAccount names "a""#),
            (json!({"imagePullSecrets": [{"name": "a"}]}), r#"secrets: spec.imagePullSecrets[0].name names "a""#),
            (
                json!({"containers": [{}, {"env": [{"valueFrom": {"secretKeyRef": {"name": "a"}}}]}]}),
                r#"secrets: spec.containers[1].env[0].valueFrom.secretKeyRef.name names "a""#,
            ),
            (
                json!({"initContainers": [{"envFrom": [{"configMapRef": {"name": "a"}}]}]}),
                r#"configmaps: spec.initContainers[0].envFrom[0].configMapRef.name names "a""#,
            ),
            (volume(json!({"secret": {"secretName": "a"}})), r#"secrets: spec.volumes[1].secret.secretName names "a""#),
            (volume(json!({"secret": {}})), "secrets (via secret volumes): spec.volumes[1].secret"),
            (
                volume(json!({"rbd": {"secretRef": {"name": "a"}}})),
                r#"secrets: spec.volumes[1].rbd.secretRef.name names "a""#,
            ),
            (volume(json!({"configMap": {"name": "a"}})), r#"configmaps: spec.volumes[1].configMap.name names "a""#),
            (volume(json!({"configMap": {}})), "configmaps (via configmap volumes): spec.volumes[1].configMap"),
            (volume(json!({"csi": {"driver": "d"}})), r#"csidrivers (via CSI volumes): spec.volumes[1].csi names "d""#),
            (
                volume(json!({"glusterfs": {"endpoints": "e"}})),
                r#"endpoints (via glusterFS volumes): spec.volumes[1].glusterfs names "e""#,
            ),
            (
                volume(json!({"persistentVolumeClaim": {"claimName": "c"}})),
                r#"persistentvolumeclaims: spec.volumes[1].persistentVolumeClaim names "c""#,
            ),
            (
                volume(json!({"ephemeral": {}})),
                "persistentvolumeclaims (via ephemeral volumes): spec.volumes[1].ephemeral",
            ),
            (volume(json!({"azureFile": {}})), "secrets (via azureFile volumes): spec.volumes[1].azureFile"),
            (
                projected(json!({"serviceAccountToken": {"path": "p"}})),
                "serviceaccounts (via projected volumes): spec.volumes[1].projected.sources[1].serviceAccountToken",
            ),
            (
                projected(json!({"clusterTrustBundle": {"name": "b"}})),
                r#"clustertrustbundles: spec.volumes[1].projected.sources[1].clusterTrustBundle names "b""#,
            ),
            (
                projected(json!({"podCertificate": {"signerName": "s"}})),
                r#"podcertificates: spec.volumes[1].projected.sources[1].podCertificate names "s""#,
            ),
            (json!({"resourceClaims": [{"name": "c"}]}), r#"resourceclaims: spec.resourceClaims[0] names "c""#),
        ] {
            let want = format!("static pods may not reference {want}");
            assert_eq!(told(spec.clone()), Some(want), "{spec}");
        }
        let both =
            json!({"imagePullSecrets": [{"name": "a"}], "serviceAccountName": "b", "resourceClaims": [{"name": "c"}]});
        assert!(told(both).is_some_and(|told| told.contains("serviceaccounts")), "upstream's order");
    }

    #[test]
    fn a_manifest_that_names_nothing_of_the_api_runs() {
        for spec in [
            json!({"containers": [{"name": "c", "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "f"}}}]}]}),
            json!({"serviceAccountName": "", "imagePullSecrets": [{"name": ""}], "resourceClaims": []}),
            volume(json!({"hostPath": {"path": "/p"}})),
            volume(json!({"rbd": {"secretRef": null}})),
            volume(json!({"secret": null, "image": {"reference": "r"}})),
            projected(json!({"downwardAPI": {"items": []}})),
        ] {
            assert_eq!(told(spec.clone()), None, "{spec}");
        }
        assert_eq!(refused(&json!({})), None);
    }
}
