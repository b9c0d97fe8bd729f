//! `GET /api/v1/health`: that this is up; without a token.

use serde_json::json;
use shared::Result;
use shared::context::Context;
use shared::http::{Function, Request, Response};
use shared::roles::Action;

/// The function of this route.
pub fn function() -> Function {
    Function::new(Action::GetHealth, read, handle)
}

fn read(_: &Request) -> Result<()> {
    Ok(())
}

async fn handle(context: Context, (): ()) -> Result<Response> {
    let time = shared::models::time::Time::from(context.now());
    Response::ok(&json!({"status": "ok", "version": env!("CARGO_PKG_VERSION"), "time": time}))
}
