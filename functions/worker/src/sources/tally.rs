//! Counts what a source gives: rows at its node, and the progress of each file.

use super::chunk::Reject;
use crate::engine::progress::{NodeCounters, Progress, RowId};
use crate::error::RunError;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The most files that are shown one by one; the rest is shown as one.
const SHOWN: usize = 200;

/// The partitions of a source as the progress shows them.
#[derive(Debug, Clone, Copy)]
pub struct Shown {
    first: usize,
    slots: usize,
}

impl Shown {
    /// Registers the files with the progress.
    pub fn register(progress: &Progress, files: &[super::InputFile]) -> Self {
        let slots = files.len().min(SHOWN);
        let last = slots.saturating_sub(1);
        let first = progress.add_partitions(files.iter().take(slots).enumerate().map(|(i, file)| {
            if i == last && files.len() > SHOWN {
                format!("{} further files", files.len() - last)
            } else {
                file.path.clone()
            }
        }));
        Self { first, slots }
    }

    fn slot(self, file: usize) -> usize {
        file.min(self.slots.saturating_sub(1))
    }
}

/// Counts for one reading of a source.
#[derive(Debug)]
pub struct Tally {
    counters: Option<Arc<NodeCounters>>,
    progress: Arc<Progress>,
    shown: Shown,
    source: usize,
    /// Pieces of each slot that are still to be done.
    left: Vec<AtomicUsize>,
}

impl Tally {
    /// Nothing counted yet; `pieces` are the files of pieces that are known from the start, one entry a piece.
    pub fn new(
        counters: Option<Arc<NodeCounters>>,
        progress: Arc<Progress>,
        shown: Shown,
        source: usize,
        pieces: impl Iterator<Item = usize>,
    ) -> Self {
        let tally =
            Self { counters, progress, shown, source, left: (0..shown.slots).map(|_| AtomicUsize::new(0)).collect() };
        pieces.for_each(|file| tally.add_piece(file));
        for (slot, left) in tally.left.iter().enumerate() {
            // A Parquet file without row groups has nothing to be done.
            if tally.counters.is_some() && left.load(Ordering::Acquire) == 0 {
                tally.progress.partition(shown.first + slot, 0, true);
            }
        }
        tally
    }

    /// There is one more piece of a file to be done.
    pub fn add_piece(&self, file: usize) {
        if let Some(left) = self.left.get(self.shown.slot(file)) {
            left.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Work on a file goes on; `rows` more are done.
    pub fn rows(&self, file: usize, rows: usize) {
        if self.counters.is_some() {
            self.progress.partition(self.shown.first + self.shown.slot(file), rows as u64, false);
        }
    }

    /// A piece of a file is done.
    pub fn finish_piece(&self, file: usize) {
        let slot = self.shown.slot(file);
        let last = self.left.get(slot).is_some_and(|left| left.fetch_sub(1, Ordering::AcqRel) == 1);
        if last && self.counters.is_some() {
            self.progress.partition(self.shown.first + slot, 0, true);
        }
    }

    /// Counts records that were read: those that fit, and those that do not, which are reported.
    ///
    /// # Errors
    /// As the progress says, where too many are rejected.
    pub fn count(&self, file: usize, good: usize, mut rejects: Vec<Reject>) -> Result<(), RunError> {
        self.rows(file, good + rejects.len());
        let Some(counters) = &self.counters else { return Ok(()) };
        counters.rows_in.fetch_add((good + rejects.len()) as u64, Ordering::Relaxed);
        counters.rows_out.fetch_add(good as u64, Ordering::Relaxed);
        rejects.sort_by_key(|r| r.row);
        for reject in rejects {
            let row = RowId::new(self.source, file, reject.row);
            let (column, value) = (&reject.column, reject.value.as_deref());
            self.progress.reject_row(counters, Some(row), column, value, &reject.reason, || reject.whole)?;
        }
        Ok(())
    }
}
