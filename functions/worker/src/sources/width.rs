//! How wide the rows of a source are, as far as it can be told before they are read.

use super::{InputFile, Reader};

/// How much larger rows are than a file that is compressed or stored by columns.
const COMPRESSION: u64 = 6;

/// About how many bytes of plain text `files` are.
pub fn plain_bytes(files: &[InputFile]) -> u64 {
    let plain =
        |path: &str| [".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".txt"].iter().any(|end| path.ends_with(end));
    let sizes = files.iter().map(|f| if plain(&f.path) { f.size } else { f.size.saturating_mul(COMPRESSION) });
    sizes.fold(0, u64::saturating_add)
}

/// About how many bytes a row takes; none where nobody knows.
pub(super) fn row_bytes(reader: &Reader, files: &[InputFile]) -> Option<u64> {
    match reader {
        Reader::Text(text) => plain_bytes(files).checked_div(text.estimate),
        Reader::Parquet(parquet) => parquet.bytes.checked_div(parquet.rows),
        Reader::Avro(avro) => avro.row_bytes,
        Reader::Rest(api) => api.row_bytes,
        Reader::Database(database) => Some(database.width).filter(|width| *width > 0),
    }
}

/// The most rows of a batch: as many as asked for, but fewer of wide rows, so that one has about `bytes` at most.
pub fn batch_size(asked: usize, bytes: usize, row_bytes: u64) -> usize {
    let fit = bytes as u64 / row_bytes.max(1);
    usize::try_from(fit).unwrap_or(usize::MAX).clamp(1, asked.max(1))
}
