//! The proof that a request may be served. Whatever reaches an upstream on a client's behalf
//! takes a [`Permit`], so that an unauthenticated path does not compile.

/// Who is asking, as far as it was established.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permit {
    subject: Subject,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Subject {
    /// Anyone who can connect to a loopback address.
    AnyoneOnThisMachine,
}

impl Permit {
    /// A permit for whoever connects, without any authentication. The caller must have made sure
    /// that only this machine can connect.
    pub fn dangerously_for_anyone_on_this_machine() -> Self {
        Self { subject: Subject::AnyoneOnThisMachine }
    }

    /// Whether results may only be cached for this caller.
    pub fn is_personal(&self) -> bool {
        match self.subject {
            Subject::AnyoneOnThisMachine => false,
        }
    }
}
