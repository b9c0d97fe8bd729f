//! What expressions may and may not do.

use super::object;
use crate::engine::expressions::Expressions;
use datafusion::arrow::array::{AsArray, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::util::display::array_value_to_string;
use datafusion::common::DFSchema;
use serde_json::{Value, json};
use std::sync::Arc;

fn columns() -> (DFSchema, RecordBatch) {
    let schema = Arc::new(Schema::new(vec![
        Field::new("a", DataType::Int64, true),
        Field::new("Name", DataType::Utf8, true),
        Field::new("with space", DataType::Int64, true),
    ]));
    let batch = RecordBatch::try_new(
        schema.clone(),
        vec![
            Arc::new(Int64Array::from(vec![2])),
            Arc::new(StringArray::from(vec!["Ann"])),
            Arc::new(Int64Array::from(vec![5])),
        ],
    )
    .unwrap();
    (DFSchema::try_from(schema).unwrap(), batch)
}

fn value(sql: &str, parameters: Value) -> Result<String, String> {
    let (schema, batch) = columns();
    let expressions = Expressions::new(object(parameters));
    let compiled = expressions.compile(sql, &schema)?;
    let bound = expressions.bind(&compiled, &schema).map_err(|e| e.to_string())?;
    let array = bound.evaluate(&batch).and_then(|v| v.into_array(1)).map_err(|e| e.to_string())?;
    assert_eq!(array.data_type(), compiled.data_type(), "{sql}");
    array_value_to_string(&array, 0).map_err(|e| e.to_string())
}

#[test]
fn harmless_expressions_are_evaluated() {
    for (sql, expected) in [
        ("a + 1", "3"),
        ("\"with space\" * a", "10"),
        ("upper(Name) || '!'", "ANN!"),
        ("CASE WHEN a > 1 THEN 'big' ELSE 'small' END", "big"),
        ("a BETWEEN 1 AND 2 AND Name LIKE 'A%'", "true"),
        ("CAST('7' AS INT) + a", "9"),
        ("TRY_CAST(Name AS INT) IS NULL", "true"),
        ("Name IN ('Ann', 'Bob')", "true"),
        ("coalesce(NULL, Name)", "Ann"),
        ("0.1 + 0.2", "0.3"),
        ("-a", "-2"),
        ("NOT a = 2", "false"),
        ("substring(Name, 1, 2)", "An"),
        ("extract(year from DATE '2026-01-15')", "2026"),
        ("trim(' x ')", "x"),
        ("lpad(Name, 5, '*')", "**Ann"),
        ("round(CAST(2.567 AS DOUBLE), 1)", "2.6"),
        ("UPPER(Name)", "ANN"),
        ("regexp_replace(Name, 'n+', 'm')", "Am"),
        ("to_date('2026-01-15')", "2026-01-15"),
        ("position('n' in Name)", "2"),
        ("a IS NOT DISTINCT FROM 2", "true"),
        ("date_trunc('month', TIMESTAMP '2026-01-15T10:00:00')", "2026-01-01T00:00:00"),
        ("md5(Name) = md5('Ann')", "true"),
    ] {
        assert_eq!(value(sql, json!({})).as_deref(), Ok(expected), "{sql}");
    }
}

#[test]
fn what_is_not_on_the_list_is_refused() {
    for (sql, word) in [
        ("(SELECT 1)", "subquery"),
        ("a IN (SELECT 1)", "subquery"),
        ("EXISTS (SELECT 1)", "subquery"),
        ("sum(a)", "aggregate node"),
        ("count(*)", "aggregate node"),
        ("row_number() OVER ()", "OVER"),
        ("random()", "random"),
        ("uuid()", "uuid"),
        ("version()", "version"),
        ("input_file_name()", "input_file_name"),
        ("file_row_index()", "file_row_index"),
        ("a > $1", "lone $"),
        ("a > ?", "?"),
        ("a -- b", "comments"),
        ("a /* b */", "comments"),
        ("a; DROP TABLE t", ""),
        ("a AS b", "alias"),
        ("*", ""),
        ("a +", ""),
        ("SELECT 1", ""),
        ("t.a", "no column \"t\""),
        ("repeat(Name, 1000000000)", "at most 10000"),
        ("repeat(Name, a)", "at most 10000"),
        ("repeat(repeat(Name, 9000), 9000)", "no repeat"),
        ("to_timestamp(Name, '%F %T %Z')", "%z reads an offset"),
        ("to_timestamp_micros(Name, '%F', '%F %I:%M')", "needs %p"),
        ("uper(Name)", "upper"),
        ("@@version", ""),
        ("@x", ""),
        ("generate_series(1, 1000000000)", ""),
        ("range(1, 1000000000)", ""),
        ("unnest(make_array(1))", ""),
    ] {
        let why = value(sql, json!({})).expect_err(sql);
        assert!(why.contains(word), "{sql}: {why}");
    }
}

#[test]
fn long_and_deep_expressions_are_refused() {
    let long = format!("a = '{}'", "x".repeat(10_000));
    assert!(value(&long, json!({})).unwrap_err().contains("at most 10000"));
    let chain = vec!["a"; 4_000].join("+");
    assert!(value(&chain, json!({})).is_err());
    let deep = format!("{}a{}", "(".repeat(1_000), ")".repeat(1_000));
    assert!(value(&deep, json!({})).is_err());
    let deep = format!("{} a", "NOT ".repeat(2_000));
    assert!(value(&deep, json!({})).is_err());
    let calls = format!("{}Name{}", "upper(".repeat(1_000), ")".repeat(1_000));
    assert!(value(&calls, json!({})).is_err());
    assert_eq!(value(&vec!["a"; 150].join("+"), json!({})).as_deref(), Ok("300"));
}

#[test]
fn parameters_are_literals_in_and_outside_of_texts() {
    assert_eq!(value("${n} + a", json!({"n": 40})).as_deref(), Ok("42"));
    assert_eq!(value("'x${t}y'", json!({"t": "' || 'z"})).as_deref(), Ok("x' || 'zy"));
    assert_eq!(value("${t}", json!({"t": "a"})).as_deref(), Ok("a"));
    assert_eq!(value("'$${t}'", json!({"t": "a"})).as_deref(), Ok("${t}"));
    assert_eq!(value("a > ${n} AND 'it''s ${n}' = 'it''s -3'", json!({"n": -3})).as_deref(), Ok("true"));
    assert!(value("a > ${n}", json!({})).unwrap_err().contains("no parameter \"n\""));
    assert!(value("a IN (${l})", json!({"l": [1]})).unwrap_err().contains("list"));
    assert!(value("$__flowgate_0", json!({"n": 1})).is_err());
}

#[test]
fn now_is_the_same_instant_in_all_expressions_of_a_run() {
    let (schema, batch) = columns();
    let expressions = Expressions::new(object(json!({})));
    let at = || {
        let compiled = expressions.compile("now()", &schema).unwrap();
        let array = expressions.bind(&compiled, &schema).unwrap().evaluate(&batch).unwrap().into_array(1).unwrap();
        array_value_to_string(&array, 0).unwrap()
    };
    assert_eq!(at(), at());
}

#[test]
fn sums_do_not_wrap_around() {
    assert!(value("9223372036854775807 + a", json!({})).is_err());
    assert!(value("a * 9223372036854775807", json!({})).is_err());
    let (_, batch) = columns();
    assert_eq!(batch.column(1).as_string::<i32>().value(0), "Ann");
}
