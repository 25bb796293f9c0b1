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
fn policies_of_jobs_judge_codes_and_indexes() {
    let rule = |rule: Value| json!({"spec": {"podFailurePolicy": {"rules": [rule]}}});
    let success = |rule: Value| indexed(json!({"successPolicy": {"rules": [rule]}}));
    let many = json!({"completions": 200_000, "parallelism": 10_001, "backoffLimitPerIndex": 1, "maxFailedIndexes": 1});
    let code = json!({"operator": "In", "values": [1]});
    let mut again = rule(json!({"action": "Count", "onExitCodes": code}));
    again["spec"]["template"] = json!({"spec": {"restartPolicy": "OnFailure"}});
    breaks(
        "jobs",
        &[
            (
                json!({"spec": {"backoffLimitPerIndex": 1}}),
                "spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode",
            ),
            (
                indexed(json!({"maxFailedIndexes": 1})),
                "spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified",
            ),
            (
                json!({"spec": {"successPolicy": {"rules": [{"succeededCount": 1}]}}}),
                "spec.successPolicy: Invalid value: {\"rules\":[{\"succeededCount\":1}]}: requires indexed completion mode",
            ),
            (
                indexed(many),
                "spec.parallelism: Invalid value: 10001: must be less than or equal to 10000 when completions are above 100000 \
                 and used with backoff limit per index",
            ),
            (
                success(json!({"succeededCount": 11})),
                "spec.successPolicy.rules[0].succeededCount: Invalid value: 11: must be less than or equal to 10 (the number of \
                 specified completions)",
            ),
            (
                success(json!({"succeededIndexes": "a"})),
                "error parsing succeededIndexes: cannot convert string to integer for index: \"a\"",
            ),
            (
                success(json!({"succeededIndexes": "1-2-3"})),
                "the fragment \"1-2-3\" violates the requirement that an index interval can have at most two parts separated by '-'",
            ),
            (
                again,
                "spec.template.spec.restartPolicy: Invalid value: \"OnFailure\": only \"Never\" is supported when \
                 podFailurePolicy is specified",
            ),
            (
                rule(
                    json!({"action": "Count", "onExitCodes": code, "onPodConditions": [{"type": "Ready", "status": "True"}]}),
                ),
                "rules[0]: Invalid value: specifying both OnExitCodes and OnPodConditions is not supported",
            ),
            (
                rule(json!({"action": "Count", "onExitCodes": {"operator": "In", "values": []}})),
                "onExitCodes.values: Invalid value: []: at least one value is required",
            ),
            (
                rule(json!({"action": "Count", "onExitCodes": {"operator": "In", "values": [0]}})),
                "onExitCodes.values[0]: Invalid value: 0: must not be 0 for the In operator",
            ),
        ],
    );
}

#[test]
fn schedules_are_refused_by_their_part() {
    for (schedule, want) in [
        ("@often", "unrecognized descriptor: @often"),
        ("@every soon", "failed to parse duration @every soon"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("0 0 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("5-3 * * * *", "beginning of range (5) beyond end of range (3): 5-3"),
        ("x * * * *", "failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax"),
    ] {
        let want = format!("spec.schedule: Invalid value: {schedule:?}: {want}");
        breaks("cronjobs", &[(json!({"spec": {"schedule": schedule}}), want.as_str())]);
    }
    let want = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
    breaks("cronjobs", &[(json!({"spec": {"timeZone": "Local"}}), want)]);
}

#[test]
fn time_zones_are_known_where_no_file_tells_of_them() {
    let known = jiff::tz::TimeZoneDatabase::bundled();
    for zone in ["Europe/Berlin", "America/New_York", "Etc/UTC", "UTC", "US/Eastern"] {
        assert!(known.get(zone).is_ok_and(|known| known.iana_name() == Some(zone)), "{zone}");
    }
}
