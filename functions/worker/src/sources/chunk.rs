//! Records as they go from the thread that splits a file to the partitions that parse them.

use std::sync::Arc;

/// Bytes after which a chunk is handed over.
pub const CHUNK_BYTES: usize = 1 << 20;
/// Fields after which a chunk is handed over.
const CHUNK_FIELDS: usize = 1 << 19;
/// Refused records after which a chunk is handed over: they are no part of its bytes, and each keeps up to 64 KiB.
const CHUNK_REJECTS: usize = 256;
/// The longest record.
pub const MAX_RECORD: usize = 16 << 20;

/// Records of one file, compactly: all their bytes in one piece, and where each field ends.
#[derive(Debug, Default)]
pub struct Chunk {
    /// The index of the file in the source.
    pub file: usize,
    /// The fields of every record here; 1 for JSON, where a record is its text.
    pub width: usize,
    pub bytes: Vec<u8>,
    /// Where each field ends in `bytes`, record by record.
    pub ends: Vec<u32>,
    /// The number of each record in its file, from 1.
    pub rows: Vec<u64>,
    /// Records that were refused already.
    pub rejects: Vec<Reject>,
    /// For each column the index of its field.
    pub fields: Arc<[usize]>,
}

/// A record that is refused, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// The number in its file, from 1.
    pub row: u64,
    pub column: String,
    pub value: Option<String>,
    pub reason: String,
    /// The record as JSON text, as far as it could be told into fields.
    pub whole: Option<String>,
}

/// A record that could not be told into fields, as JSON text.
pub fn unparsed(record: &[u8]) -> Option<String> {
    const MOST: usize = 64 * 1024;
    Some(serde_json::json!({ "record": excerpt(record, MOST) }).to_string())
}

impl Chunk {
    /// An empty chunk for records of `width` fields.
    pub fn new(file: usize, width: usize, fields: Arc<[usize]>) -> Self {
        Self { file, width, fields, ..Self::default() }
    }

    /// Whether it is time to hand it over.
    pub fn is_full(&self, bytes: usize, most_rows: usize) -> bool {
        bytes >= CHUNK_BYTES
            || self.ends.len() >= CHUNK_FIELDS
            || self.rejects.len() >= CHUNK_REJECTS
            || self.records() >= most_rows
    }

    /// The bytes of a field.
    pub fn field(&self, record: usize, field: usize) -> &[u8] {
        let (start, end) = self.span(record, field);
        self.bytes.get(start..end).unwrap_or_default()
    }

    /// Where a field lies in the bytes.
    pub fn span(&self, record: usize, field: usize) -> (usize, usize) {
        let index = record * self.width + field;
        let start = index.checked_sub(1).and_then(|i| self.ends.get(i)).map_or(0, |&e| e as usize);
        (start, self.ends.get(index).map_or(start, |&e| e as usize))
    }

    /// About how many bytes of memory it takes.
    pub fn held(&self) -> usize {
        let refused = self.rejects.iter().filter_map(|reject| reject.whole.as_ref());
        self.bytes.len() + size_of_val(self.ends.as_slice()) + refused.map(String::len).sum::<usize>()
    }

    /// Records in it, refused ones too.
    pub fn records(&self) -> usize {
        self.rows.len() + self.rejects.len()
    }
}

/// Characters of a value that a rejected row keeps.
pub const VALUE_CHARS: usize = 200;

/// The first `most` characters of what may be a long text.
pub fn excerpt(bytes: &[u8], most: usize) -> String {
    let start = bytes.get(..bytes.len().min(4 * most)).unwrap_or_default();
    String::from_utf8_lossy(start).chars().take(most).collect()
}
