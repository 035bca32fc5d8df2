//! The official conformance suite. Its server scenarios: against the fixture directly, then through
//! the gateway on the fixture's own endpoint. Its client scenarios: the gateway is the client of the
//! suite's mock servers. Warnings count as failures. Needs `ONEMCP_INTEROP=1`.

#[path = "interop/harness.rs"]
mod harness;
#[path = "conformance/suite.rs"]
mod suite;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use harness::{Asked, Installed, Scratch, asked, binary, fail, gateway, project, say};
use serde_json::json;
use suite::Scenario;

/// Scored scenarios of each revision.
const REVISIONS: [(&str, usize); 2] = [("2025-11-25", 30), ("2026-07-28", 37)];

#[test]
fn the_official_suite_passes() {
    let asked = asked("conformance");
    if asked == Asked::Nothing {
        return;
    }
    let installed = Installed::new();
    let (_fixture, direct) = installed.fixture();
    for (revision, total) in REVISIONS {
        let verdicts = suite::run(&installed, &direct, revision);
        expect(&format!("{revision} directly"), &verdicts, total, &[]);
    }
    if asked == Asked::Direct {
        return;
    }
    let scratch = Scratch::new("conformance-gateway");
    let servers = json!({ "fixture": { "type": "http", "url": direct } });
    let (gateway, url) = gateway(&scratch, &servers);
    for (revision, total) in REVISIONS {
        let verdicts = suite::run(&installed, &format!("{url}/fixture"), revision);
        let what = format!("{revision} through the gateway");
        if !expect_quietly(&what, &verdicts, total, &[]) {
            fail(&format!("{what}: see above; it said:\n{}", gateway.said()));
        }
    }
}

/// The scenarios of the extension for tasks, which no requirement set scores.
const TASKS: [&str; 10] = [
    "tasks-lifecycle",
    "tasks-capability-negotiation",
    "tasks-wire-fields",
    "tasks-request-state-removal",
    "tasks-mrtr-input",
    "tasks-request-headers",
    "tasks-dispatch-and-envelope",
    "tasks-status-notifications",
    "tasks-required-task-error",
    "tasks-mrtr-composition",
];

#[test]
fn the_official_scenarios_for_tasks_pass() {
    let asked = asked("conformance of tasks");
    if asked == Asked::Nothing {
        return;
    }
    let installed = Installed::new();
    let (_fixture, direct) = installed.tasks_fixture();
    let run = |what: &str, url: &str| {
        let verdicts = TASKS.map(|name| suite::run_one(&installed, url, "2026-07-28", name));
        expect(&format!("tasks {what}"), &verdicts, TASKS.len(), &[]);
    };
    run("directly", &direct);
    if asked == Asked::Direct {
        return;
    }
    let scratch = Scratch::new("conformance-tasks-gateway");
    let servers = json!({ "tasks": { "type": "http", "url": direct } });
    let (_gateway, url) = gateway(&scratch, &servers);
    run("through the gateway", &format!("{url}/tasks"));
}

/// Server scenarios that no requirement set scores, with the revision that they are run at, and the
/// entry that the gateway has for the fixture. To be polled, the fixture must be spoken to as a
/// legacy server: what it says before it closes its stream makes the answer a stream here, too.
const BESIDE: [(&str, &str, &str); 5] = [
    ("2026-07-28", "fixture", "http-header-validation"),
    ("2026-07-28", "fixture", "http-custom-header-server-validation"),
    ("2025-11-25", "fixture", "json-schema-2020-12"),
    ("2025-11-25", "fixture", "server-session-lifecycle"),
    ("2025-11-25", "legacy", "server-sse-polling"),
];

#[test]
fn the_official_scenarios_beside_the_scored_ones_pass() {
    if asked("conformance beside the score") != Asked::All {
        return;
    }
    let installed = Installed::new();
    let (_fixture, direct) = installed.fixture();
    let scratch = Scratch::new("conformance-beside");
    let servers = json!({
        "fixture": { "type": "http", "url": direct },
        "legacy": { "type": "http", "url": direct, "protocol": "legacy" },
    });
    let (_gateway, url) = gateway(&scratch, &servers);
    let run = |what: &str, at: &dyn Fn(&str) -> String| {
        let one = |(of, entry, name)| suite::run_one(&installed, &at(entry), of, name);
        let verdicts = BESIDE.map(one);
        expect(&format!("beside the score, {what}"), &verdicts, BESIDE.len(), &[]);
    };
    run("directly", &|_| direct.clone());
    run("through the gateway", &|entry| format!("{url}/{entry}"));
}

/// The cells of `conformance/matrix.json`: what clients of each revision must get from the fixture
/// in each era, over each transport. Scenarios that are not listed need what the fixture cannot
/// offer in that era; nothing that is listed may fail.
#[test]
fn every_pair_of_eras_keeps_its_list() {
    if asked("conformance between eras") != Asked::All {
        return;
    }
    let installed = Installed::new();
    let (_fixture, direct) = installed.fixture();
    let script = project("tests/conformance/fixture/fixture.py");
    let mut servers = serde_json::Map::new();
    for era in ["legacy", "modern"] {
        let http = json!({ "type": "http", "url": direct, "protocol": era });
        let (python, script) = (installed.python(), script.display().to_string());
        let stdio = json!({ "command": python, "args": [script, "--stdio"], "protocol": era });
        servers.insert(format!("http-{era}"), http);
        servers.insert(format!("stdio-{era}"), stdio);
    }
    let scratch = Scratch::new("conformance-matrix");
    let (gateway, url) = gateway(&scratch, &servers.into());
    let lists = fs::read_to_string(project("tests/conformance/matrix.json")).expect("the lists");
    let lists: serde_json::Value = serde_json::from_str(&lists).expect("they are JSON");
    let mut good = true;
    for (revision, total) in REVISIONS {
        for era in ["legacy", "modern"] {
            let listed = lists[revision][era].as_array().expect("a list of scenarios");
            let listed: Vec<&str> = listed.iter().filter_map(|name| name.as_str()).collect();
            for transport in ["stdio", "http"] {
                let cell = format!("{url}/{transport}-{era}");
                let mut verdicts = suite::run(&installed, &cell, revision);
                assert_eq!(verdicts.len(), total);
                verdicts.retain(|verdict| listed.contains(&verdict.name.as_str()));
                let what = format!("{revision} clients, {era} {transport} upstream");
                good &= expect_quietly(&what, &verdicts, listed.len(), &[]);
            }
        }
    }
    if !good {
        fail(&format!("see above; the gateway said:\n{}", gateway.said()));
    }
}

/// Client scenarios beside the scored ones.
const UNSCORED: [(&str, &str); 3] = [
    ("2025-11-25", "json-schema-2020-12-preservation"),
    ("2026-07-28", "json-schema-2020-12-preservation"),
    ("2026-07-28", "sse-retry"),
];

#[test]
fn the_official_suite_passes_us_as_a_client_for_modern_clients() {
    as_a_client("auto", false);
}

#[test]
fn the_official_suite_passes_us_as_a_client_for_legacy_clients() {
    as_a_client("legacy", true);
}

/// Runs the client scenarios that need no OAuth.
fn as_a_client(mode: &str, merged: bool) {
    if asked("conformance as a client") != Asked::All {
        return;
    }
    let installed = Installed::new();
    let scratch = Scratch::new(&format!("driver-{mode}"));
    let driver = driver(&installed, &scratch.0);
    for (revision, _) in REVISIONS {
        let mut names = suite::scored(&installed, "client", revision);
        let all = names.len();
        names.retain(|name| !name.starts_with("auth/"));
        let waiting = all - names.len();
        let unscored = UNSCORED.iter().filter(|(of, _)| *of == revision);
        names.extend(unscored.map(|(_, name)| (*name).to_owned()));
        let verdict = |name: &String| {
            let command = |suite: &mut std::process::Command| {
                suite.env("ONEMCP_BINARY", binary()).env("DRIVER_MODE", mode);
                suite.env("DRIVER_MERGED", u8::from(merged).to_string());
                driver.clone()
            };
            suite::run_client(&installed, command, revision, name)
        };
        let verdicts: Vec<Scenario> = names.iter().map(verdict).collect();
        let what = format!("{revision} as a client, for {mode} clients ({waiting} wait for OAuth)");
        expect(&what, &verdicts, names.len(), &[]);
    }
}

/// The suite splits its command at blanks, so it gets a script at a path without any.
fn driver(installed: &Installed, folder: &Path) -> String {
    let path = folder.join("driver");
    let script = project("tests/conformance/driver.py");
    let text = format!("#!/bin/sh\nexec '{}' '{}' \"$@\"\n", installed.python(), script.display());
    let written = fs::write(&path, text)
        .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o700)));
    written.expect("the temporary folder is ours");
    path.to_string_lossy().into_owned()
}

fn expect(what: &str, verdicts: &[Scenario], total: usize, may_fail: &[&str]) {
    if !expect_quietly(what, verdicts, total, may_fail) {
        fail(&format!("{what}: see above"));
    }
}

/// Prints the score, and each scenario with its faults where there are any.
fn expect_quietly(what: &str, verdicts: &[Scenario], total: usize, may_fail: &[&str]) -> bool {
    let failed: Vec<&Scenario> = verdicts.iter().filter(|s| !s.faults.is_empty()).collect();
    let passed = verdicts.len() - failed.len();
    say(&format!("conformance {what}: {passed}/{}", verdicts.len()));
    for scenario in &failed {
        let waits = if may_fail.contains(&scenario.name.as_str()) { " (may wait)" } else { "" };
        say(&format!("  FAIL {}{waits}", scenario.name));
        for fault in &scenario.faults {
            say(&format!("       {fault}"));
        }
    }
    let unexpected = failed.iter().filter(|s| !may_fail.contains(&s.name.as_str())).count();
    verdicts.len() == total && unexpected == 0
}
