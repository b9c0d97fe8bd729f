//! The whole contract as an OpenAPI 3.1 document, made from the routes, the roles and the types of bodies and answers.

mod answers;
mod connectors;
mod operation;
mod parameters;
mod pipelines;
mod problems;
mod runs;
mod schemas;
mod service;
#[cfg(test)]
mod tests;
mod trials;

use super::routes::ROUTES;
use crate::roles::Action;
use operation::Operation;
use serde_json::{Map, Value, json};

const INFO: &str = "\
Flowgate copies data from connectors through pipelines of nodes into tables.

**Bodies** are JSON with camelCase keys, at most 1 MB; a field that is not known is a fault, and so is a number with more digits \
than a double keeps: a decimal may be a string. Times are RFC 3339 in UTC with milliseconds. Ids are a prefix (`pipe_`, `run_`, \
`conn_`, `schema_`, `node_`, `edge_`) and a UUIDv7.

**Callers** send `Authorization: Bearer <JWT>` with the claims `sub`, `exp`, `tenantId` and `role` or `roles`. All that is stored, \
listed, run or read belongs to one tenant; ids of another tenant answer 404. Checks go 401, 403, 415 and 400, 404, 409 and 412, \
in this order.

**Errors** are RFC 9457 `application/problem+json` with a stable upper-case `code`; a 400 lists every fault with its JSON Pointer. \
A path without a route answers 404, a path with other methods 405 and `Allow`; no path has the method HEAD. What the gateway \
itself answers (429, or 413 for a body beyond its own limit) may lack problem+json.

**Lists** are walked by `pagination.cursor` until `pagination.hasMore` is false. A walk neither repeats nor loses what was there \
throughout. A page ends at 4 MB or after 1,000 items read, so it may be short while there are more.

**Writing safely**: creates and run triggers take an `Idempotency-Key`; single resources answer a strong `ETag`, which PUT and \
DELETE take as `If-Match`.";

/// The document.
pub fn document() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Flowgate",
            "version": env!("CARGO_PKG_VERSION"),
            "description": INFO,
            "license": {"name": "Apache License 2.0", "identifier": "Apache-2.0"}
        },
        "servers": [{"url": "/", "description": "The deployment that answered this document."}],
        "security": [{"bearer": []}],
        "tags": operation::tags(),
        "paths": paths(),
        "components": {
            "schemas": crate::check::schemas(),
            "parameters": parameters::components(),
            "headers": answers::headers(),
            "responses": problems::components(),
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "Claims: sub, exp, tenantId, and role (a text) or roles (an array; the highest counts)."
                }
            }
        }
    })
}

fn paths() -> Value {
    let mut paths = Map::new();
    for &(method, path, action) in ROUTES {
        let Some(operation) = described(action) else {
            continue;
        };
        let item = paths.entry(path).or_insert_with(|| Value::Object(Map::new()));
        if let Some(item) = item.as_object_mut() {
            item.insert(method.to_ascii_lowercase(), operation.document(method, path, action));
        }
    }
    Value::Object(paths)
}

/// What is to be said of an action; nothing of the one that has no route.
fn described(action: Action) -> Option<Operation> {
    Some(match action {
        Action::ListPipelines => pipelines::list(),
        Action::GetPipeline => pipelines::get(),
        Action::CreatePipeline => pipelines::create(),
        Action::UpdatePipeline => pipelines::update(),
        Action::DeletePipeline => pipelines::delete(),
        Action::ListPipelineVersions => pipelines::versions(),
        Action::GetPipelineVersion => pipelines::version(),
        Action::ValidatePipeline => trials::validate(),
        Action::PreviewPipeline => trials::preview(),
        Action::RunPipeline => runs::start(),
        Action::ListFires => pipelines::fires(),
        Action::ListRuns => runs::list(),
        Action::GetRun => runs::get(),
        Action::GetRunProgress => runs::progress(),
        Action::ListRunErrors => runs::errors(),
        Action::GetRunReceipt => runs::receipt(),
        Action::CancelRun => runs::cancel(),
        Action::RetryRun => runs::retry(),
        Action::RollbackRun => runs::rollback(),
        Action::ListConnectors => connectors::list(),
        Action::GetConnector => connectors::get(),
        Action::CreateConnector => connectors::create(),
        Action::UpdateConnector => connectors::update(),
        Action::DeleteConnector => connectors::delete(),
        Action::TestConnector => connectors::test(),
        Action::ListConnectorTypes => service::connector_types(),
        Action::ListSchemas => schemas::list(),
        Action::GetSchema => schemas::get(),
        Action::CreateSchema => schemas::create(),
        Action::UpdateSchema => schemas::update(),
        Action::DeleteSchema => schemas::delete(),
        Action::ListSchemaRows => schemas::rows(),
        Action::PreviewSchedule => service::preview(),
        Action::ListNodeTypes => service::node_types(),
        Action::GetHealth => service::health(),
        Action::GetOpenapi => service::openapi(),
        Action::NotFound => return None,
    })
}

/// A reference to a component.
fn reference(section: &str, name: &str) -> Value {
    json!({"$ref": format!("#/components/{section}/{name}")})
}
