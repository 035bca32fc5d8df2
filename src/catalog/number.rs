//! Numbers compared by value without a loss of digits, as text.

use crate::wire::json::{self, Kind, Span};

/// Most digits that an exponent is written out to.
const PLAIN_DIGITS: usize = 64;

/// A number as `digits × 10^exponent`, without zeros at either end; zero has no digits.
#[derive(PartialEq, Eq)]
struct Decimal {
    negative: bool,
    digits: String,
    exponent: i64,
}

impl Decimal {
    /// `None` for an exponent that does not fit.
    fn read(number: &str) -> Option<Self> {
        let (negative, rest) = match number.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, number),
        };
        let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse().ok()?),
            None => (rest, 0_i64),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = [whole, fraction].concat();
        let digits = all.trim_end_matches('0');
        let trailing = i64::try_from(all.len() - digits.len()).ok()?;
        let fraction = i64::try_from(fraction.len()).ok()?;
        let digits = digits.trim_start_matches('0').to_owned();
        if digits.is_empty() {
            return Some(Self { negative: false, digits, exponent: 0 });
        }
        let exponent = exponent.checked_sub(fraction)?.checked_add(trailing)?;
        Some(Self { negative, digits, exponent })
    }

    /// Written without fraction and exponent, if it is an integer of sensible length.
    fn plain(&self) -> Option<String> {
        let zeros = usize::try_from(self.exponent).ok()?;
        if self.digits.is_empty() {
            return Some("0".to_owned());
        }
        if zeros.saturating_add(self.digits.len()) > PLAIN_DIGITS {
            return None;
        }
        let sign = if self.negative { "-" } else { "" };
        Some(format!("{sign}{}{}", self.digits, "0".repeat(zeros)))
    }
}

/// Whether a JSON number and a text that should be one have the same value: `42` and `42.0` have.
pub(super) fn same_value(number: &str, text: &str) -> bool {
    let is_number = json::check(text.as_bytes()).is_ok_and(|value| {
        value.kind == Kind::Number && value.span == Span::whole(text.as_bytes())
    });
    is_number
        && (number == text || Decimal::read(number).is_some_and(|a| Decimal::read(text) == Some(a)))
}

/// A JSON number as the decimal digits of an integer where it is one, else as it is written.
pub(super) fn decimal(number: &str) -> String {
    let plain = Decimal::read(number).and_then(|decimal| decimal.plain());
    plain.unwrap_or_else(|| number.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_not_digits_are_compared() {
        let big = "12345678901234567890123";
        for (a, b) in [
            ("42", "42"),
            ("42", "42.0"),
            ("42.000", "42"),
            ("4.2e1", "42"),
            ("420E-1", "42"),
            ("-7", "-7.0"),
            ("0", "-0"),
            ("0e9", "0.00"),
            ("0.5", "5e-1"),
            (big, "12345678901234567890123.0"),
            ("1e99999999999999999999", "1e99999999999999999999"),
        ] {
            assert!(same_value(a, b), "{a} {b}");
        }
        for (a, b) in [
            ("42", "43"),
            ("42", "-42"),
            ("9007199254740993", "9007199254740992"),
            (big, "12345678901234567890124"),
            ("42", ""),
            ("42", "+42"),
            ("42", "042"),
            ("42", "42 "),
            ("42", "0x2a"),
            ("42", "\"42\""),
            ("1", "true"),
            ("1e99999999999999999999", "1e99999999999999999998"),
        ] {
            assert!(!same_value(a, b), "{a} {b}");
        }
    }

    #[test]
    fn integers_are_written_plainly() {
        let table = [
            ("42", "42"),
            ("-7", "-7"),
            ("42.0", "42"),
            ("4.2e1", "42"),
            ("-0", "0"),
            ("100", "100"),
            ("1e3", "1000"),
            ("12345678901234567890123", "12345678901234567890123"),
            ("4.25", "4.25"),
            ("1e400", "1e400"),
        ];
        for (number, text) in table {
            assert_eq!(decimal(number), text);
        }
    }
}
