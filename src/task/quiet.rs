//! Polling without being woken.
//!
//! Futures that run in one task and talk to each other (hyper's connection, our service inside
//! it, the body between them) wake the task that is just running, and each such wake-up is one
//! more round through the scheduler and through all of them. So whoever holds them all polls them
//! twice: first quietly, which moves what can move, then with the task's own waker. Nothing is
//! missed, because only the second poll leads to `Pending`, and whoever waits asks again in it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// A context that wakes nobody. Whoever polls with it polls again with another before it waits.
pub fn quiet() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// Whether this poll wakes nobody: it will be repeated at once, so what only matters to somebody
/// who waits (a timer, say) may be left to the next one. A false `false` is harmless.
pub fn is_quiet(cx: &Context<'_>) -> bool {
    cx.waker().will_wake(Waker::noop())
}

/// Polls quietly, and if that was not enough, with the task's waker.
pub fn poll_twice<F: Future + ?Sized>(
    mut future: Pin<&mut F>,
    cx: &mut Context<'_>,
) -> Poll<F::Output> {
    match future.as_mut().poll(&mut quiet()) {
        Poll::Pending => future.poll(cx),
        ready => ready,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn what_wakes_itself_once_costs_no_wake_up_and_what_waits_is_woken() {
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let mut cx = Context::from_waker(&waker);
        let mut polls = 0;
        let mut waits = pin!(poll_fn(|cx: &mut Context<'_>| {
            polls += 1;
            if is_quiet(cx) || polls > 2 {
                cx.waker().wake_by_ref();
            }
            if polls > 2 { Poll::Ready(polls) } else { Poll::Pending }
        }));
        assert_eq!(poll_twice(waits.as_mut(), &mut cx), Poll::Pending);
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
        assert_eq!(poll_twice(waits.as_mut(), &mut cx), Poll::Ready(3));
        assert!(is_quiet(&quiet()) && !is_quiet(&cx));
    }
}
