//! What a call of the tick sends to the workers: in batches, beside the work that it comes from.
//!
//! Everything that goes through it is kept before, and is sent again by a later tick where it does not get through.

use futures::channel::mpsc::{self, UnboundedReceiver, UnboundedSender};
use futures::stream::StreamExt;
use shared::queue::{BATCH, Message, Queue};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Batches that are on their way at once; a call fires some 500 runs a second, and a batch of ten takes some 10 ms.
const AT_ONCE: usize = 4;

/// Where messages to the workers are put.
#[derive(Debug)]
pub struct Outbox {
    messages: UnboundedSender<Message>,
    is_silent: Arc<AtomicBool>,
}

impl Outbox {
    /// Does `work` and sends what it puts into the outbox meanwhile; ends when both are done.
    pub async fn around<T, F: Future<Output = T>>(queue: &Queue, work: impl FnOnce(Self) -> F) -> T {
        let (messages, put) = mpsc::unbounded();
        let outbox = Self { messages, is_silent: Arc::default() };
        let is_silent = Arc::clone(&outbox.is_silent);
        let (done, ()) = futures::join!(work(outbox), send(queue, put, &is_silent));
        done
    }

    /// Puts a message on its way.
    pub fn put(&self, message: Message) {
        // The other end only goes when all of these have gone.
        let _ = self.messages.unbounded_send(message);
    }

    /// Whether the queue did not take a message: then nothing more is sent in this call.
    pub fn is_silent(&self) -> bool {
        self.is_silent.load(Relaxed)
    }
}

async fn send(queue: &Queue, put: UnboundedReceiver<Message>, is_silent: &AtomicBool) {
    let batches = put.ready_chunks(BATCH);
    batches
        .for_each_concurrent(AT_ONCE, |batch| async move {
            // Each would wait as long as the first one, in a call that has other things to do and not much time.
            if is_silent.load(Relaxed) {
                return;
            }
            if let Err(error) = queue.send_all(&batch).await {
                is_silent.store(true, Relaxed);
                tracing::warn!(%error, "the queue takes no runs; what is not sent now the next ticks will send");
            }
        })
        .await;
}
