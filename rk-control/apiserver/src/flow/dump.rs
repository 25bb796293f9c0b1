//! The pages by which operators look into priority and fairness, as upstream lays them out (KEP-1040): values with commas between
//! them, in columns.

use super::figures::Flow;

/// Columns of the pages, by page.
const LEVELS: [&str; 10] = [
    "PriorityLevelName",
    "ActiveQueues",
    "IsIdle",
    "IsQuiescing",
    "WaitingRequests",
    "ExecutingRequests",
    "DispatchedRequests",
    "RejectedRequests",
    "TimedoutRequests",
    "CancelledRequests",
];
const QUEUES: [&str; 9] = [
    "PriorityLevelName",
    "Index",
    "PendingRequests",
    "ExecutingRequests",
    "SeatsInUse",
    "NextDispatchR",
    "InitialSeatsSum",
    "MaxSeatsSum",
    "TotalWorkSum",
];

/// Upstream's least width of a column.
const LEAST: usize = 8;

/// One page; `None` for one that is not there. Upstream's page of single requests is none here: which requests are under way is
/// counted and not kept.
pub(super) fn page(page: &str, levels: &[(String, u64)], flows: &[&Flow]) -> Option<String> {
    match page {
        "dump_priority_levels" => {
            let mut names: Vec<&str> = levels.iter().map(|(name, _)| name.as_str()).collect();
            names.sort_unstable();
            let mut rows = vec![LEVELS.map(str::to_owned)];
            rows.extend(names.into_iter().map(|name| level(name, flows)));
            Some(columns(&rows))
        }
        // There are no queues.
        "dump_queues" => Some(columns(&[QUEUES.map(str::to_owned)])),
        _ => None,
    }
}

fn level(name: &str, flows: &[&Flow]) -> [String; LEVELS.len()] {
    let own = flows.iter().filter(|flow| flow.level == name).map(|flow| flow.counts());
    let (executing, begun) = own.fold((0, 0), |sums, counts| (sums.0 + counts.0, sums.1 + counts.1));
    // Nothing waits, nothing is refused or given up for waiting, and a level that is deleted is gone at once.
    let none = || "0".to_owned();
    [
        name.to_owned(),
        none(),
        (executing == 0).to_string(),
        "false".to_owned(),
        none(),
        executing.to_string(),
        begun.to_string(),
        none(),
        none(),
        none(),
    ]
}

/// Rows as upstream aligns them: a comma after each value but the last, and blanks up to where the next column begins.
fn columns<const WIDTH: usize>(rows: &[[String; WIDTH]]) -> String {
    let widths: [usize; WIDTH] = std::array::from_fn(|column| {
        let widest = rows.iter().filter_map(|row| row.get(column)).map(|own| own.chars().count()).max();
        (widest.unwrap_or_default() + 2).max(LEAST)
    });
    let mut out = String::new();
    for row in rows {
        for (place, (value, width)) in row.iter().zip(widths).enumerate() {
            if place + 1 == WIDTH {
                out.push_str(value);
                out.push('\n');
            } else {
                let cell = format!("{value},");
                out.push_str(&format!("{cell:<width$}"));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn levels_are_told_in_columns_and_queues_by_their_heads_alone() {
        let flows = [("a", "node-high"), ("b", "node-high"), ("c", "exempt")]
            .map(|(schema, level)| Arc::new(Flow::new(schema, level)));
        let [a, b, _] = &flows;
        drop(Flow::begin(a, false));
        let _under_way = Flow::begin(b, false);
        let levels = [("node-high".to_owned(), 98), ("exempt".to_owned(), 0)];
        let all: Vec<&Flow> = flows.iter().map(|flow| &**flow).collect();
        let told = page("dump_priority_levels", &levels, &all).unwrap();
        let mut lines = told.lines();
        assert_eq!(
            lines.next(),
            Some(
                "PriorityLevelName, ActiveQueues, IsIdle, IsQuiescing, WaitingRequests, ExecutingRequests, DispatchedRequests, \
                 RejectedRequests, TimedoutRequests, CancelledRequests"
            )
        );
        let values = |line: &str| line.split(',').map(|own| own.trim().to_owned()).collect::<Vec<_>>().join(" ");
        let rows: Vec<&str> = lines.collect();
        assert_eq!(
            rows.iter().copied().map(values).collect::<Vec<_>>(),
            ["exempt 0 true false 0 0 0 0 0 0", "node-high 0 false false 0 1 2 0 0 0",]
        );
        assert!(rows[0].starts_with("exempt,            0,            true,   false,       0,"), "{told}");
        let queues = page("dump_queues", &levels, &all).unwrap();
        assert!(
            queues.starts_with("PriorityLevelName, Index,  PendingRequests, ") && queues.lines().count() == 1,
            "{queues}"
        );
        assert_eq!(page("dump_requests", &levels, &all), None);
    }
}
