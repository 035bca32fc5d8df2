//! The laws of the house, as tests over the source text (std only, no parser crate).
//!
//! Rows stand in one total order, the first ones are pure, and a few things have one place only;
//! the crate documentation shows the picture. Every law comes with samples that break it, so that
//! a law which stopped working is noticed. What a law must tolerate is an [`Allowance`] with a
//! reason, and an allowance that is not needed any more is a failure too.
#![allow(clippy::panic, reason = "a test fails by panicking")]

/// A text thirty times over.
macro_rules! lines {
    ($x:expr) => {
        concat!(
            $x, $x, $x, $x, $x, $x, $x, $x, $x, $x, $x, $x, $x, $x, $x, $x, $x, $x, $x, $x, $x, $x,
            $x, $x, $x, $x, $x, $x, $x, $x
        )
    };
}

#[path = "architecture/laws.rs"]
mod laws;
#[path = "architecture/lexer.rs"]
mod lexer;
#[path = "architecture/measure.rs"]
mod measure;
#[path = "architecture/paths.rs"]
mod paths;
#[path = "architecture/repository.rs"]
mod repository;
#[path = "architecture/source.rs"]
mod source;

use laws::Law;
use source::{Sources, Violation};

/// One tolerated breach.
struct Allowance {
    law: &'static str,
    /// The file it is in.
    file: &'static str,
    /// A part of the message.
    part: &'static str,
    /// Why there is no better way.
    because: &'static str,
}

const ALLOWANCES: &[Allowance] = &[
    Allowance {
        law: "only task spawns",
        file: "src/observe/log.rs",
        part: "thread",
        because: "the log is written by a thread of its own, so that a full pipe on standard error \
                  never blocks a task; it exists before any runtime",
    },
    Allowance {
        law: "no globals",
        file: "src/catalog/merge.rs",
        part: "OnceLock",
        because: "a field of an immutable snapshot, not a global: a list is rendered by whoever \
                  asks for it first",
    },
    Allowance {
        law: "few crates, one version each",
        file: "Cargo.lock",
        part: "`syn`",
        because: "landlock's flag sets (enumflags2) derive with the version before; it runs while \
                  the binary is built and is not in it",
    },
];

fn all_laws() -> impl Iterator<Item = &'static Law> {
    laws::LAWS.iter().chain(repository::LAWS)
}

fn allows(allowance: &Allowance, law: &Law, violation: &Violation) -> bool {
    let file = violation.at.split(':').next().unwrap_or("");
    allowance.law == law.name && allowance.file == file && violation.what.contains(allowance.part)
}

/// What breaks a law and is not allowed, and the allowances nothing needed.
fn judge(sources: &Sources, laws: &[&Law], allowances: &[Allowance]) -> Vec<String> {
    let mut used = vec![false; allowances.len()];
    let mut out = Vec::new();
    for law in laws {
        for violation in (law.check)(sources) {
            let allowed = allowances.iter().position(|a| allows(a, law, &violation));
            match allowed {
                Some(at) => used[at] = true,
                None => out.push(format!("{}: {} [{}]", violation.at, violation.what, law.name)),
            }
        }
    }
    for (allowance, used) in allowances.iter().zip(used) {
        if !used || allowance.because.len() < 20 {
            let Allowance { law, file, part, .. } = allowance;
            out.push(format!(
                "tests/architecture.rs:1: stale or unexplained allowance: {law}, {file}, {part}"
            ));
        }
    }
    out
}

#[test]
fn the_house_keeps_its_laws() {
    let sources = Sources::read();
    let laws: Vec<&Law> = all_laws().collect();
    let broken = judge(&sources, &laws, ALLOWANCES);
    assert!(broken.is_empty(), "{} breaches:\n{}", broken.len(), broken.join("\n"));
}

#[test]
fn the_laws_see_the_source() {
    let sources = Sources::read();
    for row in laws::ROWS {
        assert!(
            sources.files.iter().any(|f| f.row() == Some(row)),
            "no file of row {row} was read"
        );
    }
    for file in &sources.files {
        assert!(laws::balanced(file), "{}: the lexer lost count of its braces", file.path);
    }
    assert!(sources.tree.len() > 10, "cargo tree lists the shipped crates");
    assert!(sources.top.iter().any(|name| name == "src"));
}

#[test]
fn every_law_catches_its_breaches() {
    for law in all_laws() {
        assert!(!law.breaches.is_empty(), "{}: a law needs a sample that breaks it", law.name);
        for breach in law.breaches {
            let found = (law.check)(&Sources::sample(&[*breach]));
            assert!(!found.is_empty(), "{}: not caught: {} in {}", law.name, breach.1, breach.0);
        }
    }
}

#[test]
fn no_law_catches_the_lawful() {
    for law in all_laws() {
        for sample in law.lawful {
            let found = (law.check)(&Sources::sample(&[*sample]));
            assert!(found.is_empty(), "{}: caught {sample:?}: {found:?}", law.name);
        }
    }
}

#[test]
fn messages_say_where() {
    let sources = Sources::sample(&[("src/sys/a.rs", "fn f() {}\n\nunsafe fn g() {}")]);
    let laws: Vec<&Law> = all_laws().filter(|l| l.name == "no unsafe").collect();
    let broken = judge(&sources, &laws, &[]);
    assert_eq!(broken.len(), 1);
    assert!(broken[0].starts_with("src/sys/a.rs:3: "), "{broken:?}");
}

#[test]
fn an_allowance_is_exact_explained_and_needed() {
    let sources = Sources::sample(&[("src/sys/a.rs", "unsafe fn g() {}")]);
    let laws: Vec<&Law> = all_laws().filter(|l| l.name == "no unsafe").collect();
    let allowance = |file, because| Allowance { law: "no unsafe", file, part: "unsafe", because };
    let reason = "there is no safe crate for this system call";
    assert!(judge(&sources, &laws, &[allowance("src/sys/a.rs", reason)]).is_empty());
    assert_eq!(judge(&sources, &laws, &[allowance("src/sys/b.rs", reason)]).len(), 2);
    assert_eq!(judge(&sources, &laws, &[allowance("src/sys/a.rs", "")]).len(), 1);
}

#[test]
fn files_of_test_modules_are_not_shipped() {
    let declared = ("src/wire/mod.rs", "#[cfg(test)] mod tests;");
    let breach = ("src/wire/tests.rs", "use crate::cli::X;");
    let order = all_laws().find(|l| l.name == "order").expect("the order is a law");
    assert!((order.check)(&Sources::sample(&[declared, breach])).is_empty());
    assert!(!(order.check)(&Sources::sample(&[breach])).is_empty());
}
