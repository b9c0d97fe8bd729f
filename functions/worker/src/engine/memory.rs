//! The memory that the operators of one run share.

use datafusion::common::{Result, resources_datafusion_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One part in so many is kept for operators that cannot spill; they leave as much to those that can.
const KEPT: usize = 4;

/// A pool whose operators that can spill have equal shares, and in which one that cannot spill (the merge of what others
/// have spilled, above all) always gets a share of what is kept for such. `FairSpillPool` of DataFusion keeps nothing:
/// there, what some sorts hold can leave another sort without the little that it needs to go on, and the run fails.
#[derive(Debug)]
pub struct SharedPool {
    bytes: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes by the consumers' ids; a consumer may have several reservations.
    held: HashMap<usize, usize>,
    spillable: usize,
    unspillable: usize,
    spillers: usize,
}

impl SharedPool {
    /// A pool of `bytes`.
    pub fn new(bytes: usize) -> Self {
        Self { bytes, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What `consumer` may have in all as `state` is.
    fn limit(&self, state: &State, consumer: &MemoryConsumer) -> usize {
        let kept = self.bytes / KEPT;
        let common = self.bytes - kept;
        if consumer.can_spill() {
            return common.saturating_sub(state.unspillable).max(kept) / state.spillers.max(1);
        }
        let others = state.held.len().saturating_sub(state.spillers).max(1);
        let free = common.saturating_sub(state.spillable + state.unspillable);
        (state.of(consumer) + free).max(kept / others)
    }
}

impl State {
    fn of(&self, consumer: &MemoryConsumer) -> usize {
        self.held.get(&consumer.id()).copied().unwrap_or_default()
    }

    fn total(&mut self, consumer: &MemoryConsumer) -> &mut usize {
        if consumer.can_spill() { &mut self.spillable } else { &mut self.unspillable }
    }

    fn grow(&mut self, consumer: &MemoryConsumer, bytes: usize) {
        *self.held.entry(consumer.id()).or_default() += bytes;
        *self.total(consumer) += bytes;
    }
}

impl fmt::Display for SharedPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shared({} MiB)", self.bytes >> 20)
    }
}

impl MemoryPool for SharedPool {
    fn name(&self) -> &str {
        "shared"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        let mut state = self.state();
        state.held.insert(consumer.id(), 0);
        state.spillers += usize::from(consumer.can_spill());
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        let mut state = self.state();
        if state.held.remove(&consumer.id()).is_some() && consumer.can_spill() {
            state.spillers -= 1;
        }
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.state().grow(reservation.consumer(), additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        let mut state = self.state();
        *state.total(reservation.consumer()) -= shrink;
        if let Some(held) = state.held.get_mut(&reservation.consumer().id()) {
            *held -= shrink;
        }
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let consumer = reservation.consumer();
        let mut state = self.state();
        let (has, limit) = (state.of(consumer), self.limit(&state, consumer));
        if has + additional > limit {
            return Err(resources_datafusion_err!(
                "{} asks for {additional} more bytes; it has {has} and may have {limit} of {}",
                consumer.name(),
                self.bytes
            ));
        }
        state.grow(consumer, additional);
        Ok(())
    }

    fn reserved(&self) -> usize {
        let state = self.state();
        state.spillable + state.unspillable
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn consumer(pool: &Arc<dyn MemoryPool>, spills: bool) -> MemoryReservation {
        MemoryConsumer::new("test").with_can_spill(spills).register(pool)
    }

    #[test]
    fn what_is_kept_is_there_when_spillers_hold_all_they_may() {
        let pool: Arc<dyn MemoryPool> = Arc::new(SharedPool::new(1_000));
        let (first, merge) = (consumer(&pool, true), consumer(&pool, false));
        first.try_grow(750).unwrap();
        first.try_grow(1).unwrap_err();
        // A second one comes late: its share is its own, though the first has not spilled yet.
        let second = consumer(&pool, true);
        second.try_grow(375).unwrap();
        second.try_grow(1).unwrap_err();
        let other = consumer(&pool, false);
        merge.try_grow(125).unwrap();
        merge.try_grow(1).unwrap_err();
        other.try_grow(125).unwrap();
        first.free();
        // 750 - 375 - 250 are free.
        other.try_grow(126).unwrap_err();
        other.try_grow(125).unwrap();
        // What cannot spill is taken off the shares: (750 - 375) / 2.
        first.try_grow(188).unwrap_err();
        first.try_grow(187).unwrap();
    }

    #[test]
    fn parts_of_a_reservation_count_as_one_and_what_ends_is_given_back() {
        let pool: Arc<dyn MemoryPool> = Arc::new(SharedPool::new(1_000));
        let whole = consumer(&pool, true);
        whole.try_grow(700).unwrap();
        let part = whole.split(600);
        part.try_grow(51).unwrap_err();
        whole.try_grow(50).unwrap();
        drop(whole);
        assert_eq!(pool.reserved(), 600);
        let other = consumer(&pool, true);
        other.try_grow(376).unwrap_err();
        drop(part);
        assert_eq!(pool.reserved(), 0);
        other.try_grow(750).unwrap();
    }

    #[test]
    fn an_error_says_who_wanted_what() {
        let pool: Arc<dyn MemoryPool> = Arc::new(SharedPool::new(1_000));
        let error = consumer(&pool, false).try_grow(2_000).unwrap_err().strip_backtrace();
        assert_eq!(error, "Resources exhausted: test asks for 2000 more bytes; it has 0 and may have 750 of 1000");
    }
}
