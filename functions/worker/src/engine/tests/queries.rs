//! The sql node: what queries may do, and that all rows are counted whatever a query needs of them.

use super::{Bench, fields};
use crate::error::Kind;
use serde_json::{Value, json};

fn sql(query: &str) -> Value {
    json!({"nodeType": "sql", "config": {"query": query}})
}

/// One input, `input`.
fn one(columns: &[(&str, &str)], rows: &str, query: &str) -> Bench {
    Bench::chain(fields(columns), rows, &[sql(query)])
}

/// Two inputs, `orders` and `customers`.
fn two(columns: &[(&str, &str)], query: &str) -> Bench {
    let nodes = json!([
        {"id": "o", "nodeType": "source", "config": {"path": "orders.csv"}},
        {"id": "c", "nodeType": "source", "config": {"path": "customers.csv"}},
        {"id": "q", "nodeType": "sql", "config": {"query": query}},
        {"id": "target", "nodeType": "target", "config": {}}
    ]);
    let edges = [("o", "q", Some("orders")), ("c", "q", Some("customers")), ("q", "target", None)];
    Bench::new(fields(columns), nodes, &edges)
        .file("orders.csv", "id,customer,amount\n1,7,10.5\n2,8,20\n3,7,1\n4,,9\n")
        .file("customers.csv", "id,name\n7,Ann\n8,Bob\n9,Cid\n")
}

#[tokio::test]
async fn a_query_sees_its_inputs_by_the_labels_of_their_edges() {
    let query = "WITH sums AS (SELECT customer, sum(amount) AS total FROM orders GROUP BY customer)
        SELECT c.name, s.total -- one row a customer
        FROM customers c LEFT JOIN sums s ON s.customer = c.id ORDER BY c.name";
    let ran = two(&[("name", "text"), ("total", "double")], query).run().await;
    assert_eq!(
        ran.rows(),
        [
            json!({"name": "Ann", "total": 11.5}),
            json!({"name": "Bob", "total": 20.0}),
            json!({"name": "Cid", "total": null})
        ]
    );
    assert_eq!(ran.counts("q"), [7, 3, 0, 0, 0]);
}

#[tokio::test]
async fn unions_subqueries_and_windows_are_allowed() {
    let rows = "k,v\na,1\na,3\nb,2\n";
    let columns = [("k", "text"), ("v", "bigint")];
    for (query, expected) in [
        ("SELECT k, v FROM input WHERE v > (SELECT avg(v) FROM input)", json!([{"k": "a", "v": 3}])),
        (
            "SELECT k, v FROM input i WHERE v = (SELECT max(v) FROM input j WHERE j.k = i.k)",
            json!([{"k": "a", "v": 3}, {"k": "b", "v": 2}]),
        ),
        (
            "SELECT k, sum(v) OVER (PARTITION BY k ORDER BY v) AS v FROM input",
            json!([{"k": "a", "v": 1}, {"k": "a", "v": 4}, {"k": "b", "v": 2}]),
        ),
        (
            "SELECT k, v FROM (SELECT *, row_number() OVER (PARTITION BY k ORDER BY v DESC) AS n FROM input) t WHERE n = 1",
            json!([{"k": "a", "v": 3}, {"k": "b", "v": 2}]),
        ),
        (
            "SELECT k, v FROM input EXCEPT SELECT k, v FROM input WHERE v = 1",
            json!([{"k": "a", "v": 3}, {"k": "b", "v": 2}]),
        ),
        (
            "SELECT k, count(*) AS v FROM input WHERE k IN (SELECT k FROM input WHERE v = 2) GROUP BY k",
            json!([{"k": "b", "v": 1}]),
        ),
        ("SELECT k, v FROM input ORDER BY v DESC LIMIT 1", json!([{"k": "a", "v": 3}])),
        ("SELECT DISTINCT k FROM input", json!([{"k": "a", "v": null}, {"k": "b", "v": null}])),
        ("SELECT a.k, b.v FROM input a JOIN input b ON a.k = b.k AND a.v < b.v", json!([{"k": "a", "v": 3}])),
        (
            "SELECT k, v FROM input i WHERE EXISTS (SELECT 1 FROM input j WHERE j.v = i.v + 1)",
            json!([{"k": "a", "v": 1}, {"k": "b", "v": 2}]),
        ),
        (
            "SELECT k, CAST(NULL AS BIGINT) AS v FROM input UNION ALL SELECT 'z', 5",
            json!([{"k": "a", "v": null}, {"k": "a", "v": null}, {"k": "b", "v": null}, {"k": "z", "v": 5}]),
        ),
    ] {
        let ran = one(&columns, rows, query).run().await;
        assert_eq!(json!(ran.rows()), expected, "{query}");
        assert_eq!((ran.counts("source"), ran.counts("step1")[0]), ([3, 3, 0, 0, 0], 3), "{query}");
        assert_eq!(ran.counts("step1")[1], ran.rows().len() as u64, "{query}");
    }
}

#[tokio::test]
async fn columns_that_a_query_hands_on_are_read_as_the_schema_has_them() {
    let columns = [("zip", "text"), ("n", "bigint")];
    let (file, handed) = ("code,x\n7.10,1\n8.20,2\n", "SELECT code AS zip, x * 2 AS n FROM input");
    let rows = one(&columns, file, handed).rows().await;
    assert_eq!(rows, [json!({"zip": "7.10", "n": 2}), json!({"zip": "8.20", "n": 4})]);
    let rows = one(&columns, file, "SELECT code AS zip, x AS n FROM input WHERE code > 8").rows().await;
    assert_eq!(rows, [json!({"zip": "8.2", "n": 2})]);
}

/// What a run that does not end would be waited for.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

#[tokio::test]
async fn conditions_that_no_row_meets_are_not_asked_of_the_source() {
    let columns = [("k", "text"), ("v", "bigint")];
    for (condition, rows) in
        [("v = 1 AND v = 2", 0), ("(SELECT max(v) FROM input) > 2", 3), ("(SELECT max(v) FROM input) > 3", 0)]
    {
        let query = format!("SELECT k, count(*) AS v FROM input WHERE {condition} GROUP BY k, v");
        let ran = one(&columns, "k,v\na,1\na,3\nb,2\n", &query).run().await;
        let counts = (ran.counts("source"), ran.counts("step1"));
        assert_eq!(counts, ([3, 3, 0, 0, 0], [3, rows, 0, 0, 0]), "{condition}");
    }
}

#[tokio::test]
async fn a_join_that_never_asks_for_its_other_side_is_not_waited_for() {
    let query = "SELECT o.id, s.n FROM (SELECT id FROM orders WHERE id > 100) o
        LEFT JOIN (SELECT id, count(*) AS n FROM customers GROUP BY id) s ON o.id = s.id";
    let bench = two(&[("id", "integer"), ("n", "bigint")], query);
    let ran = tokio::time::timeout(PATIENCE, bench.run()).await.expect("the run ends");
    assert_eq!(ran.rows(), Vec::<Value>::new());
    assert_eq!((ran.counts("q"), ran.counts("c")), ([7, 0, 0, 0, 0], [3, 3, 0, 0, 0]));
}

#[tokio::test]
async fn subqueries_have_their_values_also_where_nobody_asks_for_the_rows() {
    let inner = sql("SELECT k, v, (SELECT max(v) FROM input) AS best FROM input");
    let outer = sql("SELECT k, best AS v FROM input WHERE false");
    let columns = fields(&[("k", "text"), ("v", "bigint")]);
    let ran = Bench::chain(columns, "k,v\na,1\na,3\nb,2\n", &[inner, outer]).run().await;
    assert_eq!((ran.outcome().rows_out, ran.rows()), (0, Vec::new()));
    assert_eq!((ran.counts("step1"), ran.counts("step2")), ([3, 3, 0, 0, 0], [3, 0, 0, 0, 0]));
}

#[tokio::test]
async fn rows_are_counted_where_a_query_needs_none_of_them() {
    for query in [
        "SELECT id FROM orders WHERE false AND id IN (SELECT id FROM customers)",
        "SELECT o.id FROM orders o JOIN customers c ON false",
        "SELECT id FROM orders LIMIT 0 OFFSET (SELECT 0 FROM customers LIMIT 0)",
        "WITH unused AS (SELECT * FROM customers) SELECT id FROM orders LIMIT 1",
        "SELECT o.id FROM orders o, customers c LIMIT 1",
    ] {
        let ran = two(&[("id", "integer")], query).run().await;
        match &ran.result {
            Ok(_) => {
                assert_eq!((ran.counts("o"), ran.counts("c")), ([4, 4, 0, 0, 0], [3, 3, 0, 0, 0]), "{query}");
                assert_eq!(ran.counts("q")[0], 7, "{query}");
            }
            Err(e) => assert_eq!(e.kind, Kind::Definition, "{query}: {e}"),
        }
    }
    // A query over a query of which nothing is left.
    let bench = Bench::chain(
        fields(&[("n", "integer")]),
        "n\n1\n2\n3\n",
        &[sql("SELECT n FROM input WHERE n > 1"), sql("SELECT n FROM input WHERE 1 = 2")],
    );
    let ran = bench.run().await;
    assert_eq!((ran.rows(), ran.outcome().rows_in), (Vec::new(), 3));
    assert_eq!((ran.counts("step1"), ran.counts("step2")), ([3, 2, 0, 0, 0], [2, 0, 0, 0, 0]));
}

#[tokio::test]
async fn a_query_with_two_consumers_and_an_empty_input_count_once() {
    let nodes = json!([
        {"id": "s", "nodeType": "source", "config": {"path": "in.csv"}},
        {"id": "q", "nodeType": "sql", "config": {"query": "SELECT a.n FROM input a LEFT JOIN input b ON a.n = b.n + 1"}},
        {"id": "x", "nodeType": "filter", "config": {"condition": "n > 1"}},
        {"id": "y", "nodeType": "filter", "config": {"condition": "n <= 1"}},
        {"id": "u", "nodeType": "union", "config": {}},
        {"id": "target", "nodeType": "target", "config": {}}
    ]);
    let edges = [
        ("s", "q", None),
        ("q", "x", None),
        ("q", "y", None),
        ("x", "u", None),
        ("y", "u", None),
        ("u", "target", None),
    ];
    for (rows, count) in [("n\n1\n2\n", 2), ("n\n", 0)] {
        let ran = Bench::new(fields(&[("n", "integer")]), nodes.clone(), &edges).file("in.csv", rows).run().await;
        assert_eq!(ran.counts("s"), [count, count, 0, 0, 0]);
        assert_eq!((ran.counts("q"), ran.counts("x")[0], ran.counts("y")[0]), ([count, count, 0, 0, 0], count, count));
        assert_eq!(ran.rows().len() as u64, count);
    }
}

#[tokio::test]
async fn parameters_are_values_in_a_query_and_never_sql() {
    let query = "SELECT name FROM input WHERE name = ${who} AND n >= ${least} AND '${who}' <> ''";
    let bench = one(&[("name", "text")], "name,n\no'x' OR 1=1 --,1\nann,5\n", query)
        .parameters(json!({"who": "o'x' OR 1=1 --", "least": 1}));
    assert_eq!(bench.rows().await, [json!({"name": "o'x' OR 1=1 --"})]);
    let fault = one(&[("name", "text")], "name,n\na,1\n", query).parameters(json!({"who": "a"})).fault().await;
    assert!(fault.message.contains("no parameter \"least\""), "{fault}");
}

#[tokio::test]
async fn names_in_queries_are_case_sensitive_also_unquoted() {
    let ran = one(&[("Amount", "integer")], "Amount\n1\n", "SELECT Amount FROM input").rows().await;
    assert_eq!(ran, [json!({"Amount": 1})]);
    let fault = one(&[("Amount", "integer")], "Amount\n1\n", "SELECT amount FROM input").fault().await;
    assert!(fault.message.contains("amount"), "{fault}");
    let fault = one(&[("Amount", "integer")], "Amount\n1\n", "SELECT Amount FROM Input").fault().await;
    assert!(fault.message.contains("no input \"Input\"; did you mean \"input\"?"), "{fault}");
}

#[tokio::test]
async fn what_is_more_than_a_select_over_the_inputs_is_refused() {
    for (query, word) in [
        ("DELETE FROM input", ""),
        ("SELECT * FROM input; SELECT 1", "unexpected ;"),
        ("SELECT * INTO x FROM input", "INTO"),
        ("SELECT * FROM other", "no input \"other\""),
        ("SELECT * FROM a.input", "no input"),
        ("SELECT * FROM information_schema.tables", "no input"),
        ("SELECT * FROM '/etc/passwd'", ""),
        ("SELECT * FROM read_csv('/etc/passwd')", "table functions"),
        ("SELECT * FROM generate_series(1, 1000000000), input", "table functions"),
        ("WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT n FROM r, input", "RECURSIVE"),
        ("SELECT version() AS v FROM input", "version"),
        ("SELECT random() AS n FROM input", "random"),
        ("SELECT uper(n) AS n FROM input", "did you mean upper?"),
        ("SELECT repeat(CAST(n AS VARCHAR), 1000000000) AS n FROM input", "at most 10000"),
        ("SELECT $1 AS n FROM input", "lone $"),
        ("SELECT @@version AS n FROM input", ""),
        ("SELECT __flowgate_row AS n FROM input", "__flowgate_row"),
        ("SELECT n AS __flowgate_row FROM input", "__flowgate_row"),
        ("SELECT a.n, b.n FROM input a, input b", "two columns would be named \"n\""),
        ("SELECT 1 AS n", "does not read the input \"input\""),
        ("SELECT n + 'x' AS n FROM (SELECT DATE '2026-01-01' AS n FROM input) t", ""),
        ("EXPLAIN SELECT n FROM input", ""),
        ("SELECT unnest(make_array(n)) AS n FROM input", ""),
    ] {
        let fault = one(&[("n", "integer")], "n\n1\n", query).fault().await;
        assert_eq!(fault.kind, Kind::Definition, "{query}: {fault}");
        assert!(fault.message.contains(word), "{query}: {fault}");
    }
}

#[tokio::test]
async fn sums_of_a_query_do_not_wrap_around() {
    let rows = "n\n9223372036854775807\n1\n";
    for query in ["SELECT sum(n) AS n FROM input", "SELECT n + 1 AS n FROM input", "SELECT n * 2 AS n FROM input"] {
        let ran = one(&[("n", "bigint")], rows, query).run().await;
        assert!(ran.result.is_err(), "{query}: {:?}", ran.table);
    }
}

#[tokio::test]
async fn one_input_may_come_under_two_names_and_over_a_branch() {
    let nodes = json!([
        {"id": "s", "nodeType": "source", "config": {"path": "in.csv"}},
        {"id": "b", "nodeType": "branch", "config": {"routes": [{"label": "low", "condition": "n < 3"}], "else": "High ones"}},
        {"id": "q", "nodeType": "sql", "config": {"query": "SELECT low.n, h.n AS m FROM low JOIN \"High ones\" h ON h.n = low.n + 2"}},
        {"id": "target", "nodeType": "target", "config": {}}
    ]);
    let edges = [("s", "b", None), ("b", "q", Some("low")), ("b", "q", Some("High ones")), ("q", "target", None)];
    let ran = Bench::new(fields(&[("n", "integer"), ("m", "integer")]), nodes, &edges)
        .file("in.csv", "n\n1\n2\n3\n4\n5\n")
        .run()
        .await;
    assert_eq!(ran.rows(), [json!({"n": 1, "m": 3}), json!({"n": 2, "m": 4})]);
    assert_eq!((ran.counts("b"), ran.counts("q")), ([5, 5, 0, 0, 0], [5, 2, 0, 0, 0]));
}

#[tokio::test]
async fn the_deepest_queries_that_are_taken_are_planned_and_overflow_no_stack() {
    let from = format!("{}SELECT n FROM input{}", "SELECT n FROM (".repeat(24), ") t".repeat(24));
    let within = format!("SELECT n FROM input{}{}", " WHERE n IN (SELECT n FROM input".repeat(8), ")".repeat(8));
    let sum = format!("SELECT {} AS n FROM input", vec!["n"; 199].join("+"));
    for (query, n) in [(from, 1), (within, 1), (sum, 199)] {
        assert_eq!(one(&[("n", "bigint")], "n\n1\n", &query).run().await.rows(), [json!({"n": n})], "{query:.40}");
    }
}
