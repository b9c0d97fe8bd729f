//! The end of a run that may have committed: what its targets say decides between completed and failed.

use crate::engine::job::Outcome;
use crate::life::{self, Done, Worker, succeeded};
use crate::{job, receipt, targets};
use shared::Result;
use shared::models::receipt::{Target, TargetKind};
use shared::models::run::{Rows, Run, RunFailure};
use shared::store::runs::End;

/// Where the rows of a run are, as its targets say: the names of tables.
#[derive(Debug, Default)]
struct Found {
    there: Vec<String>,
    missing: Vec<String>,
    /// Those that nobody can ask any more, in words.
    gone: Vec<String>,
}

/// Ends a run that may have committed. Where its rows are not in all of its tables it has failed, for the reason `why`.
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
    let earlier = job::earlier(worker, run).await.map_err(shared::Error::internal)?;
    let mut found = Found::default();
    // Every table is asked: what is settled at one must not be left open at the next.
    for (_, schema) in &job::ever_written(worker, &version).await.map_err(shared::Error::internal)? {
        let settled = targets::settle(&run.tenant_id, schema, &run.id, &earlier, &worker.settings).await;
        found.add(settled.map_err(shared::Error::internal)?, schema.name.clone());
    }
    let (databases, gone) = job::databases(worker, &version).await.map_err(shared::Error::internal)?;
    for database in &databases {
        let (connector, config) = (&database.connector, &database.config);
        let settled = targets::database::settle(connector, config, &database.schema, &run.id, &earlier).await;
        found.add(settled.map_err(shared::Error::internal)?, database.name());
    }
    found.gone = gone;
    tracing::warn!(run = run.id, ?found, "the run was settled at its targets");
    let targets = receipt::written(worker, run, &version).await?;
    let rows = current.rows.unwrap_or_default();
    let finish = if found.has_all() {
        succeeded(if is_forgotten(&targets) { rows } else { taken(rows, &targets) }, None)
    } else {
        End { rows: Some(taken(rows, &targets)), ..End::failed(found.failure(why)) }
    };
    let receipt = Some(receipt::kept(&version, targets));
    life::end(worker, run, End { receipt, ..finish }).await
}

/// The numbers of an attempt that came to its end. Where an attempt before it has committed, to all tables or to some, this
/// one has not read for them again: what they took is told by the commits, what was read by what was counted before them.
pub(crate) fn with_attempt_before(run: &Run, outcome: &Outcome, entered: bool) -> Rows {
    let own = Rows {
        rows_in: outcome.rows_in,
        rows_out: outcome.rows_out,
        failed: outcome.failed_rows,
        skipped: outcome.skipped_rows,
    };
    match run.rows.filter(|_| run.committing) {
        None => own,
        Some(before) if !entered && is_forgotten(&outcome.targets) => before,
        Some(before) if !entered => Rows { rows_in: before.rows_in, ..own },
        Some(before) => Rows { rows_in: own.rows_in.max(before.rows_in), ..own },
    }
}

/// What the tables took and left out, as their commits say.
fn taken(rows: Rows, targets: &[Target]) -> Rows {
    let tables = || targets.iter().filter(|target| target.kind != TargetKind::Rejected);
    Rows {
        rows_out: tables().map(|target| target.rows).sum(),
        skipped: tables().map(|target| target.skipped_rows).sum(),
        ..rows
    }
}

/// Whether a table has the run's rows and its log does not reach back to their commit, so that it does not say how many.
fn is_forgotten(targets: &[Target]) -> bool {
    targets.iter().any(|target| target.kind == TargetKind::Delta && target.delta.is_none())
}

impl Found {
    fn add(&mut self, is_there: bool, name: String) {
        if is_there { &mut self.there } else { &mut self.missing }.push(name);
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
        Found { there: all(there), missing: all(missing), gone: all(gone) }.failure(&why).message
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
        assert_eq!(taken(gate, &some), Rows { rows_in: 10, rows_out: 7, failed: 2, skipped: 1 });
        assert_eq!(taken(gate, &[]), Rows { rows_in: 10, rows_out: 0, failed: 2, skipped: 0 });
        assert!(is_forgotten(&[table(TargetKind::Delta, 0, 0)]) && !is_forgotten(&some));
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
