//! Sources of text (csv, tsv, json, jsonl): what columns they have, and how their files are opened.

use super::chunk::Chunk;
use super::columns::{self, Declared, Expected, Origin, Sample};
use super::csv::{self, CsvFile, Dialect};
use super::decode::Layout;
use super::guess::SAMPLE_ROWS;
use super::json::JsonFile;
use super::place::Place;
use super::{InputFile, files};
use crate::error::{Kind, RunError};
use shared::models::node::{FileFormat, FileOptions};
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use tokio::runtime::Handle;

/// The most files that are opened for the first rows of a source, where the first ones have few.
const SAMPLE_FILES: usize = 2_000;
/// Files that are opened for them however large they are.
const SAMPLE_FILES_AT_LEAST: usize = 20;
/// Bytes, as stored, after which no more files are opened for them, and about the most that are held of them at once.
const SAMPLE_BYTES: u64 = 64 << 20;
/// Files that are opened for them at once, behind the first.
const AT_ONCE: usize = 16;

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
        expected: &Expected,
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
        let first = source.files.first().map(|f| f.path.clone()).unwrap_or_default();
        let origin = Origin { name: &source.place.name, first: &first };
        sample.settle(&mut source.layout, &declared, origin)?;
        Ok(source)
    }

    /// Opens one of the files. Blocks the thread.
    ///
    /// # Errors
    /// `Kind::Source` where the file lacks a column, or has one that the target wants and the first file lacks; as the
    /// store says.
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
        // Of an empty file nothing is read, so it lacks nothing.
        let fields = if csv.is_empty { Arc::from([]) } else { csv::places(&self.place, file, &csv.names, columns)? };
        columns::check_late(&self.place, file, csv.names.iter().map(String::as_str), &self.layout.late)?;
        Ok(TextFile::Csv(Box::new(csv), fields))
    }

    fn sample_csv(&mut self, declared: &Declared<'_>, runtime: &Handle) -> Result<Sample, RunError> {
        let mut names = Vec::new();
        for index in 0..self.files.len() {
            if let TextFile::Csv(csv, _) = self.open_for(index, std::iter::empty(), runtime)?
                && !csv.is_empty
            {
                names = csv.names;
                break;
            }
        }
        self.layout.late = columns::unknown(declared.expected, names.iter().map(String::as_str));
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
            sample.see_record(&self.place.name, text, &self.layout.nulls)
        })
        .map(|estimate| self.estimate = estimate)?;
        Ok(sample)
    }

    /// The first `most` records of a file, or as many of them as there is `room` for, but one chunk at least; and the bytes
    /// that they took.
    fn head(
        &self,
        index: usize,
        columns: &[&str],
        (most, room): (usize, u64),
        runtime: &Handle,
    ) -> Result<(Vec<Chunk>, u64), RunError> {
        let mut file = self.open_for(index, columns.iter().copied(), runtime)?;
        let (mut chunks, mut rows, mut held, mut more) = (Vec::new(), 0, 0_u64, true);
        while more && rows < most && (held < room || chunks.is_empty()) {
            let mut chunk = file.chunk(index);
            more = file.fill(&mut chunk, most - rows)?;
            chunk.bytes.shrink_to_fit();
            rows += chunk.records();
            held += chunk.held() as u64;
            chunks.push(chunk);
        }
        Ok((chunks, file.taken()))
    }

    /// The heads of these files, which are opened at once and share the room.
    fn heads(
        &self,
        files: Range<usize>,
        columns: &[&str],
        most: usize,
        runtime: &Handle,
    ) -> Vec<Result<(Vec<Chunk>, u64), RunError>> {
        let room = SAMPLE_BYTES / files.len().max(1) as u64;
        let head = |index| self.head(index, columns, (most, room), runtime);
        if files.len() == 1 {
            return files.map(head).collect();
        }
        let head = &head;
        let gone = |_| Err(RunError::new(Kind::Internal, "a thread that looked at a file ended unexpectedly"));
        std::thread::scope(|scope| {
            let threads: Vec<_> = files.map(|index| scope.spawn(move || head(index))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(gone)).collect()
        })
    }

    /// Shows the first rows of the source; answers how many there may be in all.
    fn first_rows<'a>(
        &self,
        runtime: &Handle,
        columns: impl Iterator<Item = &'a str> + Clone,
        mut see: impl FnMut(&Chunk, usize) -> Result<(), RunError>,
    ) -> Result<u64, RunError> {
        let columns: Vec<&str> = columns.collect();
        let (mut rows, mut taken, mut next) = (0_usize, 0_u64, 0_usize);
        let most = self.files.len().min(SAMPLE_FILES);
        while next < most && rows < SAMPLE_ROWS && (next < SAMPLE_FILES_AT_LEAST || taken < SAMPLE_BYTES) {
            let files = next..(next + if next == 0 { 1 } else { AT_ONCE }).min(most);
            next = files.end;
            for head in self.heads(files, &columns, SAMPLE_ROWS - rows, runtime) {
                let (chunks, bytes) = head?;
                if rows >= SAMPLE_ROWS {
                    break;
                }
                taken += bytes;
                for chunk in chunks {
                    rows += chunk.records();
                    for record in 0..chunk.rows.len() {
                        see(&chunk, record)?;
                    }
                }
            }
        }
        let size: u64 = self.files.iter().map(|f| f.size).sum();
        let estimate = u128::from(size) * rows as u128 / u128::from(taken.max(1));
        Ok(u64::try_from(estimate).unwrap_or(0).max(rows as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::tests::Root;

    /// The chunks of the first 10,000 records of a file, for each `room`.
    async fn heads(name: &str, text: String, rooms: Vec<u64>) -> Vec<Vec<Chunk>> {
        let root = Root::with(name, text);
        let (place, _) = Place::of(&root.connector(), &root.settings()).await.unwrap();
        let found = files::find(&place, name, None).await.unwrap();
        let runtime = Handle::current();
        let read = move || {
            let source = TextSource::plan(place, found, &FileOptions::default(), &Expected::new(), &runtime).unwrap();
            let head = |room| source.head(0, &[], (SAMPLE_ROWS, room), &runtime).unwrap().0;
            rooms.into_iter().map(head).collect::<Vec<_>>()
        };
        tokio::task::spawn_blocking(read).await.unwrap()
    }

    #[tokio::test]
    async fn no_more_of_a_file_is_held_than_there_is_room_for_but_one_chunk() {
        let record = format!("{{\"t\": \"{}\"}}\n", "x".repeat(100_000));
        let heads = heads("a.jsonl", record.repeat(100), vec![0, 2 << 20, u64::MAX]).await;
        let records = |chunks: &Vec<Chunk>| chunks.iter().map(Chunk::records).sum::<usize>();
        assert_eq!(heads.iter().map(records).collect::<Vec<_>>(), [11, 22, 100]);
        assert!(heads.iter().flatten().all(|chunk| chunk.held() < 2 << 20));
    }

    #[tokio::test]
    async fn refused_records_take_room_too() {
        let text = format!("a,b\n{}", format!("{}\n", "x".repeat(2_000)).repeat(1_000));
        let heads = heads("a.csv", text, vec![1 << 20, u64::MAX]).await;
        let records = |chunks: &Vec<Chunk>| chunks.iter().map(Chunk::records).collect::<Vec<_>>();
        assert_eq!(heads.iter().map(records).collect::<Vec<_>>(), [vec![256, 256, 256], vec![256, 256, 256, 232]]);
    }
}
