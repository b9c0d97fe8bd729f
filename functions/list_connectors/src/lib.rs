//! `GET /api/v1/connectors`: a tenant's connectors, newest first.

use shared::Result;
use shared::context::Context;
use shared::http::{Function, ListInput, Response};
use shared::models::connector::Connector;
use shared::roles::Action;
use shared::store::keys::Kind;
use shared::store::resources::Listed;

/// The function of this route.
pub fn function() -> Function {
    Function::new(Action::ListConnectors, ListInput::read, handle)
}

async fn handle(context: Context, input: ListInput) -> Result<Response> {
    let slice = input.slice(&context)?;
    let listed: Listed<Connector> = context.store.list(context.tenant(), Kind::Connector, &slice).await?;
    input.answer(&context, listed, |connector| connector.view())
}
