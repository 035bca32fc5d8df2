//! Names on the aggregate endpoint: the upstream's slug, a separator, the upstream's own name.
//!
//! MCP 2026-07-28 server/tools, "Tool Names": an aggregator should tell equal names apart. Many
//! model interfaces take at most 64 characters, so a longer name is cut and ends in a hash of all of
//! it. Such a name cannot be taken apart again: routing is by lookup only ([`super::merge`]).

/// The longest name that is made, in characters.
pub const NAME_CHARS: usize = 64;

/// `_` and eight hexadecimal digits.
const ENDING_CHARS: usize = 9;

/// The name that clients of the aggregate endpoint see. Characters outside `[A-Za-z0-9_.-]` are
/// kept as they are; beyond [`NAME_CHARS`] the front is kept and a hash of the whole ends it.
pub fn prefixed(slug: &str, separator: &str, name: &str) -> String {
    let full = [slug, separator, name].concat();
    if !is_overlong(&full) {
        return full;
    }
    let mut short: String = full.chars().take(NAME_CHARS - ENDING_CHARS).collect();
    let hash = fnv1a(full.as_bytes());
    short.push_str(&format!("_{:08x}", (hash >> 32) ^ (hash & 0xffff_ffff)));
    short
}

/// Whether [`prefixed`] would cut this.
fn is_overlong(full: &str) -> bool {
    full.chars().nth(NAME_CHARS).is_some()
}

/// FNV-1a with 64 bits: stable over builds and machines, which std's hashers are not. Two names that
/// collide are seen as a collision, so nothing rests on its strength.
fn fnv1a(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn short_names_are_kept_whole() {
        let sixty = "x".repeat(60);
        let table = [
            ("git", "__", "status", "git__status"),
            ("git", "__", "", "git__"),
            ("git", "-", "a/b c.世", "git-a/b c.世"),
            ("ab", "__", &sixty, &format!("ab__{sixty}")),
        ];
        for (slug, separator, name, seen) in table {
            assert_eq!(prefixed(slug, separator, name), seen);
        }
    }

    #[test]
    fn long_names_are_cut_alike_for_ever() {
        // a change here renames the tools of everyone
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
        let long = prefixed("git", "__", &"y".repeat(60));
        assert_eq!(long, format!("git__{}_232d40a9", "y".repeat(50)));
        assert_eq!(long.len(), NAME_CHARS);
        assert_eq!(prefixed("git", "__", &"世".repeat(60)).chars().count(), NAME_CHARS);
    }

    #[test]
    fn names_that_differ_at_the_end_only_stay_different() {
        let long = "z".repeat(100);
        let (a, b) = (prefixed("s", "__", &format!("{long}a")), prefixed("s", "__", &long));
        assert_ne!(a, b);
        assert_eq!(a[..55], b[..55]);
    }

    proptest! {
        #[test]
        fn never_longer_than_the_limit(slug in "[a-z]{1,32}", name in any::<String>()) {
            let seen = prefixed(&slug, "__", &name);
            prop_assert!(seen.chars().count() <= NAME_CHARS);
            prop_assert_eq!(seen, prefixed(&slug, "__", &name));
        }
    }
}
