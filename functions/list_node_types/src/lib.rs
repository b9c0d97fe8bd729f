//! `GET /api/v1/node-types`: the types of nodes, described so that an editor can draw their forms.

use http::StatusCode;
use serde_json::json;
use shared::Result;
use shared::check::types;
use shared::context::Context;
use shared::http::{Function, Request, Response};
use shared::roles::Action;

/// The function of this route.
pub fn function() -> Function {
    Function::new(Action::ListNodeTypes, read, handle)
}

fn read(_: &Request) -> Result<()> {
    Ok(())
}

async fn handle(_: Context, (): ()) -> Result<Response> {
    Response::hashed(StatusCode::OK, &json!({"data": types::node_types()}))
}
