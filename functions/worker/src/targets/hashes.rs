//! Hashes of rows that are long enough to stand for them.

use datafusion::arrow::array::{Array, ArrayRef, BooleanArray};
use datafusion::common::hash_utils::create_hashes_with_hasher;
use datafusion::error::Result;
use std::hash::RandomState;

/// Two keyed hashes of 64 bits make one of 128: among a billion values two would meet once in 10^20 runs.
#[derive(Default)]
pub struct Hashes([RandomState; 2]);

impl Hashes {
    /// One hash a row; what it is where a value is null says nothing.
    ///
    /// # Errors
    /// Where a type cannot be hashed.
    pub fn values(&self, columns: &[ArrayRef]) -> Result<Vec<u128>> {
        let rows = columns.first().map_or(0, Array::len);
        let [first, second] = &self.0;
        let (mut low, mut high) = (vec![0_u64; rows], vec![0_u64; rows]);
        create_hashes_with_hasher(columns, first, &mut low)?;
        create_hashes_with_hasher(columns, second, &mut high)?;
        Ok(low.into_iter().zip(high).map(|(low, high)| u128::from(high) << 64 | u128::from(low)).collect())
    }

    /// One hash a row, for which null is a value as any other.
    ///
    /// # Errors
    /// Where a type cannot be hashed.
    pub fn rows(&self, columns: &[ArrayRef]) -> Result<Vec<u128>> {
        let mut all = columns.to_vec();
        // A null leaves a hash as it is, so where the nulls are is hashed beside the values.
        for column in columns {
            let nulls: BooleanArray = (0..column.len()).map(|row| Some(column.is_null(row))).collect();
            all.push(std::sync::Arc::new(nulls));
        }
        self.values(&all)
    }
}

impl std::fmt::Debug for Hashes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hashes")
    }
}
