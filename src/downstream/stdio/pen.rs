//! What is written to the client, one message to a line.
//!
//! Whoever has something to say waits for room; one task writes. A client that does not read holds
//! nothing but its own answers, and not for ever.

use crate::net::body::Disconnected;
use crate::task::within;
use crate::wire::line::unfold;
use bytes::Bytes;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

/// Messages that may wait for a client that does not read.
pub const MOST_WAITING: usize = 64;

/// A client that takes not even [`CHUNK`] bytes for so long is taken to be gone.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes that are written at once; what is small goes together.
pub const CHUNK: usize = 64 << 10;

/// A way to the client.
#[derive(Clone, Debug)]
pub struct Pen(mpsc::Sender<Bytes>);

/// What waits to be written.
pub type Waiting = mpsc::Receiver<Bytes>;

impl Pen {
    /// A way to the client, for as long as somebody does [`write`].
    pub fn new() -> (Self, Waiting) {
        let (sender, waiting) = mpsc::channel(MOST_WAITING);
        (Self(sender), waiting)
    }

    /// Sends a message, waiting while too many wait already.
    ///
    /// # Errors
    /// The client does not read any more.
    pub async fn say(&self, message: Bytes) -> Result<(), Disconnected> {
        self.0.send(message).await.map_err(|_| Disconnected)
    }

    /// Returns when the client does not read any more.
    pub async fn broken(&self) {
        self.0.closed().await;
    }
}

/// Writes what is said until nobody can say anything any more, or the client does not read.
pub async fn write(mut output: impl AsyncWrite + Unpin, mut waiting: Waiting) {
    let mut lines = Vec::with_capacity(CHUNK);
    while let Some(message) = waiting.recv().await {
        push(&mut lines, &message);
        while lines.len() < CHUNK
            && let Ok(message) = waiting.try_recv()
        {
            push(&mut lines, &message);
        }
        for chunk in lines.chunks(CHUNK) {
            if let Err(e) = put(&mut output, chunk, PATIENCE).await {
                log::warn!("standard output: {e}");
                return;
            }
        }
        lines.clear();
        lines.shrink_to(CHUNK); // a long message takes its room along
    }
}

/// In valid JSON raw line breaks stand only between tokens, where spaces are as good.
fn push(lines: &mut Vec<u8>, message: &[u8]) {
    lines.extend_from_slice(&unfold(message));
    lines.push(b'\n');
}

async fn put(
    output: &mut (impl AsyncWrite + Unpin),
    chunk: &[u8],
    patience: Duration,
) -> io::Result<()> {
    let written = within(patience, async {
        output.write_all(chunk).await?;
        output.flush().await
    });
    let stuck = || io::Error::new(io::ErrorKind::TimedOut, "the client does not read it");
    written.await.unwrap_or_else(|| Err(stuck()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    #[tokio::test]
    async fn a_message_is_one_line_whatever_breaks_it_has() {
        let (pen, waiting) = Pen::new();
        let (ours, mut theirs) = tokio::io::duplex(8);
        let long = format!("[\r\n{}\n]", "1,\n".repeat(CHUNK));
        let told = async {
            pen.say(Bytes::from_static(b"{\n}")).await.expect("it is read");
            pen.say(Bytes::from(long.clone())).await.expect("it is read");
            drop(pen);
        };
        let mut read = String::new();
        let ((), (), whole) =
            tokio::join!(told, write(ours, waiting), theirs.read_to_string(&mut read));
        whole.expect("text");
        assert_eq!(read, format!("{{ }}\n{}\n", long.replace(['\r', '\n'], " ")));
    }

    #[tokio::test]
    async fn who_does_not_read_is_given_up() {
        let (mut ours, theirs) = tokio::io::duplex(4);
        let stuck = put(&mut ours, b"more than there is room for", Duration::from_millis(20)).await;
        assert_eq!(stuck.expect_err("nobody reads").kind(), io::ErrorKind::TimedOut);
        drop(theirs);
        let (pen, waiting) = Pen::new();
        pen.say(Bytes::from_static(b"{}")).await.expect("nobody knows yet");
        write(ours, waiting).await;
        pen.broken().await;
        assert!(pen.say(Bytes::new()).await.is_err());
    }
}
