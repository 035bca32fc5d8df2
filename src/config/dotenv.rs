//! The content of an `envFile`: `NAME=value` lines, `export`, comments, single and double quotes.
//!
//! Nothing is substituted inside values, and a fault names a line number, never its text.

use super::substitute::is_variable_name;

/// Longest `envFile` or secret file, in bytes.
pub const MAX_REFERENCED_FILE_BYTES: usize = 64 * 1024;

/// Reads a whole file.
///
/// # Errors
/// The number of the first line that is none of the accepted forms, from 1.
pub(super) fn read(text: &str) -> Result<Vec<(String, String)>, usize> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut variables = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        variables.push(assignment(line).ok_or(index + 1)?);
    }
    Ok(variables)
}

fn assignment(line: &str) -> Option<(String, String)> {
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = line.split_once('=')?;
    let name = name.trim();
    if !is_variable_name(name) {
        return None;
    }
    Some((name.to_owned(), value_of(value.trim())?))
}

fn value_of(text: &str) -> Option<String> {
    for quote in ['"', '\''] {
        if let Some(inner) = text.strip_prefix(quote) {
            return quoted(inner, quote);
        }
    }
    // A comment needs a space before it, so that `a#b` stays whole.
    let end = text.find(" #").unwrap_or(text.len());
    text.get(..end).map(|value| value.trim_end().to_owned())
}

fn quoted(inner: &str, quote: char) -> Option<String> {
    let mut out = String::new();
    let mut characters = inner.chars();
    while let Some(c) = characters.next() {
        if c == quote {
            let rest = characters.as_str().trim_start();
            return (rest.is_empty() || rest.starts_with('#')).then_some(out);
        }
        if c == '\\' && quote == '"' {
            match characters.next()? {
                'n' => out.push('\n'),
                'r' => out.push('\r'),
                't' => out.push('\t'),
                escaped @ ('"' | '\\' | '$') => out.push(escaped),
                other => out.extend(['\\', other]),
            }
        } else {
            out.push(c);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_forms_are_read() {
        let text = "\u{feff}# first\nA=1\n\nexport B = two words # said\r\nC='a # \"b\"'\nD=\"x\\n\\\"y\\\"\\d\" # e\nE=\nF=a#b=c\n";
        let expected = [
            ("A", "1"),
            ("B", "two words"),
            ("C", "a # \"b\""),
            ("D", "x\n\"y\"\\d"),
            ("E", ""),
            ("F", "a#b=c"),
        ];
        let owned = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(read(text), Ok(owned.to_vec()));
    }

    #[test]
    fn the_wrong_line_is_named() {
        for line in ["A", "=1", "A B=1", "A=\"x", "A='x'y", "1A=2"] {
            assert_eq!(read(&format!("OK=1\n{line}\n")), Err(2), "{line}");
        }
    }
}
