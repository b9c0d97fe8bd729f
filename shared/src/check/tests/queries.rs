//! The SELECT of an sql node.

use crate::check::query::{check, tables};
use proptest::prelude::*;

#[test]
fn one_select_over_the_inputs_is_taken() {
    for text in [
        "SELECT * FROM input",
        "select a, \"b c\" AS d from input where a > ${least} and b = '${not masked'",
        "WITH x AS (SELECT a FROM input), y AS (SELECT a FROM x) SELECT x.a FROM x JOIN y ON x.a = y.a",
        "SELECT a, sum(b) FILTER (WHERE b > 0), count(*) FROM input GROUP BY a HAVING count(*) > 1 ORDER BY 2 DESC LIMIT 5 OFFSET 1",
        "SELECT row_number() OVER (PARTITION BY a ORDER BY b) FROM input QUALIFY row_number() OVER (ORDER BY b) = 1",
        "(SELECT a FROM x UNION ALL SELECT a FROM y) EXCEPT SELECT a FROM z",
        "SELECT * FROM x, (SELECT 1 AS one) t WHERE EXISTS (SELECT 1 FROM y WHERE y.a = x.a) AND a IN (SELECT a FROM z)",
        "SELECT * FROM (VALUES (1, 'a'), (2, 'b')) v(id, name) JOIN input ON input.id = v.id",
        "SELECT a -- it's a comment with ${nothing\n FROM input /* and 'another */",
        "SELECT CASE WHEN a THEN 1 END FROM ((x JOIN y ON true) JOIN z ON true)",
    ] {
        assert_eq!(check(text), Ok(()), "{text}");
    }
}

#[test]
fn what_is_more_or_less_is_refused_with_a_reason() {
    for (text, reason) in [
        ("", "must not be empty"),
        ("  -- nothing", "must not be empty"),
        ("SELECT", "no valid SQL"),
        ("SELECT * FRM input", "one SELECT is expected"),
        ("INSERT INTO x SELECT 1", "begins with INSERT"),
        ("UPDATE x SET a = 1", "begins with UPDATE"),
        ("DROP TABLE x", "begins with DROP"),
        ("COPY x TO 'y'", "begins with COPY"),
        ("EXPLAIN SELECT 1", "begins with EXPLAIN"),
        ("VALUES (1)", "begins with VALUES"),
        ("FROM input", "begins with FROM"),
        ("WITH x AS (DELETE FROM y RETURNING *) SELECT * FROM x", ""),
        ("SELECT 1; SELECT 2", "not several statements"),
        ("SELECT 1;", "leave the \";\" out"),
        ("SELECT a INTO x FROM input", "SELECT INTO"),
        ("SELECT * FROM input FOR UPDATE", "FOR UPDATE"),
        ("WITH RECURSIVE x AS (SELECT 1) SELECT * FROM x", "RECURSIVE"),
        ("SELECT * FROM read_csv('/etc/passwd')", "table functions"),
        ("SELECT * FROM generate_series(1, 9)", "table functions"),
        ("SELECT * FROM UNNEST([1, 2])", "table functions"),
        ("SELECT * FROM TABLE(f(1))", "table functions"),
        ("SELECT * FROM '/etc/passwd'", "none of the node's inputs"),
        ("SELECT * FROM a.b", "none of the node's inputs"),
        ("SELECT * FROM input TABLESAMPLE (10)", ""),
        ("SELECT * FROM input PIVOT (sum(a) FOR b IN (1))", "pivot node"),
        ("SELECT pg_read_file('x') FROM input", "not available"),
        ("SELECT getenv('HOME') FROM input", "not available"),
        ("SELECT x.f(1) FROM input", "not available"),
        ("SELECT $1 FROM input", "placeholder $1"),
        ("SELECT ? FROM input", "placeholder"),
        ("SELECT ${x FROM input", "without its \"}\""),
        ("SELECT ${a b} FROM input", "no parameter's name"),
        ("SELECT * FROM input LATERAL VIEW explode(a) t", "LATERAL VIEW"),
    ] {
        let found = check(text).expect_err(text);
        assert!(found.contains(reason), "{text}: {found}");
    }
}

#[test]
fn tables_are_told_from_what_a_query_names_itself() {
    let found = tables("WITH x AS (SELECT * FROM a) SELECT * FROM x JOIN \"B b\" ON true WHERE n IN (SELECT n FROM a)")
        .unwrap();
    assert_eq!(found.read, ["a", "x", "B b"]);
    assert!(found.own.len() == 1 && found.own.contains("x"));
    assert!(tables("SELECT").is_none());
}

#[test]
fn length_depth_and_weight_are_bounded() {
    assert!(check(&format!("SELECT '{}'", "a".repeat(20_000))).unwrap_err().contains("20000 at most"));
    assert!(check(&format!("SELECT 1{}", "+1".repeat(1001))).unwrap_err().contains("keywords and operators"));
    let wide: Vec<String> = (0..800).map(|n| format!("t.column_{n}")).collect();
    assert_eq!(check(&format!("SELECT {} FROM input t", wide.join(", "))), Ok(()));
    let nested =
        |depth: usize| format!("{}SELECT * FROM input{}", "SELECT * FROM (".repeat(depth), ") t".repeat(depth));
    assert_eq!(check(&nested(5)), Ok(()));
    assert!(check(&nested(200)).is_err());
    let within = |depth: usize| {
        format!("SELECT 1 FROM input{}{}", " WHERE a IN (SELECT a FROM input".repeat(depth), ")".repeat(depth))
    };
    assert_eq!(check(&within(8)), Ok(()));
    assert!(check(&within(9)).unwrap_err().contains("deeper than 8 levels; join instead"));
}

/// What can be read in more than one way: an error inside would be looked for again and again.
const OPENERS: &[(&str, &str)] = &[
    ("(", ")"),
    ("((", "))"),
    ("SELECT * FROM (", ")"),
    ("SELECT * FROM ((", "))"),
    ("(SELECT * FROM (", "))"),
    ("SELECT * FROM a JOIN (", ") ON true"),
    ("SELECT * FROM a JOIN ((", ")) ON true"),
    ("SELECT (", ")"),
    ("SELECT ((", "))"),
    ("SELECT a IN (", ")"),
    ("SELECT a IN ((", "))"),
    ("SELECT * FROM a WHERE EXISTS (", ")"),
    ("SELECT * FROM a WHERE NOT EXISTS ((", "))"),
    ("WITH x AS (", ") SELECT 1"),
    ("WITH x AS ((", ")) SELECT 1"),
    ("SELECT CASE WHEN (", ") THEN 1 END"),
    ("SELECT CAST((", ") AS INT)"),
    ("SELECT * FROM LATERAL (", ")"),
    ("SELECT f((", "))"),
    ("SELECT ARRAY(", ")"),
    ("SELECT a = ANY (", ")"),
    ("SELECT * FROM a JOIN b ON (", ")"),
    ("SELECT 1 UNION (", ")"),
    ("SELECT 1 UNION ((", "))"),
    ("SELECT * FROM a, (", ")"),
    ("SELECT INTERVAL (", ")"),
];

fn decided_at_once(text: &str) {
    let started = std::time::Instant::now();
    let _ = check(text);
    assert!(started.elapsed().as_secs() < 5, "{text}: {:?}", started.elapsed());
}

#[test]
fn whatever_is_nested_is_decided_at_once() {
    for (open, close) in OPENERS {
        for inner in ["SELECT 1", "a", "a a", "SELECT SELECT", "'", ""] {
            for depth in [4, 7, 12, 20, 49, 200] {
                decided_at_once(&format!("SELECT * FROM {}{inner}{}", open.repeat(depth), close.repeat(depth)));
                decided_at_once(&format!("{}{inner}{}", open.repeat(depth), close.repeat(depth)));
            }
        }
    }
}

#[test]
fn deep_queries_overflow_no_stack() {
    let small = std::thread::Builder::new().stack_size(256 * 1024);
    let all = || {
        OPENERS.iter().for_each(|(open, close)| {
            let _ = check(&format!("{}SELECT 1{}", open.repeat(49), close.repeat(49)));
        })
    };
    small.spawn(all).unwrap().join().unwrap();
}

proptest! {
    #[test]
    fn whatever_is_mixed_is_decided_at_once(picks in prop::collection::vec(prop::sample::select(OPENERS), 0..40), inner in "SELECT a?( a)?(,)?") {
        let open: String = picks.iter().map(|(open, _)| *open).collect();
        let close: String = picks.iter().rev().map(|(_, close)| *close).collect();
        decided_at_once(&format!("{open}{inner}{close}"));
        decided_at_once(&format!("SELECT {open}{inner}"));
    }
}
