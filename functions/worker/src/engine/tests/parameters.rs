//! Parameters of a run in configs and expressions.

use super::{Bench, fields};
use serde_json::json;

#[tokio::test]
async fn a_parameter_is_a_value_and_never_sql() {
    let filter = json!({"nodeType": "filter", "config": {"condition": "name = ${who} AND n >= ${least} AND note <> 'is ${who}'"}});
    let bench = Bench::chain(fields(&[("name", "text")]), "name,n,note\no'x' OR 1=1 --,1,a\nann,5,b\n", &[filter])
        .parameters(json!({"who": "o'x' OR 1=1 --", "least": 1}));
    assert_eq!(bench.rows().await, [json!({"name": "o'x' OR 1=1 --"})]);
}

#[tokio::test]
async fn parameters_fill_paths_and_keep_their_type_in_values() {
    let add = json!({"nodeType": "transform", "config": {"ops": [{"op": "add_field", "field": "n", "type": "integer", "value": "${n}"}]}});
    let mut bench =
        Bench::chain(fields(&[("a", "integer"), ("n", "integer")]), "a\n0\n", &[add]).file("2026/x.csv", "a\n1\n");
    bench.job["nodes"][0]["config"] = json!({"path": "${year}/x.csv"});
    assert_eq!(bench.parameters(json!({"year": 2026, "n": -7})).rows().await, [json!({"a": 1, "n": -7})]);
}

#[tokio::test]
async fn an_unknown_parameter_is_named() {
    let filter = json!({"nodeType": "filter", "label": "Recent", "config": {"condition": "n > ${lesat}"}});
    let fault =
        Bench::chain(fields(&[("n", "integer")]), "n\n1\n", &[filter]).parameters(json!({"least": 1})).fault().await;
    assert!(fault.message.contains("node \"Recent\"") && fault.message.contains("did you mean ${least}?"), "{fault}");
}

#[tokio::test]
async fn null_negative_and_true_parameters_are_literals() {
    let filter = json!({"nodeType": "filter", "config": {"condition": "n > ${low} AND ${yes} AND ${nothing} IS NULL AND d = ${d}"}});
    let bench = Bench::chain(fields(&[("n", "integer")]), "n,d\n-1,1.5\n-9,1.5\n", &[filter])
        .parameters(json!({"low": -5, "yes": true, "nothing": null, "d": 1.5}));
    assert_eq!(bench.rows().await, [json!({"n": -1})]);
}
