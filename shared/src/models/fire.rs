//! The ledger of a pipeline's fires: what became of each due time, and what is to come.

use super::time::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What became of a due time, or will.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum FireStatus {
    /// It started `runId` when it came.
    Fired,
    /// It was missed, and `runId` made up for it later.
    CaughtUp,
    /// It came, but the pipeline's `concurrencyPolicy` kept it from starting a run.
    Skipped,
    /// No run was started for it, and none will be.
    Missed,
    /// Its time has come, and the next tick decides on it.
    Due,
    /// Its time has not come yet.
    Coming,
}

/// Why a due time started no run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum FireReason {
    /// A run was live and `concurrencyPolicy` is `forbid`.
    RunActive,
    /// A later due time, decided on at the same moment, got the one run that `concurrencyPolicy` allows.
    LaterFire,
    /// No tick decided on it when it came, and `catchUp` does not make up for it.
    CatchUp,
    /// The schedule or its time zone was changed before it was decided on.
    Changed,
    /// The pipeline was paused before it was decided on.
    Paused,
    /// The schedule cannot be evaluated any more; it fires again once the pipeline is saved where it can be.
    Invalid,
}

/// One entry of the ledger: a due time, or several with one outcome in a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("examples" = [
    {"at": "2026-01-15T09:10:00.000Z", "until": null, "count": 1, "status": "fired",
     "runId": "run_019bbf0e1ac07a3c8f5d2b7e9c4a6f10", "reason": null, "detail": null,
     "decidedAt": "2026-01-15T09:10:04.112Z"},
    {"at": "2026-01-15T10:00:00.000Z", "until": "2026-01-15T12:40:00.000Z", "count": 17, "status": "missed",
     "runId": null, "reason": "catchUp",
     "detail": "no tick decided on it before 2026-01-15T12:55:03.000Z, and catchUp latest makes up for the newest one only",
     "decidedAt": "2026-01-15T12:55:03.000Z"},
    {"at": "2026-01-15T13:00:00.000Z", "until": null, "count": 1, "status": "coming", "runId": null,
     "reason": null, "detail": null, "decidedAt": null}
]))]
pub struct Fire {
    /// The due time; the first one where the entry stands for several.
    pub at: Time,
    /// The last due time where the entry stands for several.
    pub until: Option<Time>,
    /// How many due times it stands for.
    pub count: u64,
    pub status: FireStatus,
    /// The run that it started.
    pub run_id: Option<String>,
    /// Why it started none.
    pub reason: Option<FireReason>,
    /// The same in a sentence, with ids and times.
    pub detail: Option<String>,
    /// When it was decided.
    pub decided_at: Option<Time>,
}

impl Fire {
    /// A due time that nobody has decided on.
    pub fn open(at: Time, status: FireStatus) -> Self {
        Self { at, until: None, count: 1, status, run_id: None, reason: None, detail: None, decided_at: None }
    }

    /// `count` due times from `at` to `until` that start no run.
    pub fn without_run(
        (at, until, count): (Time, Time, u64),
        status: FireStatus,
        reason: FireReason,
        detail: String,
        now: Time,
    ) -> Self {
        Self {
            until: (count > 1).then_some(until),
            count,
            reason: Some(reason),
            detail: Some(detail),
            decided_at: Some(now),
            ..Self::open(at, status)
        }
    }

    /// The last due time that it stands for.
    pub fn last(&self) -> Time {
        self.until.unwrap_or(self.at)
    }
}
