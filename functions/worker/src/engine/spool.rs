//! Rows on the worker's disk, a line of JSON each, until they are kept elsewhere.

use crate::error::{Kind, RunError};
use serde::Serialize;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A file of them, which is made when the first one comes.
#[derive(Debug)]
pub struct Spool {
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

impl Spool {
    /// None yet, to be kept at `path`.
    pub fn new(path: PathBuf) -> Self {
        Self { path, file: Mutex::default() }
    }

    /// Adds one.
    ///
    /// # Errors
    /// `Kind::Resources` where the disk is full.
    pub fn add(&self, row: &impl Serialize) -> Result<(), RunError> {
        let mut state = self.state();
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

    /// Ends the file and answers its path, however often it is asked for; none where nothing was added.
    ///
    /// # Errors
    /// `Kind::Resources` where the disk is full.
    pub fn finish(&self) -> Result<Option<PathBuf>, RunError> {
        let mut state = self.state();
        if let State::Open(writer) = &mut *state {
            writer.flush().map_err(full)?;
            *state = State::Ended;
        }
        Ok(matches!(*state, State::Ended).then(|| self.path.clone()))
    }

    /// Removes the file, where there is one. What is left is removed when the worker starts.
    pub fn remove(&self) {
        if !matches!(*self.state(), State::None) {
            let _ = std::fs::remove_file(&self.path);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The error of such a file.
pub(super) fn full(error: std::io::Error) -> RunError {
    RunError::new(Kind::Resources, format!("the rejected rows cannot be kept on the worker's disk: {error}"))
}
