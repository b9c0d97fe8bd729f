//! Replaces a field by the hexadecimal hash of its text.

use super::convert::texts_of;
use super::{Compute, Computed, Misfit, Op, find};
use crate::error::RunError;
use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
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

/// The hash of salt and text, in lower-case hexadecimal digits.
pub(super) fn digest(algorithm: HashAlgorithm, salt: &str, text: &str) -> String {
    fn of<D: Digest>(salt: &str, text: &str) -> String {
        let mut digest = D::new();
        digest.update(salt.as_bytes());
        digest.update(text.as_bytes());
        hex::encode(digest.finalize())
    }
    match algorithm {
        HashAlgorithm::Sha256 => of::<Sha256>(salt, text),
        HashAlgorithm::Sha512 => of::<Sha512>(salt, text),
        HashAlgorithm::Md5 => of::<Md5>(salt, text),
    }
}

impl Compute for Hash {
    fn compute(&self, batch: &RecordBatch, _: &mut Vec<Misfit>) -> Result<Vec<ArrayRef>, RunError> {
        let texts = texts_of(batch, self.place)?;
        let hashed = texts.iter().map(|text| Some(digest(self.algorithm, &self.salt.0, text?)));
        Ok(vec![Arc::new(hashed.collect::<StringArray>())])
    }
}
