//! What the table's log says about one run's commit.

use super::table::{COMMITTED, Place, state};
use super::target::Committed;
use super::watermark::Moved;
use crate::error::{Kind, RunError};
use deltalake::DeltaTable;
use deltalake::kernel::Action;
use deltalake::logstore::get_actions;
use futures::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use shared::models::node::LoadMode;

/// The key of [`Facts`] in `commitInfo`.
pub const FACTS: &str = "flowgate";
/// Log entries that are read at once.
const AT_ONCE: usize = 16;

/// What a run's commit says about itself, in `commitInfo`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    pub run_id: String,
    /// None where the run was settled.
    pub load_mode: Option<LoadMode>,
    pub rows_out: u64,
    pub skipped_rows: u64,
    /// Rows that the run as a whole had rejected when it committed.
    #[serde(default)]
    pub rejected_rows: u64,
    /// How the run moved the watermark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watermark: Option<Moved>,
}

impl Facts {
    /// What the commit with these facts came to.
    pub fn committed(&self, version: u64) -> Committed {
        Committed { rows_out: self.rows_out, skipped: self.skipped_rows, rejected: self.rejected_rows, version }
    }

    /// Those of a commit that keeps a run's rows out.
    pub fn settled(run_id: &str) -> Self {
        Self {
            run_id: run_id.to_owned(),
            load_mode: None,
            rows_out: 0,
            skipped_rows: 0,
            rejected_rows: 0,
            watermark: None,
        }
    }
}

/// A run's commit.
#[derive(Debug, Clone)]
pub struct Entry {
    pub version: u64,
    /// The files that it added.
    pub files: Vec<String>,
    pub facts: Option<Facts>,
}

/// The commit that has the rows of `run_id`, looked for from the newest back.
///
/// # Errors
/// `Kind::Target` where the log no longer reaches back so far; `Kind::TargetUnavailable` where it cannot be read.
pub async fn find(place: &Place, table: &DeltaTable, run_id: &str) -> Result<Entry, RunError> {
    let newest = state(table)?.version();
    let store = table.log_store();
    let mut entries = stream::iter((0..=newest).rev())
        .map(|version| {
            let store = std::sync::Arc::clone(&store);
            async move { (version, store.read_commit_entry(version).await) }
        })
        .buffered(AT_ONCE);
    while let Some((version, bytes)) = entries.next().await {
        let Some(bytes) = bytes.map_err(|e| place.error("read", e))? else { break };
        // Most entries are other runs'; parsing them would be the most work.
        if !contains(&bytes, run_id.as_bytes()) {
            continue;
        }
        let actions = get_actions(version, &bytes).map_err(|e| place.error("read", e))?;
        if let Some(entry) = entry_of(version, actions, run_id) {
            return Ok(entry);
        }
    }
    Err(RunError::new(
        Kind::Target,
        format!(
            "the log of the table of the schema {:?} does not reach back to the commit of the run {run_id} any more",
            place.schema
        ),
    ))
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len().max(1)).any(|window| window == part)
}

fn entry_of(version: u64, actions: Vec<Action>, run_id: &str) -> Option<Entry> {
    let ours = |a: &Action| matches!(a, Action::Txn(txn) if txn.app_id == run_id && txn.version == COMMITTED);
    if !actions.iter().any(ours) {
        return None;
    }
    let mut entry = Entry { version, files: Vec::new(), facts: None };
    for action in actions {
        match action {
            Action::Add(add) => entry.files.push(add.path),
            Action::CommitInfo(info) => {
                entry.facts = info.info.get(FACTS).and_then(|facts| serde_json::from_value(facts.clone()).ok());
            }
            _ => {}
        }
    }
    Some(entry)
}
