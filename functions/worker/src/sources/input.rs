//! The bytes of one file, decompressed: what the threads that split files into records read from.

use super::InputFile;
use super::files::{self, Compression};
use super::place::{Place, fault};
use crate::error::{Kind, RunError};
use bytes::{Buf, Bytes};
use bzip2::bufread::MultiBzDecoder;
use chrono::{DateTime, Utc};
use flate2::bufread::GzDecoder;
use object_store::{GetOptions, GetResultPayload};
use shared::models::node::Encoding;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// Bytes that are fetched from a store at a time; two such blocks are held for each file that is being read.
const BLOCK: u64 = 8 << 20;
/// Bytes between a file and its decompressor, and between that and the splitter.
const BUFFER: usize = 256 << 10;
/// How often a block is asked for; each time the store retries by itself too.
const TRIES: u32 = 3;
const BOM: &[u8] = b"\xef\xbb\xbf";

/// A reader of a file's text, and how many of the file's own bytes it has taken so far.
pub struct Input {
    pub reader: BufReader<Box<dyn Read + Send>>,
    pub taken: Arc<AtomicU64>,
}

/// Opens a file of text: decompresses it, leaves out a byte order mark and makes UTF-8 of Latin-1. Blocks the thread, which
/// must not be one that drives tasks.
///
/// # Errors
/// As the store says; `Kind::Source` where the content is not what the name says.
pub fn open(place: &Place, file: &InputFile, encoding: Encoding, runtime: &Handle) -> Result<Input, RunError> {
    let (mut plain, taken) = bytes(place, file, runtime)?;
    let start = peek(&mut plain, 4).map_err(|e| read_error(place, file, e))?;
    check_text(place, file, &start)?;
    let start = start.strip_prefix(BOM).map(<[u8]>::to_vec).unwrap_or(start);
    let plain = Read::chain(Cursor::new(start), plain);
    let text: Box<dyn Read + Send> = match encoding {
        Encoding::Utf8 => Box::new(plain),
        Encoding::Latin1 => Box::new(Latin1 { inner: BufReader::with_capacity(BUFFER, plain), pending: None }),
    };
    Ok(Input { reader: BufReader::with_capacity(BUFFER, text), taken })
}

/// The bytes of a file, decompressed, and how many of its own bytes have been taken so far.
pub type FileBytes = (Box<dyn Read + Send>, Arc<AtomicU64>);

/// Opens a file and decompresses it. Blocks the thread, which must not be one that drives tasks.
///
/// # Errors
/// As the store says; `Kind::Source` where the content is not what the name says.
pub fn bytes(place: &Place, file: &InputFile, runtime: &Handle) -> Result<FileBytes, RunError> {
    let options = GetOptions { if_match: file.etag.clone(), ..GetOptions::default() };
    let raw: Box<dyn Read + Send> = if place.is_local() {
        match runtime.block_on(place.get(&file.path, options))?.payload {
            GetResultPayload::File(local, _) => {
                Box::new(Unchanged { inner: local, place: place.clone(), file: file.clone(), taken: 0 })
            }
            GetResultPayload::Stream(_) => return Err(RunError::new(Kind::Internal, "a local file came as a stream")),
        }
    } else {
        Box::new(Blocks::new(place.clone(), file.clone(), runtime.clone()))
    };
    let taken = Arc::new(AtomicU64::new(0));
    let mut raw = Counted { inner: raw, taken: Arc::clone(&taken) };
    let start = peek(&mut raw, 8).map_err(|e| read_error(place, file, e))?;
    let compression = compression_of(place, file, &start)?;
    let raw = BufReader::with_capacity(BUFFER, Read::chain(Cursor::new(start), raw));
    let plain: Box<dyn Read + Send> = match compression {
        Compression::None => Box::new(raw),
        Compression::Gzip => Box::new(Members { current: Some(GzDecoder::new(raw)) }),
        Compression::Bzip2 => Box::new(MultiBzDecoder::new(raw)),
        Compression::Zstd => {
            Box::new(zstd::stream::read::Decoder::with_buffer(raw).map_err(|e| read_error(place, file, e))?)
        }
    };
    Ok((plain, taken))
}

/// Leaves out the next `lines` lines.
///
/// # Errors
/// As the store says, or where the file is damaged.
pub fn skip_lines(place: &Place, file: &InputFile, input: &mut Input, lines: u32) -> Result<(), RunError> {
    for _ in 0..lines {
        if input.reader.skip_until(b'\n').map_err(|e| read_error(place, file, e))? == 0 {
            break;
        }
    }
    Ok(())
}

/// An error of reading a file, as a run's error.
pub fn read_error(place: &Place, file: &InputFile, error: io::Error) -> RunError {
    let path = &file.path;
    let kind = error.kind();
    match error.into_inner().map(|inner| (inner.to_string(), inner.downcast::<RunError>())) {
        Some((_, Ok(own))) => *own,
        Some((text, Err(_))) => fault(damaged(place, path, kind, &text)),
        None => fault(damaged(place, path, kind, &kind.to_string())),
    }
}

fn damaged(place: &Place, path: &str, kind: io::ErrorKind, text: &str) -> String {
    match kind {
        io::ErrorKind::UnexpectedEof => format!(
            "{}: {path:?} ends in the middle of its compressed data; it was not written or copied to its end",
            place.name
        ),
        _ => match files::by_name(path).1 {
            Compression::None => format!("{}: {path:?} cannot be read: {text}", place.name),
            _ => format!("{}: {path:?} cannot be decompressed: {text}", place.name),
        },
    }
}

fn peek(reader: &mut impl Read, most: usize) -> io::Result<Vec<u8>> {
    let mut start = Vec::with_capacity(most);
    reader.take(most as u64).read_to_end(&mut start)?;
    Ok(start)
}

/// By the content; a name that says otherwise is a fault.
fn compression_of(place: &Place, file: &InputFile, start: &[u8]) -> Result<Compression, RunError> {
    let content = match start {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
        // With the mark of a first block, or of the end of an empty stream.
        [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, ..] | [b'B', b'Z', b'h', b'1'..=b'9', 0x17, 0x72, ..] => {
            Compression::Bzip2
        }
        _ => Compression::None,
    };
    let named = files::by_name(&file.path).1;
    let word = match named {
        Compression::None => return Ok(content),
        Compression::Gzip => "gzip",
        Compression::Zstd => "zstd",
        Compression::Bzip2 => "bz2",
    };
    if named != content {
        return Err(fault(format!("{}: {:?} is named as {word}, but its content is not", place.name, file.path)));
    }
    Ok(content)
}

fn check_text(place: &Place, file: &InputFile, start: &[u8]) -> Result<(), RunError> {
    let what = match start {
        b"PAR1" => "a Parquet file; set format to parquet",
        b"PK\x03\x04" => "a zip archive (or a spreadsheet); unpack it, or save it as csv",
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "text in UTF-16; save it as UTF-8",
        b"Obj\x01" => "an Avro file; set format to avro",
        _ => return Ok(()),
    };
    Err(fault(format!("{}: {:?} is {what}", place.name, file.path)))
}

/// The members of a gzip file, one after the other. Zeros behind one are padding, as tapes and some archives leave it.
struct Members<R> {
    current: Option<GzDecoder<R>>,
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(current) = &mut self.current else { return Ok(0) };
            let read = current.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            let Some(mut raw) = self.current.take().map(GzDecoder::into_inner) else { return Ok(0) };
            if skip_zeros(&mut raw)? {
                self.current = Some(GzDecoder::new(raw));
            }
        }
    }
}

/// Leaves out zeros; false at the end.
fn skip_zeros(reader: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let input = reader.fill_buf()?;
        let zeros = input.iter().take_while(|byte| **byte == 0).count();
        let (is_end, goes_on) = (input.is_empty(), zeros < input.len());
        reader.consume(zeros);
        if is_end || goes_on {
            return Ok(goes_on);
        }
    }
}

struct Counted<R> {
    inner: R,
    taken: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.taken.fetch_add(n as u64, Relaxed);
        Ok(n)
    }
}

/// A local file, which must be at its end what it was when it was found.
struct Unchanged {
    inner: File,
    place: Place,
    file: InputFile,
    taken: u64,
}

impl Read for Unchanged {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.taken += n as u64;
        let at_end = n == 0 && !buffer.is_empty();
        // The open file, not what has its name by now: one that another has replaced is still read whole.
        if self.taken > self.file.size || (at_end && !self.is_as_found()?) {
            return Err(io::Error::other(self.place.changed(&self.file.path)));
        }
        Ok(n)
    }
}

impl Unchanged {
    fn is_as_found(&self) -> io::Result<bool> {
        let modified = DateTime::<Utc>::from(self.inner.metadata()?.modified()?);
        Ok(self.taken == self.file.size && self.file.modified.is_none_or(|found| found == modified))
    }
}

/// Makes UTF-8 of Latin-1, in which each byte is the character of that number.
struct Latin1<R> {
    inner: R,
    pending: Option<u8>,
}

impl<R: BufRead> Read for Latin1<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut written = 0;
        while written < buffer.len() {
            let byte = match self.pending.take() {
                Some(byte) => byte,
                None => {
                    if written > 0 && self.inner.fill_buf()?.is_empty() {
                        break;
                    }
                    let Some(&byte) = self.inner.fill_buf()?.first() else { break };
                    self.inner.consume(1);
                    if byte < 0x80 {
                        byte
                    } else {
                        self.pending = Some(0x80 | byte & 0x3f);
                        0xc0 | byte >> 6
                    }
                }
            };
            let Some(slot) = buffer.get_mut(written) else { break };
            *slot = byte;
            written += 1;
        }
        Ok(written)
    }
}

/// A file of a store, in blocks: one is read while the next is fetched.
struct Blocks {
    place: Place,
    file: InputFile,
    runtime: Handle,
    current: Bytes,
    next: Option<JoinHandle<Result<Bytes, RunError>>>,
    position: u64,
}

impl Blocks {
    fn new(place: Place, file: InputFile, runtime: Handle) -> Self {
        Self { place, file, runtime, current: Bytes::new(), next: None, position: 0 }
    }

    /// Begins to fetch the next block, unless there is none.
    fn fetch(&mut self) -> Option<JoinHandle<Result<Bytes, RunError>>> {
        let range = self.position..self.file.size.min(self.position + BLOCK);
        if range.is_empty() {
            return None;
        }
        self.position = range.end;
        Some(self.runtime.spawn(block(self.place.clone(), self.file.clone(), range)))
    }
}

/// A range of a file, which must not have changed since it was found.
///
/// # Errors
/// As the store says, after some tries.
pub async fn block(place: Place, file: InputFile, range: Range<u64>) -> Result<Bytes, RunError> {
    let mut tries = 0;
    loop {
        tries += 1;
        let options =
            GetOptions { range: Some(range.clone().into()), if_match: file.etag.clone(), ..GetOptions::default() };
        let error = match place.get(&file.path, options).await {
            Ok(result) => {
                let read = result.bytes().await;
                check_unchanged(&place, &file).await?;
                match read {
                    Ok(bytes) if bytes.len() as u64 == range.end - range.start => return Ok(bytes),
                    Ok(_) => RunError::new(
                        Kind::SourceUnavailable,
                        format!("{}: {:?} came with fewer bytes than asked for", place.name, file.path),
                    ),
                    Err(e) => place.error(&file.path, e),
                }
            }
            Err(error) => error,
        };
        if tries == TRIES || !error.kind.is_retryable() {
            return Err(error);
        }
        tokio::time::sleep(Duration::from_millis(200) * tries).await;
    }
}

/// A store compares a file with the bytes that it gives; a local file is compared before they are read, and here after.
async fn check_unchanged(place: &Place, file: &InputFile) -> Result<(), RunError> {
    if !place.is_local() {
        return Ok(());
    }
    let options = GetOptions { head: true, if_match: file.etag.clone(), ..GetOptions::default() };
    place.get(&file.path, options).await.map(drop)
}

impl Read for Blocks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.current.is_empty() {
            let Some(block) = self.next.take().or_else(|| self.fetch()) else { return Ok(0) };
            self.next = self.fetch();
            self.current = self
                .runtime
                .block_on(block)
                .map_err(super::place::stopped)
                .and_then(|block| block)
                .map_err(io::Error::other)?;
        }
        let n = self.current.len().min(buffer.len());
        self.current.copy_to_slice(buffer.get_mut(..n).unwrap_or_default());
        Ok(n)
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        if let Some(next) = &self.next {
            next.abort();
        }
    }
}
