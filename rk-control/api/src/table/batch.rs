//! Jobs, cron jobs, autoscalers.

use serde_json::Value;

use super::age::human;
use super::column::{AGE, Column, Context, NAME};
use super::text::{NONE, UNSET, containers, plain, selector};
use crate::meta::{self, parse_time};

/// How many metrics of an autoscaler are shown.
const SHOWN: usize = 2;

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
    Column::new("Suspend", "Whether no jobs are started.", |c| match c.at(&["spec", "suspend"]).as_bool() {
        Some(true) => "True".into(),
        Some(false) => "False".into(),
        None => UNSET.into(),
    })
    .boolean(),
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
    Column::new("MaxPods", "The most pods.", |c| c.number(&["spec", "maxReplicas"]).into()),
    Column::new("Replicas", "The pods that there are.", |c| c.number(&["status", "currentReplicas"]).into()),
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
    let (metrics, current) = (c.list(&["spec", "metrics"]), c.list(&["status", "currentMetrics"]));
    let shown: Vec<String> =
        metrics.iter().take(SHOWN).enumerate().map(|(index, metric)| target(metric, current.get(index))).collect();
    match metrics.len().saturating_sub(SHOWN) {
        _ if metrics.is_empty() => NONE.into(),
        0 => shown.join(", ").into(),
        more => format!("{} + {more} more...", shown.join(", ")).into(),
    }
}

/// One metric: what is measured and what is wanted, of each pod or, for those of one object or of no object, of all together.
fn target(metric: &Value, current: Option<&Value>) -> String {
    let (field, alone) = match meta::text(metric, &["type"]) {
        "Resource" => ("resource", false),
        "ContainerResource" => ("containerResource", false),
        "Pods" => ("pods", false),
        "Object" => ("object", true),
        "External" => ("external", true),
        _ => return "<unknown type>".to_owned(),
    };
    let wanted = |of: &str| Some(meta::at(metric, &[field, "target", of])).filter(|value| !value.is_null());
    let measured = |of: &str| match current.map(|current| plain(meta::at(current, &[field, "current", of]), "")) {
        Some(Value::String(text)) if !text.is_empty() => Some(text),
        _ => None,
    };
    let pair = |of: &str, unit: &str, otherwise: &str| {
        let now = measured(of).map_or_else(|| "<unknown>".to_owned(), |now| format!("{now}{unit}"));
        let then = wanted(of).map_or_else(|| Value::from(otherwise), |then| plain(then, otherwise));
        let unit = if wanted(of).is_some() { unit } else { "" };
        format!("{now}/{}{unit}", then.as_str().unwrap_or_default())
    };
    match (field, wanted("averageValue")) {
        ("pods", _) => pair("averageValue", "", ""),
        (_, Some(_)) if alone => format!("{} (avg)", pair("averageValue", "", "")),
        (_, None) if alone => pair("value", "", ""),
        (_, average) => {
            let pair = if average.is_some() {
                pair("averageValue", "", "")
            } else {
                pair("averageUtilization", "%", "<auto>")
            };
            format!("{}: {pair}", meta::text(metric, &[field, "name"]))
        }
    }
}
