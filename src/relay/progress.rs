//! Progress of calls that have become tasks: it goes on under the token of the call until the task
//! is over (MCP 2025-11-25 basic/utilities/progress, "Behavior Requirements"), long after the
//! exchange has ended.
//!
//! A call is followed from when it is sent, so that nothing is lost between its answer and the
//! binding of its task; while it is under way, its own exchange gets what there is.

use crate::bridge::notification;
use crate::mcp::meta;
use crate::relay::Outlet;
use crate::relay::known::Known;
use crate::upstream::Link;
use crate::wire::jsonrpc::Notification;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

/// A call at its upstream: the connection, and the id there, which is the token too.
type Course = (Known<Link>, u64);

#[derive(Debug)]
struct Follower {
    session: Known<Outlet>,
    /// The client's token, as it was written.
    token: Bytes,
    last: Option<f64>,
    /// The time of the task is over then.
    end: Option<Instant>,
}

/// Which session gets the progress of what.
#[derive(Debug, Default)]
pub(super) struct Progress {
    courses: Mutex<HashMap<Course, Follower>>,
}

/// A call whose progress is followed until this is dropped.
#[derive(Debug)]
pub(super) struct Following {
    progress: Arc<Progress>,
    course: Course,
}

/// The value of a progress notification, if it is more than the last one (MCP basic/utilities/progress:
/// it MUST increase).
pub(super) fn grown(notification: &Notification, last: Option<f64>) -> Option<f64> {
    let value = notification.call.param("progress")?;
    let value: f64 = std::str::from_utf8(notification.call.raw(value)).ok()?.parse().ok()?;
    last.is_none_or(|last| value > last).then_some(value)
}

impl Progress {
    fn lock(&self) -> MutexGuard<'_, HashMap<Course, Follower>> {
        self.courses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows a call that may become a task.
    pub(super) fn follow(
        self: &Arc<Self>,
        session: Known<Outlet>,
        token: Bytes,
        link: Weak<Link>,
        id: u64,
    ) -> Following {
        let course = (Known(link), id);
        let follower = Follower { session, token, last: None, end: None };
        self.lock().insert(course.clone(), follower);
        Following { progress: Arc::clone(self), course }
    }

    /// Passes progress on that came outside its call.
    pub(super) fn tell(&self, link: Weak<Link>, notification: &Notification) {
        let id = notification.call.param(meta::PROGRESS_TOKEN);
        let id = id.and_then(|id| id.integer(&notification.call.bytes));
        let Some(id) = id.and_then(|id| u64::try_from(id).ok()) else { return };
        let mut courses = self.lock();
        let Some(follower) = courses.get_mut(&(Known(link), id)) else { return };
        let Some(value) = grown(notification, follower.last) else { return };
        if follower.end.is_some_and(|end| Instant::now() >= end) {
            return;
        }
        follower.last = Some(value);
        let (session, token) = (follower.session.0.upgrade(), follower.token.clone());
        drop(courses);
        let Some(outlet) = session else { return };
        // who listens slowly hears the latest
        let message = notification::progress(notification, &token).apply(&notification.call.bytes);
        outlet.deliver(format!("progress {id}"), message);
    }
}

impl Following {
    /// The task lasts until then.
    pub(super) fn until(&self, end: Option<Instant>) {
        if let Some(follower) = self.progress.lock().get_mut(&self.course) {
            follower.end = end;
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.progress.lock().remove(&self.course);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::listen::Filter;
    use crate::relay::Endpoint;
    use crate::wire::jsonrpc::Message;

    fn said(id: u64, progress: &str) -> Notification {
        let text = format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{id},"progress":{progress}}}}}"#
        );
        match Message::parse(Bytes::from(text)) {
            Ok(Message::Notification(notification)) => notification,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn it_is_told_while_it_grows_and_the_task_lasts() {
        let outlet = Arc::new(Outlet::new(Endpoint::Aggregate, None, Filter::default()));
        let (progress, session) = (Arc::new(Progress::default()), Known(Arc::downgrade(&outlet)));
        let token = Bytes::from_static(b"\"mine\"");
        let following = progress.follow(session, token, Weak::new(), 7);
        let tell = |id, value: &str| progress.tell(Weak::new(), &said(id, value));
        tell(8, "1");
        tell(7, "2");
        tell(7, "1.5");
        following.until(Some(Instant::now()));
        tell(7, "3");
        following.until(None);
        let first = outlet.next().await.expect("progress");
        let first = String::from_utf8_lossy(&first).into_owned();
        assert!(first.contains(r#""progressToken":"mine","progress":2}"#), "{first}");
        tell(7, "4");
        drop(following);
        tell(7, "5");
        outlet.close();
        let last = outlet.next().await.expect("progress");
        assert!(String::from_utf8_lossy(&last).contains(r#""progress":4}"#));
        assert!(outlet.next().await.is_none());
        assert!(progress.lock().is_empty());
    }
}
