//! Reads a table page by page, each page of the version that the first one saw.

use super::parquet::StoredFile;
use super::table::{Place, state};
use super::values;
use crate::engine::job::{Settings, TableSchema};
use crate::error::{Kind, RunError};
use crate::room::Room;
use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::error::ArrowError;
use datafusion::parquet::arrow::ProjectionMask;
use datafusion::parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;
use datafusion::parquet::errors::ParquetError;
use deltalake::DeltaTable;
use deltalake::kernel::LogicalFileView;
use futures::TryStreamExt;
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use shared::models::schema::Field;

/// Rows that are read at once: a page may end after each, and some rows have megabytes.
const AT_ONCE: usize = 32;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct PageRequest {
    /// The most rows.
    pub limit: usize,
    /// The most bytes of all rows, as they stand in an answer.
    pub bytes: usize,
    /// Where the page before ended; none for the first page.
    pub position: Option<Position>,
    /// Whether all rows are to be counted.
    pub include_total: bool,
}

/// Where a page begins: it holds while runs commit, as long as the table keeps the version's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The version of the table.
    #[serde(rename = "v")]
    pub version: u64,
    /// The index of the file, in the order in which files were written.
    #[serde(rename = "f")]
    pub file: usize,
    /// Rows of that file that came before.
    #[serde(rename = "r")]
    pub row: usize,
}

/// A page.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TablePage {
    /// Objects with the schema's fields in their order.
    pub rows: Vec<Map<String, Value>>,
    /// Where the next page begins; none where there are no more rows.
    pub next: Option<Position>,
    /// All rows of the version, where asked for.
    pub total: Option<u64>,
}

struct File {
    path: Path,
    bytes: u64,
    rows: usize,
}

/// Rows of the table of `schema`, or none where it is not there yet.
///
/// # Errors
/// `Kind::Target` where the version of `page.position` is gone, another tool has changed the table beyond what is read here,
/// or a row alone has more bytes than a page; `Kind::TargetUnavailable`.
pub async fn read_page(
    tenant: &str,
    schema: &TableSchema,
    settings: &Settings,
    page: PageRequest,
) -> Result<TablePage, RunError> {
    let place = Place::new(tenant, schema, settings)?;
    let Some(table) = place.load(page.position.map(|p| p.version)).await? else {
        if page.position.is_some() {
            return Err(RunError::new(
                Kind::Target,
                format!("the table of the schema {:?} is not there any more; begin with the first page", place.schema),
            ));
        }
        let total = page.include_total.then_some(0);
        return Ok(TablePage { total, ..TablePage::default() });
    };
    let version = state(&table)?.version();
    let files = files(&place, &table).await?;
    let total = page.include_total.then(|| files.iter().map(|file| file.rows as u64).sum());
    let (mut rows, mut room) = (Vec::new(), Room::new(page.bytes));
    let mut at = page.position.unwrap_or(Position { version, file: 0, row: 0 });
    while let Some(file) = files.get(at.file) {
        let left = page.limit.saturating_sub(rows.len());
        let count = file.rows.saturating_sub(at.row).min(left);
        if count > 0 {
            let before = rows.len();
            let read = read(&table, file, (at.row, count), &schema.fields, &mut room, &mut rows).await;
            read.map_err(|e| unreadable(&place, &e))?;
            at.row += rows.len() - before;
            if rows.is_empty() {
                return Err(too_large(&place, page.bytes));
            }
        }
        if at.row < file.rows {
            break;
        }
        at = Position { version, file: at.file + 1, row: 0 };
    }
    let next = files.get(at.file).map(|_| at);
    Ok(TablePage { rows, next, total })
}

fn too_large(place: &Place, bytes: usize) -> RunError {
    RunError::new(
        Kind::Target,
        format!(
            "the next row of the table of the schema {:?} alone has more than the {bytes} bytes of a page; read the Delta \
             table itself",
            place.schema
        ),
    )
}

fn unreadable(place: &Place, error: &ParquetError) -> RunError {
    tracing::warn!(%error, "a file of a table cannot be read");
    if is_gone(error) {
        return RunError::new(
            Kind::Target,
            format!(
                "a file of this version of the table of the schema {:?} has been removed; begin with the first page",
                place.schema
            ),
        );
    }
    RunError::new(
        Kind::TargetUnavailable,
        format!("a file of the table of the schema {:?} cannot be read", place.schema),
    )
}

/// Whether a file is not there, as after a VACUUM.
fn is_gone(error: &ParquetError) -> bool {
    let ParquetError::External(cause) = error else { return false };
    matches!(cause.downcast_ref(), Some(object_store::Error::NotFound { .. }))
}

/// The files of the version that has been loaded, in an order that is the same whenever it is loaded.
async fn files(place: &Place, table: &DeltaTable) -> Result<Vec<File>, RunError> {
    let mut files = Vec::new();
    let listed: Vec<LogicalFileView> = state(table)?.log_data().iter().collect();
    for file in listed {
        if file.deletion_vector_descriptor().is_some() {
            return Err(RunError::new(
                Kind::Target,
                format!(
                    "another tool has marked rows of the table of the schema {:?} as deleted (a deletion vector), which pages \
                     cannot leave out; let that tool rewrite the table",
                    place.schema
                ),
            ));
        }
        let path = file.object_store_path();
        let bytes = u64::try_from(file.size()).unwrap_or(0);
        let written = file.modification_time();
        let rows = match file.num_records() {
            Some(rows) => rows,
            None => count(table, &path, bytes).await.map_err(|e| unreadable(place, &e))?,
        };
        if rows > 0 {
            files.push((written, File { path, bytes, rows }));
        }
    }
    files.sort_by(|(a, x), (b, y)| a.cmp(b).then_with(|| x.path.cmp(&y.path)));
    Ok(files.into_iter().map(|(_, file)| file).collect())
}

fn reader(table: &DeltaTable, path: &Path, bytes: u64) -> StoredFile {
    StoredFile::new(table.object_store(), path.clone(), bytes)
}

/// The rows of a file whose log entry does not say.
async fn count(table: &DeltaTable, path: &Path, bytes: u64) -> Result<usize, ParquetError> {
    let builder = ParquetRecordBatchStreamBuilder::new(reader(table, path, bytes)).await?;
    Ok(usize::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or(0))
}

/// Appends rows of a file, `count` of them or as many as there is room for.
async fn read(
    table: &DeltaTable,
    file: &File,
    (offset, count): (usize, usize),
    fields: &[Field],
    room: &mut Room,
    rows: &mut Vec<Map<String, Value>>,
) -> Result<(), ParquetError> {
    let builder = ParquetRecordBatchStreamBuilder::new(reader(table, &file.path, file.bytes)).await?;
    let wanted: Vec<usize> = builder
        .schema()
        .fields()
        .iter()
        .enumerate()
        .filter(|(_, column)| fields.iter().any(|f| f.name == *column.name()))
        .map(|(i, _)| i)
        .collect();
    let mask = ProjectionMask::roots(builder.parquet_schema(), wanted);
    let builder = builder.with_projection(mask).with_offset(offset).with_limit(count);
    let mut stream = builder.with_batch_size(count.min(AT_ONCE)).build()?;
    while let Some(batch) = stream.try_next().await? {
        if !objects(&batch, fields, room, rows)? {
            break;
        }
    }
    Ok(())
}

/// Appends the rows of `batch` as objects, and answers whether there was room for all; a field that its file does not have
/// yet is null.
fn objects(
    batch: &RecordBatch,
    fields: &[Field],
    room: &mut Room,
    rows: &mut Vec<Map<String, Value>>,
) -> Result<bool, ArrowError> {
    let columns: Vec<Option<&ArrayRef>> = fields.iter().map(|f| batch.column_by_name(&f.name)).collect();
    for row in 0..batch.num_rows() {
        let mut object = Map::with_capacity(fields.len());
        for (field, column) in fields.iter().zip(&columns) {
            let value = match column {
                Some(column) => values::json(column, row)?,
                None => Value::Null,
            };
            object.insert(field.name.clone(), value);
        }
        if !room.take(&object) {
            return Ok(false);
        }
        rows.push(object);
    }
    Ok(true)
}
