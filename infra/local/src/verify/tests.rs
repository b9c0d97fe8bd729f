//! Receipts over logs that no run brings about in time: late attempts, retries of retries, and older entries.

use super::checks::{Verdict, all};
use serde_json::{Value, json};
use shared::canonical;
use shared::models::receipt::Receipt;
use tempfile::TempDir;

/// When all commits came, in milliseconds since 1970: 2025-06-15T15:06:40Z.
const AT: i64 = 1_750_000_000_000;

struct Lake(TempDir);

impl Lake {
    /// One with these tables of the tenant `acme`, all of them empty.
    fn new(tables: &[&str]) -> Self {
        let lake = Self(TempDir::new().unwrap());
        for table in tables {
            lake.commit(table, 0, &[json!({"commitInfo": {"timestamp": AT, "operation": "CREATE TABLE"}})]);
        }
        lake
    }

    /// Writes an entry and answers it.
    fn commit(&self, table: &str, version: u64, actions: &[Value]) -> String {
        let log = self.0.path().join("acme").join(table).join("_delta_log");
        std::fs::create_dir_all(&log).unwrap();
        let entry: String = actions.iter().map(|action| format!("{action}\n")).collect();
        std::fs::write(log.join(format!("{version:020}.json")), &entry).unwrap();
        entry
    }

    /// Keeps a run out of a table.
    fn voided(&self, table: &str, version: u64, run: &str) {
        let facts = json!({"runId": run, "loadMode": null, "rowsOut": 0, "skippedRows": 0});
        let info = json!({"commitInfo": {"timestamp": AT, "flowgate": facts}});
        self.commit(table, version, &[info, json!({"txn": {"appId": run, "version": 0}})]);
    }

    /// Lets an attempt of a run commit two rows, and answers what a receipt says of it.
    fn written(&self, table: &str, version: u64, run: &str, attempt: u64) -> Value {
        let facts = json!({
            "runId": run, "loadMode": "append", "rowsOut": 2, "skippedRows": 0, "rejectedRows": 1, "attempt": attempt,
            "readVersion": 0,
        });
        self.written_with(table, version, run, &facts)
    }

    fn written_with(&self, table: &str, version: u64, run: &str, facts: &Value) -> Value {
        let entry = self.commit(
            table,
            version,
            &[
                json!({"commitInfo": {"timestamp": AT, "operation": "WRITE", "flowgate": facts}}),
                json!({"txn": {"appId": run, "version": 1}}),
                json!({"add": {"path": "a.parquet", "size": 10, "stats": "{\"numRecords\":2}"}}),
            ],
        );
        let is_rejected = table.ends_with("_rejected");
        json!({
            "nodeId": if is_rejected { Value::Null } else { json!("node_1") },
            "kind": if is_rejected { "rejected" } else { "delta" },
            "table": table, "writtenBy": run, "attempt": facts["attempt"], "loadMode": facts["loadMode"], "rows": 2,
            "skippedRows": 0, "database": null,
            "delta": {
                "schemaId": table, "location": format!("acme/{table}"), "versionBefore": facts["readVersion"],
                "versionAfter": version, "transaction": {"appId": run, "version": 1}, "filesAdded": 1, "filesRemoved": 0,
                "bytesAdded": 10, "recordsAdded": 2, "watermark": null, "entryHash": canonical::hash_of(entry.as_bytes()),
            },
        })
    }

    /// What is wrong with a receipt or cannot be checked, a line each.
    fn wrong(&self, mut receipt: Value) -> String {
        receipt["digest"] = json!(shared::receipt::digest(&receipt));
        let read: Receipt = serde_json::from_value(receipt.clone()).unwrap();
        let checks = all(&receipt, &read, self.0.path());
        let wrong = checks.into_iter().filter(|c| matches!(c.verdict, Verdict::Failed | Verdict::Unable));
        wrong.map(|check| check.text).collect::<Vec<_>>().join("\n")
    }
}

/// The receipt of a run of two attempts that had rejected a row.
fn receipt(run: &str, retry_of: Option<&str>, targets: &[Value]) -> Value {
    let rows: u64 = targets.iter().filter(|target| target["kind"] == "delta").filter_map(|t| t["rows"].as_u64()).sum();
    let attempt = |number: u32| json!({"attempt": number, "outcome": "completed_with_errors"});
    json!({
        "format": "flowgate-receipt/1", "digest": "", "runId": run, "tenantId": "acme", "pipelineId": "pipe_1",
        "pipelineVersion": 1, "status": "completed_with_errors", "trigger": "manual", "triggeredBy": "ada",
        "retryOf": retry_of, "createdAt": "2025-06-15T15:10:00.000Z", "definition": {"hash": "sha256:00"},
        "parameters": [], "rowsIn": 3, "rowsOut": rows, "failedRows": 1, "skippedRows": 0, "nodes": [],
        "attempts": [attempt(1), attempt(2)], "inputs": [], "targets": targets,
    })
}

#[test]
fn rejected_rows_that_come_when_the_run_has_ended_are_not_held_against_its_receipt() {
    let lake = Lake::new(&["s", "s_rejected"]);
    let rows = lake.written("s", 1, "run_1", 1);
    let rejected = lake.written("s_rejected", 1, "run_1", 1);
    lake.written("s_rejected", 2, "run_1", 2);
    assert_eq!(lake.wrong(receipt("run_1", None, &[rejected.clone(), rows.clone()])), "");
    // Both are late where the run had kept none.
    lake.written("s_rejected", 1, "run_1", 2);
    assert_eq!(lake.wrong(receipt("run_1", None, &[rows])), "");
    // Where the rows are of the second attempt, so are the rejected ones that were there at the end.
    let rows = lake.written("s", 1, "run_1", 2);
    let rejected = lake.written("s_rejected", 1, "run_1", 1);
    let said = lake.wrong(receipt("run_1", None, &[rejected, rows.clone()]));
    assert!(said.contains("the versions that hold it are [1, 2]"), "{said}");
    let said = lake.wrong(receipt("run_1", None, &[rows]));
    assert!(said.contains("in s_rejected version 2 has the run's rows"), "{said}");
}

#[test]
fn rejected_rows_that_were_taken_out_again_need_not_be_listed() {
    let lake = Lake::new(&["s", "s_rejected"]);
    lake.voided("s", 1, "run_1");
    lake.written("s_rejected", 1, "run_1", 1);
    lake.voided("s_rejected", 2, "run_1");
    assert_eq!(lake.wrong(receipt("run_1", None, &[])), "");
}

#[test]
fn rows_of_an_earlier_run_are_those_of_one_that_is_retried() {
    let lake = Lake::new(&["s"]);
    let rows = lake.written("s", 1, "run_1", 1);
    lake.voided("s", 2, "run_2");
    assert_eq!(lake.wrong(receipt("run_2", Some("run_1"), std::slice::from_ref(&rows))), "");
    assert_eq!(lake.wrong(receipt("run_3", Some("run_2"), std::slice::from_ref(&rows))), "");
    let said = lake.wrong(receipt("run_2", None, std::slice::from_ref(&rows)));
    assert!(said.contains("those of run_1, and the run retries no other one"), "{said}");
    let mut before = receipt("run_2", Some("run_1"), std::slice::from_ref(&rows));
    before["createdAt"] = json!("2025-06-15T15:00:00.000Z");
    let said = lake.wrong(before);
    assert!(said.contains("by the log they came in 400 s later"), "{said}");
    // The run that is retried has rows there itself.
    lake.written("s", 2, "run_2", 1);
    let said = lake.wrong(receipt("run_3", Some("run_2"), &[rows]));
    assert!(said.contains("the log has those of run_2, which the run retries"), "{said}");
}

#[test]
fn what_an_older_entry_does_not_say_is_not_held_against_a_receipt() {
    let lake = Lake::new(&["s"]);
    let facts = json!({"runId": "run_1", "loadMode": "append", "rowsOut": 2, "skippedRows": 0});
    let rows = lake.written_with("s", 1, "run_1", &facts);
    assert_eq!(lake.wrong(receipt("run_1", None, std::slice::from_ref(&rows))), "");
    let mut told = rows;
    told["attempt"] = json!(1);
    told["delta"]["versionBefore"] = json!(0);
    let said = lake.wrong(receipt("run_1", None, &[told]));
    assert!(said.contains("attempt: 1: cannot be checked: the log does not say"), "{said}");
    assert!(said.contains("follows version 0, which the run had read: cannot be checked"), "{said}");
}

#[test]
fn a_watermark_that_a_receipt_had_no_room_for_is_held_against_the_log_by_its_beginning() {
    let lake = Lake::new(&["s"]);
    let [a, b] = ["a", "b"].map(|letter| letter.repeat(200_000));
    let facts = json!({
        "runId": "run_1", "loadMode": "incremental_watermark", "rowsOut": 2, "skippedRows": 0, "rejectedRows": 1, "attempt": 1,
        "readVersion": 0, "watermark": {"column": "at", "before": {"value": a}, "after": {"value": b}},
    });
    let rows = lake.written_with("s", 1, "run_1", &facts);
    let wrong = |before: &str, after: &str, shortened: bool| {
        let mut told = rows.clone();
        told["delta"]["watermark"] = json!({"column": "at", "before": before, "after": after, "shortened": shortened});
        lake.wrong(receipt("run_1", None, &[told]))
    };
    assert_eq!(wrong(&a, &b, false), "");
    let (begins, goes_on) = (&a[..100], &b[..100]);
    assert_eq!(wrong(begins, goes_on, true), "");
    // It says that it is short, and no less than what is kept of a value is enough.
    for (before, after, shortened) in
        [(begins, goes_on, false), (goes_on, goes_on, true), (begins, &b[..99], true), ("", goes_on, true)]
    {
        let said = wrong(before, after, shortened);
        assert!(said.contains("watermark") && said.contains("the log has \"at\" from"), "{said}");
    }
}

#[test]
fn a_table_is_listed_once_and_as_what_it_is() {
    let lake = Lake::new(&["s"]);
    let rows = lake.written("s", 1, "run_1", 1);
    let said = lake.wrong(receipt("run_1", None, &[rows.clone(), rows.clone()]));
    assert_eq!(said, "the targets are tables of acme or of databases, each once: acme/s is listed twice");
    // One that claims to be in a database would not be looked at.
    let mut other = rows;
    other["database"] = json!({"connectorId": "conn_1", "ledger": "l", "runId": "run_1", "targetTable": "t"});
    let said = lake.wrong(receipt("run_1", None, &[other]));
    assert!(said.contains("\"s\" is of another kind"), "{said}");
}
