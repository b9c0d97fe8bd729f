//! Sums, means and opposites of extreme numbers: exact, or refused, and never wrapped around.

use super::{Bench, fields};
use crate::error::Kind;
use serde_json::{Value, json};

/// The largest decimal of 38 digits, 10 of them behind the point.
const LARGEST: &str = "9999999999999999999999999999.9999999999";

fn decimals(values: &[&str], fields: Value, step: &Value) -> Bench {
    typed("decimal", values, fields, step)
}

fn typed(kind: &str, values: &[&str], fields: Value, step: &Value) -> Bench {
    let mut bench = Bench::chain(fields, &format!("v\n{}\n", values.join("\n")), std::slice::from_ref(step));
    bench.job["nodes"][0]["config"]["options"] = json!({"columns": {"v": kind}});
    bench
}

fn measure(function: &str) -> Value {
    let measures = json!([{"fn": function, "field": "v", "as": "m"}]);
    json!({"nodeType": "aggregate", "config": {"groupBy": [], "measures": measures}})
}

fn sql(query: &str) -> Value {
    json!({"nodeType": "sql", "config": {"query": query}})
}

fn decimal_field() -> Value {
    json!([{"name": "m", "dataType": "decimal", "precision": 38, "scale": 10}])
}

#[tokio::test]
async fn sums_of_decimals_are_exact_whatever_lies_between() {
    let smallest = format!("-{LARGEST}");
    let values = [LARGEST, LARGEST, LARGEST, "0.0000000001", &smallest, &smallest, &smallest];
    for step in [measure("sum"), sql("SELECT sum(v) AS m FROM input")] {
        let rows = decimals(&values, decimal_field(), &step).rows().await;
        assert_eq!(rows, [json!({"m": "0.0000000001"})], "{step}");
    }
}

#[tokio::test]
async fn sums_that_their_type_does_not_hold_fail_the_run_and_are_told() {
    let query = "SELECT sum(v) OVER (ORDER BY v ROWS UNBOUNDED PRECEDING) AS m FROM input";
    for step in [measure("sum"), sql("SELECT sum(v) AS m FROM input"), sql(query)] {
        let fault = decimals(&[LARGEST, LARGEST], decimal_field(), &step).fault().await;
        assert_eq!(fault.kind, Kind::Value, "{fault}");
        assert!(fault.message.contains("is 19999999999999999999999999999.9999999998, which is more than"), "{fault}");

        let values = ["9223372036854775807", "1"];
        let fault = typed("bigint", &values, fields(&[("m", "bigint")]), &step).fault().await;
        assert!(fault.message.contains("is 9223372036854775808, which is more than a bigint holds"), "{fault}");
    }
}

#[tokio::test]
async fn a_window_that_moves_on_sums_what_it_has_left() {
    let query = "SELECT sum(v) OVER (ORDER BY v ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS m FROM input";
    let values = ["-9223372036854775808", "1", "9223372036854775806"];
    let rows = typed("bigint", &values, fields(&[("m", "bigint")]), &sql(query)).rows().await;
    let expected = [-9_223_372_036_854_775_807_i64, -9_223_372_036_854_775_808, 9_223_372_036_854_775_807];
    assert_eq!(rows, expected.map(|m| json!({"m": m})));
}

#[tokio::test]
async fn means_and_medians_of_decimals_lie_between_their_values() {
    for (function, values, expected) in [
        ("avg", [LARGEST, LARGEST], LARGEST),
        ("avg", ["0.1", "0.2"], "0.1500000000"),
        ("median", ["0.1", "0.2"], "0.1500000000"),
        ("median", [LARGEST, LARGEST], LARGEST),
    ] {
        let rows = decimals(&values, decimal_field(), &measure(function)).rows().await;
        assert_eq!(rows, [json!({"m": expected})], "{function} of {values:?}");
    }
    let cast = json!({"op": "cast", "field": "v", "type": "decimal", "precision": 9, "scale": 2});
    let mut bench = decimals(&["1.25", "1.26"], decimal_field(), &measure("median"));
    bench.job["nodes"][1] = json!({"id": "step1", "nodeType": "transform", "config": {"ops": [cast]}});
    let mut median = measure("median");
    median["id"] = json!("step2");
    bench.job["nodes"].as_array_mut().unwrap().insert(2, median);
    bench.job["edges"] = json!([
        {"id": "e1", "source": "source", "target": "step1", "label": null},
        {"id": "e2", "source": "step1", "target": "step2", "label": null},
        {"id": "e3", "source": "step2", "target": "target", "label": null}
    ]);
    assert_eq!(bench.rows().await, [json!({"m": "1.2550000000"})]);
}

#[tokio::test]
async fn the_smallest_number_has_no_opposite() {
    let values = ["-9223372036854775808", "5"];
    let opposite = json!({"op": "expression", "field": "m", "expr": "-v"});
    let step = json!({"nodeType": "transform", "config": {"ops": [opposite]}});
    let bench = typed("bigint", &values, fields(&[("m", "bigint")]), &step);
    let ran = bench.run().await;
    assert_eq!(ran.rows(), [json!({"m": -5})]);
    assert_eq!(ran.counts("step1"), [2, 1, 0, 1, 0]);
    let fault = typed("bigint", &values, fields(&[("m", "bigint")]), &sql("SELECT -v AS m FROM input")).fault().await;
    assert!(fault.message.contains("verflow"), "{fault}");
}

#[tokio::test]
async fn the_opposite_of_nan_is_nan_and_the_largest_number_still() {
    let filter = json!({"nodeType": "filter", "config": {"condition": "-v > 0 AND v - v > 0"}});
    let query = sql("SELECT v AS m FROM input WHERE -v > 0 AND v - v > 0");
    for step in [filter, query] {
        let mut bench = typed("double", &["NaN", "1", "-2"], fields(&[("m", "double"), ("v", "double")]), &step);
        bench.job["run"] = json!("run_nan");
        let ran = bench.run().await;
        assert_eq!(ran.counts("step1")[..2], [3, 1], "{step}");
    }
}
