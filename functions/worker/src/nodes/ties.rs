//! In which order rows are meant where some of them may have come from one row of a source: behind a join that finds
//! several rows for one, or a union of two ways from one source. All their values break the tie, so that a run picks the
//! same row each time.

use super::columns::{has_rows, visible};
use super::deduplicate::can_be_key;
use super::lookup::{ONCE, ONCE_EXEC};
use crate::engine::progress::ROW_COLUMN;
use datafusion::logical_expr::{Extension, Join, LogicalPlan};
use datafusion::physical_plan::ExecutionPlan;
use std::sync::Arc;

/// The columns by which the rows of `input` are put in order: that of the source, as far as rows know it, and then all
/// others, where that does not tell them apart.
pub fn order(input: &LogicalPlan) -> Vec<String> {
    let rows = has_rows(input.schema()).then(|| ROW_COLUMN.to_owned());
    let told_apart = rows.is_some() && !rows_tie(input);
    let others = visible(input.schema()).filter(|field| !told_apart && can_be_key(field.data_type()));
    rows.into_iter().chain(others.map(|field| field.name().clone())).collect()
}

/// Whether several rows of `plan` may have come from one of a source.
fn rows_tie(plan: &LogicalPlan) -> bool {
    let here = match plan {
        LogicalPlan::Union(union) => union.inputs.len() > 1,
        LogicalPlan::Join(join) => !finds_one(join),
        _ => false,
    };
    here || plan.inputs().into_iter().any(rows_tie)
}

/// Whether it is the join of a lookup, which finds one row at most.
fn finds_one(join: &Join) -> bool {
    let mut side: &LogicalPlan = &join.right;
    loop {
        side = match side {
            LogicalPlan::Extension(Extension { node }) if node.name() == ONCE => return true,
            LogicalPlan::Extension(Extension { node }) => match node.inputs().as_slice() {
                [only] => only,
                _ => return false,
            },
            LogicalPlan::SubqueryAlias(alias) => &alias.input,
            _ => return false,
        };
    }
}

/// As `rows_tie`, of what is executed.
pub fn executed_rows_tie(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let inputs = plan.children();
    let here = inputs.len() > 1 && !inputs.iter().copied().any(gives_one);
    here || inputs.into_iter().any(executed_rows_tie)
}

/// Whether it is what a lookup reads.
fn gives_one(side: &Arc<dyn ExecutionPlan>) -> bool {
    match side.children().as_slice() {
        _ if side.name() == ONCE_EXEC => true,
        [only] => gives_one(only),
        _ => false,
    }
}
