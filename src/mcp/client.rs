//! What a client says that it can be asked for: read from clients, said to upstreams.

use crate::mcp::{Era, Extensions, Method, Revision};
use crate::wire::json::{Kind, Object, Value};

/// Sampling, and what of it is understood besides plain messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sampling {
    /// Tools may be given with the messages.
    pub tools: bool,
    /// `includeContext` is understood.
    pub context: bool,
}

/// Elicitation, by its modes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Elicitation {
    /// A form to be filled in.
    pub form: bool,
    /// A URL to be opened.
    pub url: bool,
}

/// `ClientCapabilities`, as far as they can be relayed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientCapabilities {
    /// A model can be sampled.
    pub sampling: Option<Sampling>,
    /// The user can be asked.
    pub elicitation: Option<Elicitation>,
    /// The client has roots.
    pub roots: bool,
}

impl ClientCapabilities {
    /// Reads a `capabilities` object; what is not understood is left out.
    pub fn read(bytes: &[u8], capabilities: &Object) -> Self {
        let section = |object: &Object, key| {
            let value: Value = object.value(bytes, key)?;
            (value.kind == Kind::Object).then(|| Object::read(bytes, value.span).ok())?
        };
        let sampling = section(capabilities, "sampling").map(|sampling| Sampling {
            tools: section(&sampling, "tools").is_some(),
            context: section(&sampling, "context").is_some(),
        });
        let elicitation = section(capabilities, "elicitation").map(|modes| {
            let url = section(&modes, "url").is_some();
            // an empty object means forms (2025-11-25 and 2026-07-28 client/elicitation)
            Elicitation { form: section(&modes, "form").is_some() || !url, url }
        });
        let roots = section(capabilities, "roots").is_some();
        Self { sampling, elicitation, roots }
    }

    /// The same as far as a revision knows it: before 2025-11-25 elicitation had no modes but
    /// forms, and sampling no tools; before 2025-06-18 there was no elicitation.
    pub fn within(self, revision: Revision) -> Self {
        if revision.asks_in_full() {
            return self;
        }
        let sampling = self.sampling.map(|sampling| Sampling { tools: false, ..sampling });
        let forms = self.elicitation.map(|_| Elicitation { form: true, url: false });
        Self { sampling, elicitation: forms.filter(|_| revision.elicits()), ..self }
    }

    /// Everything that can be bridged to some client, except roots: what a connection declares
    /// that serves several clients. Roots would be those of one of them for all.
    pub fn bridged() -> Self {
        Self {
            sampling: Some(Sampling { tools: true, context: true }),
            elicitation: Some(Elicitation { form: true, url: true }),
            roots: false,
        }
    }

    /// Whether there is anything that this client can be asked for.
    pub fn any(&self) -> bool {
        self.sampling.is_some() || self.elicitation.is_some() || self.roots
    }

    /// Whether a call can make a server ask this client something. Roots belong to no call.
    pub fn because_of_a_call(&self) -> bool {
        self.sampling.is_some() || self.elicitation.is_some()
    }

    /// Whether a request of this method can be put to the client; its parameters may still ask
    /// for more than it understands.
    pub fn has(&self, method: Method) -> bool {
        match method {
            Method::CreateMessage => self.sampling.is_some(),
            Method::Elicit => self.elicitation.is_some(),
            Method::RootsList => self.roots,
            _ => false,
        }
    }

    /// The `capabilities` object for a server of this era. `listChanged` of roots is never said:
    /// changes of roots are not relayed.
    pub fn to_json(&self, _: Era, extensions: &Extensions) -> String {
        let flags = |flags: &[(&str, bool)]| {
            let set = flags.iter().filter(|(_, set)| *set);
            let set: Vec<String> = set.map(|(name, _)| format!("\"{name}\":{{}}")).collect();
            format!("{{{}}}", set.join(","))
        };
        let mut parts = Vec::new();
        if let Some(Sampling { tools, context }) = self.sampling {
            parts
                .push(format!("\"sampling\":{}", flags(&[("tools", tools), ("context", context)])));
        }
        if let Some(Elicitation { form, url }) = self.elicitation {
            parts.push(format!("\"elicitation\":{}", flags(&[("form", form), ("url", url)])));
        }
        if self.roots {
            parts.push("\"roots\":{}".to_owned());
        }
        parts.extend(extensions.to_json());
        format!("{{{}}}", parts.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::json;

    fn read(text: &str) -> ClientCapabilities {
        let bytes = text.as_bytes();
        let object =
            Object::read(bytes, json::check(bytes).expect("json").span).expect("an object");
        ClientCapabilities::read(bytes, &object)
    }

    #[test]
    fn what_is_read_is_what_is_said() {
        for text in [
            "{}",
            r#"{"sampling":{}}"#,
            r#"{"sampling":{"tools":{},"context":{}},"elicitation":{"form":{},"url":{}},"roots":{}}"#,
            r#"{"elicitation":{"url":{}}}"#,
        ] {
            assert_eq!(read(text).to_json(Era::Modern, &Extensions::default()), text);
        }
        assert_eq!(
            read(r#"{"elicitation":{}}"#).elicitation.map(|e| (e.form, e.url)),
            Some((true, false))
        );
        assert!(!read(r#"{"roots":7,"sampling":true}"#).any());
    }

    #[test]
    fn a_revision_knows_what_it_knows() {
        let all = read(
            r#"{"sampling":{"tools":{},"context":{}},"elicitation":{"form":{},"url":{}},"roots":{}}"#,
        );
        let by_url = read(r#"{"elicitation":{"url":{}}}"#);
        let within = |all: ClientCapabilities, revision| {
            all.within(revision).to_json(Era::Modern, &Extensions::default())
        };
        assert_eq!(all.within(Revision::V2025_11_25), all);
        assert_eq!(all.within(Revision::MODERN), all);
        assert_eq!(
            within(all, Revision::V2025_06_18),
            r#"{"sampling":{"context":{}},"elicitation":{"form":{}},"roots":{}}"#
        );
        assert_eq!(within(all, Revision::V2025_03_26), r#"{"sampling":{"context":{}},"roots":{}}"#);
        assert_eq!(within(by_url, Revision::V2025_06_18), r#"{"elicitation":{"form":{}}}"#);
    }
}
