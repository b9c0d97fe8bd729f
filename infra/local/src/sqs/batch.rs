//! The actions on up to ten messages at once: each entry succeeds or fails by itself.

use super::Server;
use super::actions::{queue_name, visibility};
use super::attributes::MAX_MESSAGE_BYTES;
use super::error::SqsError;
use super::message::{Checked, Draft};
use serde::Deserialize;
use serde_json::{Value, json};

/// A batch on one queue.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Batch<T> {
    queue_url: Option<String>,
    #[serde(default = "Vec::new")]
    entries: Vec<Entry<T>>,
}

/// An entry of a batch, named by an id of the sender's.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry<T> {
    id: String,
    #[serde(flatten)]
    item: T,
}

/// A received message.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Receipt {
    receipt_handle: Option<String>,
    visibility_timeout: Option<u32>,
}

impl<T> Batch<T> {
    /// The queue and the entries, where their number and their ids are right.
    fn check(self) -> Result<(String, Vec<Entry<T>>), SqsError> {
        let name = queue_name(self.queue_url.as_deref())?;
        match self.entries.len() {
            0 => return Err(SqsError::empty_batch()),
            1..=10 => {}
            count => return Err(SqsError::large_batch(count)),
        }
        let mut seen = std::collections::HashSet::new();
        for entry in &self.entries {
            let is_valid = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            if entry.id.is_empty() || entry.id.len() > 80 || !entry.id.chars().all(is_valid) {
                return Err(SqsError::batch_id());
            }
            if !seen.insert(entry.id.as_str()) {
                return Err(SqsError::repeated_id(&entry.id));
            }
        }
        Ok((name, self.entries))
    }
}

/// What a batch answers.
#[derive(Default)]
struct Outcome {
    successful: Vec<Value>,
    failed: Vec<Value>,
}

impl Outcome {
    fn fail(&mut self, id: &str, error: &SqsError) {
        self.failed.push(json!({
            "Id": id, "SenderFault": error.is_senders, "Code": error.code, "Message": error.message,
        }));
    }

    fn answer(self) -> Value {
        json!({ "Successful": self.successful, "Failed": self.failed })
    }
}

/// `SendMessageBatch`.
pub async fn send(server: &Server, input: Batch<Draft>) -> Result<Value, SqsError> {
    let (name, entries) = input.check()?;
    let queue = name.clone();
    let outcome = server
        .blocking(move |store| {
            let limit = store.queue(&queue)?.attributes.max_message as usize;
            let mut outcome = Outcome::default();
            let mut accepted: Vec<(String, Checked)> = Vec::new();
            for entry in entries {
                match entry.item.check(limit) {
                    Ok(checked) => accepted.push((entry.id, checked)),
                    Err(error) => outcome.fail(&entry.id, &error),
                }
            }
            let size: usize = accepted.iter().map(|(_, checked)| checked.size).sum();
            if size > MAX_MESSAGE_BYTES {
                return Err(SqsError::long_batch(MAX_MESSAGE_BYTES, size));
            }
            let messages: Vec<_> = accepted.iter().map(|(_, checked)| checked.outgoing.clone()).collect();
            let ids = store.send(&queue, &messages)?;
            for ((id, checked), message_id) in accepted.into_iter().zip(ids) {
                outcome.successful.push(json!({
                    "Id": id, "MessageId": message_id, "MD5OfMessageBody": checked.body_md5,
                    "MD5OfMessageAttributes": checked.attributes_md5,
                }));
            }
            Ok(outcome)
        })
        .await?;
    server.ring(&name);
    Ok(outcome.answer())
}

/// `DeleteMessageBatch`.
pub async fn delete(server: &Server, input: Batch<Receipt>) -> Result<Value, SqsError> {
    let (name, entries) = input.check()?;
    each(server, name, entries, |store, name, receipt| {
        let handle = receipt.receipt_handle.as_deref().ok_or_else(|| SqsError::missing("ReceiptHandle"))?;
        store.delete(name, handle)
    })
    .await
}

/// `ChangeMessageVisibilityBatch`.
pub async fn change_visibility(server: &Server, input: Batch<Receipt>) -> Result<Value, SqsError> {
    let (name, entries) = input.check()?;
    let answer = each(server, name.clone(), entries, |store, name, receipt| {
        let handle = receipt.receipt_handle.as_deref().ok_or_else(|| SqsError::missing("ReceiptHandle"))?;
        store.change_visibility(name, handle, visibility(receipt.visibility_timeout)?)
    })
    .await?;
    server.ring(&name);
    Ok(answer)
}

/// Does `work` for each entry; a missing queue fails them all together.
async fn each<T: Send + 'static>(
    server: &Server,
    name: String,
    entries: Vec<Entry<T>>,
    work: impl Fn(&super::store::Store, &str, &T) -> Result<(), SqsError> + Send + 'static,
) -> Result<Value, SqsError> {
    let outcome = server
        .blocking(move |store| {
            store.queue(&name)?;
            let mut outcome = Outcome::default();
            for entry in &entries {
                match work(store, &name, &entry.item) {
                    Ok(()) => outcome.successful.push(json!({ "Id": entry.id })),
                    Err(error) => outcome.fail(&entry.id, &error),
                }
            }
            Ok(outcome)
        })
        .await?;
    Ok(outcome.answer())
}
