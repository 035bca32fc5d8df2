//! `--config`, `ONEMCP_CONFIG`, the user's folder, the system's: never the folder one is in, since a
//! repository could have brought a file that starts programs.

use crate::support::{FakeStdio, Scratch};
use serde_json::json;
use std::path::Path;
use std::process::Output;

fn check(cwd: &Path, environment: &[(&str, &str)]) -> Output {
    std::process::Command::new(env!("CARGO_BIN_EXE_1mcp"))
        .arg("check")
        .current_dir(cwd)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .expect("the binary was built")
}

fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

#[tokio::test]
async fn a_file_that_lies_about_is_not_found() {
    let (here, home) = (Scratch::new(), Scratch::new());
    let evil = FakeStdio::new(json!({}));
    let config = json!({ "mcpServers": { "evil": evil.entry() } }).to_string();
    std::fs::create_dir_all(here.path().join(".config/1mcp")).expect("writable");
    for name in ["mcp.json", ".mcp.json", "1mcp.json", "config.json", ".config/1mcp/mcp.json"] {
        std::fs::write(here.path().join(name), &config).expect("writable");
    }
    let empty = home.path().to_str().expect("UTF-8");
    for environment in [
        &[("HOME", empty)][..],
        &[("HOME", ".")],
        &[("HOME", "")],
        &[],
        &[("HOME", empty), ("XDG_CONFIG_HOME", ".config")],
        &[("HOME", empty), ("XDG_CONFIG_HOME", ".")],
    ] {
        let output = check(here.path(), environment);
        let text = printed(&output);
        assert!(!text.contains("evil"), "{environment:?}: {text}");
        if !Path::new("/etc/1mcp/mcp.json").exists() {
            assert_eq!(output.status.code(), Some(2), "{text}");
            assert!(text.contains("no configuration file: looked for"), "{text}");
            assert!(text.contains("/etc/1mcp/mcp.json"), "{text}");
        }
    }
    assert_eq!(evil.starts(), Vec::<u32>::new());
}

#[tokio::test]
async fn named_files_come_first_and_alone() {
    let (flag, variable, home) = (Scratch::new(), Scratch::new(), Scratch::new());
    let file = |name: &str| json!({ "mcpServers": { name: { "type": "builtin" } } }).to_string();
    flag.write("a.json", &file("by-flag"));
    variable.write("b.json", &file("by-variable"));
    std::fs::create_dir_all(home.path().join(".config/1mcp")).expect("writable");
    std::fs::write(home.path().join(".config/1mcp/mcp.json"), file("of-the-user"))
        .expect("writable");
    let (home_path, variable_path) = (home.path().to_str(), variable.path().join("b.json"));
    let home_path = ("HOME", home_path.expect("UTF-8"));
    let named = ("ONEMCP_CONFIG", variable_path.to_str().expect("UTF-8"));
    assert!(printed(&check(flag.path(), &[home_path])).contains("of-the-user"));
    let text = printed(&check(flag.path(), &[home_path, named]));
    assert!(text.contains("by-variable") && !text.contains("of-the-user"), "{text}");
    // a named file that is not there is an error, not a reason to look elsewhere
    let output = check(flag.path(), &[home_path, ("ONEMCP_CONFIG", "/no/such/file")]);
    assert_eq!(output.status.code(), Some(2));
    assert!(!printed(&output).contains("of-the-user"));
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_1mcp"))
        .args(["check", "--config", "a.json"])
        .current_dir(flag.path())
        .env_clear()
        .envs([home_path, named])
        .output()
        .expect("the binary was built");
    let text = printed(&output);
    assert!(
        text.contains("by-flag") && !text.contains("by-variable"),
        "named, it may be here: {text}"
    );
}

#[tokio::test]
async fn what_is_relative_starts_at_the_folder_of_the_file_however_it_is_named() {
    let scratch = Scratch::new();
    scratch.write("token.env", "TOKEN=x\n");
    let entry = json!({ "command": "x", "envFile": "token.env" });
    scratch.write("mcp.json", &json!({ "mcpServers": { "a": entry } }).to_string());
    let name = scratch.path().file_name().and_then(|name| name.to_str()).expect("UTF-8");
    for file in ["mcp.json".to_owned(), "./mcp.json".to_owned(), format!("../{name}/mcp.json")] {
        let output = check(scratch.path(), &[("ONEMCP_CONFIG", &file)]);
        assert_eq!(output.status.code(), Some(0), "{file}: {}", printed(&output));
    }
}
