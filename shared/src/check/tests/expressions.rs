//! SQL expressions.

use crate::check::expression::check;
use proptest::prelude::*;

#[test]
fn scalar_expressions_are_taken() {
    for text in [
        "a > 1",
        "\"dep delay\" IS NOT NULL AND lower(carrier) LIKE 'a%'",
        "CASE WHEN a > 0 THEN 'x' ELSE 'y' END",
        "CAST(a AS INTEGER) + b::double / 2",
        "a IN (1, 2, 3) OR b BETWEEN ${low} AND ${high}",
        "date_trunc('day', ts) = DATE '2026-01-01'",
        "name = '${not a parameter' AND x = 'it''s'",
        "extract(year FROM ts) = 2026",
        "ts AT TIME ZONE 'Europe/Berlin'",
        "a -- the first\n + b",
    ] {
        assert_eq!(check(text), Ok(()), "{text}");
    }
}

#[test]
fn what_is_no_scalar_expression_is_refused_with_a_reason() {
    for (text, reason) in [
        ("", "must not be empty"),
        ("  ", "must not be empty"),
        ("a >", "no valid SQL"),
        ("a > 'open", "no valid SQL"),
        ("a; b", "without \";\""),
        ("a, b", "not several"),
        ("a AS b", "unexpected AS"),
        ("DROP TABLE x", "unexpected TABLE"),
        ("SELECT 1", "unexpected 1"),
        ("x IN (SELECT 1)", "subqueries"),
        ("(SELECT 1)", "subqueries"),
        ("EXISTS (SELECT 1)", "subqueries"),
        ("f((SELECT 1))", "subqueries"),
        ("array(SELECT 1)", "subqueries"),
        ("a = ANY (SELECT 1)", "subqueries"),
        ("row_number() OVER (ORDER BY a)", "window function"),
        ("lag(a) OVER w", "window function"),
        ("sum(a) > 1", "aggregate function"),
        ("COUNT(*) > 1", "aggregate function"),
        ("f(a) FILTER (WHERE a > 1)", "aggregate function"),
        ("a = $1", "placeholder $1"),
        ("a = ?", "placeholder"),
        ("a = ${x", "without its \"}\""),
        ("a = ${x y}", "no parameter's name"),
        ("a = ${}", "no parameter's name"),
        ("f(*)", "\"*\""),
        ("*", "no valid SQL"),
        ("t.*", "unexpected ."),
    ] {
        let found = check(text).expect_err(text);
        assert!(found.contains(reason), "{text}: {found}");
    }
}

#[test]
fn length_depth_and_weight_are_bounded_and_deep_trees_overflow_nothing() {
    let chain = |n: usize, part: &str| format!("1{}", part.repeat(n));
    assert!(check(&"a".repeat(10_001)).unwrap_err().contains("10000 at most"));
    assert!(check(&format!("{}1{}", "(".repeat(3000), ")".repeat(3000))).unwrap_err().contains("deeper"));
    assert!(check(&format!("{}a", "NOT ".repeat(500))).is_err());
    assert!(check(&chain(1001, "+1")).unwrap_err().contains("words and operators"));
    assert_eq!(check(&format!("a IN ({})", vec!["1"; 4000].join(","))), Ok(()));
    // The deepest that is taken fits into the stack of a small thread.
    let small = std::thread::Builder::new().stack_size(1024 * 1024);
    let deep = [
        chain(999, "+1"),
        chain(490, " IS NULL"),
        chain(490, "::int"),
        chain(450, " AND a"),
        format!("a{}", "[1]".repeat(490)),
    ];
    small
        .spawn(move || deep.iter().for_each(|text| assert_eq!(check(text), Ok(()), "{:.40}", text)))
        .unwrap()
        .join()
        .unwrap();
}

#[test]
fn places_in_messages_count_parameters_as_they_are_written() {
    let found = check("a = ${name} b").unwrap_err();
    assert!(found.contains("line 1, column 13"), "{found}");
}

/// What sqlparser reads in more than one way: an error inside would be looked for again and again.
const OPENERS: &[(&str, &str)] = &[
    ("(", ")"),
    ("NOT ", ""),
    ("NOT (", ")"),
    ("- ", ""),
    ("f(", ")"),
    ("f(a, ", ")"),
    ("f(x => ", ")"),
    ("f(DISTINCT ", ")"),
    ("CASE WHEN ", " THEN 1 END"),
    ("CASE (", ") WHEN 1 THEN 1 END"),
    ("CAST(", " AS INT)"),
    ("TRY_CAST(", " AS INT)"),
    ("CONVERT(", ", INT)"),
    ("INTERVAL ", ""),
    ("INTERVAL (", ")"),
    ("a IN (", ")"),
    ("a = ANY(", ")"),
    ("EXISTS (", ")"),
    ("EXTRACT(day FROM ", ")"),
    ("a[", "]"),
    ("ARRAY[", "]"),
    ("STRUCT(", ")"),
    ("{'a': ", "}"),
    ("MAP {", "}"),
    ("DATE(", ")"),
    ("CURRENT_TIMESTAMP(", ")"),
    ("a BETWEEN ", " AND 1"),
    ("POSITION(a IN ", ")"),
    ("POSITION(", ")"),
    ("TRIM(", ")"),
    ("(x) -> ", ""),
    ("SUBSTRING(", ")"),
    ("OVERLAY(", ")"),
    ("CEIL(", ")"),
    ("ROW(", ")"),
    ("a::", ""),
];

#[test]
fn whatever_is_nested_is_decided_at_once() {
    for (open, close) in OPENERS {
        for inner in ["a", "a a", "a,,", "'", ""] {
            for depth in [8, 9, 20, 49, 300] {
                decided_at_once(&format!("{}{inner}{}", open.repeat(depth), close.repeat(depth)));
            }
        }
    }
}

fn decided_at_once(text: &str) {
    let started = std::time::Instant::now();
    let _ = check(text);
    assert!(started.elapsed().as_secs() < 5, "{text}: {:?}", started.elapsed());
}

proptest! {
    #[test]
    fn whatever_is_mixed_is_decided_at_once(picks in prop::collection::vec(prop::sample::select(OPENERS), 0..60), inner in "a?( a)?(,)?") {
        let open: String = picks.iter().map(|(open, _)| *open).collect();
        let close: String = picks.iter().rev().map(|(_, close)| *close).collect();
        decided_at_once(&format!("{open}{inner}{close}"));
        decided_at_once(&format!("{open}{inner}"));
    }
}
