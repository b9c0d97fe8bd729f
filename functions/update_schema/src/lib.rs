//! `PUT /api/v1/schemas` and `PUT /api/v1/schemas/{id}`: changes a schema as far as its table survives it.

use http::StatusCode;
use shared::check::schema::SchemaPatch;
use shared::check::{self, Body};
use shared::context::Context;
use shared::http::{Function, Request, Response, changed_id, check_if_match};
use shared::models::schema::Schema;
use shared::models::time::{JsonText, Time};
use shared::roles::Action;
use shared::store::keys::Kind;
use shared::store::resources::{CHANGES, changing};
use shared::{Error, Fault, Result};

/// The function of these routes.
pub fn function() -> Function {
    Function::new(Action::UpdateSchema, read, handle)
}

struct Input {
    id: Result<String, Fault>,
    body: Body,
    if_match: Option<String>,
}

fn read(request: &Request) -> Result<Input> {
    let body = request.json()?;
    Ok(Input { id: changed_id(request, &body), if_match: request.if_match(), body })
}

async fn handle(context: Context, input: Input) -> Result<Response> {
    let (patch, mut faults) = check::schema::update(&input.body);
    faults.extend(input.id.as_ref().err().cloned());
    let patch = check::finish(patch, faults)?;
    let id = input.id.map_err(|fault| Error::Invalid(vec![fault]))?;
    for _ in 0..CHANGES {
        if let Some(new) = change(&context, &id, patch.clone(), input.if_match.as_deref()).await? {
            return Response::resource(StatusCode::OK, &new.etag(), &new.view());
        }
    }
    Err(changing(Kind::Schema))
}

/// None where somebody else was faster.
async fn change(context: &Context, id: &str, patch: SchemaPatch, if_match: Option<&str>) -> Result<Option<Schema>> {
    let (tenant, kind) = (context.tenant(), Kind::Schema);
    let old: Schema = context.store.resource(tenant, kind, id).await?;
    if let Some(fields) = &patch.fields {
        let losses = check::schema::evolution(&old.fields.0, fields);
        if !losses.is_empty() {
            return Err(Error::conflict("WOULD_LOSE_DATA", losses.join("; ")));
        }
    }
    let new = changed(&old, patch, context.now().into());
    context.store.check_name(tenant, kind, id, &new.name).await?;
    check_if_match(if_match, &old.etag())?;
    Ok(context.store.update_schema(&old, &new).await?.then_some(new))
}

fn changed(old: &Schema, patch: SchemaPatch, now: Time) -> Schema {
    let mut new = old.clone();
    new.version += 1;
    new.updated_at = now;
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
        new.fields = JsonText(fields);
    }
    new
}
