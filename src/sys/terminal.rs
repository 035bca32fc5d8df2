//! The terminal that a command writes to.

use std::io::IsTerminal as _;

/// Columns of the terminal that standard output is; `None` when it is none, or does not say.
pub fn width() -> Option<usize> {
    let out = std::io::stdout();
    if !out.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(&out).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}
