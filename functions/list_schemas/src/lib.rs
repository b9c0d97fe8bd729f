//! `GET /api/v1/schemas`: a tenant's schemas, newest first.

use shared::Result;
use shared::context::Context;
use shared::http::{Function, ListInput, Response};
use shared::models::schema::Schema;
use shared::roles::Action;
use shared::store::keys::Kind;
use shared::store::resources::Listed;

/// The function of this route.
pub fn function() -> Function {
    Function::new(Action::ListSchemas, ListInput::read, handle)
}

async fn handle(context: Context, input: ListInput) -> Result<Response> {
    let slice = input.slice(&context)?;
    let listed: Listed<Schema> = context.store.list(context.tenant(), Kind::Schema, &slice).await?;
    input.answer(&context, listed, |schema| schema.view())
}
