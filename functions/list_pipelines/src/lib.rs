//! `GET /api/v1/pipelines`: a tenant's pipelines, newest first, with nodes, edges, connector and schema.

use shared::Result;
use shared::context::Context;
use shared::http::{Function, ListInput, Response};
use shared::models::pipeline::Pipeline;
use shared::roles::Action;
use shared::store::keys::Kind;
use shared::store::resources::Listed;

/// The function of this route.
pub fn function() -> Function {
    Function::new(Action::ListPipelines, ListInput::read, handle)
}

async fn handle(context: Context, input: ListInput) -> Result<Response> {
    let slice = input.slice(&context)?;
    let listed: Listed<Pipeline> = context.store.list(context.tenant(), Kind::Pipeline, &slice).await?;
    let views = context.store.pipeline_views(context.tenant(), listed.items).await?;
    input.page(&context, &views, listed.next.as_ref(), listed.total)
}
