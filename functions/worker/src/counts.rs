//! What a run has counted on which several attempts have worked: those that wrote speak for it, and no others.

use shared::Result;
use shared::models::receipt::{Target, TargetKind};
use shared::models::run::{Rows, Run};
use shared::store::Store;
use shared::store::receipts::Reading;

/// What the attempts of a run have counted that wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) rows: Rows,
    /// The attempt whose rejected rows are the run's; none where none was rejected.
    pub(crate) errors_attempt: Option<u32>,
}

/// What those attempts of a run have counted that wrote `targets`, each of which may be another one's; none where they are
/// all those of other runs. An older version kept no counts of attempts: there it is what the run had when it came to its
/// commit.
///
/// # Errors
/// Where the store does not answer.
pub(crate) async fn of_writers(store: &Store, run: &Run, targets: &[Target]) -> Result<Option<Counted>> {
    let writers = writers(&run.id, targets);
    if writers.is_empty() {
        return Ok(None);
    }
    let before = || run.rows.map(|rows| Counted { rows, errors_attempt: run.errors_attempt });
    Ok(most(&store.readings(run).await?, &writers).or_else(before))
}

/// The attempts that wrote; none in the place of one that its table does not tell. Rejected rows alone are no writing: they
/// come first, and another attempt may be faster with the rest.
fn writers(run: &str, targets: &[Target]) -> Vec<Option<u32>> {
    let own = targets.iter().filter(|target| target.written_by == run && target.kind != TargetKind::Rejected);
    own.map(|target| target.attempt).collect()
}

/// The most of what they have counted: one that finds rows of another one in a table does not read for that table again.
fn most(readings: &[Reading], writers: &[Option<u32>]) -> Option<Counted> {
    // It may have been any where a table does not tell which one it was.
    let has_written = |attempt| writers.contains(&Some(attempt)) || writers.contains(&None);
    let own = readings.iter().filter(|reading| has_written(reading.attempt));
    let own: Vec<(u32, Rows)> = own.filter_map(|reading| Some((reading.attempt, reading.rows?))).collect();
    let (failed, attempt) = own.iter().map(|(attempt, rows)| (rows.failed, *attempt)).max()?;
    let greatest = |of: fn(&Rows) -> u64| own.iter().map(|(_, rows)| of(rows)).max().unwrap_or(0);
    let rows = Rows {
        rows_in: greatest(|rows| rows.rows_in),
        rows_out: greatest(|rows| rows.rows_out),
        failed,
        skipped: greatest(|rows| rows.skipped),
    };
    Some(Counted { rows, errors_attempt: (failed > 0).then_some(attempt) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::job::Outcome;
    use crate::settle::with_attempts_before;
    use shared::models::time::JsonText;

    fn rows(rows_in: u64, rows_out: u64, failed: u64) -> Rows {
        Rows { rows_in, rows_out, failed, skipped: 0 }
    }

    fn reading(attempt: u32, rows: Rows) -> Reading {
        Reading { attempt, rows: Some(rows), inputs: JsonText(Vec::new()), nodes: JsonText(Vec::new()) }
    }

    #[test]
    fn an_attempt_that_wrote_nothing_does_not_count() {
        let readings = [reading(1, rows(100, 95, 5)), reading(2, rows(80, 80, 0)), reading(3, rows(90, 88, 2))];
        let of = |writers: &[Option<u32>]| most(&readings, writers);
        assert_eq!(of(&[Some(2)]), Some(Counted { rows: rows(80, 80, 0), errors_attempt: None }));
        assert_eq!(of(&[Some(3), Some(3)]), Some(Counted { rows: rows(90, 88, 2), errors_attempt: Some(3) }));
        // The one has written one table, the other one the next.
        assert_eq!(of(&[Some(2), Some(3)]), Some(Counted { rows: rows(90, 88, 2), errors_attempt: Some(3) }));
        // A table that does not tell.
        assert_eq!(of(&[Some(2), None]), Some(Counted { rows: rows(100, 95, 5), errors_attempt: Some(1) }));
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[Some(4)]), None);
    }

    #[test]
    fn rejected_rows_alone_and_the_rows_of_other_runs_are_no_writing() {
        let target = |kind, run: &str, attempt| Target {
            node_id: None,
            kind,
            table: "people".to_owned(),
            written_by: run.to_owned(),
            attempt,
            load_mode: None,
            rows: 1,
            skipped_rows: 0,
            delta: None,
            database: None,
        };
        let targets = [
            target(TargetKind::Rejected, "run_1", Some(2)),
            target(TargetKind::Delta, "run_1", Some(1)),
            target(TargetKind::Delta, "run_0", Some(3)),
            target(TargetKind::Database, "run_1", None),
        ];
        assert_eq!(writers("run_1", &targets), [Some(1), None]);
    }

    #[test]
    fn what_was_read_is_told_by_those_that_wrote_and_what_tables_took_by_their_commits() {
        // It was at the gate with two rejected rows, and found there that another one had been faster.
        let outcome = Outcome { rows_in: 90, rows_out: 80, failed_rows: 0, skipped_rows: 3, ..Outcome::default() };
        let counted = Counted { rows: rows(80, 70, 0), errors_attempt: None };
        let told = Rows { skipped: 3, ..rows(80, 80, 0) };
        assert_eq!(with_attempts_before(&outcome, true, Some(counted)), told);
        assert_eq!(with_attempts_before(&outcome, false, Some(counted)), told);
        assert_eq!(with_attempts_before(&outcome, true, None), Rows { rows_in: 90, ..told });
    }
}
