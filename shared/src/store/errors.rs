//! Rejected rows in the table: chunks under their run and attempt, so that there may be millions.

use super::keys;
use super::{Query, Store, away, item, read};
use crate::error::{Error, Result};
use crate::models::run::{RowError, Run};
use crate::models::time::JsonText;
use serde::{Deserialize, Serialize};

/// Bytes of a chunk's JSON after which it is full, far below what an item may have.
const CHUNK_BYTES: usize = 200 * 1024;
/// The most chunks of a page: a function may answer 6 MB, and quotes and commas of a CSV file double what they are here.
const PAGE_CHUNKS: u32 = 12;
/// The most rows of a chunk.
const CHUNK_ROWS: usize = 1000;

/// Where a page of rejected rows begins, among those of one attempt: another one may have rejected others by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorPosition {
    attempt: u32,
    chunk: u32,
    offset: u32,
}

#[derive(Debug, Serialize, Deserialize)]
struct Chunk {
    rows: JsonText<Vec<RowError>>,
    first: u32,
}

/// Collects rejected rows and writes them a chunk at a time.
pub struct ErrorWriter<'a> {
    store: &'a Store,
    run: &'a Run,
    rows: Vec<RowError>,
    bytes: usize,
    chunk: u32,
}

impl<'a> ErrorWriter<'a> {
    /// Rejected rows of the run's current attempt.
    pub fn new(store: &'a Store, run: &'a Run) -> Self {
        Self { store, run, rows: Vec::new(), bytes: 0, chunk: 0 }
    }

    /// Adds one.
    ///
    /// # Errors
    /// Where the table does not take a full chunk.
    pub async fn push(&mut self, row: RowError) -> Result<()> {
        // As it is kept: of some characters JSON makes six bytes.
        self.bytes += serde_json::to_string(&row).map_err(Error::internal)?.len() + 1;
        self.rows.push(row);
        if self.bytes >= CHUNK_BYTES || self.rows.len() >= CHUNK_ROWS { self.flush().await } else { Ok(()) }
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// Where the table does not take it.
    pub async fn flush(&mut self) -> Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.rows);
        self.bytes = 0;
        let key = keys::errors(&self.run.tenant_id, &self.run.id, self.run.attempt, self.chunk);
        let chunk = item(&key, &Chunk { rows: JsonText(rows), first: self.chunk })?;
        self.chunk += 1;
        let store = self.store;
        store.client().put_item().table_name(store.table()).set_item(Some(chunk)).send().await.map_err(away)?;
        Ok(())
    }
}

impl Store {
    /// `limit` of a run's rejected rows at most, fewer where they are long, from the first or from `next` on, and where the
    /// next page begins.
    ///
    /// # Errors
    /// A fault at `?cursor` where the rows from `next` on are not there any more; where the table does not answer.
    pub async fn run_errors(
        &self,
        run: &Run,
        next: Option<ErrorPosition>,
        limit: usize,
    ) -> Result<(Vec<RowError>, Option<ErrorPosition>)> {
        let first = run.errors_attempt.map(|attempt| ErrorPosition { attempt, chunk: 0, offset: 0 });
        let Some(position) = next.or(first) else { return Ok((Vec::new(), None)) };
        let attempt = position.attempt;
        let partition = keys::under_run(&run.tenant_id, &run.id);
        let prefix = keys::attempt_errors(attempt);
        let mut found = Vec::new();
        let mut at = position;
        loop {
            let before = at.chunk.checked_sub(1).map(|c| keys::errors(&run.tenant_id, &run.id, attempt, c).sk);
            let query = Query { after: before.as_deref(), ..Query::new(&partition, &prefix, 2) };
            let mut items = self.query(query).await?.items.into_iter();
            let Some(first) = items.next() else {
                return if next.is_none() { Ok((found, None)) } else { Err(gone()) };
            };
            let rows = read::<Chunk>(first)?.rows.0;
            let offset = at.offset as usize;
            let left = rows.len().saturating_sub(offset);
            let take = left.min(limit - found.len());
            found.extend(rows.into_iter().skip(offset).take(take));
            let more = items.next().is_some();
            at = if take < left {
                ErrorPosition { offset: at.offset + u32::try_from(take).unwrap_or(u32::MAX), ..at }
            } else {
                ErrorPosition { chunk: at.chunk + 1, offset: 0, ..at }
            };
            if found.len() >= limit || !more || at.chunk - position.chunk >= PAGE_CHUNKS {
                let next = (take < left || more).then_some(at);
                return Ok((found, next));
            }
        }
    }
}

fn gone() -> Error {
    let detail = "the rejected rows at which the cursor goes on are not there any more; leave it out to begin anew";
    Error::fault("?cursor", "invalid", detail)
}
