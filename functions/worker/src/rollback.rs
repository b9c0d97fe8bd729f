//! `POST /api/v1/pipelines/{id}/runs/{runId}/rollback`: takes a run's rows out of its tables again.

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

/// How long a rollback may write: it ends before retries can be made again (`shared::store::runs::UNDOING`).
const LONGEST: Duration = Duration::from_secs(60);

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

/// Looks at all tables first: where one cannot be undone, none is.
pub(crate) async fn rollback(worker: Arc<Worker>, context: Context, input: Input) -> Result<Response> {
    let (asked, faults) = bodies::run::rollback(&input.body);
    let dry_run = bodies::finish(asked, faults)?.dry_run.unwrap_or(false);
    let pipeline = context.store.pipeline(context.tenant(), &input.pipeline).await?;
    let run = context.store.run(context.tenant(), &pipeline.id, &input.run).await?;
    let targets = check(&context, &run).await?;
    let newest = check_retries(&context, &run).await?;
    let now: Time = context.now().into();
    let tables = tables(&worker, &context, &run).await?;
    let by = context.caller.subject.as_str();
    let undoes: Vec<Undo<'_>> = tables
        .iter()
        .map(|schema| Undo::new(&run.tenant_id, schema, &run.id, (by, now), &worker.settings))
        .collect::<Result<_, _>>()
        .map_err(|error| refused(Refusal::Run(error)))?;
    let mut planned: Vec<(&Undo<'_>, Look)> = Vec::new();
    for undo in &undoes {
        planned.push((undo, undo.look().await.map_err(refused)?));
    }
    let leaves = targets.iter().any(|target| target.written_by != run.id);
    check_looks(&context, (&run, leaves), &planned, (by, now)).await?;
    let mut answer = Rollback { run_id: run.id.clone(), dry_run, tables: Vec::new(), rolled_back: None };
    if dry_run {
        answer.tables = planned.into_iter().filter_map(|(undo, look)| would(undo.schema, look)).collect();
        return Response::ok(&answer);
    }
    answer.tables = undo_alone(&context, (&run, &newest), planned).await?;
    let how = summary(&answer.tables, by, now);
    context.store.mark_rolled_back(&run, &how).await?;
    tracing::info!(run = run.id, version = how.version, "run rolled back");
    answer.rolled_back = Some(how);
    Response::ok(&answer)
}

/// Undoes the run at its tables while it is retried by nobody: a retry that finds its rows in a table leaves them to stand.
async fn undo_alone(
    context: &Context,
    (run, newest): (&Run, &Run),
    planned: Vec<(&Undo<'_>, Look)>,
) -> Result<Vec<RollbackTable>> {
    let Some(undoing) = context.store.begin_undoing(newest, context.now().into()).await? else {
        check_retries(context, run).await?;
        return Err(Error::conflict("BUSY", "the run was retried in this moment; ask again"));
    };
    let late = |_| Error::Unavailable { what: "the table", source: "the rollback took too long".into() };
    let done = tokio::time::timeout(LONGEST, undo_all(planned)).await.map_err(late).flatten();
    let ended = match &done {
        // The mark of the run lets it be retried itself.
        Ok(_) if newest.id == run.id => Ok(()),
        Ok(_) => context.store.end_undoing(newest, undoing, true).await,
        Err(Error::Conflict { .. }) => context.store.end_undoing(newest, undoing, false).await,
        // A commit whose end nobody knows may come in later.
        Err(_) => Ok(()),
    };
    if let Err(error) = ended {
        tracing::warn!(run = run.id, %error, "the run cannot be retried for a while");
    }
    done
}

async fn undo_all(planned: Vec<(&Undo<'_>, Look)>) -> Result<Vec<RollbackTable>> {
    let mut reports = Vec::new();
    for (undo, look) in planned {
        match look {
            Look::Nothing => {}
            Look::Already(version) => reports.push(done_before(undo.schema, version)),
            Look::Can(_) => match undo.undo().await {
                Ok(report) => reports.extend(report),
                Err(refusal) => return Err(partly(refused(refusal), &reports)),
            },
        }
    }
    Ok(reports)
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
    let names: Vec<String> = done.iter().map(|table| format!("{:?}", table.table)).collect();
    match error {
        Error::Conflict { code, detail } if !done.is_empty() => Error::Conflict {
            code,
            detail: format!("{detail}; the run's rows are out of {} already, and stay out", names.join(", ")),
        },
        other => other,
    }
}
