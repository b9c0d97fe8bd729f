//! A bounded queue from threads that read files to the partitions that parse what was read.
//!
//! Any partition takes whatever comes next, and all that wait are woken: a partition that nobody polls for a while
//! never holds up the others.

use crate::error::{Kind, RunError};
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// The queue; `T` is what a reader hands over at a time.
#[derive(Debug)]
pub struct Queue<T> {
    state: Mutex<State<T>>,
    room: Condvar,
    capacity: usize,
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<T>,
    waiting: Vec<Waker>,
    readers: usize,
    failed: Option<RunError>,
    closed: bool,
}

impl<T> Queue<T> {
    /// An empty queue that `readers` threads will fill; it ends when all of them have finished.
    pub fn new(capacity: usize, readers: usize) -> Self {
        let state = State { items: VecDeque::new(), waiting: Vec::new(), readers, failed: None, closed: false };
        Self { state: Mutex::new(state), room: Condvar::new(), capacity: capacity.max(1) }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room, then hands over `item`; false where nobody wants more.
    pub fn push(&self, item: T) -> bool {
        let mut state = self.lock();
        while state.items.len() >= self.capacity && !state.closed && state.failed.is_none() {
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed || state.failed.is_some() {
            return false;
        }
        state.items.push_back(item);
        wake(state);
        true
    }

    /// Ends the queue with an error; the first one stays.
    pub fn fail(&self, error: RunError) {
        let mut state = self.lock();
        state.failed.get_or_insert(error);
        self.room.notify_all();
        wake(state);
    }

    /// One reader has read everything that it had to.
    pub fn finish_reader(&self) {
        let mut state = self.lock();
        state.readers = state.readers.saturating_sub(1);
        wake(state);
    }

    /// Nobody wants more: the readers stop. A queue that was read to its end stays as it is.
    pub fn close(&self) {
        let mut state = self.lock();
        if state.readers == 0 && state.items.is_empty() {
            return;
        }
        state.closed = true;
        state.items.clear();
        self.room.notify_all();
        wake(state);
    }

    /// The next item; `None` at the end.
    pub fn poll_next(&self, cx: &Context<'_>) -> Poll<Option<Result<T, RunError>>> {
        let mut state = self.lock();
        if let Some(error) = &state.failed {
            return Poll::Ready(Some(Err(error.clone())));
        }
        if let Some(item) = state.items.pop_front() {
            self.room.notify_one();
            return Poll::Ready(Some(Ok(item)));
        }
        if state.closed {
            let error = RunError::new(Kind::Internal, "a source that was already given up was read again");
            return Poll::Ready(Some(Err(error)));
        }
        if state.readers == 0 {
            return Poll::Ready(None);
        }
        if !state.waiting.iter().any(|w| w.will_wake(cx.waker())) {
            state.waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

fn wake<T>(mut state: MutexGuard<'_, State<T>>) {
    let waiting = std::mem::take(&mut state.waiting);
    drop(state);
    waiting.into_iter().for_each(Waker::wake);
}

/// Fails the queue when a reader ends without having said that it is finished, such as by a panic.
pub struct ReaderGuard<'a, T>(pub &'a Queue<T>);

impl<T> Drop for ReaderGuard<'_, T> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(RunError::new(Kind::Internal, "the thread that reads a file has stopped unexpectedly"));
        }
        self.0.finish_reader();
    }
}
