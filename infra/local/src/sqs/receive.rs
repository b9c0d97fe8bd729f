//! `ReceiveMessage`: takes what is visible, or waits for it.

use super::Server;
use super::actions::{queue_name, visibility};
use super::attributes::arn;
use super::error::SqsError;
use super::message::{md5_hex, select_attributes};
use super::rows::Received;
use super::store::Store;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// What `ReceiveMessage` takes.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ReceiveMessage {
    queue_url: Option<String>,
    max_number_of_messages: Option<usize>,
    visibility_timeout: Option<u32>,
    wait_time_seconds: Option<u32>,
    #[serde(default)]
    message_attribute_names: Option<Vec<String>>,
    /// The older name of the next one; SDKs still send it.
    #[serde(default)]
    attribute_names: Option<Vec<String>>,
    #[serde(default)]
    message_system_attribute_names: Option<Vec<String>>,
}

/// Messages on their way to the receiver. Where its request ends before it has them, they are visible again at
/// once, as if they had not been received.
struct Handover {
    store: Arc<Store>,
    bell: Arc<Notify>,
    messages: Vec<Received>,
}

impl Drop for Handover {
    fn drop(&mut self) {
        if !self.messages.is_empty() {
            // An error is logged where it is made; the visibility timeout then does the same, later.
            let _ = self.store.give_back(&self.messages);
            self.bell.notify_waiters();
        }
    }
}

/// Answers up to ten messages; waits for the first one as long as the request or the queue says.
pub async fn receive_message(server: &Server, input: ReceiveMessage) -> Result<String, SqsError> {
    let name = queue_name(input.queue_url.as_deref())?;
    let limit = input.max_number_of_messages.unwrap_or(1);
    if !(1..=10).contains(&limit) {
        let reason = "Must be between 1 and 10, if provided.";
        return Err(SqsError::parameter("MaxNumberOfMessages", limit, reason));
    }
    let hidden = input.visibility_timeout.map(|seconds| visibility(Some(seconds))).transpose()?;
    let wait = match input.wait_time_seconds {
        Some(seconds) if seconds > 20 => {
            let reason = "Must be >= 0 and <= 20, if provided.";
            return Err(SqsError::parameter("WaitTimeSeconds", seconds, reason));
        }
        Some(seconds) => seconds,
        None => {
            let queue = name.clone();
            server.blocking(move |store| Ok(store.queue(&queue)?.attributes.receive_wait)).await?
        }
    };
    let mut handover = wait_for(server, &name, limit, hidden, Duration::from_secs(wait.into())).await?;
    let mut system_names = input.attribute_names.unwrap_or_default();
    system_names.extend(input.message_system_attribute_names.unwrap_or_default());
    let names = input.message_attribute_names.unwrap_or_default();
    let described: Result<Vec<Value>, SqsError> =
        handover.messages.iter().map(|message| describe(message, &system_names, &names)).collect();
    let answer = match described? {
        messages if messages.is_empty() => json!({}),
        messages => json!({ "Messages": messages }),
    };
    handover.messages.clear();
    Ok(answer.to_string())
}

/// Takes messages as soon as there are any, at the latest after `wait`.
async fn wait_for(
    server: &Server,
    name: &str,
    limit: usize,
    hidden: Option<u32>,
    wait: Duration,
) -> Result<Handover, SqsError> {
    let deadline = Instant::now() + wait;
    let bell = server.bell(name);
    loop {
        // Listening starts before looking, so that no message slips in between.
        let mut rung = std::pin::pin!(bell.notified());
        rung.as_mut().enable();
        let (handover, next) = attempt(server, name, &bell, limit, hidden).await?;
        if !handover.messages.is_empty() || Instant::now() >= deadline || server.stop.is_cancelled() {
            return Ok(handover);
        }
        let wake = next.map_or(deadline, |after| deadline.min(Instant::now() + after));
        tokio::select! {
            () = rung => {}
            () = tokio::time::sleep_until(wake) => {}
            () = server.stop.cancelled() => {}
        }
    }
}

/// Takes what is visible now; where that is nothing, says when to look again.
async fn attempt(
    server: &Server,
    name: &str,
    bell: &Arc<Notify>,
    limit: usize,
    hidden: Option<u32>,
) -> Result<(Handover, Option<Duration>), SqsError> {
    let (queue, store, bell) = (name.to_owned(), Arc::clone(&server.store), Arc::clone(bell));
    let (handover, moved_to, next) = server
        .blocking(move |_| {
            let (messages, moved_to) = store.receive(&queue, limit, hidden)?;
            let handover = Handover { store: Arc::clone(&store), bell, messages };
            let next = match handover.messages.is_empty() {
                true => store.next_visible(&queue)?,
                false => None,
            };
            let now = store.now();
            Ok((handover, moved_to, next.map(|at| Duration::from_millis(u64::try_from(at - now).unwrap_or(0)))))
        })
        .await?;
    if let Some(dead_letters) = moved_to {
        server.ring(&dead_letters);
    }
    Ok((handover, next))
}

/// A message as the protocol writes it, with the attributes that were asked for.
fn describe(message: &Received, system_names: &[String], names: &[String]) -> Result<Value, SqsError> {
    let mut system = vec![
        ("SenderId", "local".to_owned()),
        ("SentTimestamp", message.sent_at.to_string()),
        ("ApproximateReceiveCount", message.receive_count.to_string()),
        ("ApproximateFirstReceiveTimestamp", message.first_received_at.to_string()),
    ];
    if let Some(source) = &message.source {
        system.push(("DeadLetterQueueSourceArn", arn(source)));
    }
    let chosen: Map<String, Value> = system
        .into_iter()
        .filter(|(name, _)| system_names.iter().any(|wanted| wanted == "All" || wanted == name))
        .map(|(name, value)| (name.to_owned(), Value::String(value)))
        .collect();
    let mut answer = Map::new();
    answer.insert("MessageId".to_owned(), json!(message.message_id));
    answer.insert("ReceiptHandle".to_owned(), json!(message.receipt_handle));
    answer.insert("MD5OfBody".to_owned(), json!(md5_hex(message.body.as_bytes())));
    answer.insert("Body".to_owned(), json!(message.body));
    if !chosen.is_empty() {
        answer.insert("Attributes".to_owned(), Value::Object(chosen));
    }
    if let Some((attributes, md5)) =
        message.attributes.as_deref().map(|stored| select_attributes(stored, names)).transpose()?.flatten()
    {
        answer.insert("MD5OfMessageAttributes".to_owned(), json!(md5));
        answer.insert("MessageAttributes".to_owned(), attributes);
    }
    Ok(Value::Object(answer))
}
