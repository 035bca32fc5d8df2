//! Levels of log messages (MCP server/utilities/logging; RFC 5424 section 6.2.1).

/// How grave a log message is; graver ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)] // the names of RFC 5424
pub enum LogLevel {
    Debug,
    Info,
    Notice,
    Warning,
    Error,
    Critical,
    Alert,
    Emergency,
}

const NAMES: [(&str, LogLevel); 8] = [
    ("debug", LogLevel::Debug),
    ("info", LogLevel::Info),
    ("notice", LogLevel::Notice),
    ("warning", LogLevel::Warning),
    ("error", LogLevel::Error),
    ("critical", LogLevel::Critical),
    ("alert", LogLevel::Alert),
    ("emergency", LogLevel::Emergency),
];

impl LogLevel {
    /// From its name on the wire.
    pub fn parse(name: &str) -> Option<Self> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, level)| *level)
    }

    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        NAMES.iter().find(|(_, level)| *level == self).map_or("debug", |(name, _)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_order_are_those_of_the_rfc() {
        for (name, level) in NAMES {
            assert_eq!((LogLevel::parse(name), level.as_str()), (Some(level), name));
        }
        assert!(NAMES.is_sorted_by_key(|(_, level)| *level));
        assert_eq!(LogLevel::parse("warn"), None);
    }
}
