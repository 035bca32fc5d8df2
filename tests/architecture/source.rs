//! The repository as the laws see it: parsed sources, other texts, the crates of the shipped tree.

use crate::lexer::{self, Kind, Token};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// One breach of a law.
#[derive(Debug)]
pub(crate) struct Violation {
    /// `file:line`.
    pub(crate) at: String,
    /// What stands there and what to do about it.
    pub(crate) what: String,
}

/// One Rust file under `src/`.
pub(crate) struct Source {
    pub(crate) path: String,
    /// The module path, `["relay", "world"]`; empty for the crate root.
    pub(crate) module: Vec<String>,
    /// Without comments and without test-only items.
    pub(crate) tokens: Vec<Token>,
    /// With test-only items.
    pub(crate) all: Vec<Token>,
    /// Lines that are not test-only.
    pub(crate) lines: usize,
    test_modules: Vec<String>,
}

impl Source {
    pub(crate) fn parse(path: &str, text: &str) -> Source {
        let all = lexer::tokens(text);
        let cut = lexer::shipped(&all);
        Source {
            path: path.to_owned(),
            module: module_of(path),
            tokens: cut.tokens,
            all,
            lines: text.lines().count().saturating_sub(cut.test_lines),
            test_modules: cut.test_modules,
        }
    }

    /// The row this file stands in; `None` for the exempt files at the root.
    pub(crate) fn row(&self) -> Option<&str> {
        self.module.first().map(String::as_str).filter(|row| *row != "fuzzing")
    }

    /// Is this the module `a/b` or a part of it?
    pub(crate) fn within(&self, module: &str) -> bool {
        let wanted: Vec<&str> = module.split('/').collect();
        self.module.len() >= wanted.len() && self.module.iter().zip(&wanted).all(|(a, b)| a == b)
    }

    pub(crate) fn violation(&self, line: usize, what: impl Into<String>) -> Violation {
        Violation { at: format!("{}:{line}", self.path), what: what.into() }
    }

    /// A violation for each shipped identifier in `words`.
    pub(crate) fn forbid(&self, words: &[&str], what: &str) -> Vec<Violation> {
        let idents = self.tokens.iter().filter(|t| t.kind == Kind::Ident);
        idents
            .filter(|t| words.contains(&t.text.as_str()))
            .map(|t| self.violation(t.line, format!("`{}`: {what}", t.text)))
            .collect()
    }
}

fn module_of(path: &str) -> Vec<String> {
    let inner = path.trim_start_matches("src/").trim_end_matches(".rs");
    let mut parts: Vec<String> = inner.split('/').map(str::to_owned).collect();
    if parts.last().is_some_and(|p| p == "mod") {
        parts.pop();
    }
    if parts == ["lib"] || parts == ["main"] {
        parts.clear();
    }
    parts
}

/// Everything the laws look at.
pub(crate) struct Sources {
    pub(crate) files: Vec<Source>,
    /// Other files by their path.
    pub(crate) texts: BTreeMap<String, String>,
    /// What is visible at the top of the repository.
    pub(crate) top: Vec<String>,
    /// `name version` of every crate in the shipped tree, ourselves left out.
    pub(crate) tree: Vec<String>,
}

/// The name under which a sample gives the crates of its shipped tree, one a line.
pub(crate) const TREE: &str = "the shipped tree";

impl Sources {
    /// A repository made of a few texts, to show that a law has teeth.
    pub(crate) fn sample(files: &[(&str, &str)]) -> Sources {
        let mut sources = Sources::empty();
        for (path, text) in files {
            if *path == TREE {
                sources.tree = text.lines().map(str::to_owned).collect();
                continue;
            }
            sources.top.push(path.split('/').next().unwrap_or(path).to_owned());
            sources.add(path, text);
        }
        sources.drop_test_files();
        sources
    }

    /// The repository this test was built from.
    pub(crate) fn read() -> Sources {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut sources = Sources::empty();
        for path in rust_files(&root.join("src")) {
            let name = path.strip_prefix(root).expect("a file of src lies under the root");
            let name = name.to_str().expect("source paths are UTF-8").replace('\\', "/");
            sources.add(&name, &read(&path));
        }
        for name in ["Cargo.toml", "Cargo.lock", "SECURITY.md", "tests/allowed-crates.txt"] {
            sources.add(name, &read(&root.join(name)));
        }
        sources.top = visible(root);
        sources.tree = shipped_tree(root);
        sources.drop_test_files();
        sources
    }

    pub(crate) fn text(&self, name: &str) -> &str {
        self.texts.get(name).map_or("", String::as_str)
    }

    fn empty() -> Sources {
        Sources { files: Vec::new(), texts: BTreeMap::new(), top: Vec::new(), tree: Vec::new() }
    }

    fn add(&mut self, path: &str, text: &str) {
        if path.starts_with("src/") {
            self.files.push(Source::parse(path, text));
        } else {
            self.texts.insert(path.to_owned(), text.to_owned());
        }
    }

    /// Files of modules that are declared for tests only are not shipped.
    fn drop_test_files(&mut self) {
        let child = |source: &Source, name: &String| {
            let mut module = source.module.clone();
            module.push(name.clone());
            module
        };
        let test_only: Vec<Vec<String>> = self
            .files
            .iter()
            .flat_map(|s| s.test_modules.iter().map(move |name| child(s, name)))
            .collect();
        for file in &mut self.files {
            if test_only.iter().any(|m| file.module.starts_with(m)) {
                file.tokens.clear();
                file.lines = 0;
            }
        }
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()))
}

fn rust_files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("src is readable") {
        let path = entry.expect("src is readable").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// Names at the top that are neither dotfiles nor ignored by `.gitignore`.
fn visible(root: &Path) -> Vec<String> {
    let ignored = read(&root.join(".gitignore"));
    let ignored: Vec<&str> = ignored.lines().map(|l| l.trim().trim_matches('/')).collect();
    let entries = std::fs::read_dir(root).expect("the repository is readable");
    let names = entries.map(|e| e.expect("the repository is readable").file_name());
    let mut names: Vec<String> = names.map(|n| n.to_string_lossy().into_owned()).collect();
    names.retain(|n| !n.starts_with('.') && !ignored.contains(&n.as_str()));
    names.sort();
    names
}

/// What `cargo tree` says is linked or run as a macro to build the binary for this host.
fn shipped_tree(root: &Path) -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--edges", "normal", "--prefix", "none"])
        .args(["--format", "{p}"])
        .current_dir(root)
        .output()
        .expect("cargo runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "`cargo tree` failed; is Cargo.lock up to date?\n{error}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut crates: Vec<String> = text
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with("onemcp "))
        .map(|line| line.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
        .collect();
    crates.sort();
    crates.dedup();
    crates
}
