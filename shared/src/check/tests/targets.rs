//! Targets against the schemas whose tables they write.

use super::*;
use crate::check::targets::{Tables, check};
use crate::models::node::NodeType;
use crate::models::schema::Schema;

fn schema(name: &str, fields: Value) -> Schema {
    let fields = serde_json::to_string(&fields).unwrap();
    let at = "2026-01-01T00:00:00.000Z";
    serde_json::from_value(json!({
        "id": format!("schema_{name}"), "tenantId": "t", "name": name, "fields": fields, "version": 1,
        "createdAt": at, "updatedAt": at
    }))
    .unwrap()
}

/// The faults of targets with these configs; the pipeline's schema is `people`, and `orders` is another one.
fn faults(keyed: bool, configs: &[Value]) -> Vec<String> {
    judged(keyed, configs, false)
}

fn judged(keyed: bool, configs: &[Value], own_only: bool) -> Vec<String> {
    let own = schema(
        "people",
        json!([
            {"name": "id", "dataType": "uuid", "isPrimaryKey": keyed}, {"name": "score", "dataType": "double"},
        ]),
    );
    let orders = schema("orders", json!([{"name": "nr", "dataType": "bigint"}, {"name": "at", "dataType": "date"}]));
    let named = [own.clone(), orders].into_iter().map(|s| (s.name.clone(), s)).collect();
    let nodes: Vec<_> = configs.iter().map(|config| config.as_object().unwrap().clone()).collect();
    let mut found = Vec::new();
    let tables = Tables { own: Some(own), named, own_only };
    check(nodes.iter().map(|config| Some((NodeType::Target, config))), &tables, &mut found);
    lines(found)
}

#[test]
fn an_upsert_needs_a_key_of_the_schema_that_it_writes() {
    let upsert = json!({"loadMode": "upsert"});
    assert!(faults(true, std::slice::from_ref(&upsert)).is_empty());
    assert_eq!(faults(false, &[upsert]), ["/nodes/0/config/upsertKey required"]);
    let keyed = |table: Value| json!({"loadMode": "upsert", "upsertKey": ["id", "nr"], "table": table});
    assert_eq!(faults(false, &[keyed(json!(null))]), ["/nodes/0/config/upsertKey/1 not_found"]);
    assert_eq!(faults(false, &[keyed(json!("orders"))]), ["/nodes/0/config/upsertKey/0 not_found"]);
}

#[test]
fn a_watermark_is_a_field_with_an_order() {
    let past = |column: &str, table: Value| json!({"loadMode": "incremental_watermark", "watermarkColumn": column, "table": table});
    assert!(faults(false, &[past("id", json!(null)), past("at", json!("orders"))]).is_empty());
    assert_eq!(faults(false, &[past("at", json!(null))]), ["/nodes/0/config/watermarkColumn not_found"]);
    assert_eq!(faults(false, &[past("score", json!(null))]), ["/nodes/0/config/watermarkColumn type"]);
}

#[test]
fn one_table_is_written_once_however_it_is_named() {
    assert!(faults(false, &[json!({}), json!({"table": "orders"})]).is_empty());
    assert_eq!(faults(false, &[json!({}), json!({"table": "people"})]), ["/nodes/1/config/table duplicate_target"]);
    assert_eq!(
        faults(false, &[json!({"table": "orders"}), json!({}), json!({"table": "orders"}), json!({})]),
        ["/nodes/2/config/table duplicate_target", "/nodes/3 duplicate_target"]
    );
    let database = |connector: &str, table: Value| json!({"connectorId": connector, "table": table});
    assert!(
        faults(
            false,
            &[json!({}), database("a", json!(null)), database("b", json!("people")), database("a", json!("x"))]
        )
        .is_empty()
    );
    assert_eq!(
        faults(false, &[database("a", json!(null)), database("a", json!("people"))]),
        ["/nodes/1/config/table duplicate_target"]
    );
}

#[test]
fn another_schema_than_the_pipelines_tells_nothing_where_only_that_changes() {
    let past = |table: Value| json!({"loadMode": "incremental_watermark", "watermarkColumn": "gone", "table": table});
    let targets = [past(json!("orders")), past(json!(null)), json!({"table": "people"})];
    let all = [
        "/nodes/0/config/watermarkColumn not_found",
        "/nodes/1/config/watermarkColumn not_found",
        "/nodes/2/config/table duplicate_target",
    ];
    assert_eq!(judged(false, &targets, false), all);
    assert_eq!(judged(false, &targets, true), all[1..]);
}

#[test]
fn a_field_that_nobody_knows_hides_no_fault_and_brings_none() {
    assert_eq!(faults(false, &[json!({"loadMode": "upsert", "foo": 1})]), ["/nodes/0/config/upsertKey required"]);
    assert!(faults(false, &[json!({"loadMode": "upsert", "upsertKy": ["id"]})]).is_empty());
    let (own, slip) = (json!({}), json!({"tabel": "orders"}));
    assert!(faults(false, &[own.clone(), slip.clone()]).is_empty() && faults(false, &[slip, own.clone()]).is_empty());
    assert_eq!(faults(false, &[json!({"table": "people", "foo": 1}), own]), ["/nodes/1 duplicate_target"]);
}
