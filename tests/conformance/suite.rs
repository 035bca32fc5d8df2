//! Runs the official suite's frozen requirement set against an endpoint and reads its verdicts.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Installed, Scratch, fail, run_any};

const SUITE: &str = "js/node_modules/@modelcontextprotocol/conformance";
const LIMIT: Duration = Duration::from_secs(420);
const CLIENT_LIMIT: Duration = Duration::from_secs(60);

/// One scored scenario and why it failed; a warning counts as a failure.
pub struct Scenario {
    /// The suite's name for it.
    pub name: String,
    /// Empty when it passed.
    pub faults: Vec<String>,
}

/// Every scored server scenario of the revision, run against `url`.
pub fn run(installed: &Installed, url: &str, revision: &str) -> Vec<Scenario> {
    let out = Scratch::new("conformance");
    let mut suite = suite(installed, &out);
    suite.args(["server", "--url", url, "--requirements", revision, "-o"]).arg(&out.0);
    // Its exit status also counts unscored scenarios: the verdicts are in the files.
    let (_, stdout, stderr) = run_any(suite, "", LIMIT);
    let names = scored(installed, "server", revision);
    let verdicts: Vec<Scenario> = names.iter().map(|n| verdict(&out.0, "server-", n)).collect();
    if verdicts.iter().all(|s| s.faults.first().is_some_and(|f| f == DID_NOT_RUN)) {
        fail(&format!("the suite ran nothing:\n{stdout}\n{stderr}"));
    }
    verdicts
}

/// One server scenario that is not in the requirement set, run against `url`.
pub fn run_one(installed: &Installed, url: &str, revision: &str, name: &str) -> Scenario {
    let out = Scratch::new(&format!("conformance-{name}"));
    let mut suite = suite(installed, &out);
    suite.args(["server", "--url", url, "--scenario", name, "--spec-version", revision]);
    suite.args(["--force", "-o"]).arg(&out.0);
    run_any(suite, "", CLIENT_LIMIT);
    verdict(&out.0, "server-", name)
}

/// One client scenario: `command` is what the suite runs with the URL of its mock server. What it
/// wrote stands in the last fault, if there is any.
pub fn run_client(
    installed: &Installed,
    mut command: impl FnMut(&mut Command) -> String,
    revision: &str,
    name: &str,
) -> Scenario {
    let out = Scratch::new(&format!("conformance-{name}"));
    let mut suite = suite(installed, &out);
    let driver = command(&mut suite);
    let suite_limit = CLIENT_LIMIT.as_millis().to_string();
    suite.args(["client", "--command", &driver, "--scenario", name, "--spec-version", revision]);
    suite.args(["--force", "--timeout", &suite_limit, "-o"]).arg(&out.0);
    let (_, stdout, stderr) = run_any(suite, "", CLIENT_LIMIT * 2);
    let mut verdict = verdict(&out.0, "", name);
    if !verdict.faults.is_empty() {
        verdict.faults.push(format!("{stdout}\n{stderr}"));
    }
    verdict
}

fn suite(installed: &Installed, out: &Scratch) -> Command {
    let mut suite = Command::new(installed.node());
    suite.arg(installed.path(&format!("{SUITE}/dist/index.js"))).current_dir(&out.0);
    suite
}

const DID_NOT_RUN: &str = "did not run";

/// Notes and skipped checks say nothing of whom they are about.
const JUDGED_NOTHING: &str = "judged nothing";

/// The scenarios that judge nobody, and why.
const JUDGES_NOTHING: [(&str, &str); 1] =
    [("tasks-status-notifications", "the suite has no more than its name, and skips it")];

/// A list of the requirement file, `server` or `client`: the only parts of that YAML we need.
pub fn scored(installed: &Installed, list: &str, revision: &str) -> Vec<String> {
    let path = installed.path(&format!("{SUITE}/requirements/{revision}.yaml"));
    let file = fs::read_to_string(&path).unwrap_or_else(|e| fail(&format!("{path}: {e}")));
    file.lines()
        .skip_while(|l| l.strip_suffix(':') != Some(list))
        .skip(1)
        .take_while(|l| l.starts_with("  - ") || l.is_empty())
        .filter_map(|l| l.strip_prefix("  - "))
        .map(|name| name.trim().to_owned())
        .collect()
}

fn verdict(out: &Path, role: &str, name: &str) -> Scenario {
    // The suite names a scenario's folder server-NAME-DATE, or NAME-DATE for a client.
    let prefix = format!("{role}{name}-20");
    let found = fs::read_dir(out)
        .expect("the output folder is ours")
        .filter_map(Result::ok)
        .find(|e| e.file_name().to_string_lossy().starts_with(&prefix))
        .and_then(|e| fs::read(e.path().join("checks.json")).ok())
        .and_then(|bytes| serde_json::from_slice::<Vec<Value>>(&bytes).ok());
    let faults = match found {
        None => vec![DID_NOT_RUN.to_owned()],
        Some(checks) if !is_known_to_judge_nothing(name) && !checks.iter().any(is_judged) => {
            vec![JUDGED_NOTHING.to_owned()]
        }
        Some(checks) => checks.iter().filter_map(fault).collect(),
    };
    Scenario { name: name.to_owned(), faults }
}

fn is_known_to_judge_nothing(name: &str) -> bool {
    JUDGES_NOTHING.iter().any(|(known, _)| *known == name)
}

fn is_judged(check: &Value) -> bool {
    !matches!(check["status"].as_str(), Some("INFO" | "SKIPPED"))
}

fn fault(check: &Value) -> Option<String> {
    let status = check["status"].as_str().unwrap_or("no status");
    if matches!(status, "SUCCESS" | "INFO" | "SKIPPED") {
        return None;
    }
    let id = check["id"].as_str().unwrap_or("?");
    let why = check["errorMessage"].as_str().unwrap_or("");
    Some(format!("{status} {id}: {why}"))
}
