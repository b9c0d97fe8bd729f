//! Puts a run's receipt together from what was kept while it ran.

use crate::canonical;
use crate::error::{Error, Result};
use crate::models::pipeline::Pipeline;
use crate::models::receipt::{Attempt, AttemptOutcome, Definition, FORMAT, NodeRows, Receipt};
use crate::models::run::Run;
use crate::store::receipts::{Kept, Reading};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The parts of a pipeline's version that say what is run, of which its hash is made.
pub fn definition(version: &Pipeline) -> Value {
    json!({
        "id": version.id,
        "version": version.version,
        "name": version.name,
        "description": version.description,
        "schedule": version.schedule,
        "timezone": version.timezone,
        "enabled": version.enabled,
        "connectorId": version.connector_id,
        "schemaId": version.schema_id,
        "executionConfig": version.execution_config.0,
        "nodes": version.nodes.0,
        "edges": version.edges.0,
    })
}

/// The receipt of a run that has ended. `kept` is what its worker kept at its end, `readings` what attempts had read.
///
/// # Errors
/// Where something cannot be written as JSON, which is a defect.
pub fn assemble(run: &Run, version: &Pipeline, kept: Option<Kept>, readings: Vec<Reading>) -> Result<Receipt> {
    let content = definition(version);
    let (hash, targets) = match kept {
        Some(kept) => (kept.definition_hash, kept.targets.0),
        None => (canonical::hash(&content), Vec::new()),
    };
    let own = targets.iter().filter(|target| target.written_by == run.id);
    let mut shown: BTreeSet<u32> = own.filter_map(|target| target.attempt).collect();
    if shown.is_empty() {
        shown.extend(readings.iter().map(|reading| reading.attempt).max());
    }
    let readings: Vec<Reading> = readings.into_iter().filter(|reading| shown.contains(&reading.attempt)).collect();
    let nodes = readings.iter().flat_map(|reading| {
        reading.nodes.0.iter().map(|node| NodeRows { attempt: reading.attempt, node: node.clone() })
    });
    let nodes = nodes.collect();
    let inputs = readings.iter().flat_map(|reading| reading.inputs.0.iter().cloned()).collect();
    let view = run.view();
    let mut receipt = Receipt {
        format: FORMAT.to_owned(),
        digest: String::new(),
        run_id: run.id.clone(),
        tenant_id: run.tenant_id.clone(),
        pipeline_id: run.pipeline_id.clone(),
        pipeline_version: run.pipeline_version,
        status: run.status,
        trigger: run.trigger,
        triggered_by: run.triggered_by.clone(),
        retry_of: run.retry_of.clone(),
        scheduled_for: run.scheduled_for,
        created_at: run.created_at,
        started_at: run.started_at,
        finished_at: run.finished_at,
        error: view.error,
        definition: Definition { hash, content: Some(content) },
        parameters: run.parameters.0.keys().cloned().collect(),
        rows_in: view.rows_in,
        rows_out: view.rows_out,
        failed_rows: view.failed_rows,
        skipped_rows: view.skipped_rows,
        nodes,
        attempts: attempts(run),
        inputs,
        targets,
        rolled_back: view.rolled_back,
    };
    receipt.digest = digest(&serde_json::to_value(&receipt).map_err(Error::internal)?);
    Ok(receipt)
}

/// The digest of a receipt: of all of it but its digest.
pub fn digest(receipt: &Value) -> String {
    let mut rest = receipt.clone();
    if let Some(fields) = rest.as_object_mut() {
        fields.remove("digest");
    }
    canonical::hash(&rest)
}

/// All attempts; those that nobody ended are lost.
fn attempts(run: &Run) -> Vec<Attempt> {
    let count = run.attempts.len().max(run.attempt as usize);
    let of = |index: usize| {
        let taken = run.attempts.get(index);
        Attempt {
            attempt: u32::try_from(index + 1).unwrap_or(u32::MAX),
            worker: taken.map(|taken| taken.worker.clone()),
            started_at: taken.map(|taken| taken.started_at),
            ended_at: taken.and_then(|taken| taken.ended_at),
            outcome: taken.and_then(|taken| taken.outcome).unwrap_or(AttemptOutcome::Lost),
            error: taken.and_then(|taken| taken.error.clone()).map(|error| error.0),
        }
    };
    (0..count).map(of).collect()
}
