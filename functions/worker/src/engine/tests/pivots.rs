//! Pivot and unpivot.

use super::{Bench, fields};
use serde_json::{Value, json};

fn pivot(config: Value) -> Value {
    json!({"nodeType": "pivot", "config": config})
}

fn sums(extra: Value) -> Value {
    let mut config = json!({"index": ["g"], "columns": "k", "values": "v", "fn": "sum"});
    for (key, value) in extra.as_object().unwrap() {
        config[key] = value.clone();
    }
    pivot(config)
}

const ROWS: &str = "g,k,v\na,x,1\na,y,2\nb,x,3\na,x,4\nb,,7\n";

#[tokio::test]
async fn the_values_of_a_field_become_columns_null_among_them() {
    let fields = fields(&[("g", "text"), ("x", "bigint"), ("y", "bigint"), ("null", "bigint")]);
    let ran = Bench::chain(fields, ROWS, &[sums(json!({}))]).run().await;
    assert_eq!(
        ran.rows(),
        [json!({"g": "a", "x": 5, "y": 2, "null": null}), json!({"g": "b", "x": 3, "y": null, "null": 7})]
    );
    // Read twice, counted once.
    assert_eq!(ran.counts("source"), [5, 5, 0, 0, 0]);
    assert_eq!(ran.counts("step1"), [5, 2, 0, 0, 0]);
    assert_eq!(ran.outcome().rows_in, 5);
    assert!(ran.progress.log_lines().iter().any(|l| l.message.contains("makes columns of 3 values of \"k\"")));
}

#[tokio::test]
async fn given_values_are_the_columns_in_their_order_and_others_are_left_out() {
    let fields = fields(&[("g", "text"), ("y", "bigint"), ("z", "bigint")]);
    let ran = Bench::chain(fields, ROWS, &[sums(json!({"pivotValues": ["z", "y"]}))]).run().await;
    assert_eq!(ran.rows(), [json!({"g": "a", "y": 2, "z": null}), json!({"g": "b", "y": null, "z": null})]);
    assert_eq!(ran.counts("step1"), [5, 2, 0, 0, 0]);
}

#[tokio::test]
async fn each_function_measures_the_cells() {
    let rows = "g,k,v\n1,x,3\n1,x,1\n1,x,1\n1,x,\n1,y,9\n";
    for (function, expected) in [
        ("count", json!(3)),
        ("count_distinct", json!(2)),
        ("sum", json!(5)),
        ("min", json!(1)),
        ("max", json!(3)),
        ("first", json!(3)),
        ("last", Value::Null),
        ("median", json!(1)),
    ] {
        let bench = Bench::chain(fields(&[("g", "integer"), ("x", "bigint")]), rows, &[sums(json!({"fn": function}))]);
        assert_eq!(bench.rows().await, [json!({"g": 1, "x": expected})], "{function}");
    }
    let all = sums(json!({"fn": "array_agg"}));
    let bench = Bench::chain(fields(&[("g", "integer"), ("x", "json")]), rows, &[all]);
    assert_eq!(bench.rows().await, [json!({"g": 1, "x": "[3,1,1,null]"})]);
    let counted = sums(json!({"fn": "count", "values": "*"}));
    let bench = Bench::chain(fields(&[("x", "bigint"), ("y", "bigint")]), rows, &[counted]);
    assert_eq!(bench.rows().await, [json!({"x": 4, "y": 1})]);
}

#[tokio::test]
async fn numbers_dates_and_booleans_name_columns_by_their_texts() {
    let rows = "g,n,d,b\n1,10,2026-01-31,true\n1,9,2026-02-01,false\n";
    for (column, one, other) in [("n", "9", "10"), ("d", "2026-01-31", "2026-02-01"), ("b", "false", "true")] {
        let count = sums(json!({"columns": column, "values": "*", "fn": "count"}));
        let bench = Bench::chain(fields(&[(one, "bigint"), (other, "bigint")]), rows, std::slice::from_ref(&count));
        assert_eq!(bench.rows().await, [json!({one: 1, other: 1})], "{column}");
    }
    let given = sums(json!({"columns": "n", "values": "*", "fn": "count", "pivotValues": [9, 10]}));
    assert_eq!(Bench::chain(fields(&[("9", "bigint")]), rows, &[given]).rows().await, [json!({"9": 1})]);
}

#[tokio::test]
async fn an_empty_input_has_no_columns_but_its_index() {
    let ran = Bench::chain(fields(&[("g", "text")]), "g,k,v\n", &[sums(json!({}))]).run().await;
    assert_eq!((ran.rows(), ran.counts("step1")), (Vec::new(), [0, 0, 0, 0, 0]));
}

#[tokio::test]
async fn names_that_meet_too_many_values_and_wrong_types_are_faults() {
    let g = || fields(&[("g", "text")]);
    let fault = |rows: &str, config: Value| {
        let bench = Bench::chain(g(), rows, &[sums(config)]);
        async move { bench.fault().await.message }
    };
    let told = fault("g,k,v\na,g,1\n", json!({})).await;
    assert!(told.contains("value \"g\" of \"k\" becomes a column, and there is another one of that name"), "{told}");
    let told = fault("g,k,v\na,null,1\na,,1\n", json!({})).await;
    assert!(told.contains("value \"null\""), "{told}");
    let told = fault(ROWS, json!({"columns": "K"})).await;
    assert!(told.contains("no column \"K\"; did you mean \"k\"?"), "{told}");
    let told = fault(ROWS, json!({"values": "k"})).await;
    assert!(told.contains("sum needs a number, but \"k\" is of type text"), "{told}");
    let told = fault(ROWS, json!({"columns": "v", "values": "v", "pivotValues": [1, "x"]})).await;
    assert!(told.contains("pivotValues, number 2") && told.contains("bigint"), "{told}");
    let many: String = (0..1_001).map(|i| format!("a,k{i},1\n")).collect();
    let told = fault(&format!("g,k,v\n{many}"), json!({})).await;
    assert!(told.contains("more than 1000 different values"), "{told}");
    let fits: String = (0..1_000).map(|i| format!("a,k{i},1\n")).collect();
    let bench =
        Bench::chain(fields(&[("k0", "bigint"), ("k999", "bigint")]), &format!("g,k,v\n{fits}"), &[sums(json!({}))]);
    assert_eq!(bench.rows().await, [json!({"k0": 1, "k999": 1})]);
}

#[tokio::test]
async fn a_pivot_of_a_pivot_and_one_with_two_consumers_count_once() {
    let nodes = json!([
        {"id": "s", "nodeType": "source", "config": {"path": "in.csv"}},
        {"id": "p", "nodeType": "pivot", "config": sums(json!({}))["config"]},
        {"id": "again", "nodeType": "pivot", "config": {"index": ["y"], "columns": "g", "values": "x", "fn": "max"}},
        {"id": "t", "nodeType": "transform", "config": {"ops": [{"op": "select", "fields": ["g", "x"]}]}},
        {"id": "u", "nodeType": "union", "config": {}},
        {"id": "target", "nodeType": "target", "config": {}}
    ]);
    let edges = [
        ("s", "p", None),
        ("p", "again", None),
        ("p", "t", None),
        ("again", "u", None),
        ("t", "u", None),
        ("u", "target", None),
    ];
    let ran = Bench::new(fields(&[("a", "bigint"), ("b", "bigint"), ("x", "bigint")]), nodes, &edges)
        .file("in.csv", "g,k,v\na,x,1\na,y,2\nb,x,3\n")
        .run()
        .await;
    assert_eq!((ran.counts("s"), ran.counts("p")), ([3, 3, 0, 0, 0], [3, 2, 0, 0, 0]));
    assert_eq!((ran.counts("again"), ran.counts("t")), ([2, 2, 0, 0, 0], [2, 2, 0, 0, 0]));
    assert!(ran.rows().contains(&json!({"a": 1, "b": null, "x": null})), "{:?}", ran.rows());
}

fn unpivot(index: &[&str], columns: &[&str]) -> Value {
    json!({"nodeType": "unpivot", "config": {"index": index, "columns": columns, "nameTo": "name", "valueTo": "value"}})
}

#[tokio::test]
async fn columns_become_rows_in_their_order_and_nulls_too() {
    let bench = Bench::chain(
        fields(&[("id", "integer"), ("name", "text"), ("value", "double")]),
        "id,a,b,c\n1,1,2.5,\n2,,4,5\n",
        &[unpivot(&["id"], &["b", "a"])],
    );
    let ran = bench.run().await;
    assert_eq!(ran.counts("step1"), [2, 4, 0, 0, 0]);
    assert_eq!(
        ran.table,
        [
            json!({"id": 1, "name": "b", "value": 2.5}),
            json!({"id": 1, "name": "a", "value": 1.0}),
            json!({"id": 2, "name": "b", "value": 4.0}),
            json!({"id": 2, "name": "a", "value": null}),
        ]
    );
}

#[tokio::test]
async fn many_columns_become_many_rows_in_pieces() {
    let names: Vec<String> = (0..500).map(|i| format!("c{i}")).collect();
    let row = vec!["1"; 500].join(",");
    let rows: String = (0..300).map(|_| format!("{row}\n")).collect();
    let columns: Vec<&str> = names.iter().map(String::as_str).collect();
    let sum = json!({"nodeType": "aggregate", "config": {"groupBy": [], "measures": [{"fn": "sum", "field": "value", "as": "value"}]}});
    let bench = Bench::chain(
        fields(&[("value", "bigint")]),
        &format!("{}\n{rows}", names.join(",")),
        &[unpivot(&[], &columns), sum],
    );
    let ran = bench.run().await;
    assert_eq!(ran.rows(), [json!({"value": 150_000})]);
    assert_eq!(ran.counts("step1"), [300, 150_000, 0, 0, 0]);
}

#[tokio::test]
async fn unpivoted_columns_must_go_together() {
    let text = || fields(&[("id", "integer")]);
    let fault = Bench::chain(text(), "id,a,b\n1,1,x\n", &[unpivot(&["id"], &["a", "b"])]).fault().await;
    assert!(fault.message.contains("column \"a\" is of type"), "{fault}");
    let fault = Bench::chain(text(), "id,a\n1,1\n", &[unpivot(&["id"], &["aa"])]).fault().await;
    assert!(fault.message.contains("did you mean \"a\"?"), "{fault}");
    let fault = Bench::chain(text(), "name,a\n1,1\n", &[unpivot(&["name"], &["a"])]).fault().await;
    assert!(fault.message.contains("two results would be named \"name\""), "{fault}");
}

#[tokio::test]
async fn what_reaches_a_text_field_by_unpivot_is_read_as_text() {
    let bench = Bench::chain(fields(&[("value", "text")]), "id,a,b\n1,1.10,007\n", &[unpivot(&["id"], &["a", "b"])]);
    assert_eq!(bench.rows().await, [json!({"value": "007"}), json!({"value": "1.10"})]);
}
