//! What came to a table after a run's commit, and which of it depends on the run.

use super::Refusal;
use crate::targets::log::FACTS;
use crate::targets::table::Place;
use deltalake::DeltaTable;
use deltalake::kernel::Action;
use deltalake::logstore::get_actions;
use futures::{StreamExt, stream};
use serde_json::Value;
use shared::models::node::LoadMode;
use std::collections::HashSet;
use std::sync::Arc;

/// Log entries that are read at once.
const AT_ONCE: usize = 16;
/// Commits that a refusal names.
const NAMED: usize = 5;

/// A commit that came later.
#[derive(Debug)]
pub struct Later {
    pub version: u64,
    pub run: Option<String>,
    pub rollback_of: Option<String>,
    pub load_mode: Option<LoadMode>,
    operation: Option<String>,
    /// Whether other rows are in the table since.
    pub changes_rows: bool,
    pub removed: HashSet<String>,
}

impl Later {
    fn of(version: u64, actions: Vec<Action>) -> Self {
        let mut later = Self {
            version,
            run: None,
            rollback_of: None,
            load_mode: None,
            operation: None,
            changes_rows: false,
            removed: HashSet::new(),
        };
        for action in actions {
            match action {
                Action::Add(add) => later.changes_rows |= add.data_change,
                Action::Remove(remove) => {
                    later.changes_rows |= remove.data_change;
                    later.removed.insert(remove.path);
                }
                Action::CommitInfo(info) => {
                    let facts = info.info.get(FACTS).cloned().unwrap_or(Value::Null);
                    let text = |key: &str| facts.get(key).and_then(Value::as_str).map(str::to_owned);
                    (later.run, later.rollback_of) = (text("runId"), text("rollbackOf"));
                    later.load_mode = facts.get("loadMode").and_then(|mode| serde_json::from_value(mode.clone()).ok());
                    later.operation = info.operation;
                }
                _ => {}
            }
        }
        later
    }

    /// Who made it, for people.
    fn author(&self) -> String {
        match (&self.rollback_of, &self.run, &self.operation) {
            (Some(run), ..) => format!("the rollback of {run} (version {})", self.version),
            (None, Some(run), _) => format!("{run} (version {})", self.version),
            (None, None, Some(operation)) => format!("version {} ({operation})", self.version),
            (None, None, None) => format!("version {}", self.version),
        }
    }

    /// Whether it only added rows.
    pub fn appends(&self) -> bool {
        matches!(self.load_mode, Some(LoadMode::Append | LoadMode::IncrementalWatermark)) && self.removed.is_empty()
    }
}

/// The commits from `from` to the version in which `table` was loaded.
///
/// # Errors
/// `LOG_CLEANED` where one is not there any more; where the lake does not answer.
pub async fn read(place: &Place, table: &DeltaTable, from: u64) -> Result<Vec<Later>, Refusal> {
    let store = table.log_store();
    let mut entries = stream::iter(from..=super::newest(table)?)
        .map(|version| {
            let store = Arc::clone(&store);
            async move { (version, store.read_commit_entry(version).await) }
        })
        .buffered(AT_ONCE);
    let mut found = Vec::new();
    while let Some((version, bytes)) = entries.next().await {
        let Some(bytes) = bytes.map_err(|e| place.error("read", e))? else {
            return Err(Refusal::new(
                "LOG_CLEANED",
                format!(
                    "whether something depends on the run cannot be told: the log of the table of the schema {:?} has no version \
                     {version} any more",
                    place.schema
                ),
            ));
        };
        found.push(Later::of(version, get_actions(version, &bytes).map_err(|e| place.error("read", e))?));
    }
    Ok(found)
}

/// Those of `later` that changed rows and still count: a run that was undone, and what undid it, cancel each other out.
pub fn standing(later: &[Later]) -> Vec<&Later> {
    let undone: HashSet<&str> = later.iter().filter_map(|commit| commit.rollback_of.as_deref()).collect();
    let runs: HashSet<&str> = later.iter().filter_map(|commit| commit.run.as_deref()).collect();
    let gone = |commit: &&Later| {
        commit.run.as_deref().is_some_and(|run| undone.contains(run))
            || commit.rollback_of.as_deref().is_some_and(|run| runs.contains(run))
    };
    later.iter().filter(|commit| commit.changes_rows && !gone(commit)).collect()
}

/// The names of these commits.
pub fn names(commits: &[&Later]) -> String {
    let first: Vec<String> = commits.iter().take(NAMED).map(|commit| commit.author()).collect();
    match commits.len().saturating_sub(NAMED) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(version: u64, run: Option<&str>, rollback_of: Option<&str>) -> Later {
        Later {
            version,
            run: run.map(str::to_owned),
            rollback_of: rollback_of.map(str::to_owned),
            load_mode: run.map(|_| LoadMode::Append),
            operation: Some("WRITE".to_owned()),
            changes_rows: true,
            removed: HashSet::new(),
        }
    }

    #[test]
    fn a_later_run_that_was_undone_does_not_count() {
        let later = [commit(3, Some("run_b"), None), commit(4, Some("run_c"), None), commit(5, None, Some("run_b"))];
        assert_eq!(names(&standing(&later)), "run_c (version 4)");
        // What undid an earlier run has changed rows that were there before.
        let later = [commit(3, None, Some("run_a"))];
        assert_eq!(names(&standing(&later)), "the rollback of run_a (version 3)");
    }

    #[test]
    fn of_many_commits_the_first_are_named() {
        let later: Vec<Later> = (0..7).map(|version| commit(version, None, None)).collect();
        assert!(names(&standing(&later)).ends_with("version 4 (WRITE) and 2 more"));
    }
}
