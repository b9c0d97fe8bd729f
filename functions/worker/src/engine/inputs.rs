//! What was opened to be read, for the run's receipt.

use super::progress::NodeCounters;
use shared::models::receipt::Input;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// The most bytes, about, that the lists of files of one run may take in its receipt.
const LISTED_BYTES: usize = 200 * 1024;

/// A source, or what a lookup reads.
#[derive(Debug)]
pub struct Opened {
    /// As it was when it was opened; what is counted later, and the attempt, are still missing.
    pub input: Input,
    /// Counts the rows that come; none for a lookup.
    pub rows: Option<Arc<NodeCounters>>,
    /// Counts the pages of an API.
    pub pages: Option<Arc<AtomicU64>>,
}

/// Everything that a run has opened so far.
#[derive(Debug, Default)]
pub struct Inputs(Mutex<Vec<Opened>>);

impl Inputs {
    /// Notes one more.
    pub fn add(&self, opened: Opened) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(opened);
    }

    /// All of them with what is counted by now, as an attempt's. Files that are too many to be listed are in the hash
    /// and the count all the same.
    pub fn of(&self, attempt: u32) -> Vec<Input> {
        let mut left = LISTED_BYTES;
        let opened = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let inputs = opened.iter().map(|opened| {
            let mut input = Input { attempt, ..opened.input.clone() };
            input.rows = opened.rows.as_ref().map(|counters| counters.rows_in.load(Relaxed));
            if let (Some(api), Some(pages)) = (&mut input.api, &opened.pages) {
                api.pages = pages.load(Relaxed);
            }
            if let Some(files) = &mut input.files {
                files.list.retain(|file| {
                    let texts = [Some(&file.path), file.etag.as_ref(), file.version.as_ref()];
                    let bytes: usize = texts.into_iter().flatten().map(|text| text.len() + 20).sum();
                    // Once one is left out, so are those after it.
                    left = left.saturating_sub(bytes + 60);
                    left > 0
                });
            }
            input
        });
        inputs.collect()
    }
}
