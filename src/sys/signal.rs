//! Signals that an operator sends to the gateway, as things to await.
//!
//! Each is registered once and then kept: a signal between two waits is not lost, and none falls
//! back to its default action.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGINT and SIGTERM: end in good order; the second one means: now.
#[derive(Debug)]
pub struct Shutdown {
    interrupt: Signal,
    terminate: Signal,
}

/// SIGHUP: read the configuration again.
#[derive(Debug)]
pub struct Hangup {
    hangup: Signal,
}

impl Shutdown {
    /// Takes over both signals for the rest of the process's life. Needs a runtime.
    ///
    /// # Errors
    /// The system's, if a signal cannot be taken over.
    pub fn listen() -> io::Result<Self> {
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self { interrupt, terminate: signal(SignalKind::terminate())? })
    }

    /// Returns the name of the next signal. Cancel safe; call again to learn of a second one.
    pub async fn recv(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

impl Hangup {
    /// Takes over the signal for the rest of the process's life. Needs a runtime.
    ///
    /// # Errors
    /// The system's, if the signal cannot be taken over.
    pub fn listen() -> io::Result<Self> {
        Ok(Self { hangup: signal(SignalKind::hangup())? })
    }

    /// Returns at the next signal; several in a row may count as one. Cancel safe.
    pub async fn recv(&mut self) {
        let _ = self.hangup.recv().await;
    }
}
