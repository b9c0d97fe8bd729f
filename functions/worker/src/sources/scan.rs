//! A source as DataFusion sees it: a table whose scan streams from readers to partitions.

use super::avro::Batch;
use super::chunk::Chunk;
use super::database::Share;
use super::decode::{self, Layout, Wanted};
use super::queue::{Queue, ReaderGuard};
use super::readers::{read_avro, read_pages};
use super::tally::Tally;
use super::text::TextSource;
use super::{Inner, Reader};
use crate::engine::progress::{NodeCounters, Progress};
use crate::error::RunError;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result as PlanResult};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};
use futures::{Stream, StreamExt, stream};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// Fields of a batch of JSON or text that are held at once.
const BATCH_FIELDS: usize = 1 << 20;

/// A source as a table; may be scanned more than once.
#[derive(Debug)]
pub struct SourceTable {
    pub(super) inner: Arc<Inner>,
    pub(super) counters: Option<Arc<NodeCounters>>,
    pub(super) progress: Arc<Progress>,
}

#[async_trait::async_trait]
impl TableProvider for SourceTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.inner.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> PlanResult<Arc<dyn ExecutionPlan>> {
        match &self.inner.reader {
            Reader::Rest(api) => api.add_scan(),
            Reader::Database(database) => database.add_scan(),
            Reader::Text(_) | Reader::Parquet(_) | Reader::Avro(_) => {}
        }
        let all = || (0..self.inner.schema.fields().len()).collect();
        let columns: Vec<usize> = projection.cloned().unwrap_or_else(all);
        let schema: Schema = self.inner.schema.project(&columns)?;
        let schema = Arc::new(schema);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            Partitioning::UnknownPartitioning(self.inner.parallelism),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Arc::new(SourceExec {
            inner: Arc::clone(&self.inner),
            wanted: Arc::new(Wanted { schema, columns, source: self.inner.index }),
            counters: self.counters.clone(),
            progress: Arc::clone(&self.progress),
            properties: Arc::new(properties),
            round: Mutex::default(),
        }))
    }
}

/// One scan of a source.
#[derive(Debug)]
struct SourceExec {
    inner: Arc<Inner>,
    wanted: Arc<Wanted>,
    counters: Option<Arc<NodeCounters>>,
    progress: Arc<Progress>,
    properties: Arc<PlanProperties>,
    /// What the partitions of one execution share, and which of them have begun.
    round: Mutex<Option<(Arc<Round>, Vec<bool>)>>,
}

impl SourceExec {
    /// The round that a partition takes part in: a partition that is executed again begins another.
    fn join_round(&self, partition: usize) -> Arc<Round> {
        let mut current = self.round.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((round, begun)) = &mut *current
            && let Some(begun @ false) = begun.get_mut(partition)
        {
            *begun = true;
            round.active.fetch_add(1, Ordering::AcqRel);
            return Arc::clone(round);
        }
        let round = Arc::new(Round::new(self));
        round.active.fetch_add(1, Ordering::AcqRel);
        let mut begun = vec![false; self.inner.parallelism];
        if let Some(begun) = begun.get_mut(partition) {
            *begun = true;
        }
        *current = Some((Arc::clone(&round), begun));
        round
    }
}

impl Drop for SourceExec {
    fn drop(&mut self) {
        if let Reader::Database(database) = &self.inner.reader {
            database.end_scan();
        }
    }
}

impl DisplayAs for SourceExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SourceExec: node={}, files={}", self.inner.node, self.inner.files.len())
    }
}

impl ExecutionPlan for SourceExec {
    fn name(&self) -> &'static str {
        "SourceExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> PlanResult<TreeNodeRecursion>,
    ) -> PlanResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> PlanResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, partition: usize, _: Arc<TaskContext>) -> PlanResult<SendableRecordBatchStream> {
        let round = self.join_round(partition);
        let schema = Arc::clone(&self.wanted.schema);
        let node = self.inner.node.clone();
        let at = move |e: RunError| DataFusionError::from(e.at(&node));
        let (tally, next) = (Arc::clone(&round.tally), Arc::clone(&round.next));
        let (wanted, batch_size) = (Arc::clone(&self.wanted), self.inner.batch_size);
        if let Reader::Database(database) = &self.inner.reader {
            let progress = Arc::clone(&self.progress);
            let stream = database.stream(tally, Arc::clone(&round.share), (wanted, progress), batch_size);
            let stream = StreamExt::map(stream, move |batch| batch.map_err(&at));
            return Ok(match self.inner.most_rows.map(|_| Arc::clone(&round.left)) {
                Some(left) => Box::pin(RecordBatchStreamAdapter::new(schema, first_rows(stream, left))),
                None => Box::pin(RecordBatchStreamAdapter::new(schema, stream)),
            });
        }
        if let Reader::Parquet(parquet) = &self.inner.reader {
            let guard = RoundGuard(Arc::clone(&round));
            let stream = parquet.stream(tally, next, wanted, batch_size);
            let sampled = self.inner.most_rows.is_some().then(|| Arc::clone(&round.left));
            // The guard is dropped with the stream.
            let stream = StreamExt::map(stream, move |batch| {
                let _held = &guard;
                batch.map_err(&at)
            });
            return Ok(match sampled {
                Some(left) => Box::pin(RecordBatchStreamAdapter::new(schema, first_rows(stream, left))),
                None => Box::pin(RecordBatchStreamAdapter::new(schema, stream)),
            });
        }
        let mut partition = TextPartition { guard: RoundGuard(round), wanted: Arc::clone(&self.wanted), ended: false };
        let stream = stream::poll_fn(move |cx| partition.poll(cx).map_err(&at));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
    }
}

/// The rows of `batches` as long as some are `left` to be read; behind them nobody reads on.
fn first_rows<S>(batches: S, left: Arc<AtomicUsize>) -> impl Stream<Item = PlanResult<RecordBatch>> + Send
where
    S: Stream<Item = PlanResult<RecordBatch>> + Send + 'static,
{
    stream::unfold(Box::pin(batches), move |mut batches| {
        let left = Arc::clone(&left);
        async move {
            let before = left.load(Ordering::Acquire);
            if before == 0 {
                return None;
            }
            let batch = batches.next().await?;
            let batch = batch.map(|batch| {
                let rows = batch.num_rows().min(before);
                left.store(before - rows, Ordering::Release);
                batch.slice(0, rows)
            });
            Some((batch, batches))
        }
    })
}

/// What a reader hands over at a time.
#[derive(Debug)]
pub enum Piece {
    /// Records that are still to be parsed.
    Chunk(Chunk),
    Batch(Batch),
}

/// What the partitions of one execution share.
#[derive(Debug)]
struct Round {
    inner: Arc<Inner>,
    tally: Arc<Tally>,
    queue: Arc<Queue<Piece>>,
    /// The next piece that nobody has begun.
    next: Arc<AtomicUsize>,
    /// What the partitions share where the source is a database.
    share: Arc<Share>,
    /// Records that are still to be read.
    left: Arc<AtomicUsize>,
    started: AtomicBool,
    /// Streams that are not dropped.
    active: AtomicUsize,
    /// Set when the last of them is.
    stop: CancellationToken,
    readers: usize,
}

impl Round {
    fn new(exec: &SourceExec) -> Self {
        let inner = Arc::clone(&exec.inner);
        let readers = inner.parallelism.min(inner.files.len()).max(1);
        let pieces: Vec<usize> = match &inner.reader {
            Reader::Text(_) | Reader::Avro(_) => (0..inner.files.len()).collect(),
            Reader::Parquet(parquet) => parquet.pieces().collect(),
            Reader::Rest(_) => vec![0],
            Reader::Database(_) => (0..inner.files.len()).collect(),
        };
        let (counters, progress) = (exec.counters.clone(), Arc::clone(&exec.progress));
        let tally = Tally::new(counters, progress, inner.shown, inner.index, pieces.into_iter());
        Self {
            tally: Arc::new(tally),
            queue: Arc::new(Queue::new(inner.parallelism + readers, readers)),
            next: Arc::default(),
            share: Arc::default(),
            left: Arc::new(AtomicUsize::new(inner.most_rows.unwrap_or(usize::MAX))),
            started: AtomicBool::new(false),
            active: AtomicUsize::new(0),
            stop: CancellationToken::new(),
            readers,
            inner,
        }
    }

    /// Starts the threads that split files, once.
    fn start(self: &Arc<Self>) {
        if self.started.swap(true, Ordering::AcqRel) {
            return;
        }
        for _ in 0..self.readers {
            let (inner, tally) = (Arc::clone(&self.inner), Arc::clone(&self.tally));
            let (queue, next, left) = (Arc::clone(&self.queue), Arc::clone(&self.next), Arc::clone(&self.left));
            let (runtime, stop) = (Handle::current(), self.stop.clone());
            tokio::task::spawn_blocking(move || {
                let guard = ReaderGuard(&queue);
                let read = match &inner.reader {
                    Reader::Text(text) => read_files(text, inner.batch_size, &queue, &next, &left, &tally, &runtime),
                    Reader::Rest(api) => read_pages(api, stop, inner.batch_size, &queue, &left, &tally, &runtime),
                    Reader::Avro(avro) => read_avro(avro, inner.batch_size, &queue, &next, &left, &tally, &runtime),
                    Reader::Parquet(_) | Reader::Database(_) => Ok(()),
                };
                if let Err(error) = read {
                    queue.fail(error.at(&inner.node));
                }
                drop(guard);
            });
        }
    }
}

/// The most rows of a batch of text, by how wide they are.
pub fn most_rows(layout: &Layout, batch_size: usize) -> usize {
    batch_size.min(BATCH_FIELDS / layout.columns.len().max(1)).max(1)
}

/// Splits files, one after the other, until none is left or nobody wants more.
fn read_files(
    text: &TextSource,
    batch_size: usize,
    queue: &Queue<Piece>,
    next: &AtomicUsize,
    left: &AtomicUsize,
    tally: &Tally,
    runtime: &Handle,
) -> Result<(), RunError> {
    let most_rows = most_rows(&text.layout, batch_size);
    loop {
        let index = next.fetch_add(1, Ordering::AcqRel);
        if index >= text.files.len() || left.load(Ordering::Acquire) == 0 {
            return Ok(());
        }
        tally.rows(index, 0);
        let mut file = text.open(index, runtime)?;
        let mut more = true;
        while more {
            let mut chunk = file.chunk(index);
            let wanted = left.load(Ordering::Acquire);
            more = file.fill(&mut chunk, most_rows.min(wanted))?;
            // A sample has one reader, so that nobody else takes of what is left.
            if wanted < usize::MAX {
                left.store(wanted - chunk.records().min(wanted), Ordering::Release);
                more &= chunk.records() < wanted;
            }
            if chunk.records() > 0 {
                tally.add_piece(index);
                if !queue.push(Piece::Chunk(chunk)) {
                    return Ok(());
                }
            }
        }
        tally.finish_piece(index);
    }
}

/// Stops the readers when the last stream of a round is dropped.
struct RoundGuard(Arc<Round>);

impl Drop for RoundGuard {
    fn drop(&mut self) {
        if self.0.active.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.stop.cancel();
            self.0.queue.close();
        }
    }
}

/// One partition of a source of text: takes whatever chunk comes next.
struct TextPartition {
    guard: RoundGuard,
    wanted: Arc<Wanted>,
    ended: bool,
}

impl TextPartition {
    fn poll(&mut self, cx: &Context<'_>) -> Poll<Option<Result<RecordBatch, RunError>>> {
        let round = &self.guard.0;
        if self.ended {
            return Poll::Ready(None);
        }
        round.start();
        loop {
            let parsed = match ready!(round.queue.poll_next(cx)) {
                Some(Ok(Piece::Chunk(chunk))) => parse(round, &self.wanted, chunk),
                Some(Ok(Piece::Batch(batch))) => take(round, &self.wanted, batch),
                Some(Err(e)) => Err(e),
                None => {
                    self.ended = true;
                    return Poll::Ready(None);
                }
            };
            match parsed {
                Ok(batch) if batch.num_rows() == 0 => {}
                Ok(batch) => return Poll::Ready(Some(Ok(batch))),
                Err(e) => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(e)));
                }
            }
        }
    }
}

fn take(round: &Round, wanted: &Wanted, batch: Batch) -> Result<RecordBatch, RunError> {
    let file = batch.file;
    let (shaped, rejects) = batch.shape(wanted)?;
    round.tally.count(file, shaped.num_rows(), rejects)?;
    round.tally.finish_piece(file);
    Ok(shaped)
}

fn parse(round: &Round, wanted: &Wanted, mut chunk: Chunk) -> Result<RecordBatch, RunError> {
    let layout = match &round.inner.reader {
        Reader::Text(text) => &text.layout,
        Reader::Rest(api) => &api.layout,
        Reader::Parquet(_) | Reader::Avro(_) | Reader::Database(_) => {
            return Ok(RecordBatch::new_empty(Arc::clone(&wanted.schema)));
        }
    };
    let decoded = decode::decode(&chunk, layout, wanted)?;
    let mut rejects = std::mem::take(&mut chunk.rejects);
    rejects.extend(decoded.rejects);
    round.tally.count(chunk.file, decoded.batch.num_rows(), rejects)?;
    round.tally.finish_piece(chunk.file);
    Ok(decoded.batch)
}
