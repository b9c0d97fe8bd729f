//! How much room a run's progress and error have in its item, which must never grow past what an item may have: a run that
//! cannot be written cannot end.
//!
//! Of 400 KB the parameters have 64 at most, 60 attempts with their errors some 150.

use super::json;
use crate::error::Result;
use crate::models::run::{Progress, RunFailure};
use aws_sdk_dynamodb::types::AttributeValue;

/// The most bytes of a progress that is kept as it is.
const PROGRESS: usize = 128 * 1024;
/// Characters of a run's error that are kept.
const MESSAGE: usize = 8000;
/// Characters of each text, and lines of the story, that are kept of a progress that is too long.
const TEXT: usize = 100;
const LINES: usize = 50;

/// A progress as it is kept; one that is too long without what can be long.
pub(super) fn progress(progress: &Progress) -> Result<AttributeValue> {
    match json(progress)? {
        AttributeValue::S(text) if text.len() > PROGRESS => json(&shortened(progress)),
        whole => Ok(whole),
    }
}

/// An error as it is kept.
pub(super) fn failure(failure: &RunFailure) -> Result<AttributeValue> {
    let mut kept = failure.clone();
    cut(&mut kept.message, MESSAGE);
    json(&kept)
}

fn shortened(progress: &Progress) -> Progress {
    let mut short = progress.clone();
    // How many there are, and how many are done, stays.
    short.partition_details.clear();
    for node in &mut short.nodes {
        node.warnings.clear();
        cut(&mut node.name, TEXT);
    }
    for error in &mut short.validation_errors {
        cut(&mut error.column, TEXT);
        cut(&mut error.error, TEXT);
    }
    short.log.drain(..short.log.len().saturating_sub(LINES));
    for line in &mut short.log {
        cut(&mut line.message, TEXT);
    }
    short
}

/// Cuts a text that has more than `chars` characters.
fn cut(text: &mut String, chars: usize) {
    if let Some((at, _)) = text.char_indices().nth(chars) {
        text.truncate(at);
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::node::NodeType;
    use crate::models::receipt::AttemptOutcome;
    use crate::models::run::{
        LogLine, MOST_FAILURES, MOST_LOST, NodeProgress, PartitionDetail, RowError, RuleWarnings, Taken, Trigger,
    };
    use crate::models::time::{JsonText, Time};
    use crate::store::{item, keys};
    use serde_json::{Map, Value, json};

    /// Texts of two bytes a character, as long as checks and engine let them be.
    fn long(chars: usize) -> String {
        "ü".repeat(chars)
    }

    fn longest() -> Progress {
        let warnings = vec![RuleWarnings { rule: long(200), rows: u64::MAX }; 100];
        let node = NodeProgress {
            id: long(37),
            name: long(200),
            node_type: NodeType::Validate,
            rows_in: u64::MAX,
            rows_out: u64::MAX,
            filtered: u64::MAX,
            rejected: u64::MAX,
            deduplicated: u64::MAX,
            warnings,
        };
        let error = RowError {
            row: Some(u64::MAX),
            column: long(500),
            value: Some(long(200)),
            error: long(5000),
            node: long(37),
        };
        let partition = PartitionDetail { name: long(1000), status: "completed".to_owned(), rows: u64::MAX };
        let line = LogLine { stage: "planning".to_owned(), message: long(1000), timestamp: long(24) };
        Progress {
            partitions: 1000,
            partition_details: vec![partition; 200],
            nodes: vec![node; 100],
            validation_errors: vec![error; 20],
            log: vec![line; 500],
            ..Progress::default()
        }
    }

    #[test]
    fn a_run_with_the_most_of_everything_fits_its_item() {
        let now = Time(chrono::DateTime::UNIX_EPOCH);
        let version = serde_json::from_value(json!({
            "id": "pipe_1", "tenantId": "acme", "name": "n", "version": 1, "timezone": "UTC", "enabled": true,
            "connectorId": "conn_1", "schemaId": "schema_1", "executionConfig": "{}", "nodes": "[]", "edges": "[]",
            "createdAt": now, "updatedAt": now
        }));
        let mut run = crate::launch::new_run(&version.unwrap(), "run_1".to_owned(), Trigger::Manual, "ada", now);
        let error =
            RunFailure { code: "INTERNAL".to_owned(), message: long(1_000_000), node_id: None, retryable: true };
        let text = |value: AttributeValue| value.as_s().unwrap().clone();
        run.parameters = JsonText(Map::from_iter([("p".to_owned(), Value::String("x".repeat(64 * 1024)))]));
        run.error = Some(JsonText(serde_json::from_str(&text(failure(&error).unwrap())).unwrap()));
        run.progress = Some(JsonText(serde_json::from_str(&text(super::progress(&longest()).unwrap())).unwrap()));
        let taken = Taken {
            worker: long(100),
            started_at: now,
            ended_at: Some(now),
            outcome: Some(AttemptOutcome::Failed),
            error: Some(JsonText(RunFailure { message: long(1000), ..error })),
        };
        run.attempts = vec![taken; (MOST_FAILURES + MOST_LOST) as usize];
        item(&keys::run("acme", "pipe_1", "run_1"), &run).unwrap();
    }

    #[test]
    fn what_has_room_stays_whole() {
        let mut whole = longest();
        whole.nodes.truncate(1);
        whole.nodes[0].warnings.truncate(2);
        whole.partition_details.truncate(3);
        whole.validation_errors.truncate(2);
        whole.log.truncate(3);
        assert_eq!(super::progress(&whole).unwrap(), json(&whole).unwrap());
        let short = shortened(&longest());
        assert_eq!((short.partitions, short.nodes.len(), short.log.len()), (1000, 100, LINES));
    }
}
