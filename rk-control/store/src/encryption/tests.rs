//! What configurations say, and what becomes of values when they change.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::Encryption;

const SECRET: &str = "/registry/core/secrets/n/a";
const CONFIG_MAP: &str = "/registry/core/configmaps/n/a";
const DEPLOYMENT: &str = "/registry/apps/deployments/n/a";

/// Group and plural of `/registry/<group or core>/<plural>/…`.
fn resource_of(key: &str) -> Option<(&str, &str)> {
    let mut words = key.strip_prefix("/registry/")?.split('/');
    let (group, plural) = (words.next()?, words.next()?);
    Some((if group == "core" { "" } else { group }, plural))
}

fn key(name: &str, byte: u8, size: usize) -> String {
    format!("{{name: {name}, secret: {}}}", STANDARD.encode(vec![byte; size]))
}

/// One provider with one key of 32 bytes.
fn provider(kind: &str, name: &str, byte: u8) -> String {
    format!("{{{kind}: {{keys: [{}]}}}}", key(name, byte, 32))
}

/// A configuration of rules: resources, and providers.
fn document(rules: &[(&str, &str)]) -> String {
    let rules: Vec<_> =
        rules.iter().map(|(names, providers)| format!("{{resources: [{names}], providers: [{providers}]}}")).collect();
    format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources: [{}]\n",
        rules.join(", ")
    )
}

fn encryption(rules: &[(&str, &str)]) -> Encryption {
    Encryption::parse(&document(rules), resource_of).expect("a good configuration")
}

/// Secrets by these providers.
fn of(providers: &[&str]) -> Encryption {
    encryption(&[("secrets", &providers.join(", "))])
}

/// Why a value of a Secret cannot be read.
fn refusal(encryption: &Encryption, stored: &Bytes) -> String {
    encryption.open(SECRET, stored).expect_err("refused").to_string()
}

#[test]
fn every_provider_marks_what_it_writes_with_its_name_and_the_key_s() {
    for kind in ["aesgcm", "aescbc", "secretbox"] {
        let encryption = of(&[&provider(kind, "one", 1)]);
        let stored = encryption.seal(SECRET, "a secret".into()).unwrap();
        assert!(stored.starts_with(format!("k8s:enc:{kind}:v1:one:").as_bytes()), "{kind}");
        assert!(!String::from_utf8_lossy(&stored).contains("a secret"));
        assert_eq!(encryption.open(SECRET, &stored).unwrap(), ("a secret".into(), false));
    }
    let plain = of(&["{identity: {}}"]).seal(SECRET, "a secret".into()).unwrap();
    assert_eq!(plain, "a secret");
}

#[test]
fn the_first_key_writes_all_read_and_what_another_wrote_is_stale() {
    let (one, two, gcm) =
        (provider("secretbox", "one", 1), provider("secretbox", "two", 2), provider("aesgcm", "g", 3));
    let both = format!("{{secretbox: {{keys: [{}, {}]}}}}", key("two", 2, 32), key("one", 1, 32));
    let same_name = format!("{{secretbox: {{keys: [{}, {}]}}}}", key("one", 2, 32), key("one", 1, 32));
    let [one, two, gcm, both, same_name] = [&one, &two, &gcm, &both, &same_name].map(|text| text.as_str());
    let plain = "{identity: {}}";
    for (before, after, stale) in [
        (vec![one], vec![both], true),
        (vec![two], vec![both], false),
        (vec![one], vec![two, one], true),
        (vec![one], vec![same_name], true),
        (vec![one], vec![gcm, one, plain], true),
        (vec![gcm], vec![gcm, one, plain], false),
        (vec![plain], vec![one, plain], true),
        (vec![one], vec![plain, one], true),
        (vec![plain], vec![plain, one], false),
    ] {
        let stored = of(&before).seal(SECRET, "{}".into()).unwrap();
        let after = of(&after);
        assert_eq!(after.open(SECRET, &stored).unwrap(), ("{}".into(), stale), "{before:?}");
        let again = after.seal(SECRET, "{}".into()).unwrap();
        assert_eq!(after.open(SECRET, &again).unwrap(), ("{}".into(), false), "what is written now is not stale");
    }
}

#[test]
fn what_cannot_be_read_is_refused_in_upstream_s_words() {
    let all = [
        provider("secretbox", "one", 1),
        provider("secretbox", "one", 2),
        provider("secretbox", "two", 1),
        provider("aesgcm", "one", 1),
        provider("aesgcm", "one", 2),
        provider("aesgcm", "two", 1),
    ];
    let [one, wrong, other, gcm, wrong_gcm, other_gcm] = all.each_ref().map(|text| text.as_str());
    let boxed = of(&[one]).seal(SECRET, "a secret".into()).unwrap();
    let sealed = of(&[gcm]).seal(SECRET, "a secret".into()).unwrap();
    let head = format!("unable to transform key \"{SECRET}\": ");
    for (providers, stored, why) in [
        (vec![wrong], &boxed, "output array was not large enough for encryption"),
        (vec![other], &boxed, "no matching key was found for the provided Secretbox transformer"),
        (vec![gcm], &boxed, "no matching prefix found"),
        (vec!["{identity: {}}"], &boxed, "no matching prefix found"),
        (
            vec![wrong, other],
            &boxed,
            "[output array was not large enough for encryption, no matching key was found for the provided Secretbox transformer]",
        ),
        (vec![wrong_gcm], &sealed, "cipher: message authentication failed"),
        (vec![other_gcm], &sealed, "no matching key was found for the provided AES transformer"),
        (vec![one], &sealed, "no matching prefix found"),
    ] {
        assert_eq!(refusal(&of(&providers), stored), format!("{head}{why}"));
    }
    let none = Encryption::none(resource_of);
    assert_eq!(refusal(&none, &boxed), format!("{head}identity transformer tried to read encrypted data"));
    let plain = Bytes::from("{}");
    assert_eq!(none.open(SECRET, &plain).unwrap(), (plain.clone(), false));
    assert_eq!(refusal(&of(&[one]), &plain), format!("{head}no matching prefix found"));
}

#[test]
fn what_was_moved_to_another_path_is_refused_by_aesgcm() {
    let encryption = encryption(&[("secrets, configmaps", &provider("aesgcm", "one", 1))]);
    let stored = encryption.seal(SECRET, "a secret".into()).unwrap();
    assert!(encryption.open("/registry/core/secrets/n/b", &stored).is_err());
    assert!(encryption.open(CONFIG_MAP, &stored).is_err());
    let mut forged = stored.to_vec();
    *forged.last_mut().unwrap() ^= 1;
    assert!(encryption.open(SECRET, &forged.into()).is_err());
    assert!(encryption.open(SECRET, &stored).is_ok());
}

#[test]
fn a_resource_goes_before_its_group_and_a_group_before_all() {
    let (a, b, c) = (provider("secretbox", "a", 1), provider("secretbox", "b", 2), provider("secretbox", "c", 3));
    let all = encryption(&[("secrets", &a), ("'*.', '*.batch'", &b), ("'*.*'", &c)]);
    let some = encryption(&[("secrets", &a), ("'*.apps'", &b)]);
    for (encryption, path, name) in [
        (&all, SECRET, "a"),
        (&all, CONFIG_MAP, "b"),
        (&all, DEPLOYMENT, "c"),
        (&some, SECRET, "a"),
        (&some, DEPLOYMENT, "b"),
        (&some, CONFIG_MAP, ""),
        (&some, "/elsewhere", ""),
    ] {
        let stored = encryption.seal(path, "{}".into()).unwrap();
        let wanted = if name.is_empty() { "{}".to_owned() } else { format!("k8s:enc:secretbox:v1:{name}:") };
        assert!(stored.starts_with(wanted.as_bytes()), "{path}");
        assert_eq!(stored == "{}", name.is_empty(), "{path}");
    }
}

#[test]
fn what_is_wrong_with_a_configuration_is_told_in_upstream_s_words_and_without_keys() {
    let (good, plain) = (provider("secretbox", "a", 1), "{identity: {}}");
    let good = good.as_str();
    let sized = |kind: &str, size: usize| format!("{{{kind}: {{keys: [{}]}}}}", key("a", 1, size));
    let (short, odd) = (sized("secretbox", 16), sized("aesgcm", 24));
    let overlapping = "using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be masked";
    for (rules, why) in [
        (vec![], "resources: Required value: at least one resources is required".to_owned()),
        (vec![("", plain)], "resources[0].resources: Required value: at least one resources[0].resources is required".into()),
        (vec![("a", "")], "resources[0].providers: Required value: at least one resources[0].providers is required".into()),
        (
            vec![("Secrets", plain)],
            "resources[0].resources[0]: Invalid value: \"Secrets\": resource name should not contain capital letters".into(),
        ),
        (
            vec![("secrets, secrets", plain)],
            "resources[0].resources: Invalid value: [\"secrets\",\"secrets\"]: the same resource cannot be specified multiple times".into(),
        ),
        (
            vec![("secrets, '*.'", plain)],
            format!("resources[0].resources: Invalid value: [\"secrets\",\"*.\"]: {overlapping}"),
        ),
        (
            vec![("'*'", plain)],
            "resources[0].resources[0]: Invalid value: \"*\": use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources".into(),
        ),
        (
            vec![("'jobs.*'", plain)],
            "resources[0].resources[0]: Invalid value: \"jobs.*\": encrypting the same resource across groups is not supported".into(),
        ),
        (
            vec![("a", "{}")],
            "resources[0].providers[0]: Invalid value: \"\": provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity".into(),
        ),
        (
            vec![("a", "{identity: {}, aesgcm: {keys: []}}")],
            "[resources[0].providers[0]: Invalid value: \"REDACTED\": more than one provider specified in a single element, should split into \
             different list elements, resources[0].providers[0].aesgcm.keys: Required value: at least one keys is required]".into(),
        ),
        (
            vec![("a", "{kms: {name: k}}")],
            "resources[0].providers[0].kms: Forbidden: this server has no KMS provider".into(),
        ),
        (
            vec![("a", short.as_str())],
            "resources[0].providers[0].secretbox.keys[0].secret: Invalid value: \"REDACTED\": secret is not of the expected length, got 16, expected one of [32]".into(),
        ),
        (
            vec![("a", odd.as_str())],
            "resources[0].providers[0].aesgcm.keys[0].secret: Invalid value: \"REDACTED\": secret is not of the expected length, got 24, expected one of [16 32]".into(),
        ),
        (
            vec![("a", "{aescbc: {keys: [{name: a, secret: '*'}]}}")],
            "resources[0].providers[0].aescbc.keys[0].secret: Invalid value: \"REDACTED\": secrets must be base64 encoded".into(),
        ),
        (
            vec![("a", "{aescbc: {keys: [{}]}}")],
            "[resources[0].providers[0].aescbc.keys[0].name: Required value: name is a mandatory field for a key, \
             resources[0].providers[0].aescbc.keys[0].secret: Required value: secret is a mandatory field for a key]".into(),
        ),
    ] {
        let error = Encryption::parse(&document(&rules), resource_of).expect_err(&why).to_string();
        assert_eq!(error, format!("error while parsing file: {why}"));
    }
    for (rules, why) in [
        (vec![("'*.'", good), ("secrets", good)], "resource \"secrets\" is masked by earlier rule \"*.\""),
        (vec![("'*.*'", good), ("jobs.batch", good)], "resource \"jobs.batch\" is masked by earlier rule \"*.*\""),
        (vec![("'*.apps'", good), ("'*.apps'", plain)], "resource \"*.apps\" is masked by earlier rule \"*.apps\""),
    ] {
        assert_eq!(Encryption::parse(&document(&rules), resource_of).expect_err(why).to_string(), why);
    }
    for (text, part) in [
        (
            "apiVersion: v2\nkind: EncryptionConfiguration\n",
            "no kind \"EncryptionConfiguration\" is registered for version \"v2\"",
        ),
        ("[", "error while parsing file: "),
        ("resources: 7", "error while parsing file: "),
    ] {
        let error = Encryption::parse(text, resource_of).expect_err(text).to_string();
        assert!(error.contains(part), "{error}");
    }
    let debug = format!("{:?}", of(&[good]));
    assert!(debug.contains("secrets") && !debug.contains(&STANDARD.encode([1u8; 32])), "{debug}");
}

#[test]
fn keys_of_a_cluster_encrypt_secrets_alone_and_read_what_is_plain() {
    let ring = |bytes: &[u8]| -> Vec<(String, String)> {
        bytes.iter().map(|byte| (format!("k{byte}"), STANDARD.encode([*byte; 32]))).collect()
    };
    let first = Encryption::of_secrets(ring(&[1]), resource_of).unwrap();
    let stored = first.seal(SECRET, "a secret".into()).unwrap();
    assert!(stored.starts_with(b"k8s:enc:secretbox:v1:k1:"));
    assert_eq!(first.seal(CONFIG_MAP, "{}".into()).unwrap(), "{}");
    assert_eq!(first.open(SECRET, &"{}".into()).unwrap(), ("{}".into(), true));
    let second = Encryption::of_secrets(ring(&[2, 1]), resource_of).unwrap();
    assert_eq!(second.open(SECRET, &stored).unwrap(), ("a secret".into(), true));
    for wrong in [vec![], vec![("k".to_owned(), "AAAA".to_owned())]] {
        assert!(Encryption::of_secrets(wrong, resource_of).is_err());
    }
}

#[test]
fn a_key_in_the_wrong_place_is_told_to_nobody() {
    let key = STANDARD.encode([7; 32]);
    for providers in [
        format!("{{secretbox: {key}}}"),
        format!("{{secretbox: {{keys: {key}}}}}"),
        format!("{{secretbox: {{keys: [{key}]}}}}"),
        format!("{{aescbc: {{keys: ['\", expected {key}']}}}}"),
        key.clone(),
    ] {
        let text = document(&[("secrets", &providers)]);
        let error = Encryption::parse(&text, resource_of).expect_err(&providers).to_string();
        assert!(error.contains("REDACTED") && !error.contains(&key), "{error}");
    }
}
