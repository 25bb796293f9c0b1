//! The sections `disks`, `upgrade`, `metrics` and `logging`.

use rk_config::{LogFormat, Unlock};

fn parse(yaml: &str) -> Result<rk_config::Parsed, rk_config::ConfigError> {
    rk_config::parse(&format!("apiVersion: rk.dev/v1alpha1\nkind: MachineConfig\nrole: control-plane\n{yaml}"))
}

#[test]
fn what_keeps_a_machine_is_read_and_written_back_alike() {
    let key = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
    let yaml = format!(
        "upgrade: {{keys: [{key:?}], minimumVersion: 0.2.0-rc.1}}\nmetrics: {{bind: '0.0.0.0:9100'}}\n\
         logging: {{targets: [{{url: 'udp://10.0.0.1:514', format: syslog}}, {{url: 'tcp://[fd00::1]:9'}}]}}\n"
    );
    let parsed = parse(&yaml).unwrap();
    assert!(parsed.warnings.is_empty(), "{:?}", parsed.warnings);
    let config = parsed.config;
    assert_eq!(config.upgrade.keys, [key]);
    let formats: Vec<_> = config.logging.targets.iter().map(|target| target.format).collect();
    assert_eq!(formats, [LogFormat::Syslog, LogFormat::Json]);
    let again = rk_config::parse(&rk_config::to_yaml(&config).unwrap()).unwrap().config;
    assert_eq!(again, config);
    assert_eq!(parse("metrics: {}\n").unwrap().config.metrics.unwrap().bind.to_string(), "127.0.0.1:9100");
    assert_eq!(parse("").unwrap().config.metrics, None);
}

#[test]
fn encryption_is_said_per_partition_and_its_passphrase_is_never_shown() {
    let yaml = "disks: {encryption: {state: tpm, data: passphrase, pcrs: [11, 7], passphrase: 'a long one'}}\n";
    let config = parse(yaml).unwrap().config;
    let encryption = &config.disks.encryption;
    assert_eq!((encryption.state, encryption.data), (Some(Unlock::Tpm), Some(Unlock::Passphrase)));
    assert_eq!(encryption.pcrs, [7, 11]);
    assert_eq!(rk_config::parse(&rk_config::to_yaml(&config).unwrap()).unwrap().config, config);
    assert!(!format!("{config:?}").contains("a long one"));
    assert!(!rk_config::redacted(&config).to_string().contains("a long one"));
    assert_eq!(parse("disks: {encryption: {state: tpm}}\n").unwrap().config.disks.encryption.pcrs, [7]);
    assert_eq!(parse("").unwrap().config.disks.encryption.state, None);
}

#[test]
fn wrong_keys_versions_and_targets_are_refused_by_their_path() {
    let table = [
        ("disks: {encryption: {state: yes}}\n", "disks.encryption.state"),
        ("disks: {encryption: {data: passphrase}}\n", "disks.encryption.passphrase"),
        ("disks: {encryption: {data: passphrase, passphrase: short}}\n", "disks.encryption.passphrase"),
        ("disks: {encryption: {state: tpm, pcrs: [7, 24]}}\n", "disks.encryption.pcrs"),
        ("upgrade: {keys: [nonsense]}\n", "upgrade.keys[0]"),
        ("upgrade: {minimumVersion: '2'}\n", "upgrade.minimumVersion"),
        ("metrics: {bind: 9100}\n", "metrics.bind"),
        ("logging: {targets: [{url: 'http://a:1'}]}\n", "logging.targets[0].url"),
        ("logging: {targets: [{url: 'tcp://a'}]}\n", "logging.targets[0].url"),
        ("logging: {targets: [{url: 'tcp://a:0'}]}\n", "logging.targets[0].url"),
        ("logging: {targets: [{url: 'tcp://a:1', format: xml}]}\n", "logging.targets[0].format"),
    ];
    for (yaml, path) in table {
        let error = parse(yaml).expect_err(yaml);
        assert!(error.fields().iter().any(|field| field.path == path), "{yaml}: {error}");
    }
}
