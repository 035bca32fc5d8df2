//! What a server says that it can do: read from upstreams, united, and said to clients.

use crate::mcp::{Era, Extensions, ListKind, Revision, meta};
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

/// Calls that run as tasks of 2025-11-25. The list of tasks is not relayed: an upstream shows all of
/// them to whoever asks through one connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tasks {
    /// `cancel`.
    pub cancel: bool,
}

/// `ServerCapabilities`, as far as they can be relayed: `experimental` is not, and extensions other
/// than tasks are kept apart ([`Extensions`]).
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
    /// Calls of tools can be tasks of 2025-11-25.
    pub tasks: Option<Tasks>,
    /// The extension for tasks of the modern era.
    pub task_extension: bool,
}

impl ServerCapabilities {
    /// Reads the `capabilities` object of a server of this revision; what is not understood is
    /// left out.
    pub fn read(bytes: &[u8], capabilities: &Object, revision: Revision) -> Self {
        let within = |object: &Object, key| {
            let value: Value = object.value(bytes, key)?;
            (value.kind == Kind::Object).then(|| Object::read(bytes, value.span).ok())?
        };
        let section = |key| within(capabilities, key);
        let tasks = || {
            let tasks = section("tasks").filter(|_| revision.has_tasks())?;
            within(&within(&within(&tasks, "requests")?, "tools")?, "call")?;
            Some(Tasks { cancel: within(&tasks, "cancel").is_some() })
        };
        let extends = |extensions: Object| within(&extensions, meta::TASKS).is_some();
        let is_modern = revision.era() == Era::Modern;
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
            tasks: tasks(),
            task_extension: is_modern && section("extensions").is_some_and(extends),
        }
    }

    /// Everything that there is, for a time when nobody is known yet. Tasks are not: a client would
    /// wait for them where they do not work.
    pub fn everything() -> Self {
        let (tools, prompts) = (Some(Listed { announces: true }), Some(Listed { announces: true }));
        let resources = Some(Resources { announces: true, subscribe: true });
        Self { tools, prompts, resources, completions: true, logging: true, ..Self::default() }
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
            tasks: match (self.tasks, other.tasks) {
                (Some(a), Some(b)) => Some(Tasks { cancel: a.cancel || b.cancel }),
                (a, b) => a.or(b),
            },
            task_extension: self.task_extension || other.task_extension,
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

    /// As the JSON object that a server says it with to a client of this revision: tasks are those
    /// of the revision or none, the rest is said alike.
    pub fn to_json(&self, revision: Revision, extensions: &Extensions) -> String {
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
        parts.extend(self.tasks_json().filter(|_| revision.has_tasks()));
        let tasks = (self.task_extension && revision.era() == Era::Modern)
            .then(|| format!("\"{}\":{{}}", meta::TASKS));
        let extensions: Vec<&str> = extensions.members().chain(tasks.as_deref()).collect();
        if !extensions.is_empty() {
            parts.push(format!("\"extensions\":{{{}}}", extensions.join(",")));
        }
        format!("{{{}}}", parts.join(","))
    }

    /// The member that says which tasks of 2025-11-25 there are.
    fn tasks_json(&self) -> Option<String> {
        let Tasks { cancel } = self.tasks?;
        let cancel = if cancel { "\"cancel\":{}," } else { "" };
        let requests = "\"requests\":{\"tools\":{\"call\":{}}}";
        Some(format!("\"tasks\":{{{cancel}{requests}}}"))
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
        let capabilities = ServerCapabilities::read(text, &object, Revision::MODERN);
        assert_eq!(
            capabilities.to_json(Revision::MODERN, &Extensions::default()),
            r#"{"tools":{"listChanged":true},"resources":{"subscribe":true},"logging":{}}"#
        );
        assert!(capabilities.subscribes() && !capabilities.has(ListKind::Prompts));
        let all = capabilities.union(&ServerCapabilities::everything());
        assert_eq!(all, ServerCapabilities::everything());
    }

    #[test]
    fn tasks_are_those_of_the_revision() {
        let text = br#"{"tasks":{"list":{},"cancel":{},"requests":{"tools":{"call":{}}}},
            "extensions":{"io.modelcontextprotocol/tasks":{},"x/y":{}}}"#;
        let object = Object::read(text, json::check(text).expect("json").span).expect("an object");
        let read = |revision| ServerCapabilities::read(text, &object, revision);
        let core = r#"{"tasks":{"cancel":{},"requests":{"tools":{"call":{}}}}}"#;
        let extension = r#"{"extensions":{"io.modelcontextprotocol/tasks":{}}}"#;
        let both = read(Revision::LATEST_LEGACY).union(&read(Revision::MODERN));
        for revision in Revision::ALL {
            let said = match revision {
                Revision::V2026_07_28 => extension,
                Revision::V2025_11_25 => core,
                _ => "{}",
            };
            assert_eq!(read(revision).to_json(revision, &Extensions::default()), said);
            assert_eq!(both.to_json(revision, &Extensions::default()), said);
        }
        let half = br#"{"tasks":{"requests":{"tools":{}}}}"#;
        let object = Object::read(half, json::check(half).expect("json").span).expect("an object");
        assert_eq!(ServerCapabilities::read(half, &object, Revision::LATEST_LEGACY).tasks, None);
    }
}
