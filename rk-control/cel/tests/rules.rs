//! Rules as widely used definitions of custom kinds write them: all of them compile, and hold or do not.

use rk_cel::{Context, EXPRESSION_LIMIT, Env, Type, Value};
use serde_json::{Value as Json, json};

fn schema() -> Json {
    let text = || json!({"type": "string"});
    let reference = json!({"type": "object", "properties": {"name": text(), "namespace": text(), "group": text(), "kind": text(), "sectionName": text(), "port": {"type": "integer"}}});
    let filter = json!({"type": "object", "properties": {"type": text(), "requestRedirect": {"type": "object", "properties": {"path": {"type": "object", "properties": {"type": text()}}}},
        "urlRewrite": {"type": "object"}}});
    json!({"type": "object", "properties": {
        "parentRefs": {"type": "array", "items": reference}, "backendRefs": {"type": "array", "items": reference},
        "filters": {"type": "array", "items": filter}, "hostnames": {"type": "array", "items": text(), "x-kubernetes-list-type": "set"},
        "port": {"x-kubernetes-int-or-string": true}, "timeout": text(), "type": text(), "external": {"type": "object"}, "if": text(),
        "labels": {"type": "object", "additionalProperties": text()}, "cpu": {"x-kubernetes-int-or-string": true}, "address": text(),
        "min": {"type": "integer"}, "max": {"type": "integer"}, "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}})
}

fn holds(rule: &str, object: &Json) -> bool {
    let schema = schema();
    let ty = rk_cel::of_openapi(&schema, "self");
    let env = Env::new().with("self", ty.clone()).with("oldSelf", ty);
    let program = env.compile_as(rule, &Type::Bool).unwrap_or_else(|error| panic!("{rule}: {error}"));
    let mut context = Context::new(EXPRESSION_LIMIT);
    context.set("self", Value::typed(object, Some(&schema)));
    context.set("oldSelf", Value::typed(object, Some(&schema)));
    match context.run(&program, EXPRESSION_LIMIT) {
        Ok(Value::Bool(holds)) => holds,
        other => panic!("{rule}: {other:?}"),
    }
}

#[test]
fn rules_in_use_compile_and_hold() {
    let object = json!({
        "parentRefs": [{"name": "a", "namespace": "n"}, {"name": "a", "namespace": "n", "sectionName": "s"}],
        "backendRefs": [{"name": "b", "port": 80, "kind": "Service"}],
        "filters": [{"type": "RequestRedirect", "requestRedirect": {"path": {"type": "ReplaceFullPath"}}}],
        "hostnames": ["b.example.com", "a.example.com"], "port": "http", "timeout": "1m", "type": "A", "external": {}, "if": "x",
        "labels": {"app.example.com/x": "y"}, "cpu": "500m", "address": "10.0.0.1", "min": 1, "max": 3, "free": {"a": 1}});
    for rule in [
        "self.parentRefs.all(p1, self.parentRefs.exists_one(p2, p1.name == p2.name && p1.__namespace__ == p2.__namespace__ && ((!has(p1.sectionName) && !has(p2.sectionName)) || (has(p1.sectionName) && has(p2.sectionName) && p1.sectionName == p2.sectionName))))",
        "!has(self.backendRefs) || size(self.backendRefs) == 0 || self.backendRefs.all(b, b.kind == 'Service' ? has(b.port) : true)",
        "(size(self.filters) > 0) ? (self.filters.exists(f, has(f.requestRedirect))) : true",
        "self.filters.filter(f, f.type == 'RequestRedirect').size() <= 1",
        "!(has(self.filters[0].urlRewrite) && self.filters[0].type != 'URLRewrite')",
        "self.filters[0].requestRedirect.path.type in ['ReplaceFullPath', 'ReplacePrefixMatch']",
        "self.hostnames == ['a.example.com', 'b.example.com']",
        "self.hostnames.all(h, h.matches('^[a-z0-9.]+$') && !h.contains('*')) && (self.hostnames + ['a.example.com']).size() == 2",
        "type(self.port) == int ? self.port > 0 && self.port < 65536 : self.port.size() > 0",
        "duration(self.timeout) >= duration('1ms') && duration(self.timeout) <= duration('1h')",
        "self.type == 'A' ? has(self.external) : !has(self.external)",
        "[has(self.external), has(self.free), has(self.labels)].filter(x, x == true).size() >= 1",
        "(has(self.external) ? 1 : 0) + (has(self.min) ? 1 : 0) == 2",
        "self.__if__ == 'x' && self.external == oldSelf.external",
        "self.labels.all(k, k.split('/').size() <= 2) && self.labels['app.example.com/x'] == 'y'",
        "quantity(self.cpu).isGreaterThan(quantity('100m')) && isQuantity(self.cpu)",
        "isIP(self.address) && ip(self.address).family() == 4 && cidr('10.0.0.0/8').containsIP(self.address)",
        "self.min <= self.max && has(self.free)",
        "self.?labels['none'].orValue('d') == 'd' && self.?type.orValue('') == 'A' && !self.parentRefs[?7].hasValue()",
        "self.parentRefs.map(p, p.name).isSorted() && self.backendRefs.map(b, b.port).max() < 100",
        "self == oldSelf",
    ] {
        assert!(holds(rule, &object), "{rule}");
    }
}
