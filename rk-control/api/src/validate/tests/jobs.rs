//! Rules of jobs, one broken at a time.

use serde_json::{Value, json};

use super::{breaks, merge};

fn indexed(more: Value) -> Value {
    let mut spec = json!({"completionMode": "Indexed", "completions": 10, "parallelism": 1});
    merge(&mut spec, &more);
    json!({"spec": spec})
}

#[test]
fn jobs_are_bounded_and_find_their_own_pods() {
    breaks(
        "jobs",
        &[
            (
                indexed(json!({"parallelism": 100_001})),
                "spec.parallelism: Invalid value: 100001: must be less than or equal to 100000 when completion mode is Indexed",
            ),
            (
                indexed(json!({"backoffLimitPerIndex": 1, "maxFailedIndexes": 11})),
                "spec.maxFailedIndexes: Invalid value: 11: must be less than or equal to completions",
            ),
            (
                indexed(json!({"backoffLimitPerIndex": 1, "completions": 100_001})),
                "spec.maxFailedIndexes: Required value: must be specified when completions is above 100000",
            ),
            (
                indexed(json!({"successPolicy": {"rules": []}})),
                "spec.successPolicy.rules: Required value: at least one rules must be specified when the successPolicy is specified",
            ),
            (
                indexed(json!({"successPolicy": {"rules": [{"succeededIndexes": "0-10"}]}})),
                "spec.successPolicy.rules[0].succeededIndexes: Invalid value: \"0-10\": error parsing succeededIndexes: too large index: \"10\"",
            ),
            (
                indexed(json!({"successPolicy": {"rules": [{"succeededIndexes": "3,1"}]}})),
                "spec.successPolicy.rules[0].succeededIndexes: Invalid value: \"3,1\": error parsing succeededIndexes: non-increasing order, previous: 3, current: 1",
            ),
            (
                indexed(json!({"successPolicy": {"rules": [{"succeededIndexes": "1-2", "succeededCount": 3}]}})),
                "must be less than or equal to 2 (the number of indexes in the specified succeededIndexes field)",
            ),
            (
                indexed(json!({"successPolicy": {"rules": [{}]}})),
                "at least one of succeededCount or succeededIndexes must be specified",
            ),
            (
                json!({"spec": {"managedBy": "me"}}),
                "spec.managedBy: Invalid value: \"me\": must be a domain-prefixed path",
            ),
            (json!({"spec": {"selector": {"matchLabels": {"a": "b"}}}}), "`selector` not auto-generated"),
            (
                json!({"spec": {"template": {"metadata": {"labels": {"job-name": "other"}}}}}),
                "spec.template.metadata.labels[job-name]: Invalid value:",
            ),
        ],
    );
    breaks(
        "cronjobs",
        &[
            (
                json!({"spec": {"timeZone": "Mars/Olympus"}}),
                "spec.timeZone: Invalid value: \"Mars/Olympus\": unknown time zone Mars/Olympus",
            ),
            (
                json!({"spec": {"timeZone": "AMERICA/new_york"}}),
                "spec.timeZone: Invalid value: \"AMERICA/new_york\": unknown time zone AMERICA/new_york",
            ),
            (
                json!({"spec": {"timeZone": "LOCAL"}}),
                "spec.timeZone: Invalid value: \"LOCAL\": unknown time zone LOCAL",
            ),
            (
                json!({"spec": {"timeZone": ""}}),
                "spec.timeZone: Invalid value: \"\": timeZone must be nil or non-empty string",
            ),
            (
                json!({"spec": {"timeZone": "Europe/Berlin", "schedule": "TZ=UTC 0 * * * *"}}),
                "spec.schedule: Invalid value: \"TZ=UTC 0 * * * *\": cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
            ),
        ],
    );
}

#[test]
fn time_zones_are_known_where_no_file_tells_of_them() {
    let known = jiff::tz::TimeZoneDatabase::bundled();
    for zone in ["Europe/Berlin", "America/New_York", "Etc/UTC", "UTC", "US/Eastern"] {
        assert!(known.get(zone).is_ok_and(|known| known.iana_name() == Some(zone)), "{zone}");
    }
}
