//! While a run runs: its lease and its message are extended, its progress reported, and its end noticed.

use shared::context::Services;
use shared::models::run::{Progress, Run};
use shared::models::time::Time;
use shared::store::runs::Beat;
use shared::{Error, Result};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// Heartbeats within a lease.
const BEATS: u32 = 5;

/// Why a run was told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Somebody cancelled it.
    Cancelled,
    /// It takes longer than it may.
    Timeout,
    /// Another worker has it, or the lease could not be extended in time.
    Lost,
    /// This worker shuts down.
    Shutdown,
}

/// Tells the engine to stop, once, with the first reason.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop {
    pub(crate) token: CancellationToken,
    reason: Arc<Mutex<Option<Reason>>>,
}

impl Stop {
    pub(crate) fn now(&self, reason: Reason) {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(reason);
        self.token.cancel();
    }
    pub(crate) fn reason(&self) -> Option<Reason> {
        *self.reason.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Beats until it is dropped. The lease and the message are extended each by itself: a queue that does not answer must not
/// keep the run from learning that it is cancelled.
pub(crate) async fn beat(
    services: Arc<Services>,
    run: Run,
    receipt: String,
    reported: impl Fn() -> Progress + Send + Sync,
    stop: Stop,
) {
    tokio::join!(hold(&services, &run, &reported, &stop), hide(&services, &run, &receipt));
}

fn beats(lease: Duration) -> Interval {
    let mut every = tokio::time::interval(lease / BEATS);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    every
}

/// An answer that comes late is worth nothing, and must not keep the next beat from being sent.
async fn in_time<T>(lease: Duration, what: &'static str, asked: impl Future<Output = Result<T>>) -> Result<T> {
    let late = |_| Error::Unavailable { what, source: "no answer in time".into() };
    tokio::time::timeout(lease / 2, asked).await.map_err(late)?
}

async fn hide(services: &Services, run: &Run, receipt: &str) {
    let lease = services.store.lease();
    let mut every = beats(lease);
    loop {
        every.tick().await;
        if let Err(error) = in_time(lease, "the queue", services.queue.hide(receipt, lease)).await {
            // Another delivery finds the run held, and waits.
            tracing::warn!(run = run.id, %error, "the message could not be hidden for longer");
        }
    }
}

async fn hold(services: &Services, run: &Run, reported: &(impl Fn() -> Progress + Send + Sync), stop: &Stop) {
    let mut held_until = run.lease_until.map_or_else(|| services.clock.now(), |t| t.0);
    let lease = services.store.lease();
    let mut every = beats(lease);
    loop {
        every.tick().await;
        let now: Time = services.clock.now().into();
        if run.is_late(now) {
            stop.now(Reason::Timeout);
        }
        match in_time(lease, "the store", services.store.heartbeat(run, &reported(), now)).await {
            Ok(Beat::Held { cancel }) => {
                held_until = now.0 + lease;
                if cancel {
                    stop.now(Reason::Cancelled);
                }
            }
            Ok(Beat::Lost) => stop.now(Reason::Lost),
            Err(error) => {
                tracing::warn!(run = run.id, %error, "the lease could not be extended");
                if services.clock.now() + lease / BEATS >= held_until {
                    stop.now(Reason::Lost);
                }
            }
        }
    }
}
