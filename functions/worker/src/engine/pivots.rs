//! The first pass of pivots that do not say which values become columns: their values are read before the run is
//! planned, and nothing is counted.

use super::graph::GraphNode;
use super::session::physical;
use crate::error::RunError;
use crate::nodes::pivot;
use datafusion::common::ScalarValue;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;
use shared::models::node::PivotConfig;

/// The values of the pivot `node`, of which `plan` gives the rows; sorted, null last.
///
/// # Errors
/// `Kind::Definition` where there are too many; what reading ends with.
pub async fn values(
    node: &GraphNode,
    config: &PivotConfig,
    plan: &LogicalPlan,
    session: &SessionState,
) -> Result<Vec<ScalarValue>, RunError> {
    let plan = physical(session, plan).await?;
    let rows = execute_stream(plan, session.task_ctx())?;
    pivot::read_values(node, config, rows).await
}
