//! Rejected rows on the worker's disk, whole, until they are written beside the target's table.

use crate::error::{Kind, RunError};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// One rejected row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The id of the node that rejected it.
    pub node: String,
    /// The row in its file, from 1; none where the row has no identity any more.
    pub row: Option<u64>,
    /// The file that it came from.
    pub file: Option<String>,
    pub column: String,
    pub value: Option<String>,
    pub reason: String,
    /// The row as JSON text, as much of it as is known where it was rejected.
    pub data: Option<String>,
}

/// A file of them, which is made when the first one comes and removed with this.
#[derive(Debug)]
pub struct DeadLetters {
    path: PathBuf,
    file: Mutex<State>,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    None,
    Open(BufWriter<File>),
    Ended,
}

impl DeadLetters {
    /// None yet, to be kept at `path`.
    pub fn new(path: PathBuf) -> Self {
        Self { path, file: Mutex::default() }
    }

    /// Keeps one.
    ///
    /// # Errors
    /// `Kind::Resources` where the disk is full.
    pub fn keep(&self, row: &DeadLetter) -> Result<(), RunError> {
        let mut state = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(*state, State::Open(_)) {
            // After its end it goes on where it was.
            let file = match *state {
                State::Ended => File::options().append(true).open(&self.path),
                _ => File::create(&self.path),
            };
            *state = State::Open(BufWriter::new(file.map_err(full)?));
        }
        let State::Open(writer) = &mut *state else { return Ok(()) };
        serde_json::to_writer(&mut *writer, row).map_err(|e| full(e.into()))?;
        writer.write_all(b"\n").map_err(full)
    }

    /// Ends the file and answers its path; none where nothing was kept.
    ///
    /// # Errors
    /// `Kind::Resources` where the disk is full.
    pub fn finish(&self) -> Result<Option<PathBuf>, RunError> {
        let mut state = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Open(writer) = &mut *state {
            writer.flush().map_err(full)?;
            *state = State::Ended;
        }
        Ok(matches!(*state, State::Ended).then(|| self.path.clone()))
    }
}

impl Drop for DeadLetters {
    fn drop(&mut self) {
        if !matches!(*self.file.lock().unwrap_or_else(PoisonError::into_inner), State::None) {
            // What is left is removed when the worker starts.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// The rows in such a file.
///
/// # Errors
/// `Kind::Resources` where it cannot be opened; each row where it cannot be read.
pub fn read(path: &Path) -> Result<impl Iterator<Item = Result<DeadLetter, RunError>> + Send + use<>, RunError> {
    let lines = BufReader::new(File::open(path).map_err(full)?).lines();
    Ok(lines.map(|line| serde_json::from_str(&line.map_err(full)?).map_err(|e| full(e.into()))))
}

fn full(error: std::io::Error) -> RunError {
    RunError::new(Kind::Resources, format!("the rejected rows cannot be kept on the worker's disk: {error}"))
}
