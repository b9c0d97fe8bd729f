//! The DataFusion session of one run: bounded memory, spilling to the worker's scratch folder, and no optimization
//! that would make an operator leave rows unread.

use super::expressions::Expressions;
use super::job::{Job, Settings};
use super::join_keys::with_join_keys;
use super::memory::SharedPool;
use crate::error::{Kind, RunError};
use crate::nodes::step::StepQueryPlanner;
use crate::sources::width::batch_size;
use datafusion::error::DataFusionError;
use datafusion::execution::config::SessionConfig;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::TrackConsumersPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::ExecutionPlan;
use shared::sql::in_depth;
use std::future::poll_fn;
use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::Arc;

/// Consumers that an error about exhausted memory names.
const NAMED_CONSUMERS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(2);

/// Batches that have room in the memory of one partition.
const BATCHES: usize = 64;
/// Batches that have room there where their rows have grown as much as they may.
const GROWN: usize = 4;
/// What the rows of a batch may always grow to, so that one long text has room.
const LEAST_GROWN: usize = 32 << 20;
/// The least bytes of a row in memory, about.
const LEAST_ROW: u64 = 128;

/// Partitions worked at once.
pub fn parallelism(job: &Job, settings: &Settings) -> usize {
    match job.execution.parallelism {
        None | Some(0) => settings.cores.max(1),
        Some(count) => usize::from(count),
    }
}

/// About the most bytes of a batch. Each partition holds several of them in each of several operators.
pub fn batch_bytes(job: &Job, settings: &Settings) -> usize {
    settings.memory_bytes / (BATCHES * parallelism(job, settings))
}

/// The expressions of `job`, by which rows do not outgrow the worker's memory.
pub fn expressions(job: &Job, settings: &Settings) -> Arc<Expressions> {
    let bytes = settings.memory_bytes / (GROWN * parallelism(job, settings));
    Arc::new(Expressions::new(job.parameters.clone()).within(bytes.max(LEAST_GROWN)))
}

/// Plans what is to be executed. DataFusion goes down into each expression, some of it without a look at the stack's end.
///
/// # Errors
/// What in the plan does not fit together.
pub async fn physical(session: &SessionState, plan: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
    let mut planning = pin!(session.create_physical_plan(plan));
    poll_fn(|context| in_depth(|| planning.as_mut().poll(context))).await
}

/// A session for `job`. `spilling_joins` picks joins that sort both sides and spill, over faster ones that keep one
/// side in memory; rows take about `row_bytes`.
///
/// # Errors
/// `Kind::Resources` where the scratch folder cannot be used.
pub fn open(job: &Job, settings: &Settings, spilling_joins: bool, row_bytes: u64) -> Result<SessionState, RunError> {
    let parallelism = parallelism(job, settings);
    let row_bytes = row_bytes.max(LEAST_ROW);
    let mut config = SessionConfig::new()
        .with_batch_size(batch_size(job.execution.batch_size(), batch_bytes(job, settings), row_bytes))
        // A sort-merge join is only planned for several partitions.
        .with_target_partitions(if spilling_joins { parallelism.max(2) } else { parallelism })
        .with_information_schema(false);
    let options = config.options_mut();
    options.sql_parser.enable_ident_normalization = false;
    options.sql_parser.parse_float_as_decimal = true;
    options.sql_parser.map_string_types_to_utf8view = false;
    options.execution.parquet.schema_force_view_types = false;
    options.execution.collect_statistics = false;
    // Each sort keeps this much back for merging; all of them together must fit.
    options.execution.sort_spill_reservation_bytes =
        (settings.memory_bytes / (32 * parallelism)).clamp(64 * 1024, 10 * 1024 * 1024);
    options.optimizer.prefer_hash_join = !spilling_joins;
    options.optimizer.enable_round_robin_repartition = false;
    // Inputs that are partitioned alike would be interleaved, and the plan would fail where a later rule divides one anew.
    options.optimizer.prefer_existing_union = true;
    // These make operators leave out rows that would have been counted.
    options.optimizer.enable_dynamic_filter_pushdown = false;
    options.optimizer.enable_join_dynamic_filter_pushdown = false;
    options.optimizer.enable_topk_dynamic_filter_pushdown = false;
    options.optimizer.enable_aggregate_dynamic_filter_pushdown = false;
    options.optimizer.enable_topk_aggregation = false;
    options.optimizer.enable_distinct_aggregation_soft_limit = false;
    options.optimizer.enable_sort_pushdown = false;

    let failed = |e| RunError::new(Kind::Resources, format!("the worker's scratch folder cannot be used: {e}"));
    std::fs::create_dir_all(&settings.scratch).map_err(|e| failed(e.to_string()))?;
    let pool = TrackConsumersPool::new(SharedPool::new(settings.memory_bytes), NAMED_CONSUMERS);
    let disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::Directories(vec![settings.scratch.clone()]));
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(pool))
        .with_disk_manager_builder(disk)
        .build_arc()
        .map_err(|e| failed(e.strip_backtrace()))?;
    let mut state = SessionStateBuilder::new()
        .with_default_features()
        .with_table_function_list(Vec::new())
        .with_config(config)
        .with_runtime_env(runtime)
        .with_query_planner(Arc::new(StepQueryPlanner))
        .with_physical_optimizer_rules(with_join_keys(&PhysicalOptimizer::new().rules))
        .build();
    state.mark_start_execution();
    Ok(state)
}
