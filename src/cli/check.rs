//! `1mcp check`: every fault of the configuration file at once.

use crate::cli::serve::open_door;
use crate::cli::{Failure, counted, load, print};
use crate::config::{Isolation, Transport};
use std::path::PathBuf;

/// Reads the file and says what is wrong with it, or what it means.
pub(crate) fn run(named: Option<PathBuf>) -> Result<u8, Failure> {
    let loaded = load::load(named.as_deref(), None)?;
    let lines = loaded.lines();
    let mut out = String::new();
    for (is_error, line) in &lines {
        let mark = if *is_error { "error" } else { "warning" };
        out.push_str(&format!("{mark}: {line}\n"));
    }
    let mut errors = lines.iter().filter(|(is_error, _)| *is_error).count();
    if let Some(fault) = loaded.config.as_ref().and_then(open_door) {
        out.push_str(&format!("error: {}: {fault}\n", loaded.path.display()));
        errors += 1;
    }
    if let Some(config) = &loaded.config {
        for entry in &config.entries {
            let kind = match &entry.transport {
                Transport::Stdio(_) => "stdio",
                Transport::Http(_) => "http",
                Transport::Builtin => "builtin",
            };
            let off = if entry.enabled { "" } else { " (disabled)" };
            let shared = match entry.isolation {
                Isolation::Shared => String::new(),
                other => format!(", isolation {}", other.as_str()),
            };
            let key = crate::base::text::one_line(&entry.key);
            let slug = &entry.slug;
            out.push_str(&format!("server: {key} at /mcp/{slug} over {kind}{shared}{off}\n"));
        }
    }
    let path = loaded.path.display();
    let warnings = lines.iter().filter(|(is_error, _)| !is_error).count();
    let verdict = if errors == 0 { "good".to_owned() } else { counted(errors, "error") };
    out.push_str(&format!("{path}: {verdict}, {}\n", counted(warnings, "warning")));
    print(&out)?;
    Ok(if errors == 0 { 0 } else { 2 })
}
