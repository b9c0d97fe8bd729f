//! A table's `_delta_log` as files: what each commit says, without the library that wrote it.

use serde_json::Value;
use shared::canonical;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

/// The version of the `txn` action of a commit that has a run's rows.
pub const COMMITTED: i64 = 1;

/// One commit.
#[derive(Debug, Default)]
pub struct Commit {
    pub version: u64,
    /// `sha256:…` of the entry's bytes.
    pub hash: String,
    /// `appId` and `version` of its transactions.
    pub transactions: Vec<(String, i64)>,
    pub files_added: u64,
    pub files_removed: u64,
    pub bytes_added: u64,
    /// Rows in the added files; none where a file does not say.
    pub records_added: Option<u64>,
    /// `commitInfo`.
    pub info: Value,
}

impl Commit {
    /// What Flowgate wrote of it.
    pub fn facts(&self) -> &Value {
        &self.info["flowgate"]
    }

    /// Who made it, for people.
    pub fn author(&self) -> String {
        let (version, facts) = (self.version, self.facts());
        if let Some(run) = facts["rollbackOf"].as_str() {
            return format!("version {version} (the rollback of {run})");
        }
        match (facts["runId"].as_str(), self.info["operation"].as_str()) {
            (Some(run), _) => format!("version {version} ({run})"),
            (None, Some(operation)) => format!("version {version} ({operation})"),
            (None, None) => format!("version {version}"),
        }
    }

    /// The attempt that made it; none where it does not say.
    pub fn attempt(&self) -> Option<u64> {
        self.facts()["attempt"].as_u64().filter(|attempt| *attempt > 0)
    }

    /// Whether one of its transactions is that of `run`.
    fn names(&self, run: &str) -> bool {
        self.transactions.iter().any(|(app, _)| app == run)
    }

    /// When it was made, in milliseconds since 1970.
    pub fn timestamp(&self) -> Option<i64> {
        self.info["timestamp"].as_i64()
    }
}

/// All commits that the log still has.
#[derive(Debug)]
pub struct Log {
    commits: BTreeMap<u64, Commit>,
}

impl Log {
    /// The log of the table in `folder`.
    ///
    /// # Errors
    /// A sentence, where there is none or an entry cannot be read.
    pub fn read(folder: &Path) -> Result<Self, String> {
        Self::read_where(folder, |_| true)
    }

    /// The same for whoever asks about one run only: of the commits that do not name it, all but the oldest are known by
    /// their versions alone.
    ///
    /// # Errors
    /// As [`Log::read`].
    pub fn read_of(folder: &Path, run: &str) -> Result<Self, String> {
        let mut is_oldest = true;
        Self::read_where(folder, |bytes| std::mem::take(&mut is_oldest) || String::from_utf8_lossy(bytes).contains(run))
    }

    /// Parses the entries that are `wanted`, which is asked from the oldest on.
    fn read_where(folder: &Path, mut wanted: impl FnMut(&[u8]) -> bool) -> Result<Self, String> {
        let log = folder.join("_delta_log");
        let found = fs::read_dir(&log).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => format!("there is no table at {}", folder.display()),
            _ => format!("{} cannot be read: {error}", log.display()),
        })?;
        let mut entries = BTreeMap::new();
        for entry in found {
            let path = entry.map_err(|error| format!("{} cannot be read: {error}", log.display()))?.path();
            if let Some(version) = version_of(&path) {
                entries.insert(version, path);
            }
        }
        let mut commits = BTreeMap::new();
        for (version, path) in entries {
            let bytes = fs::read(&path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
            let read = if wanted(&bytes) {
                commit(version, &bytes).map_err(|why| format!("{}: {why}", path.display()))?
            } else {
                Commit { version, ..Commit::default() }
            };
            commits.insert(version, read);
        }
        if commits.is_empty() {
            return Err(format!("{} has no entries", log.display()));
        }
        Ok(Self { commits })
    }

    /// The commits that have rows of `run`, oldest first; none where the newest of its transactions keeps them out.
    pub fn holding(&self, run: &str) -> Vec<&Commit> {
        let is_in = |commit: &Commit| commit.transactions.iter().any(|(app, at)| app == run && *at == COMMITTED);
        let mut all: Vec<&Commit> = self.commits().filter(|commit| commit.names(run)).collect();
        if all.last().is_none_or(|newest| !is_in(newest)) {
            return Vec::new();
        }
        all.retain(|commit| is_in(commit));
        all
    }

    /// The commit that took the rows of `run` out again.
    pub fn rollback_of(&self, run: &str) -> Option<&Commit> {
        self.commits().find(|commit| commit.facts()["rollbackOf"].as_str() == Some(run))
    }

    /// The commits, oldest first.
    pub fn commits(&self) -> impl DoubleEndedIterator<Item = &Commit> {
        self.commits.values()
    }

    /// The commit that made `version`.
    pub fn commit(&self, version: u64) -> Option<&Commit> {
        self.commits.get(&version)
    }

    /// The first version whose entry is still there.
    pub fn oldest(&self) -> u64 {
        self.commits.keys().next().copied().unwrap_or(0)
    }

    /// Whether all commits since then, in milliseconds since 1970, are there: what was cleaned is older than what is left.
    pub fn reaches_back_to(&self, time: i64) -> bool {
        let oldest = self.oldest();
        oldest == 0 || self.commit(oldest).and_then(Commit::timestamp).is_some_and(|at| at < time)
    }

    /// The newest version.
    pub fn newest(&self) -> u64 {
        self.commits.keys().next_back().copied().unwrap_or(0)
    }

    /// The first version behind the oldest one whose entry is missing.
    pub fn gap(&self) -> Option<u64> {
        (self.oldest()..self.newest()).find(|version| !self.commits.contains_key(version))
    }
}

/// The version of an entry such as `00000000000000000007.json`.
fn version_of(path: &Path) -> Option<u64> {
    let digits = path.file_name()?.to_str()?.strip_suffix(".json")?;
    if digits.len() == 20 { digits.parse().ok() } else { None }
}

fn commit(version: u64, bytes: &[u8]) -> Result<Commit, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    let mut commit = Commit { version, hash: canonical::hash_of(bytes), records_added: Some(0), ..Commit::default() };
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let action: Value = serde_json::from_str(line).map_err(|e| format!("line {} is no JSON: {e}", index + 1))?;
        if let (Some(app), Some(number)) = (action["txn"]["appId"].as_str(), action["txn"]["version"].as_i64()) {
            commit.transactions.push((app.to_owned(), number));
        }
        if action["add"].is_object() {
            commit.files_added += 1;
            commit.bytes_added += action["add"]["size"].as_u64().unwrap_or(0);
            let records = action["add"]["stats"].as_str().and_then(|stats| serde_json::from_str::<Value>(stats).ok());
            let records = records.and_then(|stats| stats["numRecords"].as_u64());
            commit.records_added = commit.records_added.zip(records).map(|(all, more)| all + more);
        }
        commit.files_removed += u64::from(action["remove"].is_object());
        if action["commitInfo"].is_object() {
            commit.info = action["commitInfo"].clone();
        }
    }
    Ok(commit)
}
