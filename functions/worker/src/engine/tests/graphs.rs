//! Each node type, from files to a table.

use super::{Bench, fields};
use serde_json::{Value, json};

fn two_sources(kind: &str, config: Value, fields: Value, left: &str, right: &str) -> Bench {
    let nodes = json!([
        {"id": "l", "nodeType": "source", "config": {"path": "left.csv"}},
        {"id": "r", "nodeType": "source", "config": {"path": "right.csv"}},
        {"id": "both", "nodeType": kind, "config": config},
        {"id": "target", "nodeType": "target", "config": {}}
    ]);
    let edges = [("l", "both", Some("left")), ("r", "both", Some("right")), ("both", "target", None)];
    Bench::new(fields, nodes, &edges).file("left.csv", left).file("right.csv", right)
}

#[tokio::test]
async fn a_source_goes_to_a_target_column_by_column() {
    let bench = Bench::chain(fields(&[("id", "integer"), ("name", "text")]), "name,id,extra\nann,1,x\nbob,2,y\n", &[]);
    let ran = bench.run().await;
    assert_eq!(ran.outcome().rows_in, 2);
    assert_eq!(ran.outcome().rows_out, 2);
    assert_eq!(ran.rows(), [json!({"id": 1, "name": "ann"}), json!({"id": 2, "name": "bob"})]);
    assert_eq!(bench.gate.came.load(std::sync::atomic::Ordering::Relaxed), 1);
    let stages: Vec<_> = ran.progress.log_lines().into_iter().map(|line| line.stage).collect();
    for stage in ["planning", "reading", "writing", "committing"] {
        assert!(stages.iter().any(|s| s == stage), "{stage} in {stages:?}");
    }
}

#[tokio::test]
async fn a_filter_keeps_the_rows_for_which_its_condition_is_true() {
    let filter = json!({"nodeType": "filter", "config": {"condition": "Amount > 10 AND name <> 'x'"}});
    let bench = Bench::chain(fields(&[("name", "text")]), "name,Amount\na,5\nb,20\nx,30\nn,\n", &[filter]);
    let ran = bench.run().await;
    assert_eq!(ran.rows(), [json!({"name": "b"})]);
    assert_eq!(ran.counts("step1"), [4, 1, 3, 0, 0]);
}

#[tokio::test]
async fn a_condition_that_fails_on_a_row_rejects_that_row_only() {
    let filter = json!({"nodeType": "filter", "config": {"condition": "10 / n > 1"}});
    let bench = Bench::chain(fields(&[("n", "integer")]), "n\n1\n0\n5\n100\n0\n", &[filter]);
    let ran = bench.run().await;
    assert_eq!(ran.rows(), [json!({"n": 1}), json!({"n": 5})]);
    assert_eq!(ran.counts("step1"), [5, 2, 1, 2, 0]);
    assert_eq!(ran.outcome().failed_rows, 2);
    let errors = ran.errors();
    assert_eq!((errors[0].row, errors[0].column.as_str(), errors[0].value.as_deref()), (Some(2), "n", Some("0")));
    assert!(errors[0].error.contains("Divide by zero"), "{}", errors[0].error);
}

const LEFT: &str = "id,k,v\n1,a,10\n2,b,20\n3,,30\n4,z,40\n";
const RIGHT: &str = "k,v,w\na,100,x\nb,200,y\nb,201,yy\n,300,null\nq,400,q\n";

async fn join(kind: &str) -> (Vec<Value>, [u64; 5]) {
    let config = json!({"type": kind, "on": [{"left": "k", "right": "k"}]});
    let fields = fields(&[("id", "integer"), ("k", "text"), ("v", "integer"), ("v_right", "integer"), ("w", "text")]);
    let ran = two_sources("join", config, fields, LEFT, RIGHT).run().await;
    assert_eq!((ran.counts("l")[1], ran.counts("r")[1]), (4, 5), "{kind}");
    (ran.rows(), ran.counts("both"))
}

#[tokio::test]
async fn an_inner_join_gives_the_rows_that_meet_and_null_meets_nothing() {
    let (rows, counts) = join("inner").await;
    assert_eq!(
        rows,
        [
            json!({"id": 1, "k": "a", "v": 10, "v_right": 100, "w": "x"}),
            json!({"id": 2, "k": "b", "v": 20, "v_right": 200, "w": "y"}),
            json!({"id": 2, "k": "b", "v": 20, "v_right": 201, "w": "yy"}),
        ]
    );
    assert_eq!(counts, [9, 3, 0, 0, 0]);
}

#[tokio::test]
async fn outer_joins_keep_what_meets_nothing_and_fill_the_shared_key() {
    let (left, _) = join("left").await;
    assert_eq!(left.len(), 5);
    assert!(left.contains(&json!({"id": 3, "k": null, "v": 30, "v_right": null, "w": null})));
    let (right, _) = join("right").await;
    assert_eq!(right.len(), 5);
    assert!(right.contains(&json!({"id": null, "k": "q", "v": null, "v_right": 400, "w": "q"})), "{right:?}");
    let (full, _) = join("full").await;
    assert_eq!(full.len(), 7);
}

#[tokio::test]
async fn semi_and_anti_joins_keep_left_columns_only() {
    let (semi, _) = join("semi").await;
    assert_eq!(semi.iter().map(|r| r["id"].clone()).collect::<Vec<_>>(), [json!(1), json!(2)]);
    let (anti, _) = join("anti").await;
    assert_eq!(anti.iter().map(|r| r["id"].clone()).collect::<Vec<_>>(), [json!(3), json!(4)]);
    assert_eq!(anti[0]["w"], Value::Null);
}

#[tokio::test]
async fn a_join_with_an_empty_side_still_counts_all_rows_of_the_other() {
    for kind in ["inner", "left", "right", "full", "semi", "anti"] {
        for (left, right) in [(LEFT, "k,v,w\n"), ("id,k,v\n", RIGHT)] {
            let config = json!({"type": kind, "on": [{"left": "k", "right": "k"}]});
            let fields = fields(&[("id", "integer"), ("k", "text")]);
            let ran = two_sources("join", config, fields, left, right).run().await;
            let (l, r) = (left.lines().count() as u64 - 1, right.lines().count() as u64 - 1);
            assert_eq!(ran.outcome().rows_in, l + r, "{kind}");
            assert_eq!(ran.counts("both")[0], l + r, "{kind}");
        }
    }
}

#[tokio::test]
async fn a_join_that_needs_nothing_of_one_side_still_counts_its_rows() {
    let nodes = json!([
        {"id": "a", "nodeType": "source", "config": {"path": "a.csv"}},
        {"id": "groups", "nodeType": "aggregate",
            "config": {"groupBy": ["k"], "measures": [{"fn": "count", "field": "*", "as": "n"}]}},
        {"id": "b", "nodeType": "source", "config": {"path": "b.csv"}},
        {"id": "both", "nodeType": "join", "config": {"type": "left", "on": [{"left": "k", "right": "k"}]}},
        {"id": "target", "nodeType": "target", "config": {}}
    ]);
    let edges = [
        ("a", "groups", None),
        ("b", "both", Some("left")),
        ("groups", "both", Some("right")),
        ("both", "target", None),
    ];
    let bench = Bench::new(fields(&[("id", "integer")]), nodes, &edges);
    let ran = bench.file("a.csv", "k\n1\n1\n2\n").file("b.csv", "id,k\n7,1\n8,3\n").run().await;
    assert_eq!(ran.rows(), [json!({"id": 7}), json!({"id": 8})]);
    assert_eq!((ran.counts("groups"), ran.counts("both")), ([3, 2, 0, 0, 0], [4, 2, 0, 0, 0]));
}

#[tokio::test]
async fn lists_in_the_order_of_the_source_are_made_of_sorted_rows() {
    let sort = json!({"nodeType": "sort", "config": {"by": [{"field": "v"}, {"field": "k"}], "limit": 3}});
    let measures = json!([{"fn": "array_agg", "field": "k", "as": "all"}]);
    let list = json!({"nodeType": "aggregate", "config": {"groupBy": ["v"], "measures": measures}});
    let columns = fields(&[("v", "integer"), ("all", "json")]);
    let rows = Bench::chain(columns, "v,k\n1,b\n1,a\n2,c\n2,d\n", &[sort, list]).rows().await;
    assert_eq!(rows.iter().map(|row| row["v"].clone()).collect::<Vec<_>>(), [json!(1), json!(2)]);
    assert!(rows[0]["all"].to_string().contains('b'), "{rows:?}");
}

#[tokio::test]
async fn nested_joins_with_an_empty_side_count_all_rows_too() {
    let nodes = json!([
        {"id": "a", "nodeType": "source", "config": {"path": "a.csv"}},
        {"id": "b", "nodeType": "source", "config": {"path": "b.csv"}},
        {"id": "none", "nodeType": "source", "config": {"path": "none.csv"}},
        {"id": "inner", "nodeType": "join", "config": {"type": "inner", "on": [{"left": "k", "right": "k"}]}},
        {"id": "outer", "nodeType": "join", "config": {"type": "inner", "on": [{"left": "k", "right": "k"}]}},
        {"id": "target", "nodeType": "target", "config": {}}
    ]);
    let edges = [
        ("none", "inner", Some("left")),
        ("a", "inner", Some("right")),
        ("inner", "outer", Some("left")),
        ("b", "outer", Some("right")),
        ("outer", "target", None),
    ];
    let rows: String = (0..50_000).map(|i| format!("{i}\n")).collect();
    let bench = Bench::new(fields(&[("k", "integer")]), nodes, &edges)
        .file("a.csv", &format!("k\n{rows}"))
        .file("b.csv", &format!("k\n{rows}"))
        .file("none.csv", "k\n");
    for parallelism in [1, 4] {
        let ran = Bench {
            job: bench.job.clone(),
            dir: tempfile::TempDir::new().unwrap(),
            memory: bench.memory,
            gate: bench.gate.clone(),
            stop: bench.stop.clone(),
            earlier: bench.earlier.clone(),
        }
        .file("a.csv", &format!("k\n{rows}"))
        .file("b.csv", &format!("k\n{rows}"))
        .file("none.csv", "k\n")
        .execution(json!({"parallelism": parallelism, "batchSize": 1000}))
        .run()
        .await;
        assert_eq!(ran.outcome().rows_in, 100_000);
        assert_eq!(ran.counts("inner"), [50_000, 0, 0, 0, 0]);
        assert_eq!(ran.counts("outer"), [50_000, 0, 0, 0, 0]);
    }
}

#[tokio::test]
async fn a_union_puts_columns_together_by_name() {
    let fields = fields(&[("a", "integer"), ("b", "text"), ("c", "double")]);
    let bench = two_sources("union", json!({}), fields, "a,b\n1,x\n1,x\n", "c,a\n1.5,2\n");
    let ran = bench.run().await;
    assert_eq!(
        ran.rows(),
        [
            json!({"a": 1, "b": "x", "c": null}),
            json!({"a": 1, "b": "x", "c": null}),
            json!({"a": 2, "b": null, "c": 1.5}),
        ]
    );
    assert_eq!(ran.counts("both"), [3, 3, 0, 0, 0]);
}

#[tokio::test]
async fn a_distinct_union_keeps_equal_rows_once() {
    let bench =
        two_sources("union", json!({"distinct": true}), fields(&[("a", "integer")]), "a\n1\n1\n2\n", "a\n2\n3\n");
    let ran = bench.run().await;
    assert_eq!(ran.rows(), [json!({"a": 1}), json!({"a": 2}), json!({"a": 3})]);
    assert_eq!(ran.counts("both"), [5, 3, 0, 0, 2]);
}

#[tokio::test]
async fn an_aggregate_measures_groups() {
    let measures: Vec<_> = ["count", "count_distinct", "sum", "avg", "min", "max", "median", "stddev", "first", "last"]
        .iter()
        .map(|f| json!({"fn": f, "field": "v", "as": f}))
        .chain([json!({"fn": "count", "field": "*", "as": "all"})])
        .collect();
    let aggregate = json!({"nodeType": "aggregate", "config": {"groupBy": ["g"], "measures": measures}});
    let mut names = vec![("g", "text"), ("all", "bigint")];
    names.extend([
        ("count", "bigint"),
        ("count_distinct", "bigint"),
        ("sum", "bigint"),
        ("avg", "double"),
        ("min", "integer"),
        ("max", "integer"),
        ("median", "double"),
        ("stddev", "double"),
        ("first", "integer"),
        ("last", "integer"),
    ]);
    let bench = Bench::chain(fields(&names), "g,v\na,3\na,1\na,1\na,\nb,7\n", &[aggregate]);
    let ran = bench.run().await;
    let rows = ran.rows();
    let of = |g: &str| rows.iter().find(|r| r["g"] == g).unwrap().clone();
    let a = of("a");
    assert_eq!((&a["all"], &a["count"], &a["count_distinct"], &a["sum"]), (&json!(4), &json!(3), &json!(2), &json!(5)));
    assert_eq!(
        (&a["min"], &a["max"], &a["median"], &a["first"], &a["last"]),
        (&json!(1), &json!(3), &json!(1.0), &json!(3), &Value::Null)
    );
    assert!((a["avg"].as_f64().unwrap() - 5.0 / 3.0).abs() < 1e-9);
    assert_eq!(of("b")["sum"], json!(7));
    assert_eq!(ran.counts("step1"), [5, 2, 0, 0, 0]);
}

#[tokio::test]
async fn an_aggregate_without_groups_makes_one_row_and_a_list_becomes_json() {
    let aggregate = json!({"nodeType": "aggregate", "config": {"groupBy": [], "measures": [
        {"fn": "array_agg", "field": "v", "as": "all"}, {"fn": "count", "field": "*", "as": "n"}]}});
    let bench = Bench::chain(fields(&[("all", "json"), ("n", "integer")]), "v\n3\n1\n2\n", &[aggregate]);
    assert_eq!(bench.rows().await, [json!({"all": "[3,1,2]", "n": 3})]);
}

#[tokio::test]
async fn a_sum_that_passes_64_bits_fails_rather_than_wraps() {
    let aggregate = json!({"nodeType": "aggregate", "config": {"groupBy": [], "measures": [{"fn": "sum", "field": "v", "as": "s"}]}});
    let bench = Bench::chain(fields(&[("s", "bigint")]), "v\n9223372036854775807\n1\n", &[aggregate]);
    let fault = bench.fault().await;
    assert!(fault.message.contains("9223372036854775808"), "{fault}");
}

#[tokio::test]
async fn a_sort_with_a_limit_keeps_the_first_rows() {
    let sort = json!({"nodeType": "sort", "config": {"by": [{"field": "v", "direction": "desc"}], "limit": 2}});
    let bench = Bench::chain(fields(&[("v", "integer")]), "v\n3\n\n9\n5\n1\n", &[sort.clone(), sort]);
    let ran = bench.run().await;
    assert_eq!(ran.rows(), [json!({"v": 5}), json!({"v": 9})]);
    // The empty line is a row of null, which comes last.
    assert_eq!(ran.counts("step1"), [5, 2, 3, 0, 0]);
    assert_eq!(ran.counts("step2"), [2, 2, 0, 0, 0]);
}

#[tokio::test]
async fn deduplicate_keeps_the_first_or_last_row_in_the_order_of_the_source() {
    for (keep, expected) in [("first", 1), ("last", 3)] {
        let step = json!({"nodeType": "deduplicate", "config": {"keys": ["k"], "keep": keep}});
        let bench = Bench::chain(fields(&[("k", "text"), ("v", "integer")]), "k,v\na,1\n,8\na,2\n,9\na,3\n", &[step]);
        let ran = bench.run().await;
        assert!(ran.rows().contains(&json!({"k": "a", "v": expected})), "{keep}: {:?}", ran.rows());
        assert_eq!(ran.counts("step1"), [5, 2, 0, 0, 3]);
    }
}

#[tokio::test]
async fn deduplicate_follows_its_own_order() {
    let step = json!({"nodeType": "deduplicate", "config": {"keys": ["k"], "keep": "first", "orderBy": [{"field": "v", "direction": "desc"}]}});
    let bench = Bench::chain(fields(&[("k", "text"), ("v", "integer")]), "k,v\na,1\na,7\na,\na,2\n", &[step]);
    assert_eq!(bench.rows().await, [json!({"k": "a", "v": 7})]);
}

#[tokio::test]
async fn a_column_that_reaches_the_target_unchanged_is_read_as_the_schema_has_it() {
    let rename = json!({"nodeType": "transform", "config": {"ops": [{"op": "rename", "mappings": [{"from": "v", "to": "version"}]}]}});
    let filter = json!({"nodeType": "filter", "config": {"condition": "n > 0"}});
    // Guessed to be a number, 1.10 would become 1.1.
    let bench = Bench::chain(fields(&[("version", "text"), ("n", "integer")]), "v,n\n1.10,1\n", &[filter, rename]);
    assert_eq!(bench.rows().await, [json!({"version": "1.10", "n": 1})]);
}

#[tokio::test]
async fn the_schema_types_no_column_of_a_join_that_gets_another_name() {
    let fields = fields(&[("k", "text"), ("year", "integer"), ("model", "text")]);
    let config = json!({"type": "left", "on": [{"left": "k", "right": "k"}]});
    let bench = two_sources("join", config, fields, "k,year\n1.10,2013\n", "k,year,model\n1.10,unknown,2.50\n");
    let ran = bench.run().await;
    assert_eq!(ran.rows(), [json!({"k": "1.10", "year": 2013, "model": "2.50"})]);
    assert_eq!(ran.outcome().failed_rows, 0);
}

#[tokio::test]
async fn large_joins_and_sorts_stay_within_little_memory() {
    let rows: String = (0..200_000).map(|i| format!("{},{i:040}\n", (i * 7919) % 200_000)).collect();
    let mut bench = two_sources(
        "join",
        json!({"type": "inner", "on": [{"left": "k", "right": "k"}]}),
        fields(&[("k", "integer")]),
        &format!("k,a\n{rows}"),
        &format!("k,b\n{rows}"),
    );
    bench.memory = 16 * 1024 * 1024;
    let ran = bench.execution(json!({"parallelism": 2})).run().await;
    assert_eq!(ran.outcome().rows_out, 200_000);
    assert!(ran.progress.log_lines().iter().any(|l| l.message.contains("joins that sort and spill")));
}

#[tokio::test]
async fn rows_of_many_kilobytes_are_sorted_and_kept_once_within_little_memory() {
    // Twelve megabytes hold neither these 60, nor a batch of as many rows as usual; the third of a quarter of them, which is
    // what a merge has at worst, holds the few rows of each sorted part.
    let rows: String =
        (0..3_000).map(|i| format!("{{\"k\": {}, \"body\": \"{i:020000}\"}}\n", i * 7 % 3_000)).collect();
    for step in [
        json!({"nodeType": "sort", "config": {"by": [{"field": "k"}]}}),
        json!({"nodeType": "deduplicate", "config": {"keep": "first", "keys": ["k"]}}),
        json!({"nodeType": "aggregate", "config": {"groupBy": ["k"], "measures": [{"fn": "max", "field": "body", "as": "body"}]}}),
    ] {
        let fields = fields(&[("k", "integer"), ("body", "text")]);
        let mut bench = Bench::chain(fields, "", std::slice::from_ref(&step)).file("in.jsonl", &rows);
        bench.job["nodes"][0]["config"] = json!({"path": "in.jsonl"});
        bench.memory = 12 * 1024 * 1024;
        let ran = bench.execution(json!({"parallelism": 2})).run().await;
        assert_eq!(ran.outcome().rows_out, 3_000, "{step}");
    }
}
