//! One entry of a list: its bytes, what it is known by, and where an edit may become necessary.
//!
//! Which edits apply is a question of two revisions and of the endpoint; where they would go is
//! found once, when the list is read.

use super::merge::Target;
use super::param_header::{InvalidAnnotation, ParamHeaders, Survey};
use crate::mcp::{Era, ListKind, Revision};
use crate::wire::json::{JsonError, Kind, Member, Object, Span, Value};
use crate::wire::splice::{Splice, removals};
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;

/// A tool, prompt, resource or template as its upstream wrote it.
#[derive(Clone)]
pub struct Entry {
    /// The object's bytes, sharing one copy of the result they came in.
    pub raw: Bytes,
    /// The decoded name, URI or URI template.
    pub key: String,
    /// Where that value stands in `raw`, with its quotes.
    pub key_span: Span,
    /// Where `raw` stands in the result.
    pub(super) at: Span,
    tool: Option<Arc<Tool>>,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Entry({:?}, {} bytes)",
            crate::base::label::Label::new(&self.key),
            self.raw.len()
        )
    }
}

/// Where a list comes from, as far as its entries are judged and edited by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// The revision that it was read in.
    pub revision: Revision,
    /// Arguments of its tools are mirrored into headers on their way there, so that we are the
    /// client that has to leave invalid annotations out (MCP 2026-07-28 server/tools,
    /// "x-mcp-header": an annotation means nothing on any other transport).
    pub mirrors: bool,
}

impl Provenance {
    /// An upstream that is spoken to over HTTP.
    pub fn over_http(revision: Revision) -> Self {
        Self { revision, mirrors: revision.era() == Era::Modern }
    }

    /// An upstream on a line of its own.
    pub fn over_lines(revision: Revision) -> Self {
        Self { revision, mirrors: false }
    }
}

/// What only tools have; spans are relative to the tool's bytes.
#[derive(Debug, Default)]
struct Tool {
    headers: Option<Arc<ParamHeaders>>,
    fault: Option<InvalidAnnotation>,
    /// The `execution` members, which only the legacy era knows.
    execution: Vec<Span>,
    /// It can be called only as a task of 2025-11-25.
    needs_task: bool,
    /// The invalid `x-mcp-header` annotations.
    annotations: Vec<Span>,
    /// The `outputSchema` members.
    output_schema: Vec<Span>,
    /// The output schema is one that only the modern era allows.
    is_free: bool,
    /// Properties of the input schema that are `true` or `false` instead of a schema object, which
    /// only the modern era allows.
    input_flags: Vec<(Span, bool)>,
    /// The same of the output schema.
    output_flags: Vec<(Span, bool)>,
    /// The URIs of MCP Apps in `_meta`.
    apps: Vec<(Span, String)>,
}

/// Why an entry is shown to nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EntryError {
    /// Not an object.
    NotAnObject,
    /// The member it is known by is missing, or no text.
    NoKey(&'static str),
    /// The member it is known by occurs twice.
    TwoKeys(&'static str),
    /// An object of it has too many members.
    Json(JsonError),
}

impl fmt::Display for EntryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnObject => write!(f, "it is not an object"),
            Self::NoKey(key) => write!(f, "it has no {key} that is a text"),
            Self::TwoKeys(key) => write!(f, "its member {key} occurs twice"),
            Self::Json(error) => write!(f, "{error}"),
        }
    }
}

impl Entry {
    /// Whether it is a tool that says of itself that a second call changes nothing more: it only
    /// reads, or it is idempotent (`ToolAnnotations`). Hints are worth what their server is.
    pub fn is_idempotent(&self) -> bool {
        let object = Object::read(&self.raw, Span::whole(&self.raw)).ok();
        let annotations = object.filter(|object| object.duplicate(&self.raw).is_none());
        let annotations = annotations.and_then(|object| object.value(&self.raw, "annotations"));
        let Some(annotations) = annotations.filter(|_| self.tool.is_some()) else { return false };
        let hints = Object::read(&self.raw, annotations.span).ok();
        let says = |hints: &Object, hint: &str| {
            let mut said = hints.all(&self.raw, hint);
            said.next().is_some_and(|said| said.is_true(&self.raw)) && said.next().is_none()
        };
        hints.is_some_and(|hints| says(&hints, "readOnlyHint") || says(&hints, "idempotentHint"))
    }

    /// Reads the entry that is `value` of `result`.
    pub(super) fn read(kind: ListKind, result: &Bytes, value: Value) -> Result<Self, EntryError> {
        if value.kind != Kind::Object || value.span.end as usize > result.len() {
            return Err(EntryError::NotAnObject);
        }
        let raw = result.slice(value.span.range());
        let object = Object::read(&raw, Span::whole(&raw)).map_err(EntryError::Json)?;
        let mut keys = object.all(&raw, kind.key());
        let (key, more) = (keys.next(), keys.next());
        if more.is_some() {
            return Err(EntryError::TwoKeys(kind.key()));
        }
        let missing = EntryError::NoKey(kind.key());
        let key_value = key.ok_or(missing)?;
        let key = key_value.text(&raw).ok_or(missing)?.into_owned();
        let tool = match kind {
            ListKind::Tools => Some(Arc::new(Tool::read(&raw, &object).map_err(EntryError::Json)?)),
            _ => None,
        };
        drop(keys);
        Ok(Self { key, key_span: key_value.span, at: value.span, tool, raw })
    }

    /// The same entry in another result that holds the same bytes.
    pub(super) fn moved(self, result: &Bytes, at: Span) -> Self {
        let raw = result.get(at.range()).map_or(self.raw, |raw| result.slice_ref(raw));
        Self { raw, at, ..self }
    }

    /// Where a call of it goes.
    pub(super) fn target(&self, upstream: usize) -> Target {
        let name = self.raw.get(self.key_span.range()).unwrap_or_default();
        let headers = self.tool.as_ref().and_then(|tool| tool.headers.clone());
        Target { upstream, name: self.raw.slice_ref(name), headers }
    }

    /// Why the tool must not be offered. Where nothing is mirrored an invalid annotation means
    /// nothing, and is taken out for modern clients, who would have to leave the tool out.
    pub(super) fn fault(&self, from: Provenance) -> Option<InvalidAnnotation> {
        self.tool.as_ref().and_then(|tool| tool.fault).filter(|_| from.mirrors)
    }

    /// Whether a client of this revision could call it. A tool of a legacy source that runs only as
    /// a task (MCP 2025-11-25 basic/utilities/tasks, "Tool-Level Negotiation") would refuse every
    /// call of a client that has no tasks, or tasks of another kind.
    pub(super) fn is_callable(&self, from: Provenance, client: Revision) -> bool {
        let needs_task = self.tool.as_ref().is_some_and(|tool| tool.needs_task);
        !(needs_task && from.revision.era() == Era::Legacy && !client.has_tasks())
    }

    /// Writes down what a client of another revision must find changed; `shift` is where the
    /// entry stands in what is edited.
    pub(super) fn fit(&self, from: Provenance, client: Revision, shift: u32, splice: &mut Splice) {
        let Some(tool) = self.tool.as_deref() else { return };
        let removed: [&[Span]; 2] = match client.era() {
            Era::Legacy if client < from.revision => {
                return tool.downgrade(client, shift, splice);
            }
            Era::Legacy => return,
            Era::Modern => [
                if from.revision.era() == Era::Legacy { &tool.execution } else { &[] },
                if from.mirrors { &[] } else { &tool.annotations },
            ],
        };
        removed.concat().into_iter().for_each(|span| splice.remove(span.shifted(shift)));
    }

    /// The URIs of MCP Apps that it names, and where.
    pub(super) fn apps(&self) -> impl Iterator<Item = (Span, &str)> {
        let apps = self.tool.as_ref().map_or(&[][..], |tool| &tool.apps);
        apps.iter().map(|(span, uri)| (*span, uri.as_str()))
    }
}

impl Tool {
    fn read(raw: &[u8], object: &Object) -> Result<Self, JsonError> {
        let schemas: Vec<Span> = object.all(raw, "inputSchema").map(|value| value.span).collect();
        let survey = Survey::of(raw, &schemas)?;
        let (mut is_free, mut output_flags) = (false, Vec::new());
        for value in object.all(raw, "outputSchema") {
            is_free |= !is_object_schema(raw, value)?;
            output_flags.extend(flags(raw, value)?);
        }
        let mut input_flags = Vec::new();
        for value in object.all(raw, "inputSchema") {
            input_flags.extend(flags(raw, value)?);
        }
        Ok(Self {
            headers: survey.headers.map(Arc::new),
            fault: survey.fault,
            execution: members(raw, object, "execution"),
            needs_task: needs_task(raw, object)?,
            annotations: survey.removals,
            output_schema: members(raw, object, "outputSchema"),
            is_free,
            input_flags,
            output_flags,
            apps: apps(raw, object)?,
        })
    }
}

impl Tool {
    /// Leaves what a legacy client of this revision has a form for.
    fn downgrade(&self, client: Revision, shift: u32, splice: &mut Splice) {
        let is_unknown = !client.has_structured_content() || self.is_free;
        if is_unknown {
            self.output_schema.iter().for_each(|span| splice.remove(span.shifted(shift)));
        }
        let output: &[(Span, bool)] = if is_unknown { &[] } else { &self.output_flags };
        for (span, allows) in self.input_flags.iter().chain(output) {
            let schema: &[u8] = if *allows { b"{}" } else { b"{\"not\":{}}" };
            splice.replace(span.shifted(shift), schema);
        }
    }
}

/// Whether any `execution.taskSupport` is `required`.
fn needs_task(raw: &[u8], tool: &Object) -> Result<bool, JsonError> {
    for execution in tool.all(raw, "execution").filter(|value| value.kind == Kind::Object) {
        let execution = Object::read(raw, execution.span)?;
        let mut support = execution.all(raw, "taskSupport");
        if support.any(|value| value.text(raw).as_deref() == Some("required")) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a schema is one of objects, the only output schema that the legacy era knows.
fn is_object_schema(raw: &[u8], schema: Value) -> Result<bool, JsonError> {
    if schema.kind != Kind::Object {
        return Ok(false);
    }
    let schema = Object::read(raw, schema.span)?;
    let mut types = schema.all(raw, "type");
    Ok(types.next().is_some_and(|first| first.text(raw).as_deref() == Some("object"))
        && types.next().is_none())
}

/// The properties of a schema that are no objects: a client of the legacy era that checks what it
/// reads refuses the whole list for one (MCP 2025-11-25 schema, `Tool.inputSchema.properties`).
fn flags(raw: &[u8], schema: Value) -> Result<Vec<(Span, bool)>, JsonError> {
    let mut found = Vec::new();
    if schema.kind != Kind::Object {
        return Ok(found);
    }
    let schema = Object::read(raw, schema.span)?;
    for properties in schema.all(raw, "properties").filter(|value| value.kind == Kind::Object) {
        let properties = Object::read(raw, properties.span)?;
        let values = properties.members.iter().map(|member| member.value);
        let values = values.filter(|value| value.kind == Kind::Bool);
        found.extend(values.map(|value| (value.span, value.is_true(raw))));
    }
    Ok(found)
}

/// What to take out to be without the members of this key.
fn members(raw: &[u8], object: &Object, key: &str) -> Vec<Span> {
    let items: Vec<Span> = object.members.iter().map(Member::span).collect();
    let gone: Vec<u32> = object.all(raw, key).map(|value| value.span.end).collect();
    removals(&items, |at| items.get(at).is_none_or(|item| !gone.contains(&item.end)))
}

/// MCP Apps, both forms: `_meta.ui.resourceUri`, and the older `_meta["ui/resourceUri"]`.
fn apps(raw: &[u8], tool: &Object) -> Result<Vec<(Span, String)>, JsonError> {
    let mut found = Vec::new();
    let mut note = |value: Value| {
        let uri = value.text(raw).map(|uri| uri.into_owned());
        let is_app = |uri: &String| uri.get(..5).is_some_and(|s| s.eq_ignore_ascii_case("ui://"));
        found.extend(uri.filter(is_app).map(|uri| (value.span, uri)));
    };
    let is_object = |value: &Value| value.kind == Kind::Object;
    for meta in tool.all(raw, "_meta").filter(is_object) {
        let meta = Object::read(raw, meta.span)?;
        meta.all(raw, "ui/resourceUri").for_each(&mut note);
        for ui in meta.all(raw, "ui").filter(is_object) {
            Object::read(raw, ui.span)?.all(raw, "resourceUri").for_each(&mut note);
        }
    }
    Ok(found)
}
