//! One table of all methods: which revisions know them, and how a request of each is served.

use crate::mcp::Revision;

/// The four lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the names of the specification
pub enum ListKind {
    Tools,
    Prompts,
    Resources,
    Templates,
}

/// How a client's request is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routing {
    /// The handshake of the legacy era.
    Initialize,
    /// `server/discover`.
    Discover,
    /// Answered at once.
    Ping,
    /// A level for the session.
    SetLevel,
    /// From the catalog.
    List(ListKind),
    /// To the upstream of the tool in `params.name`.
    Tool,
    /// To the upstream of the prompt in `params.name`.
    Prompt,
    /// To the upstream of the resource in `params.uri`.
    Resource,
    /// To the upstream of the prompt or resource in `params.ref`.
    Completion,
    /// By the hub.
    Subscribe,
    /// By the hub.
    Unsubscribe,
    /// By the hub.
    Listen,
    /// To the upstream of the task in `params.taskId`.
    Task,
    /// To the one upstream, unread.
    Foreign,
    /// Not a request of a client.
    Nowhere,
}

macro_rules! methods {
    ($($name:ident $text:literal $first:ident..=$last:ident $routing:expr;)*) => {
        /// A method or notification of any revision.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs)] // the wire names stand in the table
        pub enum Method {
            $($name,)*
            /// One that the specification does not have; its name is known to its message alone.
            Foreign,
        }

        impl Method {
            /// Every method of the specification.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// From its name on the wire.
            pub fn parse(name: &str) -> Option<Self> {
                match name { $($text => Some(Self::$name),)* _ => None }
            }

            /// Its name on the wire.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* Self::Foreign => "" }
            }

            /// How a client's request is served.
            pub fn route(self) -> Routing {
                match self { $(Self::$name => $routing,)* Self::Foreign => Routing::Foreign }
            }

            fn first(self) -> Revision {
                match self {
                    $(Self::$name => Revision::$first,)*
                    Self::Foreign => Revision::V2025_11_25,
                }
            }

            fn last(self) -> Revision {
                match self {
                    $(Self::$name => Revision::$last,)*
                    Self::Foreign => Revision::MODERN,
                }
            }
        }
    };
}

methods! {
    Initialize "initialize" V2024_11_05..=V2025_11_25 Routing::Initialize;
    Ping "ping" V2024_11_05..=V2025_11_25 Routing::Ping;
    Discover "server/discover" V2026_07_28..=V2026_07_28 Routing::Discover;
    ToolsList "tools/list" V2024_11_05..=V2026_07_28 Routing::List(ListKind::Tools);
    ToolsCall "tools/call" V2024_11_05..=V2026_07_28 Routing::Tool;
    PromptsList "prompts/list" V2024_11_05..=V2026_07_28 Routing::List(ListKind::Prompts);
    PromptsGet "prompts/get" V2024_11_05..=V2026_07_28 Routing::Prompt;
    ResourcesList "resources/list" V2024_11_05..=V2026_07_28 Routing::List(ListKind::Resources);
    TemplatesList "resources/templates/list" V2024_11_05..=V2026_07_28 Routing::List(ListKind::Templates);
    ResourcesRead "resources/read" V2024_11_05..=V2026_07_28 Routing::Resource;
    Subscribe "resources/subscribe" V2024_11_05..=V2025_11_25 Routing::Subscribe;
    Unsubscribe "resources/unsubscribe" V2024_11_05..=V2025_11_25 Routing::Unsubscribe;
    Complete "completion/complete" V2024_11_05..=V2026_07_28 Routing::Completion;
    SetLevel "logging/setLevel" V2024_11_05..=V2025_11_25 Routing::SetLevel;
    Listen "subscriptions/listen" V2026_07_28..=V2026_07_28 Routing::Listen;
    TasksGet "tasks/get" V2025_11_25..=V2026_07_28 Routing::Task;
    TasksResult "tasks/result" V2025_11_25..=V2025_11_25 Routing::Task;
    TasksUpdate "tasks/update" V2026_07_28..=V2026_07_28 Routing::Task;
    TasksCancel "tasks/cancel" V2025_11_25..=V2026_07_28 Routing::Task;
    CreateMessage "sampling/createMessage" V2024_11_05..=V2025_11_25 Routing::Nowhere;
    RootsList "roots/list" V2024_11_05..=V2025_11_25 Routing::Nowhere;
    Elicit "elicitation/create" V2025_06_18..=V2025_11_25 Routing::Nowhere;
    Initialized "notifications/initialized" V2024_11_05..=V2025_11_25 Routing::Nowhere;
    Cancelled "notifications/cancelled" V2024_11_05..=V2026_07_28 Routing::Nowhere;
    Progress "notifications/progress" V2024_11_05..=V2026_07_28 Routing::Nowhere;
    LogMessage "notifications/message" V2024_11_05..=V2026_07_28 Routing::Nowhere;
    ToolsChanged "notifications/tools/list_changed" V2024_11_05..=V2026_07_28 Routing::Nowhere;
    PromptsChanged "notifications/prompts/list_changed" V2024_11_05..=V2026_07_28 Routing::Nowhere;
    ResourcesChanged "notifications/resources/list_changed" V2024_11_05..=V2026_07_28 Routing::Nowhere;
    ResourceUpdated "notifications/resources/updated" V2024_11_05..=V2026_07_28 Routing::Nowhere;
    RootsChanged "notifications/roots/list_changed" V2024_11_05..=V2025_11_25 Routing::Nowhere;
    ElicitationComplete "notifications/elicitation/complete" V2025_11_25..=V2025_11_25 Routing::Nowhere;
    TaskStatus "notifications/tasks/status" V2025_11_25..=V2025_11_25 Routing::Nowhere;
    Acknowledged "notifications/subscriptions/acknowledged" V2026_07_28..=V2026_07_28 Routing::Nowhere;
}

/// What names of the specification begin with, now or in another revision.
const OF_CORE: [&str; 14] = [
    "completion",
    "elicitation",
    "initialize",
    "logging",
    "notifications",
    "ping",
    "prompts",
    "resources",
    "roots",
    "sampling",
    "server",
    "subscriptions",
    "tasks",
    "tools",
];

/// Longest name of a method that the specification does not have, in bytes.
pub const MAX_FOREIGN: usize = 256;

/// Whether a method of an extension may have this name: one that can stand in a header, too, and
/// that the specification means nothing by.
pub fn may_be_foreign(name: &str) -> bool {
    let head = name.split('/').next().unwrap_or_default();
    let is_core = OF_CORE.iter().any(|core| core.eq_ignore_ascii_case(head));
    let is_name = (1..=MAX_FOREIGN).contains(&name.len());
    // JSON-RPC 2.0 keeps names with this beginning for itself
    is_name && !is_core && !name.starts_with("rpc.") && name.bytes().all(|b| b.is_ascii_graphic())
}

impl Method {
    /// Whether the revision has this method.
    pub fn known_in(self, revision: Revision) -> bool {
        (self.first()..=self.last()).contains(&revision)
    }

    /// Whether a client of this revision may send this as a request.
    pub fn client_request_in(self, revision: Revision) -> bool {
        self.route() != Routing::Nowhere && self.known_in(revision)
    }

    /// The member of `params` that `Mcp-Name` mirrors.
    pub fn mcp_name_param(self) -> Option<&'static str> {
        match self {
            Self::ToolsCall | Self::PromptsGet => Some("name"),
            Self::ResourcesRead => Some("uri"),
            Self::TasksGet | Self::TasksUpdate | Self::TasksCancel => Some("taskId"),
            _ => None,
        }
    }

    /// Whether a request of it changes nothing, whatever its upstream is: it may be made twice.
    pub fn is_read(self) -> bool {
        matches!(
            self.route(),
            Routing::Discover
                | Routing::Ping
                | Routing::List(_)
                | Routing::Prompt
                | Routing::Resource
                | Routing::Completion
        ) || self == Self::TasksGet
    }

    /// Whether a complete result of it says how long it may be cached (server/utilities/caching).
    pub fn is_cacheable(self) -> bool {
        matches!(self.route(), Routing::Discover | Routing::List(_) | Routing::Resource)
    }
}

impl ListKind {
    /// All four, in a fixed order.
    pub const ALL: [Self; 4] = [Self::Tools, Self::Prompts, Self::Resources, Self::Templates];

    /// The request for it.
    pub fn method(self) -> Method {
        match self {
            Self::Tools => Method::ToolsList,
            Self::Prompts => Method::PromptsList,
            Self::Resources => Method::ResourcesList,
            Self::Templates => Method::TemplatesList,
        }
    }

    /// The member of the result that holds the entries.
    pub fn member(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources => "resources",
            Self::Templates => "resourceTemplates",
        }
    }

    /// The member of an entry that it is known by.
    pub fn key(self) -> &'static str {
        match self {
            Self::Tools | Self::Prompts => "name",
            Self::Resources => "uri",
            Self::Templates => "uriTemplate",
        }
    }

    /// The notification that it has changed; resources and templates share one.
    pub fn changed(self) -> Method {
        match self {
            Self::Tools => Method::ToolsChanged,
            Self::Prompts => Method::PromptsChanged,
            Self::Resources | Self::Templates => Method::ResourcesChanged,
        }
    }

    /// This list and no other.
    pub fn alone(self) -> &'static [Self] {
        match self {
            Self::Tools => &[Self::Tools],
            Self::Prompts => &[Self::Prompts],
            Self::Resources => &[Self::Resources],
            Self::Templates => &[Self::Templates],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_has_one_name() {
        for method in Method::ALL {
            assert_eq!(Method::parse(method.name()), Some(*method));
            assert!(!may_be_foreign(method.name()), "{method:?}");
        }
        assert_eq!(Method::parse(Method::Foreign.name()), None);
    }

    #[test]
    fn what_the_specification_may_mean_is_not_foreign() {
        for name in
            ["tasks/list", "Tools/Call", "rpc.discover", "ping", "", "a b", "a\r\nb", "\u{e9}"]
        {
            assert!(!may_be_foreign(name), "{name:?}");
        }
        assert!(!may_be_foreign(&"x".repeat(MAX_FOREIGN + 1)));
        for name in ["com.example/x", "x", "toolsmith/run"] {
            assert!(may_be_foreign(name), "{name:?}");
        }
    }

    #[test]
    fn reads_are_told_from_acts() {
        let acts = [Method::ToolsCall, Method::TasksCancel, Method::TasksResult, Method::Subscribe];
        assert!(!acts.iter().any(|method| method.is_read()));
        assert_eq!(Method::ALL.iter().filter(|method| method.is_read()).count(), 10);
    }

    #[test]
    fn each_era_has_its_own_requests() {
        let requests =
            |revision| Method::ALL.iter().filter(|m| m.client_request_in(revision)).count();
        assert_eq!(requests(Revision::MODERN), 13);
        assert_eq!(requests(Revision::LATEST_LEGACY), 16);
        assert!(!Method::Ping.client_request_in(Revision::MODERN));
        assert!(!Method::CreateMessage.client_request_in(Revision::LATEST_LEGACY));
    }
}
