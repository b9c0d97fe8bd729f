//! The attributes of a queue: names, defaults, bounds, and the redrive policy.

use super::error::SqsError;
use serde_json::{Map, Value};

/// Bytes of the longest message, body and attributes together (1 MiB since August 2025).
pub const MAX_MESSAGE_BYTES: usize = 1_048_576;

/// The account and region in the ARNs of local queues.
const ARN_PREFIX: &str = "arn:aws:sqs:local:000000000000:";

/// What a queue does with its messages. Times are in seconds.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct QueueAttributes {
    /// How long a received message stays hidden.
    pub visibility_timeout: u32,
    /// How long a new message stays hidden.
    pub delay: u32,
    /// How long a message is kept.
    pub retention: u32,
    /// How long a receive waits that does not say.
    pub receive_wait: u32,
    /// Bytes of the longest message.
    pub max_message: u32,
    /// Where messages go that were received too often.
    pub redrive: Option<Redrive>,
    /// Who may send its dead letters here; kept and given back, not enforced.
    pub redrive_allow_policy: Option<String>,
    /// Kept and given back, not enforced.
    pub policy: Option<String>,
    /// Encryption at rest; kept and given back, without effect.
    pub kms_key: Option<String>,
}

/// Where messages go that were received too often.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Redrive {
    /// The name of the dead-letter queue.
    pub queue: String,
    /// Receives after which the next one moves the message.
    pub max_receive_count: u32,
}

impl Default for QueueAttributes {
    fn default() -> Self {
        Self {
            visibility_timeout: 30,
            delay: 0,
            retention: 345_600,
            receive_wait: 0,
            max_message: MAX_MESSAGE_BYTES as u32,
            redrive: None,
            redrive_allow_policy: None,
            policy: None,
            kms_key: None,
        }
    }
}

impl QueueAttributes {
    /// Sets the attributes that `changes` names.
    ///
    /// # Errors
    /// `InvalidAttributeName`, `InvalidAttributeValue`, `UnsupportedOperation` for what makes a FIFO queue.
    pub fn apply(&mut self, changes: &Map<String, Value>) -> Result<(), SqsError> {
        for (name, value) in changes {
            match name.as_str() {
                "VisibilityTimeout" => self.visibility_timeout = bounded(name, value, 0, 43_200)?,
                "DelaySeconds" => self.delay = bounded(name, value, 0, 900)?,
                "MessageRetentionPeriod" => self.retention = bounded(name, value, 60, 1_209_600)?,
                "ReceiveMessageWaitTimeSeconds" => self.receive_wait = bounded(name, value, 0, 20)?,
                "MaximumMessageSize" => self.max_message = bounded(name, value, 1024, MAX_MESSAGE_BYTES as u32)?,
                "RedrivePolicy" => self.redrive = redrive(name, value)?,
                "RedriveAllowPolicy" => self.redrive_allow_policy = text(value),
                "Policy" => self.policy = text(value),
                "KmsMasterKeyId" => self.kms_key = text(value),
                "SqsManagedSseEnabled" | "KmsDataKeyReusePeriodSeconds" => {}
                "FifoQueue" | "ContentBasedDeduplication" | "DeduplicationScope" | "FifoThroughputLimit" => {
                    return Err(SqsError::unsupported("A FIFO queue"));
                }
                _ => return Err(SqsError::attribute_name(name)),
            }
        }
        Ok(())
    }

    /// The attributes as `GetQueueAttributes` writes them; all values are strings.
    pub fn describe(&self, name: &str) -> Vec<(&'static str, String)> {
        let mut all = vec![
            ("QueueArn", arn(name)),
            ("VisibilityTimeout", self.visibility_timeout.to_string()),
            ("DelaySeconds", self.delay.to_string()),
            ("MessageRetentionPeriod", self.retention.to_string()),
            ("ReceiveMessageWaitTimeSeconds", self.receive_wait.to_string()),
            ("MaximumMessageSize", self.max_message.to_string()),
            ("SqsManagedSseEnabled", "false".to_owned()),
        ];
        if let Some(redrive) = &self.redrive {
            let policy = serde_json::json!({
                "deadLetterTargetArn": arn(&redrive.queue),
                "maxReceiveCount": redrive.max_receive_count,
            });
            all.push(("RedrivePolicy", policy.to_string()));
        }
        let optional = [
            ("RedriveAllowPolicy", &self.redrive_allow_policy),
            ("Policy", &self.policy),
            ("KmsMasterKeyId", &self.kms_key),
        ];
        all.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))));
        all
    }

    /// The name of an attribute in which a queue that is created again differs.
    pub fn difference(&self, other: &Self) -> Option<&'static str> {
        let (mine, theirs) = (self.describe(""), other.describe(""));
        let value = |all: &[(&'static str, String)], name: &str| all.iter().find(|(n, _)| *n == name).cloned();
        mine.iter().chain(&theirs).map(|(name, _)| *name).find(|name| value(&mine, name) != value(&theirs, name))
    }
}

/// The ARN of a local queue.
pub fn arn(name: &str) -> String {
    format!("{ARN_PREFIX}{name}")
}

/// A non-empty text; an empty one clears an attribute.
fn text(value: &Value) -> Option<String> {
    value.as_str().filter(|s| !s.is_empty()).map(str::to_owned)
}

/// A number given as a number or as a string.
fn number(value: &Value) -> Option<u32> {
    match value {
        Value::String(text) => text.parse().ok(),
        other => other.as_u64().and_then(|n| u32::try_from(n).ok()),
    }
}

fn bounded(name: &str, value: &Value, low: u32, high: u32) -> Result<u32, SqsError> {
    number(value)
        .filter(|n| (low..=high).contains(n))
        .ok_or_else(|| SqsError::attribute_value(name, &format!("it must be a number from {low} to {high}.")))
}

/// Reads a redrive policy; `maxReceiveCount` comes as a number from templates and as a string from some tools.
fn redrive(name: &str, value: &Value) -> Result<Option<Redrive>, SqsError> {
    let Some(policy) = text(value) else { return Ok(None) };
    let wrong = |reason: &str| SqsError::attribute_value(name, reason);
    let policy: Value = serde_json::from_str(&policy).map_err(|_| wrong("it is not JSON."))?;
    let target = policy.get("deadLetterTargetArn").and_then(Value::as_str);
    let queue = target
        .and_then(|target| target.rsplit(':').next())
        .filter(|queue| !queue.is_empty())
        .ok_or_else(|| wrong("deadLetterTargetArn is missing or empty."))?;
    let max_receive_count = policy
        .get("maxReceiveCount")
        .and_then(number)
        .filter(|n| (1..=1000).contains(n))
        .ok_or_else(|| wrong("maxReceiveCount must be a number from 1 to 1000."))?;
    Ok(Some(Redrive { queue: queue.to_owned(), max_receive_count }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn apply(changes: Value) -> Result<QueueAttributes, SqsError> {
        let mut attributes = QueueAttributes::default();
        attributes.apply(changes.as_object().unwrap()).map(|()| attributes)
    }

    #[test]
    fn a_redrive_policy_takes_its_count_as_a_number_or_a_string() {
        for count in ["3", "\"3\""] {
            let policy = format!("{{\"deadLetterTargetArn\": \"{}\", \"maxReceiveCount\": {count}}}", arn("dead"));
            let attributes = apply(json!({ "RedrivePolicy": policy })).unwrap();
            assert_eq!(attributes.redrive, Some(Redrive { queue: "dead".to_owned(), max_receive_count: 3 }));
        }
    }

    #[test]
    fn a_value_out_of_bounds_is_refused_by_name() {
        assert_eq!(apply(json!({ "DelaySeconds": "901" })).unwrap_err().shape, "InvalidAttributeValue");
        assert_eq!(apply(json!({ "Colour": "red" })).unwrap_err().shape, "InvalidAttributeName");
        assert_eq!(apply(json!({ "FifoQueue": "true" })).unwrap_err().shape, "UnsupportedOperation");
    }

    #[test]
    fn what_is_described_can_be_applied_again() {
        let policy = format!("{{\"deadLetterTargetArn\": \"{}\", \"maxReceiveCount\": 20}}", arn("dead"));
        let attributes = apply(json!({ "RedrivePolicy": policy, "VisibilityTimeout": "20" })).unwrap();
        let described: Map<String, Value> = attributes
            .describe("runs")
            .into_iter()
            .filter(|(name, _)| *name != "QueueArn")
            .map(|(name, value)| (name.to_owned(), json!(value)))
            .collect();
        assert_eq!(apply(Value::Object(described)).unwrap(), attributes);
    }
}
