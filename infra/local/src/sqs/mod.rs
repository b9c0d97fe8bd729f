//! A queue server that speaks the JSON protocol of SQS and keeps its messages on disk.

mod actions;
mod attributes;
mod batch;
mod error;
mod http;
mod message;
mod receive;
mod rows;
mod store;

pub use attributes::{QueueAttributes, Redrive, arn};
pub use error::SqsError;
pub use rows::Counts;

use shared::clock::Clock;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use store::Store;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How often messages are removed that are older than their queue keeps them.
const SWEEP: Duration = Duration::from_secs(60);

/// A running queue server.
pub struct Sqs {
    address: SocketAddr,
    server: Arc<Server>,
    /// Aborted where this is dropped without a shutdown.
    tasks: JoinSet<()>,
}

/// What the requests share.
struct Server {
    store: Arc<Store>,
    /// `http://host:port`.
    endpoint: String,
    /// Rings where a queue got a visible message, by the queue's name.
    bells: Mutex<HashMap<String, Arc<Notify>>>,
    /// Ends long polls, so that a shutdown need not wait for them.
    stop: CancellationToken,
}

impl Sqs {
    /// Serves the queues in the file at `path` on `listener`.
    ///
    /// # Errors
    /// Where the file cannot be opened.
    pub fn start(listener: TcpListener, path: &Path, clock: Clock) -> std::io::Result<Self> {
        let store = Store::open(path, clock)
            .map_err(|e| std::io::Error::other(format!("cannot open the queues in {}: {e}", path.display())))?;
        let address = listener.local_addr()?;
        let server = Arc::new(Server {
            store: Arc::new(store),
            endpoint: format!("http://{address}"),
            bells: Mutex::default(),
            stop: CancellationToken::new(),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(http::serve(listener, Arc::clone(&server)));
        tasks.spawn(sweep(Arc::clone(&server)));
        Ok(Self { address, server, tasks })
    }

    /// `http://host:port`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The URL of a queue.
    pub fn queue_url(&self, name: &str) -> String {
        self.server.url(name)
    }

    /// Makes a queue, or gives one that exists these attributes.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn ensure_queue(&self, name: &str, attributes: &QueueAttributes) -> Result<(), SqsError> {
        self.server.store.ensure_queue(name, attributes)
    }

    /// How many messages a queue has.
    ///
    /// # Errors
    /// `QueueDoesNotExist`.
    pub fn counts(&self, name: &str) -> Result<Counts, SqsError> {
        self.server.store.counts(name)
    }

    /// Ends long polls, finishes what is being answered, and stops.
    pub async fn shutdown(mut self) {
        self.server.stop.cancel();
        let finish = async { while self.tasks.join_next().await.is_some() {} };
        // A client that holds its connection open must not hold the process: what is left is aborted.
        let _ = tokio::time::timeout(Duration::from_secs(2), finish).await;
    }
}

impl Server {
    fn url(&self, name: &str) -> String {
        format!("{}/000000000000/{name}", self.endpoint)
    }

    /// What rings where the queue got a visible message.
    fn bell(&self, name: &str) -> Arc<Notify> {
        let mut bells = self.bells.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(bells.entry(name.to_owned()).or_default())
    }

    /// Wakes those who wait for the queue's messages.
    fn ring(&self, name: &str) {
        self.bell(name).notify_waiters();
    }

    /// Runs `work` where blocking is allowed: SQLite waits for the disk.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, SqsError> + Send + 'static,
    ) -> Result<T, SqsError> {
        let store = Arc::clone(&self.store);
        tokio::task::spawn_blocking(move || work(&store)).await.map_err(SqsError::internal)?
    }
}

/// Removes old messages from time to time.
async fn sweep(server: Arc<Server>) {
    loop {
        tokio::select! {
            () = server.stop.cancelled() => return,
            () = tokio::time::sleep(SWEEP) => {}
        }
        // An error is logged where it is made, and the next sweep tries again.
        let _ = server.blocking(Store::sweep).await;
    }
}
