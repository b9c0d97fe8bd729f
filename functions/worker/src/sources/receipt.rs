//! What a source tells a run's receipt: which files, which table, which API.

use super::rest::RestSource;
use super::{InputFile, Source, SourceRequest, database};
use crate::databases::{Server, Wanted};
use crate::error::RunError;
use sha2::{Digest, Sha256};
use shared::models::receipt::{self, InputApi, InputFiles, InputTable};
use shared::models::time::Time;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// Files that are listed; the rest is in the hash and the count.
const LISTED: usize = 1000;
/// Characters of a query that are kept.
const QUERY_CHARS: usize = 2000;

/// A query as a receipt has it.
pub fn short(query: &str) -> String {
    query.chars().take(QUERY_CHARS).collect()
}

/// What a source reads.
#[derive(Debug, Clone)]
pub enum Reads {
    Files(InputFiles),
    Database(InputTable),
    Api {
        url: String,
        /// Counts the pages that came.
        pages: Arc<AtomicU64>,
    },
}

impl Reads {
    /// These files.
    pub(super) fn files(files: &[InputFile]) -> Self {
        let mut hash = Sha256::new();
        let mut line = String::new();
        for file in files {
            let modified = file.modified.map(|at| Time::from(at).text());
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            line.clear();
            let _ = writeln!(
                line,
                "{}\t{}\t{}\t{}\t{}",
                file.path,
                file.size,
                text(&file.etag),
                text(&file.version),
                text(&modified)
            );
            hash.update(line.as_bytes());
        }
        let listed = files.iter().take(LISTED).map(|file| receipt::InputFile {
            path: file.path.clone(),
            size: file.size,
            etag: file.etag.clone(),
            version: file.version.clone(),
            modified_at: file.modified.map(Time::from),
        });
        Self::Files(InputFiles {
            count: files.len() as u64,
            bytes: files.iter().map(|file| file.size).sum(),
            hash: format!("sha256:{}", hex::encode(hash.finalize())),
            list: listed.collect(),
        })
    }

    /// What is read of a database.
    ///
    /// # Errors
    /// As [`Server::of`] and [`Server::wanted`].
    pub(super) fn database(
        request: &SourceRequest<'_>,
        source: &database::DatabaseSource,
        pieces: usize,
    ) -> Result<Self, RunError> {
        let server = Server::of(request.connector)?;
        let wanted = server.wanted(request.config.table.as_deref(), request.config.query.as_deref())?;
        let (table, query) = match wanted {
            Wanted::Table(table) => (Some(table.to_string()), None),
            Wanted::Query(query) => (None, Some(short(&query))),
        };
        let snapshot = source.snapshot().map(str::to_owned);
        Ok(Self::Database(InputTable { table, query, pieces: pieces as u64, snapshot }))
    }

    /// What is read of an API.
    pub(super) fn api(source: &RestSource, url: &str) -> Self {
        Self::Api { url: url.to_owned(), pages: source.pages() }
    }

    /// The three forms of it, of which one is there, and what counts the pages of an API.
    pub fn parts(&self) -> (Option<InputFiles>, Option<InputTable>, Option<InputApi>, Option<Arc<AtomicU64>>) {
        match self {
            Self::Files(files) => (Some(files.clone()), None, None, None),
            Self::Database(table) => (None, Some(table.clone()), None, None),
            Self::Api { url, pages } => {
                (None, None, Some(InputApi { url: url.clone(), pages: 0 }), Some(Arc::clone(pages)))
            }
        }
    }
}

impl Source {
    /// What it reads, for the run's receipt.
    pub fn reads(&self) -> &Reads {
        &self.inner.reads
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_files_can_be_made_by_anybody() {
        let at = chrono::DateTime::parse_from_rfc3339("2026-01-15T09:00:00Z").unwrap().to_utc();
        let file = |path: &str, etag: Option<&str>| InputFile {
            path: path.to_owned(),
            size: 3,
            etag: etag.map(str::to_owned),
            version: None,
            modified: Some(at),
        };
        let Reads::Files(files) = Reads::files(&[file("a.csv", Some("x")), file("b.csv", None)]) else { panic!() };
        let lines = "a.csv\t3\tx\t\t2026-01-15T09:00:00.000Z\nb.csv\t3\t\t\t2026-01-15T09:00:00.000Z\n";
        assert_eq!(files.hash, shared::canonical::hash_of(lines.as_bytes()));
        assert_eq!((files.count, files.bytes, files.list.len()), (2, 6, 2));
    }

    #[test]
    fn of_many_files_the_first_thousand_are_listed() {
        let file =
            |i: usize| InputFile { path: format!("{i:05}.csv"), size: 1, etag: None, version: None, modified: None };
        let all: Vec<_> = (0..1500).map(file).collect();
        let Reads::Files(files) = Reads::files(&all) else { panic!() };
        assert_eq!((files.count, files.list.len()), (1500, 1000));
        let Reads::Files(fewer) = Reads::files(all.get(..1499).unwrap()) else { panic!() };
        assert_ne!(files.hash, fewer.hash);
    }
}
