//! Questions as older clients understand them, and answers as older servers do: what MCP 2025-11-25
//! client/elicitation and client/sampling brought is said in the words of the revisions before, or
//! not at all. Nothing is left out silently.

use crate::bridge::question::Question;
use crate::mcp::{Era, Method, Revision};
use crate::wire::json::{self, Kind, Member, Object, Span, Value};
use crate::wire::splice::Splice;
use bytes::Bytes;

type Fit<T> = Result<T, &'static str>;

const UNREADABLE: &str = "the question cannot be read";
const CHOICES: &str = "its form offers choices that the client's protocol has no form for";
const BLOCKS: &str = "its messages hold content that the client's protocol has no form for";

/// The question for a client of this revision.
/// `context` says whether it has declared
/// `sampling.context`.
pub(super) fn question(
    question: Question,
    client: Revision,
    context: bool,
    id: &str,
) -> Fit<Question> {
    let Some(params) = &question.params else { return Ok(question) };
    let object = Object::read(params, Span::whole(params)).map_err(|_| UNREADABLE)?;
    let mut splice = Splice::new();
    match question.method {
        Method::Elicit if question.is_by_url() => {
            identify(params, &object, client, id, &mut splice)
        }
        Method::Elicit if !client.asks_in_full() => form(params, &object, &mut splice)?,
        Method::CreateMessage if !client.asks_in_full() => {
            messages(params, &object, client, &mut splice)?;
        }
        Method::CreateMessage if !context => no_context(params, &object, &mut splice),
        _ => {}
    }
    let params = if splice.is_empty() { params.clone() } else { splice.apply(params) };
    Ok(Question { params: Some(params), ..question })
}

/// The legacy era names every elicitation by URL; the modern one does not.
fn identify(params: &[u8], object: &Object, client: Revision, id: &str, splice: &mut Splice) {
    if client.era() == Era::Legacy && object.get(params, "elicitationId").is_none() {
        let member = [b"\"elicitationId\":".as_slice(), &json::string_token(id)].concat();
        splice.edit_members(object, &[], &[&member]);
    }
}

/// Since 2025-11-25 only who has declared `sampling.context` is asked to include any. A server may
/// not know who is behind a connection that says so for several; left out, it means `none`
/// (client/sampling, "Capabilities"). Revisions before have no such declaration.
fn no_context(params: &[u8], object: &Object, splice: &mut Splice) {
    let is_context = |member: &Member| json::key_is(params, member.key, "includeContext");
    let members = object.members.iter().enumerate();
    let found: Vec<usize> = members.filter(|(_, m)| is_context(m)).map(|(at, _)| at).collect();
    splice.edit_members(object, &found, &[]);
}

/// 2025-06-18 has forms only, so it does not say so, and one way to offer a choice.
fn form(params: &[u8], object: &Object, splice: &mut Splice) -> Fit<()> {
    let is_mode = |member: &Member| json::key_is(params, member.key, "mode");
    let members = object.members.iter().enumerate();
    let modes: Vec<usize> = members.filter(|(_, m)| is_mode(m)).map(|(at, _)| at).collect();
    splice.edit_members(object, &modes, &[]);
    let Some(schema) = object_at(params, object, "requestedSchema")? else { return Ok(()) };
    let Some(properties) = object_at(params, &schema, "properties")? else { return Ok(()) };
    for property in properties.members.iter().filter(|p| p.value.kind == Kind::Object) {
        let property = Object::read(params, property.value.span).map_err(|_| UNREADABLE)?;
        choice(params, &property, splice)?;
    }
    Ok(())
}

fn object_at(bytes: &[u8], object: &Object, key: &str) -> Fit<Option<Object>> {
    let value = object.value(bytes, key).filter(|value| value.kind == Kind::Object);
    value.map(|value| Object::read(bytes, value.span).map_err(|_| UNREADABLE)).transpose()
}

/// A choice with titles, in the words of 2025-06-18: `enum` and `enumNames`.
fn choice(bytes: &[u8], property: &Object, splice: &mut Splice) -> Fit<()> {
    if property.text(bytes, "type").is_some_and(|kind| kind == "array") {
        return Err(CHOICES); // of several
    }
    let is_titled = |member: &&Member| {
        ["oneOf", "anyOf"].iter().any(|name| json::key_is(bytes, member.key, name))
    };
    let mut titled = property.members.iter().filter(is_titled);
    let (Some(titled), another) = (titled.next(), titled.next()) else { return Ok(()) };
    if another.is_some() || property.get(bytes, "enum").is_some() {
        return Err(CHOICES); // several at once say what none of them says
    }
    let (mut values, mut names) = (Vec::new(), Vec::new());
    for option in json::elements(bytes, titled.value.span).map_err(|_| CHOICES)? {
        let option = Object::read(bytes, option.span).map_err(|_| CHOICES)?;
        let text = |key| option.value(bytes, key).filter(|value| value.kind == Kind::String);
        let value = text("const").ok_or(CHOICES)?;
        values.push(value.span.of(bytes));
        names.push(text("title").unwrap_or(value).span.of(bytes));
    }
    let (values, names) = (values.join(&b','), names.join(&b','));
    let parts = [b"\"enum\":[", values.as_slice(), b"],\"enumNames\":[", &names, b"]"];
    splice.replace(titled.span(), &parts.concat());
    Ok(())
}

/// Before 2025-11-25 a message holds one block: one with several becomes several of its role.
fn messages(params: &[u8], object: &Object, client: Revision, splice: &mut Splice) -> Fit<()> {
    let Some(messages) = object.value(params, "messages") else { return Ok(()) };
    for message in json::elements(params, messages.span).map_err(|_| UNREADABLE)? {
        let fields = Object::read(params, message.span).map_err(|_| UNREADABLE)?;
        match fields.value(params, "content") {
            Some(content) if content.kind == Kind::Array => {
                let blocks = json::elements(params, content.span).map_err(|_| UNREADABLE)?;
                let known = blocks.iter().all(|block| is_known(params, *block, client));
                if blocks.is_empty() || !known {
                    return Err(BLOCKS);
                }
                splice.replace(message.span, &split(params, message.span, content.span, &blocks));
            }
            Some(content) if !is_known(params, content, client) => return Err(BLOCKS),
            _ => {}
        }
    }
    Ok(())
}

/// One copy of a message for every block.
fn split(bytes: &[u8], message: Span, content: Span, blocks: &[Value]) -> Vec<u8> {
    let before = Span { start: message.start, end: content.start }.of(bytes);
    let after = Span { start: content.end, end: message.end }.of(bytes);
    let copies = blocks.iter().map(|block| [before, block.span.of(bytes), after].concat());
    copies.collect::<Vec<_>>().join(&b',')
}

/// Whether a revision before 2025-11-25 has this content in sampling.
fn is_known(bytes: &[u8], block: Value, client: Revision) -> bool {
    let object = Object::read(bytes, block.span).ok();
    match object.as_ref().and_then(|object| object.text(bytes, "type")).as_deref() {
        Some("text" | "image") => true,
        Some("audio") => client.has_audio(),
        _ => false,
    }
}

/// The result of a question for a server of this revision: before 2025-11-25 a sampled message
/// holds one block.
pub(super) fn answer(result: &Bytes, method: Method, upstream: Revision) -> Fit<Bytes> {
    const PARTS: &str = "the client's answer has parts that the server's protocol has no form for";
    if method != Method::CreateMessage || upstream.asks_in_full() {
        return Ok(result.clone());
    }
    let content = Object::read(result, Span::whole(result)).ok();
    let content = content.and_then(|object| object.value(result, "content"));
    let Some(content) = content.filter(|content| content.kind == Kind::Array) else {
        return Ok(result.clone());
    };
    let blocks = json::elements(result, content.span).map_err(|_| PARTS)?;
    let mut splice = Splice::new();
    match blocks.as_slice() {
        [one] => splice.replace(content.span, one.span.of(result)),
        several => splice.replace(content.span, &one_text(result, several).ok_or(PARTS)?),
    }
    Ok(splice.apply(result))
}

/// Several blocks of text as one, a line break between them.
fn one_text(bytes: &[u8], blocks: &[Value]) -> Option<Vec<u8>> {
    let mut texts = Vec::new();
    for block in blocks {
        let object = Object::read(bytes, block.span).ok()?;
        let text = object.value(bytes, "text").filter(|text| text.kind == Kind::String)?;
        (object.text(bytes, "type")? == "text").then_some(())?;
        texts.push(text.span.of(bytes).get(1..text.span.len().checked_sub(1)?)?);
    }
    let text = texts.join(b"\\n".as_slice());
    (!blocks.is_empty())
        .then(|| [b"{\"type\":\"text\",\"text\":\"", text.as_slice(), b"\"}"].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fitted(method: Method, params: &str, client: Revision) -> Result<String, &'static str> {
        let params = Some(Bytes::copy_from_slice(params.as_bytes()));
        let fitted = question(Question { method, params }, client, true, "id-1")?;
        let params = fitted.params.expect("parameters");
        Ok(String::from_utf8(params.to_vec()).expect("utf-8"))
    }

    #[test]
    fn who_knows_it_all_gets_it_as_it_is() {
        for (method, params) in [
            (
                Method::Elicit,
                r#"{ "mode":"form","requestedSchema":{"properties":{"a":{"oneOf":[]}}}}"#,
            ),
            (Method::Elicit, r#"{"mode":"url","elicitationId":"theirs","url":"x:y"}"#),
            (
                Method::CreateMessage,
                r#"{"messages":[{"content":[{"type":"tool_use"}]}],"tools":[]}"#,
            ),
        ] {
            for client in [Revision::V2025_11_25, Revision::MODERN] {
                assert_eq!(fitted(method, params, client).as_deref(), Ok(params));
            }
        }
    }

    #[test]
    fn an_elicitation_by_url_gets_the_id_that_the_legacy_era_demands() {
        let params = r#"{"mode":"url","url":"https:\/\/x"}"#;
        assert_eq!(
            fitted(Method::Elicit, params, Revision::V2025_11_25).as_deref(),
            Ok(r#"{"elicitationId":"id-1","mode":"url","url":"https:\/\/x"}"#)
        );
        assert_eq!(fitted(Method::Elicit, params, Revision::MODERN).as_deref(), Ok(params));
    }

    #[test]
    fn only_who_has_declared_it_is_asked_to_include_context() {
        let fitted = |client, context| {
            let raw = r#"{"messages":[], "includeContext" : "thisServer","maxTokens":1.0e1}"#;
            let params = Some(Bytes::from_static(raw.as_bytes()));
            let asked = Question { method: Method::CreateMessage, params };
            let fitted = question(asked, client, context, "").expect("it can be asked");
            String::from_utf8(fitted.params.expect("parameters").to_vec()).expect("utf-8")
        };
        let (with, without) = (
            r#"{"messages":[], "includeContext" : "thisServer","maxTokens":1.0e1}"#,
            r#"{"messages":[], "maxTokens":1.0e1}"#,
        );
        for client in [Revision::V2025_11_25, Revision::MODERN] {
            assert_eq!(fitted(client, true), with);
            assert_eq!(fitted(client, false), without);
        }
        assert_eq!(fitted(Revision::V2025_06_18, false), with, "it knows no such declaration");
    }

    #[test]
    fn choices_are_offered_in_the_words_of_2025_06_18() {
        let old = |params: &str| fitted(Method::Elicit, params, Revision::V2025_06_18);
        assert_eq!(
            old(r##"{"mode":"form","message":"m","requestedSchema":{"properties":{"c":{"type":"string","oneOf":[{"const":"#f\u0030","title":"Red"},{"const":"b"}],"default":"b"},"n":{"type":"number","minimum":1.0e0}}}}"##)
                .as_deref(),
            Ok(r##"{"message":"m","requestedSchema":{"properties":{"c":{"type":"string","enum":["#f\u0030","b"],"enumNames":["Red","b"],"default":"b"},"n":{"type":"number","minimum":1.0e0}}}}"##)
        );
        for choice in [
            r#"{"type":"array","items":{"type":"string","enum":["a"]}}"#,
            r#"{"type":"array","items":{"anyOf":[{"const":"a","title":"A"}]}}"#,
            r#"{"type":"string","oneOf":[{"title":"A"}]}"#,
            r#"{"type":"string","anyOf":7}"#,
            r#"{"type":"string","enum":["a"],"oneOf":[{"const":"b"}]}"#,
            r#"{"type":"string","anyOf":[{"const":"a"}],"oneOf":[{"const":"b"}]}"#,
        ] {
            let params = format!(r#"{{"requestedSchema":{{"properties":{{"c":{choice}}}}}}}"#);
            assert_eq!(old(&params), Err(CHOICES), "{choice}");
        }
    }

    #[test]
    fn a_message_of_several_blocks_becomes_several_messages() {
        let old = |params: &str| fitted(Method::CreateMessage, params, Revision::V2025_03_26);
        let text = r#"{"type":"text","text":"a"}"#;
        let audio = r#"{"type":"audio","data":""}"#;
        assert_eq!(
            old(&format!(
                r#"{{"messages":[{{"role":"user","content":[{text},{audio}],"x":1}},{{"content":{text}}},{{"content":[{text}]}}]}}"#
            )),
            Ok(format!(
                r#"{{"messages":[{{"role":"user","content":{text},"x":1}},{{"role":"user","content":{audio},"x":1}},{{"content":{text}}},{{"content":{text}}}]}}"#
            ))
        );
        for content in ["[]", r#"[{"type":"tool_result"}]"#, r#"{"type":"tool_use"}"#, "7"] {
            let params = format!(r#"{{"messages":[{{"content":{content}}}]}}"#);
            assert_eq!(old(&params), Err(BLOCKS), "{content}");
        }
        let params = format!(r#"{{"messages":[{{"content":{audio}}}]}}"#);
        let oldest = fitted(Method::CreateMessage, &params, Revision::V2024_11_05);
        assert_eq!(oldest, Err(BLOCKS));
    }

    #[test]
    fn an_answer_of_several_blocks_becomes_one() {
        let said = |content: &str, upstream| -> Result<String, &str> {
            let result = format!(r#"{{"content":{content},"model":"m","n":1.0e0}}"#);
            let fitted = answer(&Bytes::from(result), Method::CreateMessage, upstream)?;
            Ok(String::from_utf8(fitted.to_vec()).expect("utf-8"))
        };
        let whole = |content: &str| {
            Ok::<_, &str>(format!(r#"{{"content":{content},"model":"m","n":1.0e0}}"#))
        };
        let (one, old) = (r#"{"type":"image","data":""}"#, Revision::V2025_06_18);
        let list = format!("[{one}]");
        assert_eq!(said(&list, Revision::V2025_11_25), whole(&list));
        assert_eq!(said(&list, old), whole(one));
        assert_eq!(said(one, old), whole(one));
        let texts = r#"[{"type":"text","text":"a\u0062"},{"text":"","type":"text"}]"#;
        assert_eq!(said(texts, old), whole(r#"{"type":"text","text":"a\u0062\n"}"#));
        for parts in ["[]".to_owned(), format!("[{one},{one}]"), "[7,8]".to_owned()] {
            assert!(said(&parts, old).is_err(), "{parts}");
        }
    }
}
