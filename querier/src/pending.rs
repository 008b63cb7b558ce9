//! Work that reports its progress and ends with a result.

use std::{
    future::{IntoFuture, poll_fn, ready},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::yield_now,
};
use tokio_stream::Stream;

use crate::Error;

type Work<T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;

/// Work that goes on while it is polled: a stream of progress events `P`, and a future of the result `T`.
///
/// [`next`](Self::next), or the [`Stream`], returns one event after the other, and `None` at the end. `.await` returns
/// the result, with or without the events before. Work that is dropped stops at this computer only: the network goes on
/// with a query that was submitted, and [`Querier::find`](crate::Querier::find) finds it again.
#[must_use = "nothing happens before this is awaited"]
pub struct Pending<P, T> {
    work: Work<T>,
    events: UnboundedReceiver<P>,
    ended: Option<Result<T, Error>>,
}

/// Sender of the progress events of one [`Pending`].
pub(crate) struct Events<P>(UnboundedSender<P>);

impl<P> Events<P> {
    /// Creates a sender whose events nobody reads.
    pub(crate) fn ignored() -> Self {
        Self(unbounded_channel().0)
    }

    /// Reports an event. The reader sees it before the next step begins.
    pub(crate) async fn tell(&self, event: P) {
        if self.0.send(event).is_ok() {
            yield_now().await;
        }
    }
}

impl<P, T> Pending<P, T> {
    /// Creates pending work. `work` gets the sender of its events.
    pub(crate) fn new<F>(work: impl FnOnce(Events<P>) -> F) -> Self
    where
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let (sender, events) = unbounded_channel();
        Self {
            work: Box::pin(work(Events(sender))),
            events,
            ended: None,
        }
    }

    /// Goes on with the work until its next event, and returns the event. Returns `None` once the work has ended.
    pub async fn next(&mut self) -> Option<P> {
        poll_fn(|context| self.poll_event(context)).await
    }

    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Option<P>> {
        if let Ok(event) = self.events.try_recv() {
            return Poll::Ready(Some(event));
        }
        if self.ended.is_none()
            && let Poll::Ready(ended) = self.work.as_mut().poll(context)
        {
            self.ended = Some(ended);
        }
        // The work that was just polled may have reported something.
        match self.events.try_recv() {
            Ok(event) => Poll::Ready(Some(event)),
            Err(_) if self.ended.is_some() => Poll::Ready(None),
            Err(_) => Poll::Pending,
        }
    }
}

// Nothing is pinned in place: the work has a heap allocation of its own.
impl<P, T> Unpin for Pending<P, T> {}

impl<P, T> Stream for Pending<P, T> {
    type Item = P;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<P>> {
        self.poll_event(context)
    }
}

impl<P, T: Send + 'static> IntoFuture for Pending<P, T> {
    type Output = Result<T, Error>;
    type IntoFuture = Work<T>;

    fn into_future(self) -> Work<T> {
        // The receiver is dropped, so that events that nobody reads are not collected.
        match self.ended {
            Some(ended) => Box::pin(ready(ended)),
            None => self.work,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting(to: u32) -> Pending<u32, u32> {
        Pending::new(move |events| async move {
            for number in 0..to {
                events.tell(number).await;
            }
            Ok(to)
        })
    }

    #[tokio::test]
    async fn events_come_in_order_and_the_result_after_them() {
        let mut pending = counting(3);
        let mut seen = Vec::new();
        while let Some(number) = pending.next().await {
            seen.push(number);
        }
        assert_eq!(seen, [0, 1, 2]);
        assert_eq!(pending.next().await, None);
        assert_eq!(pending.await.unwrap(), 3);
    }

    #[tokio::test]
    async fn the_result_comes_without_the_events_too() {
        let mut pending = counting(3);
        assert_eq!(pending.next().await, Some(0));
        assert_eq!(pending.await.unwrap(), 3);
    }

    #[tokio::test]
    async fn work_does_not_run_ahead_of_its_reader() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let mut pending = Pending::<_, ()>::new(|events| async move {
            events.tell("first").await;
            sender.send("second began").expect("the test reads it");
            Ok(())
        });
        assert_eq!(pending.next().await, Some("first"));
        assert!(receiver.try_recv().is_err());
        pending.await.unwrap();
        assert!(receiver.try_recv().is_ok());
    }
}
