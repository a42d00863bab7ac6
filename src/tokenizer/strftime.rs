//! `strftime_now`, which some chat templates call to tell the model today's date.

use web_time::{SystemTime, UNIX_EPOCH};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// The present time in UTC by `format`; the error names a directive that is not known.
pub(super) fn now(format: &str) -> Result<String, String> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    strftime(format, seconds)
}

/// `seconds` after 1970-01-01T00:00:00Z by `format`, in the C locale.
fn strftime(format: &str, seconds: u64) -> Result<String, String> {
    let (days, second_of_day) = (seconds / 86_400, seconds % 86_400);
    let (hour, minute, second) = (second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60);
    let weekday = DAYS[(days as usize + 4) % 7];
    let (mut year, mut day_of_year) = (1970u64, days);
    let is_leap = |y: u64| y.is_multiple_of(4) && (!y.is_multiple_of(100) || y.is_multiple_of(400));
    while day_of_year >= 365 + u64::from(is_leap(year)) {
        day_of_year -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let (mut month, mut day) = (0, day_of_year);
    while day >= lengths[month] {
        day -= lengths[month];
        month += 1;
    }
    let (day, hour12) = (day + 1, (hour + 11) % 12 + 1);

    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut directive = chars.next();
        // GNU's "-" leaves out the zero before a number.
        let pad = directive != Some('-');
        if !pad {
            directive = chars.next();
        }
        let number = |value: u64, width: usize| {
            if pad { format!("{value:0width$}") } else { value.to_string() }
        };
        out += &match directive {
            Some('Y') => year.to_string(),
            Some('y') => number(year % 100, 2),
            Some('m') => number(month as u64 + 1, 2),
            Some('d') => number(day, 2),
            Some('e') => format!("{day:2}"),
            Some('j') => number(day_of_year + 1, 3),
            Some('H') => number(hour, 2),
            Some('I') => number(hour12, 2),
            Some('M') => number(minute, 2),
            Some('S') => number(second, 2),
            Some('p') => if hour < 12 { "AM" } else { "PM" }.into(),
            Some('B') => MONTHS[month].into(),
            Some('b' | 'h') => MONTHS[month][..3].into(),
            Some('A') => weekday.into(),
            Some('a') => weekday[..3].into(),
            Some('F') => format!("{year}-{:02}-{day:02}", month + 1),
            Some('T') => format!("{hour:02}:{minute:02}:{second:02}"),
            Some('Z') => "UTC".into(),
            Some('z') => "+0000".into(),
            Some('%') => "%".into(),
            Some(other) => return Err(format!("strftime_now does not know %{other}")),
            None => return Err("strftime_now: the format ends in %".into()),
        };
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::strftime;

    // Expected values: Python's datetime.fromtimestamp(s, timezone.utc).strftime(…).
    #[test]
    fn agrees_with_python() {
        let all = "%Y %y %m %d %e %j %H %I %M %S %p %B %b %A %a %F %T %% %-d";
        let expected =
            "2024 24 02 29  29 060 00 12 00 01 AM February Feb Thursday Thu 2024-02-29 00:00:01 % 29";
        assert_eq!(strftime(all, 1_709_164_801).unwrap(), expected.replace("  29", " 29"));
        assert_eq!(strftime("%d %b %Y %I %p", 1_767_225_599).unwrap(), "31 Dec 2025 11 PM");
        assert_eq!(strftime("%-d.%-m. %j %a", 946_684_800).unwrap(), "1.1. 001 Sat");
        assert!(strftime("%Q", 0).unwrap_err().contains("%Q"));
    }
}
