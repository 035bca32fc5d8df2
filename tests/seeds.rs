//! Replays every committed fuzz seed and regression through the property of its target, on stable and
//! without a fuzzer: `fuzz/seeds/<target>/*` and `fuzz/regressions/<target>/*`.
#![allow(clippy::panic, reason = "a test says what is wrong by panicking")]

use onemcp::fuzzing::TARGETS;
use std::collections::BTreeMap;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

/// The visible entries of a folder, in order. Dotfiles only keep a folder in git.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let listed = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<_> = listed.map(|entry| entry.expect("a readable folder").path()).collect();
    paths.retain(|path| !name(path).starts_with('.'));
    paths.sort();
    paths
}

fn name(path: &Path) -> String {
    path.file_name().expect("an entry has a name").to_string_lossy().into_owned()
}

/// Runs all files of `fuzz/<kind>/` and says how many each target had.
fn replay(kind: &str) -> BTreeMap<&'static str, usize> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(kind);
    let mut counts: BTreeMap<_, _> = TARGETS.iter().map(|(name, _)| (*name, 0)).collect();
    let mut failed = vec![];
    for folder in entries(&root) {
        let target = TARGETS.iter().find(|(target, _)| *target == name(&folder));
        let (target, run) =
            target.unwrap_or_else(|| panic!("{}: no such target", folder.display()));
        for file in entries(&folder) {
            let data = fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
            if catch_unwind(|| run(&data)).is_err() {
                failed.push(file.display().to_string());
            }
            *counts.entry(target).or_default() += 1;
        }
    }
    assert!(
        failed.is_empty(),
        "these inputs break their target's property:\n{}",
        failed.join("\n")
    );
    counts
}

#[test]
fn every_seed_holds_and_every_target_has_seeds() {
    for (target, count) in replay("seeds") {
        assert!(count > 0, "fuzz/seeds/{target}/ has no seed");
    }
}

#[test]
fn every_regression_holds() {
    replay("regressions");
}

#[test]
fn every_target_has_its_fuzz_binary_and_the_other_way_round() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/targets");
    let files: Vec<_> = entries(&root).iter().map(|path| name(path)).collect();
    let mut wanted: Vec<_> = TARGETS.iter().map(|(name, _)| format!("{name}.rs")).collect();
    wanted.sort();
    assert_eq!(files, wanted);
}
