//! Whose file this is: where its entries stand, and how its texts refer to variables.
//!
//! Claude Desktop, Claude Code, Cursor, VS Code and 1MCP each wrote their own dialect of one idea.
//! The formats are told apart by keys that only they have; what cannot be told is read as ours.

use super::document::{Document, Member, Node, find};
use super::fault::Findings;
use super::read;
use super::schema::{self, Unknown};

/// The dialect of a file; it decides which references to variables are replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Ours, Claude Code's and Cursor's: `${VAR}`, `${VAR:-default}`, `${env:VAR}`, `${userHome}`, …
    Common,
    /// Claude Desktop's: nothing is replaced.
    ClaudeDesktop,
    /// VS Code's: as [`Format::Common`], and `${input:id}`.
    VsCode,
    /// 1MCP's: as [`Format::Common`], and `$VAR`.
    OneMcp,
}

/// Top-level keys that only Claude Desktop writes.
const CLAUDE_DESKTOP_KEYS: &[&str] =
    &["globalShortcut", "preferences", "isUsingBuiltInNodeForMcp", "isDxtAutoUpdatesEnabled"];

/// Top-level keys that only 1MCP writes.
const ONE_MCP_KEYS: &[&str] = &["serverDefaults", "mcpTemplates", "templateSettings"];

/// Keys of entries that only 1MCP writes.
const ONE_MCP_ENTRY_KEYS: &[&str] = &[
    "inheritParentEnv",
    "envFilter",
    "restartOnExit",
    "maxRestarts",
    "restartDelay",
    "connectionTimeout",
    "requestTimeout",
    "toolDescriptionOverrides",
    "instructionOverride",
];

/// Where entries can stand below the top, in order of preference: the first that is there is read.
const ENTRY_ROOTS: &[(&[&str], bool)] = &[
    (&["mcpServers"], false),
    (&["servers"], true),
    (&["mcp.servers"], true),
    (&["mcp", "servers"], true),
    (&["claude.mcpServers"], false),
    (&["cline.mcpServers"], false),
];

/// The parts of a file that are ours to read.
pub(super) struct Layout<'a> {
    pub(super) format: Format,
    /// The entries, in file order, duplicates included.
    pub(super) entries: &'a [Member],
    /// `serverDefaults`: members that every entry has unless it has its own.
    pub(super) defaults: &'a [Member],
    /// The members of `gateway`.
    pub(super) gateway: &'a [Member],
    /// Top-level keys that belong to other programs.
    pub(super) ignored: Vec<String>,
}

/// Finds the parts of a document.
pub(super) fn layout<'a>(root: &'a Node, findings: &mut Findings) -> Option<Layout<'a>> {
    let top = read::members(root, findings)?;
    let ignored = schema::check_root(top, findings);
    let (entries, vs_code) = entries(root, findings);
    let mut section = |key| {
        let member = find(top, key);
        member.and_then(|member| read::members(&member.node, findings)).unwrap_or_default()
    };
    let (defaults, gateway) = (section("serverDefaults"), section("gateway"));
    schema::check_keys(defaults.iter(), schema::ENTRY, Unknown::Warning, findings);
    let format = if vs_code { Format::VsCode } else { format(top, entries) };
    Some(Layout { format, entries, defaults, gateway, ignored })
}

fn at_path<'a>(root: &'a Node, path: &[&str]) -> Option<&'a Node> {
    path.iter().try_fold(root, |node, key| node.get(key))
}

fn entries<'a>(root: &'a Node, findings: &mut Findings) -> (&'a [Member], bool) {
    let mut present = ENTRY_ROOTS
        .iter()
        .filter_map(|(path, vs_code)| Some((path, at_path(root, path)?, *vs_code)));
    let Some((path, node, vs_code)) = present.next() else {
        findings.warning(root.span.start, "no `mcpServers`: there is nothing to serve");
        return (&[], false);
    };
    for (other, node, _) in present {
        let message = format!("`{}` is ignored beside `{}`", other.join("."), path.join("."));
        findings.warning(node.span.start, message);
    }
    (read::members(node, findings).unwrap_or_default(), vs_code)
}

/// Where the entries of this document stand, for telling how far a fault reaches.
pub(super) fn entry_root(document: &Document) -> Option<&'static [&'static str]> {
    let root = document.root.as_ref()?;
    ENTRY_ROOTS.iter().map(|(path, _)| *path).find(|path| at_path(root, path).is_some())
}

fn format(top: &[Member], entries: &[Member]) -> Format {
    let has =
        |keys: &[&str], members: &[Member]| keys.iter().any(|key| find(members, key).is_some());
    if has(ONE_MCP_KEYS, top) {
        return Format::OneMcp;
    }
    // With our own settings in it, it is our file, wherever it began.
    if has(&["gateway"], top) {
        return Format::Common;
    }
    if has(CLAUDE_DESKTOP_KEYS, top) {
        return Format::ClaudeDesktop;
    }
    if entries.iter().any(|entry| has(ONE_MCP_ENTRY_KEYS, entry.node.members())) {
        return Format::OneMcp;
    }
    Format::Common
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    fn formats(text: &str) -> (Format, Vec<String>, Vec<String>) {
        let (document, mut findings) = parse::read(text.as_bytes());
        let root = document.root.expect("a document");
        let layout = layout(&root, &mut findings).expect("an object");
        let keys = layout.entries.iter().map(|entry| entry.key.clone()).collect();
        let (format, ignored) = (layout.format, layout.ignored);
        assert!(!findings.has_error(), "{findings:?}");
        (format, keys, ignored)
    }

    #[test]
    fn formats_are_told_apart() {
        for (text, format) in [
            (r#"{"mcpServers":{"a":{}}}"#, Format::Common),
            (r#"{"mcpServers":{"a":{}},"globalShortcut":"x"}"#, Format::ClaudeDesktop),
            (r#"{"mcpServers":{"a":{}},"globalShortcut":"x","gateway":{}}"#, Format::Common),
            (r#"{"mcpServers":{"a":{}},"serverDefaults":{}}"#, Format::OneMcp),
            (r#"{"mcpServers":{"a":{"envFilter":[]}}}"#, Format::OneMcp),
            (r#"{"servers":{"a":{}},"inputs":[]}"#, Format::VsCode),
            (r#"{"mcp.servers":{"a":{}},"editor.fontSize":12}"#, Format::VsCode),
            (r#"{"mcp":{"servers":{"a":{}}}}"#, Format::VsCode),
            (r#"{"claude.mcpServers":{"a":{}}}"#, Format::Common),
            (r#"{"cline.mcpServers":{"a":{}}}"#, Format::Common),
        ] {
            let (found, keys, _) = formats(text);
            assert_eq!((found, keys), (format, vec!["a".to_owned()]), "{text}");
        }
    }

    #[test]
    fn foreign_keys_are_kept_for_the_debug_log() {
        let (_, _, ignored) = formats(r#"{"projects":{},"mcpServers":{},"$schema":"x","theme":1}"#);
        assert_eq!(ignored, ["projects", "theme"]);
    }
}
