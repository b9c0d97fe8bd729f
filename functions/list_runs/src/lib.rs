//! `GET /api/v1/pipelines/{id}/runs`: the last runs of a pipeline, newest first.

use shared::context::Context;
use shared::http::{Function, ListInput, Request, Response};
use shared::models::run::RunStatus;
use shared::roles::Action;
use shared::{Error, Result};

/// The function of this route.
pub fn function() -> Function {
    Function::new(Action::ListRuns, read, handle)
}

struct Input {
    pipeline: String,
    status: Option<RunStatus>,
    list: ListInput,
}

fn read(request: &Request) -> Result<Input> {
    let status = match request.query("status") {
        None => Ok(None),
        Some(name) => RunStatus::named(name).map(Some).ok_or_else(|| {
            let known: Vec<_> = RunStatus::ALL.into_iter().map(RunStatus::name).collect();
            Error::fault("?status", "enum", format!("{name:?} is none of {}", known.join(", ")))
        }),
    };
    let (status, mut list) = ListInput::read(request)?.beside(status)?;
    list.filters = status.map(|s| format!("status={}", s.name())).unwrap_or_default();
    Ok(Input { pipeline: request.param("id").to_owned(), status, list })
}

async fn handle(context: Context, input: Input) -> Result<Response> {
    let slice = input.list.slice(&context)?;
    let pipeline = context.store.pipeline(context.tenant(), &input.pipeline).await?;
    let listed = context.store.runs(context.tenant(), &pipeline.id, input.status, &slice).await?;
    input.list.answer(&context, listed, |run| run.view())
}
