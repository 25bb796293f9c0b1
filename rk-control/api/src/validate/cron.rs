//! Cron schedules: five fields, or a name such as `@daily` or `@every 1h`.

/// Low and high bound of minute, hour, day, month, weekday.
const BOUNDS: [(u32, u32); 5] = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 6)];
const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const NAMES: [&str; 7] = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];

/// Checks a schedule; `Err` says what is wrong.
pub(super) fn check(schedule: &str) -> Result<(), String> {
    let schedule = without_zone(schedule);
    if let Some(every) = schedule.strip_prefix("@every ") {
        let plain = !every.is_empty() && every.bytes().all(|b| b.is_ascii_digit() || b"numsh.".contains(&b));
        return if plain { Ok(()) } else { Err(format!("failed to parse duration {schedule}")) };
    }
    if schedule.starts_with('@') {
        return if NAMES.contains(&schedule) { Ok(()) } else { Err(format!("unrecognized descriptor: {schedule}")) };
    }
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    if fields.len() != BOUNDS.len() {
        return Err(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")));
    }
    for (index, (field, bounds)) in fields.iter().zip(BOUNDS).enumerate() {
        for part in field.split(',') {
            range(part, index, bounds)?;
        }
    }
    Ok(())
}

/// A schedule may begin with its time zone, which the rules of CronJobs refuse in words of their own.
fn without_zone(schedule: &str) -> &str {
    let zoned = schedule.starts_with("TZ=") || schedule.starts_with("CRON_TZ=");
    schedule.split_once(' ').filter(|_| zoned).map_or(schedule, |(_, rest)| rest.trim())
}

fn range(part: &str, index: usize, (low, high): (u32, u32)) -> Result<(), String> {
    let (span, step) = part.split_once('/').map_or((part, None), |(span, step)| (span, Some(step)));
    let (start, end) = match span {
        "*" | "?" => (low, high),
        _ => match span.split_once('-') {
            Some((start, end)) => (number(start, index)?, number(end, index)?),
            None => {
                let start = number(span, index)?;
                (start, if step.is_some() { high } else { start })
            }
        },
    };
    if let Some(step) = step
        && number(step, usize::MAX)? == 0
    {
        return Err(format!("step of range should be a positive number: {part}"));
    }
    if start < low {
        return Err(format!("beginning of range ({start}) below minimum ({low}): {part}"));
    }
    if end > high {
        return Err(format!("end of range ({end}) above maximum ({high}): {part}"));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {part}"));
    }
    Ok(())
}

fn number(text: &str, index: usize) -> Result<u32, String> {
    let lower = text.to_ascii_lowercase();
    let named = match index {
        3 => MONTHS.iter().position(|m| *m == lower).map(|p| p + 1),
        4 => DAYS.iter().position(|d| *d == lower),
        _ => None,
    };
    match named {
        Some(position) => u32::try_from(position).map_err(|e| e.to_string()),
        None => text
            .parse()
            .map_err(|_| format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax")),
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn schedules_are_five_fields_or_a_name() {
        for good in
            ["* * * * *", "*/5 0-23/2 1,15 jan-mar mon", "@daily", "@every 1h30m", "0 0 ? * 0", "TZ=UTC 0 * * * *"]
        {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in
            ["* * * *", "60 * * * *", "5-1 * * * *", "*/0 * * * *", "a * * * *", "@never", "* * * 13 *", "@every x"]
        {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
