//! Hands out an API's pages: once, or from a file on disk to several who read at once.

use super::pager::Pager;
use super::records::Page;
use crate::error::{Kind, RunError};
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// The pages that were fetched already and those that are still to be fetched.
#[derive(Debug)]
pub struct Feed {
    pub pager: Pager,
    pub fetched: VecDeque<Page>,
}

impl Feed {
    /// The next page. Blocks the thread.
    ///
    /// # Errors
    /// As [`Pager::next`]; `Kind::Cancelled` where `stop` is set.
    pub fn next(&mut self, runtime: &Handle, stop: &CancellationToken) -> Result<Option<Page>, RunError> {
        if let Some(page) = self.fetched.pop_front() {
            return Ok(Some(page));
        }
        runtime.block_on(async {
            tokio::select! {
                biased;
                () = stop.cancelled() => Err(RunError::new(Kind::Cancelled, "nobody reads the API any more")),
                page = self.pager.next() => page,
            }
        })
    }
}

/// Pages in a file, so that several consumers see the same ones and the API is asked once.
#[derive(Debug)]
pub struct Spool {
    file: File,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    feed: Feed,
    /// Bytes of whole pages in the file.
    written: u64,
    failed: Option<RunError>,
}

impl Spool {
    /// An empty file in `folder`, which ends with its last reader.
    ///
    /// # Errors
    /// `Kind::Resources` where the disk does not take it.
    pub fn new(feed: Feed, folder: &Path) -> Result<Self, RunError> {
        std::fs::create_dir_all(folder).map_err(full)?;
        let file = tempfile::tempfile_in(folder).map_err(full)?;
        Ok(Self { file, state: Mutex::new(State { feed, written: 0, failed: None }) })
    }

    /// The page at `position` and the position after it; none at the end. Blocks the thread.
    ///
    /// # Errors
    /// As [`Feed::next`], to all who read; `Kind::Resources` where the disk is full.
    pub fn page(
        &self,
        position: u64,
        runtime: &Handle,
        stop: &CancellationToken,
    ) -> Result<Option<(Page, u64)>, RunError> {
        {
            // Whoever comes first fetches the page; the others wait for it here.
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if position >= state.written {
                if let Some(error) = &state.failed {
                    return Err(error.clone());
                }
                match state.feed.next(runtime, stop) {
                    Ok(None) => return Ok(None),
                    Ok(Some(page)) => {
                        let frame = frame(&page);
                        self.file.write_all_at(&frame, state.written).map_err(full)?;
                        state.written += frame.len() as u64;
                    }
                    Err(error) => {
                        if error.kind != Kind::Cancelled {
                            state.failed = Some(error.clone());
                        }
                        return Err(error);
                    }
                }
            }
        }
        self.read(position).map(Some).map_err(full)
    }

    fn read(&self, position: u64) -> io::Result<(Page, u64)> {
        let mut head = [0; 8];
        self.file.read_exact_at(&mut head, position)?;
        let [a, b, c, d, e, f, g, h] = head;
        let (records, length) = (u32::from_le_bytes([a, b, c, d]) as usize, u32::from_le_bytes([e, f, g, h]) as usize);
        let mut body = vec![0; records * 8 + length];
        self.file.read_exact_at(&mut body, position + 8)?;
        let text = String::from_utf8(body.split_off(records * 8)).map_err(io::Error::other)?;
        let ends = body.chunks_exact(4).map(|b| b.iter().rev().fold(0, |n, &b| n << 8 | u32::from(b)));
        let ends: Vec<u32> = ends.collect();
        let spans = ends.chunks_exact(2).filter_map(|pair| Some(Range { start: *pair.first()?, end: *pair.get(1)? }));
        Ok((Page { text, records: spans.collect() }, position + 8 + (records * 8 + length) as u64))
    }
}

/// Both lengths, where each record lies, and the text.
fn frame(page: &Page) -> Vec<u8> {
    let mut frame = Vec::with_capacity(8 + page.records.len() * 8 + page.text.len());
    frame.extend((page.records.len() as u32).to_le_bytes());
    frame.extend((page.text.len() as u32).to_le_bytes());
    for span in &page.records {
        frame.extend(span.start.to_le_bytes());
        frame.extend(span.end.to_le_bytes());
    }
    frame.extend(page.text.as_bytes());
    frame
}

fn full(error: io::Error) -> RunError {
    RunError::new(Kind::Resources, format!("an API's pages cannot be kept on the worker's disk: {error}"))
}
