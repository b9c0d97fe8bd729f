//! The descriptions of node and connector types.

use super::*;
use crate::check::types::{connector_types, node_types};

fn compiles(schema: &Value) -> jsonschema::Validator {
    jsonschema::draft202012::new(schema).unwrap_or_else(|e| panic!("{e}: {schema}"))
}

#[test]
fn every_node_type_is_described_with_a_schema_that_stands_alone() {
    let all = node_types();
    let names: Vec<Value> = all.iter().map(|view| json!(view.node_type)).collect();
    assert_eq!(names.len(), 14);
    for view in &all {
        assert!(!view.title.is_empty() && !view.description.is_empty(), "{view:?}");
        compiles(&json!(view.config_schema));
    }
    let of = |name: &str| json!(all.iter().find(|view| json!(view.node_type) == name));
    let filter = compiles(&of("filter")["configSchema"]);
    assert!(filter.is_valid(&json!({"condition": "a > 1"})) && !filter.is_valid(&json!({"conditon": "a > 1"})));
    assert_eq!(of("join")["inputs"], json!({"min": 2, "max": 2, "labels": ["left", "right"]}));
    assert_eq!(of("union")["inputs"], json!({"min": 1, "max": null, "labels": null}));
    assert_eq!(of("branch")["outputs"], json!({"labels": "byRoute"}));
    assert_eq!(of("target")["outputs"], json!({"labels": "none"}));
}

#[test]
fn the_ops_of_a_transform_have_a_schema_each() {
    let all = node_types();
    let transform = all.iter().find(|view| view.title == "Transform").unwrap();
    let ops = transform.ops.as_ref().unwrap();
    assert_eq!(ops.len(), 15);
    for op in ops {
        assert!(!op.description.is_empty(), "{}", op.op);
        compiles(&json!(op.schema));
    }
    let cast = ops.iter().find(|op| op.op == "cast").unwrap();
    let fits = compiles(&json!(cast.schema));
    assert!(fits.is_valid(&json!({"op": "cast", "field": "a", "type": "integer"})));
    assert!(!fits.is_valid(&json!({"op": "cast", "field": "a", "type": "integr"})));
    assert!(ops.iter().any(|op| op.op == "mask_pii" && op.title == "Mask PII"));
}

#[test]
fn every_connector_type_says_how_it_proves_who_it_is() {
    let all = connector_types();
    assert_eq!(all.len(), 7);
    for view in &all {
        compiles(&json!(view.config_schema));
        assert!(!view.auth_methods.is_empty());
        for method in &view.auth_methods {
            let is_none = json!(method.method) == "none";
            assert_eq!(method.auth_schema.is_none(), is_none, "{method:?}");
            compiles(&json!(method.auth_schema.clone().unwrap_or_default()));
        }
        assert_eq!(view.can_be_target, view.r#type.has_tables());
    }
}
