//! Watches the bytes of an Avro file: whether it ends where a block ends, which the reader of blocks does not say.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// The largest block, as it is stored.
const MAX_BLOCK: u64 = 256 << 20;
const SYNC: u64 = 16;
const MAGIC: &[u8; 4] = b"Obj\x01";

/// What is wrong with a file, found while it is read.
#[derive(Debug, Clone, Default)]
pub struct Verdict(Arc<AtomicU8>);

const CUT: u8 = 1;
const NO_AVRO: u8 = 2;
const TOO_LARGE: u8 = 3;

impl Verdict {
    fn set(&self, verdict: u8) -> io::Error {
        self.0.store(verdict, Ordering::Release);
        io::Error::other("the Avro file is damaged")
    }

    /// A sentence's end, where something is wrong.
    pub fn explain(&self) -> Option<&'static str> {
        match self.0.load(Ordering::Acquire) {
            CUT => Some("ends in the middle of a block; it was not written or copied to its end"),
            NO_AVRO => Some("is not an Avro object container file"),
            TOO_LARGE => Some("has a block of more than 256 MB, or is damaged"),
            _ => None,
        }
    }
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Magic(usize),
    /// How many entries of the header follow, with their size where the number is negative.
    Entries,
    EntriesSize(i64),
    KeyLength(i64),
    Key(i64, u64),
    ValueLength(i64),
    Value(i64, u64),
    /// The header's end or a block's.
    Sync(u64),
    Count,
    Size,
    Data(u64),
}

/// Passes bytes on and follows them.
pub struct Framed<R> {
    inner: R,
    at: At,
    /// The number that is being read, and its bits so far.
    number: (u64, u32),
    verdict: Verdict,
}

impl<R> Framed<R> {
    /// From the start of a file.
    pub fn new(inner: R, verdict: Verdict) -> Self {
        Self { inner, at: At::Magic(0), number: (0, 0), verdict }
    }

    /// Follows bytes; false where they cannot be Avro's.
    fn follow(&mut self, mut bytes: &[u8]) -> Result<(), u8> {
        while let Some((&byte, rest)) = bytes.split_first() {
            let skip = |left: u64| usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
            let (next, taken) = match self.at {
                At::Magic(index) => {
                    if MAGIC.get(index) != Some(&byte) {
                        return Err(NO_AVRO);
                    }
                    (if index == 3 { At::Entries } else { At::Magic(index + 1) }, 1)
                }
                At::Key(entries, left) if left > 0 => (At::Key(entries, left - skip(left) as u64), skip(left)),
                At::Key(entries, _) => (At::ValueLength(entries), 0),
                At::Value(entries, left) if left > 0 => (At::Value(entries, left - skip(left) as u64), skip(left)),
                At::Value(1, _) => (At::Entries, 0),
                At::Value(entries, _) => (At::KeyLength(entries - 1), 0),
                At::Sync(left) if left > 0 => (At::Sync(left - skip(left) as u64), skip(left)),
                At::Sync(_) => (At::Count, 0),
                At::Data(left) if left > 0 => (At::Data(left - skip(left) as u64), skip(left)),
                At::Data(_) => (At::Sync(SYNC), 0),
                At::Entries | At::EntriesSize(_) | At::KeyLength(_) | At::ValueLength(_) | At::Count | At::Size => {
                    bytes = rest;
                    if let Some(number) = self.digit(byte)? {
                        self.at = self.numbered(number)?;
                    }
                    continue;
                }
            };
            self.at = next;
            bytes = bytes.get(taken..).unwrap_or_default();
        }
        Ok(())
    }

    fn digit(&mut self, byte: u8) -> Result<Option<i64>, u8> {
        let (value, bits) = self.number;
        if bits > 63 {
            return Err(NO_AVRO);
        }
        let value = value | u64::from(byte & 0x7f) << bits;
        if byte & 0x80 != 0 {
            self.number = (value, bits + 7);
            return Ok(None);
        }
        self.number = (0, 0);
        Ok(Some((value >> 1) as i64 ^ -((value & 1) as i64)))
    }

    /// What comes after a number.
    fn numbered(&self, number: i64) -> Result<At, u8> {
        let length = || u64::try_from(number).ok().filter(|n| *n <= MAX_BLOCK).ok_or(TOO_LARGE);
        Ok(match self.at {
            At::Entries if number == 0 => At::Sync(SYNC),
            At::Entries if number < 0 => At::EntriesSize(number.checked_neg().ok_or(NO_AVRO)?),
            At::Entries => At::KeyLength(number),
            At::EntriesSize(entries) => At::KeyLength(entries),
            At::KeyLength(entries) => At::Key(entries, length()?),
            At::ValueLength(entries) => At::Value(entries, length()?),
            At::Count => At::Size,
            At::Size => At::Data(length()?),
            other => other,
        })
    }

    /// Whether a file may end here.
    fn is_between_blocks(&self) -> bool {
        matches!(self.at, At::Count | At::Sync(0)) && self.number.1 == 0
    }
}

impl<R: Read> Read for Framed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        if n == 0 && !buffer.is_empty() && !self.is_between_blocks() {
            let verdict = if matches!(self.at, At::Magic(_)) { NO_AVRO } else { CUT };
            return Err(self.verdict.set(verdict));
        }
        let followed = self.follow(buffer.get(..n).unwrap_or_default());
        followed.map(|()| n).map_err(|verdict| self.verdict.set(verdict))
    }
}
