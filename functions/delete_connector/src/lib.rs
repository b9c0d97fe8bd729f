//! `DELETE /api/v1/connectors?id=` and `DELETE /api/v1/connectors/{id}`: removes a connector that no pipeline uses.

use http::StatusCode;
use shared::Result;
use shared::context::Context;
use shared::http::{Function, Request, Response, check_if_match, deleted_id};
use shared::models::connector::Connector;
use shared::roles::Action;
use shared::store::keys::Kind;
use shared::store::resources::{CHANGES, changing};

/// The function of these routes.
pub fn function() -> Function {
    Function::new(Action::DeleteConnector, read, handle)
}

struct Input {
    id: String,
    if_match: Option<String>,
}

fn read(request: &Request) -> Result<Input> {
    Ok(Input { id: deleted_id(request)?, if_match: request.if_match() })
}

async fn handle(context: Context, input: Input) -> Result<Response> {
    for _ in 0..CHANGES {
        if delete(&context, &input).await? {
            return Ok(Response::empty(StatusCode::NO_CONTENT));
        }
    }
    Err(changing(Kind::Connector))
}

/// False where somebody else was faster.
async fn delete(context: &Context, input: &Input) -> Result<bool> {
    let (tenant, kind) = (context.tenant(), Kind::Connector);
    let old: Connector = context.store.resource(tenant, kind, &input.id).await?;
    context.store.check_unused(tenant, kind, (&old.id, &old.name), old.users).await?;
    check_if_match(input.if_match.as_deref(), &old.etag())?;
    context.store.delete_connector(&old).await
}
