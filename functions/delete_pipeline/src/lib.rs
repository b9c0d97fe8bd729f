//! `DELETE /api/v1/pipelines?id=` and `DELETE /api/v1/pipelines/{id}`: the pipeline and all below it are gone.

use http::StatusCode;
use shared::context::Context;
use shared::http::{Function, Request, Response, check_if_match, deleted_id};
use shared::models::pipeline::Pipeline;
use shared::models::time::Time;
use shared::queue::{Message, Task};
use shared::roles::Action;
use shared::store::keys::Kind;
use shared::store::resources::{CHANGES, changing};
use shared::{Result, launch};
use std::time::Duration;

/// Runs that the request stops itself; the purge stops the others.
const STOPPED: usize = 500;

/// The function of these routes.
pub fn function() -> Function {
    Function::new(Action::DeletePipeline, read, handle)
}

struct Input {
    id: String,
    if_match: Option<String>,
}

fn read(request: &Request) -> Result<Input> {
    Ok(Input { id: deleted_id(request)?, if_match: request.if_match() })
}

async fn handle(context: Context, input: Input) -> Result<Response> {
    let old = deleted(&context, &input).await?;
    // From here on it is gone; what follows the tick repeats where it fails.
    let purge = Message {
        task: Task::Purge,
        tenant_id: old.tenant_id.clone(),
        pipeline_id: old.id.clone(),
        run_id: String::new(),
    };
    if let Err(error) = context.queue.send(&purge, Duration::ZERO).await {
        tracing::warn!(pipeline = old.id, %error, "the purge could not be sent; the next ticks will try again");
    }
    let mut live = context.store.live_runs(context.tenant(), &old.id).await.unwrap_or_default();
    live.truncate(STOPPED);
    if let Err(error) = launch::stop_all(&context, context.tenant(), &old.id, &live).await {
        tracing::warn!(pipeline = old.id, %error, "its runs could not be cancelled yet; the purge will");
    }
    Ok(Response::empty(StatusCode::NO_CONTENT))
}

async fn deleted(context: &Context, input: &Input) -> Result<Pipeline> {
    let purge_at = Time(context.now() + chrono::Duration::seconds(60));
    for _ in 0..CHANGES {
        let old = context.store.pipeline(context.tenant(), &input.id).await?;
        check_if_match(input.if_match.as_deref(), &old.etag())?;
        if context.store.delete_pipeline(&old, purge_at).await? {
            return Ok(old);
        }
    }
    Err(changing(Kind::Pipeline))
}
