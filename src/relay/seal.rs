//! The `requestState` that modern clients get from us (MCP 2026-07-28 basic/patterns/mrtr, "Server
//! Requirements"): sealed, so that only we can have written it, and bound to who was given it, to
//! the request it was given for, and to a time.
//!
//! Nothing that fails to open is told apart towards the client, and no state is ever logged.

use crate::base::secret::Secret;
use crate::oauth::Principal;
use crate::observe::log::{Admit, RateLimited};
use crate::sys::random::Random;
use crate::wire::crypto::{Digest, KEY_BYTES, NONCE_BYTES, SealKey};
use crate::wire::jsonrpc::{Code, Rejected};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Most bytes of an upstream's own state, as a JSON string token.
pub const MAX_INNER: usize = 64 << 10;

/// Most bytes of a sealed state: a larger one is none of ours.
pub const MAX_STATE: usize = 2 * MAX_INNER;

/// Refused states that are logged in a second; more are counted.
const REFUSALS_PER_SECOND: u32 = 10;

/// The form of the contents. It is authenticated, not encrypted.
const FORM: &[u8] = b"1mcp request state 1";

/// What a client hears, whatever is wrong with its state.
const REFUSED: &str = "this requestState is not valid here, or not any more: call again without it";

/// What a retried request goes on with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// A call that is parked with us, in this round of questions.
    Parked {
        /// Where it is parked.
        id: u128,
        /// Counts the times that it was parked.
        round: u32,
    },
    /// The upstream's own state, as a JSON string token.
    Wrapped(Bytes),
    /// Nothing: the call is made anew when the user has been to a URL.
    Anew,
}

/// A state, and what it is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// What it stands for.
    pub held: Held,
    /// Who it was given to.
    pub principal: Principal,
    /// The request it was given for.
    pub digest: Digest,
}

/// Why a state was refused. Operators see it, clients do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Larger than any that we give.
    TooLarge,
    /// Not one of ours, or changed on its way.
    Forged,
    /// Too old.
    Expired,
    /// Given to somebody else.
    OtherPrincipal,
    /// Given for another request.
    OtherRequest,
    /// Used before, or given up to make room.
    Spent,
    /// Answers that nobody has asked for, or in a shape that nobody has asked for.
    Answers,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "larger than any that was given",
            Self::Forged => "not one that was given, or changed",
            Self::Expired => "expired",
            Self::OtherPrincipal => "given to another principal",
            Self::OtherRequest => "given for another request",
            Self::Spent => "used before, or given up",
            Self::Answers => "its answers have the wrong shape",
        })
    }
}

/// Seals states and opens them again.
#[derive(Debug)]
pub struct Seal {
    key: SealKey,
    random: Arc<Random>,
    /// Times are counted from here: no state outlives the process, whose key it is sealed with.
    started: Instant,
    refusals: Mutex<RateLimited>,
}

impl Seal {
    /// With a key that nobody has had before.
    pub fn new(random: Arc<Random>) -> Self {
        let mut key = [0; KEY_BYTES];
        random.fill(&mut key);
        let refusals = RateLimited::new(REFUSALS_PER_SECOND, Duration::from_secs(1));
        let (key, refusals) = (SealKey::new(&Secret::new(key)), Mutex::new(refusals));
        Self { key, random, started: Instant::now(), refusals }
    }

    /// A number that nobody can guess.
    pub fn draw(&self) -> u128 {
        let mut bytes = [0; 16];
        self.random.fill(&mut bytes);
        u128::from_be_bytes(bytes)
    }

    fn millis(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.started);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    /// The state that a client gets: text that needs no escape in JSON.
    pub fn seal(&self, claim: &Claim, expires: Instant) -> String {
        let mut nonce = [0; NONCE_BYTES];
        self.random.fill(&mut nonce);
        let text = encode(claim, self.millis(expires));
        URL_SAFE_NO_PAD.encode(self.key.seal(nonce, FORM, &text))
    }

    /// What was sealed, if it was here.
    ///
    /// # Errors
    /// For what we have not sealed.
    pub fn unseal(&self, state: &str) -> Result<Sealed, Refusal> {
        if state.len() > MAX_STATE {
            return Err(Refusal::TooLarge);
        }
        let sealed = URL_SAFE_NO_PAD.decode(state).map_err(|_| Refusal::Forged)?;
        let text = self.key.open(FORM, &sealed).ok_or(Refusal::Forged)?;
        Sealed::decode(&text).ok_or(Refusal::Forged)
    }

    /// A time, as it is sealed.
    pub fn now(&self, now: Instant) -> u64 {
        self.millis(now)
    }

    /// Notes a refusal as what it is, a security event, and says what the client hears.
    pub fn refused(&self, refusal: Refusal) -> Rejected {
        let mut limit = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        match limit.admit(Instant::now()) {
            Admit::Pass { dropped: 0 } => log::warn!("security: a request state is {refusal}"),
            Admit::Pass { dropped } => log::warn!(
                "security: a request state is {refusal} ({dropped} before it were not logged)"
            ),
            Admit::Drop => {}
        }
        Rejected::new(Code::InvalidParams, REFUSED)
    }
}

/// What is sealed: the expiry, the digest, the principal with its length, and what is held.
fn encode(claim: &Claim, expires: u64) -> Vec<u8> {
    let principal = claim.principal.as_bytes();
    let length = u32::try_from(principal.len()).unwrap_or(u32::MAX);
    let mut out = Vec::with_capacity(128);
    out.extend_from_slice(&expires.to_be_bytes());
    out.extend_from_slice(&claim.digest);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(principal);
    match &claim.held {
        Held::Parked { id, round } => {
            out.push(b'p');
            out.extend_from_slice(&id.to_be_bytes());
            out.extend_from_slice(&round.to_be_bytes());
        }
        Held::Wrapped(inner) => {
            out.push(b'w');
            out.extend_from_slice(inner);
        }
        Held::Anew => out.push(b'a'),
    }
    out
}

/// A state of ours, of which it is not known yet whether it is for whom shows it.
#[derive(Debug)]
pub struct Sealed {
    expires: u64,
    digest: Digest,
    principal: Vec<u8>,
    held: Held,
}

impl Sealed {
    fn decode(text: &[u8]) -> Option<Self> {
        let (expires, rest) = text.split_first_chunk()?;
        let (digest, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (principal, rest) = rest.split_at_checked(length)?;
        let (kind, rest) = rest.split_first()?;
        let held = match kind {
            b'p' => {
                let (id, round) = rest.split_first_chunk()?;
                let round = u32::from_be_bytes(round.try_into().ok()?);
                Held::Parked { id: u128::from_be_bytes(*id), round }
            }
            b'w' => Held::Wrapped(Bytes::copy_from_slice(rest)),
            b'a' => Held::Anew,
            _ => return None,
        };
        let expires = u64::from_be_bytes(*expires);
        Some(Self { expires, digest: *digest, principal: principal.to_vec(), held })
    }

    /// What the state stands for, if this principal was given it for this request and it is not
    /// too old.
    ///
    /// # Errors
    /// Why not.
    pub fn claim(self, principal: &Principal, digest: &Digest, now: u64) -> Result<Held, Refusal> {
        if self.principal != principal.as_bytes() {
            return Err(Refusal::OtherPrincipal);
        }
        if self.digest != *digest {
            return Err(Refusal::OtherRequest);
        }
        if now >= self.expires {
            return Err(Refusal::Expired);
        }
        Ok(self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: Digest = [3; 32];

    fn seal() -> Seal {
        Seal::new(Arc::new(Random::open().expect("a random device")))
    }

    fn ann() -> Principal {
        Principal::named("ann")
    }

    fn claim(held: Held) -> Claim {
        Claim { held, principal: ann(), digest: DIGEST }
    }

    fn claimed(
        seal: &Seal,
        state: &str,
        who: &Principal,
        digest: &Digest,
        now: Instant,
    ) -> Result<Held, Refusal> {
        seal.unseal(state)?.claim(who, digest, seal.now(now))
    }

    #[test]
    fn what_was_sealed_opens_for_whom_and_what_it_was_sealed_until_it_is_too_old() {
        let (seal, now) = (seal(), Instant::now());
        let later = now + Duration::from_secs(60);
        let held = [
            Held::Parked { id: seal.draw(), round: 7 },
            Held::Wrapped(Bytes::from_static(br#""\u0061b/""#)),
            Held::Wrapped(Bytes::from(vec![b'x'; MAX_INNER])),
            Held::Anew,
        ];
        for held in held {
            let state = seal.seal(&claim(held.clone()), later);
            assert!(state.len() <= MAX_STATE);
            assert!(state.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)));
            assert_eq!(claimed(&seal, &state, &ann(), &DIGEST, now), Ok(held));
            let bob = Principal::named("bob");
            assert_eq!(claimed(&seal, &state, &bob, &DIGEST, now), Err(Refusal::OtherPrincipal));
            assert_eq!(claimed(&seal, &state, &ann(), &[4; 32], now), Err(Refusal::OtherRequest));
            assert_eq!(claimed(&seal, &state, &ann(), &DIGEST, later), Err(Refusal::Expired));
        }
    }

    #[test]
    fn nothing_else_opens() {
        let (seal, now) = (seal(), Instant::now());
        let later = now + Duration::from_secs(60);
        let state = seal.seal(&claim(Held::Anew), later);
        let open = |state: &str| claimed(&seal, state, &ann(), &DIGEST, now);
        for at in 0..state.len() {
            let mut other = state.clone().into_bytes();
            other[at] = if other[at] == b'A' { b'B' } else { b'A' };
            let other = String::from_utf8(other).expect("ascii");
            assert_eq!(open(&other), Err(Refusal::Forged), "character {at}");
        }
        for other in ["", "x", "{}", &state[1..], &format!("{state}="), "\u{e9}"] {
            assert_eq!(open(other), Err(Refusal::Forged), "{other:?}");
        }
        assert_eq!(open(&"A".repeat(MAX_STATE + 1)), Err(Refusal::TooLarge));
        let foreign = self::seal().seal(&claim(Held::Anew), later);
        assert_eq!(open(&foreign), Err(Refusal::Forged), "of another process");
    }

    #[test]
    fn no_two_states_are_alike() {
        let seal = seal();
        let later = Instant::now() + Duration::from_secs(60);
        let states: std::collections::HashSet<_> =
            (0..100).map(|_| seal.seal(&claim(Held::Anew), later)).collect();
        assert_eq!(states.len(), 100);
    }

    #[test]
    fn a_client_learns_nothing_of_what_was_wrong() {
        let seal = seal();
        let all = [Refusal::TooLarge, Refusal::Forged, Refusal::Expired, Refusal::Spent];
        let said: std::collections::HashSet<_> =
            all.iter().map(|refusal| seal.refused(*refusal).to_json()).collect();
        assert_eq!(said.len(), 1);
    }
}
