//! Jobs, cron jobs, autoscalers.

use serde_json::Value;

use super::age::human;
use super::column::{AGE, Column, Context, NAME};
use super::text::{NONE, UNSET, boolean, containers, plain, selector};
use crate::meta::{self, parse_time};

pub(super) const JOBS: &[Column] = &[
    NAME,
    Column::new("Status", "The job's state in one word.", job_status),
    Column::new("Completions", "Pods that succeeded of those wanted.", completions),
    Column::new("Duration", "How long the job has run.", duration),
    AGE,
    Column::wide("Containers", "The containers of the pod template.", |c| {
        containers(c.at(&["spec", "template", "spec"]), "name")
    }),
    Column::wide("Images", "The images of the pod template.", |c| {
        containers(c.at(&["spec", "template", "spec"]), "image")
    }),
    Column::wide("Selector", "Which pods belong to it.", |c| selector(c.at(&["spec", "selector"]))),
];

pub(super) const CRON_JOBS: &[Column] = &[
    NAME,
    Column::new("Schedule", "When jobs are started, as cron writes it.", |c| c.text(&["spec", "schedule"]).into()),
    Column::new("Timezone", "The time zone of the schedule.", |c| plain(c.at(&["spec", "timeZone"]), NONE)),
    Column::new("Suspend", "Whether no jobs are started.", |c| match boolean(c.at(&["spec", "suspend"])).as_str() {
        Some("true") => "True".into(),
        _ => "False".into(),
    }),
    Column::new("Active", "Jobs that run.", |c| c.list(&["status", "active"]).len().into()).integer(),
    Column::new("Last Schedule", "How long ago a job was started.", |c| {
        match c.text(&["status", "lastScheduleTime"]) {
            "" => NONE.into(),
            time => super::age::since(time, c.now).into(),
        }
    }),
    AGE,
    Column::wide("Containers", "The containers of the pod template.", |c| containers(job_template(c), "name")),
    Column::wide("Images", "The images of the pod template.", |c| containers(job_template(c), "image")),
    Column::wide("Selector", "Which pods belong to its jobs.", |c| {
        selector(c.at(&["spec", "jobTemplate", "spec", "selector"]))
    }),
];

pub(super) const AUTOSCALERS: &[Column] = &[
    NAME,
    Column::new("Reference", "What is scaled.", |c| {
        format!("{}/{}", c.text(&["spec", "scaleTargetRef", "kind"]), c.text(&["spec", "scaleTargetRef", "name"]))
            .into()
    }),
    Column::new("Targets", "Metrics: measured and wanted.", targets),
    Column::new("MinPods", "The fewest pods.", |c| plain(c.at(&["spec", "minReplicas"]), UNSET)),
    Column::new("MaxPods", "The most pods.", |c| c.number(&["spec", "maxReplicas"]).into()).integer(),
    Column::new("Replicas", "The pods that there are.", |c| c.number(&["status", "currentReplicas"]).into()).integer(),
    AGE,
];

fn job_template<'a>(c: &Context<'a>) -> &'a Value {
    c.at(&["spec", "jobTemplate", "spec", "template", "spec"])
}

fn job_status(c: &Context<'_>) -> Value {
    let holds = |name: &str| {
        let mut conditions = c.list(&["status", "conditions"]).iter();
        conditions
            .any(|condition| meta::text(condition, &["type"]) == name && meta::text(condition, &["status"]) == "True")
    };
    let word = match () {
        () if holds("Complete") => "Complete",
        () if holds("Failed") => "Failed",
        () if meta::is_deleting(c.object) => "Terminating",
        () if holds("Suspended") => "Suspended",
        () if holds("FailureTarget") => "FailureTarget",
        () if holds("SuccessCriteriaMet") => "SuccessCriteriaMet",
        () => "Running",
    };
    word.into()
}

fn completions(c: &Context<'_>) -> Value {
    let succeeded = c.number(&["status", "succeeded"]);
    match (c.at(&["spec", "completions"]).as_i64(), c.number(&["spec", "parallelism"])) {
        (Some(wanted), _) => format!("{succeeded}/{wanted}").into(),
        (None, parallelism) if parallelism > 1 => format!("{succeeded}/1 of {parallelism}").into(),
        (None, _) => format!("{succeeded}/1").into(),
    }
}

fn duration(c: &Context<'_>) -> Value {
    let Some(start) = parse_time(c.text(&["status", "startTime"])) else { return "".into() };
    let end = parse_time(c.text(&["status", "completionTime"])).unwrap_or(c.now);
    human(end.as_second() - start.as_second()).into()
}

/// `cpu: 40%/80%`, for each metric; `<unknown>` where nothing is measured.
fn targets(c: &Context<'_>) -> Value {
    let legacy = c.at(&["spec", "targetCPUUtilizationPercentage"]);
    if let Some(wanted) = legacy.as_i64() {
        let measured = c.at(&["status", "currentCPUUtilizationPercentage"]).as_i64();
        return format!("cpu: {}/{wanted}%", measured.map_or("<unknown>".to_owned(), |m| format!("{m}%"))).into();
    }
    let current = c.list(&["status", "currentMetrics"]);
    let parts: Vec<String> =
        c.list(&["spec", "metrics"]).iter().enumerate().map(|(i, m)| target(m, current.get(i))).collect();
    if parts.is_empty() { NONE.into() } else { parts.join(", ").into() }
}

fn target(metric: &Value, current: Option<&Value>) -> String {
    let kind = meta::text(metric, &["type"]);
    let field = format!("{}{}", kind.get(..1).unwrap_or_default().to_lowercase(), kind.get(1..).unwrap_or_default());
    let name = [meta::text(metric, &[&field, "name"]), meta::text(metric, &[&field, "metric", "name"])];
    let measured = |of: &str| current.map(|c| meta::at(c, &[&field, "current", of])).filter(|v| !v.is_null());
    let wanted = |of: &str| Some(meta::at(metric, &[&field, "target", of])).filter(|v| !v.is_null());
    let shown = |value: Option<&Value>, unit: &str| match value.map(|v| plain(v, "")) {
        Some(Value::String(text)) => format!("{text}{unit}"),
        _ => "<unknown>".to_owned(),
    };
    let pair = match wanted("averageUtilization") {
        Some(utilization) => {
            format!("{}/{}", shown(measured("averageUtilization"), "%"), shown(Some(utilization), "%"))
        }
        None => match wanted("averageValue") {
            Some(value) => format!("{}/{}", shown(measured("averageValue"), ""), shown(Some(value), "")),
            None => format!("{}/{}", shown(measured("value"), ""), shown(wanted("value"), "")),
        },
    };
    match name.iter().find(|name| !name.is_empty()) {
        Some(name) if kind == "Resource" => format!("{name}: {pair}"),
        _ => pair,
    }
}
