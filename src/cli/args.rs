//! Arguments of the command line.

use std::ffi::OsString;
use std::path::PathBuf;

/// What `--help` prints.
pub(crate) const HELP: &str = "\
1mcp: many MCP servers behind one endpoint

Usage: 1mcp COMMAND [OPTIONS]

Commands:
  serve               run the gateway
  stdio               be the server of the client that has started us, on
                      standard input and output, and listen nowhere
  check               read the configuration file and report every fault in it
  tools               list the tools that clients see
  call NAME [JSON]    call a tool with arguments (a JSON object, default {})

Options:
  --config FILE       the configuration file; with it, tools and call start a
                      gateway of their own instead of asking a running one
  --server SLUG       stdio: this server alone, with its own names
  --listen ADDR:PORT  serve: listen here instead of where the file says
                      (repeatable)
  --url URL           tools, call: the endpoint to ask
                      (default http://127.0.0.1:3050/mcp)
  --json              tools, call: print the raw result
  -h, --help          print this
  -V, --version       print the version

Endpoints:
  /mcp                all servers as one, with tools named server__tool
  /mcp/SERVER         one server alone, with its own names

Without --config, serve, stdio and check read $ONEMCP_CONFIG, or
~/.config/1mcp/mcp.json (in $XDG_CONFIG_HOME, if set), or /etc/1mcp/mcp.json;
never a file of the current directory: a folder you have opened could have
brought it.

Exit codes: 0 done; 1 not done; 2 the command line or the file is wrong;
3 the tool reported an error.
";

/// A command line that was understood.
#[derive(Debug)]
pub(crate) enum Parsed {
    /// Print this and end.
    Print(String),
    /// Run this.
    Run(Command),
}

/// A command and its options.
#[derive(Debug)]
pub(crate) enum Command {
    /// `serve`
    Serve(ServeOptions),
    /// `stdio`
    Stdio(StdioOptions),
    /// `check`
    Check(Option<PathBuf>),
    /// `tools`
    Tools(Target),
    /// `call`
    Call(CallOptions),
}

/// Options of `serve`.
#[derive(Debug, Default)]
pub(crate) struct ServeOptions {
    pub(crate) config: Option<PathBuf>,
    pub(crate) listen: Vec<String>,
}

/// Options of `stdio`.
#[derive(Debug, Default)]
pub(crate) struct StdioOptions {
    pub(crate) config: Option<PathBuf>,
    /// The slug of the one server that is served.
    pub(crate) server: Option<String>,
}

/// Whom `tools` and `call` ask.
#[derive(Debug, Default)]
pub(crate) struct Target {
    pub(crate) config: Option<PathBuf>,
    pub(crate) url: Option<String>,
    pub(crate) json: bool,
}

/// Options of `call`.
#[derive(Debug)]
pub(crate) struct CallOptions {
    pub(crate) target: Target,
    pub(crate) name: String,
    pub(crate) arguments: String,
}

#[derive(Debug, Default)]
struct Raw {
    words: Vec<String>,
    config: Option<PathBuf>,
    listen: Vec<String>,
    server: Option<String>,
    url: Option<String>,
    json: bool,
}

/// Reads the arguments after the program's name.
pub(crate) fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Parsed, String> {
    use lexopt::Arg;
    let mut parser = lexopt::Parser::from_args(arguments);
    let mut raw = Raw::default();
    while let Some(argument) = parser.next().map_err(|e| e.to_string())? {
        match argument {
            Arg::Long("help") | Arg::Short('h') => return Ok(Parsed::Print(HELP.to_owned())),
            Arg::Long("version") | Arg::Short('V') => {
                return Ok(Parsed::Print(concat!("1mcp ", env!("CARGO_PKG_VERSION"), "\n").into()));
            }
            Arg::Long("config") => raw.config = Some(value(&mut parser)?.into()),
            Arg::Long("listen") => raw.listen.push(text(value(&mut parser)?)?),
            Arg::Long("server") => raw.server = Some(text(value(&mut parser)?)?),
            Arg::Long("url") => raw.url = Some(text(value(&mut parser)?)?),
            Arg::Long("json") => raw.json = true,
            Arg::Value(word) if raw.words.is_empty() && word == "help" => {
                return Ok(Parsed::Print(HELP.to_owned()));
            }
            Arg::Value(word) => raw.words.push(text(word)?),
            other => return Err(other.unexpected().to_string()),
        }
    }
    command(raw).map(Parsed::Run)
}

fn value(parser: &mut lexopt::Parser) -> Result<OsString, String> {
    parser.value().map_err(|e| e.to_string())
}

fn text(value: OsString) -> Result<String, String> {
    value.into_string().map_err(|_| "expected utf-8 on the command line".to_owned())
}

fn command(raw: Raw) -> Result<Command, String> {
    let Raw { words, config, listen, server, url, json } = raw;
    let mut words = words.into_iter();
    let name = words.next().ok_or("expected a command: serve, stdio, check, tools or call")?;
    let is_client = matches!(name.as_str(), "tools" | "call");
    refuse(!listen.is_empty() && name != "serve", "--listen", &name)?;
    refuse(server.is_some() && name != "stdio", "--server", &name)?;
    refuse(url.is_some() && !is_client, "--url", &name)?;
    refuse(json && !is_client, "--json", &name)?;
    if url.is_some() && config.is_some() {
        return Err("expected either --url or --config, not both".to_owned());
    }
    let target = Target { config: config.clone(), url, json };
    let command = match name.as_str() {
        "serve" => Command::Serve(ServeOptions { config, listen }),
        "stdio" => Command::Stdio(StdioOptions { config, server }),
        "check" => Command::Check(config),
        "tools" => Command::Tools(target),
        "call" => {
            let name = words.next().ok_or("expected: 1mcp call NAME [JSON]")?;
            let arguments = words.next().unwrap_or_else(|| "{}".to_owned());
            Command::Call(CallOptions { target, name, arguments })
        }
        other => {
            return Err(format!(
                "unknown command {other:?}: expected serve, stdio, check, tools or call"
            ));
        }
    };
    match words.next() {
        Some(extra) if extra.ends_with(".json") => {
            Err(format!("unexpected argument {extra:?}: did you mean --config {extra}?"))
        }
        Some(extra) => Err(format!("unexpected argument {extra:?}")),
        None => Ok(command),
    }
}

fn refuse(given: bool, option: &str, command: &str) -> Result<(), String> {
    if given { Err(format!("{option} does not go with {command}")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_line(line: &str) -> Result<Parsed, String> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn commands_and_their_options() {
        assert!(matches!(parse_line("--help"), Ok(Parsed::Print(text)) if text.contains("Usage")));
        assert!(matches!(
            parse_line("serve --config a.json --listen 127.0.0.1:0"),
            Ok(Parsed::Run(Command::Serve(ServeOptions { config: Some(_), listen }))) if listen.len() == 1
        ));
        assert!(matches!(
            parse_line("stdio --server x"),
            Ok(Parsed::Run(Command::Stdio(StdioOptions { config: None, server: Some(_) })))
        ));
        assert!(matches!(
            parse_line("call x {\"a\":1} --json"),
            Ok(Parsed::Run(Command::Call(options))) if options.target.json && options.name == "x"
        ));
    }

    #[test]
    fn mistakes_are_named() {
        for (line, part) in [
            ("", "expected a command"),
            ("server", "unknown command"),
            ("serve --confg x", "--confg"),
            ("serve --config", "--config"),
            ("serve --server x", "--server does not go with serve"),
            ("stdio --listen 127.0.0.1:0", "--listen does not go with stdio"),
            ("check --json", "--json does not go with check"),
            ("tools --url a --config b", "not both"),
            ("call", "NAME"),
            ("tools extra", "extra"),
        ] {
            let message = parse_line(line).expect_err(line);
            assert!(message.contains(part), "{line}: {message}");
        }
    }
}
