//! Reads connectors: finds their files, tells their columns and streams their rows, each with where it came from.

mod avro;
mod buckets;
mod chunk;
mod columns;
mod csv;
mod database;
mod decode;
mod digits;
pub mod fields;
mod files;
mod fit;
pub mod forms;
mod guess;
mod http;
mod input;
mod int96;
mod json;
mod parquet;
pub mod parse;
mod place;
mod queue;
mod readers;
pub mod receipt;
mod refusals;
mod rest;
mod s3;
mod scan;
mod tally;
mod text;
pub mod width;

#[cfg(test)]
mod tests;

use crate::engine::job::{Connector, Settings};
use crate::engine::progress::{NodeCounters, Progress, ROW_COLUMN};
use crate::error::{Kind, RunError};
use crate::targets::Watermark;
use chrono::{DateTime, Utc};
use datafusion::arrow::datatypes::{DataType, Field as ArrowField, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use place::{Described, Place};
pub use receipt::Reads;
use shared::check::connected;
use shared::models::connector::ConnectorType;
use shared::models::node::{FileFormat, FileOptions, SourceConfig};
use shared::models::pipeline::Partitioning;
use shared::models::schema::Field;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::runtime::Handle;

/// What is to be read.
pub struct SourceRequest<'a> {
    /// The id of the node.
    pub node: &'a str,
    pub connector: &'a Connector,
    pub config: &'a SourceConfig,
    /// Columns whose type the target's schema decides, since they reach it unchanged: field by column name.
    pub expected: &'a HashMap<String, Field>,
    /// Rows that the target would leave out.
    pub past: Option<Past>,
    /// Partitions that are worked at once.
    pub parallelism: usize,
    /// The most rows of a batch.
    pub batch_size: usize,
    /// About the most bytes of a batch; one row is always read.
    pub batch_bytes: usize,
    /// The most records that are read, from the beginning; the rest is left where it is. All where none is given.
    pub most_rows: Option<usize>,
    /// How the pipeline wants the rows divided; a database divides them itself.
    pub partitioning: &'a Partitioning,
}

/// From where an incremental load reads: rows whose `column` is null, none of its values or at least `from` must come; a
/// source that can tell the others cheaply may leave them out. The target looks at each row all the same.
#[derive(Debug, Clone, PartialEq)]
pub struct Past {
    /// The column of the source.
    pub column: String,
    /// The target's field that it becomes, unchanged.
    pub field: Field,
    pub from: Watermark,
}

/// A file that a source reads, as it was when the source was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputFile {
    /// From the root of the place: the files root, or the bucket.
    pub path: String,
    /// Bytes, as stored.
    pub size: u64,
    pub etag: Option<String>,
    /// Where the bucket keeps versions.
    pub version: Option<String>,
    pub modified: Option<DateTime<Utc>>,
}

/// An opened source: its files and columns are known, its rows are not read yet.
#[derive(Debug, Clone)]
pub struct Source {
    inner: Arc<Inner>,
}

/// What all scans of a source share.
#[derive(Debug)]
struct Inner {
    node: String,
    /// The user's columns, then the row id.
    schema: SchemaRef,
    files: Arc<[InputFile]>,
    /// What the run's receipt says of it.
    reads: Reads,
    reader: Reader,
    /// About how many bytes a row takes, where it is known.
    row_bytes: Option<u64>,
    /// The index of the source, for row ids.
    index: usize,
    shown: tally::Shown,
    parallelism: usize,
    batch_size: usize,
    /// The most records that are read, in the order of the files.
    most_rows: Option<usize>,
}

#[derive(Debug)]
enum Reader {
    Text(text::TextSource),
    Parquet(parquet::ParquetSource),
    Avro(avro::AvroSource),
    Rest(Arc<rest::RestSource>),
    Database(Arc<database::DatabaseSource>),
}

/// Finds the files of a source node and tells their columns.
///
/// # Errors
/// `Kind::Source` where nothing matches or a file cannot be read as it is; `Kind::SourceUnavailable` where the store
/// does not answer; `Kind::Definition` where an option cannot be used, or is not for such a connector. All name the node.
pub async fn open(
    request: SourceRequest<'_>,
    settings: &Settings,
    progress: &Arc<Progress>,
) -> Result<Source, RunError> {
    open_source(&request, settings, progress).await.map_err(|e| e.at(request.node))
}

async fn open_source(
    request: &SourceRequest<'_>,
    settings: &Settings,
    progress: &Arc<Progress>,
) -> Result<Source, RunError> {
    // Its connector may have become another since the node was saved.
    let (fields, why) = connected::foreign(request.config, request.connector.kind);
    if !fields.is_empty() {
        let what = format!("{} is not for the connector {:?}, {why}", fields.join(" or "), request.connector.name);
        return Err(RunError::new(Kind::Definition, what));
    }
    let opened = match request.connector.kind {
        ConnectorType::RestApi => open_api(request, settings, progress).await?,
        ConnectorType::Postgresql | ConnectorType::Mysql => open_database(request).await?,
        ConnectorType::LocalFs | ConnectorType::AwsS3 | ConnectorType::Gcs | ConnectorType::AzureBlob => {
            open_files(request, settings).await?
        }
    };
    let Opened { files, reads, reader, mut fields, rows } = opened;
    fields.push(ArrowField::new(ROW_COLUMN, DataType::Int64, true));
    // Partitions that have no piece of a database to read would only be in the way of dividing its rows.
    let most = if matches!(reader, Reader::Database(_)) { files.len() } else { usize::MAX };
    progress.total_rows.fetch_add(rows, Ordering::Relaxed);
    let row_bytes = width::row_bytes(&reader, &files);
    let batch_size = width::batch_size(request.batch_size, request.batch_bytes, row_bytes.unwrap_or(1));
    let inner = Inner {
        node: request.node.to_owned(),
        schema: Arc::new(Schema::new(fields)),
        index: progress.add_source(files.iter().map(|f| Arc::from(f.path.as_str())).collect()),
        shown: tally::Shown::register(progress, &files),
        files,
        reads,
        reader,
        row_bytes,
        // The first records come in order where one thread reads them.
        parallelism: if request.most_rows.is_some() { 1 } else { request.parallelism.min(most).max(1) },
        batch_size: batch_size.min(request.most_rows.unwrap_or(usize::MAX)).max(1),
        most_rows: request.most_rows,
    };
    Ok(Source { inner: Arc::new(inner) })
}

/// What is known of a source once it is open.
struct Opened {
    files: Arc<[InputFile]>,
    reads: Reads,
    reader: Reader,
    /// The user's columns.
    fields: Vec<ArrowField>,
    /// Rows, as far as they are known.
    rows: u64,
}

fn text_fields(layout: &decode::Layout) -> Vec<ArrowField> {
    layout.columns.iter().map(|c| ArrowField::new(&c.name, c.data_type.clone(), true)).collect()
}

async fn open_api(
    request: &SourceRequest<'_>,
    settings: &Settings,
    progress: &Arc<Progress>,
) -> Result<Opened, RunError> {
    let (api, file) = rest::RestSource::open(request, settings, progress).await?;
    let (fields, rows) = (text_fields(&api.layout), api.estimate);
    let reads = Reads::api(&api, &file.path);
    Ok(Opened { files: Arc::from([file]), reads, reader: Reader::Rest(Arc::new(api)), fields, rows })
}

async fn open_database(request: &SourceRequest<'_>) -> Result<Opened, RunError> {
    let database = database::DatabaseSource::open(&database::Request {
        connector: request.connector,
        config: request.config,
        expected: request.expected,
        partitioning: request.partitioning,
        past: request.past.as_ref(),
        parallelism: request.parallelism,
        whole: request.most_rows.is_none(),
    })
    .await?;
    let (files, fields, rows): (Arc<[InputFile]>, _, _) = (database.files().into(), database.fields(), database.rows);
    let reads = Reads::database(request, &database, files.len())?;
    Ok(Opened { files, reads, reader: Reader::Database(Arc::new(database)), fields, rows })
}

async fn open_files(request: &SourceRequest<'_>, settings: &Settings) -> Result<Opened, RunError> {
    let (place, described) = Place::of(request.connector, settings).await?;
    let path = full_path(&place, &described, request.config.path.as_deref())?;
    let found = files::find(&place, &path, request.config.format.or(described.format)).await?;
    let options = merged(request.config.options.as_ref(), described.options.as_ref());
    let files: Arc<[InputFile]> = found.files.clone().into();
    let (reader, fields, rows) = if found.format == FileFormat::Parquet {
        let parquet =
            parquet::ParquetSource::plan(place, Arc::clone(&files), request.expected, request.most_rows).await?;
        let fields = parquet.columns().fields().iter().map(|f| f.as_ref().clone()).collect();
        let rows = parquet.rows;
        (Reader::Parquet(parquet), fields, rows)
    } else if found.format == FileFormat::Avro {
        let avro = plan_avro(place, Arc::clone(&files), request.expected.clone()).await?;
        let fields = avro.columns.fields().iter().map(|f| f.as_ref().clone()).collect();
        (Reader::Avro(avro), fields, 0)
    } else {
        let expected = request.expected.clone();
        let runtime = Handle::current();
        let plan = move || text::TextSource::plan(place, found, &options, &expected, &runtime);
        let text = tokio::task::spawn_blocking(plan).await.map_err(place::stopped)??;
        let (fields, rows) = (text_fields(&text.layout), text.estimate);
        (Reader::Text(text), fields, rows)
    };
    let reads = Reads::files(&files);
    Ok(Opened { files, reads, reader, fields, rows })
}

impl Source {
    /// The user's columns, all nullable, then [`ROW_COLUMN`].
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.inner.schema)
    }

    /// The files that are read, sorted by path.
    pub fn files(&self) -> &[InputFile] {
        &self.inner.files
    }

    /// About how many bytes of plain text its files are.
    pub fn bytes(&self) -> u64 {
        width::plain_bytes(&self.inner.files)
    }

    /// About how many bytes a row takes; none where nobody knows.
    pub fn row_bytes(&self) -> Option<u64> {
        self.inner.row_bytes
    }

    /// Whether its partitions are already those that the pipeline's partitioning asks for.
    pub fn is_divided(&self) -> bool {
        matches!(&self.inner.reader, Reader::Database(database) if database.divided)
    }

    /// The source as a table. Rows are counted and rejected ones reported only where `counters` are given: a node with
    /// several consumers is read once for each, and only one of them counts.
    pub fn provider(&self, counters: Option<Arc<NodeCounters>>, progress: Arc<Progress>) -> Arc<dyn TableProvider> {
        Arc::new(scan::SourceTable { inner: Arc::clone(&self.inner), counters, progress })
    }
}

/// A short look for a connector's test: how many files there are, and the columns of the first; or the first page.
///
/// # Errors
/// As [`open`].
pub async fn probe(connector: &Connector, settings: &Settings) -> Result<String, RunError> {
    match connector.kind {
        ConnectorType::RestApi => rest::probe(connector, settings).await,
        ConnectorType::Postgresql | ConnectorType::Mysql => database::probe(connector).await,
        ConnectorType::LocalFs | ConnectorType::AwsS3 | ConnectorType::Gcs | ConnectorType::AzureBlob => {
            probe_files(connector, settings).await
        }
    }
}

async fn probe_files(connector: &Connector, settings: &Settings) -> Result<String, RunError> {
    let (place, described) = Place::of(connector, settings).await?;
    let path = full_path(&place, &described, None)?;
    let found = match (files::find(&place, &path, described.format).await, described.format) {
        (Err(error), None) => {
            let counts = files::formats(&place, &path).await?;
            if counts.len() < 2 {
                return Err(error);
            }
            // Each source node says which format it means.
            let counts: Vec<String> = counts.iter().map(|(format, n)| format!("{n} of {format}")).collect();
            return Ok(format!("The connector has files of several formats: {}.", counts.join(", ")));
        }
        (found, _) => found?,
    };
    let (count, word) = (found.files.len(), files::word(found.format));
    let bytes: u64 = found.files.iter().map(|f| f.size).sum();
    let first = found.files.first().map(|f| f.path.clone()).unwrap_or_default();
    let mut only_first = found;
    only_first.files.truncate(1);
    let names: Vec<String> = if only_first.format == FileFormat::Parquet {
        let parquet = parquet::ParquetSource::plan(place, only_first.files.into(), &HashMap::new(), None).await?;
        parquet.columns().fields().iter().map(|f| f.name().clone()).collect()
    } else if only_first.format == FileFormat::Avro {
        let avro = plan_avro(place, only_first.files.into(), HashMap::new()).await?;
        avro.columns.fields().iter().map(|f| f.name().clone()).collect()
    } else {
        let options = described.options.unwrap_or_default();
        let runtime = Handle::current();
        let plan = move || text::TextSource::plan(place, only_first, &options, &HashMap::new(), &runtime);
        let text = tokio::task::spawn_blocking(plan).await.map_err(place::stopped)??;
        text.layout.columns.into_iter().map(|c| c.name).collect()
    };
    let files = if count == 1 { "file" } else { "files" };
    Ok(format!("Found {count} {word} {files} of {bytes} bytes; the columns of {first:?} are {}.", names.join(", ")))
}

async fn plan_avro(
    place: Place,
    files: Arc<[InputFile]>,
    expected: columns::Expected,
) -> Result<avro::AvroSource, RunError> {
    let runtime = Handle::current();
    let plan = move || avro::AvroSource::plan(place, files, &expected, &runtime);
    tokio::task::spawn_blocking(plan).await.map_err(place::stopped)?
}

/// The path of a node below that of its connector.
fn full_path(place: &Place, described: &Described, node: Option<&str>) -> Result<String, RunError> {
    match node {
        Some(path) if path.starts_with('/') && place.is_local() => place.relative(path),
        Some(path) => {
            let (base, path) = (place.relative(&described.path)?, place.relative(path)?);
            Ok(if base.is_empty() { path } else { format!("{base}/{path}").trim_end_matches('/').to_owned() })
        }
        None => place.relative(&described.path),
    }
}

/// The options of a node over those of its connector.
fn merged(node: Option<&FileOptions>, connector: Option<&FileOptions>) -> FileOptions {
    let node = node.cloned().unwrap_or_default();
    let base = connector.cloned().unwrap_or_default();
    FileOptions {
        delimiter: node.delimiter.or(base.delimiter),
        quote: node.quote.or(base.quote),
        escape: node.escape.or(base.escape),
        header: node.header.or(base.header),
        null_values: node.null_values.or(base.null_values),
        encoding: node.encoding.or(base.encoding),
        skip_rows: node.skip_rows.or(base.skip_rows),
        infer_types: node.infer_types.or(base.infer_types),
        columns: node.columns.or(base.columns),
    }
}
