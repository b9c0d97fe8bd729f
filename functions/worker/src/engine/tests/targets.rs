//! Several targets in a pipeline: each is written once, whatever ends between two commits.

use super::*;
use crate::error::Kind;
use crate::targets::settle;

const FILE: &str = "id,name\n1,Ada\n2,Bob\n3,Cy\n";

/// All rows into the pipeline's table, those from 2 on into that of `orders`.
fn two_targets() -> Bench {
    let nodes = json!([
        {"id": "source", "nodeType": "source", "config": {"path": "in.csv"}},
        {"id": "some", "nodeType": "filter", "config": {"condition": "id > 1"}},
        {"id": "all", "nodeType": "target", "config": {}},
        {"id": "orders", "nodeType": "target", "config": {"table": "orders"}},
    ]);
    let edges = [("source", "all", None), ("source", "some", None), ("some", "orders", None)];
    let mut bench = Bench::new(fields(&[("id", "integer"), ("name", "text")]), nodes, &edges).file("in.csv", FILE);
    bench.job["tables"] = json!({"orders": fields(&[("name", "text"), ("id", "bigint")])});
    bench
}

fn orders() -> TableSchema {
    named("orders", fields(&[("name", "text"), ("id", "bigint")]))
}

/// Breaks the second table once the run may commit; answers how to mend it.
fn break_orders(bench: &mut Bench) -> impl FnOnce() + use<> {
    let log = bench.dir.path().join("lake/acme/schema_orders/_delta_log");
    let away = log.with_file_name("away");
    let (from, to) = (log.clone(), away.clone());
    let meanwhile = move || {
        std::fs::rename(&from, &to).unwrap();
        // A file in the place of the folder: nothing can be committed.
        std::fs::write(&from, "").unwrap();
    };
    bench.gate = Arc::new(Gate { meanwhile: Some(Box::new(meanwhile)), ..Gate::default() });
    move || {
        std::fs::remove_file(&log).unwrap();
        std::fs::rename(&away, &log).unwrap();
    }
}

#[tokio::test]
async fn each_target_writes_the_table_of_its_schema() {
    let bench = two_targets();
    let ran = bench.run().await;
    assert_eq!((ran.outcome().rows_in, ran.outcome().rows_out), (3, 5));
    assert_eq!(ran.table.len(), 3);
    assert_eq!(bench.read(&orders()).await, [json!({"name": "Bob", "id": 2}), json!({"name": "Cy", "id": 3})]);
    assert_eq!(ran.counts("some"), [3, 2, 1, 0, 0]);
}

#[tokio::test]
async fn two_targets_of_one_table_are_refused_before_a_row_is_read() {
    let mut bench = two_targets();
    bench.job["tables"] = json!({"orders": fields(&[("id", "bigint")])});
    bench.job["nodes"][2]["config"] = json!({"table": "orders"});
    let error = bench.fault().await;
    assert_eq!((error.kind, error.node.as_deref()), (Kind::Definition, Some("orders")));
    bench.job["nodes"][2]["config"] = json!({"table": "gone"});
    assert!(bench.fault().await.message.contains("\"gone\", whose table is written, does not exist"));
}

#[tokio::test]
async fn a_crash_between_two_commits_doubles_nothing_and_the_next_attempt_fills_in() {
    let mut bench = two_targets();
    let mend = break_orders(&mut bench);
    let ran = bench.run().await;
    let error = ran.result.as_ref().unwrap_err();
    assert!(error.kind.is_retryable(), "{error}");
    assert_eq!(ran.table.len(), 3, "the first table has its rows");
    mend();
    bench.gate = Arc::default();
    // Delivered again, with the same run.
    let again = bench.run().await;
    assert_eq!((again.outcome().rows_in, again.outcome().rows_out), (3, 5));
    assert_eq!((again.table.len(), bench.read(&orders()).await.len()), (3, 2));
    // And once more, with nothing left to do.
    let last = bench.run().await;
    assert_eq!((last.outcome().rows_out, bench.gate.came.load(Relaxed), bench.gate.passed.load(Relaxed)), (5, 1, 1));
    assert_eq!((last.table.len(), bench.read(&orders()).await.len()), (3, 2));
}

#[tokio::test]
async fn settling_asks_every_table_and_a_retry_fills_in_the_others() {
    let mut bench = two_targets();
    let mend = break_orders(&mut bench);
    bench.run().await.result.unwrap_err();
    mend();
    bench.gate = Arc::default();
    let settings = bench.settings();
    let own = bench.job().schema;
    assert!(settle("acme", &own, "run_1", &[], &settings).await.unwrap());
    assert!(!settle("acme", &orders(), "run_1", &[], &settings).await.unwrap());
    // A retry is another run; it leaves the first table as it is.
    bench.job["run"] = json!("run_2");
    bench.earlier = vec![Earlier { run_id: "run_1".to_owned(), replace: false }];
    let retried = bench.run().await;
    assert_eq!(retried.outcome().rows_out, 5);
    assert_eq!((retried.table.len(), bench.read(&orders()).await.len()), (3, 2));
    let earlier = &bench.earlier;
    assert!(
        settle("acme", &own, "run_2", earlier, &settings).await.unwrap(),
        "the rows of the run before stand for it"
    );
    assert!(settle("acme", &orders(), "run_2", earlier, &settings).await.unwrap());
}

#[tokio::test]
async fn a_retry_that_finds_all_rows_in_asks_at_the_gate_too() {
    let mut bench = two_targets();
    bench.run().await.result.unwrap();
    bench.job["run"] = json!("run_2");
    bench.earlier = vec![Earlier { run_id: "run_1".to_owned(), replace: false }];
    let refuses = Some(RunError::new(Kind::Superseded, "the run was cancelled"));
    bench.gate = Arc::new(Gate { refuses, ..Gate::default() });
    let refused = bench.run().await;
    assert_eq!(refused.result.unwrap_err().kind, Kind::Superseded);
    bench.gate = Arc::default();
    let ran = bench.run().await;
    assert_eq!((ran.outcome().rows_in, ran.outcome().rows_out), (5, 5), "by what the commits say");
    assert_eq!((bench.gate.came.load(Relaxed), bench.gate.passed.load(Relaxed)), (0, 1));
    assert_eq!((ran.table.len(), bench.read(&orders()).await.len()), (3, 2));
}

/// Runs a job in a thread of its own, to its end.
fn elsewhere(job: Job, settings: Settings) -> Outcome {
    let scratch = settings.scratch.join("elsewhere");
    let run = async move {
        let progress = Progress::new(job.execution.errors(), scratch, shared::clock::Clock::default());
        let hooks = Hooks { progress, stop: CancellationToken::new(), gate: Arc::new(Gate::default()) };
        execute(job, &settings, hooks).await.unwrap()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    std::thread::spawn(move || runtime.block_on(run)).join().unwrap()
}

#[tokio::test]
async fn an_attempt_that_another_one_overtakes_tells_what_that_one_has_rejected() {
    let bench = Bench::chain(fields(&[("id", "integer")]), "id\n1\nx\n", &[]);
    let mut bench = bench.file("clean.csv", "id\n1\n2\n");
    let source = |path: &str| json!({"path": path});
    bench.job["nodes"][0]["config"] = source("clean.csv");
    let (job, settings) = (bench.job(), bench.settings());
    bench.job["nodes"][0]["config"] = source("in.csv");
    bench.job["attempt"] = json!(2);
    // The first one was slow, and commits when the second one is at its own commit.
    let meanwhile = move || assert_eq!(elsewhere(job.clone(), settings.clone()).rows_out, 2);
    bench.gate = Arc::new(Gate { meanwhile: Some(Box::new(meanwhile)), ..Gate::default() });
    let ran = bench.run().await;
    assert_eq!((ran.progress.rejected(), ran.outcome().failed_rows, ran.outcome().rows_out), (1, 0, 2));
    assert_eq!((ran.outcome().targets[0].attempt, ran.table.len()), (Some(1), 2));
}

#[tokio::test]
async fn rejects_of_a_target_that_is_not_read_for_again_are_still_counted() {
    let mut bench = two_targets();
    bench.job["fields"] = json!([
        {"name": "id", "dataType": "integer"}, {"name": "name", "dataType": "varchar", "length": 2},
    ]);
    let mend = break_orders(&mut bench);
    bench.run().await.result.unwrap_err();
    mend();
    bench.gate = Arc::default();
    let again = bench.run().await;
    assert_eq!((again.outcome().failed_rows, again.table.len()), (2, 1));
}

/// The column `code` into the pipeline's table and into that of `orders`, by these types; the targets in this order.
fn two_types(own: &str, orders: &str, order: [&str; 2]) -> Bench {
    let target = |id: &str| {
        let config = if id == "orders" { json!({"table": "orders"}) } else { json!({}) };
        json!({"id": id, "nodeType": "target", "config": config})
    };
    let nodes = json!([
        {"id": "source", "nodeType": "source", "config": {"path": "in.csv"}}, target(order[0]), target(order[1]),
    ]);
    let edges = [("source", order[0], None), ("source", order[1], None)];
    let mut bench = Bench::new(fields(&[("code", own)]), nodes, &edges).file("in.csv", "code\n007\nx1\n");
    bench.job["tables"] = json!({"orders": fields(&[("code", orders)])});
    bench
}

#[tokio::test]
async fn a_column_that_two_targets_take_by_different_types_is_read_so_that_neither_loses_of_it() {
    for order in [["own", "orders"], ["orders", "own"]] {
        let bench = two_types("integer", "text", order);
        let ran = bench.run().await;
        assert_eq!(ran.outcome().rows_out, 3);
        assert_eq!(ran.rows(), [json!({"code": 7})], "{order:?}");
        let orders = named("orders", fields(&[("code", "text")]));
        assert_eq!(bench.read(&orders).await, [json!({"code": "007"}), json!({"code": "x1"})], "{order:?}");
        assert_eq!((ran.counts("source")[3], ran.counts("own")[3], ran.counts("orders")[3]), (0, 1, 0));
    }
}

#[tokio::test]
async fn an_attempt_reads_a_column_as_the_one_before_although_a_target_has_its_rows() {
    let mut bench = two_types("text", "integer", ["own", "orders"]);
    let mend = break_orders(&mut bench);
    bench.run().await.result.unwrap_err();
    mend();
    bench.gate = Arc::default();
    let again = bench.run().await;
    assert_eq!((again.counts("source")[3], again.counts("orders")[3]), (0, 1), "the target rejects it, not the source");
    assert_eq!(bench.read(&named("orders", fields(&[("code", "integer")]))).await, [json!({"code": 7})]);
}
