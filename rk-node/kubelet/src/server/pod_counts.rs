//! How many pods the node is asked for, works at and shows by mirrors, told apart by their source.

use super::metrics::Text;
use crate::pod::worker::Stage;
use crate::views::Life;

/// Who asks for a pod, and whether it is static; every pair is told, also of no pod.
const CONFIGS: [(&str, &str); 5] =
    [("desired", ""), ("desired", "true"), ("orphan", ""), ("orphan", "true"), ("runtime_only", "unknown")];
/// What a worker is at.
const LIFECYCLES: [(&str, Stage); 3] =
    [("sync", Stage::Syncing), ("terminating", Stage::Terminating), ("terminated", Stage::Terminated)];

fn static_label(life: &Life) -> &'static str {
    if life.from_file { "true" } else { "" }
}

fn config(life: &Life) -> (&'static str, &'static str) {
    match (life.wanted, life.adopted) {
        (true, _) => ("desired", static_label(life)),
        (false, false) => ("orphan", static_label(life)),
        // What only the runtime knows has lost its source.
        (false, true) => ("runtime_only", "unknown"),
    }
}

/// It is asked for, and something of it runs or will.
fn active(life: &Life) -> bool {
    life.wanted && matches!(life.stage, Stage::Syncing | Stage::Terminating)
}

fn count(lives: &[Life], fits: impl Fn(&Life) -> bool) -> f64 {
    lives.iter().filter(|life| fits(life)).count() as f64
}

/// Writes the numbers of `lives`.
pub(super) fn write(text: &mut Text, lives: &[Life]) {
    text.head("kubelet_active_pods", "The number of pods that the kubelet counts when it admits others", "gauge");
    for label in ["", "true"] {
        let value = count(lives, |life| active(life) && static_label(life) == label);
        text.sample("kubelet_active_pods", &[("static", label)], value);
    }
    text.head("kubelet_desired_pods", "The number of pods the kubelet is being instructed to run", "gauge");
    for label in ["", "true"] {
        let value = count(lives, |life| life.wanted && static_label(life) == label);
        text.sample("kubelet_desired_pods", &[("static", label)], value);
    }
    text.head("kubelet_mirror_pods", "The number of static pods that are shown in the API by a mirror pod", "gauge");
    text.sample("kubelet_mirror_pods", &[], count(lives, |life| life.from_file));
    text.head(
        "kubelet_working_pods",
        "Number of pods the kubelet works at, by what it does and who asks for it",
        "gauge",
    );
    for (lifecycle, stage) in LIFECYCLES {
        for pair in CONFIGS {
            let value = count(lives, |life| life.stage == stage && config(life) == pair);
            let labels = [("config", pair.0), ("lifecycle", lifecycle), ("static", pair.1)];
            text.sample("kubelet_working_pods", &labels, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATIC: Life = Life { stage: Stage::Syncing, wanted: true, from_file: true, adopted: false };

    /// The samples that are not zero.
    fn told(lives: &[Life]) -> Vec<String> {
        let mut text = Text::default();
        write(&mut text, lives);
        let lines = text.as_str().lines().filter(|line| !line.starts_with('#') && !line.ends_with(" 0"));
        lines.map(|line| line.replace("kubelet_", "")).collect()
    }

    #[test]
    fn a_pod_is_counted_by_its_source_and_its_stage() {
        let mut running = vec!["active_pods{static=\"true\"} 1", "desired_pods{static=\"true\"} 1", "mirror_pods 1"];
        let sync = "working_pods{config=\"desired\",lifecycle=\"sync\",static=\"true\"} 1";
        running.push(sync);
        assert_eq!(told(&[STATIC]), running);
        let removed = Life { stage: Stage::Terminating, wanted: false, ..STATIC };
        let ending = "working_pods{config=\"orphan\",lifecycle=\"terminating\",static=\"true\"} 1";
        assert_eq!(told(&[removed]), ["mirror_pods 1", ending]);
        let ended = Life { stage: Stage::Terminated, from_file: false, ..STATIC };
        let over = "working_pods{config=\"desired\",lifecycle=\"terminated\",static=\"\"} 1";
        assert_eq!(told(&[ended]), ["desired_pods{static=\"\"} 1", over]);
        let adopted = Life { stage: Stage::Terminating, wanted: false, from_file: false, adopted: true };
        let unknown = "working_pods{config=\"runtime_only\",lifecycle=\"terminating\",static=\"unknown\"} 1";
        assert_eq!(told(&[adopted]), [unknown]);
    }

    #[test]
    fn every_number_is_told_also_of_no_pod() {
        let mut text = Text::default();
        write(&mut text, &[]);
        assert_eq!(text.as_str().lines().filter(|line| line.ends_with(" 0")).count(), 2 + 2 + 1 + 15);
    }
}
