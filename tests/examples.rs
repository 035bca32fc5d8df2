//! The files we show people must work: `config.example.json` and every configuration in README.md.

use onemcp::config::{Config, Environment, Transport, parse, resolve};

/// The configuration of a text that must have no fault, not even a warning.
fn accepted(name: &str, text: &str) -> Config {
    let mut environment = Environment { folder: Some("/".to_owned()), ..Environment::default() };
    environment.variables.insert("HOME".to_owned(), "/home/example".to_owned());
    let parsed = parse(text.as_bytes());
    // An example may refer to any variable; what it is set to here does not matter.
    for variable in parsed.file.variables() {
        environment.variables.entry(variable).or_insert_with(|| "example".to_owned());
    }
    for path in parsed.file.files(&environment) {
        environment.files.insert(path, Ok("EXAMPLE=example\n".to_owned()));
    }
    let resolved = resolve(&parsed.file, &environment);
    let faults: Vec<_> = resolved.faults.iter().map(|f| f.in_file(name).to_string()).collect();
    assert_eq!(faults, Vec::<String>::new());
    resolved.config.expect("a file without faults is usable")
}

/// The fenced blocks of a Markdown text whose language is one of these, each with its first line.
fn blocks<'a>(markdown: &'a str, languages: &[&str]) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, bool, Vec<&'a str>)> = None;
    for (index, line) in markdown.lines().enumerate() {
        let fence = line.trim_start().strip_prefix("```");
        open = match (open, fence) {
            (None, Some(language)) => {
                Some((index + 2, languages.contains(&language.trim()), vec![]))
            }
            (Some((first, wanted, lines)), Some(_)) => {
                if wanted {
                    blocks.push((first, lines.join("\n")));
                }
                None
            }
            (Some((first, wanted, mut lines)), None) => {
                lines.push(line);
                Some((first, wanted, lines))
            }
            (None, None) => None,
        };
    }
    blocks
}

#[test]
fn every_limit_that_can_be_set_is_in_the_readme() {
    let readme = include_str!("../README.md");
    for row in onemcp::config::LIMITS {
        let named = readme
            .lines()
            .any(|line| line.starts_with('|') && line.contains(&format!("`{}`:", row.key)));
        assert!(named, "{}", row.key);
    }
}

#[test]
fn the_example_file_is_accepted_and_is_plain_json() {
    let text = include_str!("../config.example.json");
    serde_json::from_str::<serde_json::Value>(text).expect("plain JSON, for every editor");
    let config = accepted("config.example.json", text);
    let keys: Vec<_> = config.entries.iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!(keys, ["1mcp", "filesystem", "memory", "everything", "time", "git"]);
    // It must show something on a machine with neither Node nor Python.
    assert!(config.entries.iter().any(|entry| entry.transport == Transport::Builtin));
    assert!(config.gateway.is_loopback());
}

#[test]
fn every_version_in_the_example_file_is_pinned() {
    let config = accepted("config.example.json", include_str!("../config.example.json"));
    for entry in &config.entries {
        if let Transport::Stdio(stdio) = &entry.transport {
            let package = stdio.args.iter().find(|arg| arg.contains("server-")).expect("a package");
            let version = package.rsplit_once('@').map(|(_, version)| version);
            let pinned = version.is_some_and(|v| v.starts_with(|c: char| c.is_ascii_digit()));
            assert!(pinned, "{package}");
        }
    }
}

#[test]
fn every_configuration_in_the_readme_is_accepted() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let markdown = match std::fs::read_to_string(path) {
        // Whether there has to be one is not this test's business.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
        read => read.expect("a README that can be read"),
    };
    for (line, text) in blocks(&markdown, &["json", "jsonc"]) {
        if text.contains("\"mcpServers\"") {
            accepted(&format!("README.md from line {line}"), &text);
        }
    }
}

#[test]
fn blocks_are_found() {
    let markdown = "a\n```json\n{\n}\n```\n```sh\nx\n```\n  ```jsonc\n1\n```\n```json\nopen";
    let found = blocks(markdown, &["json", "jsonc"]);
    assert_eq!(found, [(3, "{\n}".to_owned()), (10, "1".to_owned())]);
}
