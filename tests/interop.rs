//! Real clients, real servers: each client's tour through the gateway is compared, result by result,
//! with the same tour spoken directly. Needs `ONEMCP_INTEROP=1`.
//!
//! Every tour runs four times: directly, on `/mcp/{slug}` (where nothing may differ but what
//! crossing an era changes), the same over `1mcp stdio --server {slug}`, which the client starts,
//! and on `/mcp` with all servers merged (where names and URIs carry the slug). What may differ is stated in `interop/compare.rs`; what a tour does stands in
//! `interop/plans/`.

#[path = "interop/compare.rs"]
mod compare;
#[path = "interop/harness.rs"]
mod harness;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use compare::{Situation, differences, unexpected};
use harness::{Asked, Installed, Scratch, asked, binary, fail, gateway, project, run, say};
use serde_json::{Map, Value, json};

const TOUR_LIMIT: Duration = Duration::from_secs(300);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Era {
    Legacy,
    Modern,
}

/// A real client: its program, and the era it speaks where the peer speaks both.
struct Client {
    name: &'static str,
    program: Program,
    era: Era,
}

impl Client {
    /// Before its version 2 the Python SDK told nobody that a call was cancelled.
    fn can(&self, step: &Value) -> bool {
        step["do"] != "cancel" || !matches!(self.program, Program::OldPython(_))
    }
}

enum Program {
    Node(&'static str),
    Python(&'static str),
    /// The TypeScript SDK of 2024: HTTP+SSE alone.
    OldNode,
    /// A Python SDK before its version 2, by the folder it is installed in.
    OldPython(&'static str),
}

/// A client of an older day, and the newest revision it knows.
struct OldClient {
    client: Client,
    revision: &'static str,
}

const OLD_CLIENTS: [OldClient; 3] = [
    OldClient {
        client: Client { name: "TypeScript SDK 1.0", program: Program::OldNode, era: Era::Legacy },
        revision: "2024-11-05",
    },
    OldClient {
        client: Client {
            name: "Python SDK 1.9",
            program: Program::OldPython("py-1.9"),
            era: Era::Legacy,
        },
        revision: "2025-03-26",
    },
    OldClient {
        client: Client {
            name: "Python SDK 1.30",
            program: Program::OldPython("py-1.30"),
            era: Era::Legacy,
        },
        revision: "2025-11-25",
    },
];

/// What they go through: upstreams of both eras over both transports.
const OLD_TOURS: [&str; 4] = ["fixture", "fixture-stdio", "fixture-legacy", "everything"];

const CLIENTS: [Client; 4] = [
    Client { name: "TypeScript SDK v1", program: Program::Node("ts_v1.mjs"), era: Era::Legacy },
    Client { name: "TypeScript SDK v2", program: Program::Node("ts_v2.mjs"), era: Era::Modern },
    Client { name: "Python SDK, legacy", program: Program::Python("legacy"), era: Era::Legacy },
    Client { name: "Python SDK, modern", program: Program::Python("auto"), era: Era::Modern },
];

/// One tour: through which entry, and which era the gateway speaks to that upstream.
struct Tour {
    name: &'static str,
    plan: &'static str,
    slug: &'static str,
    upstream: Era,
}

const fn tour(name: &'static str, plan: &'static str, upstream: Era) -> Tour {
    Tour { name, plan, slug: name, upstream }
}

const TOURS: [Tour; 9] = [
    tour("fixture", "fixture", Era::Modern),
    tour("fixture-stdio", "fixture", Era::Modern),
    tour("fixture-legacy", "fixture", Era::Legacy),
    Tour { slug: "fixture", ..tour("asks", "asks", Era::Modern) },
    tour("everything", "everything", Era::Legacy),
    tour("filesystem", "filesystem", Era::Legacy),
    tour("memory", "memory", Era::Legacy),
    tour("time", "time", Era::Modern),
    tour("git", "git", Era::Modern),
];

/// Questions from an upstream to the client are relayed between modern peers only, so far.
fn goes_through(tour: &Tour, client: &Client) -> bool {
    tour.plan != "asks" || (client.era == Era::Modern && tour.upstream == Era::Modern)
}

#[test]
fn each_client_sees_through_the_gateway_what_it_sees_directly() {
    let asked = asked("interop");
    if asked == Asked::Nothing {
        return;
    }
    let installed = Installed::new();
    // One each: what a server announces through one entry would come through the other as well,
    // a moment earlier or later.
    let fixtures = [installed.fixture(), installed.fixture()];
    let urls = [&fixtures[0].1, &fixtures[1].1];
    let scratch = Scratch::new("interop");
    let work = scratch.0.join("work");
    lay_out(&work);
    let entries = entries(&installed, urls, &work);
    let through = (asked == Asked::All).then(|| gateway(&scratch, &Value::Object(entries.clone())));
    let mut faults = Vec::new();
    for client in &CLIENTS {
        let bench = Bench { installed: &installed, work: &work, client };
        let direct = bench.run("direct", |tour| target(&entries[tour.slug]));
        faults.extend(bench.check(&direct));
        let Some((_, url)) = &through else {
            continue;
        };
        let alone = bench
            .run("alone", |tour| json!({ "target": { "url": format!("{url}/{}", tour.slug) } }));
        faults.extend(bench.compare(&direct, &alone, "/mcp/{slug}"));
        let piped = bench.run("piped", |tour| piped(&scratch, tour.slug));
        let odd = bench.compare(&direct, &piped, "stdio");
        faults.extend(odd.into_iter().filter(|fault| !lost_by_the_client(fault)));
        let merged = bench.run("merged", |tour| {
            json!({ "target": { "url": url }, "namePrefix": format!("{}__", tour.slug),
                "uriPrefix": format!("mcp-{}+", tour.slug) })
        });
        faults.extend(bench.compare(&direct, &merged, "/mcp"));
    }
    if !faults.is_empty() {
        faults.iter().for_each(|fault| say(&format!("  FAIL {fault}")));
        let said = through.map_or(String::new(), |(gateway, _)| gateway.said());
        fail(&format!("{} differences, see above\n{said}", faults.len()));
    }
}

/// Whoever knows an old revision only gets nothing that it cannot read, whatever the upstream is: no
/// step fails but those that must.
#[test]
fn old_clients_do_not_choke_on_new_servers() {
    if asked("old clients") != Asked::All {
        return;
    }
    let installed = Installed::new();
    let fixtures = [installed.fixture(), installed.fixture()];
    let scratch = Scratch::new("interop-old");
    let work = scratch.0.join("work");
    lay_out(&work);
    let entries = entries(&installed, [&fixtures[0].1, &fixtures[1].1], &work);
    let (gateway, url) = gateway(&scratch, &Value::Object(entries));
    let mut faults = Vec::new();
    for old in &OLD_CLIENTS {
        let bench = Bench { installed: &installed, work: &work, client: &old.client };
        let url = match old.client.program {
            Program::OldNode => url.replace("/mcp", "/sse"),
            _ => url.clone(),
        };
        let alone = bench.run_some(
            "alone",
            &OLD_TOURS,
            |tour| json!({ "target": { "url": format!("{url}/{}", tour.slug) } }),
        );
        let merged = bench.run_some("merged", &OLD_TOURS, |tour| {
            json!({ "target": { "url": url }, "namePrefix": format!("{}__", tour.slug),
                "uriPrefix": format!("mcp-{}+", tour.slug) })
        });
        for (round, outcomes) in [("/mcp/{slug}", alone), ("/mcp", merged)] {
            for tour in TOURS.iter().filter(|tour| OLD_TOURS.contains(&tour.name)) {
                let outcome = &outcomes[tour.name];
                let mut steps = steps(tour);
                // what may differ there, differs
                steps.retain(|step| round != "/mcp" || step.get("merged").is_none());
                steps.retain(|step| old.client.can(step));
                let mut odd = unexpected(&steps, outcome);
                odd.extend(steps.iter().filter_map(|step| unheard(step, outcome)));
                let got = &outcome["(revision)"];
                odd.extend((got != old.revision).then(|| format!("negotiated {got}")));
                let named = |why| format!("{} on {round} to {}: {why}", old.client.name, tour.name);
                faults.extend(odd.into_iter().map(named));
            }
        }
    }
    if !faults.is_empty() {
        faults.iter().for_each(|fault| say(&format!("  FAIL {fault}")));
        fail(&format!("{} faults, see above\n{}", faults.len(), gateway.said()));
    }
}

/// What a step should have heard of and did not.
fn unheard(step: &Value, outcomes: &Value) -> Option<String> {
    let outcome = &outcomes[step["step"].as_str().unwrap_or_default()];
    let heard = match step["do"].as_str() {
        Some("subscribe") => outcome["updated"].as_array().is_some_and(|uris| uris.len() == 1),
        Some("changed") => outcome["announced"] == true && outcome["added"] != json!([]),
        Some("call") if step["progress"] == true => outcome["progress"] != json!([]),
        _ => true,
    };
    (!heard).then(|| format!("{}: {outcome}", step["step"]))
}

/// One client and what its tours need.
struct Bench<'a> {
    installed: &'a Installed,
    work: &'a Path,
    client: &'a Client,
}

impl Bench<'_> {
    /// All tours in one run of the client; answers their outcomes by tour.
    fn run(&self, round: &str, target: impl Fn(&Tour) -> Value) -> Value {
        let wanted = |tour: &&Tour| round == "direct" || goes_through(tour, self.client);
        let names: Vec<&str> = TOURS.iter().filter(wanted).map(|tour| tour.name).collect();
        self.run_some(round, &names, target)
    }

    fn run_some(&self, round: &str, names: &[&str], target: impl Fn(&Tour) -> Value) -> Value {
        lay_out(self.work);
        let jobs: Vec<Value> = TOURS
            .iter()
            .filter(|tour| names.contains(&tour.name))
            .map(|tour| {
                let token = format!("{round} {} {}", tour.name, self.client.name);
                let plan = plan(tour.plan, self.work, &token);
                let mut steps = plan["steps"].as_array().cloned().unwrap_or_default();
                steps.retain(|step| self.client.can(step));
                let mut job = target(tour);
                job["name"] = json!(tour.name);
                job["steps"] = json!(steps);
                job["declares"] = plan.get("declares").cloned().unwrap_or(json!([]));
                job
            })
            .collect();
        let mut command = match self.client.program {
            Program::Node(file) => {
                let mut node = Command::new(self.installed.node());
                node.arg(project("tests/interop/tours").join(file));
                node
            }
            Program::Python(mode) => {
                let mut python = Command::new(self.installed.python());
                python.arg(project("tests/interop/tours/py.py")).arg(mode);
                python
            }
            Program::OldNode => {
                let mut node = Command::new(self.installed.node());
                node.arg("--experimental-eventsource");
                node.arg(project("tests/interop/tours/ts_v1_0.mjs"));
                node
            }
            Program::OldPython(folder) => {
                let python = self.installed.path(&format!("{folder}/bin/python"));
                let mut python = Command::new(python);
                python.arg(project("tests/interop/tours/py.py")).arg("old");
                python
            }
        };
        command.env("NODE_MODULES", self.installed.path("js/node_modules"));
        let out = run(command, &json!({ "jobs": jobs }).to_string(), TOUR_LIMIT);
        say(&format!("interop {} {round}: {} tours", self.client.name, jobs.len()));
        serde_json::from_str(&out).unwrap_or_else(|e| fail(&format!("a tour printed {e}:\n{out}")))
    }

    /// What a direct tour did that its plan does not say.
    fn check(&self, direct: &Value) -> Vec<String> {
        let found = TOURS.iter().flat_map(|tour| {
            let steps = steps(tour);
            let odd = unexpected(&steps, &direct[tour.name]);
            odd.into_iter()
                .map(|why| format!("{} directly to {}: {why}", self.client.name, tour.name))
        });
        found.collect()
    }

    fn compare(&self, direct: &Value, proxied: &Value, endpoint: &str) -> Vec<String> {
        let tours = TOURS.iter().filter(|t| goes_through(t, self.client));
        let found = tours.flat_map(|tour| {
            let at = Situation {
                merged: (endpoint == "/mcp").then_some(tour.slug),
                same_era: self.client.era == tour.upstream,
            };
            let (direct, proxied) = (&direct[tour.name], &proxied[tour.name]);
            let mut odd = differences(&steps(tour), direct, proxied, at);
            odd.extend(wrong_revision(self.client, proxied));
            odd.into_iter().map(move |why| {
                format!("{} on {endpoint} to {}: {why}", self.client.name, tour.name)
            })
        });
        found.collect()
    }
}

/// TypeScript SDK v2 loses progress that it reads together with the answer, which on a pipe it often
/// does, also without us.
fn lost_by_the_client(fault: &str) -> bool {
    fault.starts_with("TypeScript SDK v2 on stdio") && fault.contains("/progress/")
}

/// Through the gateway every client gets the newest revision it knows, whatever the upstream is.
fn wrong_revision(client: &Client, proxied: &Value) -> Option<String> {
    let newest = match client.era {
        Era::Legacy => "2025-11-25",
        Era::Modern => "2026-07-28",
    };
    let got = &proxied["(revision)"];
    (got != newest).then(|| format!("negotiated {got}, not {newest}"))
}

fn steps(tour: &Tour) -> Vec<Value> {
    let plan = plan(tour.plan, Path::new(""), "");
    plan["steps"].as_array().cloned().unwrap_or_default()
}

/// A plan with its placeholders filled in.
fn plan(name: &str, work: &Path, token: &str) -> Value {
    let path = project("tests/interop/plans").join(format!("{name}.json"));
    let text = fs::read_to_string(&path).unwrap_or_else(|e| fail(&format!("{path:?}: {e}")));
    let text = text.replace("${work}", &work.to_string_lossy()).replace("${run}", token);
    serde_json::from_str(&text).unwrap_or_else(|e| fail(&format!("{path:?}: {e}")))
}

/// The `mcpServers` of the gateway, which also say how a client reaches each server directly.
fn entries(installed: &Installed, urls: [&String; 2], work: &Path) -> Map<String, Value> {
    let work = work.to_string_lossy();
    let node = installed.node();
    let npm = |name: &str, args: &[&str], env: Value| {
        let script = installed.js_server(name);
        let args: Vec<&str> = [script.as_str()].into_iter().chain(args.iter().copied()).collect();
        json!({ "command": node, "args": args, "env": env })
    };
    let files = format!("{work}/files");
    let memory = json!({ "MEMORY_FILE_PATH": format!("{work}/memory.json") });
    let fixture = project("tests/conformance/fixture/fixture.py");
    let entries = json!({
        "fixture": { "type": "http", "url": urls[0] },
        "fixture-stdio": { "command": installed.python(), "args": [fixture, "--stdio"] },
        "fixture-legacy": { "type": "http", "url": urls[1], "protocol": "legacy" },
        "everything": npm("mcp-server-everything", &[], json!({})),
        "filesystem": npm("mcp-server-filesystem", &[&files], json!({})),
        "memory": npm("mcp-server-memory", &[], memory),
        "time": { "command": installed.py_server("mcp-server-time"), "args": [] },
        "git": { "command": installed.py_server("mcp-server-git"), "args": [],
            "sandbox": { "write": [format!("{work}/repo")] } },
    });
    match entries {
        Value::Object(entries) => entries,
        _ => Map::new(),
    }
}

/// How a client starts a gateway of its own before one server, from the file of the other one.
fn piped(scratch: &Scratch, slug: &str) -> Value {
    let config = scratch.0.join("mcp.json");
    let args = json!(["stdio", "--config", config, "--server", slug]);
    let state = scratch.0.join("state of its own");
    json!({ "target": { "command": binary(), "args": args, "env": { "ONEMCP_STATE_DIR": state } } })
}

/// How a client speaks to that server without a gateway.
fn target(entry: &Value) -> Value {
    let members = ["url", "command", "args", "env"];
    let own: Map<String, Value> =
        members.iter().filter_map(|m| Some(((*m).to_owned(), entry.get(*m)?.clone()))).collect();
    json!({ "target": own })
}

/// The folder the servers work in, the same before every round; the folder itself stays, because
/// running servers hold it.
fn lay_out(work: &Path) {
    let script = r#"
        set -eu
        mkdir -p "$1/files" "$1/repo"; cd "$1"
        find files repo -mindepth 1 -delete; rm -f memory.json
        printf 'not really a png' > files/dot.png
        cd repo; git init -q -b main .
        git config user.name tour; git config user.email tour@example.com
        git config core.autocrlf false; git config commit.gpgsign false
        printf 'one\n' > README; git add README
        GIT_AUTHOR_DATE='2026-01-01T00:00:00Z' GIT_COMMITTER_DATE='2026-01-01T00:00:00Z' git commit -q -m first
        printf 'zwei\n' >> README
    "#;
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).arg(work);
    run(command, "", TOUR_LIMIT);
}
