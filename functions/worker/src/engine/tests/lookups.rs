//! The transform op lookup.

use super::{Bench, fields};
use crate::engine::graph::Graph;
use crate::engine::progress::Progress;
use crate::error::Kind;
use serde_json::{Value, json};

fn lookup(extra: Value) -> Value {
    let mut op = json!({"op": "lookup", "connectorId": "conn_1", "path": "airlines.csv",
        "on": [{"left": "carrier", "right": "code"}], "select": ["name"]});
    for (key, value) in extra.as_object().unwrap() {
        op[key] = value.clone();
    }
    op
}

fn bench(rows: &str, airlines: &str, ops: Value) -> Bench {
    let step = json!({"nodeType": "transform", "config": {"ops": ops}});
    let columns = [("id", "integer"), ("carrier", "text"), ("name", "text"), ("shout", "text")];
    Bench::chain(fields(&columns), rows, &[step]).file("airlines.csv", airlines)
}

const ROWS: &str = "id,carrier\n1,AA\n2,UA\n3,\n4,ZZ\n5,AA\n";
const AIRLINES: &str =
    "code,name,city\nAA,American,Dallas\nUA,United,Chicago\n,Nobody,\n,Nobody else,\nQF,Qantas,Sydney\n";

#[tokio::test]
async fn fields_of_the_row_with_the_same_key_are_added_and_no_row_is_lost_or_doubled() {
    let ran = bench(ROWS, AIRLINES, json!([lookup(json!({}))])).run().await;
    let names: Vec<_> = ran.rows().iter().map(|r| (r["id"].clone(), r["name"].clone())).collect();
    let expected = [json!("American"), json!("United"), Value::Null, Value::Null, json!("American")];
    let mut names: Vec<_> = names;
    names.sort_by_key(|(id, _)| id.as_u64());
    assert_eq!(names.into_iter().map(|(_, name)| name).collect::<Vec<_>>(), expected);
    assert_eq!(ran.counts("step1"), [5, 5, 0, 0, 0]);
    // What is looked up are no rows of the run.
    assert_eq!((ran.outcome().rows_in, ran.outcome().failed_rows), (5, 0));
}

#[tokio::test]
async fn ops_before_and_after_a_lookup_see_what_they_should_and_reject_their_rows() {
    let ops = json!([
        {"op": "cast", "field": "id", "type": "integer"},
        {"op": "expression", "field": "carrier", "expr": "upper(carrier)"},
        lookup(json!({})),
        {"op": "expression", "field": "shout", "expr": "name || '!'"},
        {"op": "drop", "fields": ["carrier"]},
        lookup(json!({"on": [{"left": "name", "right": "name"}], "select": ["city"]})),
        {"op": "cast", "field": "city", "type": "text"},
        {"op": "expression", "field": "id", "expr": "10 / (id - 2) * 0 + id"},
    ]);
    let mut bench =
        bench("id,carrier\n1,aa\nx,ua\n2,ua\n4,zz\n", "code,name,city\nAA,American,Dallas\nUA,United,Chicago\n", ops);
    bench.job["nodes"][0]["config"] = json!({"path": "in.csv", "options": {"inferTypes": false}});
    let ran = bench.run().await;
    assert_eq!(
        ran.rows(),
        [
            json!({"id": 1, "carrier": null, "name": "American", "shout": "American!"}),
            json!({"id": 4, "carrier": null, "name": null, "shout": null}),
        ]
    );
    assert_eq!(ran.counts("step1"), [4, 2, 0, 2, 0]);
    assert_eq!(ran.errors().iter().map(|e| e.row).collect::<Vec<_>>(), [Some(2), Some(3)]);
}

#[tokio::test]
async fn a_key_that_is_there_twice_fails_the_run_also_where_no_row_asks_for_it() {
    for rows in [ROWS, "id,carrier\n", "id,carrier\n1,QQ\n"] {
        let twice = format!("{AIRLINES}QF,Qantas again,Perth\n");
        let fault = bench(rows, &twice, json!([lookup(json!({}))])).fault().await;
        assert_eq!((fault.kind, fault.node.as_deref()), (Kind::Source, Some("step1")), "{fault}");
        assert!(fault.message.contains("op 1 (lookup)") && fault.message.contains("code = \"QF\""), "{fault}");
    }
}

#[tokio::test]
async fn several_keys_and_an_empty_table_work_too() {
    let on = json!([{"left": "carrier", "right": "code"}, {"left": "id", "right": "n"}]);
    let ran =
        bench("id,carrier\n1,AA\n2,AA\n", "code,n,name\nAA,1,one\nAA,2,two\n", json!([lookup(json!({"on": on}))]))
            .run()
            .await;
    assert_eq!(ran.rows().iter().map(|r| r["name"].clone()).collect::<Vec<_>>(), [json!("one"), json!("two")]);
    let ran = bench(ROWS, "code,name\n", json!([lookup(json!({}))])).run().await;
    assert_eq!((ran.rows().len(), ran.counts("step1")), (5, [5, 5, 0, 0, 0]));
}

#[tokio::test]
async fn keys_meet_as_they_are_written_where_the_schema_has_them_as_text() {
    // By itself, 007 here and 7 there would be guessed as text and as a number.
    let ran =
        bench("id,carrier\n1,007\n2,7\n", "code,name\n7,Seven\n8,Eight\n", json!([lookup(json!({}))])).run().await;
    assert_eq!(ran.rows().iter().map(|r| r["name"].clone()).collect::<Vec<_>>(), [Value::Null, json!("Seven")]);
}

#[tokio::test]
async fn a_row_of_the_table_that_cannot_be_read_is_reported_and_counts_nowhere() {
    let mut bench =
        bench(ROWS, "code,name,rank\nAA,American,1\nUA,United,first\n", json!([lookup(json!({"select": ["rank"]}))]));
    bench.job["fields"] = json!([{"name": "id", "dataType": "integer"}, {"name": "rank", "dataType": "integer"}]);
    // It is no row of the run, nor of their share that may be rejected.
    let ran = bench.execution(json!({"errorHandling": {"onError": "skip", "maxErrorRate": 0.1}})).run().await;
    assert_eq!(ran.counts("step1"), [5, 5, 0, 0, 0]);
    assert_eq!((ran.outcome().rows_in, ran.outcome().failed_rows), (5, 1));
    let errors = ran.errors();
    assert_eq!((errors[0].node.as_str(), errors[0].row, errors[0].value.as_deref()), ("step1", Some(2), Some("first")));
}

#[tokio::test]
async fn columns_that_do_not_fit_are_faults() {
    for (extra, word) in [
        (json!({"select": ["nmae"]}), "did you mean \"name\"?"),
        (json!({"select": ["name", "id"], "path": "other.csv"}), "a column \"id\" is there already"),
        (
            json!({"on": [{"left": "carier", "right": "code"}]}),
            "did you mean \"carrier\"? There are: id, carrier, k (the incoming input)",
        ),
        (
            json!({"on": [{"left": "k", "right": "name"}]}),
            "incoming key \"k\" is of type bigint and looked-up key \"name\" of type text",
        ),
        (json!({"path": "nowhere.csv"}), "nowhere.csv"),
        (json!({"connectorId": "conn_9"}), "conn_9"),
    ] {
        let bench = bench("id,carrier,k\n1,AA,5\n", AIRLINES, json!([lookup(extra)]));
        let fault = bench.file("other.csv", "code,name,id\nAA,x,1\n").fault().await;
        assert!(fault.message.contains("op 1 (lookup)") && fault.message.contains(word), "{fault}");
    }
}

#[tokio::test]
async fn a_transform_with_a_lookup_and_two_consumers_counts_once() {
    let nodes = json!([
        {"id": "s", "nodeType": "source", "config": {"path": "in.csv"}},
        {"id": "t", "nodeType": "transform", "config": {"ops": [lookup(json!({})), {"op": "cast", "field": "name", "type": "integer"}]}},
        {"id": "x", "nodeType": "filter", "config": {"condition": "id < 3"}},
        {"id": "y", "nodeType": "filter", "config": {"condition": "id >= 3"}},
        {"id": "u", "nodeType": "union", "config": {}},
        {"id": "target", "nodeType": "target", "config": {}}
    ]);
    let edges = [
        ("s", "t", None),
        ("t", "x", None),
        ("t", "y", None),
        ("x", "u", None),
        ("y", "u", None),
        ("u", "target", None),
    ];
    let ran = Bench::new(fields(&[("id", "integer")]), nodes, &edges)
        .file("in.csv", ROWS)
        .file("airlines.csv", AIRLINES)
        .run()
        .await;
    assert_eq!((ran.counts("s"), ran.counts("t")), ([5, 5, 0, 0, 0], [5, 2, 0, 3, 0]));
    assert_eq!(ran.rows(), [json!({"id": 3}), json!({"id": 4})]);
}

#[tokio::test]
async fn a_table_that_is_larger_than_the_memory_is_looked_up_too() {
    let rows: String = (0..100_000).map(|i| format!("{i},k{},{i:060}\n", (i * 7919) % 150_000)).collect();
    let table: String = (0..150_000).map(|i| format!("k{i},{i:060}\n")).collect();
    let mut bench =
        bench(&format!("id,carrier,pad\n{rows}"), &format!("code,name\n{table}"), json!([lookup(json!({}))]));
    bench.memory = 16 * 1024 * 1024;
    let ran = bench.execution(json!({"parallelism": 2})).run().await;
    assert_eq!((ran.outcome().rows_out, ran.counts("step1")), (100_000, [100_000, 100_000, 0, 0, 0]));
    assert!(ran.progress.log_lines().iter().any(|l| l.message.contains("joins that sort and spill")));
    assert!(ran.table.iter().all(|row| row["name"].as_str().unwrap().trim_start_matches('0')
        == row["carrier"].as_str().unwrap().trim_start_matches('k').trim_start_matches('0')));
}

#[tokio::test]
async fn more_lookups_than_rows_can_tell_apart_are_refused() {
    let bench = |lookups: usize| bench(ROWS, AIRLINES, json!(vec![lookup(json!({})); lookups]));
    let fault = bench(128).fault().await;
    assert_eq!(fault.kind, Kind::Definition);
    assert!(fault.message.contains("129 sources and lookups; at most 128"), "{fault}");
    let most = bench(127);
    let progress = Progress::new(Default::default(), most.dir.path().join("spool"), Default::default());
    assert!(Graph::new(&most.job(), &progress).is_ok());
}
