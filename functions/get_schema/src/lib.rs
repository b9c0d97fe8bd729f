//! `GET /api/v1/schemas/{id}`: one schema.

use http::StatusCode;
use shared::Result;
use shared::context::Context;
use shared::http::{Function, Request, Response};
use shared::models::schema::Schema;
use shared::roles::Action;
use shared::store::keys::Kind;

/// The function of this route.
pub fn function() -> Function {
    Function::new(Action::GetSchema, read, handle)
}

fn read(request: &Request) -> Result<String> {
    Ok(request.param("id").to_owned())
}

async fn handle(context: Context, id: String) -> Result<Response> {
    let schema: Schema = context.store.resource(context.tenant(), Kind::Schema, &id).await?;
    Response::resource(StatusCode::OK, &schema.etag(), &schema.view())
}
