//! What the operator should know about a merge: each a line that is safe to log.

use super::param_header::InvalidAnnotation;
use crate::base::label::Label;
use crate::mcp::ListKind;
use std::fmt;

/// One entry that is not shown as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// An upstream earlier in the configuration has the name already: this one is left out.
    NameTaken {
        /// Tools or prompts.
        kind: ListKind,
        /// The upstream whose entry is left out.
        slug: Label,
        /// The name that clients would have seen.
        seen: Label,
        /// The upstream that has it.
        holder: Label,
    },
    /// The name would have been too long for many clients.
    Shortened {
        /// Tools or prompts.
        kind: ListKind,
        /// The upstream.
        slug: Label,
        /// The upstream's own name.
        name: Label,
        /// What clients see.
        seen: Label,
    },
    /// The tool has an `x-mcp-header` that breaks a rule, so the specification wants it left out.
    InvalidAnnotation {
        /// The upstream.
        slug: Label,
        /// The upstream's own name of the tool.
        name: Label,
        /// The first rule that is broken.
        fault: InvalidAnnotation,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NameTaken { kind, slug, seen, holder } => write!(
                f,
                "{} {seen:?} of upstream {slug:?} is left out: upstream {holder:?} has that name",
                noun(*kind)
            ),
            Self::Shortened { kind, slug, name, seen } => {
                write!(f, "{} {name:?} of upstream {slug:?} is shown as {seen:?}", noun(*kind))
            }
            Self::InvalidAnnotation { slug, name, fault } => {
                write!(f, "tool {name:?} of upstream {slug:?} is left out: {fault}")
            }
        }
    }
}

fn noun(kind: ListKind) -> &'static str {
    match kind {
        ListKind::Tools => "tool",
        ListKind::Prompts => "prompt",
        ListKind::Resources => "resource",
        ListKind::Templates => "resource template",
    }
}
