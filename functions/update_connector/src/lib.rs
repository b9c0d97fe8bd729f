//! `PUT /api/v1/connectors` and `PUT /api/v1/connectors/{id}`: changes a connector; fields left out stay.

use http::StatusCode;
use shared::check::connector::{ConnectorPatch, Stored};
use shared::check::{self, Body};
use shared::context::Context;
use shared::http::{Function, Request, Response, changed_id, check_if_match};
use shared::models::connector::{Connector, ConnectorStatus, ConnectorType};
use shared::models::time::JsonText;
use shared::roles::Action;
use shared::store::keys::Kind;
use shared::store::resources::{CHANGES, changing};
use shared::{Error, Fault, Result};

/// The function of these routes.
pub fn function() -> Function {
    Function::new(Action::UpdateConnector, read, handle)
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
    let id = match &input.id {
        Ok(id) => id,
        Err(fault) => {
            let mut faults = check::connector::standalone_faults(&input.body);
            faults.push(fault.clone());
            return check::finish(None, faults);
        }
    };
    for _ in 0..CHANGES {
        if let Some(new) = change(&context, id, &input).await? {
            return Response::resource(StatusCode::OK, &new.etag(), &new.view());
        }
    }
    Err(changing(Kind::Connector))
}

/// None where somebody else was faster.
async fn change(context: &Context, id: &str, input: &Input) -> Result<Option<Connector>> {
    let (tenant, store) = (context.tenant(), &context.store);
    // What the body may hold depends on the stored type, so it is read first.
    let old: Connector = match store.resource(tenant, Kind::Connector, id).await {
        Ok(old) => old,
        Err(missing) => {
            // Faults that can be told without it come before 404 all the same.
            check::finish(Some(()), check::connector::standalone_faults(&input.body))?;
            return Err(missing);
        }
    };
    let stored = Stored { kind: old.r#type, auth_method: old.auth_method, config: &old.config.0 };
    let (patch, mut faults) = check::connector::update(&input.body, stored);
    let local_fs = context.config.local_fs || old.r#type == ConnectorType::LocalFs;
    faults.extend(check::connector::not_available(&input.body, local_fs));
    let patch = check::finish(patch, faults)?;
    if let Some(name) = &patch.name {
        store.check_name(tenant, Kind::Connector, id, name).await?;
    }
    check_if_match(input.if_match.as_deref(), &old.etag())?;
    // What was tested is not what is stored any more, where one of these changes.
    let tested = patch.config.is_none() && patch.kind.is_none() && patch.auth.is_none() && patch.auth_method.is_none();
    let mut new = changed(context, &old, patch).await?;
    if !tested {
        (new.status, new.last_tested_at, new.last_error) = (ConnectorStatus::Untested, None, None);
    }
    Ok(store.update_connector(&old, &new, tested).await?.then_some(new))
}

async fn changed(context: &Context, old: &Connector, patch: ConnectorPatch) -> Result<Connector> {
    let mut new = old.clone();
    new.version += 1;
    new.updated_at = context.now().into();
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
