//! What the threads do that read APIs and Avro files: they hand over pieces until nobody wants more.

use super::avro::AvroSource;
use super::queue::Queue;
use super::rest::{Pages, RestSource};
use super::scan::{Piece, most_rows};
use super::tally::Tally;
use crate::error::RunError;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// Hands over the records of an API until there are no more pages, or nobody wants more.
///
/// # Errors
/// As the API says.
pub fn read_pages(
    api: &Arc<RestSource>,
    stop: CancellationToken,
    batch_size: usize,
    queue: &Queue<Piece>,
    left: &AtomicUsize,
    tally: &Tally,
    runtime: &Handle,
) -> Result<(), RunError> {
    let most_rows = most_rows(&api.layout, batch_size);
    tally.rows(0, 0);
    let mut pages: Pages = api.read(stop)?;
    loop {
        let mut chunk = pages.chunk();
        let wanted = left.load(Ordering::Acquire);
        if wanted == 0 || !pages.fill(&mut chunk, most_rows.min(wanted), runtime)? {
            tally.finish_piece(0);
            return Ok(());
        }
        take(left, chunk.records());
        tally.add_piece(0);
        if !queue.push(Piece::Chunk(chunk)) {
            return Ok(());
        }
    }
}

/// Reads Avro files, one after the other, until none is left or nobody wants more.
///
/// # Errors
/// As the store says, or where a file is damaged.
pub fn read_avro(
    avro: &AvroSource,
    batch_size: usize,
    queue: &Queue<Piece>,
    next: &AtomicUsize,
    left: &AtomicUsize,
    tally: &Tally,
    runtime: &Handle,
) -> Result<(), RunError> {
    loop {
        let index = next.fetch_add(1, Ordering::AcqRel);
        if index >= avro.files.len() || left.load(Ordering::Acquire) == 0 {
            return Ok(());
        }
        tally.rows(index, 0);
        let mut file = avro.open(index, batch_size, runtime)?;
        while let (wanted @ 1.., Some(mut batch)) = (left.load(Ordering::Acquire), file.next(index)?) {
            batch.truncate(wanted);
            take(left, batch.rows.num_rows());
            tally.add_piece(index);
            if !queue.push(Piece::Batch(batch)) {
                return Ok(());
            }
        }
        tally.finish_piece(index);
    }
}

/// Takes of the rows that a sample still wants; it has one reader, so that nobody else does.
fn take(left: &AtomicUsize, rows: usize) {
    let wanted = left.load(Ordering::Acquire);
    if wanted < usize::MAX {
        left.store(wanted - rows.min(wanted), Ordering::Release);
    }
}
