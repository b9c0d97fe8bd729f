//! What needs the engine within a request: connector tests, the rows of a table, and pipelines that are tried out.

use crate::deadline::{self, Deadline, LONGEST, in_time};
use crate::engine::job::TableSchema;
use crate::error::{Kind as ErrorKind, RunError};
use crate::life::Worker;
use crate::room::ANSWER;
use crate::targets::{PageRequest, Position};
use crate::{job, rollback, sources, targets, trial};
use serde_json::json;
use shared::context::Context;
use shared::http::{Function, ListInput, Request, Response};
use shared::models::connector::Connector;
use shared::models::schema::Schema;
use shared::models::time::Time;
use shared::roles::Action;
use shared::store::keys::Kind;
use shared::{Error, Result};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The most rows of a page of a table.
const MOST_ROWS: usize = 500;

/// The function of these routes.
pub fn function(worker: Arc<Worker>) -> Function {
    function_within(worker, LONGEST)
}

/// The same, which works on a request for `longest` at most.
pub fn function_within(worker: Arc<Worker>, longest: Duration) -> Function {
    let (tester, checker, previewer) = (Arc::clone(&worker), Arc::clone(&worker), Arc::clone(&worker));
    let undoer = Arc::clone(&worker);
    Function::router(
        "worker",
        vec![
            (
                "POST /api/v1/connectors/{id}/test",
                Function::new(Action::TestConnector, read_id, move |context, id| {
                    test(Arc::clone(&tester), context, id, longest)
                }),
            ),
            (
                "GET /api/v1/schemas/{id}/data",
                Function::new(Action::ListSchemaRows, read_rows, move |context, input| {
                    rows(Arc::clone(&worker), context, input, longest)
                }),
            ),
            (
                "POST /api/v1/pipelines/{id}/validate",
                Function::new(Action::ValidatePipeline, trial::read, move |context, input| {
                    trial::validate(Arc::clone(&checker), context, input, longest)
                }),
            ),
            (
                "POST /api/v1/pipelines/{id}/preview",
                Function::new(Action::PreviewPipeline, trial::read, move |context, input| {
                    trial::preview(Arc::clone(&previewer), context, input, longest)
                }),
            ),
            (
                "POST /api/v1/pipelines/{id}/runs/{runId}/rollback",
                Function::new(Action::RollbackRun, rollback::read, move |context, input| {
                    rollback::rollback(Arc::clone(&undoer), context, input, longest)
                }),
            ),
        ],
    )
}

fn read_id(request: &Request) -> Result<String> {
    request.no_input()?;
    Ok(request.param("id").to_owned())
}

async fn test(worker: Arc<Worker>, context: Context, id: String, longest: Duration) -> Result<Response> {
    let deadline = Deadline::new(&context, longest);
    let found = context.store.resource::<Connector>(context.tenant(), Kind::Connector, &id);
    let connector = in_time(deadline.early, found).await.unwrap_or_else(|| late("reading the connector"))?;
    let started = Instant::now();
    let looked = async {
        let opened = job::open(&worker, &connector).await?;
        sources::probe(&opened, &worker.settings).await
    };
    let outcome = match in_time(deadline.early, looked).await {
        Some(Ok(detail)) => Ok(detail),
        Some(Err(error)) => Err(error.message),
        None => Err(format!("no answer within {} s", deadline::early(longest).as_secs())),
    };
    let now: Time = context.now().into();
    let failed = outcome.as_ref().err().map(String::as_str);
    let kept = context.store.keep_test(&connector, failed, now);
    in_time(deadline.told, kept).await.unwrap_or_else(|| late("keeping the outcome of the test"))?;
    let ok = outcome.is_ok();
    let detail = outcome.unwrap_or_else(|error| error);
    let duration = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Response::ok(&json!({"ok": ok, "detail": detail, "durationMs": duration}))
}

struct RowsInput {
    id: String,
    list: ListInput,
    /// Whether the rejected rows are meant.
    rejected: bool,
}

fn read_rows(request: &Request) -> Result<RowsInput> {
    let (rejected, mut list) = ListInput::with(request, 20, MOST_ROWS)?.beside(request.flag("rejected"))?;
    list.filters = if rejected { "rejected".to_owned() } else { String::new() };
    Ok(RowsInput { id: request.param("id").to_owned(), list, rejected })
}

async fn rows(worker: Arc<Worker>, context: Context, input: RowsInput, longest: Duration) -> Result<Response> {
    let deadline = Deadline::new(&context, longest);
    in_time(deadline.end, page(worker, context, input)).await.unwrap_or_else(|| late("reading the rows of the table"))
}

async fn page(worker: Arc<Worker>, context: Context, input: RowsInput) -> Result<Response> {
    let position: Option<Position> = input.list.position(&context)?;
    let schema: Schema = context.store.resource(context.tenant(), Kind::Schema, &input.id).await?;
    let table = TableSchema { id: schema.id, name: schema.name, fields: schema.fields.0 };
    let table = if input.rejected { targets::rejected::schema(&table) } else { table };
    let page = PageRequest { limit: input.list.limit, bytes: ANSWER, position, include_total: input.list.total };
    let page = targets::read_page(context.tenant(), &table, &worker.settings, page).await.map_err(unread)?;
    input.list.page(&context, &page.rows, page.next.as_ref(), page.total.map(|total| (total, false)))
}

/// What is answered where `what` took too long.
fn late<T>(what: &str) -> Result<T> {
    Err(Error::TimedOut(format!("{what} took too long; ask again")))
}

/// What is said of a table that cannot be read: now, or as it is.
fn unread(error: RunError) -> Error {
    match error.kind {
        ErrorKind::Target => Error::conflict("TABLE_UNREADABLE", error.message),
        _ => Error::Unavailable { what: "the table", source: error.into() },
    }
}
