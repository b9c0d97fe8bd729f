//! Splits csv and tsv files into records.

use super::InputFile;
use super::chunk::{CHUNK_BYTES, Chunk, MAX_RECORD, Reject, VALUE_CHARS, excerpt};
use super::input::{self, Input};
use super::place::{Place, fault};
use crate::engine::progress::ROW_COLUMN;
use crate::error::{Kind, RunError};
use csv_core::{ReadRecordResult, Reader, ReaderBuilder};
use shared::models::node::{Encoding, FileFormat, FileOptions};
use std::collections::HashSet;
use std::io::BufRead;
use std::sync::Arc;
use tokio::runtime::Handle;

/// The most fields of a record.
const MAX_FIELDS: usize = 100_000;

/// How records are written.
#[derive(Debug, Clone)]
pub struct Dialect {
    delimiter: u8,
    quote: u8,
    escape: Option<u8>,
    header: bool,
    skip: u32,
    /// Whether the columns are named, so that an empty file has no rows of them.
    declared: bool,
    pub encoding: Encoding,
}

impl Dialect {
    /// The dialect that a format and options make.
    ///
    /// # Errors
    /// `Kind::Definition` where an option is no single ASCII character.
    pub fn new(format: FileFormat, options: &FileOptions) -> Result<Self, RunError> {
        let delimiter = if format == FileFormat::Tsv { b'\t' } else { b',' };
        let delimiter = one("delimiter", options.delimiter.as_deref())?.unwrap_or(delimiter);
        let quote = one("quote", options.quote.as_deref())?.unwrap_or(b'"');
        if delimiter == quote {
            return Err(RunError::new(Kind::Definition, "options: delimiter and quote must not be the same character"));
        }
        Ok(Self {
            delimiter,
            quote,
            escape: one("escape", options.escape.as_deref())?.filter(|&e| e != quote),
            header: options.header.unwrap_or(true),
            skip: options.skip_rows.unwrap_or(0),
            declared: options.columns.as_ref().is_some_and(|columns| !columns.is_empty()),
            encoding: options.encoding.unwrap_or(Encoding::Utf8),
        })
    }
}

fn one(option: &str, text: Option<&str>) -> Result<Option<u8>, RunError> {
    match text.map(str::as_bytes) {
        None => Ok(None),
        Some(&[byte]) if byte.is_ascii() && !matches!(byte, b'\n' | b'\r' | 0) => Ok(Some(byte)),
        Some(_) => Err(RunError::new(
            Kind::Definition,
            format!("options.{option} {text:?} is not one ASCII character", text = text.unwrap_or_default()),
        )),
    }
}

/// One file that is being split.
pub struct CsvFile {
    place: Place,
    file: InputFile,
    input: Input,
    core: Reader,
    delimiter: u8,
    /// Where the fields of the record at hand end, from its start.
    ends: Vec<usize>,
    /// Empty lines before the first record, which are rows where there is one column.
    blanks: u64,
    /// The first record, where it had to be read to know the columns.
    first: Option<(Vec<u8>, usize)>,
    /// The names of the file's columns.
    pub names: Vec<String>,
    /// Whether there is nothing in it, not even a header.
    pub is_empty: bool,
    row: u64,
    /// Whether the file ends inside quotes; known at its end.
    unclosed: Option<bool>,
    /// Whether the last record ended with a carriage return, of whose line break a line feed may be the rest.
    after_return: bool,
}

impl CsvFile {
    /// Opens a file and reads its header. Blocks the thread.
    ///
    /// # Errors
    /// `Kind::Source` where the file is empty or its header cannot be used; as the store says.
    pub fn open(place: &Place, file: &InputFile, dialect: &Dialect, runtime: &Handle) -> Result<Self, RunError> {
        let mut input = input::open(place, file, dialect.encoding, runtime)?;
        input::skip_lines(place, file, &mut input, dialect.skip)?;
        let core = ReaderBuilder::new()
            .delimiter(dialect.delimiter)
            .quote(dialect.quote)
            .escape(dialect.escape)
            .double_quote(true)
            .build();
        let mut this = Self {
            place: place.clone(),
            file: file.clone(),
            input,
            core,
            delimiter: dialect.delimiter,
            ends: vec![0; 64],
            blanks: 0,
            first: None,
            names: Vec::new(),
            is_empty: false,
            row: 0,
            unclosed: None,
            after_return: false,
        };
        let mut blanks = 0;
        while !dialect.header && this.blank()? {
            blanks += 1;
        }
        let mut bytes = vec![0; 4096];
        let Some((fields, used)) = this.record(&mut bytes, 0)? else {
            if dialect.declared {
                this.is_empty = true;
                return Ok(this);
            }
            let what = if dialect.header { "not even a header" } else { "no row to count the columns of" };
            let skipped = if dialect.skip > 0 { " after the lines that skipRows leaves out" } else { "" };
            let hint = "name the columns in options.columns where empty files are to be expected";
            return Err(this.fault(format!("is empty{skipped}: it has {what}; {hint}")));
        };
        bytes.truncate(used);
        if dialect.header {
            this.names = this.header(&bytes, fields)?;
        } else {
            this.names = (1..=fields).map(|i| format!("column_{i}")).collect();
            this.blanks = if fields == 1 { blanks } else { 0 };
            this.first = Some((bytes, fields));
        }
        Ok(this)
    }

    /// Bytes of the file that have been taken so far, as they are stored.
    pub fn taken(&self) -> u64 {
        self.input.taken.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn fault(&self, text: String) -> RunError {
        fault(format!("{}: {:?} {text}", self.place.name, self.file.path))
    }

    fn header(&self, bytes: &[u8], fields: usize) -> Result<Vec<String>, RunError> {
        let mut names = Vec::with_capacity(fields);
        let mut seen = HashSet::with_capacity(fields);
        let mut start = 0;
        for (index, &end) in self.ends.iter().take(fields).enumerate() {
            let name = bytes.get(start..end).unwrap_or_default();
            start = end;
            let name = match std::str::from_utf8(name) {
                Ok("") => format!("column_{}", index + 1),
                Ok(name) => name.to_owned(),
                Err(_) => {
                    let name = String::from_utf8_lossy(name);
                    return Err(self.fault(format!(
                        "has a header that is not UTF-8 (column {}, {name:?}); if it is Latin-1, set options.encoding to latin1",
                        index + 1
                    )));
                }
            };
            if name == ROW_COLUMN {
                return Err(self.fault(format!("has a column {name:?}; that name is reserved")));
            }
            if !seen.insert(name.clone()) {
                return Err(self.fault(format!(
                    "has two columns named {name:?}; rename one, or read it with options header: false and skipRows: 1"
                )));
            }
            names.push(name);
        }
        Ok(names)
    }

    /// Puts the next records into `chunk`, until it is full; false at the end of the file.
    ///
    /// # Errors
    /// `Kind::Source` where the file is damaged or a record is too long; as the store says.
    pub fn fill(&mut self, chunk: &mut Chunk, most_rows: usize) -> Result<bool, RunError> {
        let mut bytes = std::mem::take(&mut chunk.bytes);
        let mut used = 0;
        bytes.resize(CHUNK_BYTES + (CHUNK_BYTES >> 3), 0);
        let mut more = true;
        while self.blanks > 0 && !chunk.is_full(used, most_rows) {
            self.blanks -= 1;
            self.take_blank(chunk, used);
        }
        if !chunk.is_full(used, most_rows)
            && let Some((first, fields)) = self.first.take()
        {
            used = first.len();
            bytes.splice(..used.min(bytes.len()), first);
            self.row += 1;
            self.take(chunk, 0, fields);
        }
        while !chunk.is_full(used, most_rows) {
            if self.names.len() == 1 && self.blank()? {
                self.take_blank(chunk, used);
                continue;
            }
            let Some((fields, length)) = self.record(&mut bytes, used)? else {
                more = false;
                break;
            };
            self.row += 1;
            if fields == chunk.width && self.unclosed != Some(true) {
                self.take(chunk, used, fields);
                used += length;
            } else {
                let record = bytes.get(used..used + length).unwrap_or_default();
                chunk.rejects.push(self.refuse(record, fields, chunk.width));
            }
        }
        bytes.truncate(used);
        chunk.bytes = bytes;
        Ok(more)
    }

    /// Whether the next line is empty, which is taken then. Where there is one column, it is a row whose field is empty, as
    /// databases write null; where there are several, it is none.
    fn blank(&mut self) -> Result<bool, RunError> {
        loop {
            let input = self.input.reader.fill_buf();
            let next = input.map_err(|e| input::read_error(&self.place, &self.file, e))?.first().copied();
            let after_return = std::mem::replace(&mut self.after_return, next == Some(b'\r'));
            match next {
                Some(b'\n') if after_return => self.input.reader.consume(1),
                Some(b'\n' | b'\r') => {
                    self.input.reader.consume(1);
                    return Ok(true);
                }
                _ => return Ok(false),
            }
        }
    }

    fn take(&self, chunk: &mut Chunk, base: usize, fields: usize) {
        // A chunk is far below 4 GiB: CHUNK_BYTES and one record at most.
        chunk.ends.extend(self.ends.iter().take(fields).map(|&end| (base + end) as u32));
        chunk.rows.push(self.row);
    }

    /// Takes an empty line as a row of one empty field.
    fn take_blank(&mut self, chunk: &mut Chunk, base: usize) {
        self.row += 1;
        chunk.ends.push(base as u32);
        chunk.rows.push(self.row);
    }

    /// A record with too few or too many fields, or one whose quote is never closed.
    fn refuse(&self, record: &[u8], fields: usize, width: usize) -> Reject {
        let column = self.names.get(fields).cloned().unwrap_or_default();
        if self.unclosed == Some(true) {
            // The line break that was put behind the end is none of the file's.
            let record = record.strip_suffix(b"\n").unwrap_or(record);
            let whole = self.listed(record, fields);
            let opened = fields.checked_sub(2).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
            let record = record.get(opened..).unwrap_or_default();
            let lines = record.strip_suffix(b"\n").unwrap_or(record).iter().filter(|&&b| b == b'\n').count() + 1;
            let reason = format!(
                "a quote is opened that is never closed: the row takes the {lines} lines to the end of the file"
            );
            let column = fields.checked_sub(1).and_then(|last| self.names.get(last)).cloned().unwrap_or_default();
            return Reject { row: self.row, column, value: Some(excerpt(record, VALUE_CHARS)), reason, whole };
        }
        let whole = self.listed(record, fields);
        if fields < width {
            let reason =
                format!("the row has {fields} fields instead of {width}; {column:?} is the first that is missing");
            return Reject { row: self.row, column, value: Some(self.joined(record, fields)), reason, whole };
        }
        let start = width.checked_sub(1).and_then(|last| self.ends.get(last)).copied().unwrap_or(0);
        let end = self.ends.get(width).copied().unwrap_or(start);
        let extra = record.get(start..end).unwrap_or_default();
        Reject {
            row: self.row,
            column: String::new(),
            value: Some(excerpt(extra, VALUE_CHARS)),
            reason: format!("the row has {fields} fields instead of {width}; a delimiter within a value needs quotes"),
            whole,
        }
    }

    /// The fields of the record at hand.
    fn fields<'r>(&self, record: &'r [u8], fields: usize) -> impl Iterator<Item = &'r [u8]> {
        let mut start = 0;
        self.ends.iter().take(fields).map(move |&end| {
            let end = end.min(record.len());
            let field = record.get(start..end).unwrap_or_default();
            start = end;
            field
        })
    }

    /// The fields of a record in one text, for a report.
    fn joined(&self, record: &[u8], fields: usize) -> String {
        let mut whole = Vec::with_capacity(record.len() + fields);
        for (index, field) in self.fields(record, fields).enumerate() {
            if index > 0 {
                whole.push(self.delimiter);
            }
            whole.extend_from_slice(field);
        }
        excerpt(&whole, VALUE_CHARS)
    }

    /// All fields of a record as JSON text: which columns they belong to is not known.
    fn listed(&self, record: &[u8], fields: usize) -> Option<String> {
        let fields: Vec<_> = self.fields(record, fields).map(String::from_utf8_lossy).collect();
        Some(serde_json::json!({ "record": fields }).to_string())
    }

    /// Reads one record to `out[from..]`: how many fields, whose ends are in `self.ends`, and bytes; none at the end.
    fn record(&mut self, out: &mut Vec<u8>, from: usize) -> Result<Option<(usize, usize)>, RunError> {
        let (mut used, mut fields) = (0, 0);
        loop {
            let input = match self.input.reader.fill_buf() {
                Ok(input) => input,
                Err(e) => return Err(input::read_error(&self.place, &self.file, e)),
            };
            // A line break at the end changes nothing, unless the file ends inside quotes: then it becomes part of the field.
            let at_end = input.is_empty() && self.unclosed.is_none();
            let input = if at_end { b"\n".as_slice() } else { input };
            let room = out.get_mut(from + used..).unwrap_or_default();
            let ends = self.ends.get_mut(fields..).unwrap_or_default();
            let (result, taken, written, ended) = self.core.read_record(input, room, ends);
            self.after_return = taken.checked_sub(1).and_then(|last| input.get(last)) == Some(&b'\r');
            match at_end {
                false => self.input.reader.consume(taken),
                true if taken == 1 => self.unclosed = Some(written == 1),
                true => {}
            }
            used += written;
            fields += ended;
            match result {
                ReadRecordResult::Record => return Ok(Some((fields, used))),
                ReadRecordResult::End => return Ok(None),
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull if used < MAX_RECORD => out.resize(out.len() * 2, 0),
                ReadRecordResult::OutputEndsFull if fields < MAX_FIELDS => self.ends.resize(self.ends.len() * 2, 0),
                ReadRecordResult::OutputFull => {
                    return Err(self.fault(format!(
                        "has a row {} (near line {}) of more than {} MB; most likely a quote in it is never closed",
                        self.row + 1,
                        self.core.line(),
                        MAX_RECORD >> 20
                    )));
                }
                ReadRecordResult::OutputEndsFull => {
                    return Err(self.fault(format!("has a row {} of more than {MAX_FIELDS} fields", self.row + 1)));
                }
            }
        }
    }
}

/// For each of `columns` its place among the file's names.
///
/// # Errors
/// `Kind::Source` where one is missing; names it, and the nearest name there is.
pub fn places<'a>(
    place: &Place,
    file: &InputFile,
    names: &[String],
    columns: impl Iterator<Item = &'a str>,
) -> Result<Arc<[usize]>, RunError> {
    columns
        .map(|column| {
            names.iter().position(|name| name == column).ok_or_else(|| {
                let near = match shared::error::nearest(column, names.iter().map(String::as_str)) {
                    Some(near) => format!("; did you mean {near:?}?"),
                    None => String::new(),
                };
                fault(format!(
                    "{}: {:?} lacks the column {column:?}, which the first file has (it has {}){near}",
                    place.name,
                    file.path,
                    names.join(", ")
                ))
            })
        })
        .collect()
}
