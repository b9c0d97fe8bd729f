//! `GET /api/v1/openapi.json`: the whole contract as OpenAPI 3.1; without a token.

use http::StatusCode;
use shared::Result;
use shared::context::Context;
use shared::http::{Function, Request, Response};
use shared::roles::Action;

/// The function of this route.
pub fn function() -> Function {
    Function::new(Action::GetOpenapi, read, handle)
}

fn read(_: &Request) -> Result<()> {
    Ok(())
}

async fn handle(_: Context, (): ()) -> Result<Response> {
    Response::json(StatusCode::OK, &shared::http::openapi::document())
}
