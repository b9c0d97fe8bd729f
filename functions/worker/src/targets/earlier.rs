//! What the table says about a run and those that it retries, and how their rows are taken out again.

use super::log::{self, Entry};
use super::rejected;
use super::table::{COMMITTED, closing_id, rolled_back, state, transaction};
use super::target::Target;
use super::widen::successors;
use crate::error::{Kind, RunError};
use deltalake::DeltaTable;
use deltalake::kernel::Action;
use shared::models::node::LoadMode;
use std::collections::HashMap;

/// What the table says about this run and those that it retries.
#[derive(Debug, Default)]
pub struct Look {
    /// The run whose commit has the rows.
    pub done_by: Option<String>,
    /// The run whose rows are to be taken out again.
    pub replaces: Option<String>,
}

impl Target {
    /// The newest earlier run that is in decides; the older ones were replaced by it.
    ///
    /// # Errors
    /// `Kind::Superseded` where the run was settled; `Kind::TargetUnavailable`.
    pub(super) async fn look(&self) -> Result<Look, RunError> {
        let is_closed = self.is_closed().await?;
        match transaction(&self.place, &self.table, &self.run_id).await? {
            Some(COMMITTED) if !is_closed && self.replaces_own && self.is_of_attempt_before().await? => {
                return Ok(Look { done_by: None, replaces: Some(self.run_id.clone()) });
            }
            Some(COMMITTED) => return Ok(Look { done_by: Some(self.run_id.clone()), replaces: None }),
            Some(_) => {
                return Err(RunError::new(
                    Kind::Superseded,
                    "the run was settled as not committed, so that its rows can no longer be written",
                ));
            }
            None if is_closed => {
                return Err(RunError::new(
                    Kind::Superseded,
                    "a later attempt has ended the run without these rejected rows",
                ));
            }
            None => {}
        }
        for earlier in &self.earlier {
            if transaction(&self.place, &self.table, &earlier.run_id).await? == Some(COMMITTED) {
                // Its rows were taken out again: those that it had replaced are there instead.
                if rolled_back(&self.place, &self.table, &earlier.run_id).await? {
                    continue;
                }
                let run = Some(earlier.run_id.clone());
                return Ok(match (earlier.replace, self.mode) {
                    (false, _) => Look { done_by: run, replaces: None },
                    (true, LoadMode::Append | LoadMode::IncrementalWatermark) => Look { done_by: None, replaces: run },
                    // The others put the rows in the place of the earlier ones by themselves.
                    (true, LoadMode::Truncate | LoadMode::Upsert) => Look::default(),
                });
            }
        }
        Ok(Look::default())
    }

    /// Whether a later attempt has found the run's rows in their tables, so that the rejected ones beside them stay as they are.
    async fn is_closed(&self) -> Result<bool, RunError> {
        if !rejected::is_one(&self.schema.id) {
            return Ok(false);
        }
        let by = transaction(&self.place, &self.table, &closing_id(&self.run_id)).await?;
        Ok(by.is_some_and(|by| by > i64::from(self.attempt)))
    }

    /// Whether the run's rows in the table are those of an attempt before this one.
    ///
    /// # Errors
    /// `Kind::TargetUnavailable`.
    pub(super) async fn is_of_attempt_before(&self) -> Result<bool, RunError> {
        match log::find(&self.place, &self.table, &self.run_id).await {
            Ok(entry) => Ok(entry.facts.is_some_and(|facts| facts.attempt < self.attempt)),
            Err(error) if error.kind == Kind::Target => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Takes out the rows that `run` appended.
    ///
    /// # Errors
    /// `Kind::Target` where they can no longer be told from others; `Kind::TargetUnavailable`.
    pub(super) async fn replace(&mut self, run: &str) -> Result<Vec<Action>, RunError> {
        let files = match self.replaced.take() {
            Some(files) => files,
            None => self.appended(run).await?.files,
        };
        let paths = self.current(run, &files)?;
        self.replaced = Some(files);
        let log = state(&self.table)?.log_data();
        let ours = log.iter().filter(|file| paths.iter().any(|path| *path == file.path()));
        Ok(ours.map(|file| Action::Remove(file.remove_action(true))).collect())
    }

    /// The commit of a run that only added rows.
    ///
    /// # Errors
    /// `Kind::Target` where it merged them, or the log does not reach back to it; `Kind::TargetUnavailable`.
    pub(super) async fn appended(&self, run: &str) -> Result<Entry, RunError> {
        let entry = log::find(&self.place, &self.table, run).await?;
        if entry.facts.as_ref().and_then(|facts| facts.load_mode) == Some(LoadMode::Upsert) {
            return Err(RunError::new(
                Kind::Target,
                format!(
                    "the run {run}, which this one retries, merged its rows into the table; they cannot be told apart and taken out again"
                ),
            ));
        }
        Ok(entry)
    }

    /// What is in the table now of the `files` of `run`: they themselves, or what stands for them since a type was widened.
    ///
    /// # Errors
    /// `Kind::Target` where one is missing.
    pub(super) fn current(&self, run: &str, files: &[String]) -> Result<Vec<String>, RunError> {
        standing(&self.table, files)?
            .into_iter()
            .map(|path| {
                path.ok_or_else(|| {
                    RunError::new(
                        Kind::Target,
                        format!(
                            "the rows of the run {run}, which this one retries and replaces, were rewritten since (by an \
                             upsert, a truncate or another tool), so that they cannot be taken out again; start a new run instead"
                        ),
                    )
                })
            })
            .collect()
    }
}

/// What is in the table now of each of `files`: it itself, or what stands for it since a type was widened; none where it
/// was rewritten or removed.
///
/// # Errors
/// `Kind::Internal` where the table was not loaded.
pub(super) fn standing(table: &DeltaTable, files: &[String]) -> Result<Vec<Option<String>>, RunError> {
    let mut all: HashMap<String, String> = HashMap::new();
    for file in state(table)?.log_data().iter() {
        let path = file.path().to_string();
        // `a/b.parquet` is found by itself; what stands for it lies in the folder of its successors.
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
        for (at, _) in folder.match_indices('/') {
            all.insert(folder.get(..at).unwrap_or_default().to_owned(), path.clone());
        }
        all.insert(folder, path.clone());
        all.insert(path.clone(), path);
    }
    Ok(files.iter().map(|path| all.get(path).or_else(|| all.get(successors(path).as_ref())).cloned()).collect())
}
