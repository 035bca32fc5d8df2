//! Extensions that one side says it supports (MCP 2026-07-28 basic/versioning, "Extension
//! Negotiation"), and which of them a relay may pass on.
//!
//! Settings are never understood here: they are passed on as they were written, or not at all.

use crate::mcp::{Era, Revision};
use crate::wire::json::{self, Kind, Object};
use std::sync::Arc;

/// Most extensions that are taken from one peer.
pub const MAX_EXTENSIONS: usize = 64;

/// Longest identifier with its settings, in bytes.
pub const MAX_BYTES: usize = 16 << 10;

/// MCP Apps: tools with a user interface.
pub const APPS: &str = "io.modelcontextprotocol/ui";

/// Those that a relay does not pass on: tasks have ids that are bound to whom they were given, and
/// the others are about how a client is authorized by the one it speaks to, which is us.
const NOT_RELAYED: [&str; 3] = [
    "io.modelcontextprotocol/tasks",
    "io.modelcontextprotocol/oauth-client-credentials",
    "io.modelcontextprotocol/enterprise-managed-authorization",
];

/// Identifiers and their settings, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extensions(Arc<[Extension]>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Extension {
    id: String,
    /// The member as it was written: identifier and settings.
    raw: String,
}

impl Extensions {
    /// Reads `extensions` of a `capabilities` object. What is no extension is left out: one without
    /// the prefix that it must have, one whose settings are no object, the second of a name.
    pub fn read(bytes: &[u8], capabilities: &Object) -> Self {
        let value = capabilities.value(bytes, "extensions");
        let value = value.filter(|value| value.kind == Kind::Object);
        let object = value.and_then(|value| Object::read(bytes, value.span).ok());
        let mut found: Vec<Extension> = Vec::new();
        for member in object.iter().flat_map(|object| &object.members) {
            let span = member.span();
            let raw = std::str::from_utf8(span.of(bytes)).unwrap_or_default();
            let Ok(id) = json::decode_string(member.key.of(bytes)) else { continue };
            let is_new = id.contains('/') && found.iter().all(|known| known.id != id);
            let is_one = member.value.kind == Kind::Object && raw.len() <= MAX_BYTES;
            if is_new && is_one && found.len() < MAX_EXTENSIONS {
                found.push(Extension { id: id.into_owned(), raw: raw.to_owned() });
            }
        }
        Self(found.into())
    }

    /// Those of a peer of the revision `from` that can be passed on to one of the revision `to`.
    /// Within an era what either side says holds for the other. MCP Apps are more than an era old:
    /// hosts and servers have said so in `initialize` of 2025-11-25, and it is the only extension
    /// that means the same in both eras.
    pub fn relayed(&self, from: Revision, to: Revision) -> Self {
        let known = |revision: Revision| revision >= Revision::V2025_11_25;
        let passes = |id: &str| match (from.era(), to.era()) {
            (Era::Modern, Era::Modern) | (Era::Legacy, Era::Legacy) => true,
            _ => id == APPS,
        };
        let mut kept = self.0.to_vec();
        kept.retain(|extension| {
            let id = extension.id.as_str();
            known(from) && known(to) && passes(id) && !NOT_RELAYED.contains(&id)
        });
        Self(kept.into())
    }

    /// Whether any of them is among others.
    pub fn meet(&self, others: &Self) -> bool {
        self.0.iter().any(|extension| others.0.iter().any(|other| other.id == extension.id))
    }

    /// Those that have no methods of their own.
    pub fn apps(&self) -> Self {
        Self(self.0.iter().filter(|extension| extension.id == APPS).cloned().collect())
    }

    /// Whether there are any that may have methods of their own.
    pub fn are_more_than_apps(&self) -> bool {
        self.0.iter().any(|extension| extension.id != APPS)
    }

    /// Identifiers with their settings, as members of an object.
    pub fn members(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|extension| extension.raw.as_str())
    }

    /// As the member of a `capabilities` object; `None` without any.
    pub fn to_json(&self) -> Option<String> {
        let raw: Vec<&str> = self.members().collect();
        (!raw.is_empty()).then(|| format!("\"extensions\":{{{}}}", raw.join(",")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(extensions: &str) -> Extensions {
        let text = format!(r#"{{"extensions":{extensions}}}"#);
        let bytes = text.as_bytes();
        let whole = json::check(bytes).expect("json").span;
        Extensions::read(bytes, &Object::read(bytes, whole).expect("an object"))
    }

    #[test]
    fn settings_stay_as_they_were_written() {
        let raw =
            r#""io.modelcontextprotocol\/ui" : { "mimeTypes":["a\/b"],"n":1.0e0 },"x.y/z":{}"#;
        let said = read(&format!("{{ {raw} }}")).to_json();
        assert_eq!(said, Some(format!(r#""extensions":{{{raw}}}"#)));
        assert_eq!(read("{}").to_json(), None);
        assert_eq!(read("[]").to_json(), None);
        let odd = read(r#"{"noprefix":{},"a/b":7,"a/c":{"n":1},"a\/c":{"n":2}}"#);
        assert_eq!(odd.to_json().as_deref(), Some(r#""extensions":{"a/c":{"n":1}}"#));
    }

    #[test]
    fn each_passes_where_it_means_something() {
        let all = read(
            r#"{"io.modelcontextprotocol/ui":{},"x/y":{},"io.modelcontextprotocol/tasks":{},"io.modelcontextprotocol/oauth-client-credentials":{}}"#,
        );
        let passed = |from, to| all.relayed(from, to).to_json().unwrap_or_default();
        let (modern, legacy) = (Revision::MODERN, Revision::LATEST_LEGACY);
        let both = r#""extensions":{"io.modelcontextprotocol/ui":{},"x/y":{}}"#;
        let apps = r#""extensions":{"io.modelcontextprotocol/ui":{}}"#;
        assert_eq!(passed(modern, modern), both);
        assert_eq!(passed(legacy, legacy), both);
        assert_eq!(passed(legacy, modern), apps);
        assert_eq!(passed(modern, legacy), apps);
        for older in [Revision::V2024_11_05, Revision::V2025_06_18] {
            assert_eq!(passed(older, modern), "");
            assert_eq!(passed(modern, older), "");
        }
    }
}
