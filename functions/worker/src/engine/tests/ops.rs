//! Each op of a transform.

use super::{Bench, Ran, fields};
use serde_json::{Value, json};

fn transform(ops: Value) -> Value {
    json!({"nodeType": "transform", "config": {"ops": ops}})
}

/// Runs `ops` over a file all of whose columns are texts.
async fn texts(out: &[(&str, &str)], file: &str, ops: Value) -> Ran {
    let mut bench = Bench::chain(fields(out), file, &[transform(ops)]);
    bench.job["nodes"][0]["config"] = json!({"path": "in.csv", "options": {"inferTypes": false}});
    bench.run().await
}

#[tokio::test]
async fn cast_rejects_what_does_not_fit_or_makes_it_null_or_fails() {
    let file = "a\n1\nx\n2147483648\n";
    let cast = |on: &str| json!([{"op": "cast", "field": "a", "type": "integer", "onError": on}]);
    let rejected = texts(&[("a", "integer")], file, cast("reject")).await;
    assert_eq!(rejected.rows(), [json!({"a": 1})]);
    assert_eq!(rejected.errors()[1].error, "\"2147483648\" is not an integer from -2147483648 to 2147483647");
    let nulls = texts(&[("a", "integer")], file, cast("null")).await;
    assert_eq!(nulls.counts("step1"), [3, 3, 0, 0, 0]);
    assert_eq!(nulls.table.iter().filter(|r| r["a"].is_null()).count(), 2);
    let failed = texts(&[("a", "integer")], file, cast("fail")).await.result.unwrap_err();
    assert!(failed.message.contains("\"x\" is not an integer"), "{failed}");
}

#[tokio::test]
async fn cast_knows_all_types_and_keeps_decimals_exact() {
    let file = "i,d,b,t,z,u,j\n7,12345678901234567890.12,yes,2026-01-15 10:00:00,2026-01-15T10:00:00+02:00,6F9619FF-8B86-D011-B42D-00C04FC964FF,[1]\n";
    let ran = texts(
        &[("i", "smallint"), ("d", "decimal"), ("b", "boolean"), ("t", "timestamp"), ("z", "timestamptz"), ("u", "uuid"), ("j", "json")],
        file,
        json!([
            {"op": "cast", "field": "i", "type": "smallint"}, {"op": "cast", "field": "d", "type": "decimal", "precision": 30, "scale": 2},
            {"op": "cast", "field": "b", "type": "boolean"}, {"op": "cast", "field": "t", "type": "timestamp"},
            {"op": "cast", "field": "z", "type": "timestamptz"}, {"op": "cast", "field": "u", "type": "uuid"}, {"op": "cast", "field": "j", "type": "json"},
        ]),
    ).await;
    let row = &ran.rows()[0];
    assert_eq!(row["d"], json!("12345678901234567890.1200000000"));
    assert_eq!((&row["i"], &row["b"]), (&json!(7), &json!(true)));
    assert!(row["z"].as_str().unwrap().starts_with("2026-01-15T08:00:00"), "{row}");
    assert_eq!(row["u"], json!("6f9619ff-8b86-d011-b42d-00c04fc964ff"));
}

#[tokio::test]
async fn cast_reads_dates_in_a_format() {
    let ran = texts(
        &[("d", "date"), ("t", "timestamp")],
        "d,t\n31.12.2025,01/02/26 23:59\n2025-12-31,01/02/26 23:59\n",
        json!([
            {"op": "cast", "field": "d", "type": "date", "format": "%d.%m.%Y"},
            {"op": "cast", "field": "t", "type": "timestamp", "format": "%m/%d/%y %H:%M"},
        ]),
    )
    .await;
    assert_eq!(ran.rows().len(), 1);
    assert_eq!(ran.rows()[0]["d"], json!("2025-12-31"));
    assert!(ran.rows()[0]["t"].as_str().unwrap().starts_with("2026-01-02T23:59:00"));
    assert_eq!(ran.errors()[0].error, "\"2025-12-31\" is not written as %d.%m.%Y");
    let cast = json!([{"op": "cast", "field": "t", "type": "timestamptz", "format": "%F %T %Z"}]);
    let ran = texts(&[("t", "timestamptz")], "t\n2024-07-01 12:00:00 EST\n", cast).await;
    let fault = ran.result.unwrap_err().message;
    assert!(fault.contains("%z reads an offset"), "{fault}");
}

#[tokio::test]
async fn a_fraction_is_no_integer() {
    let bench = Bench::chain(
        fields(&[("a", "integer")]),
        "a\n1.5\n2.0\n",
        &[transform(json!([{"op": "cast", "field": "a", "type": "integer"}]))],
    );
    let ran = bench.run().await;
    assert_eq!(ran.rows(), [json!({"a": 2})]);
    assert_eq!(ran.counts("step1")[3], 1);
}

#[tokio::test]
async fn an_expression_sets_a_field_and_rejects_rows_on_which_it_fails() {
    let bench = Bench::chain(
        fields(&[("a", "bigint"), ("b", "bigint"), ("q", "bigint")]),
        "a,b\n6,3\n1,0\n9223372036854775807,1\n",
        &[transform(
            json!([{"op": "expression", "field": "q", "expr": "a / b"}, {"op": "expression", "field": "a", "expr": "a + 1"}]),
        )],
    );
    let ran = bench.run().await;
    assert_eq!(ran.rows(), [json!({"a": 7, "b": 3, "q": 2})]);
    assert_eq!(ran.counts("step1"), [3, 1, 0, 2, 0]);
    let errors = ran.errors();
    assert_eq!(
        (errors[0].row, errors[0].column.as_str(), errors[0].value.as_deref()),
        (Some(2), "a, b", Some("a = 1, b = 0"))
    );
    assert!(errors[1].error.contains("Overflow"), "{}", errors[1].error);
}

#[tokio::test]
async fn rename_drop_and_select_change_columns_and_keep_rows_known() {
    let ran = texts(&[("x", "integer"), ("b", "text")], "a,b,c\nno,2,3\n1,2,3\n", json!([
        {"op": "rename", "mappings": [{"from": "a", "to": "x"}, {"from": "c", "to": "a"}]},
        {"op": "drop", "fields": ["a"]}, {"op": "select", "fields": ["b", "x"]}, {"op": "cast", "field": "x", "type": "integer"},
    ])).await;
    assert_eq!(ran.rows(), [json!({"x": 1, "b": "2"})]);
    assert_eq!(ran.errors()[0].row, Some(1));
}

#[tokio::test]
async fn add_field_and_fill_null_take_values_of_the_type_only() {
    let ran = texts(&[("a", "text"), ("n", "decimal"), ("o", "json")], "a,b\n,1\nx,2\n", json!([
        {"op": "fill_null", "field": "a", "value": "none"}, {"op": "add_field", "field": "n", "value": 0.1, "type": "decimal"},
        {"op": "add_field", "field": "o", "value": {"k": [1]}, "type": "json"},
    ])).await;
    assert_eq!(ran.rows()[0], json!({"a": "none", "n": "0.1000000000", "o": "{\"k\":[1]}"}));
    let fault = texts(
        &[("a", "integer")],
        "a\n1\n",
        json!([{"op": "cast", "field": "a", "type": "integer"}, {"op": "fill_null", "field": "a", "value": "abc"}]),
    )
    .await;
    let fault = fault.result.unwrap_err().message;
    assert!(
        fault.contains("op 2 (fill_null): value for \"a\", which is of type integer: \"abc\" is not an integer"),
        "{fault}"
    );
}

#[tokio::test]
async fn hash_and_mask_hide_values() {
    let ran = texts(&[("a", "text"), ("b", "text"), ("c", "text"), ("d", "text")], "a,b,c,d\nabc,abc,jane@x.org,4111111111111111\n,abc,,\n", json!([
        {"op": "hash", "field": "a", "algorithm": "sha256"}, {"op": "hash", "field": "b", "algorithm": "md5", "salt": "s"},
        {"op": "mask_pii", "field": "c", "strategy": "partial"}, {"op": "mask_pii", "field": "d", "strategy": "redact"},
    ])).await;
    let rows = ran.rows();
    let full = rows.iter().find(|r| !r["a"].is_null()).unwrap();
    assert_eq!(full["a"], "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    // printf sabc | md5sum
    assert_eq!(full["b"].as_str().unwrap().len(), 32);
    assert_ne!(full["b"], "900150983cd24fb0d6963f7d28e17f72");
    assert_eq!((&full["c"], &full["d"]), (&json!("j***@x.org"), &json!("***")));
    assert!(rows.iter().any(|r| r["a"].is_null() && r["c"].is_null() && r["d"].is_null()));
}

#[tokio::test]
async fn texts_are_split_merged_and_mapped_as_they_are_written() {
    let ops = transform(json!([
        {"op": "split", "field": "at", "separator": " ", "into": ["day", "time"]},
        {"op": "merge", "fields": ["v", "n"], "separator": "/", "into": "all"},
        {"op": "cast", "field": "v", "type": "text"},
        {"op": "map_values", "field": "b", "mapping": {"TRUE": "active"}, "default": "no"},
    ]));
    let wanted = [("day", "text"), ("time", "text"), ("all", "text"), ("v", "text"), ("b", "text"), ("n", "double")];
    let file = "at,v,n,b\n2024-01-02 10:00:00,1.10,1,TRUE\n2024-01-03 11:30:00,1.20,2.5,FALSE\n";
    assert_eq!(
        Bench::chain(fields(&wanted), file, &[ops]).rows().await,
        [
            json!({"day": "2024-01-02", "time": "10:00:00", "all": "1.10/1", "v": "1.10", "b": "active", "n": 1.0}),
            json!({"day": "2024-01-03", "time": "11:30:00", "all": "1.20/2.5", "v": "1.20", "b": "no", "n": 2.5}),
        ]
    );
}

#[tokio::test]
async fn a_column_that_is_counted_with_stays_a_number() {
    let double = transform(json!([
        {"op": "expression", "field": "b", "expr": "a * 2"},
        {"op": "merge", "fields": ["a"], "separator": "", "into": "c"},
    ]));
    let rows = Bench::chain(fields(&[("b", "double"), ("c", "text")]), "a\n1.50\n", &[double]).rows().await;
    assert_eq!(rows, [json!({"b": 3.0, "c": "1.5"})]);
}

#[tokio::test]
async fn a_hash_is_of_the_text_as_it_is_written() {
    // Guessed to be a number, 1.10 would be hashed as 1.1.
    let hash = transform(json!([{"op": "hash", "field": "a", "algorithm": "sha256"}]));
    let rows = Bench::chain(fields(&[("a", "text")]), "a\n1.10\n", &[hash]).rows().await;
    assert_eq!(rows[0]["a"], json!(hex::encode(<sha2::Sha256 as sha2::Digest>::digest(b"1.10"))));
}

#[tokio::test]
async fn map_values_replaces_and_keeps_or_defaults() {
    let ran = texts(
        &[("a", "text"), ("b", "integer")],
        "a,b\nM,1\nF,2\nx,3\n,\n",
        json!([
            {"op": "map_values", "field": "a", "mapping": {"M": "male", "F": "female"}},
            {"op": "map_values", "field": "b", "mapping": {"1": 10}, "default": 0},
        ]),
    )
    .await;
    let mut rows: Vec<_> = ran.table.iter().map(|r| (r["a"].clone(), r["b"].clone())).collect();
    rows.sort_by_key(|r| format!("{r:?}"));
    assert_eq!(
        rows,
        [(Value::Null, Value::Null), (json!("female"), json!(0)), (json!("male"), json!(10)), (json!("x"), json!(0))]
    );
}

#[tokio::test]
async fn split_merge_and_trim_work_on_texts() {
    let ran = texts(
        &[("x", "text"), ("y", "text"), ("z", "text"), ("m", "text")],
        "a,b\n 1-2-3-4 ,\n5,q\n",
        json!([
            {"op": "trim", "fields": ["a"]}, {"op": "split", "field": "a", "separator": "-", "into": ["x", "y", "z"]},
            {"op": "merge", "fields": ["x", "b"], "separator": "+", "into": "m"},
        ]),
    )
    .await;
    assert_eq!(
        ran.rows(),
        [json!({"x": "1", "y": "2", "z": "3-4", "m": "1"}), json!({"x": "5", "y": null, "z": null, "m": "5+q"}),]
    );
}

#[tokio::test]
async fn parse_json_takes_a_typed_value_by_its_path() {
    let ran = texts(
        &[("n", "integer"), ("o", "json")],
        "j\n\"{\"\"a\"\": {\"\"b\"\": [1, 2]}}\"\n{}\nnot json\n\"{\"\"a\"\": {\"\"b\"\": [0, \"\"x\"\"]}}\"\n",
        json!([
            {"op": "parse_json", "field": "j", "path": "a.b[1]", "into": "n", "type": "integer"},
            {"op": "parse_json", "field": "j", "path": "a", "into": "o", "type": "json"},
        ]),
    )
    .await;
    assert_eq!(ran.rows(), [json!({"n": 2, "o": "{\"b\":[1,2]}"}), json!({"n": null, "o": null})]);
    assert_eq!(ran.counts("step1"), [4, 2, 0, 2, 0]);
    assert!(ran.errors()[0].error.contains("is not JSON"));
}
