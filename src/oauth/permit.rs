//! The proof that a request may be served. Whatever reaches an upstream on a client's behalf
//! takes a [`Permit`], so that an unauthenticated path does not compile.

use std::borrow::Cow;

/// Who a permit was given to, as an opaque name: what one principal was given is worth nothing in
/// the hands of another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Principal(Cow<'static, str>);

impl Principal {
    /// The name, for being sealed or hashed; never for being logged.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Somebody else, for tests.
    #[cfg(test)]
    pub(crate) fn named(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }
}

/// Who is asking, as far as it was established.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permit {
    subject: Subject,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Subject {
    /// Anyone who can connect to a loopback address.
    AnyoneOnThisMachine,
    /// Whoever has started this process, over its own input and output.
    LocalOwner,
}

impl Permit {
    /// A permit for whoever connects, without any authentication. The caller must have made sure
    /// that only this machine can connect.
    pub fn dangerously_for_anyone_on_this_machine() -> Self {
        Self { subject: Subject::AnyoneOnThisMachine }
    }

    /// A permit for whoever has started this process, who alone holds the other end of its standard
    /// input. Never for anything that came by a socket.
    pub fn local_owner() -> Self {
        Self { subject: Subject::LocalOwner }
    }

    /// Who it was given to. All who connect without authentication are one principal.
    pub fn principal(&self) -> Principal {
        match self.subject {
            Subject::AnyoneOnThisMachine => Principal(Cow::Borrowed("")),
            Subject::LocalOwner => Principal(Cow::Borrowed("local owner")),
        }
    }

    /// Whether results may only be cached for this caller.
    pub fn is_personal(&self) -> bool {
        match self.subject {
            Subject::AnyoneOnThisMachine | Subject::LocalOwner => false,
        }
    }
}
