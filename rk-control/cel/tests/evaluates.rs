//! Expressions and what becomes of them.

use rk_cel::{Authz, Context, EXPRESSION_LIMIT, Env, Failure, Question, Type, Value};
use serde_json::{Value as Json, json};

fn env() -> Env {
    Env::new().with("object", Type::Dyn).with("authorizer", rk_cel::authorizer()).with_structures().with_bindings()
}

fn object() -> Json {
    json!({"apiVersion": "apps/v1", "metadata": {"name": "web", "labels": {"app": "x", "a.b/c-d": "y"}, "creationTimestamp": "2024-05-06T07:08:09Z"},
        "spec": {"replicas": 3, "ratio": 0.5, "paused": false, "nothing": null, "list": [1, 2, 3], "names": ["a", "b"],
            "containers": [{"name": "one", "image": "registry/one:1"}, {"name": "two", "image": "two", "ports": [{"port": 80}]}]}})
}

/// The value as JSON, or the failure in words.
fn run(text: &str) -> Result<Json, String> {
    let object = object();
    let program = env().compile(text).map_err(|error| error.to_string())?;
    let mut context = Context::new(10 * EXPRESSION_LIMIT);
    context.set("object", Value::json(&object));
    context.set("authorizer", Value::Authz(std::sync::Arc::new(Authz::new(Question::default()))));
    let value = context.run(&program, EXPRESSION_LIMIT).map_err(|failure| failure.to_string())?;
    value.to_json().map_err(|failure| failure.to_string())
}

/// Every line is an expression that must be true.
fn all_hold(lines: &str) {
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        assert_eq!(run(line), Ok(Json::Bool(true)), "{line}");
    }
}

/// Every line is an expression and, behind `##`, a part of how it fails.
fn all_fail(lines: &str) {
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (text, why) = line.split_once(" ## ").unwrap_or((line, ""));
        let said = run(text).expect_err(line);
        assert!(said.contains(why), "{text}: {said}");
    }
}

#[test]
fn numbers_are_computed_and_compared() {
    all_hold(
        r#"
        1 + 2 * 3 == 7
        (1 + 2) * 3 == 9
        10 / 3 == 3 && 10 % 3 == 1 && -10 / 3 == -3 && -10 % 3 == -1
        7u / 2u == 3u
        1.5 + 1.5 == 3.0
        -(-3) == 3
        --3 == 3
        0x10 == 16 && -0x10 == -16 && 0xFFu == 255u
        1e3 == 1000.0 && 2.5e-1 == 0.25 && .5 == 0.5
        1 < 2u && 2u > 1 && 1 < 1.5 && 1.5 > 1u && 2.0 >= 2
        9223372036854775807 > 9223372036854775806.0 || true
        -9223372036854775808 < 0
        18446744073709551615u > 0u
        int('42') == 42 && int(3.9) == 3 && int(7u) == 7 && int(-3.9) == -3
        uint(3) == 3u && uint('8') == 8u && double(3) == 3.0 && double('1.5') == 1.5
        string(1) == '1' && string(1u) == '1' && string(1.5) == '1.5' && string(true) == 'true'
        bool('true') && !bool('false')
        dyn(1) == dyn(1.0) && dyn(1u) == dyn(1)
        1 != 2
        object.spec.replicas > 2 && object.spec.replicas == 3
        object.spec.ratio < 1
        object.spec.replicas < 3.5
        true ? 1 == 1 : false
        false ? false : true ? true : false
        "#,
    );
    all_fail(
        "
        9223372036854775807 + 1 ## integer overflow
        -9223372036854775808 - 1 ## integer overflow
        9223372036854775807 * 2 ## integer overflow
        -(-9223372036854775808) ## integer overflow
        1u - 2u ## unsigned integer overflow
        1 / 0 == 1 ## division by zero
        1 % 0 == 1 ## modulus by zero
        int(1e30) ## integer overflow
        uint(-1) ## unsigned integer overflow
        int('x') ## type conversion error
        9223372036854775808 ## invalid int literal
        ",
    );
}

#[test]
fn logic_gets_over_errors_when_it_can() {
    all_hold(
        r#"
        true || object.none
        object.none || true
        !(false && object.none)
        !(object.none && false)
        [1, 0].exists(x, 1 / x == 1)
        [0, 1].exists(x, 1 / x == 1)
        ![0, 2].all(x, 1 / x == 1)
        !!true
        "#,
    );
    all_fail(
        "
        false || object.none ## no such key: none
        true && object.none ## no such key: none
        [0, 2].exists(x, 1 / x == 1) ## division by zero
        object.spec.replicas || false ## no such overload
        object.spec.replicas ? 1 : 2 ## no such overload
        ",
    );
}

#[test]
fn objects_lists_and_maps_are_looked_into() {
    all_hold(
        r#"
        object.metadata.name == 'web'
        object.metadata.labels['a.b/c-d'] == 'y'
        object.metadata.labels.`a.b/c-d` == 'y'
        !has(object.metadata.name.first)
        has(object.spec.replicas) && !has(object.spec.none) && has(object.spec.nothing)
        object.spec.nothing == null
        object.spec.containers.size() == 2 && size(object.spec.containers) == 2
        object.spec.containers[1].ports[0].port == 80
        object.spec.containers.all(c, c.name != '')
        object.spec.containers.exists(c, c.image.startsWith('registry/'))
        object.spec.containers.exists_one(c, has(c.ports))
        object.spec.containers.map(c, c.name) == ['one', 'two']
        object.spec.list.map(x, x > 1, x * 10) == [20, 30]
        object.spec.list.filter(x, x % 2 == 1) == [1, 3]
        2 in object.spec.list && !(4 in object.spec.list)
        'app' in object.metadata.labels && !('zz' in object.metadata.labels)
        object.metadata.labels.all(k, k.size() > 0)
        object.metadata.labels.exists(k, v, k == 'app' && v == 'x')
        [1, 2, 3].all(i, v, v == i + 1)
        [1, 2].transformList(i, v, i + v) == [1, 3]
        {'a': 1, 'b': 2}.transformMap(k, v, v * 2) == {'b': 4, 'a': 2}
        {'a': 1, 'b': 2}.transformMap(k, v, v > 1, v) == {'b': 2}
        {'a': 'x'}.transformMapEntry(k, v, {v: k}) == {'x': 'a'}
        [1, 2] + [3] == [1, 2, 3]
        [[1], [2]] == [[1], [2]]
        {'a': 1}['a'] == 1 && {'a': 1}.a == 1 && {1: 'x'}[1] == 'x'
        {'a': 1} != {'a': 2}
        {} == {} && [] == []
        cel.bind(x, 1 + 1, x * x) == 4
        [1, 2, 3].map(x, [4].map(y, x * y)) == [[4], [8], [12]]
        type(1) == int && type('') == string && type([]) == list && type({}) == map && type(null) == null_type
        type(type(1)) == type
        "#,
    );
    all_fail(
        "
        object.spec.none ## no such key: none
        object.metadata.labels['zz'] ## no such key: zz
        object.spec.list[3] ## index out of bounds: 3
        object.spec.list[-1] ## index out of bounds: -1
        object.metadata.name.first ## no such key: first
        {'a': 1, 'a': 2} ## repeated key
        object.spec.replicas.all(x, true) ## no such overload
        ",
    );
}

#[test]
fn strings_have_their_functions() {
    all_hold(
        r#"
        'a' + "b" == 'ab' && 'x' < 'y'
        'tacocat'.contains('aco') && 'ab'.startsWith('a') && 'ab'.endsWith('b')
        'foo-12'.matches('^[a-z]+-[0-9]{2}$') && !matches('x', '^y')
        'ÀB'.size() == 2 && size('') == 0
        'tacocat'.charAt(3) == 'o' && 'abc'.charAt(3) == ''
        'hello mellow'.indexOf('ello') == 1 && 'hello mellow'.indexOf('ello', 2) == 7 && 'x'.indexOf('y') == -1
        'hello mellow'.lastIndexOf('ello') == 7 && 'hello mellow'.lastIndexOf('ello', 6) == 1
        'abc'.indexOf('c', 3) == -1 && 'abc'.indexOf('a', 99) == -1 && 'abc'.indexOf('', 2) == 2 && 'abc'.indexOf('', 9) == 3
        'abc'.lastIndexOf('c', 3) == -1 && 'abc'.lastIndexOf('') == 3 && 'aé'.lastIndexOf('é') == 1 && 'a'.lastIndexOf('abc') == -1
        ['a', 'b'].join() == 'ab' && ['a', 'b'].join('-') == 'a-b'
        'TacoCat'.lowerAscii() == 'tacocat' && 'TacoCat'.upperAscii() == 'TACOCAT'
        'hello hello'.replace('he', 'we') == 'wello wello' && 'hello hello'.replace('he', 'we', 1) == 'wello hello'
        'a,b,c'.split(',') == ['a', 'b', 'c'] && 'a,b,c'.split(',', 2) == ['a', 'b,c'] && 'ab'.split('') == ['a', 'b']
        'tacocat'.substring(4) == 'cat' && 'tacocat'.substring(0, 4) == 'taco'
        '  trim  '.trim() == 'trim'
        'abc 123'.find('[0-9]+') == '123' && 'abc'.find('[0-9]') == ''
        '123 abc 456'.findAll('[0-9]+') == ['123', '456'] && '123 abc 456'.findAll('[0-9]+', 1) == ['123']
        '%s is %d of %.2f%%, %s'.format(['x', 3, 1.5, [1, 'a']]) == 'x is 3 of 1.50%, [1, "a"]'
        '%x %X %o %b %e'.format([255, 'hi', 8, 5, 1234.5]) == 'ff 6869 10 101 1.234500×10⁰³'
        '%f %.2f %.0f %f'.format([1234567.5, -999.5, 1234.5, 'Infinity']) == '1,234,567.500000 -999.50 1,234 ∞'
        '%.15e|%e'.format([1.5, 0.00001234]) == '  1.500000×10⁰⁰|1.234000×10⁻⁰⁵'
        '%s'.format([{'b': [1.5, true, null], 'a': duration('1m'), 2: b'x'}]) == '{"a":duration("60s"), "b":[1.500000, true, null], 2:b"x"}'
        '%s %s'.format([1.5, duration('1m')]) == '1.5 60s'
        "\n\t\"\x41\u00e9\101" == '\n\t"AéA'
        r'\n' == '\\n'
        """a"b""" == 'a"b'
        b'abc' + b'd' == b'abcd' && size(b'abc') == 3 && string(b'abc') == 'abc' && bytes('a') == b'a'
        b'\xff'.size() == 1
        strings.quote('a"b') == '"a\\"b"'
        strings.quote('\u200b\n') == '"\u200b\\n"'
        'a-b.c@d.org'.matches('^[\\w-.]+@[\\w-]+[.]org$') && '{{x}}'.find('{{.+}}') == '{{x}}'
        jsonpatch.escapeKey('a/b~c') == 'a~1b~0c'
        "#,
    );
    all_fail(
        "
        'a'.charAt(2) ## index out of range: 2
        'a'.substring(2) ## index out of range: 2
        'abc'.substring(9, 1) ## invalid substring range. start: 9, end: 1
        'abc'.indexOf('a', -1) ## index out of range: -1
        'abc'.substring(2, 1) ## invalid substring range. start: 2, end: 1
        'a'.matches('[' + 'a') ## error parsing regexp
        '%d'.format([dyn('x')]) ## decimal clause can only be used on integers, was given string
        '%f'.format([dyn(1)]) ## fixed-point clause can only be used on doubles, was given int
        '%s'.format([] + []) ## index 0 out of range
        ",
    );
}

#[test]
fn lists_sets_and_numbers_have_their_functions() {
    all_hold(
        "
        [1, 2, 2].isSorted() && !['b', 'a'].isSorted() && [].isSorted()
        [1, 2, 3].sum() == 6 && [1.5, 1.5].sum() == 3.0 && [].sum() == 0
        [3, 1, 2].min() == 1 && ['a', 'c'].max() == 'c'
        [3, 1, 2].sortBy(x, -x) == [3, 2, 1] && ['bb', 'a'].sortBy(s, s.size()) == ['a', 'bb'] && [].sortBy(x, x) == []
        object.spec.containers.sortBy(c, c.image).map(c, c.name) == ['one', 'two']
        ['a', 'b', 'b'].indexOf('b') == 1 && ['a', 'b', 'b'].lastIndexOf('b') == 2 && [1].indexOf(2) == -1
        [1, 2].reverse() == [2, 1] && [1, 1, 2].distinct() == [1, 2] && [3, 1].sort() == [1, 3]
        [1, 2, 3].slice(1, 3) == [2, 3] && [[1], [2]].flatten() == [1, 2] && lists.range(3) == [0, 1, 2]
        sets.contains([1, 2], [2]) && sets.equivalent([1, 1, 2], [2, 1]) && sets.intersects([1], [1, 2])
        [[[1]], [[2]]].flatten(2) == [1, 2] && [3, 4].first().value() == 3 && [3, 4].last() == optional.of(4)
        [].first() == optional.none() && optional.unwrap([optional.of(1), optional.none()]) == [1] && [optional.of(2)].unwrapOpt() == [2]
        ",
    );
    all_fail(
        "[].min() ## min called on empty list\n[1].slice(0, 2) ## cannot slice(0, 2), list is length 1\n[1].slice(1, 0) ## start index must be less\n[[1]].flatten(-1) ## level must be non-negative",
    );
}

#[test]
fn optional_values_are_there_or_not() {
    all_hold(
        "
        !object.?none.hasValue() && object.?spec.?replicas.hasValue()
        object.?spec.replicas.orValue(0) == 3 && object.?none.x.y.orValue(7) == 7
        object.?metadata.?annotations['x'].orValue('n') == 'n'
        object.spec.list[?0].value() == 1 && !object.spec.list[?9].hasValue()
        object.metadata.labels[?'app'].orValue('') == 'x'
        optional.of(1).or(optional.of(2)) == optional.of(1)
        optional.none().or(optional.of(2)) == optional.of(2)
        optional.ofNonZeroValue('') == optional.none() && optional.ofNonZeroValue('a').hasValue()
        [?optional.of(1), ?optional.none(), 3] == [1, 3]
        {?'a': optional.none(), 'b': 2} == {'b': 2}
        optional.of(2).optMap(x, x * 2).value() == 4 && !optional.none().optMap(x, x).hasValue()
        optional.of(2).optFlatMap(x, optional.of(x)).value() == 2
        has(object.?spec.replicas) && !has(object.?none.replicas)
        ",
    );
    all_fail("optional.none().value() ## optional.none() dereference");
}

#[test]
fn times_have_parts_and_lengths() {
    all_hold(
        "
        timestamp('2023-12-25T00:00:00Z').getFullYear() == 2023
        timestamp('2023-12-25T00:00:00Z').getMonth() == 11 && timestamp('2023-12-25T00:00:00Z').getDate() == 25
        timestamp('2023-12-25T00:00:00Z').getDayOfMonth() == 24 && timestamp('2023-12-25T00:00:00Z').getDayOfWeek() == 1
        timestamp('2023-12-25T23:30:00Z').getHours('+01:00') == 0 && timestamp('2023-12-25T10:11:12.5Z').getMilliseconds() == 500
        timestamp('2023-01-01T00:00:00Z') + duration('1h') == timestamp('2023-01-01T01:00:00Z')
        timestamp('2023-01-01T01:00:00Z') - timestamp('2023-01-01T00:00:00Z') == duration('3600s')
        timestamp('2023-01-01T01:00:00Z') > timestamp('2023-01-01T00:00:00Z')
        duration('1h30m').getMinutes() == 90 && duration('1.5s').getMilliseconds() == 1500 && duration('-1m') < duration('0')
        string(duration('90s')) == '90s' && string(timestamp('2023-01-01T00:00:00Z')) == '2023-01-01T00:00:00Z'
        timestamp(object.metadata.creationTimestamp).getDayOfYear() == 126
        int(timestamp('1970-01-01T00:01:00Z')) == 60
        ",
    );
    all_fail("timestamp(string(dyn('yesterday'))) ## invalid timestamp\nduration('1' + 'y') ## invalid duration");
}

#[test]
fn kubernetes_has_types_of_its_own() {
    all_hold(
        "
        quantity('1Gi').isGreaterThan(quantity('1G')) && quantity('500m') == quantity('0.5')
        quantity('1').compareTo(quantity('2')) == -1 && quantity('2').add(quantity('1')).asInteger() == 3
        quantity('10').sub(3) == quantity('7') && isQuantity('1Ki') && !isQuantity('x') && sign(quantity('-1')) == -1
        quantity('1.5').isInteger() == false && quantity('50k').asApproximateFloat() == 50000.0
        url('https://u@example.com:80/a/b?k=v&k=w').getHost() == 'example.com:80'
        url('https://example.com:80/a/b?k=v').getHostname() == 'example.com' && url('https://[::1]:80/').getHostname() == '::1'
        url('https://example.com:80/').getPort() == '80' && url('/path').getScheme() == '' && isURL('https://x') && !isURL('nope')
        url('https://example.com/a%20b?k=v&k=w%20x').getEscapedPath() == '/a%20b'
        url('https://example.com/?k=v&k=w%20x').getQuery() == {'k': ['v', 'w x']}
        ip('10.0.0.1').family() == 4 && isIP('::1') && !isIP('1.2.3') && ip('127.0.0.1').isLoopback()
        cidr('10.0.0.0/8').containsIP('10.2.3.4') && cidr('10.0.0.0/8').containsCIDR(cidr('10.1.0.0/16'))
        cidr('10.0.0.0/8').prefixLength() == 8 && cidr('10.1.2.3/8').masked() == cidr('10.0.0.0/8') && isCIDR('::/0')
        string(ip('::1')) == '::1' && ip.isCanonical('::1') && !ip.isCanonical('0:0::1') && ip('8.8.8.8').isGlobalUnicast()
        !format.dns1123Label().validate('my-name').hasValue() && format.dns1123Label().validate('My_name').hasValue()
        format.named('qualifiedName').hasValue() && !format.named('nope').hasValue()
        semver('1.2.3').major() == 1 && semver('1.0.0-alpha').isLessThan(semver('1.0.0')) && isSemver('1.2.3+b')
        !isSemver('1.2') && isSemver('v1.2', true) && semver('1.2.3').compareTo(semver('1.2.3')) == 0
        ",
    );
    all_fail("quantity('x') ## quantities must match\nsemver('x') ## semver parse error\nip('x') ## parse error");
}

#[test]
fn objects_can_be_made() {
    let made = run("Object{spec: Object.spec{replicas: object.spec.replicas + 1, ?paused: optional.none()}}");
    assert_eq!(made, Ok(json!({"spec": {"replicas": 4}})));
    let patch = run(
        "[JSONPatch{op: 'test', path: '/spec/x', value: 'y'}, JSONPatch{op: 'add', path: '/metadata/labels', value: {'a': 'b'}}]",
    );
    assert_eq!(patch.unwrap()[1], json!({"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}));
    assert!(run("JSONPatch{nope: 1}").unwrap_err().contains("undefined field 'nope'"));
    assert!(run("Other{a: 1}").unwrap_err().contains("undeclared reference to 'Other'"));
}

#[test]
fn work_is_bounded() {
    let text = "[1,2,3,4,5,6,7,8,9,10].all(a, [1,2,3,4,5,6,7,8,9,10].all(b, [1,2,3,4,5,6,7,8,9,10].all(c, [1,2,3,4,5,6,7,8,9,10].all(d,
        [1,2,3,4,5,6,7,8,9,10].all(e, [1,2,3,4,5,6,7,8,9,10].all(f, a + b + c + d + e + f > 0))))))";
    assert_eq!(run(text).unwrap_err(), "operation cancelled: actual cost limit exceeded");
    let long = vec!["'0123456789'"; 100].join(" + ");
    assert!(run(&format!("lists.range(100000).map(x, {long}) == []")).is_err());
    // What is small to hold may be large to write.
    let text = "cel.bind(x, '0123456789'.replace('', '0123456789'), cel.bind(y, lists.range(1000).map(i, x + x + x), lists.range(1000).map(i, y).map(z, z.join()).size()))";
    assert_eq!(run(text).unwrap_err(), "operation cancelled: actual cost limit exceeded");
    // The whole budget outlasts what one expression may cost.
    let program = Env::new().with_bindings().compile(text).unwrap();
    let mut context = Context::new(10 * EXPRESSION_LIMIT);
    assert_eq!(context.run(&program, EXPRESSION_LIMIT).unwrap_err(), Failure::Cost);
    assert_eq!(context.left(), 9 * EXPRESSION_LIMIT);
}

#[test]
fn variables_are_evaluated_when_they_are_used() {
    let ty = rk_cel::Fields::record("kubernetes.variables", vec![("one", Type::Int), ("broken", Type::Int)]);
    let env = Env::new().with("variables", ty);
    let program = |text: &str| env.compile(text).unwrap();
    let lazy = vec![
        ("one".to_owned(), program("1")),
        ("two".to_owned(), program("variables.one + 1")),
        ("broken".to_owned(), program("1 / 0")),
    ];
    let (good, bad) = (program("variables.one == 1 || variables.broken == 1"), program("variables.broken == 1"));
    let mut context = Context::new(EXPRESSION_LIMIT);
    context.set_lazy(&lazy);
    assert!(matches!(context.run(&good, EXPRESSION_LIMIT), Ok(Value::Bool(true))));
    let why = "composited variable \"broken\" fails to evaluate: division by zero";
    assert_eq!(context.run(&bad, EXPRESSION_LIMIT).unwrap_err().to_string(), why);
    assert!(env.compile("variables.none").unwrap_err().to_string().contains("undefined field 'none'"));
}

#[test]
fn the_authorizer_is_asked_by_the_caller() {
    let text = "authorizer.group('apps').resource('deployments').namespace('default').check('create').allowed()";
    let program = env().compile(text).unwrap();
    let fresh = || Value::Authz(std::sync::Arc::new(Authz::new(Question::default())));
    let mut context = Context::new(EXPRESSION_LIMIT);
    context.set("authorizer", fresh());
    let Err(Failure::Ask(question)) = context.run(&program, EXPRESSION_LIMIT) else { panic!("not asked") };
    assert_eq!((question.verb.as_str(), question.namespace.as_str()), ("create", "default"));
    let answers = vec![(*question, rk_cel::Answer { allowed: true, ..Default::default() })];
    let mut context = Context::new(EXPRESSION_LIMIT);
    context.set("authorizer", fresh());
    context.set_answers(&answers);
    assert!(matches!(context.run(&program, EXPRESSION_LIMIT), Ok(Value::Bool(true))));
}
