//! `POST /api/v1/schemas`: a new schema, the definition of a target table.

use http::{StatusCode, header};
use shared::Result;
use shared::check::schema::SchemaInput;
use shared::check::{self, Body};
use shared::context::Context;
use shared::http::{Function, Once, Request, Response};
use shared::id::{self, Prefix};
use shared::models::schema::Schema;
use shared::models::time::{JsonText, Time};
use shared::roles::Action;
use shared::store::idempotency::{Created, Record};

/// The function of this route.
pub fn function() -> Function {
    Function::new(Action::CreateSchema, read, handle)
}

struct Input {
    body: Body,
    once: Once,
}

fn read(request: &Request) -> Result<Input> {
    let (once, body) = Once::with_body(request)?;
    Ok(Input { body, once })
}

async fn handle(context: Context, input: Input) -> Result<Response> {
    let (parsed, faults) = check::schema::create(&input.body);
    let new = check::finish(parsed, faults)?;
    let once = input.once.record(&context)?;
    let schema = made(&context, new);
    if let Some(before) = context.store.made_before(once.as_ref()).await? {
        return answer_before(schema, before);
    }
    match context.store.create_schema(&schema, once.as_ref()).await? {
        Created::Now => answer(&schema),
        Created::Before(before) => answer_before(schema, before),
    }
}

fn made(context: &Context, new: SchemaInput) -> Schema {
    let now: Time = context.now().into();
    Schema {
        id: id::new(Prefix::Schema, now.0),
        tenant_id: context.tenant().to_owned(),
        name: new.name,
        display_name: new.display_name,
        description: new.description,
        fields: JsonText(new.fields),
        version: 1,
        users: 0,
        created_at: now,
        updated_at: now,
    }
}

/// The first answer again, whatever became of the schema since: the body is the same.
fn answer_before(again: Schema, before: Record) -> Result<Response> {
    answer(&Schema { id: before.made, created_at: before.made_at, updated_at: before.made_at, ..again })
}

fn answer(schema: &Schema) -> Result<Response> {
    let location = format!("/api/v1/schemas/{}", schema.id);
    Response::resource(StatusCode::CREATED, &schema.etag(), &schema.view())?.with(header::LOCATION, &location)
}
