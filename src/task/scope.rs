//! Scopes: who owns a task, how it learns that it must end, and who notices when it panics.
//!
//! A task that nobody owns outlives the thing it works for, and a panic nobody joins is never
//! seen. So a [`Scope`] owns every task: dropping it ends them, [`Scope::shutdown`] ends them
//! politely within a bound, and a panic is contained, counted and logged as a bug under the
//! task's name. Child scopes end with their parent.
//!
//! Never here: retrying a task, or deciding what its end means.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

/// How long [`Scope::shutdown`] waits for aborted tasks to be dropped.
///
/// Only a task that blocks its thread takes longer, and waiting for it would not help.
const ABORT_WAIT: Duration = Duration::from_millis(200);

/// Owns named tasks and child scopes; dropping it cancels and aborts all of them.
pub struct Scope {
    node: Arc<Node>,
}

/// Tells a task that its scope is ending. Cheap to clone.
#[derive(Clone)]
pub struct Token {
    cancelled: watch::Receiver<bool>,
}

/// One spawned task. Dropping it changes nothing: the scope owns the task.
#[derive(Debug)]
pub struct Task {
    abort: Option<AbortHandle>,
}

struct Node {
    name: Cow<'static, str>,
    parent: Option<Arc<Node>>,
    cancel: watch::Sender<bool>,
    members: Mutex<Members>,
    /// Live tasks of this scope and of all scopes below it.
    live: AtomicUsize,
    idle: Notify,
    /// Shared by the whole tree of scopes.
    panics: Arc<AtomicU64>,
}

#[derive(Default)]
struct Members {
    closed: bool,
    next: u64,
    tasks: HashMap<u64, Member>,
    children: Vec<Weak<Node>>,
}

struct Member {
    name: Cow<'static, str>,
    abort: Option<AbortHandle>,
}

/// A task's place in its scope; given up when the task is dropped, however it ends.
struct Place {
    node: Arc<Node>,
    key: u64,
}

impl Scope {
    /// A scope without a parent. The name stands in log lines.
    #[must_use]
    pub fn root(name: impl Into<Cow<'static, str>>) -> Self {
        Self { node: Node::new(name.into(), None, Arc::default()) }
    }

    /// A scope that ends with this one, or before it.
    #[must_use]
    pub fn child(&self, name: impl Into<Cow<'static, str>>) -> Self {
        let panics = Arc::clone(&self.node.panics);
        let node = Node::new(name.into(), Some(Arc::clone(&self.node)), panics);
        let mut members = self.node.members();
        members.children.retain(|child| child.strong_count() > 0);
        members.children.push(Arc::downgrade(&node));
        if members.closed {
            node.cancel();
        }
        drop(members);
        Self { node }
    }

    /// Runs `work` as a task of this scope.
    ///
    /// After the scope was cancelled nothing is started: `work` is dropped.
    pub fn spawn<F>(&self, name: impl Into<Cow<'static, str>>, work: F) -> Task
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let name = name.into();
        let Some(place) = Place::take(&self.node, name.clone()) else {
            log::debug!("task {}/{name} not started: its scope has ended", self.node.path());
            return Task { abort: None };
        };
        let key = place.key;
        #[allow(clippy::disallowed_methods)] // this is the one place that the ban sends others to
        let abort = tokio::spawn(contain(place, name, work)).abort_handle();
        // Not under the lock while spawning: a runtime that shuts down drops the task inside
        // `tokio::spawn`, and the drop takes the lock.
        if let Some(member) = self.node.members().tasks.get_mut(&key) {
            member.abort = Some(abort.clone());
        }
        Task { abort: Some(abort) }
    }

    /// The signal that tasks of this scope listen to.
    #[must_use]
    pub fn token(&self) -> Token {
        Token { cancelled: self.node.cancel.subscribe() }
    }

    /// Signals every task of this scope and below to end. Nothing new starts.
    pub fn cancel(&self) {
        self.node.cancel();
    }

    /// Ends every task of this scope and below at once, at whatever await it stands.
    pub fn abort(&self) {
        self.node.cancel();
        self.node.abort(&mut Vec::new());
    }

    /// The number of tasks alive in this scope and below.
    #[must_use]
    pub fn live(&self) -> usize {
        self.node.live.load(Ordering::Acquire)
    }

    /// Returns once no task is alive in this scope and below. Cancel safe.
    pub async fn idle(&self) {
        self.node.idle().await;
    }

    /// The number of panics contained since the root scope was made, in all of its scopes.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.node.panics.load(Ordering::Relaxed)
    }

    /// Signals all tasks, waits until they have ended, and aborts what has not ended in time.
    ///
    /// Returns the full names of the aborted tasks, which are logged too. Must not be awaited by
    /// a task of this very scope: it would wait for itself.
    pub async fn shutdown(self, bound: Duration) -> Vec<String> {
        self.node.cancel();
        if tokio::time::timeout(bound, self.node.idle()).await.is_ok() {
            return Vec::new();
        }
        let mut late = Vec::new();
        self.node.abort(&mut late);
        for name in &late {
            log::warn!("task {name} did not end within {bound:?} and was aborted");
        }
        let _ = tokio::time::timeout(ABORT_WAIT, self.node.idle()).await;
        late
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        self.node.cancel();
        self.node.abort(&mut Vec::new());
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("name", &self.node.path())
            .field("live", &self.live())
            .finish()
    }
}

impl Token {
    /// Returns once the scope is ending. Cancel safe.
    pub async fn cancelled(&self) {
        // An error means that the scope is gone, which is an end too.
        let _ = self.cancelled.clone().wait_for(|cancelled| *cancelled).await;
    }

    /// Whether the scope is ending.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        *self.cancelled.borrow() || self.cancelled.has_changed().is_err()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("cancelled", &self.is_cancelled()).finish()
    }
}

impl Task {
    /// Drops the task at its next await point.
    pub fn abort(&self) {
        if let Some(abort) = &self.abort {
            abort.abort();
        }
    }

    /// Whether the task has ended, or never started.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.abort.as_ref().is_none_or(AbortHandle::is_finished)
    }
}

impl Node {
    fn new(
        name: Cow<'static, str>,
        parent: Option<Arc<Self>>,
        panics: Arc<AtomicU64>,
    ) -> Arc<Self> {
        Arc::new(Self {
            name,
            parent,
            cancel: watch::Sender::new(false),
            members: Mutex::default(),
            live: AtomicUsize::new(0),
            idle: Notify::new(),
            panics,
        })
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        // Nothing panics while it holds the lock; if it did, the table is still whole.
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `root/child/…`, for the log.
    fn path(&self) -> String {
        match &self.parent {
            Some(parent) => format!("{}/{}", parent.path(), self.name),
            None => self.name.clone().into_owned(),
        }
    }

    fn cancel(&self) {
        let children = {
            let mut members = self.members();
            members.closed = true;
            members.children.clone()
        };
        self.cancel.send_replace(true);
        for child in children.iter().filter_map(Weak::upgrade) {
            child.cancel();
        }
    }

    /// Aborts every task here and below, and adds their full names to `late`.
    fn abort(&self, late: &mut Vec<String>) {
        let (aborts, children) = {
            let members = self.members();
            let path = self.path();
            late.extend(members.tasks.values().map(|task| format!("{path}/{}", task.name)));
            let aborts: Vec<_> = members.tasks.values().filter_map(|m| m.abort.clone()).collect();
            (aborts, members.children.clone())
        };
        // Outside the lock: aborting an idle task may drop it here, and the drop takes the lock.
        for abort in aborts {
            abort.abort();
        }
        for child in children.iter().filter_map(Weak::upgrade) {
            child.abort(late);
        }
    }

    async fn idle(&self) {
        loop {
            let mut idle = pin!(self.idle.notified());
            idle.as_mut().enable();
            if self.live.load(Ordering::Acquire) == 0 {
                return;
            }
            idle.await;
        }
    }

    /// Calls `each` for this scope and every one above it.
    fn upwards(&self, each: impl Fn(&Self)) {
        let mut node = Some(self);
        while let Some(this) = node {
            each(this);
            node = this.parent.as_deref();
        }
    }
}

impl Place {
    fn take(node: &Arc<Node>, name: Cow<'static, str>) -> Option<Self> {
        let mut members = node.members();
        if members.closed {
            return None;
        }
        let key = members.next;
        members.next += 1;
        members.tasks.insert(key, Member { name, abort: None });
        node.upwards(|scope| {
            scope.live.fetch_add(1, Ordering::AcqRel);
        });
        drop(members);
        Some(Self { node: Arc::clone(node), key })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.node.members().tasks.remove(&self.key);
        self.node.upwards(|scope| {
            if scope.live.fetch_sub(1, Ordering::AcqRel) == 1 {
                scope.idle.notify_waiters();
            }
        });
    }
}

/// Runs `work` to its end; a panic ends the task, not the process, and is on record.
async fn contain<F: Future<Output = ()>>(place: Place, name: Cow<'static, str>, work: F) {
    let panicked = {
        let mut work = pin!(work);
        poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(())) => Poll::Ready(false),
            // The payload may quote a peer's text, so only the place is logged, by the panic hook.
            Err(_payload) => Poll::Ready(true),
        })
        .await
    };
    if panicked {
        place.node.panics.fetch_add(1, Ordering::Relaxed);
        log::error!("bug: task {}/{name} panicked and was ended", place.node.path());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    const SOON: Duration = Duration::from_secs(10);
    const AT_ONCE: Duration = Duration::from_millis(20);

    fn run(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime")
            .block_on(async {
                tokio::time::timeout(SOON, test).await.expect("the test ends in time");
            });
    }

    #[test]
    fn shutdown_joins_tasks_that_heed_the_signal() {
        run(async {
            let scope = Scope::root("gateway");
            let (done, ended) = oneshot::channel();
            let token = scope.token();
            scope.spawn("polite", async move {
                token.cancelled().await;
                let _ = done.send(());
            });
            assert_eq!(scope.shutdown(SOON).await, Vec::<String>::new());
            assert!(ended.await.is_ok());
        });
    }

    #[test]
    fn shutdown_aborts_and_names_what_does_not_end() {
        run(async {
            let scope = Scope::root("gateway");
            let child = scope.child("upstream");
            let (held, dropped) = oneshot::channel::<()>();
            child.spawn("deaf", async move {
                let _held = held;
                std::future::pending::<()>().await;
            });
            assert_eq!(scope.shutdown(AT_ONCE).await, ["gateway/upstream/deaf"]);
            assert!(dropped.await.is_err(), "the future was dropped, not finished");
            assert_eq!(child.live(), 0);
        });
    }

    #[test]
    fn a_panic_is_contained_and_counted() {
        run(async {
            let scope = Scope::root("gateway");
            let child = scope.child("session");
            child.spawn("faulty", async { std::panic::resume_unwind(Box::new("test")) });
            scope.node.idle().await;
            assert_eq!((scope.panics(), child.panics()), (1, 1));
            let (done, ended) = oneshot::channel();
            child.spawn("next", async move {
                let _ = done.send(());
            });
            assert!(ended.await.is_ok(), "the scope still works");
        });
    }

    #[test]
    fn children_end_with_their_parent_but_not_the_other_way_round() {
        run(async {
            let scope = Scope::root("gateway");
            let (first, second) = (scope.child("a"), scope.child("b"));
            assert!(first.shutdown(SOON).await.is_empty());
            assert!(!scope.token().is_cancelled() && !second.token().is_cancelled());
            scope.cancel();
            assert!(second.token().is_cancelled());
            assert!(scope.child("late").token().is_cancelled());
        });
    }

    #[test]
    fn dropping_a_scope_ends_its_tasks_and_nothing_starts_after_cancel() {
        run(async {
            let scope = Scope::root("gateway");
            let (held, dropped) = oneshot::channel::<()>();
            scope.spawn("work", async move {
                let _held = held;
                std::future::pending::<()>().await;
            });
            let token = scope.token();
            drop(scope);
            assert!(dropped.await.is_err());
            token.cancelled().await;

            let scope = Scope::root("gateway");
            scope.cancel();
            let (held, dropped) = oneshot::channel::<()>();
            let task = scope.spawn("late", async move { drop(held) });
            assert!(task.is_finished() && dropped.await.is_err());
        });
    }

    #[test]
    fn a_task_can_be_aborted_alone() {
        run(async {
            let scope = Scope::root("gateway");
            let task = scope.spawn("one", std::future::pending());
            scope.spawn("two", std::future::pending());
            assert_eq!(scope.live(), 2);
            task.abort();
            while !task.is_finished() {
                tokio::task::yield_now().await;
            }
            assert_eq!(scope.live(), 1);
        });
    }
}
