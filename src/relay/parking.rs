//! Calls of modern clients that wait for input (MCP 2026-07-28 basic/patterns/mrtr).
//!
//! A legacy server asks in the middle of a call; a modern client is asked by the end of its
//! request. So the call upstream is held open here, with its questions, until the client repeats
//! its request with the answers. Who repeats it must show the state that was sealed for it; each
//! state is good for once. Nobody is waited for for ever: who is late, or has too many calls here,
//! has them ended as if the user had not answered. So has who keeps the lanes of an upstream from
//! others: at most half of them wait here, or the only one, and not all of one principal where
//! another needs a place.

use crate::bridge::canonical;
use crate::bridge::input;
use crate::bridge::question::{Question, Reply};
use crate::mcp::Method;
use crate::oauth::Principal;
use crate::relay::answer::Answer;
use crate::relay::asking::Asked;
use crate::relay::exchange::{Exchange, Step};
use crate::relay::seal::{Claim, Held, Refusal, Seal};
use crate::sys::random::Random;
use crate::task::Scope;
use crate::wire::crypto::{Digest, Sha256};
use crate::wire::json::{self, Span};
use crate::wire::jsonrpc::{Call, Request, RequestId};
use bytes::Bytes;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Most calls of one principal that are parked; of more, the oldest is given up.
pub const MOST_OF_ONE: usize = 32;

/// Most calls that are parked; beyond it, nothing is asked.
pub const MOST: usize = 1024;

/// How long a call stays parked.
pub const PARK_TIME: Duration = Duration::from_secs(600);

/// How long the state of an upstream that holds nothing open is good for.
pub const STATE_TIME: Duration = Duration::from_secs(3600);

/// How long more questions are waited for after the first one.
pub const GATHER: Duration = Duration::from_millis(20);

/// A modern client's request, as far as it matters when its upstream asks something.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    pub(super) parking: Arc<Parking>,
    pub(super) principal: Principal,
    pub(super) method: Method,
    message: Bytes,
    /// The name or URI as the upstream knows it, as a JSON string token.
    name: Bytes,
    arguments: Option<Span>,
}

impl Origin {
    /// Of a request that can be repeated; `None` for other methods ("Supported Requests").
    pub(super) fn of(
        parking: &Arc<Parking>,
        principal: Principal,
        method: Method,
        message: &Request,
        rename: Option<&Bytes>,
    ) -> Option<Self> {
        let name = message.call.param(method.mcp_name_param()?)?;
        Some(Self {
            parking: Arc::clone(parking),
            principal,
            method,
            message: message.call.bytes.clone(),
            name: rename.cloned().unwrap_or_else(|| message.call.slice(name.span)),
            arguments: message.call.param("arguments").map(|arguments| arguments.span),
        })
    }

    /// What tells this request from others, however it is written.
    pub(super) fn digest(&self, slug: &str) -> Digest {
        let mut hash = Sha256::default();
        hash.part(self.method.name().as_bytes());
        hash.part(slug.as_bytes());
        hash.part(&canonical::digest(&self.name, Span::whole(&self.name)));
        if let Some(arguments) = self.arguments {
            hash.part(&canonical::digest(&self.message, arguments));
        }
        hash.finish()
    }

    /// The state for a client of this request.
    pub(super) fn seal(&self, held: Held, slug: &str, expires: Instant) -> String {
        let (principal, digest) = (self.principal.clone(), self.digest(slug));
        self.parking.seal.seal(&Claim { held, principal, digest }, expires.into_std())
    }
}

/// The calls that are parked.
#[derive(Debug)]
pub struct Parking {
    /// Seals what clients show to get their calls back.
    pub seal: Seal,
    table: Mutex<Table>,
    scope: Arc<Scope>,
}

#[derive(Debug, Default)]
struct Table {
    slots: HashMap<u128, Slot>,
    /// Counts the calls that were parked.
    parked: u64,
}

impl Table {
    /// Whether one more would keep too many lanes from others.
    fn crowds(&self, slot: &Slot, lanes: usize) -> bool {
        let there = self.slots.values().filter(|known| known.lane == slot.lane);
        slot.lane.is_some() && there.count() >= (lanes / 2).max(1)
    }

    /// Which call is lost for one more: of those of its own principal, or of who has most where he
    /// has none.
    fn excess(&self, slot: &Slot, lanes: usize) -> Option<u128> {
        let own = self.slots.iter().filter(|(_, known)| known.principal == slot.principal);
        let (own, crowds) = (own.collect::<Vec<_>>(), self.crowds(slot, lanes));
        let many = own.len() >= MOST_OF_ONE;
        let counts = |known: &Slot| many && !crowds || crowds && known.lane == slot.lane;
        let counted = own.into_iter().filter(|(_, known)| counts(known));
        let oldest = counted.min_by_key(|(_, known)| known.order).map(|(id, _)| *id);
        oldest.or_else(|| if crowds { self.of_most(slot) } else { None })
    }

    /// The oldest call on the lanes of this upstream of whoever has most there, and more than one:
    /// nobody takes them all.
    fn of_most(&self, slot: &Slot) -> Option<u128> {
        let there = || self.slots.iter().filter(|(_, known)| known.lane == slot.lane);
        let count = |one: &Slot| there().filter(|(_, k)| k.principal == one.principal).count();
        let of_many = there().filter(|(_, known)| count(known) > 1);
        let most = of_many.max_by_key(|(_, known)| (count(known), Reverse(known.order)));
        most.map(|(id, _)| *id)
    }
}

/// A parked call; dropping it gives the call up.
#[derive(Debug)]
struct Slot {
    principal: Principal,
    round: u32,
    /// Older calls have smaller numbers.
    order: u64,
    /// The upstream of which it keeps a lane from others.
    lane: Option<String>,
    questions: Arc<[input::Entry]>,
    wake: oneshot::Sender<oneshot::Sender<Parked>>,
}

/// A call and its open questions.
#[derive(Debug)]
struct Parked {
    exchange: Box<Exchange>,
    /// By their keys.
    open: Vec<(String, Asked)>,
    /// Those that came since.
    more: Vec<Asked>,
}

/// What becomes of a call whose upstream has asked something.
#[derive(Debug)]
pub enum Parting {
    /// The client gets this; the call is parked, or has ended.
    Answer(Answer),
    /// Nothing is asked any more: the call goes on.
    Onward(Box<Exchange>),
}

/// What a client that has been asked is answered with: its request, and how long it has.
pub(super) type Paused = (Origin, RequestId, Instant);

impl Exchange {
    /// Parks the call with its first question, and with others that come within a moment.
    pub async fn park(mut self, first: Asked) -> Parting {
        let mut open = vec![first];
        let end = Instant::now() + GATHER;
        while !open.is_empty() {
            match self.next(end.saturating_duration_since(Instant::now())).await {
                Step::Ask(asked) => open.push(asked),
                Step::Withdraw(number) => open.retain(|asked| asked.number != number),
                Step::Answer(answer) => return Parting::Answer(answer),
                Step::Notification(_) => {} // what is parked has no stream
                Step::Quiet if Instant::now() < end => {}
                Step::Quiet => break,
                Step::Cancelled => return Parting::Onward(Box::new(self)),
            }
        }
        match self.origin().map(|origin| Arc::clone(&origin.parking)) {
            Some(parking) if !open.is_empty() => parking.admit(self, open),
            _ => Parting::Onward(Box::new(self)), // to drop the questions declines them
        }
    }
}

impl Parking {
    /// Nothing parked yet; what will be ends with `scope`.
    pub fn new(random: Arc<Random>, scope: Arc<Scope>) -> Self {
        Self { seal: Seal::new(random), table: Mutex::default(), scope }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Parks a call; if there is no room, its questions are declined.
    fn admit(self: &Arc<Self>, mut exchange: Exchange, open: Vec<Asked>) -> Parting {
        let Some((origin, request, expires)) = exchange.pause() else {
            return Parting::Onward(Box::new(exchange));
        };
        let round = exchange.parked;
        let keyed = open.into_iter().enumerate();
        let open: Vec<(String, Asked)> =
            keyed.map(|(at, asked)| (format!("k{round}_{}", at + 1), asked)).collect();
        let questions: Vec<input::Entry> =
            open.iter().map(|(key, asked)| (key.clone(), asked.question.clone())).collect();
        let entries: Vec<(&str, &Question)> =
            questions.iter().map(|(key, question)| (key.as_str(), question)).collect();
        let id = self.seal.draw();
        let state = origin.seal(Held::Parked { id, round }, exchange.slug(), expires);
        let space = open.first().and_then(|(_, asked)| asked.space.as_deref());
        let result = input::input_required(&entries, space, &state);
        let (wake, woken) = oneshot::channel();
        let (principal, questions) = (origin.principal, questions.into());
        let (lane, lanes) = exchange.lane().unzip();
        let slot = Slot { principal, round, order: 0, lane, questions, wake };
        if self.scope.token().is_cancelled() {
            exchange.go_on();
            return Parting::Onward(Box::new(exchange)); // nobody could come back
        }
        if !self.enter(id, slot, lanes.unwrap_or_default()) {
            log::warn!("too many calls wait for their clients: what upstreams ask is declined");
            exchange.go_on();
            return Parting::Onward(Box::new(exchange));
        }
        exchange.leave_place();
        let parked = Parked { exchange: Box::new(exchange), open, more: Vec::new() };
        let (parking, stop) = (Arc::clone(self), self.scope.token());
        self.scope.spawn("parked call", async move {
            let late = async {
                tokio::select! {
                    () = tokio::time::sleep_until(expires) => {}
                    () = stop.cancelled() => {} // nobody can come back
                }
            };
            parked.wait(woken, late, &parking, id).await;
        });
        Parting::Answer(Answer::result(&request, result))
    }

    /// Notes a parked call; `false` when there are too many, in all or on the `lanes` of its
    /// upstream. Whoever has too many of his own loses his oldest.
    fn enter(&self, id: u128, mut slot: Slot, lanes: usize) -> bool {
        let mut table = self.lock();
        let given_up = table.excess(&slot, lanes).and_then(|id| table.slots.remove(&id));
        let room = table.slots.len() < MOST && !table.crowds(&slot, lanes);
        if room {
            table.parked += 1;
            slot.order = table.parked;
            table.slots.insert(id, slot);
        }
        drop(table);
        drop(given_up);
        room
    }

    /// Takes a call out; `false` when somebody else has.
    fn forget(&self, id: u128) -> bool {
        self.lock().slots.remove(&id).is_some()
    }

    /// The questions of a parked call, if this principal may answer them.
    fn questions(
        &self,
        id: u128,
        round: u32,
        principal: &Principal,
    ) -> Option<Arc<[input::Entry]>> {
        let table = self.lock();
        let slot = table.slots.get(&id)?;
        let may = slot.round == round && slot.principal == *principal;
        may.then(|| Arc::clone(&slot.questions))
    }

    /// Takes a call back with the answers that a repeated request carries, as far as it does;
    /// what was not answered is asked again.
    ///
    /// # Errors
    /// Why it does not get it; with wrong answers the call stays parked.
    pub(super) async fn resume(
        &self,
        (id, round): (u128, u32),
        principal: &Principal,
        call: &Call,
    ) -> Result<Box<Exchange>, Refusal> {
        let questions = self.questions(id, round, principal).ok_or(Refusal::Spent)?;
        let answers = input::answers(call).map_err(|_| Refusal::Answers)?;
        for (key, question) in questions.iter() {
            if let Some(answer) = answers.value(&call.bytes, key) {
                let checked = input::check(question, &call.bytes, answer);
                checked.map_err(|_| Refusal::Answers)?;
            }
        }
        let slot = self.lock().slots.remove(&id).ok_or(Refusal::Spent)?;
        let (back, parked) = oneshot::channel();
        slot.wake.send(back).map_err(|_| Refusal::Spent)?;
        let Parked { mut exchange, open, mut more } = parked.await.map_err(|_| Refusal::Spent)?;
        for (key, asked) in open {
            match answers.value(&call.bytes, &key) {
                Some(answer) => asked.answer(Reply::Result(call.slice(answer.span))),
                None => more.push(asked),
            }
        }
        exchange.ask_again(more);
        Ok(exchange)
    }

    /// Whether the user is willing to go where a call must be made anew after.
    ///
    /// # Errors
    /// When that cannot be read from the answers.
    pub(super) fn is_willing(call: &Call) -> Result<bool, Refusal> {
        let answers = input::answers(call).map_err(|_| Refusal::Answers)?;
        let question = Question { method: Method::Elicit, params: None };
        let mut willing = true;
        for member in &answers.members {
            let checked = input::check(&question, &call.bytes, member.value);
            checked.map_err(|_| Refusal::Answers)?;
            let answer = json::Object::read(&call.bytes, member.value.span).unwrap_or_default();
            willing &= answer.text(&call.bytes, "action").as_deref() == Some("accept");
        }
        Ok(willing)
    }
}

impl Parked {
    /// Keeps the call until its client comes back, or it is given up.
    async fn wait(
        mut self,
        mut woken: oneshot::Receiver<oneshot::Sender<Self>>,
        late: impl Future<Output = ()>,
        parking: &Parking,
        id: u128,
    ) {
        let mut is_late = false;
        tokio::pin!(late);
        loop {
            tokio::select! {
                biased;
                back = &mut woken => match back {
                    Ok(back) => {
                        let _ = back.send(self); // a client that is gone has cancelled its request
                        return;
                    }
                    Err(_) => break,
                },
                step = self.exchange.idle() => match step {
                    Step::Ask(asked) => self.more.push(asked),
                    Step::Withdraw(number) => self.withdraw(number),
                    _ => {}
                },
                () = &mut late, if !is_late => {
                    is_late = true;
                    if parking.forget(id) {
                        break;
                    } // else its client is coming back right now
                }
            }
        }
        self.exchange.give_up(self.open.into_iter().map(|(_, asked)| asked).chain(self.more));
    }

    fn withdraw(&mut self, number: u64) {
        self.open.retain(|(_, asked)| asked.number != number);
        self.more.retain(|asked| asked.number != number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn laned(who: &'static str, order: u64) -> Slot {
        Slot { order, ..slot(who, Some("x")) }
    }

    fn table(who: &[&'static str]) -> Table {
        let slots = who.iter().zip(1..).map(|(who, order)| (u128::from(order), laned(who, order)));
        Table { slots: slots.collect(), parked: 0 }
    }

    #[test]
    fn nobody_keeps_all_places_on_the_lanes_of_an_upstream() {
        let lost = |parked: &Table, who| parked.excess(&laned(who, 9), 6);
        assert_eq!(lost(&table(&["ann", "ann"]), "bob"), None, "there is room");
        let one = table(&["ann", "ann", "ann"]);
        assert_eq!(lost(&one, "ann"), Some(1), "his own oldest");
        assert_eq!(lost(&one, "bob"), Some(1), "the oldest of who has most");
        assert_eq!(lost(&table(&["bob", "ann", "ann"]), "eve"), Some(2));
        assert_eq!(lost(&table(&["ann", "bob", "eve"]), "joe"), None, "each has one");
        assert_eq!(lost(&table(&["bob", "ann", "ann"]), "bob"), Some(1), "his own");
    }

    fn parking() -> Parking {
        let random = Arc::new(Random::open().expect("a random device"));
        Parking::new(random, Arc::new(Scope::root("test")))
    }

    fn slot(who: &'static str, lane: Option<&str>) -> Slot {
        let (wake, _) = oneshot::channel();
        let (principal, lane) = (Principal::named(who), lane.map(str::to_owned));
        Slot { principal, round: 1, order: 0, lane, questions: Arc::new([]), wake }
    }

    fn parked(parking: &Parking) -> Vec<u128> {
        let mut ids: Vec<u128> = parking.lock().slots.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    #[test]
    fn who_has_too_many_loses_his_own_oldest() {
        let parking = parking();
        let most = MOST_OF_ONE as u128;
        assert!(parking.enter(0, slot("bob", None), 0));
        for id in 1..=most + 2 {
            assert!(parking.enter(id, slot("ann", None), 0));
        }
        let left: Vec<u128> = [0].into_iter().chain(3..=most + 2).collect();
        assert_eq!(parked(&parking), left);
    }

    #[test]
    fn what_keeps_no_lane_of_this_upstream_makes_no_room_on_it() {
        let parking = parking();
        for (id, lane) in [(1, None), (2, Some("other")), (3, Some("this")), (4, Some("this"))] {
            assert!(parking.enter(id, slot("ann", lane), 2));
        }
        assert_eq!(parked(&parking), [1, 2, 4]);
        assert!(!parking.enter(5, slot("bob", Some("this")), 2), "it is not his to give up");
        assert_eq!(parked(&parking), [1, 2, 4]);
    }

    #[test]
    fn so_many_are_parked_and_no_more() {
        let parking = parking();
        for id in 0..MOST {
            let who = format!("principal {}", id / MOST_OF_ONE).leak();
            assert!(parking.enter(id as u128, slot(who, None), 0), "{id}");
        }
        assert!(!parking.enter(u128::MAX, slot("late", None), 0));
        assert_eq!(parked(&parking).len(), MOST, "nobody else has lost one");
    }

    #[test]
    fn only_who_was_asked_last_may_answer() {
        let parking = parking();
        parking.enter(7, slot("ann", None), 0);
        let may = |id, round, who| parking.questions(id, round, &Principal::named(who)).is_some();
        assert!(may(7, 1, "ann"));
        for (id, round, who) in [(7, 2, "ann"), (7, 0, "ann"), (7, 1, "bob"), (8, 1, "ann")] {
            assert!(!may(id, round, who), "{id} {round} {who}");
        }
    }
}
