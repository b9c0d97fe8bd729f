//! Counts the rows that pass between DataFusion's operators, and reads on where one of them stopped early: a join
//! whose other side is empty never reads this one, and without its rows the counts of all nodes above would lie.

use super::ledger::Ledger;
use super::step::Step;
use crate::error::{Kind, RunError};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::Session;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics, internal_err};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{LexOrdering, OrderingRequirements, PhysicalExpr};
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::scalar_subquery::ScalarSubqueryExec;
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, ExecutionPlanProperties, InputDistributionRequirements,
    PlanProperties,
};
use futures::{Stream, StreamExt};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Which count of its node a tap raises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    In,
    Out,
}

/// Puts a tap between two operators.
#[derive(Debug)]
pub struct Tap {
    count: Count,
    ledger: Ledger,
    /// The rows must come in the order in which the input is planned to give them, as one stream.
    ordered: bool,
    /// About how many bytes will pass, for the choice of a join's sides.
    bytes: Option<u64>,
    /// A column that is made also where nobody reads it: without one, the optimizer puts one row without columns in the
    /// place of groups of all rows, and nothing is read.
    keeps: Option<String>,
    /// By which it is found in a plan; see [`ids`].
    id: Option<usize>,
}

impl Tap {
    /// A tap that counts at `ledger`.
    pub fn new(count: Count, ledger: Ledger) -> Self {
        Self { count, ledger, ordered: false, bytes: None, keeps: None, id: None }
    }
    /// The same tap, which is found in a plan by `id`.
    #[must_use]
    pub fn known_as(mut self, id: usize) -> Self {
        self.id = Some(id);
        self
    }
    /// The same tap, below which the order of the rows is kept.
    #[must_use]
    pub fn ordered(mut self) -> Self {
        self.ordered = true;
        self
    }
    /// The same tap, before which the column `name` is made in any case.
    #[must_use]
    pub fn keeping(mut self, name: Option<String>) -> Self {
        self.keeps = name;
        self
    }
    /// The same tap, saying about how many bytes will pass.
    #[must_use]
    pub fn bytes(mut self, bytes: Option<u64>) -> Self {
        self.bytes = bytes;
        self
    }
}

impl Tap {
    fn pass(&self, rows: usize) {
        match self.count {
            Count::In => self.ledger.rows_in(rows),
            Count::Out => self.ledger.rows_out(rows),
        }
    }
    fn again(&self) -> Self {
        Self { ledger: self.ledger.clone(), keeps: self.keeps.clone(), ..*self }
    }
}

impl Step for Tap {
    fn name(&self) -> &'static str {
        "Tap"
    }
    fn reads(&self) -> Option<Vec<String>> {
        Some(self.keeps.iter().cloned().collect())
    }
    fn plan(&self, input: Arc<dyn ExecutionPlan>, _: &dyn Session) -> Result<Arc<dyn ExecutionPlan>> {
        let ordering = if self.ordered { input.output_ordering().cloned() } else { None };
        Ok(Arc::new(TapExec::new(input, self.again(), ordering, Arc::default())))
    }
}

/// The execution plan of a [`Tap`].
#[derive(Debug)]
pub struct TapExec {
    input: Arc<dyn ExecutionPlan>,
    tap: Tap,
    ordering: Option<LexOrdering>,
    shared: Arc<Shared>,
    properties: Arc<PlanProperties>,
}

/// How far each partition was read. A partition that is not here was never begun.
#[derive(Default)]
struct Shared {
    partitions: Mutex<HashMap<usize, Reading>>,
    changed: Notify,
}

enum Reading {
    Running,
    Stopped(SendableRecordBatchStream),
    Ended,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("Shared")
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, HashMap<usize, Reading>> {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn set(&self, partition: usize, reading: Reading) {
        self.lock().insert(partition, reading);
        self.changed.notify_waiters();
    }
}

impl TapExec {
    fn new(input: Arc<dyn ExecutionPlan>, tap: Tap, ordering: Option<LexOrdering>, shared: Arc<Shared>) -> Self {
        let properties = PlanProperties::new(
            input.equivalence_properties().clone(),
            input.output_partitioning().clone(),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        Self { input, tap, ordering, shared, properties: Arc::new(properties) }
    }

    /// Reads the rest of each partition that was not read to its end. Everything that reads from this tap must have
    /// been dropped before.
    async fn drain(&self, context: &Arc<TaskContext>, stop: &CancellationToken) -> Result<(), RunError> {
        for partition in 0..self.properties.partitioning.partition_count() {
            let Some(mut rest) = self.rest(partition, context, stop).await? else { continue };
            loop {
                tokio::select! {
                    () = stop.cancelled() => return Err(stopped()),
                    batch = rest.next() => match batch {
                        None => break,
                        Some(batch) => self.tap.pass(batch?.num_rows()),
                    },
                }
            }
            self.shared.set(partition, Reading::Ended);
        }
        Ok(())
    }

    /// What is left of a partition; none where it was read to its end. Waits for tasks that are being ended and
    /// still hold the stream.
    async fn rest(
        &self,
        partition: usize,
        context: &Arc<TaskContext>,
        stop: &CancellationToken,
    ) -> Result<Option<SendableRecordBatchStream>, RunError> {
        loop {
            let changed = self.shared.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            {
                let mut partitions = self.shared.lock();
                match partitions.remove(&partition) {
                    None => {
                        drop(partitions);
                        return Ok(Some(self.input.execute(partition, context.clone())?));
                    }
                    Some(Reading::Stopped(rest)) => return Ok(Some(rest)),
                    Some(Reading::Ended) => {
                        partitions.insert(partition, Reading::Ended);
                        return Ok(None);
                    }
                    Some(Reading::Running) => partitions.insert(partition, Reading::Running),
                };
            }
            tokio::select! {
                () = stop.cancelled() => return Err(stopped()),
                () = changed => {}
            }
        }
    }
}

fn stopped() -> RunError {
    RunError::new(Kind::Cancelled, "the run was stopped")
}

/// Reads on at each tap of `plan` that was not read to its end, from the top down, so that what reads from a deeper
/// one is done before its turn comes. `plan` must have been executed, and its streams dropped.
///
/// # Errors
/// What the rest of the rows ends with, or `Kind::Cancelled` where `stop` is set.
pub async fn drain(
    plan: &Arc<dyn ExecutionPlan>,
    context: &Arc<TaskContext>,
    stop: &CancellationToken,
) -> Result<(), RunError> {
    let mut open = vec![plan.clone()];
    while let Some(plan) = open.pop() {
        if let Some(tap) = plan.downcast_ref::<TapExec>() {
            tap.drain(context, stop).await?;
        }
        if let Some(plan) = plan.downcast_ref::<ScalarSubqueryExec>() {
            subqueries(plan, context, stop).await?;
        }
        open.extend(plan.children().into_iter().rev().cloned());
    }
    Ok(())
}

/// Makes the values of subqueries that nobody has asked for yet: what is read on below `plan` needs them.
async fn subqueries(
    plan: &ScalarSubqueryExec,
    context: &Arc<TaskContext>,
    stop: &CancellationToken,
) -> Result<(), RunError> {
    let open = plan.subqueries().iter().filter(|subquery| plan.results().get(subquery.index).is_none());
    let open: Vec<_> = open.cloned().collect();
    if open.is_empty() {
        return Ok(());
    }
    let nothing = Arc::new(EmptyExec::new(plan.schema()));
    let values = ScalarSubqueryExec::new(nothing, open, plan.results().clone());
    let mut values = values.execute(0, context.clone())?;
    tokio::select! {
        () = stop.cancelled() => Err(stopped()),
        end = values.next() => Ok(end.transpose().map(|_| ())?),
    }
}

/// The ids of the taps that are in `plan`. The optimizer takes out what it knows to give nothing.
pub fn ids(plan: &Arc<dyn ExecutionPlan>) -> HashSet<usize> {
    let mut found = HashSet::new();
    let mut open = vec![plan.clone()];
    while let Some(plan) = open.pop() {
        found.extend(plan.downcast_ref::<TapExec>().and_then(|tap| tap.tap.id));
        open.extend(plan.children().into_iter().cloned());
    }
    found
}

impl DisplayAs for TapExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "TapExec: count={:?}", self.tap.count)
    }
}

impl ExecutionPlan for TapExec {
    fn name(&self) -> &str {
        "TapExec"
    }
    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }
    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }
    fn maintains_input_order(&self) -> Vec<bool> {
        // Sorts that others ask for are put below what keeps an order, also where it asks for another one itself.
        vec![!self.tap.ordered]
    }
    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }
    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        InputDistributionRequirements::new(vec![if self.tap.ordered {
            Distribution::SinglePartition
        } else {
            Distribution::UnspecifiedDistribution
        }])
    }
    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        vec![self.ordering.clone().map(OrderingRequirements::from)]
    }
    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }
    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(input) = children.pop().filter(|_| children.is_empty()) else {
            return internal_err!("a tap has one input");
        };
        Ok(Arc::new(Self::new(input, self.tap.again(), self.ordering.clone(), self.shared.clone())))
    }
    fn statistics_from_inputs(&self, _: &[Arc<Statistics>], _: &StatisticsArgs) -> Result<Arc<Statistics>> {
        let mut statistics = Statistics::new_unknown(&self.schema());
        if let Some(bytes) = self.tap.bytes {
            statistics.total_byte_size = Precision::Inexact(usize::try_from(bytes).unwrap_or(usize::MAX));
        }
        Ok(Arc::new(statistics))
    }
    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        Ok(Box::pin(TapStream {
            schema: self.schema(),
            begin: Some((self.input.clone(), context)),
            inner: None,
            partition,
            tap: self.tap.again(),
            shared: self.shared.clone(),
        }))
    }
}

/// Counts what passes, and leaves what was not read for [`drain`] when it is dropped.
struct TapStream {
    schema: SchemaRef,
    /// What is executed when the first row is asked for. An operator that never asks may keep this stream for as long as
    /// there is a plan, and then the partition must count as one that was never begun.
    begin: Option<(Arc<dyn ExecutionPlan>, Arc<TaskContext>)>,
    inner: Option<SendableRecordBatchStream>,
    partition: usize,
    tap: Tap,
    shared: Arc<Shared>,
}

impl Stream for TapStream {
    type Item = Result<RecordBatch>;
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some((input, context)) = self.begin.take() {
            match input.execute(self.partition, context) {
                Ok(inner) => self.inner = Some(inner),
                Err(e) => return Poll::Ready(Some(Err(e))),
            }
            self.shared.set(self.partition, Reading::Running);
        }
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        let next = std::task::ready!(inner.poll_next_unpin(cx));
        match &next {
            Some(Ok(batch)) => self.tap.pass(batch.num_rows()),
            // An error ends the run, so there is nothing to read on for.
            Some(Err(_)) | None => {
                self.inner = None;
                self.shared.set(self.partition, Reading::Ended);
            }
        }
        Poll::Ready(next)
    }
}

impl RecordBatchStream for TapStream {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}

impl Drop for TapStream {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.take() {
            self.shared.set(self.partition, Reading::Stopped(inner));
        }
    }
}
