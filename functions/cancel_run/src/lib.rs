//! `POST /api/v1/pipelines/{id}/runs/{runId}/cancel`: ends a run that is not committing yet.

use http::StatusCode;
use shared::context::Context;
use shared::http::{Function, Request, Response};
use shared::launch::{self, Stopped};
use shared::roles::Action;
use shared::{Error, Result};

/// The function of this route.
pub fn function() -> Function {
    Function::new(Action::CancelRun, read, handle)
}

struct Input {
    pipeline: String,
    run: String,
}

fn read(request: &Request) -> Result<Input> {
    request.no_input()?;
    Ok(Input { pipeline: request.param("id").to_owned(), run: request.param("runId").to_owned() })
}

async fn handle(context: Context, input: Input) -> Result<Response> {
    let pipeline = context.store.pipeline(context.tenant(), &input.pipeline).await?;
    match launch::stop(&context, context.tenant(), &pipeline.id, &input.run).await? {
        Stopped::Cancelled | Stopped::Asked => {
            let run = context.store.run(context.tenant(), &pipeline.id, &input.run).await?;
            Response::hashed(StatusCode::ACCEPTED, &run.view())
        }
        Stopped::TooLate(run) if run.status.is_final() => {
            Err(Error::conflict("RUN_FINAL", format!("the run is {} already", run.status.name())))
        }
        Stopped::TooLate(_) => {
            Err(Error::conflict("RUN_COMMITTING", "the run is writing its result and cannot be cancelled any more"))
        }
    }
}
