//! The actions on queues and single messages: what each takes and answers.

use super::attributes::QueueAttributes;
use super::error::SqsError;
use super::message::Draft;
use super::{Server, batch, receive};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// Seconds of the longest visibility.
pub const MAX_VISIBILITY: u32 = 43_200;

/// Does what `action` names and answers the JSON text of its result.
pub async fn dispatch(server: &Server, action: &str, body: &[u8]) -> Result<String, SqsError> {
    let result = match action {
        "SendMessage" => send_message(server, read(body)?).await,
        "SendMessageBatch" => batch::send(server, read(body)?).await,
        "ReceiveMessage" => return receive::receive_message(server, read(body)?).await,
        "DeleteMessage" => delete_message(server, read(body)?).await,
        "DeleteMessageBatch" => batch::delete(server, read(body)?).await,
        "ChangeMessageVisibility" => change_visibility(server, read(body)?).await,
        "ChangeMessageVisibilityBatch" => batch::change_visibility(server, read(body)?).await,
        "CreateQueue" => create_queue(server, read(body)?).await,
        "DeleteQueue" => delete_queue(server, read(body)?).await,
        "GetQueueUrl" => get_queue_url(server, read(body)?).await,
        "ListQueues" => list_queues(server, read(body)?).await,
        "GetQueueAttributes" => get_queue_attributes(server, read(body)?).await,
        "SetQueueAttributes" => set_queue_attributes(server, read(body)?).await,
        "PurgeQueue" => purge_queue(server, read(body)?).await,
        other => Err(SqsError::unsupported(other)),
    };
    result.map(|value| value.to_string())
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, SqsError> {
    serde_json::from_slice(if body.is_empty() { b"{}" } else { body }).map_err(SqsError::serialization)
}

/// The name of the queue that a URL names: its last part. The port may be that of an earlier start.
pub fn queue_name(url: Option<&str>) -> Result<String, SqsError> {
    let url = url.filter(|url| !url.is_empty()).ok_or_else(|| SqsError::missing("QueueUrl"))?;
    Ok(url.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned())
}

/// A visibility timeout in its bounds.
pub fn visibility(seconds: Option<u32>) -> Result<u32, SqsError> {
    let seconds = seconds.ok_or_else(|| SqsError::missing("VisibilityTimeout"))?;
    match seconds <= MAX_VISIBILITY {
        true => Ok(seconds),
        false => Err(SqsError::parameter("VisibilityTimeout", seconds, "It must be >= 0 and <= 43200.")),
    }
}

/// A queue by its URL.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OnQueue {
    queue_url: Option<String>,
}

/// A queue by its name.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ByName {
    queue_name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SendMessage {
    queue_url: Option<String>,
    #[serde(flatten)]
    draft: Draft,
}

async fn send_message(server: &Server, input: SendMessage) -> Result<Value, SqsError> {
    let name = queue_name(input.queue_url.as_deref())?;
    let queue = name.clone();
    let draft = input.draft;
    let (ids, body_md5, attributes_md5) = server
        .blocking(move |store| {
            let checked = draft.check(store.queue(&queue)?.attributes.max_message as usize)?;
            let ids = store.send(&queue, std::slice::from_ref(&checked.outgoing))?;
            Ok((ids, checked.body_md5, checked.attributes_md5))
        })
        .await?;
    server.ring(&name);
    let mut answer = json!({ "MessageId": ids.first(), "MD5OfMessageBody": body_md5 });
    if let (Some(md5), Some(answer)) = (attributes_md5, answer.as_object_mut()) {
        answer.insert("MD5OfMessageAttributes".to_owned(), json!(md5));
    }
    Ok(answer)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DeleteMessage {
    queue_url: Option<String>,
    receipt_handle: Option<String>,
}

async fn delete_message(server: &Server, input: DeleteMessage) -> Result<Value, SqsError> {
    let name = queue_name(input.queue_url.as_deref())?;
    let handle = input.receipt_handle.ok_or_else(|| SqsError::missing("ReceiptHandle"))?;
    server.blocking(move |store| store.delete(&name, &handle)).await?;
    Ok(json!({}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ChangeVisibility {
    queue_url: Option<String>,
    receipt_handle: Option<String>,
    visibility_timeout: Option<u32>,
}

async fn change_visibility(server: &Server, input: ChangeVisibility) -> Result<Value, SqsError> {
    let name = queue_name(input.queue_url.as_deref())?;
    let handle = input.receipt_handle.ok_or_else(|| SqsError::missing("ReceiptHandle"))?;
    let seconds = visibility(input.visibility_timeout)?;
    let queue = name.clone();
    server.blocking(move |store| store.change_visibility(&queue, &handle, seconds)).await?;
    // Who waits must look again at when the next message becomes visible.
    server.ring(&name);
    Ok(json!({}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CreateQueue {
    queue_name: Option<String>,
    #[serde(default)]
    attributes: Option<Map<String, Value>>,
}

async fn create_queue(server: &Server, input: CreateQueue) -> Result<Value, SqsError> {
    let name = input.queue_name.ok_or_else(|| SqsError::missing("QueueName"))?;
    let is_valid = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > 80 || !name.chars().all(is_valid) {
        let reason = "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length.";
        return Err(SqsError::parameter("QueueName", &name, reason));
    }
    let mut attributes = QueueAttributes::default();
    attributes.apply(&input.attributes.unwrap_or_default())?;
    let url = server.url(&name);
    server.blocking(move |store| store.create_queue(&name, &attributes)).await?;
    Ok(json!({ "QueueUrl": url }))
}

async fn delete_queue(server: &Server, input: OnQueue) -> Result<Value, SqsError> {
    let name = queue_name(input.queue_url.as_deref())?;
    server.blocking(move |store| store.delete_queue(&name)).await?;
    Ok(json!({}))
}

async fn get_queue_url(server: &Server, input: ByName) -> Result<Value, SqsError> {
    let name = input.queue_name.ok_or_else(|| SqsError::missing("QueueName"))?;
    let url = server.url(&name);
    server.blocking(move |store| store.queue(&name)).await?;
    Ok(json!({ "QueueUrl": url }))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListQueues {
    queue_name_prefix: Option<String>,
    max_results: Option<usize>,
    next_token: Option<String>,
}

async fn list_queues(server: &Server, input: ListQueues) -> Result<Value, SqsError> {
    let limit = input.max_results.unwrap_or(1000);
    if !(1..=1000).contains(&limit) {
        return Err(SqsError::parameter("MaxResults", limit, "It must be >= 1 and <= 1000."));
    }
    let prefix = input.queue_name_prefix.unwrap_or_default();
    let after = input.next_token.unwrap_or_default();
    let mut names = server.blocking(move |store| store.list_queues(&prefix, &after, limit + 1)).await?;
    let has_more = names.len() > limit;
    names.truncate(limit);
    let mut answer = Map::new();
    if has_more {
        answer.insert("NextToken".to_owned(), json!(names.last()));
    }
    let urls: Vec<String> = names.iter().map(|name| server.url(name)).collect();
    answer.insert("QueueUrls".to_owned(), json!(urls));
    Ok(Value::Object(answer))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetAttributes {
    queue_url: Option<String>,
    #[serde(default)]
    attribute_names: Option<Vec<String>>,
}

async fn get_queue_attributes(server: &Server, input: GetAttributes) -> Result<Value, SqsError> {
    let name = queue_name(input.queue_url.as_deref())?;
    let described = server
        .blocking(move |store| {
            let queue = store.queue(&name)?;
            let counts = store.counts(&name)?;
            let mut all = queue.attributes.describe(&name);
            all.extend([
                ("ApproximateNumberOfMessages", counts.visible.to_string()),
                ("ApproximateNumberOfMessagesNotVisible", counts.in_flight.to_string()),
                ("ApproximateNumberOfMessagesDelayed", counts.delayed.to_string()),
                ("CreatedTimestamp", (queue.created_at / 1000).to_string()),
                ("LastModifiedTimestamp", (queue.modified_at / 1000).to_string()),
            ]);
            Ok(all)
        })
        .await?;
    let names = input.attribute_names.unwrap_or_default();
    let chosen: Map<String, Value> = described
        .into_iter()
        .filter(|(name, _)| names.iter().any(|wanted| wanted == "All" || wanted == name))
        .map(|(name, value)| (name.to_owned(), Value::String(value)))
        .collect();
    Ok(match chosen.is_empty() {
        true => json!({}),
        false => json!({ "Attributes": chosen }),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SetAttributes {
    queue_url: Option<String>,
    #[serde(default)]
    attributes: Option<Map<String, Value>>,
}

async fn set_queue_attributes(server: &Server, input: SetAttributes) -> Result<Value, SqsError> {
    let name = queue_name(input.queue_url.as_deref())?;
    let changes = input.attributes.ok_or_else(|| SqsError::missing("Attributes"))?;
    server.blocking(move |store| store.set_attributes(&name, |attributes| attributes.apply(&changes))).await?;
    Ok(json!({}))
}

async fn purge_queue(server: &Server, input: OnQueue) -> Result<Value, SqsError> {
    let name = queue_name(input.queue_url.as_deref())?;
    server.blocking(move |store| store.purge(&name)).await?;
    Ok(json!({}))
}
