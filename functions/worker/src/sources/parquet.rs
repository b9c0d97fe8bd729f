//! Reads Parquet files: row groups in parallel, each row with its number in its file.

use super::InputFile;
use super::decode::Wanted;
use super::input;
use super::place::{Place, fault};
use super::tally::Tally;
use crate::engine::progress::{ROW_COLUMN, RowId};
use crate::error::{Kind, RunError};
use bytes::Bytes;
use datafusion::arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::parquet::arrow::ProjectionMask;
use datafusion::parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use datafusion::parquet::arrow::async_reader::{
    AsyncFileReader, ParquetRecordBatchStream, ParquetRecordBatchStreamBuilder,
};
use datafusion::parquet::errors::ParquetError;
use datafusion::parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use futures::future::BoxFuture;
use futures::{FutureExt, Stream, StreamExt, TryFutureExt, TryStreamExt, stream};
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
    /// The columns of the first file, with plain types.
    columns: SchemaRef,
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
    /// `Kind::Source` where a file is no Parquet or lacks a column; as the store says.
    pub async fn plan(place: Place, files: Arc<[InputFile]>, most_rows: Option<usize>) -> Result<Self, RunError> {
        let footers = stream::iter(files.iter().cloned()).map(|file| {
            let place = place.clone();
            async move { footer(&place, &file).await.map(|(_, metadata)| (file, metadata)) }
        });
        let mut footers = footers.buffered(FOOTERS).enumerate();
        let (mut groups, mut rows, mut bytes) = (Vec::new(), 0, 0);
        let mut columns: Option<SchemaRef> = None;
        while let Some((index, footer)) = footers.next().await {
            let (file, metadata) = footer?;
            match &columns {
                None => columns = Some(plain_schema(&place, &file, metadata.schema())?),
                Some(columns) => check_columns(&place, &file, columns, metadata.schema())?,
            }
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
        Ok(Self { place, files, columns, groups: groups.into(), rows, bytes })
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
                let batch = self.shape(group.file, first, &batch)?;
                self.tally.count(group.file, batch.num_rows(), Vec::new())?;
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
        let names = self.wanted.columns.iter().filter_map(|&c| self.columns.fields().get(c)).map(|f| f.name());
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

    /// The columns that are wanted, in their order and with plain types, and the row ids.
    fn shape(&self, file: usize, first: u64, batch: &RecordBatch) -> Result<RecordBatch, RunError> {
        let rows = batch.num_rows();
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.wanted.columns.len());
        for &column in &self.wanted.columns {
            let Some(field) = self.columns.fields().get(column) else {
                let ids = (0..rows as u64).map(|i| RowId::new(self.wanted.source, file, first + i).0);
                columns.push(Arc::new(Int64Array::from_iter_values(ids)));
                continue;
            };
            let path = self.files.get(file).map(|f| f.path.as_str()).unwrap_or_default();
            let array = batch.column_by_name(field.name()).ok_or_else(|| {
                fault(format!("{}: {path:?} lacks the column {:?}, which it had before", self.place.name, field.name()))
            })?;
            columns.push(fitted(&self.place, path, field, array)?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.wanted.schema), columns, &options)
            .map_err(|e| RunError::new(Kind::Internal, format!("a batch of a source cannot be made: {e}")))
    }
}

async fn footer(place: &Place, file: &InputFile) -> Result<(ParquetFile, ArrowReaderMetadata), RunError> {
    let mut reader = ParquetFile { place: place.clone(), file: file.clone() };
    let metadata = ArrowReaderMetadata::load_async(&mut reader, ArrowReaderOptions::new())
        .await
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

/// A column in the type that it has in the first file.
///
/// # Errors
/// `Kind::Source` where a value does not fit it.
pub fn fitted(place: &Place, path: &str, field: &Field, array: &ArrayRef) -> Result<ArrayRef, RunError> {
    if array.data_type() == field.data_type() {
        return Ok(Arc::clone(array));
    }
    let exact = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(array, field.data_type(), &exact).map_err(|e| {
        fault(format!(
            "{}: {path:?}, column {:?} does not fit the type that it has in the first file: {e}",
            place.name,
            field.name()
        ))
    })
}

/// The plain type of a dictionary, a view or a run-end encoded column.
pub fn plain(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Dictionary(_, values) => plain(values),
        DataType::RunEndEncoded(_, values) => plain(values.data_type()),
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
        other => other.clone(),
    }
}

/// Checks that a later file has the first one's columns, in types that fit.
///
/// # Errors
/// `Kind::Source` where one is missing or has another type.
pub fn check_columns(place: &Place, file: &InputFile, columns: &Schema, schema: &Schema) -> Result<(), RunError> {
    for column in columns.fields() {
        let Ok(field) = schema.field_with_name(column.name()) else {
            return Err(fault(format!(
                "{}: {:?} lacks the column {:?}, which the first file has",
                place.name,
                file.path,
                column.name()
            )));
        };
        let (from, to) = (plain(field.data_type()), column.data_type());
        let fits = from == *to
            || from.is_integer() && to.is_integer()
            || matches!((&from, to), (DataType::Float32, DataType::Float64) | (DataType::Date32, DataType::Date64))
            || matches!((&from, to), (DataType::Timestamp(_, a), DataType::Timestamp(_, b)) if a == b)
            || matches!((&from, to), (DataType::Decimal128(_, a), DataType::Decimal128(_, b)) if a <= b);
        if !fits {
            return Err(fault(format!(
                "{}: {:?} has the column {:?} as {from}, but the first file has it as {to}",
                place.name,
                file.path,
                column.name()
            )));
        }
    }
    Ok(())
}
