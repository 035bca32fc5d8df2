//! Typed reads of one value: the value, or a finding that says what was expected and nothing.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::document::{Member, Node, Value};
use super::fault::Findings;
use super::schema::nearest;

/// Longest time that can be set.
pub const MAX_DURATION: Duration = Duration::from_secs(7 * 24 * 3600);

fn wrong(node: &Node, expected: &str, findings: &mut Findings) {
    // An invalid value has its finding already.
    if node.value != Value::Invalid {
        findings.expected(node.span.start, expected, node.kind());
    }
}

pub(super) fn string<'a>(node: &'a Node, findings: &mut Findings) -> Option<&'a str> {
    match &node.value {
        Value::String(text) => Some(text),
        _ => {
            wrong(node, "a string", findings);
            None
        }
    }
}

pub(super) fn boolean(node: &Node, findings: &mut Findings) -> Option<bool> {
    match &node.value {
        Value::Bool(value) => Some(*value),
        _ => {
            wrong(node, "true or false", findings);
            None
        }
    }
}

pub(super) fn members<'a>(node: &'a Node, findings: &mut Findings) -> Option<&'a [Member]> {
    match &node.value {
        Value::Object(members) => Some(members),
        _ => {
            wrong(node, "an object", findings);
            None
        }
    }
}

/// An array whose elements are all strings, with their nodes. Every wrong element is reported; an
/// array that is none is one fault.
pub(super) fn strings<'a>(
    node: &'a Node,
    findings: &mut Findings,
) -> Option<Vec<(&'a Node, &'a str)>> {
    let Value::Array(elements) = &node.value else {
        wrong(node, "an array of strings", findings);
        return None;
    };
    let texts: Vec<_> =
        elements.iter().filter_map(|element| Some((element, string(element, findings)?))).collect();
    (texts.len() == elements.len()).then_some(texts)
}

/// Like [`strings`], without the nodes.
pub(super) fn words(node: &Node, findings: &mut Findings) -> Option<Vec<String>> {
    let texts = strings(node, findings)?;
    Some(texts.into_iter().map(|(_, text)| text.to_owned()).collect())
}

/// A whole number within bounds.
pub(super) fn whole(
    node: &Node,
    range: RangeInclusive<u64>,
    findings: &mut Findings,
) -> Option<u64> {
    let expected = format!("a whole number from {} to {}", range.start(), range.end());
    let Value::Number(text) = &node.value else {
        wrong(node, &expected, findings);
        return None;
    };
    let value = text.parse().ok().filter(|value| range.contains(value));
    if value.is_none() {
        findings.expected(node.span.start, &expected, text);
    }
    value
}

/// A time: milliseconds as a number, or a text such as `"30s"` (`ms`, `s`, `m`, `h`).
pub(super) fn duration(node: &Node, findings: &mut Findings) -> Option<Duration> {
    let parsed = match &node.value {
        Value::Number(text) => text.parse().ok().map(Duration::from_millis),
        Value::String(text) => duration_text(text),
        _ => {
            wrong(node, "a time in milliseconds", findings);
            return None;
        }
    };
    let allowed = parsed.filter(|time| !time.is_zero() && *time <= MAX_DURATION);
    if allowed.is_none() {
        let expected = "a time from 1 (millisecond) to \"168h\"";
        findings.expected(node.span.start, expected, "something else");
    }
    allowed
}

fn duration_text(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let millis = match unit.trim_start() {
        "" | "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(millis).map(Duration::from_millis)
}

/// Longest wrong word that is repeated in a fault.
const MAX_SHOWN: usize = 32;

/// One of a few words.
pub(super) fn one_of<T: Copy>(
    node: &Node,
    choices: &[(&str, T)],
    findings: &mut Findings,
) -> Option<T> {
    let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
    let expected = format!("one of \"{}\"", words.join("\", \""));
    let Value::String(text) = &node.value else {
        wrong(node, &expected, findings);
        return None;
    };
    let choice = choices.iter().find(|(word, _)| word == text);
    if choice.is_none() {
        let found =
            if text.len() <= MAX_SHOWN { format!("\"{text}\"") } else { "another word".to_owned() };
        findings.expected(node.span.start, &expected, &found);
        findings.hint(nearest(text, words.into_iter()));
    }
    choice.map(|(_, value)| *value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        let millis = |text| duration_text(text).map(|time| time.as_millis());
        assert_eq!(millis("1500"), Some(1500));
        assert_eq!(millis("20ms"), Some(20));
        assert_eq!(millis(" 30 s "), Some(30_000));
        assert_eq!(millis("2m"), Some(120_000));
        assert_eq!(millis("1h"), Some(3_600_000));
        for bad in ["", "s", "1d", "-1s", "1.5s", "99999999999999999999", "18446744073709551615h"] {
            assert_eq!(millis(bad), None, "{bad}");
        }
    }
}
