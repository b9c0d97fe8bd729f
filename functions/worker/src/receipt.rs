//! What a run's worker keeps for its receipt.

use crate::life::Worker;
use crate::targets::rejected;
use crate::{job, targets};
use shared::models::pipeline::Pipeline;
use shared::models::receipt::{Target, TargetKind};
use shared::models::run::Run;
use shared::models::time::JsonText;
use shared::store::receipts::Kept;
use shared::{Error, Result, canonical, receipt};

/// What the targets themselves say of a run: what each table took of it, or of an earlier run that it left to stand.
///
/// # Errors
/// Where a target or the store does not answer.
pub(crate) async fn written(worker: &Worker, run: &Run, version: &Pipeline) -> Result<Vec<Target>> {
    let earlier = job::earlier(worker, run).await.map_err(Error::internal)?;
    let mut found = Vec::new();
    for (node, schema) in job::ever_written(worker, version).await.map_err(Error::internal)? {
        for schema in [&rejected::schema(&schema), &schema] {
            let target = targets::recorded(&run.tenant_id, schema, &run.id, &earlier, &worker.settings).await;
            found.extend(target.map_err(Error::internal)?.map(|target| at(&node, target)));
        }
    }
    let (databases, _) = job::databases(worker, version).await.map_err(Error::internal)?;
    for job::Database { node, connector, config, schema } in &databases {
        let target = targets::database::recorded(connector, config, schema, &run.id, &earlier).await;
        found.extend(target.map_err(Error::internal)?.map(|target| at(node, target)));
    }
    Ok(found)
}

/// The target of a node; rejected rows come from several.
fn at(node: &str, target: Target) -> Target {
    let node_id = (target.kind != TargetKind::Rejected).then(|| node.to_owned());
    Target { node_id, ..target }
}

/// What is kept of a run whose version and targets are known.
pub(crate) fn kept(version: &Pipeline, targets: Vec<Target>) -> Kept {
    Kept { definition_hash: canonical::hash(&receipt::definition(version)), targets: JsonText(targets) }
}
