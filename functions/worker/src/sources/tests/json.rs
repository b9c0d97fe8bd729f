//! json and jsonl: typing, rejects, arrays and objects.

use super::Root;
use datafusion::arrow::datatypes::{DataType, TimeUnit};
use serde_json::json;

#[tokio::test]
async fn jsonl_has_the_union_of_the_keys_in_order_of_appearance() {
    let rows = Root::with(
        "a.jsonl",
        "{\"id\": 1, \"name\": \"A\\u00e9\", \"zip\": \"007\", \"on\": \"2024-01-01\", \"x\": {\"a\": [1, 2]}}\n\n\
         {\"name\": null, \"id\": 2, \"ok\": true, \"n\": 1.5, \"at\": \"2024-01-01T00:00:00\", \"n\": 2}\n",
    )
    .read()
    .await;
    let names: Vec<&str> = rows.columns.iter().map(|c| c.0.as_str()).collect();
    assert_eq!(names, ["id", "name", "zip", "on", "x", "ok", "n", "at"]);
    assert_eq!(
        rows.types(),
        [
            DataType::Int64,
            DataType::Utf8,
            DataType::Utf8,
            DataType::Date32,
            DataType::Utf8,
            DataType::Boolean,
            DataType::Float64,
            DataType::Timestamp(TimeUnit::Microsecond, None),
        ]
    );
    assert_eq!(rows.texts(), ["1|Aé|007|2024-01-01|{\"a\":[1,2]}|-|-|-", "2|-|-|-|-|true|2.0|2024-01-01T00:00:00"]);
    assert_eq!(rows.ids, [(0, 1), (0, 2)]);
}

#[tokio::test]
async fn lines_that_are_not_json_or_do_not_fit_are_rejected() {
    let text = "{\"a\": 1}\n{\"a\": 2\n[3]\n{\"a\": \"x\"}\n{\"a\": {\"b\": 1}}\n{\"a\": 5} 6\n{\"a\": 7}";
    let rows = Root::with("a.jsonl", text).options(json!({"columns": {"a": "integer"}})).read().await;
    assert_eq!(rows.texts(), ["1", "7"]);
    let reasons = rows.reasons();
    assert_eq!(reasons.iter().map(|r| r.0).collect::<Vec<_>>(), [2, 3, 4, 5, 6]);
    assert!(reasons[0].2.contains("not valid JSON"), "{reasons:?}");
    assert!(reasons[1].2.contains("not a JSON object"), "{reasons:?}");
    assert_eq!(reasons[2].2, "\"x\" is not an integer");
    assert_eq!(reasons[3].1, "a");
    assert_eq!(rows.counted, (7, 2, 5));
}

#[tokio::test]
async fn an_array_an_object_and_a_sequence_are_all_records() {
    for text in [
        " [ {\"a\": 1, \"b\": \"}]\\\"\"} , {\"a\": 2} ] \n",
        "{\"a\": 1, \"b\": \"}]\\\"\"}\n{\"a\": 2}",
        "[{\"a\":1,\"b\":\"}]\\\"\"},{\"a\":2}]",
    ] {
        let rows = Root::with("a.json", text).read().await;
        assert_eq!(rows.texts(), ["1|}]\"", "2|-"], "{text}");
    }
    let rows = Root::with("a.json", "{\n \"a\": [\n  1\n ]\n}").read().await;
    assert_eq!(rows.texts(), ["[1]"]);
    let rows = Root::with("a.json", "[{\"a\": 1}, 2, \"x\", null, {\"a\": ,}, {\"a\": 3}]").read().await;
    assert_eq!(rows.texts(), ["1", "3"]);
    assert_eq!(rows.reasons().iter().map(|r| r.0).collect::<Vec<_>>(), [2, 3, 4, 5]);
}

#[tokio::test]
async fn an_array_that_is_cut_off_is_a_fault() {
    for text in [
        "[{\"a\": 1}, {\"a\":",
        "[{\"a\": 1}",
        "[{\"a\": 1},",
        "[{\"a\": 1} {\"a\": 2}]",
        "[{\"a\": 1}] x",
        "{\"a\": 1",
        "",
        "7",
    ] {
        let fault = Root::with("a.json", text).fault().await;
        assert!(fault.contains("a.json"), "{text}: {fault}");
    }
}

#[tokio::test]
async fn no_record_needs_columns_that_are_named() {
    assert!(Root::with("a.json", "[]").fault().await.contains("options.columns"));
    let rows = Root::with("a.json", "[]").expect("id", json!({"dataType": "bigint"})).read().await;
    assert_eq!(rows.types(), [DataType::Int64]);
    assert!(rows.rows.is_empty());
    let rows = Root::with("a.jsonl", "").options(json!({"columns": {"id": "text"}})).read().await;
    assert_eq!(rows.types(), [DataType::Utf8]);
}

#[tokio::test]
async fn decimals_are_exact() {
    let rows = Root::with("a.jsonl", "{\"a\": 12345678901234567890.123456789}\n{\"a\": \"0.1\"}\n")
        .expect("a", json!({"dataType": "decimal", "precision": 38, "scale": 9}))
        .read()
        .await;
    assert_eq!(rows.texts(), ["12345678901234567890.123456789", "0.100000000"]);
}

#[tokio::test]
async fn a_key_that_the_target_wants_and_that_comes_late_is_not_lost_silently() {
    let mut text: String = (0..10_000).map(|i| format!("{{\"a\": {i}}}\n")).collect();
    text.push_str("{\"a\": 1, \"b\": 2}\n{\"a\": 1, \"c\": 2}\n");
    let rows = Root::with("a.jsonl", text).expect("b", json!({"dataType": "bigint"})).read().await;
    assert_eq!(rows.rows.len(), 10_001);
    assert_eq!(rows.reasons()[0].0, 10_001);
    assert!(rows.reasons()[0].2.contains("options.columns"));
}

#[tokio::test]
async fn a_late_key_whose_value_is_null_loses_nothing() {
    let mut text: String = (0..10_000).map(|i| format!("{{\"a\": {i}}}\n")).collect();
    text.push_str("{\"a\": 1, \"b\": null}\n{\"b\": \"-\", \"a\": 2}\n{\"a\": 3, \"b\": \"null\"}\n");
    let rows = Root::with("a.jsonl", text)
        .options(json!({"nullValues": ["-"]}))
        .expect("b", json!({"dataType": "text"}))
        .read()
        .await;
    assert_eq!(rows.rows.len(), 10_002);
    assert_eq!(rows.reasons().iter().map(|reason| reason.0).collect::<Vec<_>>(), [10_003]);
}

#[tokio::test]
async fn a_long_array_is_split_into_chunks() {
    let records: Vec<String> = (0..50_000).map(|i| format!("{{\"id\": {i}, \"t\": \"text {i}\"}}")).collect();
    let rows = Root::with("a.json", format!("[{}]", records.join(",\n"))).read().await;
    assert_eq!(rows.rows.len(), 50_000);
    assert_eq!(rows.texts()[49_999], "49999|text 49999");
}

#[tokio::test]
async fn compressed_jsonl_in_latin1_is_read() {
    let text = zstd::encode_all(b"{\"a\": \"Jos\xe9\"}\n".as_slice(), 1).unwrap();
    let rows = Root::with("a.ndjson.zst", text).options(json!({"encoding": "latin1"})).read().await;
    assert_eq!(rows.texts(), ["José"]);
    let rows = Root::with("a.jsonl", b"{\"a\": \"Jos\xe9\"}\n{\"a\": \"x\"}\n").read().await;
    assert_eq!(rows.texts(), ["x"]);
    assert!(rows.reasons()[0].2.contains("latin1"));
}
