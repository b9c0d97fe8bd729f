//! Validate: each rule, each consequence, and the counts.

use super::{Bench, Ran, fields};
use crate::error::Kind;
use serde_json::{Value, json};

fn validate(rules: Value) -> Value {
    json!({"nodeType": "validate", "label": "Checks", "config": {"rules": rules}})
}

const COLUMNS: [(&str, &str); 4] = [("id", "bigint"), ("age", "double"), ("mail", "text"), ("born", "date")];

async fn run(rows: &str, rules: Value) -> Ran {
    Bench::chain(fields(&COLUMNS), &format!("id,age,mail,born\n{rows}"), &[validate(rules)]).run().await
}

/// The ids of the rows that one rule keeps; null keeps its place.
async fn kept(rows: &str, rule: Value) -> Vec<u64> {
    let mut rule = rule;
    rule["id"] = json!("r");
    let ran = run(rows, json!([rule])).await;
    let mut ids: Vec<u64> = ran.rows().iter().map(|r| r["id"].as_u64().unwrap()).collect();
    ids.sort_unstable();
    let [came, went, filtered, rejected, _] = ran.counts("step1");
    assert_eq!((came, filtered, went + rejected), (rows.lines().count() as u64, 0, came), "{rule}");
    assert!(
        ran.errors().iter().all(|e| e.error.starts_with("rule \"r\" (") && e.node == "step1"),
        "{:?}",
        ran.errors()
    );
    ids
}

const ROWS: &str = "1,17,ada@example.org,2000-01-01\n2,18,ada@example,1999-12-31\n3,120.5,,\n4,,x@y.z,2010-06-30\n";

#[tokio::test]
async fn each_rule_rejects_the_rows_that_break_it_and_null_breaks_not_null_only() {
    for (rule, expected) in [
        (json!({"rule": "notNull", "field": "age"}), vec![1, 2, 3]),
        (json!({"rule": "notNull", "field": "mail"}), vec![1, 2, 4]),
        (json!({"rule": "range", "field": "age", "params": {"min": 18, "max": 120}}), vec![2, 4]),
        (json!({"rule": "range", "field": "age", "params": {"min": 17.5}}), vec![2, 3, 4]),
        (json!({"rule": "range", "field": "id", "params": {"max": 2.5}}), vec![1, 2]),
        (json!({"rule": "range", "field": "born", "params": {"min": "2000-01-01"}}), vec![1, 3, 4]),
        (json!({"rule": "range", "field": "born", "params": {"max": "2000-01-01T12:00:00"}}), vec![1, 2, 3]),
        (json!({"rule": "length", "field": "mail", "params": {"min": 6, "max": 11}}), vec![2, 3]),
        (json!({"rule": "length", "field": "mail", "params": {"max": 11}}), vec![2, 3, 4]),
        (json!({"rule": "regex", "field": "mail", "params": {"pattern": "^ada@"}}), vec![1, 2, 3]),
        (json!({"rule": "regex", "field": "id", "params": {"pattern": "^[12]$"}}), vec![1, 2]),
        (json!({"rule": "oneOf", "field": "mail", "params": {"values": ["x@y.z", "it's"]}}), vec![3, 4]),
        (json!({"rule": "oneOf", "field": "id", "params": {"values": [1, 4]}}), vec![1, 4]),
        (json!({"rule": "email", "field": "mail"}), vec![1, 3, 4]),
        (json!({"rule": "expression", "params": {"expr": "age > 17 OR mail LIKE 'x%'"}}), vec![2, 3, 4]),
        (json!({"rule": "expression", "params": {"expr": "10 / (id - 2) <> 0"}}), vec![1, 3, 4]),
        (json!({"rule": "unique", "field": "id"}), vec![1, 2, 3, 4]),
    ] {
        assert_eq!(kept(ROWS, rule.clone()).await, expected, "{rule}");
    }
}

#[tokio::test]
async fn addresses_are_told_from_what_is_none() {
    let mails = [
        "a@b.co",
        "a.b+c@d-e.example.org",
        "ü@exämple.de",
        "a@b",
        "a b@c.de",
        "@c.de",
        "a@.de",
        "a@c..de",
        "a.@c.de",
        ".a@c.de",
        "a@c.de x",
        "a@-c.de",
    ];
    let rows: String = mails.iter().enumerate().map(|(i, mail)| format!("{},1,{mail},\n", i + 1)).collect();
    assert_eq!(kept(&rows, json!({"rule": "email", "field": "mail"})).await, [1, 2, 3]);
}

#[tokio::test]
async fn a_row_is_rejected_once_under_the_first_rule_that_it_breaks() {
    let rules = json!([
        {"id": "has mail", "rule": "notNull", "field": "mail"},
        {"id": "adult", "rule": "range", "field": "age", "params": {"min": 18, "max": 120}},
        {"id": "old", "rule": "expression", "params": {"expr": "age < 100"}},
    ]);
    let ran = run(ROWS, rules).await;
    assert_eq!(ran.counts("step1"), [4, 2, 0, 2, 0]);
    let errors = ran.errors();
    assert_eq!((errors[0].row, errors[0].column.as_str(), errors[0].value.as_deref()), (Some(1), "age", Some("17.0")));
    assert_eq!(errors[0].error, "rule \"adult\" (range): must be 18 to 120");
    assert_eq!((errors[1].row, errors[1].column.as_str(), errors[1].value.as_deref()), (Some(3), "mail", None));
    assert_eq!(errors[1].error, "rule \"has mail\" (notNull): must have a value");
    assert_eq!(ran.outcome().failed_rows, 2);
}

#[tokio::test]
async fn the_first_row_of_a_value_is_kept_whatever_the_partitions() {
    let rows: String =
        (0..20_000).map(|i| format!("{},{},{},\n", i % 5_000, i, if i % 7 == 0 { "" } else { "m" })).collect();
    for (parallelism, memory) in [(1, 64), (4, 64), (2, 8)] {
        let rules = json!([{"id": "one", "rule": "unique", "field": "id"}]);
        let mut bench = Bench::chain(fields(&COLUMNS), &format!("id,age,mail,born\n{rows}"), &[validate(rules)]);
        bench.memory = memory * 1024 * 1024;
        let ran = bench.execution(json!({"parallelism": parallelism, "batchSize": 500})).run().await;
        assert_eq!(ran.counts("step1"), [20_000, 5_000, 0, 15_000, 0]);
        assert!(ran.rows().iter().all(|r| r["age"].as_f64().unwrap() == r["id"].as_f64().unwrap()));
    }
}

#[tokio::test]
async fn unique_stands_among_other_rules_and_a_rejected_row_holds_no_value() {
    let rules = json!([
        {"id": "one", "rule": "unique", "field": "id"},
        {"id": "adult", "rule": "range", "field": "age", "params": {"min": 18}},
        {"id": "mail", "rule": "unique", "field": "mail", "onFail": "warn"},
    ]);
    let ran = run("1,5,a,\n1,20,a,\n1,30,b,\n,40,,\n,50,,\n2,60,a,\n3,6,c,\n", rules).await;
    let rows = ran.rows();
    let ages: Vec<_> = rows.iter().map(|r| r["age"].as_f64().unwrap()).collect();
    assert_eq!(ages.len(), 4);
    assert!([20.0, 40.0, 50.0, 60.0].iter().all(|age| ages.contains(age)), "{ages:?}");
    let errors = ran.errors();
    let told: Vec<_> = errors.iter().map(|e| (e.row.unwrap(), e.error.as_str())).collect();
    assert_eq!(
        told,
        [
            (1, "rule \"adult\" (range): must be at least 18"),
            (3, "rule \"one\" (unique): must be unique, and an earlier row of this run has it too"),
            (7, "rule \"adult\" (range): must be at least 18"),
        ]
    );
    assert_eq!(ran.counts("step1"), [7, 4, 0, 3, 0]);
    let nodes = ran.progress.nodes();
    assert_eq!(nodes.iter().find(|n| n.id == "step1").unwrap().warnings.all(), [("mail".to_owned(), 1)]);
}

#[tokio::test]
async fn warnings_are_counted_told_and_change_nothing() {
    let rules = json!([
        {"id": "has mail", "rule": "notNull", "field": "mail", "onFail": "reject"},
        {"id": "young", "rule": "range", "field": "age", "params": {"max": 17}, "onFail": "warn"},
        {"id": "fine", "rule": "notNull", "field": "id", "onFail": "warn"},
        {"id": "few", "rule": "rowCount", "params": {"max": 3}, "onFail": "warn"},
    ]);
    let ran = run(ROWS, rules).await;
    assert_eq!((ran.counts("step1"), ran.outcome().failed_rows), ([4, 3, 0, 1, 0], 1));
    let nodes = ran.progress.nodes();
    // The row without a mail is out before the second rule.
    let warnings = nodes.iter().find(|n| n.id == "step1").unwrap().warnings.all();
    assert_eq!(warnings, [("young".to_owned(), 1), ("few".to_owned(), 1)]);
    let log: Vec<String> = ran.progress.log_lines().into_iter().map(|l| l.message).collect();
    assert!(log.contains(&"Rule \"young\" of \"Checks\" warns: 1 row breaks it and goes on.".to_owned()), "{log:?}");
    assert!(
        log.iter()
            .any(|l| l.contains("rule \"few\" (rowCount) is broken: 4 rows came in, and there must be at most 3")),
        "{log:?}"
    );
}

#[tokio::test]
async fn a_rule_that_fails_ends_the_run_with_nothing_written() {
    for (rules, words) in [
        (
            json!([{"id": "adult", "rule": "range", "field": "age", "params": {"min": 18}, "onFail": "fail"}]),
            ["rule \"adult\" (range)", "row 1, column \"age\", value \"17.0\": must be at least 18"],
        ),
        (
            json!([{"id": "one", "rule": "unique", "field": "id"}, {"id": "mail", "rule": "notNull", "field": "mail", "onFail": "fail"}]),
            ["rule \"mail\" (notNull)", "row 3, column \"mail\", value null: must have a value"],
        ),
        (
            json!([{"id": "many", "rule": "rowCount", "params": {"min": 5}}]),
            ["4 rows came in", "there must be at least 5"],
        ),
    ] {
        let fault =
            Bench::chain(fields(&COLUMNS), &format!("id,age,mail,born\n{ROWS}"), &[validate(rules)]).fault().await;
        assert_eq!((fault.kind, fault.node.as_deref()), (Kind::Data, Some("step1")), "{fault}");
        assert!(
            fault.message.starts_with("node \"Checks\": rule") && words.iter().all(|w| fault.message.contains(w)),
            "{fault}"
        );
    }
    // An earlier rule that rejects the row shields it.
    let rules = json!([
        {"id": "mail", "rule": "notNull", "field": "mail"},
        {"id": "young", "rule": "range", "field": "age", "params": {"max": 119}, "onFail": "fail"},
    ]);
    assert_eq!(run(ROWS, rules).await.counts("step1"), [4, 3, 0, 1, 0]);
}

#[tokio::test]
async fn rows_are_counted_also_where_there_are_none() {
    let rules = |low: u64| json!([{"id": "n", "rule": "rowCount", "params": {"min": low, "max": 4}}, {"id": "u", "rule": "unique", "field": "id"}]);
    assert_eq!(run("", rules(0)).await.counts("step1"), [0, 0, 0, 0, 0]);
    assert!(run("", rules(1)).await.result.is_err());
    assert_eq!(run(ROWS, rules(4)).await.counts("step1"), [4, 4, 0, 0, 0]);
}

#[tokio::test]
async fn rules_that_do_not_fit_their_columns_are_faults_all_at_once() {
    let rules = json!([
        {"id": "a", "rule": "notNull", "field": "aeg"},
        {"id": "b", "rule": "range", "field": "mail", "params": {"min": 1}},
        {"id": "c", "rule": "oneOf", "field": "id", "params": {"values": [1, "x"]}},
        {"id": "d", "rule": "expression", "params": {"expr": "age + 1"}},
        {"id": "e", "rule": "regex", "field": "mail", "params": {"pattern": "${p}"}},
        {"id": "f", "rule": "range", "field": "born", "params": {"min": "soon"}},
        {"id": "g", "rule": "unique", "field": "idd"},
    ]);
    let bench = Bench::chain(fields(&COLUMNS), &format!("id,age,mail,born\n{ROWS}"), &[validate(rules)]);
    let fault = bench.parameters(json!({"p": "(("})).fault().await;
    assert_eq!(fault.kind, Kind::Definition);
    for word in [
        "rule \"a\" (notNull): there is no column \"aeg\"; did you mean \"age\"?",
        "rule \"b\" (range): column \"mail\" is of type text",
        "rule \"c\" (oneOf): values: ",
        "rule \"d\" (expression): expr \"age + 1\" is of type double",
        "rule \"e\" (regex): \"((\" is no regular expression",
        "rule \"f\" (range): min: ",
        "rule \"g\" (unique): there is no column \"idd\"; did you mean \"id\"?",
    ] {
        assert!(fault.message.contains(word), "{word}: {fault}");
    }
}

#[tokio::test]
async fn parameters_of_rules_keep_their_types_and_texts_are_not_sql() {
    let rules = json!([
        {"id": "low", "rule": "range", "field": "age", "params": {"min": "${low}"}},
        {"id": "which", "rule": "oneOf", "field": "mail", "params": {"values": ["${mail}", "' OR true --"]}},
    ]);
    let bench = Bench::chain(fields(&COLUMNS), &format!("id,age,mail,born\n{ROWS}"), &[validate(rules)]);
    let ran = bench.parameters(json!({"low": 17.5, "mail": "ada@example"})).run().await;
    assert_eq!(ran.rows().iter().map(|r| r["id"].clone()).collect::<Vec<_>>(), [json!(2), json!(3)]);
}

#[tokio::test]
async fn a_validation_with_two_consumers_counts_rejects_and_warns_once() {
    for rules in [
        json!([{"id": "r", "rule": "range", "field": "n", "params": {"min": 2}}, {"id": "w", "rule": "range", "field": "n", "params": {"max": 2}, "onFail": "warn"}]),
        json!([{"id": "u", "rule": "unique", "field": "n"}, {"id": "w", "rule": "range", "field": "n", "params": {"max": 2}, "onFail": "warn"}]),
    ] {
        let nodes = json!([
            {"id": "s", "nodeType": "source", "config": {"path": "in.csv"}},
            {"id": "v", "nodeType": "validate", "config": {"rules": rules}},
            {"id": "x", "nodeType": "filter", "config": {"condition": "n < 3"}},
            {"id": "y", "nodeType": "filter", "config": {"condition": "n >= 3"}},
            {"id": "u", "nodeType": "union", "config": {}},
            {"id": "target", "nodeType": "target", "config": {}}
        ]);
        let edges = [
            ("s", "v", None),
            ("v", "x", None),
            ("v", "y", None),
            ("x", "u", None),
            ("y", "u", None),
            ("u", "target", None),
        ];
        let ran = Bench::new(fields(&[("n", "integer")]), nodes, &edges).file("in.csv", "n\n1\n2\n3\n3\n").run().await;
        let [came, went, _, rejected, _] = ran.counts("v");
        assert_eq!((came, went, rejected, ran.outcome().failed_rows), (4, 3, 1, 1), "{rules}");
        assert_eq!((ran.counts("x")[0], ran.counts("y")[0], ran.rows().len()), (3, 3, 3));
        let warned = if rules[0]["id"] == "u" { 1 } else { 2 };
        let nodes = ran.progress.nodes();
        assert_eq!(nodes.iter().find(|n| n.id == "v").unwrap().warnings.all(), [("w".to_owned(), warned)]);
    }
}

#[tokio::test]
async fn rows_without_identity_are_validated_too() {
    let sums = json!({"nodeType": "aggregate", "config": {"groupBy": ["mail"], "measures": [{"fn": "count", "field": "*", "as": "id"}]}});
    let rules = json!([{"id": "u", "rule": "unique", "field": "id"}, {"id": "n", "rule": "notNull", "field": "mail"}]);
    let ran = Bench::chain(
        fields(&COLUMNS),
        "id,age,mail,born\n1,1,a,\n2,1,a,\n3,1,b,\n4,1,,\n5,1,c,\n",
        &[sums, validate(rules)],
    )
    .run()
    .await;
    assert_eq!(ran.counts("step2"), [4, 2, 0, 2, 0]);
    assert!(ran.errors().iter().all(|e| e.row.is_none()));
}
