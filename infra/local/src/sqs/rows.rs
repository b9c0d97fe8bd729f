//! Rows of the queues' tables: what they hold, and the statements on single ones.

use super::attributes::QueueAttributes;
use super::error::SqsError;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use uuid::Uuid;

/// A queue.
#[derive(Debug, Clone)]
pub struct Queue {
    /// What it does with its messages.
    pub attributes: QueueAttributes,
    /// Milliseconds since 1970.
    pub created_at: i64,
    /// Milliseconds since 1970.
    pub modified_at: i64,
}

/// A message to be sent.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The text.
    pub body: String,
    /// The message's own attributes as a JSON object.
    pub attributes: Option<String>,
    /// Seconds for which it stays hidden; the queue's where it is left out.
    pub delay: Option<u32>,
}

/// A received message.
#[derive(Debug, Clone)]
pub struct Received {
    /// The row, for giving it back.
    pub id: i64,
    /// A UUID.
    pub message_id: String,
    /// Names this receive of this message.
    pub receipt_handle: String,
    /// The text.
    pub body: String,
    /// The message's own attributes as a JSON object.
    pub attributes: Option<String>,
    /// Milliseconds since 1970.
    pub sent_at: i64,
    /// Milliseconds since 1970.
    pub first_received_at: i64,
    /// Receives, this one included.
    pub receive_count: u32,
    /// The queue from which it came here as a dead letter.
    pub source: Option<String>,
}

/// How many messages a queue has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Can be received now.
    pub visible: u64,
    /// Received and neither deleted nor visible again.
    pub in_flight: u64,
    /// Sent with a delay that is not over.
    pub delayed: u64,
}

/// Seconds in milliseconds.
pub fn seconds(seconds: u32) -> i64 {
    i64::from(seconds) * 1000
}

/// Messages sent at this instant or before are no longer kept.
pub fn oldest(queue: &Queue, now: i64) -> i64 {
    now - seconds(queue.attributes.retention)
}

/// A queue, where there is one.
pub fn find(connection: &Connection, name: &str) -> Result<Option<Queue>, SqsError> {
    let mut statement =
        connection.prepare_cached("SELECT attributes, created_at, modified_at FROM queues WHERE name = ?1")?;
    let row: Option<(String, i64, i64)> =
        statement.query_row([name], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional()?;
    row.map(|(attributes, created_at, modified_at)| {
        let attributes = serde_json::from_str(&attributes).map_err(SqsError::internal)?;
        Ok(Queue { attributes, created_at, modified_at })
    })
    .transpose()
}

/// A queue that has to be there.
pub fn existing(connection: &Connection, name: &str) -> Result<Queue, SqsError> {
    find(connection, name)?.ok_or_else(|| SqsError::no_queue(name))
}

/// Makes a queue.
pub fn insert(t: &Transaction<'_>, name: &str, attributes: &QueueAttributes, now: i64) -> Result<(), SqsError> {
    let attributes = serde_json::to_string(attributes).map_err(SqsError::internal)?;
    t.execute(
        "INSERT INTO queues (name, attributes, created_at, modified_at) VALUES (?1, ?2, ?3, ?3)",
        params![name, attributes, now],
    )?;
    Ok(())
}

/// Gives a queue other attributes.
pub fn update(t: &Transaction<'_>, name: &str, attributes: &QueueAttributes, now: i64) -> Result<(), SqsError> {
    let attributes = serde_json::to_string(attributes).map_err(SqsError::internal)?;
    t.execute(
        "UPDATE queues SET attributes = ?2, modified_at = ?3 WHERE name = ?1 AND attributes <> ?2",
        params![name, attributes, now],
    )?;
    Ok(())
}

/// Rows and receive counts of the messages that are visible, the longest visible first.
pub fn visible(
    t: &Transaction<'_>,
    name: &str,
    now: i64,
    oldest: i64,
    limit: usize,
) -> Result<Vec<(i64, u32)>, rusqlite::Error> {
    t.prepare_cached(
        "SELECT id, receive_count FROM messages
         WHERE queue = ?1 AND visible_at <= ?2 AND sent_at > ?3 ORDER BY visible_at, id LIMIT ?4",
    )?
    .query_map(params![name, now, oldest, limit as i64], |row| Ok((row.get(0)?, row.get(1)?)))?
    .collect()
}

/// Marks a message as received.
pub fn take(t: &Transaction<'_>, id: i64, now: i64, hidden_until: i64) -> Result<Received, rusqlite::Error> {
    let receipt = Uuid::new_v4().simple().to_string();
    t.prepare_cached(
        "UPDATE messages SET receipt = ?2, visible_at = ?3, received_at = ?4, receive_count = receive_count + 1,
                first_received_at = coalesce(first_received_at, ?4)
         WHERE id = ?1
         RETURNING message_id, body, attributes, sent_at, first_received_at, receive_count, source",
    )?
    .query_row(params![id, receipt, hidden_until, now], |row| {
        Ok(Received {
            id,
            message_id: row.get(0)?,
            receipt_handle: URL_SAFE_NO_PAD.encode(format!("{id}:{receipt}")),
            body: row.get(1)?,
            attributes: row.get(2)?,
            sent_at: row.get(3)?,
            first_received_at: row.get(4)?,
            receive_count: row.get(5)?,
            source: row.get(6)?,
        })
    })
}

/// Moves a message to the dead-letter queue; as on AWS it keeps its id, its age and its count.
pub fn bury(t: &Transaction<'_>, id: i64, from: &str, to: &str, now: i64) -> Result<(), rusqlite::Error> {
    t.prepare_cached(
        "UPDATE messages SET queue = ?3, source = ?2, visible_at = ?4, receipt = NULL, received_at = NULL WHERE id = ?1",
    )?
    .execute(params![id, from, to, now])?;
    Ok(())
}

/// The row and the receipt in a handle that this server gave.
pub fn read_handle(handle: &str) -> Result<(i64, String), SqsError> {
    URL_SAFE_NO_PAD
        .decode(handle)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .and_then(|text| {
            let (id, receipt) = text.split_once(':')?;
            Some((id.parse().ok()?, Uuid::try_parse(receipt).ok()?.simple().to_string()))
        })
        .ok_or_else(SqsError::receipt_handle)
}
