//! `$default`: what meets no route, or a route with another method.

use shared::context::Context;
use shared::http::{Function, Request, Response, routes};
use shared::roles::Action;
use shared::{Error, Result};

/// The function of this route.
pub fn function() -> Function {
    Function::new(Action::NotFound, read, handle)
}

fn read(request: &Request) -> Result<String> {
    Ok(request.path.clone())
}

async fn handle(_: Context, path: String) -> Result<Response> {
    let methods = routes::methods(path.trim_end_matches('/'));
    Err(if methods.is_empty() || path.ends_with('/') {
        Error::not_found("path", path)
    } else {
        Error::MethodNotAllowed { allow: methods.join(", ") }
    })
}
