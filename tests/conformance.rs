//! The official conformance suite: against the fixture directly, then through the gateway on the
//! fixture's own endpoint. Warnings count as failures. Needs `ONEMCP_INTEROP=1`.

#[path = "interop/harness.rs"]
mod harness;
#[path = "conformance/suite.rs"]
mod suite;

use harness::{Asked, Installed, Scratch, asked, fail, gateway, say};
use serde_json::json;
use suite::Scenario;

/// Scored scenarios of each revision.
const REVISIONS: [(&str, usize); 2] = [("2025-11-25", 30), ("2026-07-28", 37)];

/// What may still fail through the gateway: requests from an upstream to a client.
const WAITING: [&str; 4] = [
    "tools-call-sampling",
    "tools-call-elicitation",
    "elicitation-sep1034-defaults",
    "elicitation-sep1330-enums",
];

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
        if !expect_quietly(&what, &verdicts, total, &WAITING) {
            fail(&format!("{what}: see above; it said:\n{}", gateway.said()));
        }
    }
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
