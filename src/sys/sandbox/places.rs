//! Where things are on a Linux system: what programs need, and what none is given unasked.

/// Programs and what they load: read and executed by all.
pub(super) const SYSTEM: &[&str] = &[
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/opt",
    "/snap",
    "/nix/store",
    "/gnu/store",
    "/run/current-system",
    "/home/linuxbrew/.linuxbrew",
    "/etc/alternatives",
];

/// Settings of the system that a program without secrets needs, and what it looks at itself with.
/// Other processes' memory and environment are out of reach there (Landlock's ptrace rule).
pub(super) const READ: &[&str] = &[
    "/proc",
    "/sys/devices/system",
    "/sys/fs/cgroup",
    "/sys/kernel/mm",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/ld.so.preload",
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/hostname",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/protocols",
    "/etc/passwd",
    "/etc/group",
    "/etc/localtime",
    "/etc/timezone",
    "/etc/locale.conf",
    "/etc/os-release",
    "/etc/lsb-release",
    "/etc/debian_version",
    "/etc/redhat-release",
    "/etc/alpine-release",
    "/etc/mime.types",
    "/etc/fonts",
    "/etc/terminfo",
    "/etc/gitconfig",
    "/etc/npmrc",
    "/etc/pip.conf",
    "/etc/uv",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/ca-certificates",
    "/etc/pki",
    "/etc/crypto-policies",
    "/var/lib/ca-certificates",
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/run/NetworkManager/resolv.conf",
];

/// Devices without state.
pub(super) const DEVICES: &[&str] =
    &["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/// Shared memory with a name: what Python's multiprocessing counts with.
pub(super) const SHARED_MEMORY: &str = "/dev/shm";

/// Below the home folder: interpreters and installed programs, read and executed.
pub(super) const RUNTIMES: &[&str] = &[
    "bin",
    "go/bin",
    "n",
    ".n",
    ".nvm",
    ".volta",
    ".fnm",
    ".nodenv",
    ".npm-global",
    ".npm-packages",
    ".bun",
    ".deno",
    ".pyenv",
    ".rbenv",
    ".asdf",
    ".proto",
    ".rye",
    ".sdkman",
    ".dotnet",
    ".cargo/bin",
    ".nix-profile",
    "miniconda3",
    "miniforge3",
    "anaconda3",
    ".local/bin",
    ".local/lib",
    ".local/pipx",
    ".local/share/pipx",
    ".local/share/uv",
    ".local/share/fnm",
    ".local/share/mise",
    ".local/share/pnpm",
    ".local/state/fnm_multishells",
];

/// Below the home folder: settings of such programs that hold no passwords as a rule.
pub(super) const SETTINGS: &[&str] = &[
    ".gitconfig",
    ".config/git/config",
    ".config/git/ignore",
    ".config/git/attributes",
    ".config/mise",
    ".tool-versions",
];

/// A launcher that installs what it starts, the variables that name its cache, and where below
/// the home folder it writes.
pub(super) struct Launcher {
    pub(super) names: &'static [&'static str],
    pub(super) variables: &'static [&'static str],
    pub(super) folders: &'static [&'static str],
}

pub(super) const LAUNCHERS: &[Launcher] = &[
    Launcher {
        names: &["npx", "npm"],
        variables: &["npm_config_cache", "NPM_CONFIG_CACHE"],
        folders: &[".npm"],
    },
    Launcher {
        names: &["uvx", "uv"],
        variables: &["UV_CACHE_DIR"],
        folders: &[".cache/uv", ".local/share/uv"],
    },
    Launcher {
        names: &["pnpm", "pnpx"],
        variables: &[],
        folders: &[".local/share/pnpm", ".local/state/pnpm", ".cache/pnpm"],
    },
    Launcher { names: &["yarn"], variables: &[], folders: &[".yarn", ".cache/yarn"] },
    Launcher { names: &["bunx", "bun"], variables: &[], folders: &[".bun/install"] },
    Launcher { names: &["deno"], variables: &["DENO_DIR"], folders: &[".cache/deno"] },
    Launcher {
        names: &["pipx"],
        variables: &[],
        folders: &[".local/share/pipx", ".local/pipx", ".cache/pip"],
    },
];

/// Commands that start another one named in their arguments.
pub(super) const WRAPPERS: &[&str] = &[
    "sh", "bash", "dash", "zsh", "env", "mise", "asdf", "volta", "fnm", "nice", "timeout", "node",
];

/// Variables that name certificates of a company's network.
pub(super) const CERTIFICATES: &[&str] = &[
    "NODE_EXTRA_CA_CERTS",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
];

/// Below the home folder: never granted because an argument names it, nor a folder around it.
pub(super) const SECRETS: &[&str] = &[
    ".ssh",
    ".gnupg",
    ".aws",
    ".azure",
    ".kube",
    ".docker",
    ".config/gcloud",
    ".config/gh",
    ".config/git/credentials",
    ".config/1mcp",
    ".config/op",
    ".config/google-chrome",
    ".config/chromium",
    ".mozilla",
    ".thunderbird",
    ".password-store",
    ".local/share/keyrings",
    ".local/state/1mcp",
    ".netrc",
    ".npmrc",
    ".pypirc",
    ".git-credentials",
    ".vault-token",
    ".bash_history",
    ".zsh_history",
];

/// Too much for anybody who did not ask by name.
pub(super) const BROAD: &[&str] =
    &["/", "/home", "/root", "/Users", "/etc", "/var", "/run", "/proc", "/sys", "/dev", "/boot"];

/// Folders in which everybody writes: what lies beside a program there is not part of it.
pub(super) const EVERYBODYS: &[&str] = &["/tmp", "/var/tmp", "/dev/shm"];

/// What marks the folder of a project, for programs started from their source.
pub(super) const MARKS: &[&str] =
    &["package.json", "pyproject.toml", "setup.py", "deno.json", "node_modules", "pyvenv.cfg"];

/// What an installation has beside its `bin`.
pub(super) const PREFIX_MARKS: &[&str] = &["lib", "lib64", "libexec", "share"];

/// How a file that is a program ends.
pub(super) const PROGRAMS: &[&str] =
    &["js", "mjs", "cjs", "ts", "mts", "cts", "tsx", "py", "pyz", "sh", "rb", "jar", "php", "pl"];

/// How a file that is a database ends.
pub(super) const DATABASES: &[&str] = &["db", "db3", "sqlite", "sqlite3", "duckdb"];
