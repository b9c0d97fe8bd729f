//! Queues and messages in SQLite: every acknowledged message survives the death of the process.
//!
//! What a sender was promised (a message, a queue) is flushed to the disk before it is acknowledged
//! (`synchronous = FULL`). What a receiver does (receipts, visibility, deletes) is only handed to the operating
//! system (`NORMAL`): it survives a `kill -9` too, and a power cut costs at most another delivery, which
//! "at least once" allows.

use super::attributes::QueueAttributes;
use super::error::SqsError;
use super::rows::{
    Counts, Outgoing, Queue, Received, bury, existing, find, insert, oldest, read_handle, seconds, take, update,
    visible,
};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use shared::clock::Clock;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use uuid::Uuid;

/// Times are milliseconds since 1970; a hidden message is in flight where it has a receipt, else delayed.
const TABLES: &str = "
CREATE TABLE IF NOT EXISTS queues (
    name TEXT PRIMARY KEY, attributes TEXT NOT NULL, created_at INTEGER NOT NULL, modified_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    queue TEXT NOT NULL REFERENCES queues (name) ON DELETE CASCADE,
    message_id TEXT NOT NULL, body TEXT NOT NULL, attributes TEXT,
    sent_at INTEGER NOT NULL, visible_at INTEGER NOT NULL,
    receipt TEXT, receive_count INTEGER NOT NULL DEFAULT 0,
    first_received_at INTEGER, received_at INTEGER, source TEXT
);
CREATE INDEX IF NOT EXISTS messages_by_visibility ON messages (queue, visible_at, id);
CREATE INDEX IF NOT EXISTS messages_by_age ON messages (queue, sent_at);
";

/// Seconds after its receipt beyond which a message cannot stay hidden.
const LONGEST_VISIBILITY: i64 = 43_200;

/// The durable part of the server.
pub struct Store {
    connection: Mutex<Connection>,
    clock: Clock,
}

impl Store {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// Where the file cannot be opened or is not a queue's.
    pub fn open(path: &Path, clock: Clock) -> Result<Self, rusqlite::Error> {
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.busy_timeout(std::time::Duration::from_secs(5))?;
        connection.execute_batch(TABLES)?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok(Self { connection: Mutex::new(connection), clock })
    }

    /// Milliseconds since 1970.
    pub fn now(&self) -> i64 {
        self.clock.now().timestamp_millis()
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One transaction; `durable` flushes it to the disk before it returns.
    fn transact<T>(
        &self,
        durable: bool,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, SqsError>,
    ) -> Result<T, SqsError> {
        let mut connection = self.lock();
        connection.pragma_update(None, "synchronous", if durable { "FULL" } else { "NORMAL" })?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let result = work(&transaction)?;
        transaction.commit()?;
        Ok(result)
    }

    /// Makes a queue; one that exists with the same attributes is left alone.
    ///
    /// # Errors
    /// `QueueNameExists` where its attributes differ.
    pub fn create_queue(&self, name: &str, attributes: &QueueAttributes) -> Result<(), SqsError> {
        let now = self.now();
        self.transact(true, |t| match find(t, name)? {
            Some(queue) => match queue.attributes.difference(attributes) {
                Some(attribute) => Err(SqsError::queue_exists(name, attribute)),
                None => Ok(()),
            },
            None => insert(t, name, attributes, now),
        })
    }

    /// Makes a queue, or gives one that exists these attributes.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn ensure_queue(&self, name: &str, attributes: &QueueAttributes) -> Result<(), SqsError> {
        let now = self.now();
        self.transact(true, |t| match find(t, name)? {
            Some(_) => update(t, name, attributes, now),
            None => insert(t, name, attributes, now),
        })
    }

    /// A queue.
    ///
    /// # Errors
    /// `QueueDoesNotExist`.
    pub fn queue(&self, name: &str) -> Result<Queue, SqsError> {
        existing(&self.lock(), name)
    }

    /// Changes a queue's attributes by `change`.
    ///
    /// # Errors
    /// `QueueDoesNotExist`, or what `change` answers.
    pub fn set_attributes(
        &self,
        name: &str,
        change: impl FnOnce(&mut QueueAttributes) -> Result<(), SqsError>,
    ) -> Result<(), SqsError> {
        let now = self.now();
        self.transact(true, |t| {
            let mut queue = existing(t, name)?;
            change(&mut queue.attributes)?;
            update(t, name, &queue.attributes, now)
        })
    }

    /// Up to `limit` names that start with `prefix`, in order, from behind `after`.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn list_queues(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<String>, SqsError> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "SELECT name FROM queues WHERE name > ?1 AND substr(name, 1, length(?2)) = ?2 ORDER BY name LIMIT ?3",
        )?;
        let names = statement.query_map(params![after, prefix, limit as i64], |row| row.get(0))?;
        Ok(names.collect::<Result<_, _>>()?)
    }

    /// Removes a queue and its messages.
    ///
    /// # Errors
    /// `QueueDoesNotExist`.
    pub fn delete_queue(&self, name: &str) -> Result<(), SqsError> {
        self.transact(true, |t| match t.execute("DELETE FROM queues WHERE name = ?1", [name])? {
            0 => Err(SqsError::no_queue(name)),
            _ => Ok(()),
        })
    }

    /// Removes all messages of a queue.
    ///
    /// # Errors
    /// `QueueDoesNotExist`.
    pub fn purge(&self, name: &str) -> Result<(), SqsError> {
        self.transact(true, |t| {
            existing(t, name)?;
            t.execute("DELETE FROM messages WHERE queue = ?1", [name])?;
            Ok(())
        })
    }

    /// How many messages a queue has.
    ///
    /// # Errors
    /// `QueueDoesNotExist`.
    pub fn counts(&self, name: &str) -> Result<Counts, SqsError> {
        let connection = self.lock();
        let queue = existing(&connection, name)?;
        let now = self.now();
        let mut statement = connection.prepare_cached(
            "SELECT count(*) FILTER (WHERE visible_at <= ?2),
                    count(*) FILTER (WHERE visible_at > ?2 AND receipt IS NOT NULL),
                    count(*) FILTER (WHERE visible_at > ?2 AND receipt IS NULL)
             FROM messages WHERE queue = ?1 AND sent_at > ?3",
        )?;
        Ok(statement.query_row(params![name, now, oldest(&queue, now)], |row| {
            Ok(Counts { visible: row.get(0)?, in_flight: row.get(1)?, delayed: row.get(2)? })
        })?)
    }

    /// Puts messages into a queue, all or none; answers their ids.
    ///
    /// # Errors
    /// `QueueDoesNotExist`.
    pub fn send(&self, name: &str, messages: &[Outgoing]) -> Result<Vec<String>, SqsError> {
        let now = self.now();
        self.transact(true, |t| {
            let queue = existing(t, name)?;
            let mut statement = t.prepare_cached(
                "INSERT INTO messages (queue, message_id, body, attributes, sent_at, visible_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?;
            let mut ids = Vec::with_capacity(messages.len());
            for message in messages {
                let id = Uuid::new_v4().to_string();
                let visible_at = now + seconds(message.delay.unwrap_or(queue.attributes.delay));
                statement.execute(params![name, id, message.body, message.attributes, now, visible_at])?;
                ids.push(id);
            }
            Ok(ids)
        })
    }

    /// Takes up to `limit` visible messages and hides them for `visibility` seconds (the queue's where it is left
    /// out). Those that were received too often go to the dead-letter queue instead, whose name comes second.
    ///
    /// # Errors
    /// `QueueDoesNotExist`.
    pub fn receive(
        &self,
        name: &str,
        limit: usize,
        visibility: Option<u32>,
    ) -> Result<(Vec<Received>, Option<String>), SqsError> {
        // A look without a write lock: most polls of an idle queue find nothing.
        if self.next_visible(name)?.is_none_or(|at| at > self.now()) {
            return Ok((Vec::new(), None));
        }
        let now = self.now();
        self.transact(false, |t| {
            let queue = existing(t, name)?;
            let hidden_until = now + seconds(visibility.unwrap_or(queue.attributes.visibility_timeout));
            let dead_letters = match &queue.attributes.redrive {
                Some(redrive) if find(t, &redrive.queue)?.is_some() => Some(redrive),
                _ => None,
            };
            let (mut received, mut moved_to) = (Vec::new(), None);
            while received.len() < limit {
                let candidates = visible(t, name, now, oldest(&queue, now), limit - received.len())?;
                if candidates.is_empty() {
                    break;
                }
                for (id, count) in candidates {
                    match dead_letters {
                        Some(redrive) if count >= redrive.max_receive_count => {
                            bury(t, id, name, &redrive.queue, now)?;
                            moved_to = Some(redrive.queue.clone());
                        }
                        _ => received.push(take(t, id, now, hidden_until)?),
                    }
                }
                if hidden_until <= now {
                    break; // a visibility of zero: the same messages would come again
                }
            }
            Ok((received, moved_to))
        })
    }

    /// Makes messages visible again whose receiver went away before it got them, as if they had not been received.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn give_back(&self, messages: &[Received]) -> Result<(), SqsError> {
        let now = self.now();
        self.transact(false, |t| {
            for message in messages {
                t.prepare_cached(
                    "UPDATE messages SET visible_at = ?2, receive_count = receive_count - 1
                     WHERE id = ?1 AND receive_count = ?3",
                )?
                .execute(params![message.id, now, message.receive_count])?;
            }
            Ok(())
        })
    }

    /// When the next message of a queue is or becomes visible, in milliseconds since 1970.
    ///
    /// # Errors
    /// `QueueDoesNotExist`.
    pub fn next_visible(&self, name: &str) -> Result<Option<i64>, SqsError> {
        let connection = self.lock();
        let queue = existing(&connection, name)?;
        let mut statement = connection.prepare_cached(
            "SELECT visible_at FROM messages WHERE queue = ?1 AND sent_at > ?2 ORDER BY visible_at LIMIT 1",
        )?;
        Ok(statement.query_row(params![name, oldest(&queue, self.now())], |row| row.get(0)).optional()?)
    }

    /// Removes a message. A handle of an earlier receive removes nothing, without an error, as on AWS.
    ///
    /// # Errors
    /// `QueueDoesNotExist`, `ReceiptHandleIsInvalid`.
    pub fn delete(&self, name: &str, receipt_handle: &str) -> Result<(), SqsError> {
        let (id, receipt) = read_handle(receipt_handle)?;
        self.transact(false, |t| {
            existing(t, name)?;
            t.prepare_cached("DELETE FROM messages WHERE id = ?1 AND queue = ?2 AND receipt = ?3")?
                .execute(params![id, name, receipt])?;
            Ok(())
        })
    }

    /// Hides a message in flight for another `visibility` seconds from now.
    ///
    /// # Errors
    /// `QueueDoesNotExist`, `ReceiptHandleIsInvalid`, `MessageNotInflight`, `InvalidParameterValue` where the message
    /// is gone, was received by someone else, or would be hidden for more than twelve hours.
    pub fn change_visibility(&self, name: &str, receipt_handle: &str, visibility: u32) -> Result<(), SqsError> {
        let (id, receipt) = read_handle(receipt_handle)?;
        let now = self.now();
        self.transact(false, |t| {
            existing(t, name)?;
            let row: Option<(i64, i64)> = t
                .prepare_cached(
                    "SELECT visible_at, received_at FROM messages WHERE id = ?1 AND queue = ?2 AND receipt = ?3",
                )?
                .query_row(params![id, name, receipt], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            let Some((visible_at, received_at)) = row else {
                let reason = "Message does not exist or is not available for visibility timeout change.";
                return Err(SqsError::parameter("ReceiptHandle", receipt_handle, reason));
            };
            if visible_at <= now {
                return Err(SqsError::not_in_flight());
            }
            let until = now + seconds(visibility);
            if until > received_at + LONGEST_VISIBILITY * 1000 {
                let reason = "Total VisibilityTimeout for the message is beyond the limit [43200 seconds].";
                return Err(SqsError::parameter("VisibilityTimeout", visibility, reason));
            }
            t.prepare_cached("UPDATE messages SET visible_at = ?2 WHERE id = ?1")?.execute(params![id, until])?;
            Ok(())
        })
    }

    /// Removes messages that are older than their queue keeps them.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn sweep(&self) -> Result<usize, SqsError> {
        let now = self.now();
        let names = self.list_queues("", "", usize::MAX >> 1)?;
        self.transact(false, |t| {
            let mut removed = 0;
            for name in &names {
                if let Some(queue) = find(t, name)? {
                    removed += t.execute(
                        "DELETE FROM messages WHERE queue = ?1 AND sent_at <= ?2",
                        params![name, oldest(&queue, now)],
                    )?;
                }
            }
            Ok(removed)
        })
    }
}
