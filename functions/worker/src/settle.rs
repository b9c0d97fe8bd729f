//! The end of a run that may have committed: what its targets say decides between completed and failed.

use crate::beside::Beside;
use crate::counts::{self, Counted};
use crate::engine::job::Outcome;
use crate::error::{Kind, RunError};
use crate::life::{self, Done, Worker, succeeded};
use crate::{job, receipt, targets};
use shared::Result;
use shared::models::pipeline::Pipeline;
use shared::models::receipt::{Target, TargetKind};
use shared::models::run::{MOST_FAILURES, Rows, Run, RunFailure};
use shared::store::runs::End;
use std::time::Duration;

/// The longest that one target is asked: more than a session waits there for the locks of others.
pub(crate) const ASKED: Duration = Duration::from_secs(180);

/// Where the rows of a run are, as its targets say: the names of tables.
#[derive(Debug, Default)]
struct Found {
    there: Vec<String>,
    missing: Vec<String>,
    /// Those that nobody can ask any more, in words.
    gone: Vec<String>,
    /// Those that did not answer, with the reason.
    silent: Vec<String>,
}

/// Ends a run that may have committed. Where its rows are not in all of its tables it has failed, for the reason `why`.
/// As long as a target does not answer, the run is put off; after [`MOST_FAILURES`] it fails without that target's word.
pub(crate) async fn settle(worker: &Worker, run: &Run, why: &RunFailure) -> Result<Done> {
    let store = &worker.services.store;
    let Some(current) = store.find_run(&run.tenant_id, &run.pipeline_id, &run.id).await? else {
        return Ok(Done::Delete);
    };
    let version = store.pipeline_version(&run.tenant_id, &run.pipeline_id, run.pipeline_version).await?;
    let Some(version) = version else {
        let gone = format!("the tables of version {} of the pipeline: that was deleted", run.pipeline_version);
        let found = Found { gone: vec![gone], ..Found::default() };
        return life::end(worker, run, End::failed(found.failure(why))).await;
    };
    let silent = if run.failures < MOST_FAILURES { Silent::Waits } else { Silent::LeftOut };
    // What was kept when it came to its commit is not in the run as it was claimed.
    let (found, targets) = match asked(worker, &current, &version, silent).await {
        Ok(told) => told,
        Err(error) => return put_off(worker, run, why, &error).await,
    };
    tracing::warn!(run = run.id, ?found, "the run was settled at its targets");
    let counted = counts::of_writers(store, &current, &targets).await?;
    // Where nobody has written, the attempt that came to its commit last speaks for itself.
    let rows = counted.map(|counted| counted.rows).or(current.rows);
    let finish = if found.has_all() {
        let told = rows.filter(|_| is_forgotten(&targets));
        succeeded(told.unwrap_or_else(|| taken(rows, &targets)), None)
    } else {
        End { rows: Some(taken(rows, &targets)), ..End::failed(found.failure(why)) }
    };
    let errors_attempt = counted.and_then(|counted| counted.errors_attempt);
    let receipt = Some(receipt::kept(&version, targets));
    life::end(worker, run, End { errors_attempt, receipt, ..finish }).await
}

/// What becomes of a run one of whose targets does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Silent {
    /// It waits for the target.
    Waits,
    /// The target is left out.
    LeftOut,
}

/// Settles the run at its targets: where its rows are, and what each table took of them.
async fn asked(
    worker: &Worker,
    run: &Run,
    version: &Pipeline,
    silent: Silent,
) -> Result<(Found, Vec<Target>), RunError> {
    let earlier = job::earlier(worker, run).await?;
    let mut found = Found::default();
    let mut beside = Beside::of(worker, version).await?;
    // Every table is asked, also behind one that is silent: what is settled at one must not be left open at the next.
    for (_, schema) in &job::ever_written(worker, version).await? {
        let is_there = if beside.is_at(schema) {
            let settled = targets::settle_table(&run.tenant_id, schema, &run.id, &earlier, &worker.settings);
            beside.hear(in_time(ASKED, settled).await)
        } else {
            let settled = targets::settle(&run.tenant_id, schema, &run.id, &earlier, &worker.settings);
            in_time(ASKED, settled).await
        };
        found.add(is_there, schema.name.clone());
    }
    let (databases, gone) = job::databases(worker, run, version, silent).await?;
    beside.miss(&gone);
    found.gone = gone;
    for database in &databases {
        let settled = targets::database::settle(&database.connector, &database.table, &run.id, &earlier);
        found.add(beside.hear(in_time(ASKED, settled).await), database.name());
    }
    if silent == Silent::Waits && !found.silent.is_empty() {
        return Err(RunError::new(Kind::TargetUnavailable, found.silent.join("; ")));
    }
    match beside.settle(worker, run).await {
        Err(error) if silent == Silent::LeftOut => found.add(Err(error), beside.name()),
        settled => settled?,
    }
    found.gone.append(&mut found.silent);
    let targets = receipt::written(worker, run, version, silent).await?;
    Ok((found, targets))
}

/// What a target answers; one that takes too long counts as one that does not.
pub(crate) async fn in_time<T>(
    limit: Duration,
    asked: impl Future<Output = Result<T, RunError>>,
) -> Result<T, RunError> {
    tokio::time::timeout(limit, asked).await.unwrap_or_else(|_| {
        Err(RunError::new(Kind::TargetUnavailable, format!("there was no answer in {} s", limit.as_secs())))
    })
}

/// Gives back a run that cannot be settled now, so that a worker asks its targets again after a while.
async fn put_off(worker: &Worker, run: &Run, why: &RunFailure, error: &RunError) -> Result<Done> {
    let before = run.failures.saturating_sub(run.max_attempts.saturating_sub(1));
    let delay = again(worker.services.store.lease(), before);
    tracing::warn!(run = run.id, %error, delay = delay.as_secs(), "the run cannot be settled yet: its target is away");
    let now = worker.services.clock.now().into();
    let given_back = worker.services.store.give_back(run, why, delay, now).await?;
    Ok(if given_back { Done::Hide(delay) } else { Done::Leave })
}

/// When targets are asked again that did not answer: after half a lease, doubled each time, up to 180 leases, which with one
/// of 20 s are an hour.
fn again(lease: Duration, before: u32) -> Duration {
    (lease / 2 * (1 << before.min(9))).min(lease * 180)
}

/// The numbers of an attempt that came to its end. Where an attempt before it has committed, to all tables or to some, this
/// one has not read for them again: what they took is told by the commits, what was read by what those had `counted` that
/// wrote.
pub(crate) fn with_attempts_before(outcome: &Outcome, entered: bool, counted: Option<Counted>) -> Rows {
    let own = Rows {
        rows_in: outcome.rows_in,
        rows_out: outcome.rows_out,
        failed: outcome.failed_rows,
        skipped: outcome.skipped_rows,
    };
    match counted.map(|counted| counted.rows) {
        None => own,
        Some(rows) if !entered && is_forgotten(&outcome.targets) => rows,
        Some(rows) => Rows { rows_in: rows.rows_in, failed: own.failed.max(rows.failed), ..own },
    }
}

/// What the tables took and left out, as their commits say. Of a run that had `counted` nothing, since it found all its rows
/// in, no more is known.
fn taken(counted: Option<Rows>, targets: &[Target]) -> Rows {
    let tables = || targets.iter().filter(|target| target.kind != TargetKind::Rejected);
    let rows_out: u64 = tables().map(|target| target.rows).sum();
    let skipped: u64 = tables().map(|target| target.skipped_rows).sum();
    let rows = counted.unwrap_or(Rows { rows_in: rows_out + skipped, ..Rows::default() });
    Rows { rows_out, skipped, ..rows }
}

/// Whether a table has the run's rows and its log does not reach back to their commit, so that it does not say how many.
fn is_forgotten(targets: &[Target]) -> bool {
    targets.iter().any(|target| target.kind == TargetKind::Delta && target.delta.is_none())
}

impl Found {
    fn add(&mut self, is_there: Result<bool, RunError>, name: String) {
        match is_there {
            Ok(true) => self.there.push(name),
            Ok(false) => self.missing.push(name),
            Err(error) => {
                self.silent.push(format!("the table of {name:?}, which could not be asked: {}", error.message))
            }
        }
    }

    fn has_all(&self) -> bool {
        self.missing.is_empty() && self.gone.is_empty()
    }

    /// The failure of a run whose rows are in some of its tables, or perhaps in some that cannot be asked.
    fn failure(&self, why: &RunFailure) -> RunFailure {
        let mut message = why.message.clone();
        if !self.there.is_empty() {
            let names = |tables: &[String]| tables.iter().map(|n| format!("{n:?}")).collect::<Vec<_>>().join(", ");
            message += &format!("; the rows of the run are in the table of {}", names(&self.there));
            if !self.missing.is_empty() {
                message += &format!(
                    " and not in that of {}: a retry of this run brings them into the latter alone",
                    names(&self.missing)
                );
            }
        }
        if !self.gone.is_empty() {
            message += &format!("; whether they are in these is not known: {}", self.gone.join("; "));
        }
        RunFailure { message, ..why.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(there: &[&str], missing: &[&str], gone: &[&str]) -> String {
        let all = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let why = RunFailure {
            code: "TARGET_UNAVAILABLE".to_owned(),
            message: "the lake does not answer".to_owned(),
            node_id: None,
            retryable: true,
        };
        Found { there: all(there), missing: all(missing), gone: all(gone), silent: Vec::new() }.failure(&why).message
    }

    fn table(kind: TargetKind, rows: u64, skipped_rows: u64) -> Target {
        let (node_id, attempt, load_mode, delta, database) = (None, None, None, None, None);
        let (table, written_by) = ("t".to_owned(), "run_1".to_owned());
        Target { node_id, kind, table, written_by, attempt, load_mode, rows, skipped_rows, delta, database }
    }

    #[test]
    fn what_tables_took_is_what_their_commits_say() {
        let gate = Rows { rows_in: 10, rows_out: 16, failed: 2, skipped: 0 };
        // Of two targets one has its rows.
        let some = [table(TargetKind::Rejected, 2, 0), table(TargetKind::Database, 7, 1)];
        assert_eq!(taken(Some(gate), &some), Rows { rows_in: 10, rows_out: 7, failed: 2, skipped: 1 });
        assert_eq!(taken(Some(gate), &[]), Rows { rows_in: 10, rows_out: 0, failed: 2, skipped: 0 });
        // It had found all its rows in.
        assert_eq!(taken(None, &some), Rows { rows_in: 8, rows_out: 7, failed: 0, skipped: 1 });
        assert!(is_forgotten(&[table(TargetKind::Delta, 0, 0)]) && !is_forgotten(&some));
    }

    #[test]
    fn silent_targets_are_asked_less_and_less_often_and_for_more_than_a_day() {
        let seconds = |before| again(Duration::from_secs(20), before).as_secs();
        assert_eq!([0, 1, 8, 9, 39].map(seconds), [10, 20, 2560, 3600, 3600]);
        // Of a run that is tried three times.
        assert!((0..MOST_FAILURES - 3).map(seconds).sum::<u64>() > 24 * 3600);
    }

    #[tokio::test]
    async fn a_target_that_never_answers_is_away() {
        let error =
            in_time(Duration::from_millis(1), std::future::pending::<Result<(), RunError>>()).await.unwrap_err();
        assert_eq!(error.kind, Kind::TargetUnavailable);
    }

    #[test]
    fn a_run_that_is_in_some_of_its_tables_says_in_which() {
        assert_eq!(told(&[], &["a"], &[]), "the lake does not answer");
        let some = told(&["people"], &["orders", "names"], &[]);
        assert!(some.contains("in the table of \"people\" and not in that of \"orders\", \"names\""), "{some}");
        let gone =
            told(&["people"], &[], &["the table \"x\" of a database, which was reached by conn_1: that was deleted"]);
        assert!(
            gone.contains("in the table of \"people\"; whether") && gone.contains("conn_1: that was deleted"),
            "{gone}"
        );
    }
}
