//! What went wrong at a database, before it is known whether it was read or written.

use crate::error::{Kind, RunError};

/// Whether waiting can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// The server is not there, was lost, or is busy.
    Away,
    /// The server said no, and would say so again.
    Refused,
}

/// An error of a database. The message names no secret.
#[derive(Debug, Clone)]
pub struct Fault {
    pub what: What,
    pub message: String,
}

impl Fault {
    /// The error of a run that reads the database.
    pub fn source(self) -> RunError {
        RunError::new(if self.what == What::Away { Kind::SourceUnavailable } else { Kind::Source }, self.message)
    }

    /// The error of a run that writes the database.
    pub fn target(self) -> RunError {
        RunError::new(if self.what == What::Away { Kind::TargetUnavailable } else { Kind::Target }, self.message)
    }
}
