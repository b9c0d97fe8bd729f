//! While a run runs: its lease and its message are extended, its progress reported, and its end noticed.

use crate::engine::progress::Progress;
use crate::report;
use shared::context::Services;
use shared::models::run::Run;
use shared::models::time::Time;
use shared::store::runs::{Beat, LEASE_SECONDS};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Seconds between two heartbeats.
const EVERY: Duration = Duration::from_secs(4);

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
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        let now: Time = services.clock.now().into();
        if past_timeout(&run, now) {
            stop.now(Reason::Timeout);
        }
        let reported = report::progress(&progress);
        let (beaten, hidden) = tokio::join!(
            services.store.heartbeat(&run, &reported, now),
            services.queue.hide(&receipt, Duration::from_secs(LEASE_SECONDS.unsigned_abs())),
        );
        if let Err(error) = hidden {
            // Another delivery finds the run held, and waits.
            tracing::warn!(run = run.id, %error, "the message could not be hidden for longer");
        }
        match beaten {
            Ok(Beat::Held { cancel }) => {
                held_until = now.0 + chrono::Duration::seconds(LEASE_SECONDS);
                if cancel {
                    stop.now(Reason::Cancelled);
                }
            }
            Ok(Beat::Lost) => stop.now(Reason::Lost),
            Err(error) => {
                tracing::warn!(run = run.id, %error, "the lease could not be extended");
                if services.clock.now() + chrono::Duration::from_std(EVERY).unwrap_or_default() >= held_until {
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
