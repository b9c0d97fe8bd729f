//! Parses chunks of records into record batches, and says which records do not fit.

use super::chunk::{Chunk, Reject, VALUE_CHARS, excerpt};
use super::{fields, parse};
use crate::engine::progress::RowId;
use crate::error::{Kind, RunError};
use datafusion::arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use std::collections::HashSet;
use std::sync::Arc;

/// A column of a source of text.
#[derive(Debug, Clone)]
pub struct Column {
    pub name: String,
    pub data_type: DataType,
    /// Whether the type was guessed, so that a later value must be written as the guessing would have it.
    pub guessed: bool,
}

/// What the records of a source hold.
#[derive(Debug, Clone)]
pub struct Layout {
    pub columns: Vec<Column>,
    /// Texts that mean null.
    pub nulls: Vec<String>,
    pub is_json: bool,
    /// Columns that the target wants and that the first file does not have, or keys of JSON that the first rows do not have:
    /// if one comes later, leaving it out would lose data.
    pub late: HashSet<String>,
}

/// What is wanted of each chunk.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The schema of the batches.
    pub schema: SchemaRef,
    /// For each of its columns the index in the layout; one past the end is the row id.
    pub columns: Vec<usize>,
    /// The index of the source, for row ids.
    pub source: usize,
}

/// What became of a chunk: the records that fit, and those that do not.
#[derive(Debug)]
pub struct Decoded {
    pub batch: RecordBatch,
    pub rejects: Vec<Reject>,
}

/// Records of a chunk that do not fit, found so far.
struct Bad<'a> {
    chunk: &'a Chunk,
    layout: &'a Layout,
    bad: Vec<bool>,
    rejects: Vec<Reject>,
}

impl Bad<'_> {
    /// Refuses a record; only the first reason counts.
    fn refuse(&mut self, record: usize, column: &str, value: Option<&[u8]>, reason: String) {
        match self.bad.get_mut(record) {
            Some(bad) if !*bad => *bad = true,
            _ => return,
        }
        let row = self.chunk.rows.get(record).copied().unwrap_or_default();
        self.rejects.push(Reject {
            row,
            column: column.to_owned(),
            value: value.map(|v| excerpt(v, VALUE_CHARS)),
            reason,
            whole: self.whole(record),
        });
    }

    /// A record as JSON text.
    fn whole(&self, record: usize) -> Option<String> {
        if self.layout.is_json {
            return std::str::from_utf8(self.chunk.field(record, 0)).ok().map(str::to_owned);
        }
        let columns = self.layout.columns.iter().zip(self.chunk.fields.iter());
        let object: serde_json::Map<_, _> = columns
            .map(|(column, field)| {
                let text = String::from_utf8_lossy(self.chunk.field(record, *field)).into_owned();
                (column.name.clone(), text.into())
            })
            .collect();
        Some(serde_json::Value::Object(object).to_string())
    }
}

/// Parses a chunk. All columns are parsed, also those that nobody wants: which records are rejected must not depend on
/// who reads them.
///
/// # Errors
/// `Kind::Internal` where the batch cannot be made.
pub fn decode(chunk: &Chunk, layout: &Layout, wanted: &Wanted) -> Result<Decoded, RunError> {
    let records = chunk.rows.len();
    let mut bad = Bad { chunk, layout, bad: vec![false; records], rejects: Vec::new() };
    let arrays =
        if layout.is_json { json(chunk, layout, wanted, &mut bad) } else { csv(chunk, layout, wanted, &mut bad) };
    let ids: Int64Array = chunk.rows.iter().map(|&row| RowId::new(wanted.source, chunk.file, row).0).collect();
    let ids: ArrayRef = Arc::new(ids);
    let mut columns: Vec<ArrayRef> =
        wanted.columns.iter().map(|&c| arrays.get(c).cloned().flatten().unwrap_or_else(|| Arc::clone(&ids))).collect();
    let mut kept = records;
    if !bad.rejects.is_empty() {
        let good: BooleanArray = bad.bad.iter().map(|&bad| Some(!bad)).collect();
        kept = good.true_count();
        for column in &mut columns {
            *column = compute::filter(column, &good).map_err(failed)?;
        }
    }
    let options = RecordBatchOptions::new().with_row_count(Some(kept));
    let batch = RecordBatch::try_new_with_options(Arc::clone(&wanted.schema), columns, &options).map_err(failed)?;
    Ok(Decoded { batch, rejects: bad.rejects })
}

fn failed(error: datafusion::arrow::error::ArrowError) -> RunError {
    RunError::new(Kind::Internal, format!("a batch of a source cannot be made: {error}"))
}

fn csv(chunk: &Chunk, layout: &Layout, wanted: &Wanted, bad: &mut Bad<'_>) -> Vec<Option<ArrayRef>> {
    let whole = all_text(chunk);
    if whole.is_none() {
        refuse_broken_text(chunk, layout, bad);
    }
    let nulls = Nulls::of(layout);
    let records = chunk.rows.len();
    let mut arrays = Vec::with_capacity(layout.columns.len());
    for (index, column) in layout.columns.iter().enumerate() {
        let is_wanted = wanted.columns.contains(&index);
        if !is_wanted && column.data_type == DataType::Utf8 {
            arrays.push(None);
            continue;
        }
        let field = chunk.fields.get(index).copied().unwrap_or(usize::MAX);
        let text = |record: usize| {
            let (start, end) = chunk.span(record, field);
            let text = match whole {
                Some(whole) => whole.get(start..end),
                None => chunk.bytes.get(start..end).and_then(|b| std::str::from_utf8(b).ok()),
            };
            text.filter(|t| !nulls.contain(t))
        };
        let array = parse::parse_column(&column.data_type, column.guessed, records, text, |record, value, reason| {
            bad.refuse(record, &column.name, Some(value.as_bytes()), reason);
        });
        arrays.push(is_wanted.then_some(array));
    }
    arrays
}

/// The chunk's bytes as text; none where a field is not UTF-8.
fn all_text(chunk: &Chunk) -> Option<&str> {
    let text = std::str::from_utf8(&chunk.bytes).ok()?;
    let cut = !text.is_ascii() && chunk.ends.iter().any(|&end| !text.is_char_boundary(end as usize));
    (!cut).then_some(text)
}

fn refuse_broken_text(chunk: &Chunk, layout: &Layout, bad: &mut Bad<'_>) {
    for record in 0..chunk.rows.len() {
        for field in 0..chunk.width {
            let bytes = chunk.field(record, field);
            if std::str::from_utf8(bytes).is_err() {
                let column = chunk.fields.iter().position(|&f| f == field).and_then(|c| layout.columns.get(c));
                let name = column.map_or("", |c| c.name.as_str());
                bad.refuse(record, name, Some(bytes), NOT_UTF8.to_owned());
            }
        }
    }
}

const NOT_UTF8: &str = "the text is not UTF-8; if the file is Latin-1, set options.encoding to latin1";

/// Which texts mean null.
struct Nulls<'a> {
    words: &'a [String],
    only_empty: bool,
}

impl<'a> Nulls<'a> {
    fn of(layout: &'a Layout) -> Self {
        let words = layout.nulls.as_slice();
        Self { words, only_empty: matches!(words, [only] if only.is_empty()) }
    }

    fn contain(&self, text: &str) -> bool {
        if self.only_empty { text.is_empty() } else { self.words.iter().any(|w| w == text) }
    }

    /// Whether a value of JSON is null or means it.
    fn are(&self, raw: &str) -> bool {
        let text = raw.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(raw);
        raw == "null" || self.contain(text)
    }
}

fn json(chunk: &Chunk, layout: &Layout, wanted: &Wanted, bad: &mut Bad<'_>) -> Vec<Option<ArrayRef>> {
    let nulls = Nulls::of(layout);
    let width = layout.columns.len();
    let records = chunk.rows.len();
    let mut cells = fields::Cells::new(records, width);
    let mut names = fields::Names::new(layout.columns.iter().map(|c| c.name.as_str()));
    for record in 0..records {
        let (start, _) = chunk.span(record, 0);
        let bytes = chunk.field(record, 0);
        let Ok(text) = std::str::from_utf8(bytes) else {
            bad.refuse(record, "", Some(bytes), NOT_UTF8.to_owned());
            continue;
        };
        let fault = fields::read(text, |key, raw| {
            match names.index(key) {
                Some(column) => cells.set(record, column, start, text, raw),
                None if layout.late.contains(key) && !nulls.are(raw) => {
                    let reason = format!(
                        "the key {key:?} is not in the rows that told the columns (the first {}, or fewer large ones); name it \
                         in options.columns",
                        super::guess::SAMPLE_ROWS
                    );
                    return Err((key.to_owned(), reason));
                }
                None => Ok(()),
            }
            .map_err(|reason| (key.to_owned(), reason))
        });
        if let Err((column, reason)) = fault {
            bad.refuse(record, &column, Some(bytes), reason);
            cells.clear(record);
        }
    }
    let mut arrays = Vec::with_capacity(width);
    for (index, column) in layout.columns.iter().enumerate() {
        let is_wanted = wanted.columns.contains(&index);
        if !is_wanted && column.data_type == DataType::Utf8 {
            arrays.push(None);
            continue;
        }
        let text = |record: usize| cells.get(&chunk.bytes, record, index).filter(|t| !nulls.contain(t));
        let array = parse::parse_column(&column.data_type, column.guessed, records, text, |record, value, reason| {
            bad.refuse(record, &column.name, Some(value.as_bytes()), reason);
        });
        arrays.push(is_wanted.then_some(array));
    }
    arrays
}
