//! What a pipeline asks for that the worker's memory does not hold.

use super::{Bench, fields};
use crate::error::Kind;
use serde_json::json;

fn rows(count: usize, text: &str) -> String {
    let rows: String = (0..count).map(|id| format!("{id},{text}\n")).collect();
    format!("id,t\n{rows}")
}

#[tokio::test]
async fn a_window_over_more_rows_than_the_memory_holds_says_what_to_do() {
    let query = |sql: &str| json!({"nodeType": "sql", "config": {"query": sql}});
    let (file, fields) = (rows(60_000, &"x".repeat(200)), fields(&[("id", "integer"), ("n", "bigint"), ("t", "text")]));
    let whole = query("SELECT id, t, count(*) OVER () AS n FROM input");
    let mut bench = Bench::chain(fields.clone(), &file, &[whole]);
    bench.memory = 16 << 20;
    let fault = bench.fault().await;
    assert!(fault.kind == Kind::Resources && fault.message.contains("frame end at the current row"), "{fault}");
    // What looks behind itself only does not hold all rows.
    let running = query("SELECT id, t, count(*) OVER (ORDER BY id ROWS UNBOUNDED PRECEDING) AS n FROM input");
    let mut bench = Bench::chain(fields, &file, &[running]);
    bench.memory = 16 << 20;
    assert_eq!(bench.run().await.outcome().rows_out, 60_000);
}

#[tokio::test]
async fn a_sort_with_a_limit_of_more_rows_than_the_memory_holds_spills() {
    let sort = json!({"nodeType": "sort", "config": {"by": [{"field": "id", "direction": "desc"}], "limit": 80_000}});
    let measures = json!([
        {"fn": "count", "field": "*", "as": "n"},
        {"fn": "min", "field": "id", "as": "low"},
        {"fn": "max", "field": "id", "as": "high"},
        {"fn": "max", "field": "t", "as": "t"},
    ]);
    let aggregate = json!({"nodeType": "aggregate", "config": {"groupBy": [], "measures": measures}});
    let (text, wanted) = ("x".repeat(200), [("n", "bigint"), ("low", "bigint"), ("high", "bigint"), ("t", "text")]);
    let mut bench = Bench::chain(fields(&wanted), &rows(100_000, &text), &[sort, aggregate]);
    bench.memory = 16 << 20;
    let ran = bench.execution(json!({"parallelism": 2})).run().await;
    ran.outcome();
    assert_eq!(ran.rows(), [json!({"n": 80_000, "low": 20_000, "high": 99_999, "t": text})]);
    assert_eq!(ran.counts("step1"), [100_000, 80_000, 20_000, 0, 0]);
}

#[tokio::test]
async fn texts_that_outgrow_the_memory_end_the_run_and_are_never_made() {
    let ops = |ops: serde_json::Value| json!({"nodeType": "transform", "config": {"ops": ops}});
    let make = |field: &str, expr: &str| json!({"op": "expression", "field": field, "expr": expr});
    let wanted = fields(&[("id", "integer"), ("n", "integer")]);
    let file = rows(5_000, "0123456789");
    let large = ops(json!([make("t", "repeat(t, 10000)"), make("n", "length(t)")]));
    let fault = Bench::chain(wanted.clone(), &file, &[large]).fault().await;
    assert!(fault.kind == Kind::Resources && fault.message.contains("batchSize"), "{fault}");
    // The same text within an expression is made for few rows at once.
    let within = ops(json!([make("n", "length(repeat(t, 10000))")]));
    assert_eq!(Bench::chain(wanted.clone(), &file, &[within]).run().await.outcome().rows_out, 5_000);
    let merge = |into: &str| json!({"op": "merge", "fields": ["t", "u"], "separator": "", "into": into});
    let mut twice = vec![make("u", "t")];
    for _ in 0..20 {
        twice.extend([merge("u"), merge("t")]);
    }
    let fault = Bench::chain(wanted, &file, &[ops(json!(twice))]).fault().await;
    assert!(fault.kind == Kind::Resources && fault.message.contains("batchSize"), "{fault}");
}
