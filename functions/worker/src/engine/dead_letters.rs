//! Rejected rows on the worker's disk, whole, until they are written beside the target's table.

use super::spool::{Spool, full};
use crate::error::RunError;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

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
pub struct DeadLetters(Spool);

impl DeadLetters {
    /// None yet, to be kept at `path`.
    pub fn new(path: PathBuf) -> Self {
        Self(Spool::new(path))
    }

    /// Keeps one.
    ///
    /// # Errors
    /// `Kind::Resources` where the disk is full.
    pub fn keep(&self, row: &DeadLetter) -> Result<(), RunError> {
        self.0.add(row)
    }

    /// Ends the file and answers its path; none where nothing was kept.
    ///
    /// # Errors
    /// `Kind::Resources` where the disk is full.
    pub fn finish(&self) -> Result<Option<PathBuf>, RunError> {
        self.0.finish()
    }
}

impl Drop for DeadLetters {
    fn drop(&mut self) {
        self.0.remove();
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
