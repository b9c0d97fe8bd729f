//! Counts that add up, limits on rejects, and what stops a run.

use super::{Bench, Gate, fields};
use crate::engine::progress::{NodeCounters, Progress, RowId};
use crate::error::{Kind, RunError};
use serde_json::{Value, json};
use shared::models::node::NodeType;
use shared::models::pipeline::ErrorHandling;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

fn cast() -> Value {
    json!({"nodeType": "transform", "config": {"ops": [{"op": "cast", "field": "t", "type": "integer"}]}})
}

fn options() -> Value {
    json!({"path": "in.csv", "options": {"inferTypes": false}})
}

fn garbage() -> Bench {
    let mut bench = Bench::chain(fields(&[("t", "integer")]), "t\n1\nx\n3\ny\n5\n", &[cast()]);
    bench.job["nodes"][0]["config"] = options();
    bench
}

#[tokio::test]
async fn rejected_rows_are_counted_and_reported_with_their_place() {
    let bench = garbage();
    let ran = bench.run().await;
    assert_eq!(ran.counts("source"), [5, 5, 0, 0, 0]);
    assert_eq!(ran.counts("step1"), [5, 3, 0, 2, 0]);
    assert_eq!(ran.counts("target"), [3, 3, 0, 0, 0]);
    assert_eq!((ran.outcome().failed_rows, ran.outcome().rows_out), (2, 3));
    let errors = ran.errors();
    assert_eq!((errors[0].row, errors[0].column.as_str(), errors[0].value.as_deref()), (Some(2), "t", Some("x")));
    assert_eq!(errors[0].error, "\"x\" is not an integer");
    let spool = std::fs::read_to_string(ran.outcome().errors.as_ref().unwrap()).unwrap();
    assert_eq!(spool.lines().count(), 2);
}

#[tokio::test]
async fn the_first_rejected_rows_are_those_of_the_first_rows_whoever_comes_first() {
    let dir = tempfile::TempDir::new().unwrap();
    let progress = Progress::new(ErrorHandling::default(), dir.path().join("errors"), shared::clock::Clock::default());
    let node = NodeCounters::new("n", "n", NodeType::Target);
    for row in (1..=30).rev() {
        progress.reject(&node, Some(RowId::new(1, 0, row)), "c", None, "no").unwrap();
    }
    progress.reject(&node, None, "c", None, "of no row").unwrap();
    progress.reject(&node, Some(RowId::new(0, 3, 77)), "c", None, "no").unwrap();
    let rows: Vec<_> = progress.first_errors().into_iter().map(|error| error.row.unwrap()).collect();
    assert_eq!(rows, std::iter::once(77).chain(1..=19).collect::<Vec<_>>());
}

#[tokio::test]
async fn rejected_rows_are_there_for_whoever_asks_for_them_again() {
    let dir = tempfile::TempDir::new().unwrap();
    let path = dir.path().join("errors");
    let progress = Progress::new(ErrorHandling::default(), path.clone(), shared::clock::Clock::default());
    assert_eq!(progress.finish_errors().unwrap(), None);
    let node = NodeCounters::new("n", "n", NodeType::Target);
    for row in 1..=2 {
        progress.reject(&node, Some(RowId::new(0, 0, row)), "c", None, "no").unwrap();
        // The gate asks for them, and who ends a run that did not come through it.
        for asked in ["at the gate", "at the end"] {
            assert_eq!(progress.finish_errors().unwrap(), Some(path.clone()), "{asked}");
            assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count() as u64, row, "{asked}");
        }
    }
}

#[tokio::test]
async fn limits_on_rejected_rows_fail_the_run_and_nothing_is_written() {
    for (handling, word) in [
        (json!({"onError": "fail"}), "fails at the first rejected row"),
        (json!({"onError": "skip", "maxErrors": 1}), "maxErrors = 1"),
        (json!({"onError": "skip", "maxErrorRate": 0.3}), "40.00 %"),
    ] {
        let fault = garbage().execution(json!({"errorHandling": handling})).fault().await;
        assert_eq!(fault.kind, Kind::Data);
        assert!(fault.message.contains(word), "{fault}");
    }
    let ran = garbage()
        .execution(json!({"errorHandling": {"onError": "skip", "maxErrorRate": 0.4, "maxErrors": 2}}))
        .run()
        .await;
    assert_eq!(ran.outcome().rows_out, 3);
}

#[tokio::test]
async fn a_node_with_two_consumers_counts_and_reports_once() {
    let nodes = json!([
        {"id": "s", "nodeType": "source", "config": options()},
        {"id": "c", "nodeType": "transform", "config": cast()["config"]},
        {"id": "small", "nodeType": "filter", "config": {"condition": "t < 3"}},
        {"id": "large", "nodeType": "filter", "config": {"condition": "t >= 3"}},
        {"id": "u", "nodeType": "union", "config": {}},
        {"id": "target", "nodeType": "target", "config": {}}
    ]);
    let edges = [
        ("s", "c", None),
        ("c", "small", None),
        ("c", "large", None),
        ("small", "u", None),
        ("large", "u", None),
        ("u", "target", None),
    ];
    let ran = Bench::new(fields(&[("t", "integer")]), nodes, &edges).file("in.csv", "t\n1\nx\n3\ny\n5\n").run().await;
    assert_eq!(ran.outcome().rows_in, 5);
    assert_eq!(ran.outcome().failed_rows, 2);
    assert_eq!(ran.counts("c"), [5, 3, 0, 2, 0]);
    assert_eq!(ran.counts("small"), [3, 1, 2, 0, 0]);
    assert_eq!(ran.counts("large"), [3, 2, 1, 0, 0]);
    assert_eq!(ran.counts("u"), [3, 3, 0, 0, 0]);
    assert_eq!(ran.rows(), [json!({"t": 1}), json!({"t": 3}), json!({"t": 5})]);
}

#[tokio::test]
async fn a_run_that_is_stopped_behind_its_gate_writes_nothing() {
    for mode in ["append", "upsert"] {
        let fields = json!([{"name": "id", "dataType": "bigint", "isPrimaryKey": true}]);
        let mut bench = Bench::chain(fields, "id\n1\n2\n", &[]);
        bench.job["nodes"][1]["config"] = json!({"loadMode": mode});
        let stop = bench.stop.clone();
        bench.gate = Arc::new(Gate { meanwhile: Some(Box::new(move || stop.cancel())), ..Gate::default() });
        let ran = bench.run().await;
        assert_eq!(ran.result.unwrap_err().kind, Kind::Cancelled, "{mode}");
        assert_eq!((bench.gate.came.load(Relaxed), ran.table), (1, Vec::new()), "{mode}");
        let table = bench.dir.path().join("lake/acme/schema_1");
        let left: Vec<_> = std::fs::read_dir(table).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["_delta_log"], "{mode}");
    }
}

#[tokio::test]
async fn a_run_that_is_stopped_writes_nothing() {
    let bench = garbage();
    bench.stop.cancel();
    assert_eq!(bench.fault().await.kind, Kind::Cancelled);
    assert_eq!(bench.gate.came.load(Relaxed), 0);
}

#[tokio::test]
async fn a_gate_that_refuses_leaves_nothing_behind() {
    let mut bench = garbage();
    bench.gate =
        Arc::new(Gate { refuses: Some(RunError::new(Kind::Superseded, "another worker has it")), ..Gate::default() });
    assert_eq!(bench.fault().await.kind, Kind::Superseded);
    let files = walk(&bench.dir.path().join("lake"));
    assert!(!files.iter().any(|f| f.ends_with(".parquet")), "{files:?}");
}

fn walk(folder: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            found.extend(walk(&entry.path()))
        } else {
            found.push(entry.path().display().to_string())
        }
    }
    found
}

#[tokio::test]
async fn a_run_that_is_executed_again_after_its_commit_changes_nothing() {
    let bench = garbage();
    assert_eq!(bench.rows().await.len(), 3);
    let again = bench.run().await;
    assert_eq!(again.rows().len(), 3);
    assert_eq!(again.outcome().rows_out, 3);
    assert_eq!(bench.gate.came.load(Relaxed), 1);
}

#[tokio::test]
async fn many_files_and_all_partitionings_give_the_same_rows() {
    for partitioning in [
        json!({"strategy": "none"}),
        json!({"strategy": "file"}),
        json!({"strategy": "hash", "columns": ["k"], "count": 3}),
        json!({"strategy": "range", "column": "k", "count": 4}),
    ] {
        let mut bench = Bench::chain(
            fields(&[("k", "integer"), ("n", "bigint")]),
            "",
            &[
                json!({"nodeType": "transform", "config": {"ops": [{"op": "expression", "field": "k", "expr": "k % 10"}]}}),
                json!({"nodeType": "aggregate", "config": {"groupBy": ["k"], "measures": [{"fn": "count", "field": "*", "as": "n"}]}}),
            ],
        );
        bench.job["nodes"][0]["config"] = json!({"path": "many"});
        for file in 0..5 {
            let rows: String = (0..2_000).map(|i| format!("{}\n", i * 5 + file)).collect();
            bench = bench.file(&format!("many/{file}.csv"), &format!("k\n{rows}"));
        }
        let ran =
            bench.execution(json!({"partitioning": partitioning, "batchSize": 100, "parallelism": 3})).run().await;
        assert_eq!(ran.outcome().rows_in, 10_000);
        assert_eq!(ran.rows(), (0..10).map(|k| json!({"k": k, "n": 1000})).collect::<Vec<_>>());
    }
}
