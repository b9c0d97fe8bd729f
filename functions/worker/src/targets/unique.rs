//! Keeps values that must be unique apart within one run, by their hashes, in memory that the run's pool counts.

use super::cast::{Reject, row_ids};
use super::hashes::Hashes;
use crate::engine::progress::RowId;
use crate::error::{Kind, RunError};
use datafusion::arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::Schema;
use datafusion::arrow::util::display::array_value_to_string;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use shared::models::schema::Field;
use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

/// The hashes of the values that one rule has seen.
type Set = HashSet<u128, BuildHasherDefault<Identity>>;

/// Bytes of one bucket of a [`Set`]: a hash, and the byte by which it is found.
const BUCKET: usize = size_of::<u128>() + 1;
/// Values that a set has room for at the least.
const LEAST: usize = 14;

/// The sets of values seen so far, for all partitions of a run.
pub struct Uniques {
    rules: Vec<Rule>,
    hashes: Hashes,
    seen: Mutex<Seen>,
}

/// Columns whose values together must be unique.
#[derive(Debug, Clone)]
pub struct Rule {
    columns: Vec<usize>,
    pub names: Vec<String>,
}

/// What `fields` say: the primary key together, and each unique field by itself. Where rows are unique in `keys` anyway,
/// nothing is asked that follows from it.
pub fn rules(fields: &[Field], table: &Schema, keys: &[String]) -> Vec<Rule> {
    let primary: Vec<&str> =
        fields.iter().filter(|f| f.is_primary_key == Some(true)).map(|f| f.name.as_str()).collect();
    let single = fields.iter().filter(|f| f.is_unique == Some(true)).map(|f| vec![f.name.as_str()]);
    let mut rules: Vec<Rule> = Vec::new();
    for names in std::iter::once(primary).chain(single) {
        let follows = !keys.is_empty() && keys.iter().all(|key| names.contains(&key.as_str()));
        let columns: Vec<usize> = names.iter().filter_map(|name| table.index_of(name).ok()).collect();
        if !columns.is_empty() && !follows && rules.iter().all(|rule| rule.columns != columns) {
            rules.push(Rule { columns, names: names.iter().map(|name| (*name).to_owned()).collect() });
        }
    }
    rules
}

struct Seen {
    sets: Vec<Set>,
    reservation: MemoryReservation,
}

/// The values are hashes already.
#[derive(Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
    fn write_u128(&mut self, value: u128) {
        self.0 = value as u64;
    }
}

impl Uniques {
    /// For the [`rules`] of these fields. None where nothing is to be kept apart.
    pub fn new(fields: &[Field], table: &Schema, keys: &[String], pool: &Arc<dyn MemoryPool>) -> Option<Self> {
        let rules = rules(fields, table, keys);
        if rules.is_empty() {
            return None;
        }
        let sets = rules.iter().map(|_| HashSet::default()).collect();
        let reservation = MemoryConsumer::new("unique values of the target").register(pool);
        let seen = Mutex::new(Seen { sets, reservation });
        Some(Self { rules, hashes: Hashes::default(), seen })
    }

    /// The rows of `batch` whose values nobody had before, and the others. Null is never equal to anything.
    ///
    /// # Errors
    /// `Kind::Resources` where the pool has no memory left for the values.
    pub fn check(&self, batch: RecordBatch) -> Result<(RecordBatch, Vec<Reject>), RunError> {
        let hashes = self.rules.iter().map(|rule| self.hash(rule, &batch)).collect::<Result<Vec<_>, _>>()?;
        let broken = self.insert(&hashes, batch.num_rows())?;
        if broken.is_empty() {
            return Ok((batch, Vec::new()));
        }
        let mut good = vec![true; batch.num_rows()];
        let mut rejects = Vec::with_capacity(broken.len());
        for (row, rule) in broken {
            if let (Some(good), Some(rule)) = (good.get_mut(row), self.rules.get(rule)) {
                *good = false;
                rejects.push(rule.reject(&batch, row)?);
            }
        }
        let kept = filter_record_batch(&batch, &BooleanArray::from(good)).map_err(internal)?;
        Ok((kept, rejects))
    }

    /// One hash a row; none where a value is null.
    fn hash(&self, rule: &Rule, batch: &RecordBatch) -> Result<Vec<Option<u128>>, RunError> {
        let columns: Vec<ArrayRef> = rule.columns.iter().map(|i| Arc::clone(batch.column(*i))).collect();
        let hashes = self.hashes.values(&columns)?;
        let null = |row: usize| columns.iter().any(|column| column.is_null(row));
        Ok(hashes.into_iter().enumerate().map(|(row, hash)| (!null(row)).then_some(hash)).collect())
    }

    /// The rows that break a rule, with the rule. A row that breaks one leaves no trace in the others' sets.
    fn insert(&self, hashes: &[Vec<Option<u128>>], rows: usize) -> Result<Vec<(usize, usize)>, RunError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.make_room(rows)?;
        let mut broken = Vec::new();
        for row in 0..rows {
            let value = |rule: usize| hashes.get(rule).and_then(|h| h.get(row)).copied().flatten();
            let breaks =
                seen.sets.iter().enumerate().find(|(rule, set)| value(*rule).is_some_and(|hash| set.contains(&hash)));
            if let Some((rule, _)) = breaks {
                broken.push((row, rule));
                continue;
            }
            for (rule, set) in seen.sets.iter_mut().enumerate() {
                set.extend(value(rule));
            }
        }
        Ok(broken)
    }
}

impl Seen {
    fn make_room(&mut self, rows: usize) -> Result<(), RunError> {
        for set in &mut self.sets {
            if set.capacity() - set.len() >= rows {
                continue;
            }
            let before = bytes(set.capacity());
            let wanted = (set.len() + rows).max(set.capacity() + 1).max(LEAST);
            // While it grows, the old one is still there.
            self.reservation.try_grow(bytes(wanted)).map_err(|_| {
                RunError::new(
                    Kind::Resources,
                    format!(
                        "the worker's memory is too small to keep {} values apart that must be unique; give it more memory, or \
                         take isUnique off the field and use the load mode upsert or a deduplicate node",
                        set.len() + rows
                    ),
                )
            })?;
            set.reserve(wanted - set.len());
            self.reservation.shrink(before);
        }
        Ok(())
    }
}

/// Bytes of a set with room for so many values: of its buckets, whose number is a power of two, one in eight stays free.
fn bytes(values: usize) -> usize {
    if values == 0 { 0 } else { (values * 8 / 7).next_power_of_two() * BUCKET }
}

impl Rule {
    fn reject(&self, batch: &RecordBatch, row: usize) -> Result<Reject, RunError> {
        let values = self
            .columns
            .iter()
            .map(|column| array_value_to_string(batch.column(*column), row))
            .collect::<Result<Vec<_>, _>>()
            .map_err(internal)?
            .join(", ");
        let names = self.names.join(", ");
        Ok(Reject {
            row: row_ids(batch).filter(|ids| ids.is_valid(row)).map(|ids| RowId(ids.value(row))),
            reason: format!("{values:?} is not unique in {names:?}: another row of this run has it too"),
            column: names,
            value: Some(values),
            index: row,
        })
    }
}

fn internal(error: datafusion::arrow::error::ArrowError) -> RunError {
    RunError::new(Kind::Internal, format!("rows that are not unique cannot be told: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::execution::memory_pool::GreedyMemoryPool;

    #[test]
    fn what_sets_take_is_reserved_also_while_they_grow() {
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(3 << 20));
        let reservation = MemoryConsumer::new("test").register(&pool);
        let mut seen = Seen { sets: vec![Set::default()], reservation };
        let mut values = 0_u128;
        let full = loop {
            if let Err(full) = seen.make_room(1_000) {
                break full;
            }
            seen.sets[0].extend(values..values + 1_000);
            values += 1_000;
            // The buckets that such a set has, seven in eight of which are its capacity.
            assert_eq!(pool.reserved(), seen.sets[0].capacity() / 7 * 8 * 17);
        };
        assert_eq!(full.kind, Kind::Resources);
        // 65,536 buckets are there, and beside them is no room for twice as many.
        assert_eq!(values, 57_000);
    }
}
