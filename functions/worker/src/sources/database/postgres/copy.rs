//! The binary form of COPY: tuples of fields out of a stream of bytes.

use bytes::{Buf, Bytes, BytesMut};

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";

/// Takes bytes in and gives tuples out.
#[derive(Debug, Default)]
pub struct Tuples {
    buffer: BytesMut,
    begun: bool,
    ended: bool,
}

/// One row: its fields, each with its length before it.
#[derive(Debug)]
pub struct Tuple {
    fields: usize,
    bytes: Bytes,
}

impl Tuples {
    /// Takes the next bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether the stream has come to its proper end.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// The next tuple; none until more bytes have come.
    ///
    /// # Errors
    /// What is wrong with the stream.
    pub fn next(&mut self) -> Result<Option<Tuple>, &'static str> {
        if !self.begun && !self.begin()? {
            return Ok(None);
        }
        if self.ended {
            return if self.buffer.is_empty() { Ok(None) } else { Err("it goes on after its end") };
        }
        let Some(count) = short(&self.buffer, 0) else { return Ok(None) };
        if count < 0 {
            self.ended = true;
            self.buffer.advance(2);
            return Ok(None);
        }
        let mut at = 2;
        for _ in 0..count {
            let Some(length) = long(&self.buffer, at) else { return Ok(None) };
            at += 4 + usize::try_from(length.max(0)).unwrap_or(0);
        }
        if self.buffer.len() < at {
            return Ok(None);
        }
        let mut bytes = self.buffer.split_to(at);
        bytes.advance(2);
        Ok(Some(Tuple { fields: usize::try_from(count).unwrap_or(0), bytes: bytes.freeze() }))
    }

    fn begin(&mut self) -> Result<bool, &'static str> {
        let fixed = SIGNATURE.len() + 8;
        let known = SIGNATURE.len().min(self.buffer.len());
        if self.buffer.get(..known) != SIGNATURE.get(..known) {
            return Err("it does not begin like a binary COPY");
        }
        let Some(extension) = long(&self.buffer, fixed - 4) else { return Ok(false) };
        let header = fixed + usize::try_from(extension.max(0)).unwrap_or(0);
        if self.buffer.len() < header {
            return Ok(false);
        }
        self.buffer.advance(header);
        self.begun = true;
        Ok(true)
    }
}

impl Tuple {
    /// The bytes of each field; none for null.
    pub fn fields(&self) -> impl Iterator<Item = Option<&[u8]>> {
        let mut at = 0;
        (0..self.fields).map(move |_| {
            let length = long(&self.bytes, at)?;
            at += 4;
            let length = usize::try_from(length).ok()?;
            let field = self.bytes.get(at..at + length);
            at += length;
            field
        })
    }
}

fn short(bytes: &[u8], at: usize) -> Option<i16> {
    Some(i16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn long(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tuples_come_out_whole_however_the_bytes_are_cut() {
        let mut stream = [SIGNATURE, &[0; 8]].concat();
        for text in ["a", "", "long enough to be cut"] {
            stream.extend(2_i16.to_be_bytes());
            stream.extend((text.len() as i32).to_be_bytes());
            stream.extend(text.as_bytes());
            stream.extend((-1_i32).to_be_bytes());
        }
        stream.extend((-1_i16).to_be_bytes());
        for size in 1..stream.len() {
            let mut tuples = Tuples::default();
            let mut found = Vec::new();
            for bytes in stream.chunks(size) {
                tuples.push(bytes);
                while let Some(tuple) = tuples.next().unwrap() {
                    let fields: Vec<_> = tuple.fields().map(|f| f.map(<[u8]>::to_vec)).collect();
                    found.push(fields);
                }
            }
            let texts: Vec<_> = found.iter().map(|f| f[0].clone().unwrap()).collect();
            assert_eq!(texts, [&b"a"[..], b"", b"long enough to be cut"], "in pieces of {size}");
            assert!(found.iter().all(|f| f.len() == 2 && f[1].is_none()) && tuples.is_ended());
        }
        let mut other = Tuples::default();
        other.push(b"id,name\n");
        assert!(other.next().is_err());
    }
}
