//! Expressions that nobody means well by.

#[path = "../fuzz/targets.rs"]
mod targets;

const SEEDS: &[&str] = &[
    "object.a.all(x, x > 1) && has(object.m.k) || !('k' in object.m) ? object.n + 1 : -3",
    "Object{spec: Object.spec{?replicas: object.?n, x: [1, ?optional.none()]}}",
    "'%s %d %.3f'.format([object.s, 1u, 2.5e10]) + r'\\d' + \"\\u00e9\\x41\" + string(b'\\101')",
    "cel.bind(x, {'a': [1, 2]}, x.a.map(y, y * 2).filter(z, z in [2, 4]).sum()) == 6",
    "timestamp('2023-01-01T00:00:00Z') - duration('1h30m') < timestamp(0) || quantity('1Gi').isLessThan(quantity('2'))",
    "authorizer.group('').resource('pods').check('get').allowed() // why not\n && 0x1F == 31",
    "url('https://[::1]:80/p?q=%41').getQuery() == {} && cidr('10.0.0.0/8').containsIP(ip('10.0.0.1'))",
    "'aXbXc'.split('X', 2).join('-').replace('a', '').substring(0, 1).matches('^[a-z]*$')",
    "object.m.transformMap(k, v, v.size() > 0, k + v) == {} || semver('1.2.3-a.1').major() == 1",
];

#[test]
fn no_expression_cut_or_changed_breaks_anything() {
    for seed in SEEDS {
        targets::expression(seed.as_bytes());
        for end in 0..seed.len() {
            targets::expression(&seed.as_bytes()[..end]);
            targets::expression(&seed.as_bytes()[end..]);
        }
        // One place after the other becomes something else.
        for at in 0..seed.len() {
            for other in *b"'\"\\()[]{}.,?:!-0%xu&|" {
                let mut changed = seed.as_bytes().to_vec();
                changed[at] = other;
                targets::expression(&changed);
            }
        }
    }
}

#[test]
fn depth_and_length_are_bounded() {
    for (open, close) in
        [("(", ")"), ("[", "]"), ("!", ""), ("-", ""), ("{1:", "}"), ("size(", ")"), ("true?true:", "true")]
    {
        let text = format!("{}1{}", open.repeat(20_000), close.repeat(20_000));
        targets::expression(text.as_bytes());
    }
    for chain in [".a", "[0]", "+1", "&&true", "||false", "==1", ".size()", "*2"] {
        targets::expression(format!("object{}", chain.repeat(20_000)).as_bytes());
    }
    // As deep as it may be, an expression is checked, run and dropped on a usual stack.
    for (open, close) in [
        ("[", "]"),
        ("size([", "])"),
        ("false ? 1 : ", ""),
        ("{1: ", "}"),
        ("[1].map(x, ", ")"),
        ("cel.bind(x, 1, ", ")"),
        ("-(", ")"),
    ] {
        let text = format!("{}1{}", open.repeat(60), close.repeat(60));
        let program =
            rk_cel::Env::new().with_bindings().compile(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert!(rk_cel::Context::new(1_000_000).run(&program, 1_000_000).is_ok(), "{text}");
    }
    let wrong = rk_cel::Env::new().compile(&vec!["x"; 20_000].join("&&")).unwrap_err().to_string();
    assert!(wrong.ends_with("19980 more errors were truncated"));
    // What doubles at every level is not looked at to its end.
    for (open, ty) in [("[x, x]", "list"), ("Object{a: x, b: x}", "object"), ("{'a': x, 'b': x}", "map")] {
        let text = format!("{}x == x{}", format!("cel.bind(x, {open}, ").repeat(60), ")".repeat(60));
        let text = format!("cel.bind(x, dyn(1), {text})");
        let env = rk_cel::Env::new().with_structures().with_bindings();
        let program = env.compile(&text).unwrap_or_else(|error| panic!("{ty}: {error}"));
        assert!(rk_cel::Context::new(1_000_000).run(&program, 1_000_000).is_err(), "{ty}");
    }
    // Long chains of connectives are no depth.
    let long = vec!["object.n == 3"; 2_000].join(" && ");
    assert!(rk_cel::Env::new().with("object", rk_cel::Type::Dyn).compile(&long).is_ok());
    let error = rk_cel::Env::new().compile(&"1".repeat(100_001)).unwrap_err().to_string();
    assert!(error.contains("expression code point size exceeds limit: size: 100001, limit 100000"), "{error}");
    targets::expression(format!("'{}'.matches('(a*)*b')", "a".repeat(5_000)).as_bytes());
    targets::expression(b"'x'.matches('((a{100}){100}){100}')");
}
