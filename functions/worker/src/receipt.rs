//! What a run's worker keeps for its receipt.

use crate::error::RunError;
use crate::life::Worker;
use crate::settle::{ASKED, Silent, in_time};
use crate::targets::rejected;
use crate::{job, targets};
use shared::models::pipeline::Pipeline;
use shared::models::receipt::{Target, TargetKind};
use shared::models::run::Run;
use shared::models::time::JsonText;
use shared::store::receipts::Kept;
use shared::{canonical, receipt};

/// What the targets themselves say of a run: what each table took of it, or of an earlier run that it left to stand.
///
/// # Errors
/// Where the store does not answer, or a target that is not left out for that.
pub(crate) async fn written(
    worker: &Worker,
    run: &Run,
    version: &Pipeline,
    silent: Silent,
) -> Result<Vec<Target>, RunError> {
    let earlier = job::earlier(worker, run).await?;
    let mut found = Vec::new();
    let mut add = |node: &str, target: Result<Option<Target>, RunError>| {
        match target {
            Err(_) if silent == Silent::LeftOut => {}
            target => found.extend(target?.map(|target| at(node, target))),
        }
        Ok::<_, RunError>(())
    };
    for (node, schema) in job::ever_written(worker, version).await? {
        for schema in [&rejected::schema(&schema), &schema] {
            let target = targets::recorded(&run.tenant_id, schema, &run.id, &earlier, &worker.settings);
            add(&node, in_time(ASKED, target).await)?;
        }
    }
    if let Some(schema) = job::beside_databases(worker, version).await? {
        let schema = rejected::schema(&schema);
        let target = targets::recorded(&run.tenant_id, &schema, &run.id, &earlier, &worker.settings);
        add("", in_time(ASKED, target).await)?;
    }
    let (databases, _) = job::databases(worker, run, version, silent).await?;
    for job::Database { node, connector, table, mode } in &databases {
        let target = targets::database::recorded(connector, table, *mode, &run.id, &earlier);
        add(node, in_time(ASKED, target).await)?;
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
