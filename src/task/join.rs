//! Waiting for several things at once.

use std::future::{Future, poll_fn};
use std::task::Poll;

/// Waits for all of them; the outcomes stand in the order of the futures. For a handful of
/// futures: each wake-up asks all that are not done.
pub async fn all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let futures = futures.into_iter();
    let mut waiting: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    poll_fn(|cx| {
        let mut pending = false;
        for (future, outcome) in waiting.iter_mut().filter(|(_, outcome)| outcome.is_none()) {
            match future.as_mut().poll(cx) {
                Poll::Ready(value) => *outcome = Some(value),
                Poll::Pending => pending = true,
            }
        }
        if pending { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    waiting.into_iter().filter_map(|(_, outcome)| outcome).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn outcomes_keep_their_order_whoever_is_first() {
        let (late, waits) = oneshot::channel();
        let (early, at_once) = oneshot::channel();
        early.send(2).expect("is waited for");
        let mut late = Some(late);
        let futures = [waits, at_once].into_iter().map(|outcome| async { outcome.await.ok() });
        let both = all(futures);
        tokio::pin!(both);
        let first = poll_fn(|cx| Poll::Ready(both.as_mut().poll(cx).is_ready())).await;
        assert!(!first, "one is still waited for");
        late.take().expect("once").send(1).expect("is waited for");
        assert_eq!(both.await, [Some(1), Some(2)]);
        assert_eq!(all(Vec::<std::future::Ready<()>>::new()).await, []);
    }
}
