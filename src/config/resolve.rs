//! From bytes to a [`Config`]: [`parse`], gather what the file wants, [`resolve`].
//!
//! A fault inside an entry costs that entry alone; a fault outside the entries costs the file. All
//! faults of both steps are reported together. Nothing is read from the outside here.

use std::collections::{BTreeSet, HashMap};

use super::document::{Document, Member, Node, Value};
use super::entry::{Surroundings, read_entry};
use super::environment::Environment;
use super::fault::{Fault, Findings, Severity};
use super::formats::{self, Format, Layout};
use super::model::{Config, MAX_ENTRIES, RejectedEntry, Slug};
use super::{parse as reader, settings, substitute, transport};

/// A file that was read but not yet resolved. It may hold secrets: `Debug` shows kinds only.
#[derive(Debug, Clone)]
pub struct File {
    document: Document,
    findings: Findings,
}

/// What [`parse`] gives.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// The file, as far as it could be read.
    pub file: File,
    /// What is wrong with its syntax; [`resolve`] reports these again among its own.
    pub faults: Vec<Fault>,
}

/// What [`resolve`] gives.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// Absent if a fault outside the entries makes the file unusable.
    pub config: Option<Config>,
    /// Everything that is wrong with the file, by position.
    pub faults: Vec<Fault>,
}

/// Reads the bytes of a file.
pub fn parse(bytes: &[u8]) -> Parsed {
    let (mut document, findings) = reader::read(bytes);
    let root = formats::entry_root(&document);
    document.set_entry_root(root);
    let faults = findings.clone().into_faults(&document);
    Parsed { file: File { document, findings }, faults }
}

impl File {
    /// The tree, for whoever prints or merges files.
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// The dialect the file is written in; nothing if it is no object.
    pub fn format(&self) -> Option<Format> {
        self.layout().map(|layout| layout.format)
    }

    /// Top-level keys that belong to other programs, for the debug log.
    pub fn ignored_keys(&self) -> Vec<String> {
        self.layout().map(|layout| layout.ignored).unwrap_or_default()
    }

    /// The names of the variables that the file refers to.
    pub fn variables(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        let Some(layout) = self.layout() else { return names };
        for member in layout.defaults.iter().chain(layout.entries) {
            each_text(&member.node, &mut |text| {
                names.extend(substitute::wanted(text, layout.format));
            });
        }
        names
    }

    /// The files that the entries want (`envFile`, `{"file": …}`), as far as the variables allow to
    /// say; the caller reads at most [`super::MAX_REFERENCED_FILE_BYTES`] (and one) of each.
    pub fn files(&self, environment: &Environment) -> BTreeSet<String> {
        let mut wanted = Vec::new();
        let Some(layout) = self.layout() else { return BTreeSet::new() };
        // The defaults are members of every entry, so they are searched like one.
        file_members(layout.defaults, &mut wanted);
        for entry in layout.entries {
            file_members(entry.node.members(), &mut wanted);
        }
        let expand = |path| substitute::expand(path, layout.format, environment).ok();
        wanted.into_iter().filter_map(expand).map(|path| environment.absolute(&path)).collect()
    }

    fn layout(&self) -> Option<Layout<'_>> {
        formats::layout(self.document.root.as_ref()?, &mut Findings::default())
    }
}

/// Calls `with` for every string below a node.
fn each_text(node: &Node, with: &mut impl FnMut(&str)) {
    match &node.value {
        Value::String(text) => with(text),
        Value::Array(elements) => elements.iter().for_each(|element| each_text(element, with)),
        Value::Object(members) => members.iter().for_each(|member| each_text(&member.node, with)),
        Value::Invalid | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn file_members<'a>(members: &'a [Member], wanted: &mut Vec<&'a str>) {
    for member in members {
        match (member.key.as_str(), &member.node.value) {
            ("envFile", Value::String(path)) => wanted.push(path),
            ("env" | "headers", Value::Object(values)) => {
                wanted.extend(values.iter().filter_map(|v| transport::wanted_file(&v.node)));
            }
            _ => {}
        }
    }
}

/// Validates a file against what was gathered for it.
pub fn resolve(file: &File, environment: &Environment) -> Resolved {
    let mut findings = file.findings.clone();
    let config = resolve_into(file, environment, &mut findings);
    let outside = |finding: &super::fault::Finding| {
        finding.severity == Severity::Error && !file.document.in_entry(finding.at)
    };
    let usable = !findings.0.iter().any(outside);
    let faults = findings.into_faults(&file.document);
    Resolved { config: config.filter(|_| usable), faults }
}

fn resolve_into(file: &File, environment: &Environment, findings: &mut Findings) -> Option<Config> {
    let root = file.document.root.as_ref()?;
    let layout = formats::layout(root, findings)?;
    let (mut gateway, timeouts) = settings::read_gateway(layout.gateway, findings);
    if let Some(listen) = &environment.listen {
        gateway.listen.clone_from(listen);
    }
    let around = Surroundings {
        format: layout.format,
        defaults: layout.defaults,
        environment,
        listen: &gateway.listen,
        timeouts,
    };
    let mut config = Config { gateway: gateway.clone(), ..Config::default() };
    if layout.entries.len() > MAX_ENTRIES {
        let found = layout.entries.len().to_string();
        findings.expected(root.span.start, &format!("at most {MAX_ENTRIES} entries"), &found);
        return None;
    }
    let mut taken = HashMap::new();
    for (position, member) in layout.entries.iter().enumerate() {
        let (mut entry, mut own) = read_entry(member, position, &around);
        if !take_slug(member, &mut taken, &mut own) || broken_before(member, &file.findings) {
            entry = None;
        }
        findings.0.append(&mut own.0);
        match entry {
            Some(entry) => config.entries.push(entry),
            None => config.rejected.push(RejectedEntry { key: member.key.clone(), position }),
        }
    }
    Some(config)
}

/// The first entry has the slug, whether or not it can be used, so that repairing one entry never
/// takes the name from another.
fn take_slug<'a>(
    member: &'a Member,
    taken: &mut HashMap<Slug, &'a str>,
    findings: &mut Findings,
) -> bool {
    let Some(slug) = Slug::from_key(&member.key) else { return true };
    match taken.get(&slug) {
        None => {
            taken.insert(slug, &member.key);
            true
        }
        // The same key twice was reported when it was read.
        Some(first) if *first == member.key => false,
        Some(first) => {
            let message = format!("its short name `{slug}` is that of `{first}` already");
            findings.error(member.key_span.start, message);
            false
        }
    }
}

/// Whether reading the text already found an error inside this entry.
fn broken_before(member: &Member, findings: &Findings) -> bool {
    let range = member.node.span.start..member.node.span.end;
    findings.0.iter().any(|finding| range.contains(&finding.at))
}
