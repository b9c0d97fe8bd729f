//! `DELETE /api/v1/schemas?id=` and `DELETE /api/v1/schemas/{id}`: removes a schema that no pipeline uses.

use http::StatusCode;
use shared::Result;
use shared::context::Context;
use shared::http::{Function, Request, Response, check_if_match, target_id};
use shared::models::schema::Schema;
use shared::roles::Action;
use shared::store::keys::Kind;

/// The function of these routes.
pub fn function() -> Function {
    Function::new(Action::DeleteSchema, read, handle)
}

struct Input {
    id: String,
    if_match: Option<String>,
}

fn read(request: &Request) -> Result<Input> {
    Ok(Input { id: target_id(request, None)?, if_match: request.if_match() })
}

async fn handle(context: Context, input: Input) -> Result<Response> {
    let old: Schema = context.store.resource(context.tenant(), Kind::Schema, &input.id).await?;
    check_if_match(input.if_match.as_deref(), &old.etag())?;
    context.store.delete_schema(&old).await?;
    Ok(Response::empty(StatusCode::NO_CONTENT))
}
