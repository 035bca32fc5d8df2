//! The keys this program knows, level by level: one table for unknown-key faults, suggestions and,
//! later, the published JSON Schema.
//!
//! What an unknown key means depends on where it stands: at the top it belongs to somebody else
//! unless it nearly is one of ours; inside `gateway` it is an error; inside an entry it is a warning.

use super::document::Member;
use super::fault::Findings;

/// What becomes of a known key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Read and honoured.
    Read,
    /// Has no meaning here; accepted without a word because other programs write it.
    Foreign,
    /// Will be honoured later; a warning says that it is not yet.
    Later,
    /// Will not be honoured, for this reason; a warning says so.
    Never(&'static str),
}

/// One known key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// As it stands in the file.
    pub name: &'static str,
    /// What becomes of it.
    pub standing: Standing,
}

const fn read(name: &'static str) -> Key {
    Key { name, standing: Standing::Read }
}

const fn foreign(name: &'static str) -> Key {
    Key { name, standing: Standing::Foreign }
}

const fn later(name: &'static str) -> Key {
    Key { name, standing: Standing::Later }
}

const TEMPLATES: Standing =
    Standing::Never("templates per client are not supported; it is skipped");
const RUNS_A_COMMAND: Standing = Standing::Never("it would run a command and is refused");

/// The document itself.
pub const ROOT: &[Key] = &[
    foreign("$schema"),
    read("mcpServers"),
    read("gateway"),
    read("serverDefaults"),
    read("servers"),
    foreign("inputs"),
    read("mcp.servers"),
    read("mcp"),
    read("claude.mcpServers"),
    read("cline.mcpServers"),
    Key { name: "mcpTemplates", standing: TEMPLATES },
    Key { name: "templateSettings", standing: TEMPLATES },
];

/// The keys of [`ROOT`] whose near misses are errors; `servers` is too common a word to be ours.
pub const OURS: &[&str] = &["mcpServers", "gateway", "serverDefaults"];

/// One entry, in every format.
pub const ENTRY: &[Key] = &[
    read("type"),
    read("enabled"),
    read("disabled"),
    read("tags"),
    read("protocol"),
    read("isolation"),
    read("lanes"),
    read("enabledTools"),
    read("disabledTools"),
    read("timeouts"),
    read("timeout"),
    read("connectionTimeout"),
    read("requestTimeout"),
    read("restart"),
    read("retry"),
    read("restartOnExit"),
    read("maxRestarts"),
    read("restartDelay"),
    read("command"),
    read("args"),
    read("cwd"),
    read("env"),
    read("envFile"),
    read("inheritParentEnv"),
    read("envFilter"),
    read("url"),
    read("headers"),
    read("dangerouslyAllowPlainHttp"),
    // Standard error always goes to the log, line by line.
    foreign("stderr"),
    foreign("dev"),
    foreign("gallery"),
    foreign("sandboxEnabled"),
    read("sandbox"),
    later("replace"),
    later("pin"),
    later("oauth"),
    later("auth"),
    later("toolDescriptionOverrides"),
    later("instructionOverride"),
    Key { name: "template", standing: TEMPLATES },
    Key { name: "headersHelper", standing: RUNS_A_COMMAND },
];

/// `restart` of an entry.
pub const RESTART: &[Key] = &[read("max"), read("delayMs")];

/// `retry` of an entry.
pub const RETRY: &[Key] = &[read("idempotentTools")];

/// `lanes` of an entry.
pub const LANES: &[Key] = &[read("max"), read("idleMs")];

/// `sandbox` of an entry.
pub const SANDBOX: &[Key] = &[
    read("profile"),
    read("read"),
    read("write"),
    read("execute"),
    read("connect"),
    read("bind"),
    read("memoryMb"),
    read("processes"),
    read("files"),
    read("fileSizeMb"),
    read("cpuSeconds"),
    read("user"),
];

/// `timeouts` of an entry.
pub const TIMEOUTS: &[Key] =
    &[read("startMs"), read("idleMs"), read("totalMs"), read("listMs"), read("probeMs")];

/// `timeouts` of `gateway`: those that entries start from, and its own.
pub const GATEWAY_TIMEOUTS: &[Key] = &[
    read("startMs"),
    read("idleMs"),
    read("totalMs"),
    read("listMs"),
    read("probeMs"),
    read("drainMs"),
];

/// `gateway`.
pub const GATEWAY: &[Key] = &[
    read("listen"),
    read("allowedHosts"),
    read("allowedOrigins"),
    read("auth"),
    read("naming"),
    read("limits"),
    read("timeouts"),
    read("log"),
    later("publicUrl"),
    later("trustedProxies"),
    later("tls"),
    later("views"),
    later("reload"),
    later("audit"),
    later("metrics"),
];

/// `gateway.auth`.
pub const AUTH: &[Key] =
    &[read("mode"), later("users"), later("clients"), later("keys"), later("trustedIssuers")];

/// `gateway.naming`.
pub const NAMING: &[Key] = &[read("separator")];

/// `gateway.log`.
pub const LOG: &[Key] = &[read("level"), read("format")];

/// How an unknown key is treated at one level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unknown {
    /// Ours alone: nobody else writes here.
    Error,
    /// Shared with other programs.
    Warning,
}

/// Checks the keys of one object against its table.
pub(super) fn check_keys<'a>(
    members: impl Iterator<Item = &'a Member>,
    table: &[Key],
    unknown: Unknown,
    findings: &mut Findings,
) {
    for member in members {
        let at = member.key_span.start;
        let name = &member.key;
        match table.iter().find(|key| key.name == name).map(|key| key.standing) {
            Some(Standing::Read | Standing::Foreign) => {}
            // An empty list or object asks for nothing.
            Some(Standing::Later) if member.node.is_empty() => {}
            Some(Standing::Later) => {
                findings.warning(at, format!("`{name}` is not supported yet and is ignored"));
            }
            Some(Standing::Never(why)) => findings.warning(at, format!("`{name}`: {why}")),
            None => {
                let known = table.iter().map(|key| key.name);
                unknown_key(at, name, nearest(name, known), unknown, findings);
            }
        }
    }
}

fn unknown_key(
    at: usize,
    name: &str,
    hint: Option<&str>,
    unknown: Unknown,
    findings: &mut Findings,
) {
    match unknown {
        Unknown::Error => findings.error(at, format!("unknown key `{name}`")),
        Unknown::Warning => findings.warning(at, format!("unknown key `{name}` is ignored")),
    }
    findings.hint(hint);
}

/// Checks the keys of the document; returns those that belong to somebody else.
pub(super) fn check_root(members: &[Member], findings: &mut Findings) -> Vec<String> {
    let mut ignored = Vec::new();
    for member in members {
        let at = member.key_span.start;
        let name = &member.key;
        match ROOT.iter().find(|key| key.name == name).map(|key| key.standing) {
            Some(Standing::Never(why)) => findings.warning(at, format!("`{name}`: {why}")),
            Some(_) => {}
            None => match nearest(name, OURS.iter().copied()) {
                Some(ours) => {
                    unknown_key(at, name, Some(ours), Unknown::Error, findings);
                }
                None => ignored.push(name.clone()),
            },
        }
    }
    ignored
}

/// Longest word that is compared letter by letter.
const MAX_WORD: usize = 40;

/// The candidate that a misspelt word most likely meant: equal but for case and punctuation, or at
/// most one edit in three letters away and at most two in all.
pub(super) fn nearest<'a>(
    word: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let folded = fold(word);
    if folded.is_empty() || folded.len() > MAX_WORD {
        return None;
    }
    candidates
        .map(|candidate| (distance(&folded, &fold(candidate)), candidate))
        .filter(|(edits, candidate)| *edits <= (candidate.len() / 3).min(2))
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

fn fold(word: &str) -> Vec<char> {
    word.chars().filter(|c| !matches!(c, '_' | '-')).flat_map(char::to_lowercase).collect()
}

/// Edits (insert, delete, replace, swap neighbours) between two words.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let replaced = above[j] + usize::from(x != y);
            let mut best = replaced.min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry_key(word: &str) -> Option<&'static str> {
        nearest(word, ENTRY.iter().map(|key| key.name))
    }

    #[test]
    fn misspelt_keys_find_the_key_that_was_meant() {
        assert_eq!(entry_key("comand"), Some("command"));
        assert_eq!(entry_key("agrs"), Some("args"));
        assert_eq!(entry_key("Env"), Some("env"));
        assert_eq!(entry_key("disabled_tools"), Some("disabledTools"));
        assert_eq!(entry_key("uri"), Some("url"));
    }

    #[test]
    fn other_words_find_nothing() {
        for word in ["description", "x", "", "alwaysAllow", &"a".repeat(10_000)] {
            assert_eq!(entry_key(word), None, "{word}");
        }
    }

    #[test]
    fn near_misses_of_our_top_level_keys_are_found_and_foreign_keys_are_not() {
        let ours = |word| nearest(word, OURS.iter().copied());
        for (word, meant) in [
            ("gatway", "gateway"),
            ("mcpServer", "mcpServers"),
            ("mcp_servers", "mcpServers"),
            ("McpServers", "mcpServers"),
            ("serverDefault", "serverDefaults"),
        ] {
            assert_eq!(ours(word), Some(meant));
        }
        for word in ["projects", "globalShortcut", "editor.fontSize", "version", "server", "git"] {
            assert_eq!(ours(word), None, "{word}");
        }
    }

    #[test]
    fn no_table_names_a_key_twice() {
        for table in [ROOT, ENTRY, RESTART, LANES, SANDBOX, TIMEOUTS, GATEWAY, AUTH, NAMING, LOG] {
            for key in table {
                assert_eq!(table.iter().filter(|k| k.name == key.name).count(), 1, "{}", key.name);
            }
        }
    }
}
