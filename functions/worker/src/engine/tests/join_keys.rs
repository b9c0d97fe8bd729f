//! Joins find the same rows whether they hash or sort, for keys of every type, over many batches.

use super::{Bench, Ran, fields};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Rows of each side.
const ROWS: usize = 1_200;

/// Keys as the files have them: all on the left, every third on the right, and twice.
struct Keys {
    left: fn(usize) -> String,
    right: fn(usize) -> String,
    left_cast: Value,
    right_cast: Value,
}

impl Keys {
    fn of(data_type: &str, text: fn(usize) -> String) -> Self {
        Self { left: text, right: text, left_cast: json!({"type": data_type}), right_cast: json!({"type": data_type}) }
    }
}

fn instant(i: usize) -> String {
    format!("2024-01-{:02}T{:02}:{:02}:00Z", i / 1_440 + 1, i / 60 % 24, i % 60)
}

fn cast(mut to: Value) -> Value {
    to["op"] = json!("cast");
    to["field"] = json!("k");
    json!({"ops": [to]})
}

/// The step over both inputs, with joins that hash, or that sort and spill.
async fn ran(keys: &Keys, kind: &str, config: &Value, sorts: bool) -> Ran {
    // Nobody reads it, but it makes a file large.
    let pad = "x".repeat(4_096);
    let (mut left, mut right) = ("k,pad\n".to_owned(), "k,pad\n".to_owned());
    for i in 0..ROWS {
        writeln!(left, "{},{pad}", (keys.left)(i)).unwrap();
    }
    for i in (0..ROWS).rev().filter(|i| i % 3 == 0) {
        writeln!(right, "{0},{pad}\n{0},{pad}", (keys.right)(i)).unwrap();
    }
    let nodes = json!([
        {"id": "l", "nodeType": "source", "config": {"path": "left.csv"}},
        {"id": "r", "nodeType": "source", "config": {"path": "right.csv"}},
        {"id": "lc", "nodeType": "transform", "config": cast(keys.left_cast.clone())},
        {"id": "rc", "nodeType": "transform", "config": cast(keys.right_cast.clone())},
        {"id": "both", "nodeType": kind, "config": config},
        {"id": "target", "nodeType": "target", "config": {}}
    ]);
    let edges = [
        ("l", "lc", None),
        ("r", "rc", None),
        ("lc", "both", Some("left")),
        ("rc", "both", Some("right")),
        ("both", "target", None),
    ];
    let mut bench = Bench::new(fields(&[("k", "text")]), nodes, &edges)
        .file("left.csv", &left)
        .file("right.csv", &right)
        .execution(json!({"parallelism": 2, "batchSize": 64}));
    bench.memory = if sorts { 12 << 20 } else { 64 << 20 };
    let ran = bench.run().await;
    let told = ran.progress.log_lines().iter().any(|line| line.message.contains("joins that sort and spill"));
    assert_eq!(told, sorts);
    ran
}

/// How many rows each join gives. Of keys that no type holds, a full join cannot show one.
async fn agree(keys: Keys) {
    let is_of_one_type = keys.left_cast == keys.right_cast;
    let on = json!([{"left": "k", "right": "k"}]);
    let third = ROWS as u64 / 3;
    for (kind, config, rows) in [
        ("join", json!({"type": "semi", "on": on}), third),
        ("join", json!({"type": "anti", "on": on}), 2 * third),
        ("join", json!({"type": "inner", "on": on}), 2 * third),
        ("join", json!({"type": "full", "on": on}), 4 * third),
    ] {
        for sorts in [false, true] {
            if !is_of_one_type && config["type"] == "full" {
                continue;
            }
            let ran = ran(&keys, kind, &config, sorts).await;
            assert_eq!(ran.outcome().rows_out, rows, "{config}, sorts: {sorts}");
        }
    }
}

#[tokio::test]
async fn timestamps_with_a_zone_meet() {
    agree(Keys::of("timestamptz", instant)).await;
}

#[tokio::test]
async fn doubles_meet_with_nan_and_both_zeros_among_them() {
    fn double(i: usize, zero: &str) -> String {
        match i {
            0 => zero.to_owned(),
            3 | 4 => ["NaN", "Infinity"][i - 3].to_owned(),
            _ => format!("{}.5", i as i64 - 100),
        }
    }
    agree(Keys { right: |i| double(i, "-0.0"), ..Keys::of("double", |i| double(i, "0.0")) }).await;
}

#[tokio::test]
async fn decimals_that_no_decimal_of_38_digits_holds_meet() {
    let decimal = |scale: u8| json!({"type": "decimal", "precision": 38, "scale": scale});
    agree(Keys {
        left: |i| format!("{i}"),
        right: |i| format!("{i}.00"),
        left_cast: decimal(0),
        right_cast: decimal(20),
    })
    .await;
}

#[tokio::test]
async fn dates_texts_and_numbers_meet() {
    agree(Keys::of("date", |i| format!("{}-{:02}-{:02}", 1990 + i / 336, i / 28 % 12 + 1, i % 28 + 1))).await;
    agree(Keys::of("text", |i| format!("key {i:06}"))).await;
    agree(Keys::of("bigint", |i| format!("{i}"))).await;
}

#[tokio::test]
async fn queries_find_what_is_in_another_query() {
    let keys = Keys::of("timestamptz", instant);
    let third = ROWS as u64 / 3;
    for (query, rows) in [
        ("SELECT k FROM left WHERE k IN (SELECT k FROM right)", third),
        ("SELECT k FROM left l WHERE NOT EXISTS (SELECT 1 FROM right r WHERE r.k = l.k)", 2 * third),
        ("SELECT k FROM left INTERSECT SELECT k FROM right", third),
        ("SELECT k FROM left EXCEPT SELECT k FROM right", 2 * third),
    ] {
        let query = query.replace("left", "\"left\"").replace("right", "\"right\"");
        for sorts in [false, true] {
            let ran = ran(&keys, "sql", &json!({"query": query}), sorts).await;
            assert_eq!(ran.outcome().rows_out, rows, "{query}, sorts: {sorts}");
        }
    }
}
