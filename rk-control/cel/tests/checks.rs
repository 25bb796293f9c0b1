//! What is refused before it runs, worded and placed as clients know it.

use rk_cel::{CompileError, Env, Type};
use serde_json::json;

fn env() -> Env {
    let schema = json!({"type": "object", "properties": {
        "replicas": {"type": "integer"}, "name": {"type": "string"}, "size": {"type": "number"}, "at": {"type": "string", "format": "date-time"},
        "either": {"x-kubernetes-int-or-string": true}, "a-b": {"type": "string"}, "namespace": {"type": "string"},
        "list": {"type": "array", "items": {"type": "object", "properties": {"port": {"type": "integer"}}}},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}}}});
    Env::new().with("self", rk_cel::of_openapi(&schema, "self")).with("object", Type::Dyn)
}

fn error(text: &str) -> String {
    match env().compile(text) {
        Ok(program) => panic!("{text} is of type {}", program.output()),
        Err(error) => error.to_string(),
    }
}

#[test]
fn errors_stand_where_they_are() {
    assert_eq!(
        error("x > 1"),
        "compilation failed: ERROR: <input>:1:1: undeclared reference to 'x' (in container '')\n | x > 1\n | ^"
    );
    assert_eq!(
        error("self.replicas > 1 && self.none == 2"),
        "compilation failed: ERROR: <input>:1:26: undefined field 'none'\n | self.replicas > 1 && self.none == 2\n | .........................^"
    );
    assert_eq!(
        error("self.name == 1"),
        "compilation failed: ERROR: <input>:1:11: found no matching overload for '_==_' applied to '(string, int)'\n | self.name == 1\n | ..........^"
    );
    assert_eq!(
        error("true ||\n has(self.none)"),
        "compilation failed: ERROR: <input>:2:5: undefined field 'none'\n |  has(self.none)\n | ....^"
    );
    let two = error("x + y > 0");
    assert!(
        two.contains("1:1: undeclared reference to 'x'") && two.contains("\nERROR: <input>:1:5: undeclared"),
        "{two}"
    );
    assert!(
        error("1 +").starts_with(
            "compilation failed: ERROR: <input>:1:4: Syntax error: mismatched input '<EOF>' expecting {'['"
        )
    );
}

#[test]
fn what_does_not_fit_is_refused() {
    for (text, why) in [
        ("self.name.foo()", "undeclared reference to 'foo' (in container '')"),
        ("nope(1)", "undeclared reference to 'nope' (in container '')"),
        ("self.name.contains(1)", "found no matching overload for 'contains' applied to 'string.(int)'"),
        ("size(1)", "found no matching overload for 'size' applied to '(int)'"),
        (
            "self.replicas.all(x, true)",
            "expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)",
        ),
        ("self.list.all(x, x.port)", "found no matching overload for '_&&_' applied to '(bool, int)'"),
        ("self.list.exists(x, x.none == 1)", "undefined field 'none'"),
        ("self.name && true", "found no matching overload for '_&&_' applied to '(string, bool)'"),
        ("!self.name", "found no matching overload for '!_' applied to '(string)'"),
        ("self.replicas ? 1 : 2", "found no matching overload for '_?_:_'"),
        ("true ? 1 : 'a'", "found no matching overload for '_?_:_' applied to '(bool, int, string)'"),
        ("[1, 'a']", "expected type 'int' but found 'string'"),
        ("{'a': 1, 'b': 'c'}", "expected type 'int' but found 'string'"),
        ("self.replicas.x", "type 'int' does not support field selection"),
        ("self.labels.size() > self.name", "found no matching overload for '_>_' applied to '(int, string)'"),
        ("self.list[0].port == 'x'", "applied to '(int, string)'"),
        ("self.list['a']", "found no matching overload for '_[_]'"),
        ("self.size == 1", "applied to '(double, int)'"),
        ("self.at == 'x'", "applied to '(timestamp, string)'"),
        ("1 in 2", "found no matching overload for '@in' applied to '(int, int)'"),
        ("has(self)", "invalid argument to has() macro"),
        ("[1].map(1, 2)", "argument is not an identifier"),
        ("[1].all(1, true)", "argument must be a simple name"),
        ("for == 1", "reserved identifier: for"),
        ("a b", "Syntax error: mismatched input 'b' expecting <EOF>"),
        ("'abc", "Syntax error: token recognition error"),
        ("(1", "expecting ')'"),
        ("1 = 2", "Syntax error"),
        ("", "Syntax error: mismatched input '<EOF>'"),
        ("#", "token recognition error at: '#'"),
        ("self.name.matches('[')", "ERROR: <input>:1:19: invalid matches argument"),
        ("duration('1y') > duration('1s')", "invalid duration argument"),
        ("timestamp('now') > self.at", "invalid timestamp argument"),
        (
            "'%d'.format([self.name]) == ''",
            "1:18: error during formatting: decimal clause can only be used on integers, was given string",
        ),
        ("'%s'.format([self]) == ''", "error during formatting: string clause can only be used on strings"),
        ("'%s %s'.format(['x']) == ''", "1:15: index 1 out of range"),
        ("'%s'.format(['x', 'y']) == ''", "too many arguments supplied to string.format (expected 1, got 2)"),
        ("'%z'.format([1]) == ''", "could not parse formatting clause: unrecognized formatting clause \"z\""),
        ("'%'.format([1]) == ''", "unexpected end of string"),
        (
            "[1].sortBy(x, [x])",
            "found no matching overload for '@sortByAssociatedKeys' applied to 'list(int).(list(list(int)))'",
        ),
        ("{[1]: 2}", "unsupported key type: list(int)"),
        ("Object{}", "undeclared reference to 'Object'"),
        // What other hosts of the language have.
        ("cel.bind(x, 1, x) == 1", "1:1: undeclared reference to 'cel'"),
        ("math.abs(1) == 1", "undeclared reference to 'math'"),
        ("base64.encode(b'a') == ''", "undeclared reference to 'base64'"),
        ("'a'.reverse() == ''", "found no matching overload for 'reverse' applied to 'string.()'"),
        ("quantity('1').sign() == 1", "found no matching overload for 'sign' applied to 'kubernetes.Quantity.()'"),
        ("startsWith('a', 'b')", "found no matching overload for 'startsWith' applied to '(string, string)'"),
    ] {
        let said = error(text);
        assert!(said.contains(why), "{text}: {said}");
    }
}

#[test]
fn what_fits_has_a_type() {
    for (text, ty) in [
        ("self.replicas", "int"),
        ("self.name", "string"),
        ("self.size > 1", "bool"),
        ("self.at", "timestamp"),
        ("self.either", "dyn"),
        ("self.a__dash__b == self.__namespace__", "bool"),
        ("self.list.map(x, x.port)", "list(int)"),
        ("self.list.filter(x, x.port > 1).size()", "int"),
        ("self.labels", "map(string, string)"),
        ("self.labels['x']", "string"),
        ("object.a.b", "dyn"),
        ("object.a > 1", "bool"),
        ("self.?name", "optional_type(string)"),
        ("self.?name.orValue('x')", "string"),
        ("[1, 2]", "list(int)"),
        ("{'a': [1]}", "map(string, list(int))"),
        ("true ? 1 : object.x", "dyn"),
        ("self.labels.exists(k, v, k == v)", "bool"),
        ("self.at - self.at", "duration"),
        ("quantity('1')", "kubernetes.Quantity"),
        ("[]", "list(dyn)"),
        ("self.replicas > 1 ? [self.name] : []", "list(string)"),
        ("(true ? optional.of(true) : optional.none()).orValue(false)", "bool"),
        ("optional.none().orValue(1)", "int"),
    ] {
        let program = env().compile(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(program.output().to_string(), ty, "{text}");
    }
}

#[test]
fn the_result_must_be_of_the_type_that_is_asked_for() {
    let error = env().compile_as("self.replicas", &Type::Bool).unwrap_err();
    assert_eq!(error.to_string(), "must evaluate to bool but got int");
    assert!(matches!(error, CompileError::Output { .. }));
    assert!(env().compile_as("object.x", &Type::Bool).is_err(), "what may be anything is not a bool");
    assert!(env().compile_as("object.x == 1", &Type::Bool).is_ok());
}

#[test]
fn what_is_constant_and_fails_is_no_program() {
    for (text, why) in [
        ("self.name.find('[') == ''", "program instantiation failed: error parsing regexp: "),
        ("self.name.findAll('[', 1) == []", "program instantiation failed: error parsing regexp: "),
        ("true || int('x') == 1", "program instantiation failed: type conversion error from 'string' to 'int'"),
        ("uint(-1) == 1u", "program instantiation failed: unsigned integer overflow"),
        ("bool(string('x'))", "program instantiation failed: type conversion error from 'string' to 'bool'"),
    ] {
        let said = env().compile_as(text, &Type::Bool).unwrap_err().to_string();
        assert!(said.starts_with(why), "{text}: {said}");
    }
    assert!(env().compile("int(self.name) / 0").is_ok(), "it may never be come to");
}

#[test]
fn built_in_kinds_have_types() {
    let gvk = rk_api::resources::GroupVersionKind::new("apps".to_owned(), "v1".to_owned(), "Deployment".to_owned());
    let env = Env::new().with("object", rk_cel::of_kind(&gvk).unwrap());
    let ty = |text: &str| env.compile(text).map(|program| program.output().to_string());
    assert_eq!(ty("object.spec.replicas").unwrap(), "int");
    assert_eq!(ty("object.metadata.labels").unwrap(), "map(string, string)");
    assert_eq!(ty("object.spec.template.spec.containers.map(c, c.name)").unwrap(), "list(string)");
    assert!(ty("object.spec.maxReplicas").unwrap_err().to_string().contains("undefined field 'maxReplicas'"));
    assert!(ty("object.spec.replicas > '1'").unwrap_err().to_string().contains("'_>_' applied to '(int, string)'"));
}
