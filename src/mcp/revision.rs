//! The revisions of the protocol and the two eras they fall into (MCP 2026-07-28
//! basic/versioning, "Terminology"). Every question about an era is a method here.

/// With or without a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Era {
    /// Up to 2025-11-25: `initialize`, sessions, requests in both directions.
    Legacy,
    /// From 2026-07-28: every request carries its own metadata.
    Modern,
}

/// A revision of the protocol; later ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)] // the dates are the names
pub enum Revision {
    V2024_11_05,
    V2025_03_26,
    V2025_06_18,
    V2025_11_25,
    V2026_07_28,
}

impl Revision {
    /// The newest revision of the legacy era, offered when a client asks for one we do not know.
    pub const LATEST_LEGACY: Self = Self::V2025_11_25;

    /// The revision of the modern era.
    pub const MODERN: Self = Self::V2026_07_28;

    /// All of them, oldest first.
    pub const ALL: [Self; 5] = [
        Self::V2024_11_05,
        Self::V2025_03_26,
        Self::V2025_06_18,
        Self::V2025_11_25,
        Self::V2026_07_28,
    ];

    /// From its date.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|revision| revision.as_str() == text)
    }

    /// Its date.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    /// The era it belongs to.
    pub fn era(self) -> Era {
        if self >= Self::MODERN { Era::Modern } else { Era::Legacy }
    }

    /// Whether several messages may come in one array: in one revision only.
    pub fn batches(self) -> bool {
        self == Self::V2025_03_26
    }

    /// Whether a stream begins with an event that has an id and no data, which a client can come
    /// back to. Clients of older revisions take every event for a message.
    pub fn primes_streams(self) -> bool {
        self == Self::V2025_11_25
    }

    /// Whether a server says that it completes arguments (`capabilities.completions`).
    pub fn declares_completions(self) -> bool {
        self >= Self::V2025_03_26
    }

    /// Whether results may hold audio content.
    pub fn has_audio(self) -> bool {
        self >= Self::V2025_03_26
    }

    /// Whether results may hold `resource_link` content.
    pub fn has_resource_links(self) -> bool {
        self >= Self::V2025_06_18
    }

    /// Whether a user can be asked at all.
    pub fn elicits(self) -> bool {
        self >= Self::V2025_06_18
    }

    /// Whether questions to clients have all their forms: elicitation by URL and with titled or
    /// several choices, sampling with tools and with several blocks of content in one message.
    pub fn asks_in_full(self) -> bool {
        self >= Self::V2025_11_25
    }

    /// Whether results may hold structured content, and tools an output schema.
    pub fn has_structured_content(self) -> bool {
        self >= Self::V2025_06_18
    }

    /// Whether tasks are part of it: later they are an extension, of another kind.
    pub fn has_tasks(self) -> bool {
        self == Self::V2025_11_25
    }

    /// Whether an output schema and structured content may be of any type, not only objects.
    pub fn structures_anything(self) -> bool {
        self.era() == Era::Modern
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_names_and_order() {
        for revision in Revision::ALL {
            assert_eq!(Revision::parse(revision.as_str()), Some(revision));
            assert_eq!(revision.era() == Era::Modern, revision.as_str() > "2025-11-25");
        }
        assert!(Revision::ALL.is_sorted());
        assert_eq!(Revision::parse("2026-07-29"), None);
    }
}
