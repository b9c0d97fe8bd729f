//! The rules of a validate node.

use super::pipelines::{created, small};
use super::*;
use crate::check::pipeline::create;

fn pipeline(rules: Value) -> Value {
    let nodes = json!([
        {"id": "s", "nodeType": "source", "config": {}},
        {"id": "v", "nodeType": "validate", "config": {"rules": rules}},
        {"id": "t", "nodeType": "target", "config": {}}
    ]);
    small(json!({"nodes": nodes, "edges": [{"source": "s", "target": "v"}, {"source": "v", "target": "t"}]}))
}

/// The faults of rules, with pointers below the first one.
fn rules(rules: Value) -> Vec<String> {
    let below = |line: String| line.strip_prefix("/nodes/1/config/rules/0").map(str::to_owned).unwrap_or(line);
    created(pipeline(rules)).into_iter().map(below).collect()
}

fn rule(rule: Value) -> Vec<String> {
    let mut rule = rule;
    rule["id"] = json!("r");
    rules(json!([rule]))
}

#[test]
fn each_rule_takes_its_own_params() {
    let none: [&str; 0] = [];
    for name in ["notNull", "unique", "email"] {
        assert_eq!(rule(json!({"rule": name, "field": "a"})), none);
        assert_eq!(rule(json!({"rule": name})), ["/field required"]);
        assert_eq!(rule(json!({"rule": name, "field": "a", "params": {"min": 1}})), ["/params/min contradiction"]);
    }
    assert_eq!(rule(json!({"rule": "range", "field": "a"})), ["/params required"]);
    assert_eq!(rule(json!({"rule": "length", "field": "a", "params": {}})), ["/params required"]);
    assert_eq!(
        rule(json!({"rule": "regex", "field": "a", "params": {"values": ["x"]}})),
        ["/params/pattern required", "/params/values contradiction"]
    );
    assert_eq!(rule(json!({"rule": "oneOf", "field": "a", "params": {}})), ["/params/values required"]);
    assert_eq!(
        rule(json!({"rule": "expression", "params": {"pattern": "x"}})),
        ["/params/expr required", "/params/pattern contradiction"]
    );
    assert_eq!(
        rule(json!({"rule": "expression", "field": "a", "params": {"expr": "a > 1"}})),
        ["/field contradiction"]
    );
    assert_eq!(rule(json!({"rule": "expression", "params": {"expr": "a >"}})), ["/params/expr format"]);
    assert_eq!(
        rule(json!({"rule": "rowCount", "field": "a", "params": {"min": 1, "max": 2}})),
        ["/field contradiction"]
    );
    assert_eq!(rule(json!({"rule": "rowCount", "params": {"min": 1}, "onFail": "reject"})), ["/onFail contradiction"]);
    assert_eq!(rule(json!({"rule": "rowCount", "params": {"min": 1}, "onFail": "warn"})), none);
    assert_eq!(
        rule(json!({"rule": "notnull", "field": "a", "onFail": "drop", "parms": {}})),
        ["/onFail unknown", "/parms unknown_field", "/rule unknown"]
    );
}

#[test]
fn bounds_are_of_one_kind_and_in_their_order() {
    let range =
        |low: Value, high: Value| rule(json!({"rule": "range", "field": "a", "params": {"min": low, "max": high}}));
    for (low, high) in [
        (json!(1), json!(1)),
        (json!(-0.5), json!(2)),
        (json!("2026-01-31"), json!("2026-02-01")),
        (json!("2026-01-31T09:00:00"), json!("2026-01-31 10:00:00")),
        (json!("2026-01-31T09:00:00+01:00"), json!("2026-01-31T08:30:00Z")),
        (json!("${low}"), json!(5)),
        (Value::Null, json!(5)),
    ] {
        assert!(range(low.clone(), high.clone()).is_empty(), "{low} {high}");
    }
    assert_eq!(range(json!(2), json!(1)), ["/params/max range"]);
    assert_eq!(range(json!("2026-02-01"), json!("2026-01-31")), ["/params/max range"]);
    assert_eq!(range(json!("2026-01-31T09:00:00Z"), json!("2026-01-31T09:30:00+01:00")), ["/params/max range"]);
    assert_eq!(range(json!(1), json!("2026-01-31")), ["/params/max contradiction"]);
    assert_eq!(range(json!("1"), json!(true)), ["/params/max type", "/params/min format"]);
    let length =
        |low: Value, high: Value| rule(json!({"rule": "length", "field": "a", "params": {"min": low, "max": high}}));
    assert!(length(json!(0), json!(10)).is_empty());
    assert_eq!(length(json!(-1), json!(1.5)), ["/params/max type", "/params/min range"]);
    assert_eq!(length(json!("1"), json!(5)), ["/params/min type"]);
    assert_eq!(length(json!(6), json!(5)), ["/params/max range"]);
}

#[test]
fn patterns_and_values_are_sound() {
    let regex = |pattern: &str| rule(json!({"rule": "regex", "field": "a", "params": {"pattern": pattern}}));
    assert!(regex("^[A-Z]{2}\\d+$").is_empty() && regex("${pattern}(").is_empty());
    for wrong in ["(", "a{2,1}", "(?=a)", "a{1000}{1000}"] {
        assert_eq!(regex(wrong), ["/params/pattern format"], "{wrong}");
    }
    let faults =
        create(&body(pipeline(json!([{"id": "r", "rule": "regex", "field": "a", "params": {"pattern": "(a"}}])))).1;
    assert_eq!(faults[0].detail, "\"(a\" is no regular expression: unclosed group");
    let one_of = |values: Value| rule(json!({"rule": "oneOf", "field": "a", "params": {"values": values}}));
    assert!(
        one_of(json!(["a", "b", "${c}"])).is_empty()
            && one_of(json!([1, 2.5])).is_empty()
            && one_of(json!([true])).is_empty()
    );
    assert_eq!(one_of(json!([])), ["/params/values length"]);
    assert_eq!(
        one_of(json!(["a", "a", 1, null, []])),
        ["/params/values/1 duplicate", "/params/values/2 type", "/params/values/3 type", "/params/values/4 type"]
    );
}

#[test]
fn rules_are_told_apart_by_their_ids() {
    let not_null = |id: &str| json!({"id": id, "rule": "notNull", "field": "a"});
    assert_eq!(rules(json!([not_null("x"), not_null("y"), not_null("x")])), ["/nodes/1/config/rules/2/id duplicate"]);
    assert_eq!(rules(json!([not_null("")])), ["/id length"]);
    assert_eq!(rules(json!([{"rule": "notNull", "field": "a"}])), ["/id required"]);
    assert_eq!(rules(json!([])), ["/nodes/1/config/rules length"]);
}
