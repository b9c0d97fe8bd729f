//! What the table's log says about one run's commit.

use super::table::{COMMITTED, Place, state};
use super::target::Committed;
use super::watermark::Moved;
use crate::error::{Kind, RunError};
use bytes::Bytes;
use deltalake::DeltaTable;
use deltalake::kernel::Action;
use deltalake::logstore::get_actions;
use futures::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use shared::canonical;
use shared::models::node::LoadMode;
use std::collections::{HashMap, HashSet};

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
    /// The attempt that committed; 0 where it is not known.
    #[serde(default)]
    pub attempt: u32,
    /// The table's version when the attempt opened it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_version: Option<u64>,
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
            attempt: 0,
            read_version: None,
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
    /// The files that it removed.
    pub removed: Vec<String>,
    /// Bytes and rows of the added files.
    pub bytes: u64,
    pub records: u64,
    /// The table's properties, where the commit has set them.
    pub properties: Option<HashMap<String, String>>,
    /// `sha256:…` of the entry's bytes.
    pub hash: String,
    pub facts: Option<Facts>,
}

impl Entry {
    /// The files that this version of the table names or the one before it.
    pub fn named(&self) -> HashSet<&str> {
        self.files.iter().chain(&self.removed).map(String::as_str).collect()
    }
}

/// The commit that has the rows of `run_id`, looked for from the newest back.
///
/// # Errors
/// `Kind::Target` where the log no longer reaches back so far; `Kind::TargetUnavailable` where it cannot be read.
pub async fn find(place: &Place, table: &DeltaTable, run_id: &str) -> Result<Entry, RunError> {
    newest_of(place, table, state(table)?.version(), run_id).await?.ok_or_else(|| {
        RunError::new(
            Kind::Target,
            format!(
                "the log of the table of the schema {:?} does not reach back to the commit of the run {run_id} any more",
                place.schema
            ),
        )
    })
}

/// The newest commit of `run_id` up to `version`; none where the log has none any more.
///
/// # Errors
/// `Kind::TargetUnavailable` where the log cannot be read.
pub async fn newest_of(
    place: &Place,
    table: &DeltaTable,
    version: u64,
    run_id: &str,
) -> Result<Option<Entry>, RunError> {
    let store = table.log_store();
    let mut entries = stream::iter((0..=version).rev())
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
        if let Some(entry) = entry_of(place, version, &bytes, run_id)? {
            return Ok(Some(entry));
        }
    }
    Ok(None)
}

/// The commit that made `version`, if it has the rows of `run_id`.
///
/// # Errors
/// `Kind::TargetUnavailable` where the log cannot be read.
pub async fn read(place: &Place, table: &DeltaTable, version: u64, run_id: &str) -> Result<Option<Entry>, RunError> {
    match table.log_store().read_commit_entry(version).await.map_err(|e| place.error("read", e))? {
        Some(bytes) => entry_of(place, version, &bytes, run_id),
        None => Ok(None),
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len().max(1)).any(|window| window == part)
}

fn entry_of(place: &Place, version: u64, bytes: &Bytes, run_id: &str) -> Result<Option<Entry>, RunError> {
    let actions = get_actions(version, bytes).map_err(|e| place.error("read", e))?;
    let ours = |a: &Action| matches!(a, Action::Txn(txn) if txn.app_id == run_id && txn.version == COMMITTED);
    if !actions.iter().any(ours) {
        return Ok(None);
    }
    let mut entry = Entry {
        version,
        files: Vec::new(),
        removed: Vec::new(),
        bytes: 0,
        records: 0,
        properties: None,
        hash: canonical::hash_of(bytes),
        facts: None,
    };
    for action in actions {
        match action {
            Action::Add(add) => {
                entry.bytes += u64::try_from(add.size).unwrap_or(0);
                entry.records += records(add.stats.as_deref());
                entry.files.push(add.path);
            }
            Action::Remove(remove) => entry.removed.push(remove.path),
            Action::Metadata(metadata) => entry.properties = Some(metadata.configuration().clone()),
            Action::CommitInfo(info) => {
                entry.facts = info.info.get(FACTS).and_then(|facts| serde_json::from_value(facts.clone()).ok());
            }
            _ => {}
        }
    }
    Ok(Some(entry))
}

/// The rows of a file, by its statistics.
pub fn records(stats: Option<&str>) -> u64 {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Stats {
        #[serde(default)]
        num_records: u64,
    }
    stats.and_then(|text| serde_json::from_str::<Stats>(text).ok()).map_or(0, |stats| stats.num_records)
}
