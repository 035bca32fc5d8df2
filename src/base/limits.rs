//! The sizes beyond which input is refused, all in one place and each with a name.
//!
//! Values only: whoever reads from a peer enforces its own, and answers beyond it with a typed error.

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// What SSE framing may add to one message: the `event`, `id` and `retry` lines and the field names.
const EVENT_FRAMING_BYTES: usize = 4 * KIB;

/// Limits on what a peer may send. Plain values; every field counts bytes unless it says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// One JSON-RPC message, or one batch, from any peer over any transport. Default 16 MiB.
    pub message_bytes: usize,
    /// Nesting of JSON arrays and objects, in levels. Default 128.
    pub depth: usize,
    /// One line from a stdio peer, without its newline. Default: as `message_bytes`.
    pub line_bytes: usize,
    /// All lines of one SSE event, field names included. Default: `message_bytes` plus 4 KiB.
    pub event_bytes: usize,
    /// All header fields of one HTTP request or response together. Default 64 KiB.
    pub header_bytes: usize,
}

impl Limits {
    /// The defaults, with another size of message: line and event follow it.
    pub const fn for_messages(message_bytes: usize) -> Self {
        Self {
            message_bytes,
            depth: 128,
            line_bytes: message_bytes,
            event_bytes: message_bytes.saturating_add(EVENT_FRAMING_BYTES),
            header_bytes: 64 * KIB,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::for_messages(16 * MIB)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_defaults() {
        let limits = Limits::default();
        assert_eq!(limits.message_bytes, 16_777_216);
        assert_eq!(limits.line_bytes, limits.message_bytes);
        assert_eq!(limits.event_bytes, 16_781_312);
        assert_eq!(limits.header_bytes, 65_536);
        assert_eq!(limits.depth, 128);
    }

    #[test]
    fn the_largest_message_size_does_not_overflow() {
        assert_eq!(Limits::for_messages(usize::MAX).event_bytes, usize::MAX);
    }
}
