//! Sources of text (csv, tsv, json, jsonl): what columns they have, and how their files are opened.

use super::chunk::Chunk;
use super::csv::{self, CsvFile, Dialect};
use super::decode::{Column, Layout};
use super::fields;
use super::guess::{Guess, SAMPLE_ROWS};
use super::json::JsonFile;
use super::parse;
use super::place::{Place, fault};
use super::{InputFile, files};
use crate::engine::progress::ROW_COLUMN;
use crate::error::{Kind, RunError};
use datafusion::arrow::datatypes::DataType;
use shared::models::node::{FileFormat, FileOptions};
use shared::models::schema::Field;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use tokio::runtime::Handle;

/// Files that are opened for the first rows of a source, where the first ones have few.
const SAMPLE_FILES: usize = 20;
/// The most columns of a source.
const MAX_COLUMNS: usize = 5_000;

/// A source of text.
#[derive(Debug)]
pub struct TextSource {
    pub place: Place,
    pub files: Arc<[InputFile]>,
    pub layout: Layout,
    /// How many rows there are, where the first ones tell; 0 where not.
    pub estimate: u64,
    format: FileFormat,
    dialect: Dialect,
    skip: u32,
}

/// One file that is being split.
pub enum TextFile {
    Csv(Box<CsvFile>, Arc<[usize]>),
    Json(Box<JsonFile>),
}

impl TextFile {
    /// An empty chunk for this file's records.
    pub fn chunk(&self, file: usize) -> Chunk {
        match self {
            Self::Csv(csv, fields) => Chunk::new(file, csv.names.len(), Arc::clone(fields)),
            Self::Json(_) => Chunk::new(file, 1, Arc::from([0])),
        }
    }

    /// Puts the next records into `chunk`, until it is full; false at the end of the file.
    ///
    /// # Errors
    /// Where the file is damaged or cannot be read on.
    pub fn fill(&mut self, chunk: &mut Chunk, most_rows: usize) -> Result<bool, RunError> {
        match self {
            Self::Csv(csv, _) => csv.fill(chunk, most_rows),
            Self::Json(json) => json.fill(chunk, most_rows),
        }
    }

    fn taken(&self) -> u64 {
        match self {
            Self::Csv(csv, _) => csv.taken(),
            Self::Json(json) => json.taken(),
        }
    }
}

impl TextSource {
    /// Reads the first rows and settles the columns. Blocks the thread.
    ///
    /// # Errors
    /// `Kind::Source` where the columns cannot be told; `Kind::Definition` where an option cannot be used; as the store
    /// says.
    pub fn plan(
        place: Place,
        found: files::Found,
        options: &FileOptions,
        expected: &HashMap<String, Field>,
        runtime: &Handle,
    ) -> Result<Self, RunError> {
        let is_json = matches!(found.format, FileFormat::Json | FileFormat::Jsonl);
        let nulls = options.null_values.clone();
        let nulls = nulls.unwrap_or_else(|| if is_json { Vec::new() } else { vec![String::new()] });
        let mut source = Self {
            place,
            files: found.files.into(),
            layout: Layout { columns: Vec::new(), nulls, is_json, late: HashSet::new() },
            estimate: 0,
            format: found.format,
            dialect: Dialect::new(found.format, options)?,
            skip: options.skip_rows.unwrap_or(0),
        };
        let declared = Declared { options, expected };
        let sample = if is_json { source.sample_json(runtime)? } else { source.sample_csv(&declared, runtime)? };
        source.settle(sample, &declared)?;
        Ok(source)
    }

    /// Opens one of the files. Blocks the thread.
    ///
    /// # Errors
    /// `Kind::Source` where the file lacks a column; as the store says.
    pub fn open(&self, index: usize, runtime: &Handle) -> Result<TextFile, RunError> {
        let columns = self.layout.columns.iter().map(|c| c.name.as_str());
        self.open_for(index, columns, runtime)
    }

    fn open_for<'a>(
        &self,
        index: usize,
        columns: impl Iterator<Item = &'a str>,
        runtime: &Handle,
    ) -> Result<TextFile, RunError> {
        let file = self
            .files
            .get(index)
            .ok_or_else(|| RunError::new(Kind::Internal, format!("a source has no file {index}")))?;
        if self.layout.is_json {
            let (format, encoding) = (self.format, self.dialect.encoding);
            let json = JsonFile::open(&self.place, file, format, encoding, self.skip, runtime)?;
            return Ok(TextFile::Json(Box::new(json)));
        }
        let csv = CsvFile::open(&self.place, file, &self.dialect, runtime)?;
        let fields = csv::places(&self.place, file, &csv.names, columns)?;
        Ok(TextFile::Csv(Box::new(csv), fields))
    }

    fn sample_csv(&mut self, declared: &Declared<'_>, runtime: &Handle) -> Result<Sample, RunError> {
        let names = match self.open_for(0, std::iter::empty(), runtime)? {
            TextFile::Csv(csv, _) => csv.names,
            TextFile::Json(_) => Vec::new(),
        };
        let mut sample = Sample::default();
        for name in &names {
            sample.add(name);
        }
        // Also where nothing is to be guessed: the rows are counted for the estimate.
        let guessed: Vec<bool> = names.iter().map(|n| declared.data_type(n).is_none()).collect();
        self.first_rows(runtime, names.iter().map(String::as_str), |chunk, record| {
            for (column, guessed) in guessed.iter().enumerate() {
                let field = chunk.fields.get(column).copied().unwrap_or(usize::MAX);
                let bytes = chunk.field(record, field);
                if let (true, Ok(text)) = (guessed, std::str::from_utf8(bytes)) {
                    sample.see(column, |guess| guess.see(text), text, &self.layout.nulls);
                }
            }
            Ok(())
        })
        .map(|estimate| self.estimate = estimate)?;
        Ok(sample)
    }

    fn sample_json(&mut self, runtime: &Handle) -> Result<Sample, RunError> {
        let mut sample = Sample::default();
        self.first_rows(runtime, std::iter::empty(), |chunk, record| {
            let Ok(text) = std::str::from_utf8(chunk.field(record, 0)) else { return Ok(()) };
            let mut members = Vec::new();
            // A record that is not valid is rejected when it is read; its keys do not count.
            let valid = fields::read(text, |key, raw| {
                members.push((key.to_owned(), raw));
                Ok(())
            });
            if valid.is_err() {
                return Ok(());
            }
            for (key, raw) in members {
                let column = sample.add(&key);
                see_json(&mut sample, column, raw, &self.layout.nulls);
            }
            if sample.columns.len() > MAX_COLUMNS {
                return Err(fault(format!(
                    "{}: the records have more than {MAX_COLUMNS} different keys; are there values among the keys?",
                    self.place.name
                )));
            }
            Ok(())
        })
        .map(|estimate| self.estimate = estimate)?;
        Ok(sample)
    }

    /// Shows the first rows of the source; answers how many there may be in all.
    fn first_rows<'a>(
        &self,
        runtime: &Handle,
        columns: impl Iterator<Item = &'a str> + Clone,
        mut see: impl FnMut(&Chunk, usize) -> Result<(), RunError>,
    ) -> Result<u64, RunError> {
        let (mut rows, mut taken) = (0_usize, 0_u64);
        for index in 0..self.files.len().min(SAMPLE_FILES) {
            let mut file = self.open_for(index, columns.clone(), runtime)?;
            let mut more = true;
            while more && rows < SAMPLE_ROWS {
                let mut chunk = file.chunk(index);
                more = file.fill(&mut chunk, SAMPLE_ROWS - rows)?;
                rows += chunk.records();
                for record in 0..chunk.rows.len() {
                    see(&chunk, record)?;
                }
            }
            taken += file.taken();
            if rows >= SAMPLE_ROWS {
                break;
            }
        }
        let size: u64 = self.files.iter().map(|f| f.size).sum();
        let estimate = u128::from(size) * rows as u128 / u128::from(taken.max(1));
        Ok(u64::try_from(estimate).unwrap_or(0).max(rows as u64))
    }

    fn settle(&mut self, sample: Sample, declared: &Declared<'_>) -> Result<(), RunError> {
        let named = declared.options.columns.as_ref();
        for (name, guess) in sample.columns {
            let known = declared.data_type(&name);
            let guessed = known.is_none() && declared.options.infer_types.unwrap_or(true);
            let data_type = known.unwrap_or_else(|| if guessed { guess.data_type() } else { DataType::Utf8 });
            self.layout.columns.push(Column { name, data_type, guessed });
        }
        for name in named.into_iter().flat_map(BTreeMap::keys) {
            if sample.index.contains_key(name) {
                continue;
            }
            let (true, Some(data_type)) = (self.layout.is_json, declared.data_type(name)) else {
                let has: Vec<&str> = self.layout.columns.iter().map(|c| c.name.as_str()).collect();
                return Err(fault(format!(
                    "{}: options.columns names {name:?}, which is no column of {:?} (it has {})",
                    self.place.name,
                    self.files.first().map(|f| f.path.as_str()).unwrap_or_default(),
                    has.join(", ")
                )));
            };
            // A key may be missing from all of the first records.
            self.layout.columns.push(Column { name: name.clone(), data_type, guessed: false });
        }
        if self.layout.is_json {
            self.settle_json(declared)?;
        }
        match self.layout.columns.iter().find(|c| c.name == ROW_COLUMN) {
            Some(_) => {
                Err(fault(format!("{}: the records have a key {ROW_COLUMN:?}; that name is reserved", self.place.name)))
            }
            None if self.layout.columns.len() > MAX_COLUMNS => {
                Err(fault(format!("{}: the files have more than {MAX_COLUMNS} columns", self.place.name)))
            }
            None => Ok(()),
        }
    }

    fn settle_json(&mut self, declared: &Declared<'_>) -> Result<(), RunError> {
        let known: HashSet<&str> = self.layout.columns.iter().map(|c| c.name.as_str()).collect();
        let late: HashSet<String> = declared.expected.keys().filter(|k| !known.contains(k.as_str())).cloned().collect();
        if !self.layout.columns.is_empty() {
            self.layout.late = late;
            return Ok(());
        }
        // No record tells the columns; those that the target wants will do.
        let mut names: Vec<String> = late.into_iter().collect();
        names.sort();
        for name in names {
            let data_type = declared.data_type(&name).unwrap_or(DataType::Utf8);
            self.layout.columns.push(Column { name, data_type, guessed: false });
        }
        if self.layout.columns.is_empty() {
            return Err(fault(format!(
                "{}: no record is in {:?}, so its columns are not known; name them in options.columns",
                self.place.name,
                self.files.first().map(|f| f.path.as_str()).unwrap_or_default()
            )));
        }
        Ok(())
    }
}

fn see_json(sample: &mut Sample, column: usize, raw: &str, nulls: &[String]) {
    match raw.as_bytes().first() {
        None | Some(b'n') => {}
        Some(b'{' | b'[') => sample.see(column, Guess::see_other, raw, &[]),
        // A text with escapes is no date either.
        Some(b'"') => {
            let text = raw.get(1..raw.len() - 1).unwrap_or_default();
            sample.see(column, |guess| guess.see_text(text), text, nulls);
        }
        Some(_) => sample.see(column, |guess| guess.see(raw), raw, nulls),
    }
}

/// What the types of columns are said to be.
struct Declared<'a> {
    options: &'a FileOptions,
    expected: &'a HashMap<String, Field>,
}

impl Declared<'_> {
    fn data_type(&self, column: &str) -> Option<DataType> {
        let named = self.options.columns.as_ref().and_then(|c| c.get(column));
        named
            .map(|&name| parse::arrow_type(name, None, None))
            .or_else(|| self.expected.get(column).map(parse::field_type))
    }
}

/// What the first rows show.
#[derive(Default)]
struct Sample {
    columns: Vec<(String, Guess)>,
    index: HashMap<String, usize>,
}

impl Sample {
    fn add(&mut self, name: &str) -> usize {
        if let Some(&index) = self.index.get(name) {
            return index;
        }
        let index = self.columns.len();
        self.columns.push((name.to_owned(), Guess::default()));
        self.index.insert(name.to_owned(), index);
        index
    }

    fn see(&mut self, column: usize, see: impl FnOnce(&mut Guess), text: &str, nulls: &[String]) {
        if nulls.iter().any(|n| n == text) {
            return;
        }
        if let Some((_, guess)) = self.columns.get_mut(column) {
            see(guess);
        }
    }
}
