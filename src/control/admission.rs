//! Who may have a request under way: counters with limits, and fair shares of the places of one
//! upstream.
//!
//! What is beyond a limit is refused at once, with the limit's name; nothing queues here. A place
//! is anybody's while nobody else wants it. As soon as somebody was refused for want of one, nobody
//! else gets more than an equal share until that was [`WANT`] ago: first among principals, then
//! among the sessions of one principal. Nothing is taken away from who has it.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// When to try again, as far as we can say: no request is known to end sooner.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

/// For how long who was refused is taken to want a place.
pub const WANT: Duration = Duration::from_secs(1);

/// Under [`Pressure`], so many requests are under way nevertheless: memory that an allocator keeps
/// must not shut us for ever.
pub const TRICKLE: usize = 16;

/// A limit that was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Requests under way at one upstream.
    InFlight,
    /// An equal share of those, while others want some.
    InFlightShare,
    /// Requests under way in all.
    InFlightTotal,
    /// Requests of one principal that are under way.
    InFlightPerClient,
    /// Sessions in all.
    Sessions,
    /// Sessions of one principal.
    SessionsPerClient,
    /// See [`Pressure`].
    Pressure(Pressure),
}

/// What we have too little of ourselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pressure {
    /// Our own memory.
    Memory,
    /// File descriptors.
    Descriptors,
}

impl Limit {
    /// The setting, or what there is too little of.
    pub fn name(self) -> &'static str {
        match self {
            Self::InFlight => "inFlight",
            Self::InFlightShare => "inFlightShare",
            Self::InFlightTotal => "inFlightTotal",
            Self::InFlightPerClient => "inFlightPerClient",
            Self::Sessions => "sessions",
            Self::SessionsPerClient => "sessionsPerClient",
            Self::Pressure(Pressure::Memory) => "memory",
            Self::Pressure(Pressure::Descriptors) => "descriptors",
        }
    }

    /// Whether the client's own use has met it, rather than that of all together.
    pub fn is_own(self) -> bool {
        matches!(self, Self::InFlightShare | Self::InFlightPerClient | Self::SessionsPerClient)
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InFlight => "too many requests are in flight",
            Self::InFlightShare => "others wait for their share of the requests in flight",
            Self::InFlightTotal => "the gateway is overloaded: too many requests are in flight",
            Self::InFlightPerClient => "too many requests of this client are in flight",
            Self::Sessions => "too many sessions are open",
            Self::SessionsPerClient => "too many sessions of this client are open",
            Self::Pressure(Pressure::Memory) => "the gateway is overloaded: memory runs short",
            Self::Pressure(Pressure::Descriptors) => {
                "the gateway is overloaded: file descriptors run short"
            }
        })
    }
}

/// For whom a request is made: a principal, and the session of it if there is one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Who<P> {
    /// Who is asking.
    pub principal: P,
    /// The session; all requests without one are together.
    pub session: Option<u64>,
}

/// All requests that are under way.
#[derive(Debug)]
pub struct Hall<P> {
    total: usize,
    per_client: usize,
    taken: usize,
    by_client: HashMap<P, usize>,
    pressure: Option<Pressure>,
}

impl<P: Clone + Eq + Hash> Hall<P> {
    /// At most `total` requests, and `per_client` of one principal.
    pub fn new(total: usize, per_client: usize) -> Self {
        Self { total, per_client, taken: 0, by_client: HashMap::new(), pressure: None }
    }

    /// What we have too little of from now on; `None` if nothing.
    pub fn press(&mut self, pressure: Option<Pressure>) {
        self.pressure = pressure;
    }

    /// What we have too little of.
    pub fn pressure(&self) -> Option<Pressure> {
        self.pressure
    }

    /// Lets one more in.
    ///
    /// # Errors
    /// The limit that forbids it.
    pub fn enter(&mut self, principal: &P) -> Result<(), Limit> {
        let own = self.by_client.get(principal).copied().unwrap_or_default();
        match self.pressure {
            Some(pressure) if self.taken >= TRICKLE => return Err(Limit::Pressure(pressure)),
            _ if own >= self.per_client => return Err(Limit::InFlightPerClient),
            _ if self.taken >= self.total => return Err(Limit::InFlightTotal),
            _ => {}
        }
        self.taken += 1;
        match self.by_client.get_mut(principal) {
            Some(own) => *own += 1,
            None => drop(self.by_client.insert(principal.clone(), 1)),
        }
        Ok(())
    }

    /// One that was let in has left.
    pub fn leave(&mut self, principal: &P) {
        self.taken = self.taken.saturating_sub(1);
        release(&mut self.by_client, principal);
    }
}

/// Counts one less; who has none is forgotten.
fn release<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// Who was refused last, and last before that somebody else: enough to know for each whether
/// another one was.
#[derive(Debug)]
struct Wanting<K> {
    last: Option<(K, Instant)>,
    before: Option<(K, Instant)>,
}

impl<K: Clone + Eq> Wanting<K> {
    fn note(&mut self, key: &K, now: Instant) {
        if self.last.as_ref().is_none_or(|(last, _)| last != key) {
            self.before = self.last.take();
        }
        self.last = Some((key.clone(), now));
    }

    /// Somebody else who wants a place.
    fn other_than(&self, key: &K, now: Instant) -> Option<&K> {
        let last = self.last.as_ref().filter(|(last, _)| last != key);
        let (other, at) = last.or(self.before.as_ref())?;
        (now.saturating_duration_since(*at) < WANT && other != key).then_some(other)
    }
}

impl<K> Default for Wanting<K> {
    fn default() -> Self {
        Self { last: None, before: None }
    }
}

/// The equal share in `places` of each of those who have some, of whom there are so many, and of
/// those who want some, whether they have any or not.
fn share(places: usize, holders: usize, wanting: [bool; 2]) -> usize {
    let more = wanting.into_iter().filter(|has| !has).count();
    (places / (holders + more)).max(1)
}

/// What one principal has in a [`Room`].
#[derive(Debug, Default)]
struct Holder {
    taken: usize,
    /// Of so many sessions.
    sessions: usize,
    wanting: Wanting<Option<u64>>,
}

/// The places of one upstream.
#[derive(Debug)]
pub struct Room<P> {
    places: usize,
    taken: usize,
    parked: usize,
    holders: HashMap<P, Holder>,
    /// What each session has; one map for all, which keeps its room.
    sessions: HashMap<Who<P>, usize>,
    wanting: Wanting<P>,
}

impl<P: Clone + Eq + Hash> Room<P> {
    /// So many places, none of them taken.
    pub fn new(places: usize) -> Self {
        let (holders, sessions) = (HashMap::new(), HashMap::new());
        Self { places, taken: 0, parked: 0, holders, sessions, wanting: Wanting::default() }
    }

    /// Takes a place.
    ///
    /// # Errors
    /// [`Limit::InFlight`] when there is none, [`Limit::InFlightShare`] when somebody else is to
    /// have the next.
    pub fn enter(&mut self, who: &Who<P>, now: Instant) -> Result<(), Limit> {
        let limit = match () {
            () if self.taken >= self.places => Limit::InFlight,
            () if self.is_greedy(who, now) => Limit::InFlightShare,
            () => {
                self.take(who);
                return Ok(());
            }
        };
        self.wanting.note(&who.principal, now);
        if let Some(holder) = self.holders.get_mut(&who.principal) {
            holder.wanting.note(&who.session, now);
        }
        Err(limit)
    }

    fn take(&mut self, who: &Who<P>) {
        self.taken += 1;
        let holder = self.holders.entry(who.principal.clone()).or_default();
        holder.taken += 1;
        let own = self.sessions.entry(who.clone()).or_default();
        holder.sessions += usize::from(*own == 0);
        *own += 1;
    }

    /// Whether it has its share already, and somebody else wants some.
    fn is_greedy(&self, who: &Who<P>, now: Instant) -> bool {
        let Some(holder) = self.holders.get(&who.principal) else { return false };
        let mut most = self.places;
        if let Some(other) = self.wanting.other_than(&who.principal, now) {
            let has = self.holders.contains_key(other);
            most = share(self.places, self.holders.len(), [true, has]);
            if holder.taken >= most {
                return true;
            }
        }
        let Some(sibling) = holder.wanting.other_than(&who.session, now) else { return false };
        let of = |session| Who { principal: who.principal.clone(), session };
        let own = self.sessions.get(who).copied().unwrap_or_default();
        let has = self.sessions.contains_key(&of(*sibling));
        own >= share(most, holder.sessions, [own > 0, has])
    }

    /// Gives a place up.
    pub fn leave(&mut self, who: &Who<P>) {
        self.taken = self.taken.saturating_sub(1);
        release(&mut self.sessions, who);
        if let Some(holder) = self.holders.get_mut(&who.principal) {
            holder.taken = holder.taken.saturating_sub(1);
            let left = usize::from(!self.sessions.contains_key(who));
            holder.sessions = holder.sessions.saturating_sub(left);
            if holder.taken == 0 {
                self.holders.remove(&who.principal);
            }
        }
    }

    /// What had a place waits for its client now. Who parks it bounds that.
    pub fn park(&mut self, who: &Who<P>) {
        self.leave(who);
        self.parked += 1;
    }

    /// What was parked has ended, or has a place again.
    pub fn unpark(&mut self) {
        self.parked = self.parked.saturating_sub(1);
    }

    /// Whether anything is under way or parked.
    pub fn is_busy(&self) -> bool {
        self.taken + self.parked > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn who(principal: u8, session: Option<u64>) -> Who<u8> {
        Who { principal, session }
    }

    #[test]
    fn who_is_alone_may_have_all_and_makes_room_as_soon_as_another_wants_some() {
        let (mut room, now) = (Room::new(4), Instant::now());
        let (ann, bob) = (who(1, None), who(2, None));
        for _ in 0..4 {
            assert_eq!(room.enter(&ann, now), Ok(()));
        }
        assert_eq!(room.enter(&bob, now), Err(Limit::InFlight));
        room.leave(&ann);
        assert_eq!(room.enter(&ann, now), Err(Limit::InFlightShare), "bob wants it");
        assert_eq!(room.enter(&bob, now), Ok(()));
        room.leave(&ann);
        assert_eq!(room.enter(&ann, now), Err(Limit::InFlightShare), "she has two of four");
        assert_eq!(room.enter(&bob, now), Ok(()));
        room.leave(&ann);
        assert_eq!(room.enter(&bob, now), Err(Limit::InFlightShare), "and so has he");
        assert_eq!(room.enter(&ann, now), Ok(()));
        room.leave(&ann);
        room.leave(&ann);
        assert_eq!(room.enter(&bob, now + WANT), Ok(()), "nobody wants it any more");
    }

    #[test]
    fn sessions_of_one_principal_share_what_it_has() {
        let (mut room, now) = (Room::new(4), Instant::now());
        let (one, two) = (who(1, Some(1)), who(1, Some(2)));
        for _ in 0..4 {
            assert_eq!(room.enter(&one, now), Ok(()));
        }
        assert_eq!(room.enter(&two, now), Err(Limit::InFlight));
        room.leave(&one);
        assert_eq!(room.enter(&one, now), Err(Limit::InFlightShare));
        assert_eq!(room.enter(&two, now), Ok(()));
        let bob = who(2, None);
        assert_eq!(room.enter(&bob, now), Err(Limit::InFlight));
        room.leave(&one);
        assert_eq!(room.enter(&two, now), Err(Limit::InFlightShare), "three of one principal");
        assert_eq!(room.enter(&bob, now), Ok(()), "many sessions are one principal");
    }

    #[test]
    fn under_pressure_a_little_goes_on() {
        let mut hall = Hall::new(100, 100);
        hall.press(Some(Pressure::Memory));
        for _ in 0..TRICKLE {
            assert_eq!(hall.enter(&1), Ok(()));
        }
        assert_eq!(hall.enter(&1), Err(Limit::Pressure(Pressure::Memory)));
        hall.leave(&1);
        assert_eq!(hall.enter(&1), Ok(()));
        hall.press(None);
        assert_eq!(hall.enter(&1), Ok(()));
    }

    #[derive(Debug, Clone)]
    enum Event {
        Enter(u8, Option<u64>),
        Leave(prop::sample::Index),
        Park(prop::sample::Index),
        Unpark,
        Wait(u64),
        Press(bool),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            6 => (0..4u8, prop::option::of(0..3u64)).prop_map(|(p, s)| Event::Enter(p, s)),
            3 => any::<prop::sample::Index>().prop_map(Event::Leave),
            1 => any::<prop::sample::Index>().prop_map(Event::Park),
            1 => Just(Event::Unpark),
            2 => (0..1500u64).prop_map(Event::Wait),
            1 => any::<bool>().prop_map(Event::Press),
        ]
    }

    /// What is known of the outside: who is in, and who was refused when.
    struct Model {
        hall: Hall<u8>,
        room: Room<u8>,
        inside: Vec<Who<u8>>,
        parked: usize,
        refused: Vec<(Who<u8>, Instant)>,
        now: Instant,
        limits: (usize, usize, usize),
    }

    impl Model {
        fn count(&self, is: impl Fn(&Who<u8>) -> bool) -> usize {
            self.inside.iter().filter(|who| is(who)).count()
        }

        fn distinct<T: Hash + Eq>(&self, key: impl Fn(&Who<u8>) -> Option<T>) -> usize {
            self.inside.iter().filter_map(key).collect::<HashSet<_>>().len()
        }

        fn wanted(&self, is: impl Fn(&Who<u8>) -> bool) -> bool {
            self.refused.iter().any(|(who, at)| is(who) && self.now - *at < WANT)
        }

        fn enter(&mut self, who: Who<u8>) {
            let (places, total, per_client) = self.limits;
            let own = self.count(|one| one.principal == who.principal);
            match self.hall.enter(&who.principal) {
                Ok(()) => {}
                Err(Limit::InFlightPerClient) => return assert_eq!(own, per_client),
                Err(Limit::InFlightTotal) => return assert_eq!(self.inside.len(), total),
                Err(Limit::Pressure(_)) => return assert!(self.inside.len() >= TRICKLE),
                Err(other) => unreachable!("{other:?}"),
            }
            match self.room.enter(&who, self.now) {
                Ok(()) => return self.inside.push(who),
                Err(Limit::InFlight) => assert_eq!(self.inside.len(), places),
                Err(limit) => {
                    assert_eq!(limit, Limit::InFlightShare);
                    let (p, s) = (who.principal, who.session);
                    let others = self.wanted(|one| one.principal != p);
                    let siblings = self.wanted(|one| one.principal == p && one.session != s);
                    // its share can be no smaller: one more than those inside may want some
                    let principals = self.distinct(|one| Some(one.principal));
                    let sessions = self.distinct(|one| (one.principal == p).then_some(one.session));
                    let least = (places / (principals + 1)).max(1);
                    let same = self.count(|one| *one == who);
                    let greedy = others && own >= least;
                    let greedy_within = siblings && same >= (least / (sessions + 1)).max(1);
                    assert!(greedy || greedy_within, "refused in vain");
                }
            }
            self.hall.leave(&who.principal);
            self.refused.push((who, self.now));
        }

        fn step(&mut self, event: &Event) {
            match event {
                Event::Enter(principal, session) => self.enter(who(*principal, *session)),
                Event::Leave(index) if !self.inside.is_empty() => {
                    let who = self.inside.swap_remove(index.index(self.inside.len()));
                    self.hall.leave(&who.principal);
                    self.room.leave(&who);
                }
                Event::Park(index) if !self.inside.is_empty() => {
                    let who = self.inside.swap_remove(index.index(self.inside.len()));
                    self.hall.leave(&who.principal);
                    self.room.park(&who);
                    self.parked += 1;
                }
                Event::Unpark if self.parked > 0 => {
                    self.room.unpark();
                    self.parked -= 1;
                }
                Event::Wait(ms) => self.now += Duration::from_millis(*ms),
                Event::Press(on) => self.hall.press(on.then_some(Pressure::Memory)),
                _ => {}
            }
            let (places, total, per_client) = self.limits;
            assert_eq!((self.hall.taken, self.room.taken), (self.inside.len(), self.inside.len()));
            assert!(self.inside.len() <= places.min(total));
            let most = (0..4).map(|p| self.count(|one| one.principal == p)).max();
            assert!(most.unwrap_or_default() <= per_client);
            assert_eq!(self.room.is_busy(), self.inside.len() + self.parked > 0);
        }
    }

    proptest! {
        #[test]
        fn whatever_happens_no_limit_is_passed_none_refused_in_vain_and_all_comes_back(
            (places, total, per_client) in (1..24usize, 1..24usize, 1..24usize),
            events in prop::collection::vec(event(), 1..200),
        ) {
            let (hall, room) = (Hall::new(total, per_client), Room::new(places));
            let (inside, refused, now) = (Vec::new(), Vec::new(), Instant::now());
            let limits = (places, total, per_client);
            let mut model = Model { hall, room, inside, parked: 0, refused, now, limits };
            for event in &events {
                model.step(event);
            }
            while let Some(who) = model.inside.pop() {
                model.hall.leave(&who.principal);
                model.room.leave(&who);
            }
            while model.parked > 0 {
                model.step(&Event::Unpark);
            }
            prop_assert!(!model.room.is_busy());
            prop_assert!(model.room.sessions.is_empty());
            prop_assert!(model.room.holders.is_empty() && model.hall.by_client.is_empty());
            model.step(&Event::Wait(1000));
            model.step(&Event::Press(false));
            model.step(&Event::Enter(9, None));
            prop_assert_eq!(model.inside.len(), 1, "all has recovered");
        }
    }
}
