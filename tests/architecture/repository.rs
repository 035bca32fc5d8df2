//! The laws of the repository: what stands at its top and which crates we ship.

use crate::laws::Law;
use crate::source::{Sources, TREE, Violation};
use std::collections::BTreeMap;

/// At most this many crates are built into the binary (the host's target, macros included).
const MAX_CRATES: usize = 70;

/// What may be seen at the top. Tool settings are dotfiles.
const TOP: [&str; 12] = [
    "Cargo.toml",
    "Cargo.lock",
    "src",
    "tests",
    "fuzz",
    "benches",
    "packaging",
    "config.example.json",
    "SECURITY.md",
    "README.md",
    "CHANGELOG.md",
    "LICENSE",
];

const ALLOWED: &str = "tests/allowed-crates.txt";

pub(crate) const LAWS: &[Law] = &[
    Law {
        name: "the top level is short",
        check: top_level,
        breaches: &[("notes.md", ""), ("scripts/x", "")],
        lawful: &[("SECURITY.md", ""), ("src/lib.rs", ""), ("packaging/x", "")],
    },
    Law {
        name: "every shipped crate has a reason",
        check: crates,
        breaches: &[
            (TREE, "left-pad v1.0.0"),
            (ALLOWED, "left-pad:"),
            (ALLOWED, "no reason given"),
        ],
        lawful: &[(ALLOWED, "# a comment\n\n")],
    },
    Law {
        name: "few crates, one version each",
        check: crate_count,
        breaches: &[
            (TREE, "a v1.0.0\na v2.0.0"),
            (
                TREE,
                "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n13\n14\n15\n16\n17\n18\n19\n20\n21\n22\n23\n24\n25\n26\n27\n28\n29\n30\n31\n32\n33\n34\n35\n36\n37\n38\n39\n40\n41\n42\n43\n44\n45\n46\n47\n48\n49\n50\n51\n52\n53\n54\n55\n56\n57\n58\n59\n60\n61\n62\n63\n64\n65\n66\n67\n68\n69\n70\n71",
            ),
        ],
        lawful: &[(TREE, "a v1.0.0\nb v1.0.0")],
    },
    Law {
        name: "every crate comes from the registry",
        check: lock_sources,
        breaches: &[("Cargo.lock", "[[package]]\nsource = \"git+https://example.com/x\"")],
        lawful: &[("Cargo.lock", "source = \"registry+https://example.com/index\"")],
    },
    Law {
        name: "SECURITY.md lists the shipped crates",
        check: security_table,
        breaches: &[(ALLOWED, "left-pad: pads"), ("SECURITY.md", "| `gone` | 1 | was needed |")],
        lawful: &[("SECURITY.md", "| CVE-1 | `x` |\n\n| crate | why |\n|---|---|\n")],
    },
];

fn violation(at: &str, line: usize, what: String) -> Violation {
    Violation { at: format!("{at}:{line}"), what }
}

fn top_level(sources: &Sources) -> Vec<Violation> {
    let extra = sources.top.iter().filter(|name| !TOP.contains(&name.as_str()));
    let what = "does not belong at the top: a dotfile, or a place in src, tests or packaging";
    extra.map(|name| violation(name, 1, what.to_owned())).collect()
}

/// The allow list: crate name to (line, reason).
fn allowed(sources: &Sources) -> BTreeMap<&str, (usize, &str)> {
    let lines = sources.text(ALLOWED).lines().enumerate();
    lines
        .filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|(at, line)| {
            let (name, reason) = line.split_once(':').unwrap_or((line, ""));
            (name.trim(), (at + 1, reason.trim()))
        })
        .collect()
}

fn tree_names(sources: &Sources) -> Vec<&str> {
    sources.tree.iter().map(|line| line.split(' ').next().unwrap_or(line)).collect()
}

fn crates(sources: &Sources) -> Vec<Violation> {
    let allowed = allowed(sources);
    let names = tree_names(sources);
    let mut found = Vec::new();
    for name in names.iter().filter(|name| !allowed.contains_key(*name)) {
        let what =
            format!("`{name}` is shipped: add `{name}: REASON` here and a row to SECURITY.md");
        found.push(violation(ALLOWED, 1, what));
    }
    for (name, (line, reason)) in &allowed {
        if reason.is_empty() {
            found.push(violation(
                ALLOWED,
                *line,
                format!("`{name}` needs a reason: `{name}: REASON`"),
            ));
        }
        // Other systems build a few crates less (linux-raw-sys) and may keep the lines.
        if cfg!(target_os = "linux") && !names.is_empty() && !names.contains(name) {
            found.push(violation(
                ALLOWED,
                *line,
                format!("`{name}` is no longer shipped: remove the line"),
            ));
        }
    }
    found
}

fn crate_count(sources: &Sources) -> Vec<Violation> {
    let names = tree_names(sources);
    let twice = names.windows(2).filter(|pair| pair[0] == pair[1]);
    let twice = twice.map(|pair| format!("two versions of `{}` are shipped: align them", pair[0]));
    let many = (names.len() > MAX_CRATES).then(|| {
        format!("{} crates are shipped: at most {MAX_CRATES}; which can go?", names.len())
    });
    twice.chain(many).map(|what| violation("Cargo.lock", 1, what)).collect()
}

fn lock_sources(sources: &Sources) -> Vec<Violation> {
    let lines = sources.text("Cargo.lock").lines().enumerate();
    let foreign = lines.filter(|(_, l)| {
        l.strip_prefix("source = ").is_some_and(|source| !source.starts_with("\"registry+"))
    });
    let what = "this package does not come from the registry: use a released version";
    foreign.map(|(at, _)| violation("Cargo.lock", at + 1, what.to_owned())).collect()
}

/// Rows of the form ``| `crate` | … |`` are the dependency table.
fn security_table(sources: &Sources) -> Vec<Violation> {
    let rows: BTreeMap<&str, usize> = sources
        .text("SECURITY.md")
        .lines()
        .enumerate()
        .filter_map(|(at, line)| Some((line.strip_prefix("| `")?.split_once('`')?.0, at + 1)))
        .collect();
    let allowed = allowed(sources);
    let missing = allowed.keys().filter(|name| !rows.contains_key(*name)).map(|name| {
        violation("SECURITY.md", 1, format!("`{name}` is shipped: add it to the dependency table"))
    });
    let stale = rows.iter().filter(|(name, _)| !allowed.contains_key(*name)).map(|(name, line)| {
        violation("SECURITY.md", *line, format!("`{name}` is not in {ALLOWED}: remove the row"))
    });
    missing.chain(stale).collect()
}
