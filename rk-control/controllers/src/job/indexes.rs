//! Sets of completion indexes, written as `0-2,5,7-9`.

use std::collections::BTreeSet;

/// Indexes beyond are not kept; the API allows 100 000 completions.
const MAX: i32 = 100_000;

/// Parses a list; unreadable parts are left out.
pub(super) fn parse(text: &str, completions: i32) -> BTreeSet<i32> {
    let limit = completions.min(MAX);
    text.split(',')
        .filter_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some(first.trim().parse::<i32>().ok()?.max(0)..=last.trim().parse::<i32>().ok()?.min(limit - 1))
        })
        .flatten()
        .collect()
}

/// Writes a list with runs joined.
pub(super) fn format(indexes: &BTreeSet<i32>) -> String {
    let mut runs: Vec<(i32, i32)> = Vec::new();
    for index in indexes {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *index => *last = *index,
            _ => runs.push((*index, *index)),
        }
    }
    let run = |(first, last): &(i32, i32)| match last - first {
        0 => first.to_string(),
        // Two neighbours are listed, three are a run.
        1 => format!("{first},{last}"),
        _ => format!("{first}-{last}"),
    };
    runs.iter().map(run).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_round_trip() {
        for text in ["", "3", "0,1", "0-2,5,7-9"] {
            assert_eq!(format(&parse(text, 100)), text);
        }
        assert_eq!(parse("0-1000000000,x", 3), BTreeSet::from([0, 1, 2]));
    }
}
