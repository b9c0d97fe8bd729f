//! Reads Parquet files: row groups in parallel, each row with its number in its file.

use super::InputFile;
use super::chunk::Reject;
use super::columns::{self, Expected};
use super::decode::Wanted;
use super::fit::{Misfits, fit, judge, may_misfit, plain, widest};
use super::input;
use super::int96;
use super::place::{Place, fault};
use super::tally::Tally;
use crate::engine::progress::{ROW_COLUMN, RowId};
use crate::error::{Kind, RunError};
use bytes::Bytes;
use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::parquet::arrow::ProjectionMask;
use datafusion::parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use datafusion::parquet::arrow::async_reader::{
    AsyncFileReader, ParquetRecordBatchStream, ParquetRecordBatchStreamBuilder,
};
use datafusion::parquet::errors::ParquetError;
use datafusion::parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use futures::future::BoxFuture;
use futures::{FutureExt, Stream, StreamExt, TryFutureExt, TryStreamExt, stream};
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Files whose footers are read at a time.
const FOOTERS: usize = 8;
/// Bytes at a file's end that are fetched first, in the hope that they hold the whole footer.
const FOOTER_BYTES: usize = 64 << 10;

/// A source of Parquet files.
#[derive(Debug)]
pub struct ParquetSource {
    place: Place,
    files: Arc<[InputFile]>,
    /// The columns of the first file, in the plain types that hold what all files have.
    columns: SchemaRef,
    /// Columns of which some file may have values that do not fit, which reject their rows. They are always read: which
    /// rows are rejected must not depend on who reads them.
    fallible: Arc<[usize]>,
    groups: Arc<[Group]>,
    /// All rows.
    pub rows: u64,
    /// Bytes of them, decompressed.
    pub bytes: u64,
}

/// A row group.
#[derive(Debug, Clone, Copy)]
struct Group {
    file: usize,
    index: usize,
    /// Rows of the file before it.
    before: u64,
}

impl ParquetSource {
    /// Reads the footers and checks the columns: of all files, or of as many as have the first `most_rows`, and no row is
    /// read of the others.
    ///
    /// # Errors
    /// `Kind::Source` where a file is no Parquet, or lacks a column, or has it as another kind of type, or has one that the
    /// target wants and the first file lacks; as the store says.
    pub async fn plan(
        place: Place,
        files: Arc<[InputFile]>,
        expected: &Expected,
        most_rows: Option<usize>,
    ) -> Result<Self, RunError> {
        let footers = stream::iter(files.iter().cloned()).map(|file| {
            let place = place.clone();
            async move { footer(&place, &file).await.map(|(_, metadata)| (file, metadata)) }
        });
        let mut footers = footers.buffered(FOOTERS).enumerate();
        let (mut groups, mut rows, mut bytes) = (Vec::new(), 0, 0);
        let (mut columns, mut late): (Option<SchemaRef>, HashSet<String>) = (None, HashSet::new());
        let mut stored: Vec<HashSet<DataType>> = Vec::new();
        while let Some((index, footer)) = footers.next().await {
            let (file, metadata) = footer?;
            let own = metadata.schema();
            let widened = match &columns {
                None => plain_schema(&place, &file, own)?,
                Some(columns) => widened(&place, &file, columns, own)?,
            };
            match index {
                0 => late = columns::unknown(expected, names(own)),
                _ => columns::check_late(&place, &file, names(own), &late)?,
            }
            stored.resize_with(widened.fields().len(), HashSet::new);
            for (stored, column) in stored.iter_mut().zip(widened.fields()) {
                stored.extend(own.field_with_name(column.name()).ok().map(|field| field.data_type().clone()));
            }
            columns = Some(widened);
            let mut before = 0;
            for (group, meta) in metadata.metadata().row_groups().iter().enumerate() {
                groups.push(Group { file: index, index: group, before });
                before += u64::try_from(meta.num_rows()).unwrap_or(0);
                bytes += u64::try_from(meta.total_byte_size()).unwrap_or(0);
            }
            rows += before;
            if most_rows.is_some_and(|most| rows >= most as u64) {
                break;
            }
        }
        drop(footers);
        let columns = columns.ok_or_else(|| RunError::new(Kind::Internal, "a source has no files"))?;
        let misfits = |(column, stored): (&Arc<Field>, &HashSet<DataType>)| {
            stored.iter().any(|stored| may_misfit(stored, column.data_type()))
        };
        let fallible = columns.fields().iter().zip(&stored).enumerate();
        let fallible = fallible.filter_map(|(index, column)| misfits(column).then_some(index)).collect();
        Ok(Self { place, files, columns, fallible, groups: groups.into(), rows, bytes })
    }

    /// The columns, with plain types.
    pub fn columns(&self) -> &SchemaRef {
        &self.columns
    }

    /// The file of each piece of work.
    pub fn pieces(&self) -> impl Iterator<Item = usize> {
        self.groups.iter().map(|g| g.file)
    }

    /// Streams the row groups that nobody has begun; `next` is shared by all partitions.
    pub fn stream(
        &self,
        tally: Arc<Tally>,
        next: Arc<AtomicUsize>,
        wanted: Arc<Wanted>,
        batch_size: usize,
    ) -> impl Stream<Item = Result<RecordBatch, RunError>> + Send + 'static {
        let partition = Partition {
            place: self.place.clone(),
            files: Arc::clone(&self.files),
            groups: Arc::clone(&self.groups),
            columns: Arc::clone(&self.columns),
            fallible: Arc::clone(&self.fallible),
            footer: None,
            current: None,
            tally,
            next,
            wanted,
            batch_size,
        };
        stream::try_unfold(partition, |mut partition| async move {
            Ok(partition.next().await?.map(|batch| (batch, partition)))
        })
    }
}

/// One partition: reads one row group after the other.
struct Partition {
    place: Place,
    files: Arc<[InputFile]>,
    groups: Arc<[Group]>,
    columns: SchemaRef,
    fallible: Arc<[usize]>,
    /// The footer of the file at hand.
    footer: Option<(usize, ParquetFile, ArrowReaderMetadata)>,
    /// The row group at hand, and the number of its next row.
    current: Option<(Group, u64, ParquetRecordBatchStream<ParquetFile>)>,
    tally: Arc<Tally>,
    next: Arc<AtomicUsize>,
    wanted: Arc<Wanted>,
    batch_size: usize,
}

impl Partition {
    async fn next(&mut self) -> Result<Option<RecordBatch>, RunError> {
        loop {
            if let Some((group, row, stream)) = &mut self.current {
                let (group, first) = (*group, *row);
                let batch = match stream.try_next().await {
                    Ok(batch) => batch,
                    Err(e) => return Err(self.error(group.file, e)),
                };
                let Some(batch) = batch else {
                    self.current = None;
                    self.tally.finish_piece(group.file);
                    continue;
                };
                *row += batch.num_rows() as u64;
                let (batch, rejects) = self.shape(group.file, first, &batch)?;
                self.tally.count(group.file, batch.num_rows(), rejects)?;
                return Ok(Some(batch));
            }
            let Some(&group) = self.groups.get(self.next.fetch_add(1, Ordering::AcqRel)) else { return Ok(None) };
            self.tally.rows(group.file, 0);
            let stream = self.open(group).await?;
            self.current = Some((group, group.before + 1, stream));
        }
    }

    async fn open(&mut self, group: Group) -> Result<ParquetRecordBatchStream<ParquetFile>, RunError> {
        let (reader, metadata) = match &self.footer {
            Some((file, reader, metadata)) if *file == group.file => (reader.clone(), metadata.clone()),
            _ => {
                let file = self
                    .files
                    .get(group.file)
                    .ok_or_else(|| RunError::new(Kind::Internal, format!("a source has no file {}", group.file)))?;
                let (reader, metadata) = footer(&self.place, file).await?;
                self.footer = Some((group.file, reader.clone(), metadata.clone()));
                (reader, metadata)
            }
        };
        let names = self.read().filter_map(|c| self.columns.fields().get(c)).map(|f| f.name());
        let roots: Vec<usize> = names.filter_map(|name| metadata.schema().index_of(name).ok()).collect();
        let builder = ParquetRecordBatchStreamBuilder::new_with_metadata(reader, metadata);
        let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
        builder
            .with_projection(mask)
            .with_row_groups(vec![group.index])
            .with_batch_size(self.batch_size)
            .build()
            .map_err(|e| self.error(group.file, e))
    }

    fn error(&self, file: usize, error: ParquetError) -> RunError {
        match self.files.get(file) {
            Some(file) => parquet_error(&self.place, file, error),
            None => RunError::new(Kind::Internal, error.to_string()),
        }
    }

    /// The columns that are read: those that are wanted, then the other fallible ones.
    fn read(&self) -> impl Iterator<Item = usize> {
        let others = self.fallible.iter().filter(|column| !self.wanted.columns.contains(column));
        self.wanted.columns.iter().chain(others).copied()
    }

    /// The columns that are wanted, in their order and in the types of the source, and the row ids; and the rows that do
    /// not fit.
    fn shape(&self, file: usize, first: u64, batch: &RecordBatch) -> Result<(RecordBatch, Vec<Reject>), RunError> {
        let rows = batch.num_rows();
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.wanted.columns.len());
        let mut misfits = Vec::new();
        for column in self.read() {
            let Some(field) = self.columns.fields().get(column) else {
                let ids = (0..rows as u64).map(|i| RowId::new(self.wanted.source, file, first + i).0);
                columns.push(Arc::new(Int64Array::from_iter_values(ids)));
                continue;
            };
            let path = self.files.get(file).map(|f| f.path.as_str()).unwrap_or_default();
            let index = batch.schema().index_of(field.name()).map_err(|_| {
                fault(format!("{}: {path:?} lacks the column {:?}, which it had before", self.place.name, field.name()))
            })?;
            let (array, bad) =
                fit(batch.column(index), field.data_type()).map_err(|e| misfit(&self.place, path, field, &e))?;
            let data_type = field.data_type().clone();
            misfits.extend(bad.map(|rows| Misfits { column: index, data_type, rows }));
            columns.push(array);
        }
        let failed = |e: ArrowError| RunError::new(Kind::Internal, format!("a batch of a source cannot be made: {e}"));
        columns.truncate(self.wanted.columns.len());
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let shaped = RecordBatch::try_new_with_options(Arc::clone(&self.wanted.schema), columns, &options);
        let shaped = shaped.map_err(failed)?;
        let (good, rejects) = judge(batch, &misfits, first);
        let Some(good) = good else { return Ok((shaped, rejects)) };
        Ok((compute::filter_record_batch(&shaped, &good).map_err(failed)?, rejects))
    }
}

async fn footer(place: &Place, file: &InputFile) -> Result<(ParquetFile, ArrowReaderMetadata), RunError> {
    let mut reader = ParquetFile { place: place.clone(), file: file.clone() };
    let metadata = ArrowReaderMetadata::load_async(&mut reader, ArrowReaderOptions::new())
        .await
        .and_then(int96::in_micros)
        .map_err(|e| parquet_error(place, file, e))?;
    Ok((reader, metadata))
}

/// A file, as the Parquet reader wants to have it.
#[derive(Clone)]
struct ParquetFile {
    place: Place,
    file: InputFile,
}

fn wrapped(error: RunError) -> ParquetError {
    ParquetError::External(Box::new(error))
}

impl AsyncFileReader for ParquetFile {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        input::block(self.place.clone(), self.file.clone(), range).map_err(wrapped).boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>, ParquetError>> {
        async move {
            let fetch = |range| input::block(self.place.clone(), self.file.clone(), range);
            object_store::coalesce_ranges(&ranges, fetch, object_store::OBJECT_STORE_COALESCE_DEFAULT)
                .await
                .map_err(wrapped)
        }
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        let size = self.file.size;
        let reader = ParquetMetaDataReader::new()
            .with_metadata_options(options.map(|o| o.metadata_options().clone()))
            .with_prefetch_hint(Some(FOOTER_BYTES));
        async move { reader.load_and_finish(self, size).await.map(Arc::new) }.boxed()
    }
}

fn parquet_error(place: &Place, file: &InputFile, error: ParquetError) -> RunError {
    match error {
        ParquetError::External(inner) => match inner.downcast::<RunError>() {
            Ok(own) => *own,
            Err(other) => fault(format!("{}: {:?} cannot be read: {other}", place.name, file.path)),
        },
        other => fault(format!("{}: {:?} is not a Parquet file that can be read: {other}", place.name, file.path)),
    }
}

fn plain_schema(place: &Place, file: &InputFile, schema: &Schema) -> Result<SchemaRef, RunError> {
    let mut fields: Vec<Field> = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        if field.name() == ROW_COLUMN {
            return Err(fault(format!(
                "{}: {:?} has a column {ROW_COLUMN:?}; that name is reserved",
                place.name, file.path
            )));
        }
        if fields.iter().any(|f| f.name() == field.name()) {
            return Err(fault(format!("{}: {:?} has two columns named {:?}", place.name, file.path, field.name())));
        }
        fields.push(Field::new(field.name(), plain(field.data_type()), true));
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// The names of the columns.
pub fn names(schema: &Schema) -> impl Iterator<Item = &str> {
    schema.fields().iter().map(|field| field.name().as_str())
}

/// What Arrow says of a column that it cannot bring into the type of the source.
pub fn misfit(place: &Place, path: &str, field: &Field, error: &ArrowError) -> RunError {
    fault(format!(
        "{}: {path:?}, column {:?} does not fit the type that it has in the first file: {error}",
        place.name,
        field.name()
    ))
}

/// The columns, in types that hold what a later file has too.
///
/// # Errors
/// `Kind::Source` where one is missing or has another kind of type.
fn widened(place: &Place, file: &InputFile, columns: &Schema, schema: &Schema) -> Result<SchemaRef, RunError> {
    let mut fields = Vec::with_capacity(columns.fields().len());
    for column in columns.fields() {
        let from = found(place, file, column, schema)?;
        let to = widest(column.data_type(), &from).ok_or_else(|| other_kind(place, file, column, &from))?;
        fields.push(Field::new(column.name(), to, true));
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// Checks that a later file has the first one's columns, in types of which some values at least fit.
///
/// # Errors
/// `Kind::Source` where one is missing or has another kind of type.
pub fn check_columns(place: &Place, file: &InputFile, columns: &Schema, schema: &Schema) -> Result<(), RunError> {
    for column in columns.fields() {
        let from = found(place, file, column, schema)?;
        let fits = widest(column.data_type(), &from).is_some_and(|both| match (&both, column.data_type()) {
            // Fewer digits behind the point would be rounded.
            (DataType::Decimal128(_, both), DataType::Decimal128(_, own)) => both == own,
            (both, own) => both == own || both.is_integer() && own.is_integer(),
        });
        if !fits {
            return Err(other_kind(place, file, column, &from));
        }
    }
    Ok(())
}

fn found(place: &Place, file: &InputFile, column: &Field, schema: &Schema) -> Result<DataType, RunError> {
    match schema.field_with_name(column.name()) {
        Ok(field) => Ok(plain(field.data_type())),
        Err(_) => {
            let what = format!("lacks the column {:?}, which the first file has", column.name());
            Err(fault(format!("{}: {:?} {what}", place.name, file.path)))
        }
    }
}

fn other_kind(place: &Place, file: &InputFile, column: &Field, from: &DataType) -> RunError {
    let (name, to) = (column.name(), column.data_type());
    let what = format!("has the column {name:?} as {from}, but the first file has it as {to}");
    fault(format!("{}: {:?} {what}", place.name, file.path))
}
