//! What programs cost at most, by the shapes of their values.

use rk_cel::{Env, Shape, of_openapi};
use serde_json::{Value, json};

fn cost(schema: &Value, rule: &str) -> u64 {
    let env = Env::new().with("self", of_openapi(schema, "selfType"));
    env.compile(rule).unwrap_or_else(|error| panic!("{rule}: {error}")).estimate(&[("self", &Shape::of(schema))])
}

#[test]
fn costs_follow_from_the_bounds_of_a_schema() {
    let number = json!({"type": "integer"});
    let text = json!({"type": "string"});
    let short = json!({"type": "string", "maxLength": 5});
    let list = json!({"type": "array", "maxItems": 10, "items": number});
    let map = json!({"type": "object", "maxProperties": 4, "additionalProperties": short});
    let object = json!({"type": "object", "properties": {"a": short, "b": list}});
    let hosts = json!({"type": "object", "properties": {"hosts": {"type": "string", "maxLength": 1024}}});
    for (schema, rule, want) in [
        (&number, "true", 0),
        (&number, "self > 3", 2),
        (&short, "self == 'abc'", 2),
        (&short, "self.contains('abc')", 3),
        (&text, "self.contains('abc')", 314_574),
        (&text, "self.matches('abcd')", 314_574),
        (&text, "self.startsWith('abc')", 2),
        (&list, "self.all(x, x > 0)", 52),
        (&list, "self.exists(x, x > 0)", 62),
        (&list, "self.all(x, self.all(y, x >= y))", 652),
        (&list, "self.map(x, x + 1).size() == 3", 154),
        (&map, "self.all(key, self[key].contains('a'))", 34),
        (&object, "has(self.a) && self.a == 'b'", 4),
        (&object, "has(self.a) ? true : self.b.all(x, x > 0)", 54),
        (&object, "self.a in ['x', 'y']", 14),
        // Elements of what is made count as long as `self`.
        (&hosts, "self.hosts.split(',').all(h, h.matches('^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9]){0,1}$'))", 58_167),
        (&object, "['aaaaaaaaaaa'].all(x, x.matches('abcd'))", 16),
        (&text, "['aaaaaaaaaaa'].all(x, x.matches('abcd'))", 17),
        (&object, "self.b.map(x, 'aaaaaaaaaaa').all(y, y.matches('abcd'))", 184),
        (&text, "string(self) == 'abc'", 3),
        (&text, "self.matches('ääää')", 314_574),
        (&short, "isSemver(self)", 3),
        // Numbers are short, whatever they are made of.
        (&number, "string(self + 1) == '2'", 4),
        (&list, "string(self.max()) == '2'", 13),
        (&number, "string({'a': 1}.a) == '1'", 33),
        (&list, "self.distinct().size() == 3", 214),
        (&list, "self.reverse().size() == 3", 24),
        (&number, "lists.range(10).all(i, i > 1)", 72),
    ] {
        assert_eq!(cost(schema, rule), want, "{rule}");
    }
}

#[test]
fn what_nothing_bounds_is_bounded_by_the_size_of_a_request() {
    let open = json!({"type": "array", "items": {"type": "string"}});
    assert!(cost(&open, "self.all(x, self.all(y, x == y))") > 1_000_000_000_000);
    assert!(cost(&open, "self.all(x, x.matches('a.*b'))") > 100_000_000);
    assert_eq!(cost(&json!({"type": "integer"}), "string(self) + 'x' == 'ax'"), 8);
}
