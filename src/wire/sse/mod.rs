//! Server-Sent Events, the framing of streamed HTTP answers (WHATWG HTML §9.2).

pub mod decode;
pub mod encode;
