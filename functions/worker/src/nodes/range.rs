//! Divides rows into ranges of a column. Where the ranges begin is taken from the first rows, so that they are about
//! equally large where those look like the others.

use datafusion::arrow::array::{Array, ArrayRef, RecordBatch};
use datafusion::arrow::compute::{SortOptions, concat, sort};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::utils::memory::RecordBatchMemoryCounter;
use datafusion::common::{Result, ScalarValue, SharedResult, SplitPoint, internal_err};
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::MemoryLimit;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{
    EquivalenceProperties, LexOrdering, Partitioning, PhysicalExpr, PhysicalSortExpr, RangePartitioning,
};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties};
use futures::{StreamExt, TryStreamExt, stream};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::OnceCell;

/// Rows that are looked at before the ranges are fixed.
const SAMPLE_ROWS: usize = 32_768;
/// Bytes of such rows, about, at which they are fixed in any case: the rows are held until then.
const SAMPLE_BYTES: usize = 16 << 20;
/// The part of the run's memory that they may take at the most.
const SAMPLE_PART: usize = 16;
/// Values are in this order; null comes before all.
const ORDER: SortOptions = SortOptions { descending: false, nulls_first: true };

/// `count` ranges of `column` over `input`.
///
/// # Errors
/// Where `input` has no such column.
pub fn plan(input: Arc<dyn ExecutionPlan>, column: &str, count: usize) -> Result<Arc<dyn ExecutionPlan>> {
    let key: Arc<dyn PhysicalExpr> = Arc::new(Column::new_with_schema(column, &input.schema())?);
    Ok(Arc::new(RangeExec::new(input, key, count, Arc::default())))
}

#[derive(Debug)]
struct RangeExec {
    input: Arc<dyn ExecutionPlan>,
    key: Arc<dyn PhysicalExpr>,
    count: usize,
    /// The division, once the first rows are known.
    divided: Arc<OnceCell<SharedResult<Arc<RepartitionExec>>>>,
    properties: Arc<PlanProperties>,
}

impl RangeExec {
    fn new(
        input: Arc<dyn ExecutionPlan>,
        key: Arc<dyn PhysicalExpr>,
        count: usize,
        divided: Arc<OnceCell<SharedResult<Arc<RepartitionExec>>>>,
    ) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(input.schema()),
            Partitioning::UnknownPartitioning(count),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        Self { input, key, count, divided, properties: Arc::new(properties) }
    }
}

impl DisplayAs for RangeExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "RangeExec: {} ranges of {}", self.count, self.key)
    }
}

impl ExecutionPlan for RangeExec {
    fn name(&self) -> &str {
        "RangeExec"
    }
    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }
    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }
    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }
    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        datafusion::physical_plan::apply_expression_roots([&self.key], f)
    }
    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        match children.pop().filter(|_| children.is_empty()) {
            Some(input) => Ok(Arc::new(Self::new(input, self.key.clone(), self.count, self.divided.clone()))),
            None => internal_err!("a division into ranges has one input"),
        }
    }
    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (input, key, count) = (self.input.clone(), self.key.clone(), self.count);
        let divided = self.divided.clone();
        let rows = async move {
            let division = divided
                .get_or_init(|| async { divide(&input, &key, count, &context).await.map_err(Arc::new) })
                .await
                .as_ref()
                .map_err(|error| DataFusionError::Shared(error.clone()))?;
            // Values that are all alike make fewer ranges than were asked for.
            if partition < division.properties().partitioning.partition_count() {
                division.execute(partition, context)
            } else {
                Ok(Box::pin(RecordBatchStreamAdapter::new(input.schema(), stream::empty()))
                    as SendableRecordBatchStream)
            }
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream::once(rows).try_flatten())))
    }
}

/// Reads the first rows of `input`, fixes the ranges, and divides all rows by them.
async fn divide(
    input: &Arc<dyn ExecutionPlan>,
    key: &Arc<dyn PhysicalExpr>,
    count: usize,
    context: &Arc<TaskContext>,
) -> Result<Arc<RepartitionExec>> {
    let partitions = input.output_partitioning().partition_count();
    let bytes = match context.memory_pool().memory_limit() {
        MemoryLimit::Finite(all) => SAMPLE_BYTES.min(all / SAMPLE_PART),
        MemoryLimit::Infinite | MemoryLimit::Unknown => SAMPLE_BYTES,
    };
    let (rows, bytes) = (SAMPLE_ROWS.div_ceil(partitions.max(1)), bytes / partitions.max(1));
    let mut keys: Vec<ArrayRef> = Vec::new();
    let mut replays: Vec<Arc<dyn PartitionStream>> = Vec::with_capacity(partitions);
    for partition in 0..partitions {
        let mut rest = input.execute(partition, context.clone())?;
        let first = first(&mut rest, rows, bytes).await?;
        for batch in &first {
            keys.push(key.evaluate(batch)?.into_array(batch.num_rows())?);
        }
        replays.push(Arc::new(Replay { schema: input.schema(), rows: Mutex::new(Some((first, rest))) }));
    }
    let replay = StreamingTableExec::try_new(input.schema(), replays, None, [], false, None)?;
    let Some(ordering) = LexOrdering::new([PhysicalSortExpr::new(key.clone(), ORDER)]) else {
        return internal_err!("a range has no column");
    };
    let ranges = RangePartitioning::try_new(ordering, splits(&keys, count)?)?;
    Ok(Arc::new(RepartitionExec::try_new(Arc::new(replay), Partitioning::Range(ranges))?))
}

/// The first batches, until there are so many rows or bytes.
async fn first(stream: &mut SendableRecordBatchStream, rows: usize, bytes: usize) -> Result<Vec<RecordBatch>> {
    let (mut first, mut seen, mut held) = (Vec::new(), 0, RecordBatchMemoryCounter::new());
    while seen < rows && held.memory_usage() < bytes {
        let Some(batch) = stream.next().await else { break };
        let batch = batch?;
        seen += batch.num_rows();
        held.count_batch(&batch);
        first.push(batch);
    }
    Ok(first)
}

/// Where each range but the first one begins.
fn splits(keys: &[ArrayRef], count: usize) -> Result<Vec<SplitPoint>> {
    let keys: Vec<&dyn Array> = keys.iter().map(AsRef::as_ref).collect();
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let sorted = sort(&concat(&keys)?, Some(ORDER))?;
    let sorted = sorted.slice(sorted.null_count(), sorted.len() - sorted.null_count());
    let mut splits: Vec<ScalarValue> = Vec::new();
    for part in 1..count {
        let at = part * sorted.len() / count;
        if at < sorted.len() {
            let value = ScalarValue::try_from_array(&sorted, at)?;
            if splits.last() != Some(&value) {
                splits.push(value);
            }
        }
    }
    Ok(splits.into_iter().map(|value| SplitPoint::new(vec![value])).collect())
}

/// The first rows of a partition once more, and the rest of it; to be read once.
struct Replay {
    schema: SchemaRef,
    rows: Mutex<Option<(Vec<RecordBatch>, SendableRecordBatchStream)>>,
}

impl fmt::Debug for Replay {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("Replay")
    }
}

impl PartitionStream for Replay {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }
    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner).take();
        let schema = self.schema.clone();
        match rows {
            Some((first, rest)) => {
                Box::pin(RecordBatchStreamAdapter::new(schema, stream::iter(first.into_iter().map(Ok)).chain(rest)))
            }
            None => {
                let error = stream::once(async { internal_err!("a partition is read twice") });
                Box::pin(RecordBatchStreamAdapter::new(schema, error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::StringArray;
    use datafusion::arrow::datatypes::{DataType, Field, Schema};

    /// 100 batches of ten rows, whose texts have so many bytes.
    fn rows(bytes: usize) -> SendableRecordBatchStream {
        let schema = Arc::new(Schema::new(vec![Field::new("t", DataType::Utf8, false)]));
        let text = "x".repeat(bytes);
        let batches = (0..100).map(|_| {
            let texts: ArrayRef = Arc::new(StringArray::from(vec![text.as_str(); 10]));
            RecordBatch::try_from_iter([("t", texts)]).map_err(DataFusionError::from)
        });
        let batches: Vec<_> = batches.collect();
        Box::pin(RecordBatchStreamAdapter::new(schema, stream::iter(batches)))
    }

    #[tokio::test]
    async fn ranges_are_fixed_by_fewer_rows_where_rows_are_wide() {
        for (bytes, expected) in [(10, 50..=50), (1_000, 5..=10), (20_000, 1..=1)] {
            let mut rows = rows(bytes);
            let read = first(&mut rows, 500, 100_000).await.unwrap().len();
            assert!(expected.contains(&read), "{read} of {bytes} bytes");
            assert_eq!(rows.count().await, 100 - read, "{bytes}");
        }
    }
}
