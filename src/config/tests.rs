//! Whole files through [`parse`] and [`resolve`], as the caller does it.

use std::time::Duration;

use super::*;

fn environment() -> Environment {
    let variables = [("API_KEY", "s3cret"), ("HOME", "/home/u"), ("DB_URL", "pg://s3cret")];
    Environment {
        variables: variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        folder: Some("/work/project".to_owned()),
        ..Environment::default()
    }
}

fn resolved(text: &str) -> Resolved {
    resolve(&parse(text.as_bytes()).file, &environment())
}

fn lines(resolved: &Resolved) -> Vec<String> {
    resolved.faults.iter().map(ToString::to_string).collect()
}

fn faults(text: &str) -> Vec<String> {
    lines(&resolved(text))
}

fn config(resolved: &Resolved) -> &Config {
    resolved.config.as_ref().expect("a usable file")
}

/// A file that must have no faults.
fn clean(text: &str) -> Config {
    let resolved = resolved(text);
    assert_eq!(lines(&resolved), Vec::<String>::new());
    resolved.config.expect("a usable file")
}

fn entry<'a>(config: &'a Config, key: &str) -> &'a Entry {
    config.entries.iter().find(|entry| entry.key == key).expect(key)
}

fn stdio<'a>(config: &'a Config, key: &str) -> &'a Stdio {
    match &entry(config, key).transport {
        Transport::Stdio(stdio) => stdio,
        other => unreachable!("{key} is {other:?}"),
    }
}

fn http<'a>(config: &'a Config, key: &str) -> &'a Http {
    match &entry(config, key).transport {
        Transport::Http(http) => http,
        other => unreachable!("{key} is {other:?}"),
    }
}

fn env(stdio: &Stdio) -> Vec<(&str, Option<&str>)> {
    stdio
        .env
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_ref().map(SecretText::expose)))
        .collect()
}

fn one(entry: &str) -> String {
    format!("{{\"mcpServers\": {{\"a\": {entry}}}}}")
}

// ---- the formats, each a file as its program writes it ----

#[test]
fn claude_desktop() {
    let config = clean(include_str!("../../tests/fixtures/config/claude-desktop.json"));
    assert_eq!(
        stdio(&config, "filesystem").args,
        ["-y", "@modelcontextprotocol/server-filesystem", "/Users/username/Desktop", "${literal}"]
    );
    assert_eq!(env(stdio(&config, "brave-search")), [("BRAVE_API_KEY", Some("YOUR_API_KEY_HERE"))]);
}

#[test]
fn claude_code() {
    let resolved = resolved(include_str!("../../tests/fixtures/config/claude-code.json"));
    assert_eq!(
        lines(&resolved),
        [
            "17:7 /mcpServers/issues/oauth: `oauth` is not supported yet and is ignored",
            "18:7 /mcpServers/issues/headersHelper: `headersHelper`: it would run a command and is refused",
            "20:25 /mcpServers/legacy/type: upstreams of type \"sse\" are not supported yet",
        ]
    );
    let config = config(&resolved);
    let api = http(config, "api-server");
    assert_eq!(api.urls.first().map(|url| (url.port(), url.target())), Some((8931, "/mcp")));
    let header = api.headers.first().map(|(name, value)| (name.as_str(), value.expose()));
    assert_eq!(header, Some(("authorization", "Bearer s3cret")));
    assert_eq!(entry(config, "api-server").timeouts.total, Duration::from_secs(600));
    let database = stdio(config, "database");
    assert_eq!(database.command, "/home/u/bin/db-server");
    assert_eq!(database.args, ["--config", "/etc/db.json"]);
    assert_eq!(env(database), [("DB_URL", Some("pg://s3cret"))]);
    assert_eq!(config.rejected, [RejectedEntry { key: "legacy".to_owned(), position: 3 }]);
}

#[test]
fn cursor() {
    let parsed = parse(include_bytes!("../../tests/fixtures/config/cursor.json"));
    let mut environment = environment();
    let path = "/work/project/.env".to_owned();
    assert_eq!(parsed.file.files(&environment), [path.clone()].into());
    assert!(parsed.file.variables().contains("API_KEY"));
    environment.files.insert(path, Ok("TOKEN=file\nexport OTHER='x y'\n".to_owned()));
    let resolved = resolve(&parsed.file, &environment);
    assert_eq!(
        lines(&resolved),
        ["13:7 /mcpServers/remote/auth: `auth` is not supported yet and is ignored"]
    );
    let local = stdio(config(&resolved), "local");
    assert_eq!(local.command, "/work/project/run");
    assert_eq!(local.args, ["--home", "/home/u", "--project", "project"]);
    assert_eq!(
        env(local),
        [("TOKEN", Some("file")), ("OTHER", Some("x y")), ("TOKEN", Some("s3cret"))]
    );
    let child = child_environment(local, &environment.variables);
    let token = child.iter().find(|(name, _)| name == "TOKEN").map(|(_, value)| value.expose());
    assert_eq!(token, Some("s3cret"));
}

#[test]
fn vs_code() {
    let parsed = parse(include_bytes!("../../tests/fixtures/config/vscode.json"));
    let mut environment = environment();
    environment.variables.insert("MCP_INPUT_API_KEY".to_owned(), "s3cret".to_owned());
    let resolved = resolve(&parsed.file, &environment);
    assert_eq!(
        lines(&resolved),
        [
            "17:53 /servers/unanswered/env/KEY: the input needs the variable `MCP_INPUT_OTHER`, which is not set"
        ]
    );
    let env = env(stdio(config(&resolved), "perplexity"));
    assert_eq!(env, [("KEY", Some("s3cret")), ("PORT", Some("3000")), ("TERM", None)]);
}

#[test]
fn vs_code_settings_with_other_keys() {
    let text = include_str!("../../tests/fixtures/config/settings.json");
    assert_eq!(stdio(&clean(text), "one").command, "one");
    assert_eq!(parse(text.as_bytes()).file.ignored_keys(), ["editor.fontSize"]);
}

#[test]
fn one_mcp() {
    let resolved = resolved(include_str!("../../tests/fixtures/config/1mcp.json"));
    assert_eq!(
        lines(&resolved),
        [
            "10:38 /mcpServers/worker/env/2: no variable of this name is set; nothing is inherited",
            "22:78 /mcpServers/web2/toolDescriptionOverrides: `toolDescriptionOverrides` is not supported yet and is ignored",
            "24:3 /mcpTemplates: `mcpTemplates`: templates per client are not supported; it is skipped",
        ]
    );
    let config = config(&resolved);
    let worker = stdio(config, "worker");
    assert_eq!(worker.args, ["/home/u/server.js", "s3cret", "pa$word"]);
    assert_eq!(worker.cwd.as_deref(), Some(std::path::Path::new("/work/project/sub")));
    assert_eq!(
        env(worker),
        [
            ("SHARED", Some("1")),
            ("MODE", Some("default")),
            ("MODE", Some("own")),
            ("API_KEY", Some("s3cret")),
        ]
    );
    assert!(worker.inherit_all && worker.filter.len() == 3);
    let worker = entry(config, "worker");
    assert_eq!(worker.timeouts.start, Duration::from_secs(5));
    assert_eq!(worker.timeouts.idle, Duration::from_secs(30));
    assert_eq!(worker.restart, Restart { max: 3, delay: Duration::from_millis(250) });
    assert_eq!(worker.tags, ["a", "b"]);
    assert!(!worker.allows_tool("rm") && worker.allows_tool("ls"));
    assert!(!entry(config, "web").enabled);
    assert_eq!(entry(config, "web2").tags, ["all"]);
}

// ---- our own file ----

#[test]
fn an_empty_object_gives_safe_defaults() {
    let resolved = resolved("{}");
    assert_eq!(lines(&resolved), ["1:1: no `mcpServers`: there is nothing to serve"]);
    let config = config(&resolved);
    assert_eq!(config, &Config::default());
    assert_eq!(config.gateway.listen, [parse_listen("127.0.0.1:3050").expect("an address")]);
    assert_eq!(config.gateway.auth_mode, AuthMode::OAuth);
    assert!(config.gateway.is_loopback());
    assert_eq!(config.gateway.limits.message_bytes, 16 * 1024 * 1024);
}

#[test]
fn our_settings_are_read() {
    let config = clean(
        r#"{"gateway": {
            "listen": ["localhost:4000", "0.0.0.0:4001"], "allowedHosts": ["MCP.example.com"],
            "allowedOrigins": ["https://a.example"], "naming": {"separator": "-"},
            "auth": {"mode": "dangerously-disabled", "users": [], "keys": []},
            "limits": {"messageBytes": 1048576, "inFlight": 8}, "timeouts": {"listMs": 5000, "drainMs": "3s"},
            "views": {}, "tls": {}, "log": {"level": "debug", "format": "json"} },
          "mcpServers": {
            "a": {"type": "builtin", "protocol": "modern", "enabledTools": ["x"],
                  "timeouts": {"startMs": "2s"}, "restart": {"max": 0}, "retry": {"idempotentTools": true},
                  "isolation": "session", "lanes": {"max": 3}},
            "b": {"url": ["http://127.0.0.1:1/", "http://[::1]:2/mcp"]}}}"#,
    );
    let gateway = &config.gateway;
    assert_eq!(gateway.listen.len(), 2);
    assert!(!gateway.is_loopback());
    assert_eq!(gateway.drain, Duration::from_secs(3));
    assert_eq!(gateway.allowed_hosts, ["mcp.example.com"]);
    assert_eq!(gateway.allowed_origins, ["https://a.example"]);
    assert_eq!(
        (gateway.separator.as_str(), gateway.auth_mode),
        ("-", AuthMode::DangerouslyDisabled)
    );
    assert_eq!((gateway.limits.message_bytes, gateway.limits.in_flight), (1_048_576, 8));
    assert_eq!(gateway.log, LogSettings { level: LogLevel::Debug, format: LogFormat::Json });
    let a = entry(&config, "a");
    assert_eq!((&a.transport, a.protocol), (&Transport::Builtin, ProtocolPin::Modern));
    assert_eq!(a.timeouts.start, Duration::from_secs(2));
    assert_eq!(a.timeouts.list, Duration::from_secs(5));
    assert_eq!(a.restart.max, 0);
    assert_eq!((a.isolation, a.lanes.max), (Isolation::Session, 3));
    assert_eq!(a.lanes.idle, LaneSettings::default().idle);
    assert!(a.allows_tool("x") && !a.allows_tool("y"));
    assert_eq!(http(&config, "b").urls.len(), 2);
    assert!(a.repeats_idempotent_tools && !entry(&config, "b").repeats_idempotent_tools);
    assert_eq!(config.entries.iter().map(|entry| entry.position).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn plain_http_to_another_machine_is_allowed_by_a_dangerous_name_only() {
    let resolved =
        resolved(&one(r#"{"url": "http://10.0.0.1:2/", "dangerouslyAllowPlainHttp": true}"#));
    assert_eq!(
        lines(&resolved),
        [
            "1:30 /mcpServers/a/url: `dangerouslyAllowPlainHttp`: others can read and change the traffic"
        ]
    );
    assert_eq!(http(config(&resolved), "a").urls.len(), 1);
    assert_eq!(config(&self::resolved(&one(r#"{"url": "http://10.0.0.1:2/"}"#))).entries, []);
}

#[test]
fn what_does_not_exist_yet_is_a_warning() {
    let resolved = resolved(
        r#"{"mcpServers": {"a": {"command": "x", "replace": "stop-first", "pin": "warn"}},
 "gateway": {"tls": {"key": "x"}, "auth": {"users": ["u"]}}}"#,
    );
    assert_eq!(
        lines(&resolved),
        [
            "1:39 /mcpServers/a/replace: `replace` is not supported yet and is ignored",
            "1:64 /mcpServers/a/pin: `pin` is not supported yet and is ignored",
            "2:14 /gateway/tls: `tls` is not supported yet and is ignored",
            "2:44 /gateway/auth/users: `users` is not supported yet and is ignored",
        ]
    );
    assert_eq!(config(&resolved).entries.len(), 1);
}

// ---- faults ----

#[test]
fn every_mistake_of_a_file_is_reported_at_once() {
    let resolved = resolved(include_str!("../../tests/fixtures/config/ten-mistakes.json"));
    assert_eq!(
        lines(&resolved),
        [
            "3:43 /mcpServers/github/args: expected an array of strings, found a string",
            "4:17 /mcpServers/mistyped: expected `command` or `url`, found neither",
            "4:19 /mcpServers/mistyped/comand: unknown key `comand` is ignored (did you mean `command`?)",
            "5:38 /mcpServers/both/url: both `command` and `url`: say which with `type`",
            "6:46 /mcpServers/unset/env/T: the variable `NOT_SET` is not set",
            "7:5 /mcpServers/GitHub: its short name `github` is that of `github` already",
            "8:25 /mcpServers/remote/url/0: plain http to another machine can be read and changed on the way; `\"dangerouslyAllowPlainHttp\": true` allows it",
            "8:48 /mcpServers/remote/url/1: https upstreams are not supported yet",
            "9:22 /mcpServers/ours/url: the address is this gateway's own",
            "10:39 /mcpServers/héé/tags/0: expected a string, found a number",
            "10:47 /mcpServers/héé/tags/2: expected a string, found null",
            "14:15 /gateway/listen: expected an address and a port such as \"127.0.0.1:3050\", found another text",
            "15:30 /gateway/naming/separator: expected 1 to 8 of the characters A-Z a-z 0-9 _ -, found another text",
            "16:5 /gateway/limitz: unknown key `limitz` (did you mean `limits`?)",
            "17:23 /gateway/log/level: expected one of \"error\", \"warn\", \"info\", \"debug\", \"trace\", found \"inof\" (did you mean `info`?)",
            "18:23 /gateway/auth/mode: expected one of \"oauth\", \"dangerously-disabled\", found \"none\"",
            "19:17 /gateway/limits/messageByte: unknown limit `messageByte` (did you mean `messageBytes`?)",
            "19:47 /gateway/limits/sessions: expected a whole number from 1 to 1000000, found 0",
            "21:3 /gatway: unknown key `gatway` (did you mean `gateway`?)",
        ]
    );
    assert!(resolved.config.is_none());
    let first = resolved.faults.first().expect("a fault");
    assert_eq!(
        first.in_file("mcp.json").to_string(),
        "mcp.json:3:43 /mcpServers/github/args: expected an array of strings, found a string"
    );
    assert_eq!(first.scope, Scope::Entry("github".to_owned()));
    assert_eq!(
        (first.expected.as_deref(), first.found.as_deref()),
        (Some("an array of strings"), Some("a string"))
    );
}

#[test]
fn a_bad_entry_costs_itself_alone() {
    let text = include_str!("../../tests/fixtures/config/ten-mistakes.json");
    let entries = text.split("\"gateway\": {").next().expect("the entries");
    let resolved = resolved(&format!("{entries} \"gateway\": {{}} }}"));
    let config = config(&resolved);
    let keys: Vec<_> = config.entries.iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!(keys, ["good"]);
    assert_eq!(config.entries.first().map(|entry| entry.position), Some(8));
    let rejected: Vec<_> = config.rejected.iter().map(|entry| entry.position).collect();
    assert_eq!(rejected, [0, 1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn a_fault_outside_the_entries_costs_the_file() {
    for text in [
        "",
        "[]",
        "{",
        r#"{"mcpServers": []}"#,
        r#"{"mcpServers": {}, "mcpServers": {}}"#,
        r#"{"mcpServers": {}, "gateway": []}"#,
        r#"{"mcpServers": {}, "gateway": {"listen": []}}"#,
        r#"{"mcpServers": {}, "gateway": {"allowedHosts": ["*"]}}"#,
        r#"{"mcpServers": {}, "gateway": {"naming": {"separator": ""}}}"#,
        r#"{"mcpServers": {}, "gateway": {"naming": {"separator": "123456789"}}}"#,
        r#"{"mcpServers": {}, "serverDefaults": {"timeout": "soon"}}"#.replace("{}", r#"{"a": {"command": "x"}}"#).as_str(),
        r#"{"mcp_servers": {}}"#,
    ] {
        let resolved = resolved(text);
        assert!(resolved.config.is_none(), "{text}");
        assert!(resolved.faults.iter().any(|f| f.severity == Severity::Error && f.scope == Scope::File), "{text}");
    }
}

#[test]
fn a_default_is_reported_once_however_many_entries_have_it() {
    let text = r#"{"serverDefaults": {"timeout": 0},
 "mcpServers": {"a": {"command": "x"}, "b": {"command": "y"}}}"#;
    assert_eq!(faults(text).len(), 1);
}

#[test]
fn duplicate_keys_and_short_names() {
    let twice = resolved(r#"{"mcpServers": {"a": {"command": "x"}, "a": {"command": "y"}}}"#);
    assert_eq!(lines(&twice), ["1:40 /mcpServers/a: the key is here twice"]);
    assert_eq!(stdio(config(&twice), "a").command, "x");
    assert_eq!(config(&twice).rejected, [RejectedEntry { key: "a".to_owned(), position: 1 }]);

    let inside = resolved(
        r#"{"mcpServers": {"a": {"command": "x", "command": "y"}, "b": {"command": "z"}}}"#,
    );
    assert_eq!(lines(&inside), ["1:39 /mcpServers/a/command: the key is here twice"]);
    assert_eq!(config(&inside).entries.len(), 1);

    let empty = resolved(r#"{"mcpServers": {"日本": {"command": "x"}}}"#);
    assert_eq!(
        lines(&empty),
        ["1:17 /mcpServers/日本: the key has no letter a-z and no digit to make a short name of"]
    );
    assert_eq!(config(&empty).entries, []);
}

#[test]
fn the_first_entry_keeps_its_short_name_even_when_it_is_broken() {
    let resolved = resolved(r#"{"mcpServers": {"a b": {}, "a-b": {"command": "x"}}}"#);
    assert_eq!(config(&resolved).entries, []);
    assert_eq!(config(&resolved).rejected.len(), 2);
}

#[test]
fn mistakes_of_a_disabled_entry_are_warnings() {
    let resolved =
        resolved(&one(r#"{"command": "x", "disabled": true, "env": {"T": "${NOT_SET}"}}"#));
    assert!(resolved.faults.iter().all(|fault| fault.severity == Severity::Warning));
    assert_eq!(config(&resolved).entries.iter().map(|e| e.enabled).collect::<Vec<_>>(), [false]);
    assert_eq!(faults(&one(r#"{"command": "x", "enabled": true, "disabled": true}"#)).len(), 1);
}

#[test]
fn wrong_shapes_inside_an_entry() {
    for (text, fault) in [
        ("1", "1:22 /mcpServers/a: expected an object, found a number"),
        (r#"{"command": ""}"#, "1:34 /mcpServers/a/command: `command` is empty"),
        (r#"{"type": "stdio"}"#, "1:22 /mcpServers/a: `command` is missing"),
        (r#"{"type": "http"}"#, "1:22 /mcpServers/a: `url` is missing"),
        (
            r#"{"type": "htpp", "url": "x"}"#,
            "1:31 /mcpServers/a/type: expected one of \"stdio\", \"http\", \"sse\", \"builtin\", \"streamableHttp\", \"streamable-http\", found \"htpp\" (did you mean `http`?)",
        ),
        (r#"{"url": []}"#, "1:30 /mcpServers/a/url: expected 1 to 16 addresses, found 0"),
        (
            r#"{"url": "ftp://s3cret"}"#,
            "1:30 /mcpServers/a/url: expected an address that starts with http:// or https://",
        ),
        (
            r#"{"command": "x", "env": "A=1"}"#,
            "1:46 /mcpServers/a/env: expected an object, or an array of \"NAME=value\", found a string",
        ),
        (
            r#"{"command": "x", "env": {"A": true}}"#,
            "1:52 /mcpServers/a/env/A: expected a string or {\"file\": \"…\"}, found a boolean",
        ),
        (
            r#"{"command": "x", "env": {"ONEMCP_A": ""}}"#,
            "1:47 /mcpServers/a/env/ONEMCP_A: `ONEMCP_…` variables are the gateway's own",
        ),
        (
            r#"{"command": "x", "env": ["=1"]}"#,
            "1:47 /mcpServers/a/env/0: not a name that a variable can have",
        ),
        (
            r#"{"command": "x\u0000y"}"#,
            "1:34 /mcpServers/a/command: a NUL character is not possible here",
        ),
        (
            r#"{"type": "builtin", "timeouts": {"idleMs": -1}}"#,
            "1:65 /mcpServers/a/timeouts/idleMs: expected a time from 1 (millisecond) to \"168h\", found something else",
        ),
        (
            r#"{"url": "http://127.0.0.1:1/", "headers": {"A b": "x"}}"#,
            "1:65 /mcpServers/a/headers/A b: not a name that a header can have",
        ),
        (
            r#"{"url": "http://127.0.0.1:1/", "headers": {"A": "x\ny"}}"#,
            "1:70 /mcpServers/a/headers/A: a header value has visible ASCII, spaces and tabs only",
        ),
        (
            r#"{"url": "http://127.0.0.1:1/", "headers": {"A": "x", "a": "y"}}"#,
            "1:75 /mcpServers/a/headers/a: the header is here twice",
        ),
    ] {
        let resolved = resolved(&one(text));
        assert_eq!(lines(&resolved), [fault], "{text}");
        assert_eq!(config(&resolved).entries, [], "{text}");
    }
}

#[test]
fn headers_that_the_gateway_writes_are_left_out() {
    let text = one(
        r#"{"url": "http://127.0.0.1:1/", "headers": {"Accept": "*/*", "Mcp-Session-Id": "1", "X": "y"}}"#,
    );
    let resolved = resolved(&text);
    assert_eq!(resolved.faults.len(), 2);
    let names: Vec<_> =
        http(config(&resolved), "a").headers.iter().map(|(n, _)| n.as_str()).collect();
    assert_eq!(names, ["x"]);
}

#[test]
fn secrets_come_from_files() {
    let text = one(
        r#"{"url": "http://127.0.0.1:1/", "headers": {"X": {"file": "~/key"}, "Y": {"file": "/gone"}}}"#,
    );
    let parsed = parse(text.as_bytes());
    let mut environment = environment();
    let wanted = parsed.file.files(&environment);
    assert_eq!(wanted.iter().collect::<Vec<_>>(), ["/gone", "/home/u/key"]);
    environment.files.insert("/home/u/key".to_owned(), Ok("s3cret\r\n".to_owned()));
    environment.files.insert("/gone".to_owned(), Err("no such file".to_owned()));
    let resolved = resolve(&parsed.file, &environment);
    assert_eq!(
        lines(&resolved),
        ["1:103 /mcpServers/a/headers/Y/file: the file /gone cannot be used: no such file"]
    );
    environment.files.insert("/gone".to_owned(), Ok(String::new()));
    let resolved = resolve(&parsed.file, &environment);
    let values: Vec<_> =
        http(config(&resolved), "a").headers.iter().map(|(_, value)| value.expose()).collect();
    assert_eq!(values, ["s3cret", ""]);
}

#[test]
fn the_listen_flag_replaces_the_files_address_and_guards_against_itself() {
    let text = one(r#"{"url": "http://127.0.0.1:5000/mcp"}"#);
    let mut environment = environment();
    environment.listen = Some(vec![parse_listen("127.0.0.1:5000").expect("an address")]);
    let resolved = resolve(&parse(text.as_bytes()).file, &environment);
    assert_eq!(lines(&resolved), ["1:30 /mcpServers/a/url: the address is this gateway's own"]);
    assert_eq!(clean(&text).entries.len(), 1);
}

#[test]
fn nothing_printed_shows_a_secret() {
    for text in [
        include_str!("../../tests/fixtures/config/claude-code.json"),
        include_str!("../../tests/fixtures/config/cursor.json"),
        &one(r#"{"url": "http://u:s3cret@h/", "headers": {"A": "s3cret\n"}, "env": ["s3cret"]}"#),
        &one(r#"{"command": "x", "args": ["s3cret", 1], "env": {"A": s3cret}}"#),
        &one(r#"{"command": "x", "env": "s3cret", "timeout": "s3cret"}"#),
        "{\"gateway\": {\"listen\": \"s3cret\", \"allowedHosts\": [\"s3cret@\"]}}",
    ] {
        let parsed = parse(text.as_bytes());
        let resolved = resolve(&parsed.file, &environment());
        let shown = format!("{parsed:?} {resolved:?} {:?}", lines(&resolved));
        assert!(!shown.contains("s3cret"), "{shown}");
    }
}

#[test]
fn control_characters_in_keys_are_escaped() {
    let resolved =
        resolved("{\"mcpServers\": {\"a\": {\"command\": \"x\", \"\\u001b[31m\\u202e\": 1}}}");
    assert_eq!(
        lines(&resolved),
        ["1:39 /mcpServers/a/\\u{1b}[31m\\u{202e}: unknown key `\\u{1b}[31m\\u{202e}` is ignored"]
    );
}

#[test]
fn a_file_full_of_faults_is_read_quickly() {
    // Takes minutes if looking a place up walks over all its neighbours.
    let twice = "\"k\":1,".repeat(90_000);
    let resolved = resolved(&one(&format!("{{\"command\": \"x\", \"env\": {{{twice}}}}}")));
    assert_eq!(resolved.faults.len(), MAX_FAULTS + 1);
}

#[test]
fn faults_are_limited_and_counted() {
    let entries: Vec<String> = (0..300).map(|n| format!("\"e{n}\": {{}}")).collect();
    let resolved = resolved(&format!("{{\"mcpServers\": {{{}}}}}", entries.join(",")));
    assert_eq!(resolved.faults.len(), MAX_FAULTS + 1);
    let last = resolved.faults.last().expect("the count");
    assert_eq!(last.message, "200 more faults are not shown");
    assert_eq!(config(&resolved).rejected.len(), 300);
    let many: Vec<String> = (0..=MAX_ENTRIES).map(|n| format!("\"e{n}\": {{}}")).collect();
    let text = format!("{{\"mcpServers\": {{{}}}}}", many.join(","));
    assert_eq!(faults(&text), ["1:1: expected at most 512 entries, found 513"]);
}

// ---- the sandbox ----

fn sandbox(text: &str) -> Sandbox {
    let config = clean(&one(&format!("{{\"command\": \"x\", \"sandbox\": {text}}}")));
    (*stdio(&config, "a").sandbox).clone()
}

#[test]
fn a_sandbox_is_the_default_unless_its_entry_says_otherwise() {
    assert_eq!(*stdio(&clean(&one(r#"{"command": "x"}"#)), "a").sandbox, Sandbox::default());
    assert_eq!(sandbox("{}"), Sandbox::default());
    let off = sandbox(r#"{"profile": "dangerously-off"}"#);
    assert_eq!(off.profile, SandboxProfile::DangerouslyOff);
    let all = sandbox(
        r#"{"profile": "strict", "read": ["~/a", "b"], "write": ["/w"], "execute": ["/e"],
            "connect": [443, 0], "bind": [], "memoryMb": 512, "processes": 20, "files": 100,
            "fileSizeMb": 10, "cpuSeconds": 60, "user": "1001:100"}"#,
    );
    let expected = Sandbox {
        profile: SandboxProfile::Strict,
        read: vec!["/home/u/a".into(), "/work/project/b".into()],
        write: vec!["/w".into()],
        execute: vec!["/e".into()],
        connect: Some(vec![443, 0]),
        bind: Some(vec![]),
        memory_mb: 512,
        processes: 20,
        files: 100,
        file_size_mb: 10,
        cpu_seconds: Some(60),
        user: Some((1001, 100)),
    };
    assert_eq!(all, expected);
    assert_eq!(sandbox(r#"{"user": 7}"#).user, Some((7, 7)));
}

#[test]
fn every_fault_of_a_sandbox_costs_its_entry() {
    for (text, fault) in [
        ("true", "expected an object, found a boolean"),
        (r#"{"profil": "strict"}"#, "unknown key `profil` (did you mean `profile`?)"),
        (r#"{"profile": "off"}"#, "expected one of \"default\", \"strict\", \"dangerously-off\""),
        (r#"{"write": ["~"]}"#, "the whole home folder is never granted"),
        (r#"{"read": ["/home"]}"#, "the whole home folder is never granted"),
        (r#"{"read": ["/a/../home/u"]}"#, "`..` is not possible here"),
        (r#"{"read": "/a"}"#, "expected an array of strings"),
        (r#"{"connect": ["https"]}"#, "expected a whole number from 0 to 65535"),
        (r#"{"bind": 3000}"#, "expected an array of ports"),
        (r#"{"memoryMb": 1}"#, "expected a whole number from 16"),
        (r#"{"user": "root"}"#, "expected a user number other than 0"),
        (r#"{"user": 0}"#, "expected a user number other than 0"),
        (r#"{"profile": "dangerously-off", "read": ["/a"]}"#, "nothing else here has a meaning"),
    ] {
        let resolved = resolved(&one(&format!("{{\"command\": \"x\", \"sandbox\": {text}}}")));
        let said = lines(&resolved);
        assert!(said.len() == 1 && said[0].contains(fault), "{text}: {said:?}");
        assert!(said[0].contains("/mcpServers/a/sandbox"), "{said:?}");
        assert_eq!(config(&resolved).entries.len(), 0, "{text}: it is not served");
    }
    let remote = r#"{"url": "http://127.0.0.1:1/", "sandbox": {}}"#;
    assert!(faults(&one(remote))[0].contains("`sandbox` has no meaning without a process"));
}
