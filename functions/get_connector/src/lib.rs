//! `GET /api/v1/connectors/{id}`: one connector.

use http::StatusCode;
use shared::Result;
use shared::context::Context;
use shared::http::{Function, Request, Response};
use shared::models::connector::Connector;
use shared::roles::Action;
use shared::store::keys::Kind;

/// The function of this route.
pub fn function() -> Function {
    Function::new(Action::GetConnector, read, handle)
}

fn read(request: &Request) -> Result<String> {
    Ok(request.param("id").to_owned())
}

async fn handle(context: Context, id: String) -> Result<Response> {
    let connector: Connector = context.store.resource(context.tenant(), Kind::Connector, &id).await?;
    Response::resource(StatusCode::OK, &connector.etag(), &connector.view())
}
