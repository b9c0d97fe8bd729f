//! `POST /api/v1/pipelines/{id}/runs/{runId}/rollback`: takes a run's rows out of its tables again.

use crate::deadline::{Deadline, in_time};
use crate::engine::job::TableSchema;
use crate::error::{Kind, RunError};
use crate::job;
use crate::life::Worker;
use crate::targets::rejected;
use crate::targets::rollback::{Look, Refusal, Undo, already};
use shared::check::{self as bodies, Body};
use shared::context::Context;
use shared::http::{Request, Response};
use shared::models::receipt::{Rollback, RollbackTable, RolledBack, RolledBackTable, Target, TargetKind};
use shared::models::run::Run;
use shared::models::time::Time;
use shared::{Error, Result};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// What is said where all tables are undone, and the run could not be marked in time.
const NOT_MARKED: &str =
    "marking the run took too long; its rows are out of all its tables, and asking again marks it as rolled back";

/// What is asked for.
pub(crate) struct Input {
    pipeline: String,
    run: String,
    body: Body,
}

/// Reads the request.
pub(crate) fn read(request: &Request) -> Result<Input> {
    let (pipeline, run) = (request.param("id").to_owned(), request.param("runId").to_owned());
    Ok(Input { pipeline, run, body: request.optional_json()? })
}

/// What the store knows of a run that is to be undone.
struct Known {
    run: Run,
    /// The last of the runs that retry one another.
    newest: Run,
    /// What its receipt says of tables.
    targets: Vec<Target>,
    tables: Vec<TableSchema>,
}

/// Looks at all tables first: where one cannot be undone, none is.
pub(crate) async fn rollback(
    worker: Arc<Worker>,
    context: Context,
    input: Input,
    longest: Duration,
) -> Result<Response> {
    let (asked, faults) = bodies::run::rollback(&input.body);
    let dry_run = bodies::finish(asked, faults)?.dry_run.unwrap_or(false);
    let deadline = Deadline::new(&context, longest);
    let looked = if dry_run { deadline.end } else { deadline.early };
    let now: Time = context.now().into();
    let known = unchanged(looked, "reading what is known of the run", known(&worker, &context, &input)).await?;
    let Known { run, newest, targets, tables } = known;
    let by = context.caller.subject.as_str();
    let undoes: Vec<Undo<'_>> = tables
        .iter()
        .map(|schema| Undo::new(&run.tenant_id, schema, &run.id, (by, now), &worker.settings))
        .collect::<Result<_, _>>()
        .map_err(|error| refused(Refusal::Run(error)))?;
    let planned = unchanged(looked, "looking at the run's tables", looks(&undoes)).await?;
    let leaves = targets.iter().any(|target| target.written_by != run.id);
    let checked = check_looks(&context, (&run, leaves), &planned, (by, now));
    unchanged(looked, "marking the run", checked).await?;
    let mut answer = Rollback { run_id: run.id.clone(), dry_run, tables: Vec::new(), rolled_back: None };
    if dry_run {
        answer.tables = planned.into_iter().filter_map(|(undo, look)| would(undo.schema, look)).collect();
        return Response::ok(&answer);
    }
    answer.tables = undo_alone(&context, (&run, &newest), planned, deadline).await?;
    let how = summary(&answer.tables, by, now);
    let marked = in_time(deadline.told, context.store.mark_rolled_back(&run, &how)).await;
    marked.unwrap_or_else(|| Err(Error::TimedOut(NOT_MARKED.to_owned())))?;
    tracing::info!(run = run.id, version = how.version, "run rolled back");
    answer.rolled_back = Some(how);
    Response::ok(&answer)
}

async fn known(worker: &Worker, context: &Context, input: &Input) -> Result<Known> {
    let pipeline = context.store.pipeline(context.tenant(), &input.pipeline).await?;
    let run = context.store.run(context.tenant(), &pipeline.id, &input.run).await?;
    let targets = check(context, &run).await?;
    let newest = check_retries(context, &run).await?;
    let tables = tables(worker, context, &run).await?;
    Ok(Known { run, newest, targets, tables })
}

async fn looks<'a>(undoes: &'a [Undo<'a>]) -> Result<Vec<(&'a Undo<'a>, Look)>> {
    let mut planned = Vec::new();
    for undo in undoes {
        planned.push((undo, undo.look().await.map_err(refused)?));
    }
    Ok(planned)
}

/// What `work` comes to in time, before any table is changed.
async fn unchanged<T>(deadline: Instant, what: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
    let late =
        || Err(Error::TimedOut(format!("{what} took too long; no table was changed, and it can be asked for again")));
    in_time(deadline, work).await.unwrap_or_else(late)
}

/// Why a rollback did not come to its end.
struct Cut {
    error: Error,
    /// Whether a commit may come in later.
    open: bool,
}

/// Undoes the run at its tables while it is retried by nobody: a retry that finds its rows in a table leaves them to stand.
async fn undo_alone(
    context: &Context,
    (run, newest): (&Run, &Run),
    planned: Vec<(&Undo<'_>, Look)>,
    deadline: Deadline,
) -> Result<Vec<RollbackTable>> {
    let begun = context.store.begin_undoing(newest, context.now().into());
    let Some(undoing) = unchanged(deadline.early, "keeping the run from being retried", begun).await? else {
        unchanged(deadline.end, "reading the run's retries", check_retries(context, run)).await?;
        return Err(Error::conflict("BUSY", "the run was retried in this moment; ask again"));
    };
    let mut reports = Vec::new();
    let done = undo_all(planned, deadline, &mut reports).await;
    let ended = async {
        match &done {
            // The mark of the run lets it be retried itself.
            Ok(()) if newest.id == run.id => Ok(()),
            Ok(()) => context.store.end_undoing(newest, undoing, true).await,
            Err(cut) if cut.open => Ok(()),
            Err(_) => context.store.end_undoing(newest, undoing, false).await,
        }
    };
    match in_time(deadline.told, ended).await {
        Some(Ok(())) => {}
        Some(Err(error)) => tracing::warn!(run = run.id, %error, "the run cannot be retried for a while"),
        None => tracing::warn!(run = run.id, "the run cannot be retried for a while: the store took too long"),
    }
    match done {
        Ok(()) => Ok(reports),
        Err(cut) => Err(cut.error),
    }
}

/// Undoes the run at one table after the other, and reports each that is done.
async fn undo_all(
    planned: Vec<(&Undo<'_>, Look)>,
    deadline: Deadline,
    reports: &mut Vec<RollbackTable>,
) -> Result<(), Cut> {
    for (undo, look) in planned {
        let look = match look {
            Look::Nothing => continue,
            Look::Already(version) => {
                reports.push(done_before(undo.schema, version));
                continue;
            }
            look @ Look::Can(_) => look,
        };
        match undo.undo(look, deadline).await {
            Ok(report) => reports.extend(report),
            Err(Refusal::Late { unknown }) => {
                let error = cut_off(reports, unknown.then_some(undo.schema.name.as_str()));
                return Err(Cut { error, open: unknown });
            }
            Err(refusal) => {
                let error = partly(refused(refusal), reports);
                // Of any other error nobody knows whether a commit came before it.
                let open = !matches!(error, Error::Conflict { .. });
                return Err(Cut { error, open });
            }
        }
    }
    Ok(())
}

/// What undoing the run would do to a table.
fn would(schema: &TableSchema, look: Look) -> Option<RollbackTable> {
    match look {
        Look::Nothing => None,
        Look::Already(version) => Some(done_before(schema, version)),
        Look::Can(plan) => Some(plan.report),
    }
}

/// Whether the run can be undone, by what the store knows; answers what its receipt says of tables.
async fn check(context: &Context, run: &Run) -> Result<Vec<Target>> {
    if !run.status.is_final() {
        let detail = format!("the run is {}; it can be rolled back once it has ended", run.status.name());
        return Err(Error::conflict("RUN_NOT_FINAL", detail));
    }
    if let Some(how) = &run.rolled_back {
        let detail = format!("the run was rolled back at {} by {}", how.0.at.text(), how.0.by);
        return Err(Error::conflict("ALREADY_ROLLED_BACK", detail));
    }
    let kept = context.store.kept_receipt(run).await?;
    let targets = kept.map(|kept| kept.targets.0).unwrap_or_default();
    let mut own = targets.iter().filter(|target| target.written_by == run.id);
    if let Some(target) = own.find(|target| target.kind == TargetKind::Database) {
        let detail = format!(
            "the run has written the table {:?} of a database, which keeps nothing of what was there before; its rows cannot be \
             told apart and taken out again",
            target.table
        );
        return Err(Error::conflict("DATABASE_TARGET", detail));
    }
    Ok(targets)
}

/// Whether no retry of the run counts on its rows, or may before it ends; answers the last of the runs that retry one
/// another, which is the run itself where nobody has retried it.
async fn check_retries(context: &Context, run: &Run) -> Result<Run> {
    let later = |detail: String| Err(Error::conflict("LATER_WRITES", detail));
    let mut newest = run.clone();
    while let Some(id) = newest.retried_by.clone() {
        let Some(retry) = context.store.find_run(&run.tenant_id, &run.pipeline_id, &id).await? else { break };
        if !retry.status.is_final() {
            let status = retry.status.name();
            return later(format!(
                "{id}, a retry of the run, is {status} and may leave the rows of {} to stand; wait for its end, or cancel it",
                run.id
            ));
        }
        if retry.rolled_back.is_none() {
            let kept = context.store.kept_receipt(&retry).await?;
            let targets = kept.map(|kept| kept.targets.0).unwrap_or_default();
            if let Some(target) = targets.iter().find(|target| target.written_by == run.id) {
                return later(format!(
                    "{id}, a retry of the run, has left the rows of {} in the table {:?} to stand and counts them as its own; \
                     roll that back first, the newest first",
                    run.id, target.table
                ));
            }
        }
        newest = retry;
    }
    Ok(newest)
}

/// The tables that the run's version writes, each before its rejected rows.
async fn tables(worker: &Worker, context: &Context, run: &Run) -> Result<Vec<TableSchema>> {
    let version = context.store.pipeline_version(&run.tenant_id, &run.pipeline_id, run.pipeline_version).await?;
    let version = version.ok_or_else(|| Error::not_found("version", run.pipeline_version.to_string()))?;
    let written = job::written(worker, &version).await.map_err(|error| refused(Refusal::Run(error)))?;
    Ok(written
        .into_iter()
        .flat_map(|(_, schema)| {
            let rejected = rejected::schema(&schema);
            [schema, rejected]
        })
        .collect())
}

/// Whether there is anything to be undone, by what the tables say. Where the run `leaves` rows of one that it retries to
/// stand, it can be undone without a change: it does not count them as its own any more.
async fn check_looks(
    context: &Context,
    (run, leaves): (&Run, bool),
    planned: &[(&Undo<'_>, Look)],
    (by, now): (&str, Time),
) -> Result<()> {
    let can = planned.iter().any(|(_, look)| matches!(look, Look::Can(_)));
    let changes = planned.iter().any(|(_, look)| matches!(look, Look::Can(plan) if !plan.is_empty()));
    let before = planned.iter().filter_map(|(undo, look)| match look {
        Look::Already(version) => Some(done_before(undo.schema, *version)),
        Look::Nothing | Look::Can(_) => None,
    });
    let before: Vec<RollbackTable> = before.collect();
    match before.first() {
        // A rollback before this one was cut off after its last table.
        Some(first) if !can => {
            context.store.mark_rolled_back(run, &summary(&before, by, now)).await?;
            Err(refused(already(&run.id, first.version)))
        }
        None if !changes && !leaves => {
            Err(Error::conflict("NOTHING_WRITTEN", "the run has changed no table; there is nothing to undo"))
        }
        _ => Ok(()),
    }
}

fn done_before(schema: &TableSchema, version: u64) -> RollbackTable {
    RollbackTable {
        schema_id: schema.id.clone(),
        kind: if rejected::is_one(&schema.id) { TargetKind::Rejected } else { TargetKind::Delta },
        table: schema.name.clone(),
        undoes: 0,
        version,
        files_removed: 0,
        files_restored: 0,
        rows_removed: 0,
        rows_restored: 0,
        watermark: None,
        already: true,
    }
}

fn summary(tables: &[RollbackTable], by: &str, at: Time) -> RolledBack {
    let of = |table: &RollbackTable| RolledBackTable {
        schema_id: table.schema_id.clone(),
        kind: table.kind,
        version: table.version,
    };
    RolledBack {
        at,
        by: by.to_owned(),
        version: tables.first().map_or(0, |table| table.version),
        tables: tables.iter().map(of).collect(),
    }
}

fn refused(refusal: Refusal) -> Error {
    match refusal {
        Refusal::Conflict { code, detail } => Error::conflict(code, detail),
        Refusal::Late { .. } => Error::TimedOut("the rollback took too long; ask again".to_owned()),
        Refusal::Run(error) => unable(error),
    }
}

fn unable(error: RunError) -> Error {
    match error.kind {
        Kind::Definition => Error::conflict("SCHEMA_GONE", error.message),
        Kind::Target => Error::conflict("TABLE_REFUSES", error.message),
        Kind::TargetUnavailable => Error::Unavailable { what: "the table", source: error.into() },
        _ => Error::internal(error),
    }
}

/// The error of a rollback that has come through at some tables: asked again it goes on with the others.
fn partly(error: Error, done: &[RollbackTable]) -> Error {
    match error {
        Error::Conflict { code, detail } if !done.is_empty() => Error::Conflict {
            code,
            detail: format!("{detail}; the run's rows are out of {} already, and stay out", names(done)),
        },
        other => other,
    }
}

/// The error of a rollback whose time was over: what is in the tables now. `unknown` is one to which a commit was under way.
fn cut_off(done: &[RollbackTable], unknown: Option<&str>) -> Error {
    let known = match unknown {
        None if done.is_empty() => "no table was changed".to_owned(),
        None => format!("the run's rows are out of {}", names(done)),
        Some(table) if done.is_empty() => format!("whether the run's rows are out of {table:?} is not known"),
        Some(table) => {
            format!("the run's rows are out of {}, and whether they are out of {table:?} is not known", names(done))
        }
    };
    Error::TimedOut(format!("the rollback took too long: {known}; asking again goes on with it"))
}

fn names(tables: &[RollbackTable]) -> String {
    let names: Vec<String> = tables.iter().map(|table| format!("{:?}", table.table)).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deadline::LATEST;
    use shared::store::runs::UNDOING;

    #[test]
    fn no_retry_is_made_as_long_as_a_rollback_may_write() {
        assert!(UNDOING.to_std().unwrap() > LATEST);
    }

    #[test]
    fn who_waited_too_long_is_told_what_is_in_the_tables() {
        let schema = |name: &str| TableSchema { id: "schema_1".to_owned(), name: name.to_owned(), fields: Vec::new() };
        let done = [done_before(&schema("people"), 3), done_before(&schema("people (rejected)"), 2)];
        for (done, unknown, told) in [
            (&done[..0], None, "no table was changed;"),
            (&done[..0], Some("names"), "whether the run's rows are out of \"names\" is not known;"),
            (&done[..], None, "the run's rows are out of \"people\", \"people (rejected)\";"),
            (&done[..1], Some("names"), "out of \"people\", and whether they are out of \"names\" is not known;"),
        ] {
            let said = cut_off(done, unknown).to_string();
            assert!(said.contains(told) && said.ends_with("asking again goes on with it"), "{said}");
        }
    }
}
