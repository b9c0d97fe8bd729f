//! Arbitrary JSON never panics, and a mutation is found where it was made.

use super::*;
use crate::check::{connector, json, pipeline, run, schedule, schema};
use crate::models::connector::{AuthMethod, ConnectorType};
use proptest::prelude::*;

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        prop::sample::select(vec!["source", "target", "cast", "upsert", "a", "pivot", "0 0 * * *"])
            .prop_map(Value::from),
    ];
    let keys = prop::sample::select(vec![
        "name",
        "nodes",
        "edges",
        "id",
        "nodeType",
        "config",
        "ops",
        "op",
        "field",
        "fields",
        "source",
        "target",
        "label",
        "type",
        "options",
        "executionConfig",
        "partitioning",
        "strategy",
        "dataType",
        "authConfig",
        "authMethod",
        "parameters",
        "on",
        "x/~",
    ]);
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((keys.clone().prop_map(str::to_owned), inner), 0..6)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

/// All pointers into a value, its root left out.
fn pointers(value: &Value, at: &str, all: &mut Vec<String>) {
    let below: Vec<(String, &Value)> = match value {
        Value::Array(items) => items.iter().enumerate().map(|(i, v)| (format!("{at}/{i}"), v)).collect(),
        Value::Object(object) => object.iter().map(|(k, v)| (format!("{at}/{k}"), v)).collect(),
        _ => vec![],
    };
    for (pointer, value) in below {
        all.push(pointer.clone());
        pointers(value, &pointer, all);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn arbitrary_json_never_panics_and_is_an_input_or_has_faults(value in any_json()) {
        let body = Body::new(value);
        let (input, faults) = pipeline::create(&body);
        prop_assert_eq!(input.is_some(), faults.is_empty());
        let (patch, faults) = pipeline::update(&body);
        prop_assert_eq!(patch.is_some(), faults.is_empty());
        pipeline::references(&body);
        let (input, faults) = schema::create(&body);
        prop_assert_eq!(input.is_some(), faults.is_empty());
        let (input, faults) = schema::update(&body);
        prop_assert_eq!(input.is_some(), faults.is_empty());
        let (input, faults) = connector::create(&body);
        prop_assert_eq!(input.is_some(), faults.is_empty());
        for kind in [ConnectorType::LocalFs, ConnectorType::AwsS3] {
            let config = serde_json::Map::new();
            let stored = connector::Stored { kind, auth_method: AuthMethod::AccessKey, config: &config };
            let (patch, faults) = connector::update(&body, stored);
            prop_assert_eq!(patch.is_some(), faults.is_empty());
        }
        let (input, faults) = run::create(&body);
        prop_assert_eq!(input.is_some(), faults.is_empty());
        let (input, faults) = schedule::preview(&body);
        prop_assert_eq!(input.is_some(), faults.is_empty());
    }

    #[test]
    fn arbitrary_bytes_and_expressions_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[a-z0-9(){}$'\"+*,;. ]{0,60}") {
        let _ = json(&bytes);
        let _ = json(text.as_bytes());
        let _ = crate::check::expression::check(&text);
    }

    /// Whatever comes back unchanged through serialization reads the same.
    #[test]
    fn strict_json_reads_what_serde_json_writes(value in any_json()) {
        let value = json!({"v": value});
        let text = serde_json::to_string(&value).unwrap();
        if !text.contains("\\u0000") {
            let body = json(text.as_bytes()).unwrap();
            prop_assert_eq!(body.value(), &value);
            prop_assert_eq!(body.faults(), vec![]);
        }
    }

    #[test]
    fn a_value_of_another_type_is_found_where_it_stands(choice in any::<prop::sample::Index>()) {
        let good = full_pipeline();
        let mut all = Vec::new();
        pointers(&good, "", &mut all);
        // Values of free type may be of another one.
        all.retain(|p| !p.ends_with("/mapping/x") && !p.ends_with("/default"));
        let pointer = choice.get(&all);
        let mut bad = good.clone();
        let at = bad.pointer_mut(pointer).unwrap();
        *at = if at.is_array() { json!({"x": 1}) } else { json!([1]) };
        let found = lines(pipeline::create(&Body::new(bad)).1);
        prop_assert!(found.iter().any(|line| line.split(' ').next().is_some_and(|p| p.starts_with(pointer.as_str()))), "{} {:?}", pointer, found);
    }

    #[test]
    fn an_unknown_field_is_found_in_every_object(choice in any::<prop::sample::Index>()) {
        let good = full_pipeline();
        let mut all = Vec::new();
        pointers(&good, "", &mut all);
        all.retain(|p| good.pointer(p).is_some_and(Value::is_object) && !p.ends_with("/mapping") && !p.ends_with("/columns"));
        all.push(String::new());
        let pointer = choice.get(&all);
        let mut bad = good.clone();
        bad.pointer_mut(pointer).unwrap()["zzzz"] = json!(1);
        prop_assert_eq!(lines(pipeline::create(&Body::new(bad)).1), [format!("{pointer}/zzzz unknown_field")]);
    }

    #[test]
    fn a_field_that_is_taken_away_is_missed_or_was_optional(choice in any::<prop::sample::Index>()) {
        let good = full_pipeline();
        let mut all = Vec::new();
        pointers(&good, "", &mut all);
        all.retain(|p| good.pointer(p.rsplit_once('/').unwrap().0).is_some_and(Value::is_object));
        let pointer = choice.get(&all);
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let mut bad = good.clone();
        bad.pointer_mut(parent).unwrap().as_object_mut().unwrap().shift_remove(key);
        let found = lines(pipeline::create(&Body::new(bad)).1);
        let missed = format!("{pointer} required");
        // An id or a label that is gone is a fault of the edges, too; edges that are gone leave nodes alone; without its mode an upsert's key is idle;
        // of two bounds one is needed.
        let alone = pointer == "/edges" || pointer == "/nodes" || pointer.ends_with("/loadMode") || parent.ends_with("/params");
        let alone = alone || pointer.ends_with("/label") || pointer.ends_with("/else");
        prop_assert!(found.is_empty() || alone || found.contains(&missed) || pointer.contains("/mapping"), "{} {:?}", pointer, found);
    }
}
