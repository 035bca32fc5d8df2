//! What is told from others by its place in memory: a session by its outlet, a connection by its
//! link. The reference keeps the place, so that no later one can be taken for it.

use std::hash::{Hash, Hasher};
use std::sync::Weak;

/// One of its kind, which may be gone.
#[derive(Debug)]
pub(super) struct Known<T>(pub(super) Weak<T>);

impl<T> Clone for Known<T> {
    fn clone(&self) -> Self {
        Self(Weak::clone(&self.0))
    }
}

impl<T> PartialEq for Known<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.ptr_eq(&other.0)
    }
}

impl<T> Eq for Known<T> {}

impl<T> Hash for Known<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.as_ptr().hash(state);
    }
}
