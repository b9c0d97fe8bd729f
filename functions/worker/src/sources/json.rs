//! Splits json and jsonl files into the texts of their records.

use super::InputFile;
use super::chunk::{Chunk, MAX_RECORD, Reject, VALUE_CHARS, excerpt, unparsed};
use super::input::{self, Input};
use super::place::{Place, fault};
use crate::error::RunError;
use shared::models::node::{Encoding, FileFormat};
use std::io::{BufRead, Read};
use tokio::runtime::Handle;

/// One file that is being split.
pub struct JsonFile {
    place: Place,
    file: InputFile,
    input: Input,
    layout: Layout,
    row: u64,
}

/// How records follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// One a line.
    Lines,
    /// Nothing is read yet.
    Unknown,
    /// Objects, one after the other.
    Sequence,
    /// An array, before its first element.
    ArrayStart,
    /// An array, after an element.
    Array,
    /// Everything is read.
    End,
}

impl JsonFile {
    /// Opens a file. Blocks the thread.
    ///
    /// # Errors
    /// As the store says, or where the file is damaged.
    pub fn open(
        place: &Place,
        file: &InputFile,
        format: FileFormat,
        encoding: Encoding,
        skip: u32,
        runtime: &Handle,
    ) -> Result<Self, RunError> {
        let mut input = input::open(place, file, encoding, runtime)?;
        let layout = if format == FileFormat::Jsonl { Layout::Lines } else { Layout::Unknown };
        if layout == Layout::Lines {
            input::skip_lines(place, file, &mut input, skip)?;
        }
        Ok(Self { place: place.clone(), file: file.clone(), input, layout, row: 0 })
    }

    /// Bytes of the file that have been taken so far, as they are stored.
    pub fn taken(&self) -> u64 {
        self.input.taken.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn fault(&self, text: &str) -> RunError {
        fault(format!("{}: {:?} {text}", self.place.name, self.file.path))
    }

    fn too_long(&self) -> RunError {
        self.fault(&format!("has a record {} of more than {} MB", self.row + 1, MAX_RECORD >> 20))
    }

    /// Puts the next records into `chunk`, until it is full; false at the end of the file.
    ///
    /// # Errors
    /// `Kind::Source` where the file is damaged, is no JSON or a record is too long; as the store says.
    pub fn fill(&mut self, chunk: &mut Chunk, most_rows: usize) -> Result<bool, RunError> {
        while !chunk.is_full(chunk.bytes.len(), most_rows) {
            let start = chunk.bytes.len();
            let found = match self.layout {
                Layout::Lines => self.line(&mut chunk.bytes)?,
                _ => self.element(&mut chunk.bytes)?,
            };
            if !found {
                return Ok(false);
            }
            self.row += 1;
            let record = chunk.bytes.get(start..).unwrap_or_default();
            if record.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{') {
                // A chunk is far below 4 GiB: CHUNK_BYTES and one record at most.
                chunk.ends.push(chunk.bytes.len() as u32);
                chunk.rows.push(self.row);
            } else {
                let reason = "the record is not a JSON object, such as {\"id\": 1}".to_owned();
                let value = Some(excerpt(record, VALUE_CHARS));
                let whole = unparsed(record);
                chunk.rejects.push(Reject { row: self.row, column: String::new(), value, reason, whole });
                chunk.bytes.truncate(start);
            }
        }
        Ok(true)
    }

    fn line(&mut self, out: &mut Vec<u8>) -> Result<bool, RunError> {
        let start = out.len();
        loop {
            let mut limited = (&mut self.input.reader).take(MAX_RECORD as u64 + 1);
            let read = limited.read_until(b'\n', out);
            match read.map_err(|e| input::read_error(&self.place, &self.file, e))? {
                0 => return Ok(false),
                n if n > MAX_RECORD => return Err(self.too_long()),
                _ => {}
            }
            let length = out.get(start..).unwrap_or_default().trim_ascii_end().len();
            out.truncate(start + length);
            if length > 0 {
                return Ok(true);
            }
        }
    }

    /// The next byte that is not white space; it is not taken.
    fn peek(&mut self) -> Result<Option<u8>, RunError> {
        loop {
            let buffer = match self.input.reader.fill_buf() {
                Ok(buffer) => buffer,
                Err(e) => return Err(input::read_error(&self.place, &self.file, e)),
            };
            if buffer.is_empty() {
                return Ok(None);
            }
            let space = buffer.iter().take_while(|b| b.is_ascii_whitespace()).count();
            let found = buffer.get(space).copied();
            self.input.reader.consume(space);
            if found.is_some() {
                return Ok(found);
            }
        }
    }

    fn element(&mut self, out: &mut Vec<u8>) -> Result<bool, RunError> {
        loop {
            let next = self.peek()?;
            match (self.layout, next) {
                (Layout::End, None) => return Ok(false),
                (Layout::End, Some(_)) => return Err(self.fault("goes on after the end of its array")),
                (Layout::Unknown, None) => {
                    return Err(self.fault("is empty; a json file is an array of objects, or one object"));
                }
                (Layout::Unknown, Some(b'[')) => {
                    self.input.reader.consume(1);
                    self.layout = Layout::ArrayStart;
                }
                (Layout::Unknown, Some(b'{')) => self.layout = Layout::Sequence,
                (Layout::Unknown, Some(_)) => {
                    return Err(self.fault("is neither an array of JSON objects nor one object"));
                }
                (Layout::Sequence, None) => {
                    self.layout = Layout::End;
                    return Ok(false);
                }
                (Layout::Array | Layout::ArrayStart, None) => {
                    return Err(self.fault("ends in the middle of its array; it was not written or copied to its end"));
                }
                (Layout::Array | Layout::ArrayStart, Some(b']')) => {
                    self.input.reader.consume(1);
                    self.layout = Layout::End;
                }
                (Layout::Array, Some(b',')) => {
                    self.input.reader.consume(1);
                    if matches!(self.peek()?, Some(b']' | b',')) {
                        return Err(self.fault(&format!("has a comma too many after record {}", self.row)));
                    }
                    self.value(out)?;
                    return Ok(true);
                }
                (Layout::Array, Some(_)) => {
                    return Err(self.fault(&format!("lacks a comma or the closing bracket after record {}", self.row)));
                }
                (Layout::ArrayStart, Some(_)) => {
                    self.layout = Layout::Array;
                    self.value(out)?;
                    return Ok(true);
                }
                (Layout::Sequence, Some(b'{')) => {
                    self.value(out)?;
                    return Ok(true);
                }
                (Layout::Sequence, Some(_)) => {
                    return Err(
                        self.fault(&format!("goes on with something else than an object after record {}", self.row))
                    );
                }
                (Layout::Lines, _) => return Ok(false),
            }
        }
    }

    /// Copies one value to `out`, by its brackets alone: whether it is JSON shows when it is parsed.
    fn value(&mut self, out: &mut Vec<u8>) -> Result<(), RunError> {
        let start = out.len();
        let mut scan = Scan::default();
        loop {
            let buffer = match self.input.reader.fill_buf() {
                Ok(buffer) => buffer,
                Err(e) => return Err(input::read_error(&self.place, &self.file, e)),
            };
            if buffer.is_empty() {
                if scan.depth == 0 && !scan.quoted {
                    return Ok(());
                }
                return Err(self.fault(&format!(
                    "ends in the middle of record {}; it was not written or copied to its end",
                    self.row + 1
                )));
            }
            let (taken, done) = scan.run(buffer);
            out.extend_from_slice(buffer.get(..taken).unwrap_or_default());
            self.input.reader.consume(taken);
            if done {
                return Ok(());
            }
            if out.len() - start > MAX_RECORD {
                return Err(self.too_long());
            }
        }
    }
}

/// Where in a value a scan stands.
#[derive(Debug, Default)]
struct Scan {
    depth: usize,
    quoted: bool,
    escaped: bool,
}

impl Scan {
    /// How many of these bytes belong to the value, and whether it ends with them.
    fn run(&mut self, bytes: &[u8]) -> (usize, bool) {
        for (index, &byte) in bytes.iter().enumerate() {
            if self.quoted {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.quoted = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.quoted = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' if self.depth > 0 => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return (index + 1, true);
                    }
                }
                // A value without brackets ends before what follows it.
                b',' | b']' | b'}' if self.depth == 0 => return (index, true),
                b'\n' | b' ' | b'\t' | b'\r' if self.depth == 0 => return (index, true),
                _ => {}
            }
        }
        (bytes.len(), false)
    }
}
