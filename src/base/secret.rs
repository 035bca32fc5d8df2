//! A value that must not reach a log, an error text or a dump by accident.
//!
//! Wrap it at its first byte; whoever needs the content says so with [`Secret::expose`], which is
//! easy to search for. It has no `Display`, no `Deref`, no serialisation and no equality (comparing
//! secrets is the business of a constant-time function). It does not wipe memory: without `unsafe`
//! that cannot be promised for values that were moved.

use std::fmt;

/// A value whose content is shown only where [`expose`](Secret::expose) is written.
#[derive(Clone)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Takes the value under guard.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The content. Every call is a place where it can leak.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

/// Shows that there is a secret, never which or how long; so structs around it can derive `Debug`.
impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_of_a_struct_around_it_hides_the_content() {
        #[derive(Debug)]
        #[allow(dead_code, reason = "read through Debug only")]
        struct Login {
            user: &'static str,
            password: Secret<String>,
        }
        let login = Login { user: "ann", password: Secret::new("hunter2".to_owned()) };
        let shown = format!("{login:?} {login:#?}");
        assert!(shown.contains("ann") && shown.contains("[secret]"));
        assert!(!shown.contains("hunter2"));
    }

    #[test]
    fn expose_gives_what_was_put_in() {
        assert_eq!(Secret::new(vec![1, 2, 3]).expose(), &[1, 2, 3]);
    }
}
