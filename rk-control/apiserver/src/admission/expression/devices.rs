//! Selectors of devices: whether their expressions compile.

use rk_api::meta::{at, list};
use rk_api::status::{FieldErrors, Path};
use rk_cel::device::{LONGEST, compile};
use serde_json::Value;

/// Adds what is wrong with the selectors of a class, a claim or a template of claims.
pub(super) fn check(kind: &str, new: &Value, errors: &mut FieldErrors) {
    let (spec, path) = (at(new, &["spec"]), Path::new("spec"));
    match kind {
        "DeviceClass" => selectors(spec, &path, errors),
        "ResourceClaim" => claim(spec, &path, errors),
        "ResourceClaimTemplate" => claim(at(spec, &["spec"]), &path.child("spec"), errors),
        _ => {}
    }
}

fn claim(spec: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let all = path.child("devices");
    let all = all.child("requests");
    for (index, request) in list(spec, &["devices", "requests"]).iter().enumerate() {
        let path = all.index(index);
        selectors(at(request, &["exactly"]), &path.child("exactly"), errors);
        let alternatives = path.child("firstAvailable");
        for (index, alternative) in list(request, &["firstAvailable"]).iter().enumerate() {
            selectors(alternative, &alternatives.index(index), errors);
        }
    }
}

fn selectors(holder: &Value, path: &Path<'_>, errors: &mut FieldErrors) {
    let all = path.child("selectors");
    for (index, selector) in list(holder, &["selectors"]).iter().enumerate() {
        // A selector without an expression is told of elsewhere.
        let Some(written) = at(selector, &["cel", "expression"]).as_str() else { continue };
        let path = all.index(index);
        let path = path.child("cel");
        let path = path.child("expression");
        if written.len() > LONGEST {
            errors.too_long(&path, LONGEST);
            continue;
        }
        if let Err(why) = compile(written) {
            errors.invalid(&path, written, why);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(kind: &str, object: &Value) -> String {
        let mut errors = FieldErrors::default();
        check(kind, object, &mut errors);
        errors.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }

    fn class(expression: &str) -> Value {
        json!({"spec": {"selectors": [{"cel": {"expression": expression}}]}})
    }

    #[test]
    fn selectors_know_what_a_device_has() {
        for fits in [
            "true",
            "device.driver == 'd.example.com'",
            "device.attributes['d.example.com'].model == 'a'",
            "device.attributes['d.example.com'].enabled",
            "device.capacity['d.example.com'].memory.compareTo(quantity('1Gi')) >= 0",
            "cel.bind(own, device.attributes['d.example.com'], own.a && own.b)",
            "device.allowMultipleAllocations",
        ] {
            assert_eq!(told("DeviceClass", &class(fits)), "", "{fits}");
        }
        for (expression, why) in [
            ("", "compilation failed: ERROR: <input>:1:1: Syntax error"),
            ("device.", "compilation failed: ERROR: <input>:1:"),
            ("device.nope", "undefined field 'nope'"),
            ("noSuchVar", "undeclared reference to 'noSuchVar' (in container '')"),
            ("device.driver", "must evaluate to bool or the unknown type, not string"),
        ] {
            let said = told("DeviceClass", &class(expression));
            let place = format!("spec.selectors[0].cel.expression: Invalid value: {expression:?}: ");
            assert!(said.starts_with(&place) && said.contains(why), "{expression}: {said}");
        }
        let long = told("DeviceClass", &class(&" ".repeat(LONGEST + 1)));
        assert_eq!(long, "spec.selectors[0].cel.expression: Too long: may not be more than 10240 bytes");
    }

    #[test]
    fn every_request_of_a_claim_is_looked_at() {
        let bad = json!([{"cel": {"expression": "1"}}]);
        let spec = json!({"devices": {"requests": [{"exactly": {"selectors": bad}}, {"firstAvailable": [{}, {"selectors": bad}]}]}});
        let claim = told("ResourceClaim", &json!({"spec": spec}));
        for place in ["requests[0].exactly.selectors[0]", "requests[1].firstAvailable[1].selectors[0]"] {
            assert!(claim.contains(&format!("spec.devices.{place}.cel.expression: Invalid value: \"1\"")), "{claim}");
        }
        let template = told("ResourceClaimTemplate", &json!({"spec": {"spec": spec}}));
        assert!(template.starts_with("spec.spec.devices.requests[0].exactly"), "{template}");
    }
}
