//! Which instance of a container is begun.

use std::fs;
use std::path::Path;

use k8s_openapi::api::core::v1::Pod;

use crate::context::Context;
use crate::pod::decide::Start;
use crate::translate::log_directory;

/// What is to be started, by a number that no instance before it had: the runtime may have lost its records, their logs are here.
pub fn numbered(context: &Context, pod: &Pod, start: &Start) -> Start {
    let attempt = match start.attempt {
        0 => after_logs(&log_directory(&context.options.dirs.pod_logs, pod).join(&start.name)),
        known => known,
    };
    Start { attempt, ..start.clone() }
}

/// The number after those of a container's logs: `3.log`, and what was rotated of it, are of its fourth instance.
fn after_logs(dir: &Path) -> u32 {
    let number = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        let (number, rest) = name.split_once(".log")?;
        let is_log = rest.is_empty() || rest.starts_with('.');
        number.parse::<u32>().ok().filter(|_| is_log)
    };
    let numbers = fs::read_dir(dir).into_iter().flatten().flatten().filter_map(number);
    numbers.max().map_or(0, |last| last.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_instance_has_the_number_after_the_logs() {
        for (logs, want) in [
            (&[][..], 0),
            (&["0.log"], 1),
            (&["2.log", "10.log", "9.log"], 11),
            (&["0.log", "3.log.1.gz"], 4),
            (&["x.log", "7.logs", "8", "-1.log"], 0),
        ] {
            let dir = tempfile::tempdir().unwrap();
            logs.iter().for_each(|name| fs::write(dir.path().join(name), "").unwrap());
            assert_eq!(after_logs(dir.path()), want, "{logs:?}");
        }
        assert_eq!(after_logs(Path::new("/nonexistent")), 0);
    }
}
