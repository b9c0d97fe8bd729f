//! The system, seen from outside: a real stack, through HTTP.

mod api;
mod api_source;
mod attempts;
mod connectors;
mod databases;
#[path = "../deployed/mod.rs"]
mod deployed;
mod events;
mod fires;
mod follows;
mod growth;
mod lake;
mod late;
mod lists;
mod nodes;
#[path = "../../../shared/tests/oracle/mod.rs"]
mod oracle;
mod pipelines;
mod preview;
mod processes;
mod protection;
#[path = "../python/mod.rs"]
mod python;
mod readers;
mod readme;
mod receipts;
mod references;
mod rights;
mod roles;
mod runs;
mod s3;
mod scaling;
mod schedules;
mod stops;
mod targets;
mod ticks;
mod types;
mod validate;
mod watched;

use std::time::{Duration, Instant};
use tests::DEADLINE;

/// Waits until something is so, for [`DEADLINE`] at most.
async fn wait(what: &str, mut met: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !met().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
