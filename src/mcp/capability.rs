//! What a server says that it can do: read from upstreams, united, and said to clients.

use crate::mcp::ListKind;
use crate::wire::json::{Kind, Object, Value};

/// A list, and whether its changes are announced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// `listChanged`.
    pub announces: bool,
}

/// Resources: as a list, and whether updates of one can be subscribed to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// `listChanged`.
    pub announces: bool,
    /// `subscribe`.
    pub subscribe: bool,
}

/// `ServerCapabilities`, as far as they can be relayed. `experimental` and extensions are not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerCapabilities {
    /// There are tools.
    pub tools: Option<Listed>,
    /// There are prompts.
    pub prompts: Option<Listed>,
    /// There are resources.
    pub resources: Option<Resources>,
    /// Arguments are completed.
    pub completions: bool,
    /// Log messages are sent.
    pub logging: bool,
}

impl ServerCapabilities {
    /// Reads the `capabilities` object; what is not understood is left out.
    pub fn read(bytes: &[u8], capabilities: &Object) -> Self {
        let section = |key| {
            let value: Value = capabilities.value(bytes, key)?;
            (value.kind == Kind::Object).then(|| Object::read(bytes, value.span).ok())?
        };
        let flag =
            |object: &Object, key| object.value(bytes, key).is_some_and(|v| v.is_true(bytes));
        let listed = |key| section(key).map(|o| Listed { announces: flag(&o, "listChanged") });
        Self {
            tools: listed("tools"),
            prompts: listed("prompts"),
            resources: section("resources").map(|o| Resources {
                announces: flag(&o, "listChanged"),
                subscribe: flag(&o, "subscribe"),
            }),
            completions: section("completions").is_some(),
            logging: section("logging").is_some(),
        }
    }

    /// Everything that there is, for a time when nobody is known yet.
    pub fn everything() -> Self {
        let (tools, prompts) = (Some(Listed { announces: true }), Some(Listed { announces: true }));
        let resources = Some(Resources { announces: true, subscribe: true });
        Self { tools, prompts, resources, completions: true, logging: true }
    }

    /// What either can do.
    pub fn union(self, other: &Self) -> Self {
        let listed = |a: Option<Listed>, b: Option<Listed>| match (a, b) {
            (Some(a), Some(b)) => Some(Listed { announces: a.announces || b.announces }),
            (a, b) => a.or(b),
        };
        Self {
            tools: listed(self.tools, other.tools),
            prompts: listed(self.prompts, other.prompts),
            resources: match (self.resources, other.resources) {
                (Some(a), Some(b)) => Some(Resources {
                    announces: a.announces || b.announces,
                    subscribe: a.subscribe || b.subscribe,
                }),
                (a, b) => a.or(b),
            },
            completions: self.completions || other.completions,
            logging: self.logging || other.logging,
        }
    }

    /// Whoever has a list announces its changes.
    pub fn announce_all(&mut self) {
        for listed in [&mut self.tools, &mut self.prompts].into_iter().flatten() {
            listed.announces = true;
        }
        if let Some(resources) = &mut self.resources {
            resources.announces = true;
        }
    }

    /// Whether there is such a list.
    pub fn has(&self, kind: ListKind) -> bool {
        match kind {
            ListKind::Tools => self.tools.is_some(),
            ListKind::Prompts => self.prompts.is_some(),
            ListKind::Resources | ListKind::Templates => self.resources.is_some(),
        }
    }

    /// Whether changes of a list are announced.
    pub fn announces(&self, kind: ListKind) -> bool {
        match kind {
            ListKind::Tools => self.tools.is_some_and(|listed| listed.announces),
            ListKind::Prompts => self.prompts.is_some_and(|listed| listed.announces),
            ListKind::Resources | ListKind::Templates => {
                self.resources.is_some_and(|resources| resources.announces)
            }
        }
    }

    /// Whether updates of a resource can be subscribed to.
    pub fn subscribes(&self) -> bool {
        self.resources.is_some_and(|resources| resources.subscribe)
    }

    /// As the JSON object that a server says it with. Both eras say it alike.
    pub fn to_json(&self) -> String {
        let mut parts = Vec::new();
        let flags = |pairs: &[(&str, bool)]| {
            let set: Vec<String> = pairs
                .iter()
                .filter(|(_, on)| *on)
                .map(|(name, _)| format!("\"{name}\":true"))
                .collect();
            format!("{{{}}}", set.join(","))
        };
        if let Some(tools) = self.tools {
            parts.push(format!("\"tools\":{}", flags(&[("listChanged", tools.announces)])));
        }
        if let Some(prompts) = self.prompts {
            parts.push(format!("\"prompts\":{}", flags(&[("listChanged", prompts.announces)])));
        }
        if let Some(r) = self.resources {
            let both = [("subscribe", r.subscribe), ("listChanged", r.announces)];
            parts.push(format!("\"resources\":{}", flags(&both)));
        }
        if self.completions {
            parts.push("\"completions\":{}".to_owned());
        }
        if self.logging {
            parts.push("\"logging\":{}".to_owned());
        }
        format!("{{{}}}", parts.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::json;

    #[test]
    fn what_is_read_is_what_is_said() {
        let text = br#"{"tools":{"listChanged":true},"resources":{"subscribe":true},"logging":{},
            "experimental":{"x":{}},"prompts":7}"#;
        let object = Object::read(text, json::check(text).expect("json").span).expect("an object");
        let capabilities = ServerCapabilities::read(text, &object);
        assert_eq!(
            capabilities.to_json(),
            r#"{"tools":{"listChanged":true},"resources":{"subscribe":true},"logging":{}}"#
        );
        assert!(capabilities.subscribes() && !capabilities.has(ListKind::Prompts));
        let all = capabilities.union(&ServerCapabilities::everything());
        assert_eq!(all, ServerCapabilities::everything());
    }
}
