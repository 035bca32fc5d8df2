//! The content of a result: where resource URIs stand in it, and what a client's revision has no
//! form for.
//!
//! One pass over the bytes, and only over those of the member that holds content. URIs get the
//! slug of their upstream in every place of MCP server/tools, server/prompts and server/resources
//! that holds one, and nowhere else: text, structured content and icons are payload. A member that
//! occurs twice is edited each time, because readers differ in which one they take.

use crate::bridge::question;
use crate::mcp::{Method, Revision, Routing};
use crate::wire::json::{self, JsonError, Kind, Object, Scanner, Span, Value};
use crate::wire::splice::Splice;
use crate::wire::uri;
use memchr::{memchr, memmem};

/// A URI of the upstream as the clients of a shared endpoint see it; `None` where it stays.
///
/// # Errors
/// [`JsonError::LoneSurrogate`] for one that is not text: it could not be marked as its upstream's.
pub(super) fn marked(
    bytes: &[u8],
    slug: Option<&str>,
    uri: Value,
) -> Result<Option<String>, JsonError> {
    let (Some(slug), Kind::String) = (slug, uri.kind) else { return Ok(None) };
    let text = uri.text(bytes).ok_or(JsonError::LoneSurrogate)?;
    Ok(uri::wrap(slug, &text))
}

/// The walk over one result.
pub(super) struct Content<'a> {
    /// The message.
    pub(super) bytes: &'a [u8],
    /// The slug that URIs get, where several upstreams share the endpoint.
    pub(super) slug: Option<&'a str>,
    /// The revision that the client must find a form in.
    pub(super) client: Revision,
    /// The revision of the upstream: content is only ever downgraded from a later one.
    pub(super) upstream: Revision,
    /// Where the edits go.
    pub(super) splice: &'a mut Splice,
}

/// A block of content, with what its place in the result makes of it.
struct Block {
    object: Object,
    /// What stands under `resource`.
    embedded: Vec<Object>,
}

type Visit<'a> = fn(&mut Content<'a>, &mut Scanner<'_>) -> Result<Value, JsonError>;

impl<'a> Content<'a> {
    /// Edits the content of a method's result.
    ///
    /// # Errors
    /// For an object with too many members to be looked at, and for a URI that is not text.
    pub(super) fn result(&mut self, method: Method, result: &Object) -> Result<(), JsonError> {
        let (key, visit): (&str, Visit<'a>) = match method.route() {
            Routing::Tool => ("content", Self::block),
            Routing::Prompt => ("messages", Self::message),
            Routing::Resource => ("contents", Self::contents),
            Routing::Task => return self.task(method, result),
            _ => return Ok(()),
        };
        if !self.downgrades() && (self.slug.is_none() || !self.may_refer(method)) {
            return Ok(());
        }
        for value in result.all(self.bytes, key) {
            self.each(&mut Scanner::at(self.bytes, value.span)?, visit)?;
        }
        if method.route() == Routing::Tool {
            self.ui(result)?;
        }
        Ok(())
    }

    /// What came of a call that was a task: in the modern era a part of the task, as is what it
    /// asks for; before that a result of its own.
    fn task(&mut self, method: Method, result: &Object) -> Result<(), JsonError> {
        if method == Method::TasksResult {
            return self.result(Method::ToolsCall, result);
        }
        if let Some(slug) = self.slug {
            question::sign_requests(self.bytes, result, slug, self.splice)?;
        }
        for result in objects(self.bytes, result, "result") {
            self.result(Method::ToolsCall, &result?)?;
        }
        Ok(())
    }

    /// Whether there can be a URI in the content: every way to have one needs this word, which
    /// only an escape could hide. Nearly all results are done with this, without a second scan.
    fn may_refer(&self, method: Method) -> bool {
        let has = |what: &[u8]| memmem::find(self.bytes, what).is_some();
        let is_escaped = || memchr(b'\\', self.bytes).is_some() && has(b"\\u");
        method.route() == Routing::Resource || has(b"resource") || is_escaped()
    }

    /// Whether there can be content that this client has no form for.
    fn downgrades(&self) -> bool {
        self.client < self.upstream
            && !(self.client.has_audio() && self.client.has_resource_links())
    }

    /// Moves past a value; the objects in it, if it is an array, or itself are visited.
    fn each(&mut self, scanner: &mut Scanner<'_>, visit: Visit<'a>) -> Result<Value, JsonError> {
        match scanner.peek_kind()? {
            Kind::Object => visit(self, scanner),
            Kind::Array => {
                let span = scanner.array(|scanner| match scanner.peek_kind()? {
                    Kind::Object => visit(self, scanner).map(drop),
                    _ => scanner.value().map(drop),
                })?;
                Ok(Value::array(span))
            }
            _ => scanner.value(),
        }
    }

    /// A message of a prompt.
    fn message(&mut self, scanner: &mut Scanner<'_>) -> Result<Value, JsonError> {
        let bytes = self.bytes;
        let message = scanner.object(|scanner, key| {
            if json::key_is(bytes, key, "content") {
                return self.each(scanner, Self::block);
            }
            scanner.value()
        })?;
        Ok(whole(message.span))
    }

    /// What was read of a resource.
    fn contents(&mut self, scanner: &mut Scanner<'_>) -> Result<Value, JsonError> {
        let contents = scanner.object(|scanner, _| scanner.value())?;
        self.uris(&contents)?;
        Ok(whole(contents.span))
    }

    fn block(&mut self, scanner: &mut Scanner<'_>) -> Result<Value, JsonError> {
        let bytes = self.bytes;
        let mut embedded = Vec::new();
        let object = scanner.object(|scanner, key| {
            if json::key_is(bytes, key, "resource") && scanner.peek_kind()? == Kind::Object {
                let resource = scanner.object(|scanner, _| scanner.value())?;
                let value = whole(resource.span);
                embedded.push(resource);
                return Ok(value);
            }
            scanner.value()
        })?;
        let span = object.span;
        self.edit(&Block { object, embedded })?;
        Ok(whole(span))
    }

    fn edit(&mut self, block: &Block) -> Result<(), JsonError> {
        let is = |wanted| {
            let mut types = block.object.all(self.bytes, "type");
            types.any(|kind| kind.text(self.bytes).is_some_and(|text| text == wanted))
        };
        let (link, audio, embeds) = (is("resource_link"), is("audio"), is("resource"));
        let downgrades = self.downgrades();
        if link && downgrades && !self.client.has_resource_links() {
            return self.link_as_text(&block.object);
        }
        if audio && downgrades && !self.client.has_audio() {
            self.as_text(block.object.span, "[audio, which this client cannot play]");
            return Ok(());
        }
        let own = link.then_some(&block.object);
        let embedded = if embeds { block.embedded.as_slice() } else { &[] };
        own.into_iter().chain(embedded).try_for_each(|object| self.uris(object))
    }

    fn link_as_text(&mut self, link: &Object) -> Result<(), JsonError> {
        let uri = link.value(self.bytes, "uri");
        let text = match uri {
            Some(uri) => marked(self.bytes, self.slug, uri)?
                .or_else(|| uri.text(self.bytes).map(std::borrow::Cow::into_owned)),
            None => None,
        };
        self.as_text(link.span, &text.unwrap_or_default());
        Ok(())
    }

    fn as_text(&mut self, block: Span, text: &str) {
        let mut replacement = b"{\"type\":\"text\",\"text\":".to_vec();
        json::encode_string(text, &mut replacement);
        replacement.push(b'}');
        self.splice.replace(block, &replacement);
    }

    fn uris(&mut self, object: &Object) -> Result<(), JsonError> {
        object.all(self.bytes, "uri").try_for_each(|uri| self.mark(uri))
    }

    fn mark(&mut self, uri: Value) -> Result<(), JsonError> {
        if let Some(marked) = marked(self.bytes, self.slug, uri)? {
            self.splice.replace(uri.span, &json::string_token(&marked));
        }
        Ok(())
    }

    /// The resource that shows a result (MCP Apps), in both of its forms.
    fn ui(&mut self, result: &Object) -> Result<(), JsonError> {
        for meta in objects(self.bytes, result, "_meta") {
            let meta = meta?;
            for flat in meta.all(self.bytes, "ui/resourceUri") {
                self.mark(flat)?;
            }
            for ui in objects(self.bytes, &meta, "ui") {
                for uri in ui?.all(self.bytes, "resourceUri") {
                    self.mark(uri)?;
                }
            }
        }
        Ok(())
    }
}

/// The members with this key that are objects.
pub(super) fn objects<'a>(
    bytes: &'a [u8],
    object: &'a Object,
    key: &'a str,
) -> impl Iterator<Item = Result<Object, JsonError>> + 'a {
    let values = object.all(bytes, key).filter(|value| value.kind == Kind::Object);
    values.map(|value| Object::read(bytes, value.span))
}

fn whole(span: Span) -> Value {
    Value::object(span)
}
