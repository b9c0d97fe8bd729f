//! Reads Avro object container files: a thread a file, each row with its number in its file.

mod framing;

use self::framing::{Framed, Verdict};
use super::InputFile;
use super::chunk::Reject;
use super::columns::{self, Expected};
use super::decode::Wanted;
use super::fit::{self, Misfits};
use super::input;
use super::parquet;
use super::place::{Place, fault};
use crate::engine::progress::{ROW_COLUMN, RowId};
use crate::error::{Kind, RunError};
use arrow_avro::reader::{Reader, ReaderBuilder};
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, StringArray, UnionArray,
};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::util::display::array_value_to_string;
use std::collections::HashSet;
use std::io::{BufReader, Read};
use std::sync::Arc;
use tokio::runtime::Handle;

/// Bytes between a file and the reader of blocks.
const BUFFER: usize = 256 << 10;

/// Rows that are read to learn how wide they are.
const SAMPLE_ROWS: usize = 16;

/// A source of Avro files.
#[derive(Debug)]
pub struct AvroSource {
    place: Place,
    pub files: Arc<[InputFile]>,
    /// The columns of the first file, with plain types.
    pub columns: SchemaRef,
    /// Columns that the target wants and that the first file lacks.
    late: HashSet<String>,
    /// About how many bytes a row takes, if there is one.
    pub row_bytes: Option<u64>,
}

/// One file that is being read.
pub struct AvroFile {
    place: Place,
    file: InputFile,
    reader: Reader<BufReader<Box<dyn Read + Send>>>,
    verdict: Verdict,
    columns: SchemaRef,
    row: u64,
}

/// Rows of a file.
#[derive(Debug)]
pub struct Batch {
    /// The index of the file in the source.
    pub file: usize,
    /// The number of the first row, from 1.
    pub first: u64,
    /// The source's columns.
    pub rows: RecordBatch,
    /// Which of the rows fit; all where it is none.
    good: Option<BooleanArray>,
    rejects: Vec<Reject>,
}

impl AvroSource {
    /// Reads the header and the first rows of the first file. Blocks the thread.
    ///
    /// # Errors
    /// `Kind::Source` where it is no Avro file; as the store says.
    pub fn plan(
        place: Place,
        files: Arc<[InputFile]>,
        expected: &Expected,
        runtime: &Handle,
    ) -> Result<Self, RunError> {
        let Some(first) = files.first() else { return Err(RunError::new(Kind::Internal, "a source has no files")) };
        let (mut reader, _) = open(&place, first, SAMPLE_ROWS, runtime)?;
        let columns = plain_schema(&place, first, &reader.schema())?;
        let late = columns::unknown(expected, parquet::names(&columns));
        // What is wrong with them is told when they are read.
        let sample = reader.next().and_then(Result::ok).filter(|sample| sample.num_rows() > 0);
        let row_bytes = sample.map(|sample| (sample.get_array_memory_size() / sample.num_rows()) as u64);
        Ok(Self { place, files, columns, late, row_bytes })
    }

    /// Opens one of the files. Blocks the thread.
    ///
    /// # Errors
    /// `Kind::Source` where the file is no Avro file or lacks a column, or has one that the target wants and the first file
    /// lacks; as the store says.
    pub fn open(&self, index: usize, batch_size: usize, runtime: &Handle) -> Result<AvroFile, RunError> {
        let missing = || RunError::new(Kind::Internal, format!("a source has no file {index}"));
        let file = self.files.get(index).ok_or_else(missing)?;
        let (reader, verdict) = open(&self.place, file, batch_size, runtime)?;
        let own = plain_schema(&self.place, file, &reader.schema())?;
        parquet::check_columns(&self.place, file, &self.columns, &own)?;
        columns::check_late(&self.place, file, parquet::names(&own), &self.late)?;
        let (place, file, columns) = (self.place.clone(), file.clone(), Arc::clone(&self.columns));
        Ok(AvroFile { place, file, reader, verdict, columns, row: 0 })
    }
}

impl AvroFile {
    /// The next rows; none at the end of the file. Blocks the thread.
    ///
    /// # Errors
    /// `Kind::Source` where the file is damaged; as the store says.
    pub fn next(&mut self, index: usize) -> Result<Option<Batch>, RunError> {
        let batch = match self.reader.next() {
            None => return Ok(None),
            Some(Ok(batch)) => batch,
            Some(Err(error)) => {
                let near = format!(" (after row {})", self.row);
                return Err(failed(&self.place, &self.file, &self.verdict, error, &near));
            }
        };
        let schema = batch.schema();
        let mut columns = Vec::with_capacity(self.columns.fields().len());
        let mut plain = Vec::with_capacity(columns.capacity());
        let mut misfits = Vec::new();
        for (index, field) in self.columns.fields().iter().enumerate() {
            let own = schema.field_with_name(field.name()).ok().zip(batch.column_by_name(field.name()));
            let own = own.map(|(own, array)| plain_array(own, array));
            let array = own.ok_or_else(|| {
                fault(format!("{}: {:?} lacks the column {:?}", self.place.name, self.file.path, field.name()))
            })?;
            let array = array.map_err(|e| failed(&self.place, &self.file, &self.verdict, e, ""))?;
            let (fitted, bad) = fit::fit(&array, field.data_type())
                .map_err(|e| parquet::misfit(&self.place, &self.file.path, field, &e))?;
            let data_type = field.data_type().clone();
            misfits.extend(bad.map(|rows| Misfits { column: index, data_type, rows }));
            columns.push(fitted);
            plain.push((field.name().as_str(), array, true));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let rows = RecordBatch::try_new_with_options(Arc::clone(&self.columns), columns, &options)
            .map_err(|e| failed(&self.place, &self.file, &self.verdict, e, ""))?;
        let first = self.row + 1;
        self.row += rows.num_rows() as u64;
        let (mut good, mut rejects) = (None, Vec::new());
        if !misfits.is_empty() {
            let read = RecordBatch::try_from_iter_with_nullable(plain)
                .map_err(|e| failed(&self.place, &self.file, &self.verdict, e, ""))?;
            (good, rejects) = fit::judge(&read, &misfits, first);
        }
        Ok(Some(Batch { file: index, first, rows, good, rejects }))
    }
}

impl Batch {
    /// Cuts off what is more than `rows` rows.
    pub fn truncate(&mut self, rows: usize) {
        if rows < self.rows.num_rows() {
            self.rows = self.rows.slice(0, rows);
            self.good = self.good.take().map(|good| good.slice(0, rows));
            self.rejects.retain(|reject| reject.row < self.first + rows as u64);
        }
    }

    /// The columns that are wanted, and the row ids; and the rows that do not fit.
    ///
    /// # Errors
    /// `Kind::Internal` where the batch cannot be made.
    pub fn shape(self, wanted: &Wanted) -> Result<(RecordBatch, Vec<Reject>), RunError> {
        let rows = self.rows.num_rows();
        let ids = || -> ArrayRef {
            let id = |i| RowId::new(wanted.source, self.file, self.first + i).0;
            Arc::new(Int64Array::from_iter_values((0..rows as u64).map(id)))
        };
        let columns = wanted.columns.iter().map(|&c| match self.rows.columns().get(c) {
            Some(column) => Arc::clone(column),
            None => ids(),
        });
        let failed = |e: ArrowError| RunError::new(Kind::Internal, format!("a batch of a source cannot be made: {e}"));
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let shaped = RecordBatch::try_new_with_options(Arc::clone(&wanted.schema), columns.collect(), &options);
        let shaped = shaped.map_err(failed)?;
        let Some(good) = &self.good else { return Ok((shaped, self.rejects)) };
        Ok((filter_record_batch(&shaped, good).map_err(failed)?, self.rejects))
    }
}

type Opened = (Reader<BufReader<Box<dyn Read + Send>>>, Verdict);

fn open(place: &Place, file: &InputFile, batch_size: usize, runtime: &Handle) -> Result<Opened, RunError> {
    let verdict = Verdict::default();
    let framed: Box<dyn Read + Send> = Box::new(Framed::new(input::bytes(place, file, runtime)?.0, verdict.clone()));
    ReaderBuilder::new()
        .with_batch_size(batch_size)
        .build(BufReader::with_capacity(BUFFER, framed))
        .map(|reader| (reader, verdict.clone()))
        .map_err(|e| failed(place, file, &verdict, e, ""))
}

fn failed(place: &Place, file: &InputFile, verdict: &Verdict, error: ArrowError, near: &str) -> RunError {
    // What the store or the decompressor said lies inside.
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(error) = cause {
        if let Some(own) = error.downcast_ref::<RunError>() {
            return own.clone();
        }
        cause = error.source();
    }
    let what = verdict.explain().map_or_else(|| format!("cannot be read as Avro{near}: {error}"), str::to_owned);
    fault(format!("{}: {:?} {what}", place.name, file.path))
}

fn plain_schema(place: &Place, file: &InputFile, schema: &Schema) -> Result<SchemaRef, RunError> {
    let mut fields: Vec<Field> = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        if field.name() == ROW_COLUMN {
            let reserved = format!("has a column {ROW_COLUMN:?}; that name is reserved");
            return Err(fault(format!("{}: {:?} {reserved}", place.name, file.path)));
        }
        fields.push(Field::new(field.name(), plain(field), true));
    }
    Ok(Arc::new(Schema::new(fields)))
}

fn is_uuid(field: &Field) -> bool {
    *field.data_type() == DataType::FixedSizeBinary(16)
        && field.metadata().get("logicalType").is_some_and(|name| name == "uuid")
}

/// Texts in the place of UUIDs, of unions of several types and of nothing at all.
fn plain(field: &Field) -> DataType {
    match field.data_type() {
        DataType::Union(..) | DataType::Null => DataType::Utf8,
        _ if is_uuid(field) => DataType::Utf8,
        other => fit::plain(other),
    }
}

fn plain_array(field: &Field, array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    if let Some(union) = array.as_any().downcast_ref::<UnionArray>() {
        return Ok(Arc::new(union_texts(union)?));
    }
    if is_uuid(field) {
        let texts = array
            .as_fixed_size_binary()
            .iter()
            .map(|v| v.and_then(|v| uuid::Uuid::from_slice(v).ok()).map(|id| id.to_string()));
        return Ok(Arc::new(texts.collect::<StringArray>()));
    }
    Ok(Arc::clone(array))
}

fn union_texts(union: &UnionArray) -> Result<StringArray, ArrowError> {
    let text = |row: usize| {
        let value = union.value(row);
        if value.is_null(0) || *value.data_type() == DataType::Null {
            Ok(None)
        } else {
            array_value_to_string(&value, 0).map(Some)
        }
    };
    (0..union.len()).map(text).collect()
}
