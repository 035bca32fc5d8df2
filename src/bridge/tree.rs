//! A message as a tree, for the second implementation of the edits ([`super::fuzz`]): what stands
//! nowhere else in this house, where messages are bytes and spans.

use crate::wire::json;

/// A decoded key, the key as written (empty for ours), and the value.
pub(super) type Member = (String, Vec<u8>, Node);

/// JSON as a tree whose leaves are tokens as they were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Object(Vec<Member>),
    Array(Vec<Node>),
    Scalar(Vec<u8>),
}

impl Node {
    /// Reads bytes that a scan has found valid, by the simplest means.
    pub(super) fn read(bytes: &[u8]) -> Self {
        json::check(bytes).expect("an edited message is json");
        Self::next(&mut bytes.trim_ascii_start())
    }

    fn next(rest: &mut &[u8]) -> Self {
        match rest.first() {
            Some(b'{') => {
                let mut members = vec![];
                while token(rest, b"{,") && rest.first() != Some(&b'}') {
                    let key = string(rest);
                    token(rest, b":");
                    let text = json::decode_string(key).map(|text| text.into_owned());
                    let text = text.unwrap_or_else(|_| String::from_utf8_lossy(key).into());
                    members.push((text, key.to_vec(), Self::next(rest)));
                }
                token(rest, b"}");
                Self::Object(members)
            }
            Some(b'[') => {
                let mut elements = vec![];
                while token(rest, b"[,") && rest.first() != Some(&b']') {
                    elements.push(Self::next(rest));
                }
                token(rest, b"]");
                Self::Array(elements)
            }
            Some(b'"') => Self::Scalar(string(rest).to_vec()),
            _ => {
                let end = rest.iter().position(|byte| b",]} \t\r\n".contains(byte));
                let (scalar, tail) = rest.split_at(end.unwrap_or(rest.len()));
                *rest = tail.trim_ascii_start();
                Self::Scalar(scalar.to_vec())
            }
        }
    }

    pub(super) fn all<'a>(&'a mut self, key: &'a str) -> impl Iterator<Item = &'a mut Node> {
        let members = match self {
            Self::Object(members) => members.as_mut_slice(),
            _ => &mut [],
        };
        members.iter_mut().filter(move |member| member.0 == key).map(|member| &mut member.2)
    }

    /// Itself or its elements, as far as they are objects.
    pub(super) fn objects(&mut self) -> Vec<&mut Node> {
        match self {
            Self::Object(_) => vec![self],
            Self::Array(elements) => elements.iter_mut().filter(|node| node.is_object()).collect(),
            Self::Scalar(_) => vec![],
        }
    }

    pub(super) fn set(&mut self, key: &str, token: &[u8]) {
        self.all(key).for_each(|value| *value = Self::read(token));
    }

    pub(super) fn set_text(&mut self, key: &str, token: &[u8]) {
        let texts = self.all(key).filter(|value| value.as_text().is_some());
        texts.for_each(|value| *value = Self::read(token));
    }

    pub(super) fn add(&mut self, key: &str, value: Node) {
        if let Self::Object(members) = self {
            members.insert(0, (key.to_owned(), json::string_token(key), value));
        }
    }

    pub(super) fn ensure(&mut self, key: &str, token: &[u8]) {
        if self.all(key).next().is_none() {
            self.add(key, Self::read(token));
        }
    }

    pub(super) fn keep(&mut self, stays: impl Fn(&Member) -> bool) {
        if let Self::Object(members) = self {
            members.retain(stays);
        }
    }

    pub(super) fn remove(&mut self, key: &str) {
        self.keep(|member| member.0 != key);
    }

    pub(super) fn take_members(&mut self) -> Vec<Member> {
        match self {
            Self::Object(members) => std::mem::take(members),
            _ => vec![],
        }
    }

    pub(super) fn count(&self) -> usize {
        match self {
            Self::Object(members) => members.len(),
            _ => 0,
        }
    }

    pub(super) fn has_duplicates(&self) -> bool {
        let Self::Object(members) = self else { return false };
        let mut keys: Vec<&str> = members.iter().map(|member| member.0.as_str()).collect();
        keys.sort_unstable();
        keys.windows(2).any(|pair| pair[0] == pair[1])
    }

    pub(super) fn is_object(&self) -> bool {
        matches!(self, Self::Object(_))
    }

    pub(super) fn is_string(&self) -> bool {
        matches!(self, Self::Scalar(token) if token.starts_with(b"\""))
    }

    /// A string or a number.
    pub(super) fn is_token(&self) -> bool {
        let first = |token: &[u8]| token.first().copied().unwrap_or_default();
        matches!(self, Self::Scalar(token) if matches!(first(token), b'"' | b'-' | b'0'..=b'9'))
    }

    pub(super) fn as_text(&self) -> Option<String> {
        let Self::Scalar(token) = self else { return None };
        self.is_string().then(|| json::decode_string(token).ok())?.map(|text| text.into_owned())
    }

    pub(super) fn integer(&self) -> Option<i64> {
        let Self::Scalar(token) = self else { return None };
        std::str::from_utf8(token).ok()?.parse().ok()
    }

    pub(super) fn text(&mut self, key: &str) -> Option<String> {
        self.all(key).next()?.as_text()
    }

    pub(super) fn text_block(text: &str) -> Self {
        let mut block = Self::Object(vec![]);
        block.add("text", Self::Scalar(json::string_token(text)));
        block.add("type", Self::Scalar(b"\"text\"".to_vec()));
        block
    }
}

/// Past one of these bytes and the white space after it.
fn token(rest: &mut &[u8], any_of: &[u8]) -> bool {
    let found = rest.first().is_some_and(|byte| any_of.contains(byte));
    *rest = rest.get(usize::from(found)..).unwrap_or_default().trim_ascii_start();
    found
}

/// Past a string and the white space after it; the string with its quotes.
fn string<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let (mut end, mut escaped) = (1, false);
    while let Some(byte) = rest.get(end) {
        end += 1;
        match byte {
            b'"' if !escaped => break,
            byte => escaped = *byte == b'\\' && !escaped,
        }
    }
    let (string, tail) = rest.split_at(end.min(rest.len()));
    *rest = tail.trim_ascii_start();
    string
}
