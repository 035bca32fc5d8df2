//! The environment of a child process: a short safe list, what the entry asks for, and never
//! anything of our own.
//!
//! The safe list is what programs need to find themselves and their user (PATH, HOME, locale,
//! terminal, temporary folder, XDG), what lets `npx` and `uvx` reach a registry through a company
//! network (certificates, proxies and registries, the latter two only without credentials in them),
//! and their caches. Tokens that happen to be in the gateway's environment are not on it.

use std::collections::BTreeMap;

use super::model::{EnvPattern, SecretText, Stdio};
use super::substitute::OWN_PREFIX;

/// Inherited as they are.
const SAFE: &[&str] = &[
    "HOME",
    "LANG",
    "LANGUAGE",
    "LOGNAME",
    "PATH",
    "SHELL",
    "TEMP",
    "TERM",
    "TMP",
    "TMPDIR",
    "TZ",
    "USER",
    "CURL_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "NO_PROXY",
    "no_proxy",
    "UV_CACHE_DIR",
    "npm_config_cache",
    "NPM_CONFIG_CACHE",
];

/// Every variable that begins with one of these is inherited.
const SAFE_PREFIXES: &[&str] = &["LC_", "XDG_"];

/// Addresses: inherited unless there may be a password or token inside.
const SAFE_ADDRESSES: &[&str] = &[
    "ALL_PROXY",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NPM_CONFIG_REGISTRY",
    "PIP_INDEX_URL",
    "UV_DEFAULT_INDEX",
    "UV_INDEX_URL",
    "all_proxy",
    "http_proxy",
    "https_proxy",
    "npm_config_registry",
];

/// The answers to `${input:…}` are secrets that belong to single entries.
const INPUT_PREFIX: &str = "MCP_INPUT_";

/// Everything the child gets, each name once, inherited ones first; nothing else may be added.
pub fn child_environment(
    stdio: &Stdio,
    parent: &BTreeMap<String, String>,
) -> Vec<(String, SecretText)> {
    let inherited = |(name, value): &(&String, &String)| {
        may_inherit(name, value)
            && (stdio.inherit_all || is_safe(name, value))
            && passes(&stdio.filter, name)
    };
    let mut environment: Vec<(String, SecretText)> = parent
        .iter()
        .filter(inherited)
        .map(|(name, value)| (name.clone(), SecretText::new(value.clone())))
        .collect();
    for (name, value) in &stdio.env {
        environment.retain(|(other, _)| other != name);
        environment.extend(value.clone().map(|value| (name.clone(), value)));
    }
    environment.retain(|(name, _)| !name.starts_with(OWN_PREFIX));
    environment
}

fn may_inherit(name: &str, value: &str) -> bool {
    // Values that begin like this are functions exported by old shells (CVE-2014-6271).
    !name.starts_with(OWN_PREFIX) && !name.starts_with(INPUT_PREFIX) && !value.starts_with("()")
}

fn is_safe(name: &str, value: &str) -> bool {
    SAFE.contains(&name)
        || SAFE_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || (SAFE_ADDRESSES.contains(&name) && !value.contains(['@', '?']))
}

/// As 1MCP does it: a denial always wins; with no permission in the list, everything else passes.
fn passes(filter: &[EnvPattern], name: &str) -> bool {
    let matches = |pattern: &&EnvPattern| {
        if pattern.prefix { name.starts_with(&pattern.name) } else { name == pattern.name }
    };
    let denied = filter.iter().filter(|pattern| pattern.deny).any(|pattern| matches(&pattern));
    let mut permissions = filter.iter().filter(|pattern| !pattern.deny).peekable();
    !denied && (permissions.peek().is_none() || permissions.any(|pattern| matches(&pattern)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parent() -> BTreeMap<String, String> {
        [
            ("PATH", "/bin"),
            ("HOME", "/home/u"),
            ("LC_ALL", "C"),
            ("XDG_CACHE_HOME", "/c"),
            ("GITHUB_TOKEN", "s3cret"),
            ("NODE_OPTIONS", "x"),
            ("ONEMCP_SEAL", "s3cret"),
            ("MCP_INPUT_KEY", "s3cret"),
            ("HTTPS_PROXY", "http://proxy:3128"),
            ("HTTP_PROXY", "http://u:s3cret@proxy:3128"),
            ("SHELL", "() { :; }"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    fn names(stdio: &Stdio) -> Vec<String> {
        child_environment(stdio, &parent()).into_iter().map(|(name, _)| name).collect()
    }

    fn stdio(inherit_all: bool, filter: &[(&str, bool, bool)]) -> Stdio {
        let pattern = |(name, deny, prefix): &(&str, bool, bool)| EnvPattern {
            deny: *deny,
            name: (*name).to_owned(),
            prefix: *prefix,
        };
        Stdio {
            command: "x".to_owned(),
            args: Vec::new(),
            cwd: None,
            env: Vec::new(),
            inherit_all,
            filter: filter.iter().map(pattern).collect(),
            sandbox: Box::default(),
        }
    }

    #[test]
    fn only_the_safe_list_is_inherited() {
        assert_eq!(
            names(&stdio(false, &[])),
            ["HOME", "HTTPS_PROXY", "LC_ALL", "PATH", "XDG_CACHE_HOME"]
        );
    }

    #[test]
    fn everything_but_our_own_is_inherited_when_asked_for() {
        let all = names(&stdio(true, &[]));
        assert!(all.contains(&"GITHUB_TOKEN".to_owned()));
        for never in ["ONEMCP_SEAL", "MCP_INPUT_KEY", "SHELL"] {
            assert!(!all.contains(&never.to_owned()), "{never}");
        }
    }

    #[test]
    fn the_filter_narrows() {
        let all = |filter: &[(&str, bool, bool)]| names(&stdio(true, filter));
        assert_eq!(
            all(&[("NODE_", false, true), ("PATH", false, false)]),
            ["NODE_OPTIONS", "PATH"]
        );
        assert!(!all(&[("GITHUB_", true, true)]).contains(&"GITHUB_TOKEN".to_owned()));
        assert!(all(&[("GITHUB_", true, true)]).contains(&"NODE_OPTIONS".to_owned()));
        assert_eq!(all(&[("PATH", false, false), ("PATH", true, false)]), Vec::<String>::new());
        assert_eq!(names(&stdio(false, &[("GITHUB_TOKEN", false, false)])), Vec::<String>::new());
    }

    #[test]
    fn own_values_win_and_null_removes() {
        let mut stdio = stdio(false, &[]);
        let secret = |text: &str| Some(SecretText::new(text.to_owned()));
        stdio.env = vec![
            ("PATH".to_owned(), secret("/one")),
            ("PATH".to_owned(), secret("/two")),
            ("HOME".to_owned(), None),
            ("ONEMCP_X".to_owned(), secret("x")),
        ];
        let environment = child_environment(&stdio, &parent());
        let path = environment.iter().filter(|(name, _)| name == "PATH");
        assert_eq!(path.map(|(_, value)| value.expose()).collect::<Vec<_>>(), ["/two"]);
        assert!(environment.iter().all(|(name, _)| name != "HOME" && name != "ONEMCP_X"));
    }
}
