//! `PUT /api/v1/connectors` and `PUT /api/v1/connectors/{id}`: changes a connector; fields left out stay.

use http::StatusCode;
use shared::check::connector::{ConnectorPatch, Stored};
use shared::check::{self, Body};
use shared::context::Context;
use shared::http::{Function, Request, Response, check_if_match, target_id};
use shared::models::connector::{Connector, ConnectorStatus, ConnectorType};
use shared::models::time::JsonText;
use shared::roles::Action;
use shared::store::keys::Kind;
use shared::{Error, Fault, Result};

/// The function of these routes.
pub fn function() -> Function {
    Function::new(Action::UpdateConnector, read, handle)
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
    // What the body may hold depends on the stored type, so it is read first.
    let old: Connector = match context.store.resource(context.tenant(), Kind::Connector, &input.id).await {
        Ok(old) => old,
        Err(missing) => {
            // Faults that can be told without it come before 404 all the same.
            check::finish(Some(()), check::connector::standalone_faults(&input.body))?;
            return Err(missing);
        }
    };
    let stored = Stored { kind: old.r#type, auth_method: old.auth_method };
    let (patch, mut faults) = check::connector::update(&input.body, stored);
    if patch.as_ref().is_some_and(|p| p.kind == Some(ConnectorType::LocalFs)) && !context.config.local_fs {
        faults.push(Fault::new("/type", "not_available", "local_fs is off in this deployment; use aws_s3"));
    }
    let patch = check::finish(patch, faults)?;
    check_if_match(input.if_match.as_deref(), &old.etag())?;
    let new = changed(&context, &old, patch).await?;
    context.store.update_connector(&old, &new).await?;
    Response::resource(StatusCode::OK, &new.etag(), &new.view())
}

async fn changed(context: &Context, old: &Connector, patch: ConnectorPatch) -> Result<Connector> {
    let mut new = old.clone();
    new.version += 1;
    new.updated_at = context.now().into();
    if patch.config.is_some() || patch.kind.is_some() || patch.auth.is_some() || patch.auth_method.is_some() {
        // What was tested is not what is stored any more.
        (new.status, new.last_tested_at, new.last_error) = (ConnectorStatus::Untested, None, None);
    }
    if let Some(name) = patch.name {
        new.name = name.trim().to_owned();
    }
    if let Some(kind) = patch.kind {
        new.r#type = kind;
    }
    if let Some(description) = patch.description {
        new.description = description;
    }
    if let Some(config) = patch.config {
        new.config = JsonText(config);
    }
    if let Some(method) = patch.auth_method {
        new.auth_method = method;
    }
    match patch.auth {
        None => {}
        Some(None) => new.secret = None,
        Some(Some(auth)) => {
            let text = serde_json::to_vec(&auth).map_err(Error::internal)?;
            let sealed = context.sealer.seal(context.tenant(), &new.id, &text).await?;
            new.secret = Some(JsonText(sealed));
        }
    }
    Ok(new)
}
