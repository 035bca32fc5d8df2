//! Which paths a server is given.
//!
//! An allow-list. What the entry's `sandbox` names is given or the server is not started; what is
//! found out here (the program's own folder, caches of its launcher, paths among its arguments) is
//! given unless it is too much: the home folder or one around it, keys, our own files. A folder
//! that is only read is given around our own files; one that is written is not given at all then,
//! because whoever writes our configuration is not held by it.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Component, Path, PathBuf};

use super::places;
use super::{Fault, MAX_LISTED, Policy, Subject};
use crate::config::SandboxProfile;
use crate::sys::command::resolve_command;

/// Most rules; more are left out, which only takes away.
const MAX_RULES: usize = 8192;
/// Most remarks kept.
const MAX_REMARKS: usize = 16;
/// How far up the folder of a project is looked for.
const MAX_UP: usize = 6;
/// How many interpreters of interpreters are followed.
const MAX_INTERPRETERS: usize = 4;
/// The longest first line of a script that is read (BINPRM_BUF_SIZE).
const FIRST_LINE: u64 = 256;

/// What is said of a path that only `sandbox` itself could name.
const NOT_IN_STRICT: &str = "named by its entry, not granted in the strict profile: \
     name it in `read`, `write` or `execute`";

/// What may be done below a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Execute,
    Write,
    /// Read, written, executed.
    All,
    /// Read and written, and told what devices are told.
    Device,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) path: PathBuf,
    pub(super) access: Access,
    /// The entry names it: it is given, or the server is not started.
    pub(super) named: bool,
}

/// The grants of one server.
#[derive(Debug, Default)]
pub(super) struct Grants {
    pub(super) rules: Vec<Grant>,
    pub(super) remarks: Vec<String>,
}

/// Collects the grants of a server.
///
/// # Errors
/// A path that its entry names and that is not to be given.
pub(super) fn collect(policy: &Policy, subject: &Subject<'_>) -> Result<Grants, Fault> {
    let mut survey = Survey::new(policy, subject);
    survey.system();
    survey.program(subject.file, MAX_INTERPRETERS);
    if let Some(scratch) = subject.scratch {
        survey.give(scratch, Access::All);
    }
    let strict = policy.rules.profile == SandboxProfile::Strict;
    if !strict {
        survey.home();
        survey.launcher();
    }
    survey.working_folder(strict);
    survey.entry(strict);
    survey.rules()?;
    Ok(survey.out)
}

struct Survey<'a> {
    policy: &'a Policy,
    subject: &'a Subject<'a>,
    /// Home folders, as written and as they are.
    homes: Vec<PathBuf>,
    protected: Vec<PathBuf>,
    out: Grants,
}

/// A path without links, with the path itself, unless that goes up again: it would seem to lie in
/// every folder that it only passes.
fn both(path: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let real = fs::canonicalize(path).ok().filter(|real| real != path);
    let written = Some(path.to_owned()).filter(|path| real.is_none() || !goes_up(path));
    [written, real].into_iter().flatten()
}

/// Whether a path goes up again somewhere, so that what it begins with says nothing of where it is.
fn goes_up(path: &Path) -> bool {
    path.components().any(|part| part == Component::ParentDir)
}

fn is_in(path: &Path, folders: &[&str]) -> bool {
    folders.iter().any(|folder| path.starts_with(folder))
}

fn ends_in(path: &Path, endings: &[&str]) -> bool {
    path.extension().and_then(OsStr::to_str).is_some_and(|ending| endings.contains(&ending))
}

impl<'a> Survey<'a> {
    fn new(policy: &'a Policy, subject: &'a Subject<'a>) -> Self {
        let own = subject.variable("HOME").map(PathBuf::from);
        let homes = [own, policy.home.clone()].into_iter().flatten();
        let homes = homes.filter(|home| home.is_absolute() && home != Path::new("/"));
        let homes = homes.flat_map(|home| both(&home)).collect();
        let protected = policy.protected.iter().flat_map(|path| both(path)).collect();
        Self { policy, subject, homes, protected, out: Grants::default() }
    }

    fn push(&mut self, path: PathBuf, access: Access, named: bool) {
        if self.out.rules.len() < MAX_RULES {
            self.out.rules.push(Grant { path, access, named });
        }
    }

    fn remark(&mut self, path: &Path, what: &str) {
        if self.out.remarks.len() < MAX_REMARKS {
            self.out.remarks.push(format!("{}: {what}", path.display()));
        }
    }

    fn give(&mut self, path: &Path, access: Access) {
        self.push(path.to_owned(), access, false);
    }

    /// Gives what is read or executed below a folder, around our own files.
    fn give_around(&mut self, path: &Path, access: Access, named: bool) {
        if self.protected.iter().any(|own| path.starts_with(own)) {
            return;
        }
        if !self.protected.iter().any(|own| own.starts_with(path)) {
            return self.push(path.to_owned(), access, named);
        }
        let Ok(children) = fs::read_dir(path) else { return };
        for child in children.flatten().take(MAX_RULES) {
            // A link leads to a place that is given for itself, or not.
            if child.file_type().is_ok_and(|kind| !kind.is_symlink()) {
                self.give_around(&child.path(), access, false);
            }
        }
    }

    // ---- what is too much ----

    /// Why a path is not given to somebody who did not ask for it by name.
    fn too_much(&self, path: &Path) -> Option<&'static str> {
        if goes_up(path) {
            return Some("it is written with `..`");
        }
        if let Some(why) = self.is_home(path) {
            return Some(why);
        }
        if places::BROAD.iter().any(|broad| path == Path::new(broad)) {
            return Some("a folder of the whole system");
        }
        let near = |secret: &Path| path.starts_with(secret) || secret.starts_with(path);
        let secret = |home: &PathBuf| places::SECRETS.iter().any(|name| near(&home.join(name)));
        if self.homes.iter().any(secret) {
            return Some("keys or passwords are kept there");
        }
        self.protected.iter().any(|own| near(own)).then_some("files of the gateway are there")
    }

    fn is_home(&self, path: &Path) -> Option<&'static str> {
        let home = self.homes.iter().any(|home| home.starts_with(path));
        let somebodys = path.parent().is_some_and(|up| up == Path::new("/home"));
        (home || somebodys).then_some("a whole home folder")
    }

    // ---- what is given ----

    fn system(&mut self) {
        for path in places::SYSTEM {
            self.give_around(Path::new(path), Access::Execute, false);
        }
        for path in places::READ {
            self.give_around(Path::new(path), Access::Read, false);
        }
        for path in places::DEVICES {
            self.give(Path::new(path), Access::Device);
        }
    }

    /// A program with what belongs to it: its installation or its project, and what interprets it.
    fn program(&mut self, file: &Path, interpreters: usize) {
        for file in both(file) {
            let root = self.root_of(&file);
            self.give_around(&root, Access::Execute, false);
            for packages in self.packages_above(&root) {
                self.give_around(&packages, Access::Execute, false);
            }
            // A virtual environment's interpreter is a link to another installation.
            if root.join("pyvenv.cfg").exists() && interpreters > 0 {
                let python = root.join("bin/python");
                self.program(&python, interpreters - 1);
            }
        }
        if interpreters == 0 {
            return;
        }
        for interpreter in self.interpreter(file).into_iter().flatten() {
            if !is_in(&interpreter, places::SYSTEM)
                || !both(&interpreter).any(|p| is_in(&p, places::SYSTEM))
            {
                self.program(&interpreter, interpreters - 1);
            }
        }
    }

    /// The folder that belongs to a program: its project, its installation, or what it lies in;
    /// the file itself if that is too much.
    fn root_of(&self, file: &Path) -> PathBuf {
        let fits = |folder: &&Path| self.is_ones_own(folder);
        let Some(folder) = file.parent().filter(fits) else { return file.to_owned() };
        let has =
            |folder: &Path, marks: &[&str]| marks.iter().any(|mark| folder.join(mark).exists());
        let mut above = folder.ancestors().take(MAX_UP).take_while(fits);
        let project = above.find(|folder| has(folder, places::MARKS));
        let binaries = ["bin", "sbin", "shims"].iter().any(|name| folder.ends_with(name));
        let prefix = folder.parent().filter(|_| binaries).filter(fits);
        let prefix = prefix.filter(|prefix| has(prefix, places::PREFIX_MARKS));
        project.or(prefix).unwrap_or(folder).to_owned()
    }

    /// Where Node looks for packages besides the project itself: in every folder above.
    fn packages_above(&self, root: &Path) -> Vec<PathBuf> {
        let above = root.ancestors().skip(1).take(MAX_UP).take_while(|up| self.is_ones_own(up));
        above.map(|up| up.join("node_modules")).filter(|packages| packages.is_dir()).collect()
    }

    /// Whether a folder can belong to one program: not the system's, a user's or everybody's.
    fn is_ones_own(&self, folder: &Path) -> bool {
        let near = |secret: PathBuf| folder.starts_with(&secret) || secret.starts_with(folder);
        let secret = |home: &PathBuf| places::SECRETS.iter().any(|name| near(home.join(name)));
        let shared = places::BROAD.iter().chain(places::EVERYBODYS);
        self.is_home(folder).is_none()
            && !goes_up(folder)
            && folder.components().count() > 2
            && !shared.into_iter().any(|each| folder == Path::new(each))
            && !self.homes.iter().any(secret)
    }

    /// What the first line of a script names, and what `env` finds for it.
    fn interpreter(&self, file: &Path) -> Option<[PathBuf; 2]> {
        let mut line = Vec::new();
        let file = fs::File::open(file).ok()?.take(FIRST_LINE);
        BufReader::new(file).read_until(b'\n', &mut line).ok()?;
        let line = std::str::from_utf8(line.strip_prefix(b"#!")?).ok()?;
        let mut words = line.split_ascii_whitespace();
        let first = PathBuf::from(words.next()?);
        let found = words.find(|word| !word.starts_with('-') && !word.contains('='));
        let path = self.subject.variable("PATH");
        let found = found.and_then(|name| resolve_command(OsStr::new(name), path, None).ok());
        Some([first.clone(), found.unwrap_or(first)])
    }

    /// What is installed for the user alone, and on the search path.
    fn home(&mut self) {
        self.give(Path::new(places::SHARED_MEMORY), Access::Write);
        for home in self.homes.clone() {
            for name in places::RUNTIMES {
                self.give_around(&home.join(name), Access::Execute, false);
            }
            for name in places::SETTINGS {
                self.give_around(&home.join(name), Access::Read, false);
            }
        }
        let path = self.subject.variable("PATH").unwrap_or_default().to_owned();
        for folder in std::env::split_paths(&path).filter(|folder| folder.is_absolute()) {
            if !is_in(&folder, places::SYSTEM) && folder.is_dir() {
                let root = self.root_of(&folder.join("program"));
                self.give_around(&root, Access::Execute, false);
            }
        }
        for name in places::CERTIFICATES {
            let path = self.subject.variable(name).map(PathBuf::from);
            if let Some(path) = path.filter(|path| self.too_much(path).is_none()) {
                self.give_around(&path, Access::Read, false);
            }
        }
    }

    /// The caches of what installs the server before it starts it. They are made, since a server
    /// may not make folders in the home folder.
    fn launcher(&mut self) {
        let words = self.launchers();
        let used = |l: &&places::Launcher| {
            l.names.iter().any(|name| words.contains(&OsString::from(name)))
        };
        for launcher in places::LAUNCHERS.iter().filter(used) {
            let set = launcher.variables.iter().filter_map(|name| self.subject.variable(name));
            let set: Vec<PathBuf> =
                set.map(PathBuf::from).filter(|path| path.is_absolute()).collect();
            let home = self.subject.variable("HOME").map(PathBuf::from);
            let below = home.iter().flat_map(|home| launcher.folders.iter().map(|f| home.join(f)));
            for folder in set.into_iter().chain(below) {
                // One that cannot be made cannot be given either: the launcher will say so. For
                // another user, nothing is made in root's name.
                if self.policy.rules.user.is_none() {
                    let _ = fs::create_dir_all(&folder);
                }
                if self.too_much(&folder).is_none() {
                    self.give(&folder, Access::All);
                }
            }
        }
    }

    /// The name of the command, and for one that starts another, all words of its arguments.
    fn launchers(&self) -> Vec<OsString> {
        let name = self.subject.command.file_name().unwrap_or_default().to_owned();
        let wraps = places::WRAPPERS.iter().any(|wrapper| name == *wrapper);
        let texts = self.subject.args.iter().filter(|_| wraps).filter_map(|arg| arg.to_str());
        let word = |c: char| !(c.is_alphanumeric() || c == '-');
        let words = texts.flat_map(|text| text.split(word)).map(OsString::from);
        [name].into_iter().chain(words).collect()
    }

    fn working_folder(&mut self, strict: bool) {
        let inherited = || std::env::current_dir().ok().filter(|_| !strict);
        let Some(folder) = self.subject.cwd.map(Path::to_owned).or_else(inherited) else { return };
        let folder = fs::canonicalize(&folder).unwrap_or(folder);
        self.scripts(&folder, strict);
        match self.too_much(&folder) {
            // What is inherited is an accident: nobody expects to write to "/" there.
            Some(why) if self.subject.cwd.is_some() => {
                self.remark(&folder, &format!("the working folder is not granted: {why}"));
            }
            Some(_) => {}
            None => self.give(&folder, Access::All),
        }
    }

    /// Programs among the arguments that are named from the working folder, as in `node server.js`:
    /// they are read even where the folder itself is not granted.
    fn scripts(&mut self, folder: &Path, strict: bool) {
        let args = self.subject.args.iter().map(Path::new).filter(|arg| arg.is_relative());
        for arg in args.filter(|arg| ends_in(arg, places::PROGRAMS)).take(MAX_LISTED) {
            let path = both(&folder.join(arg)).next().filter(|path| path.is_file());
            if let Some(path) = path {
                let is_given = path.starts_with(folder) && self.too_much(folder).is_none();
                if !(strict && is_given) {
                    self.script(&path, strict);
                }
            }
        }
    }

    /// A program that an argument names.
    fn script(&mut self, path: &Path, strict: bool) {
        if strict {
            return self.remark(path, NOT_IN_STRICT);
        }
        self.program(path, MAX_INTERPRETERS);
        self.remark(path, "its program");
    }

    /// What arguments and variables of the entry name.
    fn entry(&mut self, strict: bool) {
        for named in &self.policy.named {
            let path = Path::new(named);
            let Some(real) = self.meant_by(path) else { continue };
            if is_in(&real, places::SYSTEM) || is_in(&real, &["/proc", "/sys"]) {
                continue;
            }
            if real.is_file() && ends_in(&real, places::PROGRAMS) {
                self.script(path, strict);
            } else if strict {
                self.remark(path, NOT_IN_STRICT);
            } else {
                self.named(path, &real);
            }
        }
    }

    /// What an entry names and is not its program.
    fn named(&mut self, path: &Path, real: &Path) {
        if let Some(why) = self.too_much(real) {
            return self.remark(path, &format!("named by its entry, not granted: {why}"));
        }
        let access = match real {
            real if is_in(real, &["/etc"]) => Access::Read,
            real if is_in(real, &["/dev"]) => Access::Device,
            _ => Access::All,
        };
        self.give(real, access);
        self.remark(real, "granted, because its entry names it");
    }

    /// What has to be given for a path that an entry names: that path; for a file that is yet to
    /// be made, or a database, which keeps its journal beside it, the folder.
    fn meant_by(&self, path: &Path) -> Option<PathBuf> {
        let real = fs::canonicalize(path).ok();
        let alone =
            real.as_ref().is_some_and(|real| real.is_dir() || !ends_in(real, places::DATABASES));
        if alone {
            return real;
        }
        let folder = path.parent().and_then(|folder| fs::canonicalize(folder).ok());
        let fits = |folder: &PathBuf| {
            let everybodys = places::EVERYBODYS.iter().any(|each| folder == Path::new(each));
            !everybodys && self.too_much(folder).is_none()
        };
        folder.filter(fits).or(real)
    }

    /// What `sandbox` itself names.
    fn rules(&mut self) -> Result<(), Fault> {
        let rules = &self.policy.rules;
        let lists = [
            (&rules.read, Access::Read),
            (&rules.execute, Access::Execute),
            (&rules.write, Access::Write),
        ];
        for (path, access) in lists.into_iter().flat_map(|(l, a)| l.iter().map(move |p| (p, a))) {
            let fault = |why| Fault::Path(path.clone(), why);
            let real =
                fs::canonicalize(path).map_err(|_| fault("there is no such file or folder"))?;
            if self.is_home(&real).is_some() {
                return Err(fault("a whole home folder is never granted"));
            }
            let own = self.protected.iter().any(|own| real.starts_with(own));
            let around = self.protected.iter().any(|own| own.starts_with(&real));
            match access {
                _ if own => return Err(fault("files of the gateway are never granted")),
                Access::Write if around => {
                    return Err(fault(
                        "files of the gateway are there, so it is not granted for writing",
                    ));
                }
                Access::Write => self.push(real, access, true),
                _ => self.give_around(&real, access, !around),
            }
        }
        Ok(())
    }
}
