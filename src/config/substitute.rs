//! References to variables inside a text: `${VAR}`, `${VAR:-default}`, `${env:VAR}`, `${userHome}`,
//! `${workspaceFolder}`, `${workspaceFolderBasename}`, `${pathSeparator}`, `${/}`, `${input:id}`, and
//! `$VAR` in a file of 1MCP. `$${` writes `${`.
//!
//! What is unknown is an error that names the variable and never its surroundings. Our own
//! `ONEMCP_*` variables are never handed to anyone.

use super::environment::Environment;
use super::formats::Format;

/// Our own variables, which may hold secrets of the gateway.
pub(super) const OWN_PREFIX: &str = "ONEMCP_";

/// One part of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part<'a> {
    Text(&'a str),
    Variable {
        name: &'a str,
        default: Option<&'a str>,
    },
    /// `$VAR`: kept as it is when there is no such variable, because a `$` is common in passwords.
    Bare(&'a str),
    Home,
    Workspace,
    WorkspaceName,
    Input(&'a str),
    /// A reference of a kind that we do not know.
    Foreign,
}

/// Splits a text into its parts.
pub(super) fn parts(text: &str, format: Format) -> Vec<Part<'_>> {
    if format == Format::ClaudeDesktop {
        return vec![Part::Text(text)];
    }
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        let (before, from) = rest.split_at(dollar);
        parts.push(Part::Text(before));
        let (part, length) = reference(from, format);
        parts.push(part);
        rest = from.get(length..).unwrap_or_default();
    }
    parts.push(Part::Text(rest));
    parts
}

/// Reads what begins with a `$`: the part and how many bytes it takes.
fn reference(from: &str, format: Format) -> (Part<'_>, usize) {
    if from.starts_with("$${") {
        return (Part::Text("${"), 3);
    }
    if let Some(inner) = from.strip_prefix("${") {
        if let Some((inner, _)) = inner.split_once('}') {
            return (braced(inner), inner.len() + 3);
        }
    } else if format == Format::OneMcp {
        let name = bare_name(from.get(1..).unwrap_or_default());
        if !name.is_empty() {
            return (Part::Bare(name), name.len() + 1);
        }
    }
    (Part::Text("$"), 1)
}

fn bare_name(text: &str) -> &str {
    let is_name = |(at, b): &(usize, u8)| {
        b.is_ascii_alphabetic() || *b == b'_' || (*at > 0 && b.is_ascii_digit())
    };
    let length = text.bytes().enumerate().take_while(is_name).count();
    text.get(..length).unwrap_or_default()
}

fn braced(inner: &str) -> Part<'_> {
    match inner {
        "userHome" => return Part::Home,
        "workspaceFolder" => return Part::Workspace,
        "workspaceFolderBasename" => return Part::WorkspaceName,
        "pathSeparator" | "/" => return Part::Text("/"),
        _ => {}
    }
    let (name, default) = match inner.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inner, None),
    };
    if let Some(id) = name.strip_prefix("input:") {
        return Part::Input(id);
    }
    let name = name.strip_prefix("env:").unwrap_or(name).trim();
    if is_variable_name(name) { Part::Variable { name, default } } else { Part::Foreign }
}

/// Whether this can be the name of a variable that a file refers to.
pub(super) fn is_variable_name(name: &str) -> bool {
    !name.is_empty() && bare_name(name).len() == name.len()
}

/// The variable that answers `${input:id}`.
pub(super) fn input_variable(id: &str) -> String {
    let upper = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    std::iter::once("MCP_INPUT_".to_owned())
        .chain(id.chars().map(|c| upper(c).to_string()))
        .collect()
}

/// The names of the variables that a text wants.
pub(super) fn wanted(text: &str, format: Format) -> Vec<String> {
    let name = |part| match part {
        Part::Variable { name, .. } | Part::Bare(name) => Some(name.to_owned()),
        Part::Home => Some("HOME".to_owned()),
        Part::Input(id) => Some(input_variable(id)),
        _ => None,
    };
    parts(text, format).into_iter().filter_map(name).collect()
}

/// Replaces every reference of a text.
///
/// # Errors
/// One sentence for each reference that could not be replaced.
pub(super) fn expand(
    text: &str,
    format: Format,
    environment: &Environment,
) -> Result<String, Vec<String>> {
    let mut out = String::with_capacity(text.len());
    let mut wrong = Vec::new();
    for part in parts(text, format) {
        match replace(part, environment) {
            Ok(value) => out.push_str(&value),
            Err(sentence) => wrong.push(sentence),
        }
    }
    if wrong.is_empty() { Ok(out) } else { Err(wrong) }
}

fn replace(part: Part<'_>, environment: &Environment) -> Result<String, String> {
    let home = || environment.variable("HOME").ok_or("`${userHome}`: HOME is not set".to_owned());
    let workspace = |reference: &str| {
        let unknown = || format!("`${{{reference}}}`: the folder of the file is not known");
        environment.folder.clone().ok_or_else(unknown)
    };
    match part {
        Part::Text(text) => Ok(text.to_owned()),
        Part::Variable { name, .. } | Part::Bare(name) if name.starts_with(OWN_PREFIX) => {
            Err(format!("`{name}` belongs to the gateway and is handed to nobody"))
        }
        Part::Variable { name, default } => environment
            .variable(name)
            .or(default)
            .map(ToOwned::to_owned)
            .ok_or_else(|| format!("the variable `{name}` is not set")),
        Part::Bare(name) => {
            Ok(environment.variable(name).map_or_else(|| format!("${name}"), ToOwned::to_owned))
        }
        Part::Home => home().map(ToOwned::to_owned),
        Part::Workspace => workspace("workspaceFolder"),
        Part::WorkspaceName => workspace("workspaceFolderBasename")
            .map(|folder| folder.rsplit('/').next().unwrap_or_default().to_owned()),
        Part::Input(id) => {
            let name = input_variable(id);
            let unset = || format!("the input needs the variable `{name}`, which is not set");
            environment.variable(&name).map(ToOwned::to_owned).ok_or_else(unset)
        }
        Part::Foreign => {
            Err("this kind of `${…}` is not known; write `$${` for the text itself".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment() -> Environment {
        let mut environment = Environment::default();
        for (name, value) in
            [("A", "one"), ("EMPTY", ""), ("HOME", "/home/u"), ("MCP_INPUT_API_KEY", "k")]
        {
            environment.variables.insert(name.to_owned(), value.to_owned());
        }
        environment.variables.insert("ONEMCP_SEAL".to_owned(), "s3cret".to_owned());
        environment.folder = Some("/work/project".to_owned());
        environment
    }

    fn expanded(text: &str, format: Format) -> Result<String, Vec<String>> {
        expand(text, format, &environment())
    }

    #[test]
    fn references_are_replaced() {
        for (text, expected) in [
            ("plain", "plain"),
            ("${A}", "one"),
            ("x${A}y${A}z", "xoneyonez"),
            ("${B:-two}", "two"),
            ("${A:-two}", "one"),
            ("${EMPTY:-two}", ""),
            ("${B:-}", ""),
            ("${B:-http://x:1/-}", "http://x:1/-"),
            ("${env:A}", "one"),
            ("${userHome}${/}x", "/home/u/x"),
            ("${workspaceFolder}${pathSeparator}.env", "/work/project/.env"),
            ("${workspaceFolderBasename}", "project"),
            ("${input:api-key}", "k"),
            ("$${A}", "${A}"),
            ("$A $ $$ 5$", "$A $ $$ 5$"),
            ("${A", "${A"),
        ] {
            assert_eq!(expanded(text, Format::Common).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn values_are_not_read_again() {
        let mut environment = environment();
        environment.variables.insert("B".to_owned(), "${A}".to_owned());
        assert_eq!(expand("${B}", Format::Common, &environment).as_deref(), Ok("${A}"));
    }

    #[test]
    fn each_format_has_its_own_references() {
        assert_eq!(expanded("${A}$A", Format::ClaudeDesktop).as_deref(), Ok("${A}$A"));
        assert_eq!(expanded("${A}$A-$NO$1", Format::OneMcp).as_deref(), Ok("oneone-$NO$1"));
    }

    #[test]
    fn unknown_references_are_all_named() {
        assert_eq!(
            expanded("${B}${A}${env:C}${input:x.y}${config:z}", Format::VsCode),
            Err(vec![
                "the variable `B` is not set".to_owned(),
                "the variable `C` is not set".to_owned(),
                "the input needs the variable `MCP_INPUT_X_Y`, which is not set".to_owned(),
                "this kind of `${…}` is not known; write `$${` for the text itself".to_owned(),
            ])
        );
    }

    #[test]
    fn our_own_variables_are_never_handed_out() {
        for text in ["${ONEMCP_SEAL}", "${env:ONEMCP_SEAL}", "${ONEMCP_SEAL:-x}", "$ONEMCP_SEAL"] {
            assert!(expanded(text, Format::OneMcp).is_err(), "{text}");
        }
    }
}
