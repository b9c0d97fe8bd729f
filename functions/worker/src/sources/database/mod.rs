//! Reads databases: tells the columns of a table or a query, and streams its rows over one connection a piece.

mod mysql;
mod past;
mod pieces;
mod postgres;
mod rows;

use super::decode::Wanted;
use super::tally::Tally;
use super::{InputFile, Past};
use crate::databases::{self, Dialect, Server};
use crate::engine::job::Connector;
use crate::engine::progress::{Progress, ROW_COLUMN};
use crate::error::{Kind, RunError};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Field as ArrowField};
use futures::{Stream, StreamExt, stream};
use pieces::Piece;
use rows::Rows;
use shared::models::node::SourceConfig;
use shared::models::pipeline::Partitioning;
use shared::models::schema::Field;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Batches of one partition that are read before somebody takes them.
const AHEAD: usize = 2;
/// Bytes of values after which a batch is full, however few rows it has.
const BATCH_BYTES: usize = 1 << 20;

/// A column of a table or a query.
#[derive(Debug, Clone)]
pub struct Column {
    pub name: String,
    pub data_type: DataType,
    /// Whether there are values that the Arrow type does not hold, which reject their rows. Such a column is always read:
    /// which rows are rejected must not depend on who reads them.
    pub fallible: bool,
}

/// A source of rows of a database.
#[derive(Debug)]
pub struct DatabaseSource {
    reader: Reader,
    columns: Vec<Column>,
    pieces: Vec<Piece>,
    /// The rows, as the server guesses.
    pub rows: u64,
    /// The bytes of a row, as the server guesses.
    pub width: u64,
    /// Whether the pieces are what the pipeline's partitioning asks for.
    pub divided: bool,
}

#[derive(Debug)]
enum Reader {
    Postgres(Box<postgres::Table>),
    Mysql(Box<mysql::Table>),
}

/// What a source node asks of a database.
pub struct Request<'a> {
    pub connector: &'a Connector,
    pub config: &'a SourceConfig,
    pub expected: &'a HashMap<String, Field>,
    pub partitioning: &'a Partitioning,
    /// The rows that must come; all where it is none.
    pub past: Option<&'a Past>,
    /// Partitions that read at once.
    pub parallelism: usize,
    /// Whether all rows are read, and not the first ones only.
    pub whole: bool,
}

/// What the partitions of one reading share.
#[derive(Debug, Default)]
pub struct Share {
    /// The next piece that nobody has begun.
    next: AtomicUsize,
    /// Partitions that have a connection of those that see the same.
    connected: AtomicUsize,
}

impl DatabaseSource {
    /// Connects, tells the columns, and divides the rows into pieces.
    ///
    /// # Errors
    /// `Kind::Definition` where the config does not fit; `Kind::Source` where the server refuses what is asked, which names
    /// the nearest table where one is not there; `Kind::SourceUnavailable`.
    pub async fn open(request: &Request<'_>) -> Result<Self, RunError> {
        let server = Arc::new(Server::of(request.connector)?);
        let wanted = server.wanted(request.config.table.as_deref(), request.config.query.as_deref())?;
        let source = match server.dialect {
            Dialect::Postgresql => postgres::open(&server, wanted, request).await?,
            Dialect::Mysql => mysql::open(&server, wanted, request).await?,
        };
        check_names(&server.name, source.columns.iter().map(|c| c.name.as_str()))?;
        Ok(source)
    }

    /// The columns as fields of a batch.
    pub fn fields(&self) -> Vec<ArrowField> {
        self.columns.iter().map(|c| ArrowField::new(&c.name, c.data_type.clone(), true)).collect()
    }

    /// The pieces as the files that they stand for: one a range, or one for the whole table.
    pub fn files(&self) -> Vec<InputFile> {
        let size = self.rows.saturating_mul(self.width) / self.pieces.len().max(1) as u64;
        let file =
            |piece: &Piece| InputFile { path: piece.name.clone(), size, etag: None, version: None, modified: None };
        self.pieces.iter().map(file).collect()
    }

    /// The server's name of the state that all pieces see, where there is one.
    pub fn snapshot(&self) -> Option<&str> {
        match &self.reader {
            Reader::Postgres(table) => Some(table.snapshot()),
            Reader::Mysql(_) => None,
        }
    }

    /// There is one more plan that will read.
    pub fn add_scan(&self) {
        if let Reader::Mysql(table) = &self.reader {
            table.view.add_scan();
        }
    }

    /// A plan will read no more.
    pub fn end_scan(&self) {
        if let Reader::Mysql(table) = &self.reader {
            table.view.end_scan();
        }
    }

    /// Streams the pieces that nobody has begun; `share` is shared by all partitions.
    pub fn stream(
        self: &Arc<Self>,
        tally: Arc<Tally>,
        share: Arc<Share>,
        (wanted, progress): (Arc<Wanted>, Arc<Progress>),
        batch_size: usize,
    ) -> impl Stream<Item = Result<RecordBatch, RunError>> + Send + 'static {
        let source = Arc::clone(self);
        // Nothing is asked of the server before somebody wants rows.
        stream::once(async move {
            let (sender, receiver) = mpsc::channel(AHEAD);
            let sink = Sink { selected: source.selected(&wanted), tally, wanted, batch_size, sender };
            let task = tokio::spawn(async move { source.read(sink, &share, &progress).await });
            stream::unfold(Reading { receiver, task: Some(task) }, |mut reading| async move {
                reading.next().await.map(|batch| (batch, reading))
            })
        })
        .flatten()
    }

    /// The indices of the columns that are read.
    fn selected(&self, wanted: &Wanted) -> Vec<usize> {
        let mut selected: Vec<usize> = (0..self.columns.len())
            .filter(|i| wanted.columns.contains(i) || self.columns.get(*i).is_some_and(|c| c.fallible))
            .collect();
        if selected.is_empty() {
            // Rows are counted at least.
            selected.push(0);
        }
        selected
    }

    async fn read(&self, sink: Sink, share: &Share, progress: &Progress) -> Result<(), RunError> {
        match &self.reader {
            Reader::Postgres(table) => {
                while let Some((index, piece)) = self.next(&sink, share) {
                    if !table.read(&self.columns, piece, index, &sink).await? {
                        return Ok(());
                    }
                    sink.tally.finish_piece(index);
                }
            }
            Reader::Mysql(table) => {
                let Some(mut reading) = table.view.take(&share.connected, progress).await? else { return Ok(()) };
                while let Some((index, piece)) = self.next(&sink, share) {
                    if !table.read(&mut reading.session, &self.columns, piece, index, &sink).await? {
                        return Ok(());
                    }
                    sink.tally.finish_piece(index);
                }
                table.view.give_back(reading).await;
            }
        }
        Ok(())
    }

    /// The next piece that nobody has begun.
    fn next(&self, sink: &Sink, share: &Share) -> Option<(usize, &Piece)> {
        let index = share.next.fetch_add(1, Ordering::AcqRel);
        let piece = self.pieces.get(index)?;
        sink.tally.rows(index, 0);
        Some((index, piece))
    }
}

/// Where the rows of one partition go.
struct Sink {
    /// The indices of the columns that are read.
    selected: Vec<usize>,
    tally: Arc<Tally>,
    wanted: Arc<Wanted>,
    batch_size: usize,
    sender: mpsc::Sender<RecordBatch>,
}

impl Sink {
    /// Rows of a piece from the one with the number `first`, empty.
    fn rows<'a>(&self, columns: &'a [Column], first: u64) -> Rows<'a> {
        Rows::new(self.selected.iter().filter_map(|i| columns.get(*i)).collect(), first, self.batch_size)
    }

    fn is_full(&self, rows: &Rows<'_>) -> bool {
        rows.len() >= self.batch_size || rows.bytes() >= BATCH_BYTES
    }

    /// Counts rows and sends on those that fit; false where nobody wants more.
    async fn send(&self, piece: usize, rows: Rows<'_>) -> Result<bool, RunError> {
        let (batch, rejects) = rows.finish(&self.selected, &self.wanted, piece)?;
        self.tally.count(piece, batch.num_rows(), rejects)?;
        Ok(batch.num_rows() == 0 || self.sender.send(batch).await.is_ok())
    }
}

/// The reading of one partition; it stops where this is dropped.
struct Reading {
    receiver: mpsc::Receiver<RecordBatch>,
    task: Option<JoinHandle<Result<(), RunError>>>,
}

impl Reading {
    async fn next(&mut self) -> Option<Result<RecordBatch, RunError>> {
        if let Some(batch) = self.receiver.recv().await {
            return Some(Ok(batch));
        }
        // Only the task's own word tells the end from a break.
        match self.task.take()?.await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(Err(error)),
            Err(error) => {
                tracing::error!(%error, "a task that read a database ended by itself");
                Some(Err(RunError::new(Kind::Internal, "reading the database ended unexpectedly")))
            }
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Columns are found by their names, so each needs one of its own.
fn check_names<'a>(server: &str, names: impl Iterator<Item = &'a str>) -> Result<(), RunError> {
    let mut seen = HashSet::new();
    for name in names {
        let why = if name.is_empty() {
            "a column has no name".to_owned()
        } else if name == ROW_COLUMN {
            format!("there is a column {ROW_COLUMN:?}; that name is reserved")
        } else if !seen.insert(name) {
            format!("two columns are named {name:?}")
        } else {
            continue;
        };
        return Err(RunError::new(
            Kind::Source,
            format!("{server}: {why}; write a query that gives each column a name of its own with AS"),
        ));
    }
    Ok(())
}

/// A short look for a connector's test.
///
/// # Errors
/// As [`DatabaseSource::open`].
pub async fn probe(connector: &Connector) -> Result<String, RunError> {
    let server = Arc::new(Server::of(connector)?);
    let (version, tables) = match server.dialect {
        Dialect::Postgresql => postgres::look(&server).await.map_err(databases::Fault::source)?,
        Dialect::Mysql => mysql::look(&server).await.map_err(databases::Fault::source)?,
    };
    let Some(own) = server.own() else {
        let tables = if tables == 1 { "1 table".to_owned() } else { format!("{tables} tables") };
        return Ok(format!("{version} answers; the user {:?} sees {tables} in {:?}.", server.user, server.database));
    };
    let request = Request {
        connector,
        config: &SourceConfig::default(),
        expected: &HashMap::new(),
        partitioning: &Partitioning::None,
        past: None,
        parallelism: 1,
        whole: false,
    };
    let source = DatabaseSource::open(&request).await?;
    let names: Vec<&str> = source.columns.iter().map(|c| c.name.as_str()).collect();
    let what = match own {
        databases::Wanted::Table(table) => format!("the table {:?}", table.to_string()),
        databases::Wanted::Query(_) => "the query".to_owned(),
    };
    Ok(format!("{version} answers; {what} has {} columns: {}.", names.len(), names.join(", ")))
}
