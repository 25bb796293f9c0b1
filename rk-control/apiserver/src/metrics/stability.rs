//! How a figure is headed: its text, its type, and what upstream promises of its name.

use std::fmt::Write;

/// Names whose labels and meaning stay.
const STABLE: [&str; 15] = [
    "apiserver_admission_controller_admission_duration_seconds",
    "apiserver_admission_step_admission_duration_seconds",
    "apiserver_admission_webhook_admission_duration_seconds",
    "apiserver_current_inflight_requests",
    "apiserver_longrunning_requests",
    "apiserver_request_duration_seconds",
    "apiserver_request_total",
    "apiserver_requested_deprecated_apis",
    "apiserver_response_sizes",
    "apiserver_storage_objects",
    "apiserver_storage_size_bytes",
    "kube_pod_resource_limit",
    "kube_pod_resource_request",
    "kubernetes_healthcheck",
    "kubernetes_healthchecks_total",
];

/// What names begin with that change with a notice.
const BETA: [&str; 6] = [
    "apiserver_cel_",
    "apiserver_flowcontrol_current_executing_requests",
    "apiserver_flowcontrol_dispatched_requests_total",
    "apiserver_flowcontrol_nominal_limit_seats",
    "apiserver_validating_admission_policy_check_",
    "apiserver_validation_declarative_validation_",
];

/// Writes the two lines that begin a figure.
pub(crate) fn help(out: &mut String, name: &str, kind: &str, text: &str) {
    let _ = writeln!(out, "# HELP {name} {}{text}\n# TYPE {name} {kind}", stage(name));
}

/// The words by which upstream's texts begin.
fn stage(name: &str) -> &'static str {
    if STABLE.contains(&name) {
        "[STABLE] "
    } else if BETA.iter().any(|own| name.starts_with(own)) {
        "[BETA] "
    } else if name.starts_with("process_") {
        // Every program of Prometheus' libraries has these; they are not upstream's to promise.
        ""
    } else {
        "[ALPHA] "
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_begins_with_what_upstream_promises_of_the_name() {
        for (name, begins) in [
            ("apiserver_request_total", "[STABLE] T"),
            ("apiserver_request_terminations_total", "[ALPHA] T"),
            ("apiserver_cel_evaluation_duration_seconds", "[BETA] T"),
            ("apiserver_flowcontrol_nominal_limit_seats", "[BETA] T"),
            ("apiserver_flowcontrol_request_execution_seconds", "[ALPHA] T"),
            ("process_open_fds", "T"),
        ] {
            let mut out = String::new();
            help(&mut out, name, "gauge", "Text.");
            assert_eq!(out, format!("# HELP {name} {begins}ext.\n# TYPE {name} gauge\n"));
        }
    }
}
