//! Every rule of the specification has a test that shows it: the tables in `tests/checklist`
//! are complete, and what they name exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The rules of `2026-07-28.md`; those of authorization have a table of their own.
fn numbers() -> impl Iterator<Item = String> {
    (1..=91).filter(|n| !(86..=90).contains(n)).map(|n| n.to_string())
}

/// The last rule of `before.md`.
const BEFORE: u32 = 22;

struct Row {
    number: String,
    shown_by: String,
}

fn rows(file: &str) -> Vec<Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checklist").join(file);
    let text = fs::read_to_string(&path).expect("the table");
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let lines = text.lines().filter(|line| line.starts_with("| ")).map(cells);
    let mut rows = Vec::new();
    for cells in lines.filter(|cells| cells[0] != "#") {
        assert_eq!(cells.len(), 3, "{file}: rule {}", cells[0]);
        rows.push(Row { number: cells[0].clone(), shown_by: cells[2].clone() });
    }
    rows
}

/// The names of all test functions, alone and after the name of their file.
fn tests() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for folder in ["src", "tests"] {
        collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut found);
    }
    found
}

fn collect(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source file");
            let stem = path.file_stem().expect("a name").to_string_lossy().into_owned();
            for name in functions(&text) {
                found.insert(format!("{stem}::{name}"));
                found.insert(name);
            }
        }
    }
}

/// The functions under a `#[test]` or `#[tokio::test]`; ignored ones are none.
fn functions(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut is_test = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if line.starts_with("#[ignore") {
            is_test = false;
        } else if let Some((_, rest)) = line.split_once("fn ")
            && std::mem::take(&mut is_test)
        {
            names.extend(rest.split('(').next().map(str::to_owned));
        }
    }
    names
}

#[test]
fn every_rule_is_there_once_and_in_order() {
    let modern: Vec<String> = rows("2026-07-28.md").into_iter().map(|row| row.number).collect();
    assert_eq!(modern, numbers().collect::<Vec<_>>());
    let before: Vec<String> = rows("before.md").into_iter().map(|row| row.number).collect();
    assert_eq!(before, (1..=BEFORE).map(|n| format!("b{n}")).collect::<Vec<_>>());
}

#[test]
fn what_shows_a_rule_exists() {
    let tests = tests();
    let mut missing = Vec::new();
    for row in rows("2026-07-28.md").into_iter().chain(rows("before.md")) {
        if let Some(reason) = row.shown_by.strip_prefix("not ours: ") {
            assert!(reason.len() > 10, "rule {} is not ours without a reason", row.number);
            continue;
        }
        for name in row.shown_by.split(',').map(str::trim) {
            if !tests.contains(name) {
                missing.push(format!("rule {}: {name}", row.number));
            }
        }
    }
    assert!(missing.is_empty(), "tests that do not exist:\n{}", missing.join("\n"));
}
