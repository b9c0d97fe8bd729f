//! Replaces a field by the hexadecimal hash of its text.

use super::convert::texts_of;
use super::{Compute, Computed, Misfit, Op, find};
use crate::error::RunError;
use datafusion::arrow::array::{Array, ArrayRef, RecordBatch, StringBuilder};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use md5::Md5;
use sha2::{Digest, Sha256, Sha512};
use shared::models::node::HashAlgorithm;
use std::sync::Arc;

#[derive(Debug)]
struct Hash {
    place: usize,
    algorithm: HashAlgorithm,
    salt: Salt,
}

/// Printed by nobody.
struct Salt(String);

impl std::fmt::Debug for Salt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Salt")
    }
}

pub(super) fn build(
    schema: &SchemaRef,
    field: &str,
    algorithm: HashAlgorithm,
    salt: Option<&str>,
) -> Result<Box<dyn Op>, String> {
    let (place, _) = find(schema, field)?;
    let salt = Salt(salt.unwrap_or_default().to_owned());
    Computed::boxed(schema, vec![(field, DataType::Utf8)], Hash { place, algorithm, salt })
}

/// The digits of the longest hash.
const DIGITS: usize = 128;

/// The hash of salt and text, in lower-case hexadecimal digits, which are put into `digits`.
fn digest_into<'d>(algorithm: HashAlgorithm, salt: &str, text: &str, digits: &'d mut [u8; DIGITS]) -> &'d str {
    fn of<'d, D: Digest>(salt: &str, text: &str, digits: &'d mut [u8]) -> &'d str {
        let hash = D::new().chain_update(salt).chain_update(text).finalize();
        let digits = &mut digits[..2 * hash.len()];
        // It is as long as it must be, and ASCII.
        let written = hex::encode_to_slice(hash, digits).is_ok();
        std::str::from_utf8(digits).ok().filter(|_| written).unwrap_or_default()
    }
    match algorithm {
        HashAlgorithm::Sha256 => of::<Sha256>(salt, text, digits),
        HashAlgorithm::Sha512 => of::<Sha512>(salt, text, digits),
        HashAlgorithm::Md5 => of::<Md5>(salt, text, digits),
    }
}

/// The same as a text of its own.
pub(super) fn digest(algorithm: HashAlgorithm, salt: &str, text: &str) -> String {
    digest_into(algorithm, salt, text, &mut [0; DIGITS]).to_owned()
}

impl Compute for Hash {
    fn compute(&self, batch: &RecordBatch, _: &mut Vec<Misfit>) -> Result<Vec<ArrayRef>, RunError> {
        let texts = texts_of(batch, self.place)?;
        let mut digits = [0; DIGITS];
        let mut hashed = StringBuilder::with_capacity(texts.len(), texts.len() * DIGITS);
        for text in &texts {
            hashed.append_option(text.map(|text| digest_into(self.algorithm, &self.salt.0, text, &mut digits)));
        }
        Ok(vec![Arc::new(hashed.finish())])
    }
}
