//! `GET /api/v1/pipelines/{id}/runs/{runId}/receipt`: what a run that has ended read and wrote, and who worked on it.

use http::StatusCode;
use shared::context::Context;
use shared::http::{Function, Request, Response};
use shared::models::run::Run;
use shared::roles::Action;
use shared::{Error, Result, receipt};

/// The function of this route.
pub fn function() -> Function {
    Function::new(Action::GetRunReceipt, read, handle)
}

struct Input {
    pipeline: String,
    run: String,
}

fn read(request: &Request) -> Result<Input> {
    Ok(Input { pipeline: request.param("id").to_owned(), run: request.param("runId").to_owned() })
}

async fn handle(context: Context, input: Input) -> Result<Response> {
    let tenant = context.tenant();
    let pipeline = context.store.pipeline(tenant, &input.pipeline).await?;
    let run = context.store.run(tenant, &pipeline.id, &input.run).await?;
    check_final(&run)?;
    let version = context.store.pipeline_version(tenant, &pipeline.id, run.pipeline_version).await?;
    let version = version.ok_or_else(|| Error::not_found("version", run.pipeline_version.to_string()))?;
    let kept = context.store.kept_receipt(&run).await?;
    let readings = context.store.readings(&run).await?;
    Response::hashed(StatusCode::OK, &receipt::assemble(&run, &version, kept, readings)?)
}

/// A receipt says what a run came to, so there is none before its end.
fn check_final(run: &Run) -> Result<()> {
    if run.status.is_final() {
        return Ok(());
    }
    Err(Error::conflict(
        "RUN_NOT_FINAL",
        format!("the run is {}; it has a receipt once it has ended", run.status.name()),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::launch;
    use shared::models::pipeline::Pipeline;
    use shared::models::run::{RunStatus, Trigger};
    use shared::models::time::{JsonText, Time};

    fn run(status: RunStatus) -> Run {
        let at = Time(std::time::SystemTime::UNIX_EPOCH.into());
        let pipeline = Pipeline {
            id: "pipe_1".to_owned(),
            tenant_id: "acme".to_owned(),
            name: "p".to_owned(),
            description: None,
            version: 1,
            schedule: None,
            timezone: "UTC".to_owned(),
            enabled: true,
            connector_id: "conn_1".to_owned(),
            schema_id: "schema_1".to_owned(),
            execution_config: JsonText::default(),
            nodes: JsonText::default(),
            edges: JsonText::default(),
            tables: JsonText::default(),
            created_at: at,
            updated_at: at,
        };
        let mut run = launch::new_run(&pipeline, "run_1".to_owned(), Trigger::Manual, "ada", at);
        run.status = status;
        run
    }

    #[test]
    fn a_run_has_no_receipt_before_its_end() {
        for status in RunStatus::ALL {
            let checked = check_final(&run(status));
            assert_eq!(checked.is_ok(), status.is_final(), "{status:?}");
            if let Err(error) = checked {
                assert!(matches!(error, Error::Conflict { code: "RUN_NOT_FINAL", .. }), "{error:?}");
                assert!(error.to_string().contains(status.name()), "{error}");
            }
        }
    }
}
