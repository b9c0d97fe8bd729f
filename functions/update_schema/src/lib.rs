//! `PUT /api/v1/schemas` and `PUT /api/v1/schemas/{id}`: changes a schema as far as its table survives it.

use http::StatusCode;
use shared::check::{self, Body};
use shared::context::Context;
use shared::http::{Function, Request, Response, check_if_match, target_id};
use shared::models::schema::Schema;
use shared::models::time::JsonText;
use shared::roles::Action;
use shared::store::keys::Kind;
use shared::{Error, Result};

/// The function of these routes.
pub fn function() -> Function {
    Function::new(Action::UpdateSchema, read, handle)
}

struct Input {
    id: String,
    body: Body,
    if_match: Option<String>,
}

fn read(request: &Request) -> Result<Input> {
    let body = request.json()?;
    Ok(Input { id: target_id(request, Some(&body))?, if_match: request.if_match(), body })
}

async fn handle(context: Context, input: Input) -> Result<Response> {
    let (patch, faults) = check::schema::update(&input.body);
    let patch = check::finish(patch, faults)?;
    let old: Schema = context.store.resource(context.tenant(), Kind::Schema, &input.id).await?;
    let mut new = old.clone();
    new.version += 1;
    new.updated_at = context.now().into();
    if let Some(name) = patch.name {
        new.name = name;
    }
    if let Some(name) = patch.display_name {
        new.display_name = name;
    }
    if let Some(description) = patch.description {
        new.description = description;
    }
    if let Some(fields) = patch.fields {
        let losses = check::schema::evolution(&old.fields.0, &fields);
        if !losses.is_empty() {
            return Err(Error::conflict("WOULD_LOSE_DATA", losses.join("; ")));
        }
        new.fields = JsonText(fields);
    }
    check_if_match(input.if_match.as_deref(), &old.etag())?;
    context.store.update_schema(&old, &new).await?;
    Response::resource(StatusCode::OK, &new.etag(), &new.view())
}
