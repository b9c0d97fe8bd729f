//! While a run runs: its lease and its message are extended, its progress reported, and its end noticed.

use crate::engine::progress::Progress;
use crate::report;
use shared::Error;
use shared::context::Services;
use shared::models::run::Run;
use shared::models::time::Time;
use shared::store::runs::Beat;
use std::sync::{Arc, Mutex, PoisonError};
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

/// Beats until it is dropped.
pub(crate) async fn beat(services: Arc<Services>, run: Run, receipt: String, progress: Arc<Progress>, stop: Stop) {
    let mut held_until = run.lease_until.map_or_else(|| services.clock.now(), |t| t.0);
    let lease = services.store.lease();
    let mut every = tokio::time::interval(lease / BEATS);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        let now: Time = services.clock.now().into();
        if past_timeout(&run, now) {
            stop.now(Reason::Timeout);
        }
        let reported = report::progress(&progress);
        // A beat that comes late is worth nothing, and must not keep the next one from being sent.
        let (beaten, hidden) = tokio::join!(
            tokio::time::timeout(lease / 2, services.store.heartbeat(&run, &reported, now)),
            tokio::time::timeout(lease / 2, services.queue.hide(&receipt, lease)),
        );
        let late = |what| Error::Unavailable { what, source: "no answer in time".into() };
        let beaten = beaten.unwrap_or_else(|_| Err(late("the store")));
        let hidden = hidden.unwrap_or_else(|_| Err(late("the queue")));
        if let Err(error) = hidden {
            // Another delivery finds the run held, and waits.
            tracing::warn!(run = run.id, %error, "the message could not be hidden for longer");
        }
        match beaten {
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

/// Whether a run takes longer than it may, counted from its first attempt's start.
pub(crate) fn past_timeout(run: &Run, now: Time) -> bool {
    run.started_at.is_some_and(|start| now.since(start) >= i64::from(run.timeout_seconds) * 1000)
}
