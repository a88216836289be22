//! Formats counts, times and the labels of an axis.

use std::time::Duration;

/// Returns a number with a comma between thousands.
pub(crate) fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns a number and a noun, such as `1 lane` or `1,200 lanes`.
pub(crate) fn counted(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", grouped(number))
}

/// Returns a time in the unit that fits it, such as `1.5 s`, `12.345 ms` or `0.2 µs`: to the microsecond if
/// it is a second or more, to three decimals if it is less.
pub(crate) fn shown_duration(time: Duration) -> String {
    with_unit(time, if time >= Duration::from_secs(1) { 6 } else { 3 })
}

/// Returns a time to a tenth of the unit that fits it.
pub(crate) fn rounded(time: Duration) -> String {
    with_unit(time, 1)
}

fn with_unit(time: Duration, decimals: usize) -> String {
    let (unit, each) = match time {
        time if time >= Duration::from_secs(1) => ("s", 1.0),
        time if time >= Duration::from_millis(1) => ("ms", 0.001),
        _ => ("µs", 0.000_001),
    };
    let number = format!("{:.decimals$}", time.as_secs_f64() / each);
    format!("{} {unit}", number.trim_end_matches('0').trim_end_matches('.'))
}

/// Returns the shortest step between two labels of an axis that reads well and is at least this many seconds
/// long: 1, 2 or 5 with zeros, or a usual number of minutes or hours. It is never less than a microsecond.
pub(crate) fn axis_step(seconds: f64) -> f64 {
    const STEPS: &[f64] = &[
        0.000_001, 0.000_002, 0.000_005, 0.000_01, 0.000_02, 0.000_05, 0.000_1, 0.000_2, 0.000_5,
        0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0,
        60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 14400.0, 43200.0, 86400.0,
    ];
    STEPS.iter().copied().find(|step| *step >= seconds).unwrap_or(seconds)
}

/// Returns a time as the label of an axis with such steps, both in seconds, in the unit that fits the steps.
pub(crate) fn axis_label(seconds: f64, step: f64) -> String {
    let (unit, each) = match step {
        step if step < 0.000_1 => ("µs", 0.000_001),
        step if step < 0.1 => ("ms", 0.001),
        _ => ("s", 1.0),
    };
    let decimals = usize::from(step < each);
    format!("{:.decimals$} {unit}", seconds / each)
}
