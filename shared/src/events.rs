//! What Lambda hands to the function of a queue, and what that answers.

use serde::{Deserialize, Serialize};

/// Messages of a queue.
#[derive(Debug, Deserialize)]
pub struct Batch {
    #[serde(rename = "Records")]
    pub records: Vec<Record>,
}

/// A message of a queue. There is more in it, which nobody needs.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    pub message_id: String,
    /// What was sent, which may be anything and must not spoil the other messages.
    #[serde(default)]
    pub body: String,
}

/// Which messages of a batch could not be handled: they are delivered again, and no others.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Failures {
    batch_item_failures: Vec<Failure>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Failure {
    item_identifier: String,
}

impl Failures {
    /// Adds a message.
    pub fn add(&mut self, record: Record) {
        self.batch_item_failures.push(Failure { item_identifier: record.message_id });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_batch_is_read_and_answered_as_lambda_has_it() {
        let event = json!({"Records": [
            {"messageId": "1", "body": "{\"shard\":1}", "eventSource": "aws:sqs", "attributes": {"SenderId": "local"}},
            {"messageId": "2", "body": "no JSON"},
        ]});
        let batch: Batch = serde_json::from_value(event).unwrap();
        assert_eq!(batch.records[0].body, "{\"shard\":1}");
        let mut failures = Failures::default();
        assert_eq!(serde_json::to_value(&failures).unwrap(), json!({"batchItemFailures": []}));
        batch.records.into_iter().skip(1).for_each(|record| failures.add(record));
        let failed = json!({"batchItemFailures": [{"itemIdentifier": "2"}]});
        assert_eq!(serde_json::to_value(&failures).unwrap(), failed);
    }
}
