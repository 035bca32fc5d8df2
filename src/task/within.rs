//! Waiting with a limit, for what is mostly there already.

use crate::task::quiet::is_quiet;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use tokio::time::{Sleep, sleep};

/// The outcome, or `None` when it took longer than `limit`. Unlike with tokio's timeout, a future
/// that is ready when it is first asked costs no timer; the limit counts from then.
pub fn within<F: Future>(limit: Duration, future: F) -> impl Future<Output = Option<F::Output>> {
    perhaps_within(Some(limit), future)
}

/// The same, where there may be no limit.
pub async fn perhaps_within<F: Future>(limit: Option<Duration>, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut timer = pin!(None::<Sleep>);
    poll_fn(|cx| {
        if let Poll::Ready(outcome) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(outcome));
        }
        let Some(limit) = limit else { return Poll::Pending };
        if is_quiet(cx) {
            return Poll::Pending; // it is asked again before anybody waits
        }
        if timer.is_none() {
            timer.set(Some(sleep(limit)));
        }
        match timer.as_mut().as_pin_mut() {
            Some(timer) => timer.poll(cx).map(|()| None),
            None => Poll::Pending, // it was set just now
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn what_is_late_is_given_up_and_what_is_not_is_waited_for() {
        let late = within(Duration::from_millis(1), std::future::pending::<()>());
        assert_eq!(late.await, None);
        let (answer, waits) = oneshot::channel();
        let waiting = within(Duration::from_secs(30), waits);
        let (got, ()) = tokio::join!(waiting, async {
            answer.send(7).expect("is waited for");
        });
        assert_eq!(got, Some(Ok(7)));
    }

    #[test]
    fn what_is_ready_needs_no_timer() {
        // there is no runtime here that could have made one
        let mut future = pin!(within(Duration::ZERO, std::future::ready(1)));
        let mut quiet = std::task::Context::from_waker(std::task::Waker::noop());
        assert_eq!(future.as_mut().poll(&mut quiet), Poll::Ready(Some(1)));
    }
}
