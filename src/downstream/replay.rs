//! What the streams of one session said, kept for a while, so that a client whose connection broke
//! goes on where it was (MCP 2025-11-25 basic/transports, "Resumability and Redelivery").
//!
//! An event id is looked up and never trusted: it names a stream of this session, and a place in
//! it. Nothing here waits for a client: where room is short, the oldest is given up.

use crate::wire::sse::encode;
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Most events that are kept of one stream.
pub const STREAM_EVENTS: usize = 1024;

/// Most bytes that are kept of one stream, its newest event apart.
pub const STREAM_BYTES: usize = 4 << 20;

/// Most bytes that are kept of one session, the newest event of each stream apart.
pub const SESSION_BYTES: usize = 16 << 20;

/// Most bytes that are kept of all sessions together; where it is more, who keeps most gives up.
pub const TOTAL_BYTES: usize = 256 << 20;

/// Most streams of one session that are kept after their end.
pub const ENDED_STREAMS: usize = 64;

/// How long an event, and a stream that nobody has read to its end, are kept.
pub const KEPT: Duration = Duration::from_secs(300);

/// How long a stream is kept that was written to its end: its connection may have broken since.
pub const KEPT_WRITTEN: Duration = Duration::from_secs(30);

/// The stream for messages outside requests, which lives as long as its session.
pub const STANDING: u64 = 0;

/// Up to this size an event is written in one piece; a larger one is not copied.
const COPY_BELOW: usize = 16 << 10;

/// An event as it is written, in pieces that belong together.
pub type Frame = Vec<Bytes>;

/// The event that carries a message.
pub fn frame(message: Bytes, id: Option<&str>) -> Frame {
    if message.len() < COPY_BELOW {
        return vec![encode::event(&message, id)];
    }
    let (prefix, data, suffix) = encode::event_parts(message, id);
    vec![prefix, data, suffix]
}

/// The streams of one session.
#[derive(Debug)]
pub struct Replay {
    /// Stands in every event id: an id of another session names nothing here.
    tag: String,
    state: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    streams: BTreeMap<u64, Stream>,
    next: u64,
    bytes: usize,
    /// The bytes of all sessions.
    total: Arc<AtomicUsize>,
    closed: bool,
}

#[derive(Debug, Default)]
struct Stream {
    events: VecDeque<Event>,
    bytes: usize,
    /// The place of the newest event; those before it are numbered from 1.
    last: u64,
    /// Up to where a connection has taken them.
    taken: u64,
    /// The connection that reads it.
    reader: Option<u64>,
    readers: u64,
    ended: Option<Instant>,
    wake: Arc<Notify>,
}

#[derive(Debug)]
struct Event {
    place: u64,
    at: Instant,
    frame: Frame,
    /// The id of the question that it puts.
    question: Option<u64>,
}

impl Event {
    fn size(&self) -> usize {
        self.frame.iter().map(Bytes::len).sum()
    }
}

impl Stream {
    fn is_over_its_room(&self) -> bool {
        let much = self.events.len() > STREAM_EVENTS || self.bytes > STREAM_BYTES;
        much && self.events.len() > 1
    }

    fn is_written(&self) -> bool {
        self.taken == self.last
    }

    /// Whether a connection is yet to take this event.
    fn awaits(&self, event: &Event) -> bool {
        event.place > self.taken && self.reader.is_some()
    }

    fn is_stale(&self, now: Instant) -> bool {
        let kept = if self.is_written() { KEPT_WRITTEN } else { KEPT };
        self.ended.is_some_and(|ended| now.duration_since(ended) >= kept)
    }
}

/// Questions that are given up before anybody was asked, by their ids.
pub type Unasked = Vec<u64>;

impl Kept {
    fn add(&mut self, number: u64, event: Event) {
        let size = event.size();
        let Some(stream) = self.streams.get_mut(&number) else { return };
        stream.bytes += size;
        stream.events.push_back(event);
        self.bytes += size;
        self.total.fetch_add(size, Ordering::Relaxed);
    }

    fn forget(&mut self, size: usize) {
        self.bytes = self.bytes.saturating_sub(size);
        self.total.fetch_sub(size, Ordering::Relaxed);
    }

    /// Gives up the oldest event of a stream.
    fn drop_oldest(&mut self, number: u64, unasked: &mut Unasked) {
        let Some(stream) = self.streams.get_mut(&number) else { return };
        let Some(event) = stream.events.pop_front() else { return };
        stream.bytes = stream.bytes.saturating_sub(event.size());
        if event.place > stream.taken {
            unasked.extend(event.question);
        }
        self.forget(event.size());
    }

    fn drop_stream(&mut self, number: u64) {
        if let Some(stream) = self.streams.remove(&number) {
            self.forget(stream.bytes);
            stream.wake.notify_waiters();
        }
    }

    /// The stream to be given up first: ended, unread, rather written than not, the oldest.
    fn spare(&self, but: u64) -> Option<u64> {
        let ended = self.streams.iter().filter_map(|(number, stream)| {
            let ended = stream.ended.filter(|_| stream.reader.is_none() && *number != but)?;
            Some((!stream.is_written(), ended, *number))
        });
        ended.min().map(|(_, _, number)| number)
    }

    /// The stream whose oldest event is given up first: rather one that no connection waits for,
    /// then the oldest. Each keeps its newest `least` events.
    fn oldest(&self, least: usize) -> Option<u64> {
        let oldest = self.streams.iter().filter_map(|(number, stream)| {
            let event = stream.events.front().filter(|_| stream.events.len() > least)?;
            Some((stream.awaits(event), event.at, *number))
        });
        oldest.min().map(|(_, _, number)| number)
    }

    /// Gives up what is missed least; false when there is nothing.
    fn give_up(&mut self, least: usize, unasked: &mut Unasked) -> bool {
        if let Some(spare) = self.spare(STANDING) {
            self.drop_stream(spare);
            return true;
        }
        let oldest = self.oldest(least);
        oldest.into_iter().for_each(|number| self.drop_oldest(number, unasked));
        oldest.is_some()
    }

    /// Makes up for a new event of a stream.
    fn make_room(&mut self, number: u64) -> Unasked {
        let mut unasked = Unasked::new();
        while self.streams.get(&number).is_some_and(Stream::is_over_its_room) {
            self.drop_oldest(number, &mut unasked);
        }
        while self.bytes > SESSION_BYTES && self.give_up(1, &mut unasked) {}
        unasked
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.forget(self.bytes);
    }
}

/// What a reader finds.
enum Found {
    Event(Frame),
    Nothing,
    End,
}

impl Replay {
    /// Nothing was said yet. `tag` is of digits and letters; `total` counts for all sessions.
    pub fn new(tag: String, total: Arc<AtomicUsize>) -> Self {
        let streams = BTreeMap::from([(STANDING, Stream::default())]);
        let state = Kept { streams, next: STANDING + 1, bytes: 0, total, closed: false };
        Self { tag, state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn id(&self, number: u64, place: u64) -> String {
        format!("{}-{number}-{place}", self.tag)
    }

    /// Begins a stream; its number.
    pub fn open(&self) -> u64 {
        let mut kept = self.lock();
        let ended = kept.streams.values().filter(|stream| stream.ended.is_some()).count();
        if let Some(spare) = kept.spare(STANDING).filter(|_| ended >= ENDED_STREAMS) {
            kept.drop_stream(spare);
        }
        let number = kept.next;
        kept.next += 1;
        if !kept.closed {
            kept.streams.insert(number, Stream::default());
        }
        number
    }

    /// Says something on a stream; `question` is the id of the question that it puts.
    pub fn push(&self, number: u64, message: Bytes, question: Option<u64>) -> Unasked {
        let place = self.lock().streams.get_mut(&number).map(|stream| {
            stream.last += 1;
            stream.last
        });
        let Some(place) = place else { return question.into_iter().collect() };
        // only who has opened a stream pushes to it: the order is kept without the lock
        let frame = frame(message, Some(&self.id(number, place)));
        let mut kept = self.lock();
        kept.add(number, Event { place, at: Instant::now(), frame, question });
        let unasked = kept.make_room(number);
        if let Some(stream) = kept.streams.get(&number) {
            stream.wake.notify_waiters();
        }
        unasked
    }

    /// The bytes that are kept.
    pub fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// Gives up at least so many bytes for the sake of other sessions, if there are so many: here
    /// even what a connection waits for, which is slower than all this is large.
    pub fn shed(&self, bytes: usize) -> Unasked {
        let mut unasked = Unasked::new();
        let mut kept = self.lock();
        let rest = kept.bytes.saturating_sub(bytes);
        while kept.bytes > rest && kept.give_up(0, &mut unasked) {}
        unasked
    }

    /// Nothing more will be said on a stream.
    pub fn end(&self, number: u64) {
        if let Some(stream) = self.lock().streams.get_mut(&number) {
            stream.ended = Some(Instant::now());
            stream.wake.notify_waiters();
        }
    }

    /// The stream and the place that an event id names.
    pub fn find(&self, id: &str) -> Option<(u64, u64)> {
        let (rest, place) = id.rsplit_once('-')?;
        let (number, place) = (rest.rsplit_once('-')?.1.parse().ok()?, place.parse().ok()?);
        let known = self.lock().streams.get(&number).is_some_and(|stream| place <= stream.last);
        (known && self.id(number, place) == id).then_some((number, place))
    }

    /// Reads a stream after a place, or from now on; who has read it so far does not any more.
    /// `None` when it is not kept.
    pub fn read(self: &Arc<Self>, number: u64, after: Option<u64>) -> Option<Reader> {
        let mut kept = self.lock();
        let stream = kept.streams.get_mut(&number)?;
        stream.readers += 1;
        stream.reader = Some(stream.readers);
        stream.wake.notify_waiters();
        let after = after.unwrap_or(stream.last);
        let (key, wake) = (stream.readers, Arc::clone(&stream.wake));
        drop(kept);
        Some(Reader { replay: Arc::clone(self), number, after, key, wake })
    }

    /// Gives up what is too old.
    pub fn sweep(&self, now: Instant) -> Unasked {
        let mut unasked = Unasked::new();
        let mut kept = self.lock();
        let numbers: Vec<u64> = kept.streams.keys().copied().collect();
        for number in numbers {
            if kept.streams.get(&number).is_some_and(|stream| stream.is_stale(now)) {
                kept.drop_stream(number);
            }
            let is_old = |event: &Event| now.duration_since(event.at) >= KEPT;
            while kept.streams.get(&number).and_then(|s| s.events.front()).is_some_and(is_old) {
                kept.drop_oldest(number, &mut unasked);
            }
        }
        unasked
    }

    /// The session has ended: nothing is kept, and every reader is at the end.
    pub fn close(&self) {
        let mut kept = self.lock();
        kept.closed = true;
        let numbers: Vec<u64> = kept.streams.keys().copied().collect();
        numbers.into_iter().for_each(|number| kept.drop_stream(number));
    }

    fn take(&self, reader: &mut Reader) -> Found {
        let mut kept = self.lock();
        let Some(stream) = kept.streams.get_mut(&reader.number) else { return Found::End };
        if stream.reader != Some(reader.key) {
            return Found::End;
        }
        let at = stream.events.partition_point(|event| event.place <= reader.after);
        match stream.events.get(at) {
            Some(event) => {
                reader.after = event.place;
                stream.taken = stream.taken.max(event.place);
                Found::Event(event.frame.clone())
            }
            None if stream.ended.is_some() => Found::End,
            None => Found::Nothing,
        }
    }
}

/// A connection that reads a stream.
#[derive(Debug)]
pub struct Reader {
    replay: Arc<Replay>,
    number: u64,
    after: u64,
    key: u64,
    wake: Arc<Notify>,
}

impl Reader {
    /// The stream that it reads.
    pub fn stream(&self) -> u64 {
        self.number
    }

    /// The id of the last event that was read, or of the place before the first.
    pub fn id(&self) -> String {
        self.replay.id(self.number, self.after)
    }

    /// The next event; `None` at the end of the stream, or when another reads it. Cancel safe.
    pub async fn next(&mut self) -> Option<Frame> {
        let (wake, replay) = (Arc::clone(&self.wake), Arc::clone(&self.replay));
        loop {
            let woken = wake.notified(); // before the look, so that nothing is missed
            match replay.take(self) {
                Found::Event(frame) => return Some(frame),
                Found::End => return None,
                Found::Nothing => woken.await,
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(stream) = self.replay.lock().streams.get_mut(&self.number) {
            stream.reader = stream.reader.filter(|reader| *reader != self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replay() -> Arc<Replay> {
        Arc::new(Replay::new("t".into(), Arc::default()))
    }

    fn total(replay: &Replay) -> usize {
        replay.lock().total.load(Ordering::Relaxed)
    }

    fn said(size: usize) -> Bytes {
        Bytes::from(vec![b'x'; size])
    }

    async fn ids(reader: &mut Reader) -> Vec<String> {
        let mut ids = Vec::new();
        while let Some(frame) = reader.next().await {
            let text = String::from_utf8(frame.concat()).expect("text");
            let id = text.lines().find_map(|line| line.strip_prefix("id: ")).expect("an id");
            ids.push(id.to_owned());
        }
        ids
    }

    #[tokio::test]
    async fn a_reader_goes_on_after_the_place_it_names() {
        let replay = replay();
        let (one, two) = (replay.open(), replay.open());
        for _ in 0..3 {
            replay.push(one, said(1), None);
            replay.push(two, said(1), None);
        }
        replay.end(one);
        let mut first = replay.read(one, Some(0)).expect("kept");
        assert_eq!(first.id(), "t-1-0");
        assert_eq!(ids(&mut first).await, ["t-1-1", "t-1-2", "t-1-3"]);
        let (number, place) = replay.find("t-1-2").expect("it was said");
        assert_eq!(ids(&mut replay.read(number, Some(place)).expect("kept")).await, ["t-1-3"]);
    }

    #[test]
    fn an_id_that_was_never_given_names_nothing() {
        let replay = replay();
        let one = replay.open();
        replay.push(one, said(1), None);
        for id in ["", "t", "t-1", "t-1-2", "t-2-0", "u-1-1", "t-+1-1", "t-1-01", "-1-1", "t-1--1"]
        {
            assert_eq!(replay.find(id), None, "{id}");
        }
        assert_eq!(replay.find("t-1-1"), Some((1, 1)));
        replay.close();
        assert_eq!(replay.find("t-1-1"), None);
    }

    #[tokio::test]
    async fn a_new_reader_takes_the_place_of_the_old_one() {
        let replay = replay();
        let one = replay.open();
        let mut old = replay.read(one, Some(0)).expect("kept");
        let mut new = replay.read(one, Some(0)).expect("kept");
        replay.push(one, said(1), None);
        replay.end(one);
        assert!(old.next().await.is_none());
        drop(old);
        assert_eq!(ids(&mut new).await, ["t-1-1"]);
    }

    #[tokio::test]
    async fn what_is_too_much_for_a_stream_is_given_up_oldest_first() {
        let replay = replay();
        let one = replay.open();
        for _ in 0..STREAM_EVENTS + 5 {
            assert!(replay.push(one, said(1), None).is_empty());
        }
        replay.end(one);
        let read = ids(&mut replay.read(one, Some(0)).expect("kept")).await;
        assert_eq!((read.len(), read[0].as_str()), (STREAM_EVENTS, "t-1-6"));
        let two = replay.open();
        for _ in 0..5 {
            replay.push(two, said(STREAM_BYTES / 3), None);
        }
        replay.end(two);
        assert_eq!(ids(&mut replay.read(two, Some(0)).expect("kept")).await, ["t-2-4", "t-2-5"]);
    }

    #[tokio::test]
    async fn the_newest_event_is_kept_whatever_its_size() {
        let replay = replay();
        let one = replay.open();
        replay.push(one, said(1), None);
        replay.push(one, said(SESSION_BYTES + 1), None);
        replay.end(one);
        assert_eq!(ids(&mut replay.read(one, Some(0)).expect("kept")).await, ["t-1-2"]);
    }

    #[test]
    fn a_session_keeps_no_more_than_its_share() {
        let replay = replay();
        for _ in 0..10 * SESSION_BYTES / STREAM_BYTES {
            let number = replay.open();
            (0..8).for_each(|_| drop(replay.push(number, said(STREAM_BYTES / 4), None)));
            replay.end(number);
        }
        assert!(total(&replay) <= SESSION_BYTES, "{}", total(&replay));
        for _ in 0..2 * ENDED_STREAMS {
            let number = replay.open();
            replay.end(number);
        }
        assert!(replay.lock().streams.len() <= ENDED_STREAMS + 2);
        replay.close();
        assert_eq!(total(&replay), 0);
    }

    #[test]
    fn live_streams_that_nobody_reads_keep_no_more_than_the_share_of_their_session() {
        let replay = replay();
        let streams: Vec<_> = (0..10).map(|_| replay.open()).collect();
        let connected = |number: &u64| replay.read(*number, Some(0)).expect("kept");
        let _readers: Vec<_> = streams.iter().map(connected).collect();
        for number in streams {
            (0..8).for_each(|_| drop(replay.push(number, said(STREAM_BYTES / 8), None)));
        }
        assert!(total(&replay) <= SESSION_BYTES, "{}", total(&replay));
    }

    #[tokio::test]
    async fn what_nobody_waits_for_goes_first_and_then_the_oldest() {
        let total = Arc::new(AtomicUsize::new(5)); // of others
        let replay = Arc::new(Replay::new("t".into(), Arc::clone(&total)));
        let (read, ended, left) = (replay.open(), replay.open(), replay.open());
        let mut reader = replay.read(read, Some(0)).expect("kept");
        for number in [read, read, read, ended, left, left] {
            replay.push(number, said(1), Some(number));
        }
        replay.end(ended);
        assert!(replay.shed(1).is_empty(), "a stream that ended has nothing left to ask");
        assert_eq!(replay.find("t-2-1"), None);
        assert_eq!(replay.shed(1), [left]);
        assert_eq!(replay.shed(1), [left]);
        assert_eq!(replay.shed(1), [read], "its client is slower than the others are patient");
        replay.end(read);
        assert_eq!(ids(&mut reader).await, ["t-1-2", "t-1-3"]);
        drop(reader);
        replay.shed(usize::MAX);
        assert_eq!((replay.bytes(), total.load(Ordering::Relaxed)), (0, 5));
    }

    #[tokio::test]
    async fn a_question_that_is_given_up_unread_is_named() {
        let replay = replay();
        let one = replay.open();
        assert!(replay.push(one, said(STREAM_BYTES), Some(7)).is_empty());
        assert_eq!(replay.push(one, said(STREAM_BYTES), Some(8)), [7]);
        let mut reader = replay.read(one, Some(0)).expect("kept");
        reader.next().await.expect("the second question");
        assert!(replay.push(one, said(STREAM_BYTES), None).is_empty(), "it was asked");
        replay.close();
        assert_eq!(replay.push(one, said(1), Some(9)), [9]);
    }

    #[tokio::test]
    async fn what_was_written_is_kept_for_a_shorter_time() {
        let replay = replay();
        let (written, unread, open) = (replay.open(), replay.open(), replay.open());
        for number in [written, unread, open] {
            replay.push(number, said(1), Some(number));
        }
        replay.end(written);
        replay.end(unread);
        drop(ids(&mut replay.read(written, Some(0)).expect("kept")).await);
        let kept = |replay: &Replay| replay.lock().streams.keys().copied().collect::<Vec<_>>();
        assert!(replay.sweep(Instant::now()).is_empty());
        assert_eq!(kept(&replay), [STANDING, written, unread, open]);
        assert!(replay.sweep(Instant::now() + KEPT_WRITTEN).is_empty());
        assert_eq!(kept(&replay), [STANDING, unread, open]);
        assert_eq!(replay.sweep(Instant::now() + KEPT), [open]);
        assert_eq!(kept(&replay), [STANDING, open]);
        assert_eq!(total(&replay), 0);
    }
}
