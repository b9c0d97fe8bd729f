//! `POST /api/v1/connectors`: a new connector; its `authConfig` is encrypted before it is kept.

use http::{StatusCode, header};
use shared::check::connector::ConnectorInput;
use shared::check::{self, Body};
use shared::context::Context;
use shared::http::{Function, Once, Request, Response};
use shared::id::{self, Prefix};
use shared::models::connector::{Connector, ConnectorStatus};
use shared::models::time::{JsonText, Time};
use shared::roles::Action;
use shared::store::idempotency::{Created, Record};
use shared::{Error, Result};

/// The function of this route.
pub fn function() -> Function {
    Function::new(Action::CreateConnector, read, handle)
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
    let (parsed, mut faults) = check::connector::create(&input.body);
    faults.extend(check::connector::not_available(&input.body, context.config.local_fs));
    let mut new = check::finish(parsed, faults)?;
    let once = input.once.record(&context)?;
    let auth = new.auth.take();
    let mut connector = made(&context, new);
    if let Some(before) = context.store.made_before(once.as_ref()).await? {
        return answer_before(connector, before);
    }
    if let Some(auth) = auth {
        let text = serde_json::to_vec(&auth).map_err(Error::internal)?;
        let sealed = context.sealer.seal(context.tenant(), &connector.id, &text).await?;
        connector.secret = Some(JsonText(sealed));
    }
    match context.store.create_connector(&connector, once.as_ref()).await? {
        Created::Now => answer(&connector),
        Created::Before(before) => answer_before(connector, before),
    }
}

/// The connector that a body makes, without its secret.
fn made(context: &Context, new: ConnectorInput) -> Connector {
    let now: Time = context.now().into();
    Connector {
        id: id::new(Prefix::Connector, now.0),
        tenant_id: context.tenant().to_owned(),
        name: new.name.trim().to_owned(),
        r#type: new.kind,
        description: new.description,
        config: JsonText(new.config),
        auth_method: new.auth_method,
        secret: None,
        version: 1,
        users: 0,
        status: ConnectorStatus::Untested,
        last_tested_at: None,
        last_error: None,
        created_at: now,
        updated_at: now,
    }
}

/// The first answer again, whatever became of the connector since: the body is the same.
fn answer_before(again: Connector, before: Record) -> Result<Response> {
    answer(&Connector { id: before.made, created_at: before.made_at, updated_at: before.made_at, ..again })
}

fn answer(connector: &Connector) -> Result<Response> {
    let location = format!("/api/v1/connectors/{}", connector.id);
    Response::resource(StatusCode::CREATED, &connector.etag(), &connector.view())?.with(header::LOCATION, &location)
}
