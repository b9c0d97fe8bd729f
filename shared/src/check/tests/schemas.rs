//! Bodies of schemas, and what a table survives.

use super::*;
use crate::check::schema::{create, evolution, update};
use crate::models::schema::Field;

fn with_fields(fields: Value) -> Vec<String> {
    lines(create(&body(json!({"name": "customers", "fields": fields}))).1)
}

fn fields(value: Value) -> Vec<Field> {
    serde_json::from_value(value).unwrap()
}

#[test]
fn a_schema_of_every_type_is_taken() {
    let types = [
        "varchar",
        "text",
        "integer",
        "bigint",
        "smallint",
        "decimal",
        "real",
        "double",
        "boolean",
        "date",
        "timestamp",
        "timestamptz",
        "json",
        "uuid",
    ];
    let all: Vec<Value> = types.iter().map(|t| json!({"name": format!("f_{t}"), "dataType": t})).collect();
    let (input, faults) = create(&body(json!({"name": "all", "displayName": "All", "fields": all})));
    assert_eq!(faults, []);
    assert_eq!(input.unwrap().fields.len(), 14);
}

#[test]
fn all_faults_of_a_schema_come_in_one_answer() {
    let (input, faults) = create(&body(json!({
        "name": "Customers!", "displayname": "x",
        "fields": [
            {"name": "1st", "dataType": "varchar"},
            {"name": "a", "dataType": "strng"},
            {"name": "b", "dataType": "text", "length": 5},
            {"name": "c", "dataType": "integer", "precision": 5, "scale": 2},
            {"name": "d", "dataType": "decimal", "precision": 5, "scale": 6},
            {"name": "B", "dataType": "text"},
            {"name": "b", "dataType": "text"},
            {"dataType": "text"},
            {"name": "e"},
            5,
            {"name": "f", "dataType": "uuid", "isPrimaryKey": true, "isNullable": true},
            {"name": "__flowgate_row", "dataType": "text"}
        ]
    })));
    assert!(input.is_none());
    assert_eq!(
        lines(faults),
        [
            "/displayname unknown_field",
            "/fields/0/name pattern",
            "/fields/1/dataType unknown",
            "/fields/2/length contradiction",
            "/fields/3/precision contradiction",
            "/fields/3/scale contradiction",
            "/fields/4/scale range",
            "/fields/5/name duplicate",
            "/fields/6/name duplicate",
            "/fields/7/name required",
            "/fields/8/dataType required",
            "/fields/9 type",
            "/fields/10/isNullable contradiction",
            "/fields/11/name format",
            "/name pattern",
        ]
    );
}

#[test]
fn a_schema_has_one_to_a_thousand_fields() {
    assert_eq!(with_fields(json!([])), ["/fields length"]);
    let many: Vec<Value> = (0..1001).map(|n| json!({"name": format!("f{n}"), "dataType": "text"})).collect();
    assert_eq!(with_fields(json!(many)), ["/fields length"]);
    assert_eq!(lines(create(&body(json!({"name": "x".repeat(64)}))).1), ["/fields required", "/name length"]);
}

#[test]
fn defaults_fit_their_type_exactly() {
    let fits = |data_type: &str, value: Value| {
        with_fields(json!([{"name": "a", "dataType": data_type, "defaultValue": value}])).is_empty()
    };
    for (data_type, good, bad) in [
        ("varchar", json!("x"), json!(1)),
        ("smallint", json!(-32768), json!(32768)),
        ("integer", json!(2147483647), json!(2147483648_u64)),
        ("bigint", json!(i64::MIN), json!(u64::MAX)),
        ("bigint", json!(5), json!(1.5)),
        ("integer", json!(0), json!("0")),
        ("decimal", json!("12.5000000000"), json!("12.50000000001")),
        ("decimal", json!(-12.5), json!("1e5")),
        ("double", json!(1.5), json!("1.5")),
        ("boolean", json!(false), json!(0)),
        ("date", json!("2024-02-29"), json!("2023-02-29")),
        ("timestamp", json!("2026-01-01T00:00:00.5"), json!("2026-01-01T00:00:00Z")),
        ("timestamptz", json!("2026-01-01T00:00:00+01:00"), json!("2026-01-01T00:00:00")),
        ("uuid", json!("0190a5b4-7c1e-7000-8000-000000000000"), json!("x")),
    ] {
        assert!(fits(data_type, good.clone()), "{data_type} {good}");
        assert!(!fits(data_type, bad.clone()), "{data_type} {bad}");
    }
    assert!(fits("json", json!({"a": [1]})));
    assert!(fits("integer", Value::Null));
    let long = json!([{"name": "a", "dataType": "varchar", "length": 2, "defaultValue": "abc"}]);
    assert_eq!(with_fields(long), ["/fields/0/defaultValue type"]);
}

#[test]
fn what_a_client_read_may_be_sent_back() {
    let (patch, faults) = update(&body(json!({
        "id": "schema_1", "tenantId": "t", "version": 1, "createdAt": "x", "updatedAt": "y", "name": "customers",
        "displayName": null, "description": null,
        "fields": [{"name": "a", "displayName": null, "dataType": "integer", "length": null, "precision": null, "scale": null,
            "isNullable": false, "isPrimaryKey": null, "isUnique": null, "defaultValue": null, "description": null}]
    })));
    assert_eq!(faults, []);
    let patch = patch.unwrap();
    assert_eq!(patch.display_name, Some(None));
    assert_eq!(patch.fields.unwrap().len(), 1);
    let (patch, _) = update(&body(json!({"displayName": "x"})));
    let patch = patch.unwrap();
    assert_eq!(
        (patch.name, patch.display_name, patch.description, patch.fields),
        (None, Some(Some("x".into())), None, None)
    );
    assert_eq!(lines(update(&body(json!({"name": null, "fields": null}))).1), ["/fields type", "/name type"]);
}

#[test]
fn a_table_survives_new_nullable_fields_and_other_words() {
    let old = fields(
        json!([{"name": "a", "dataType": "integer"}, {"name": "b", "dataType": "varchar", "length": 5, "isNullable": false}]),
    );
    let new = fields(json!([
        {"name": "b", "dataType": "varchar", "length": 9, "displayName": "B"},
        {"name": "c", "dataType": "date"},
        {"name": "a", "dataType": "integer", "description": "d", "defaultValue": 1}
    ]));
    assert_eq!(evolution(&old, &new), Vec::<String>::new());
}

#[test]
fn a_change_that_would_lose_data_has_its_reason() {
    let old = json!({"name": "a", "dataType": "varchar", "length": 5});
    for (new, reason) in [
        (json!([]), "dropped"),
        (json!([{"name": "A", "dataType": "varchar", "length": 5}]), "dropped"),
        (json!([{"name": "a", "dataType": "integer"}]), "from varchar to integer"),
        (json!([{"name": "a", "dataType": "varchar", "length": 4}]), "cut to 4"),
        (json!([{"name": "a", "dataType": "varchar", "length": 5, "isNullable": false}]), "not be nullable"),
        (json!([{"name": "a", "dataType": "varchar", "length": 5, "isPrimaryKey": true}]), "not be nullable"),
        (json!([old, {"name": "b", "dataType": "text", "isNullable": false}]), "no value for it"),
    ] {
        let reasons = evolution(&fields(json!([old])), &fields(new.clone()));
        assert_eq!(reasons.len(), 1, "{new}: {reasons:?}");
        assert!(reasons[0].contains(reason), "{new}: {reasons:?}");
    }
    let decimal = |scale: u8| fields(json!([{"name": "a", "dataType": "decimal", "precision": 10, "scale": scale}]));
    assert!(evolution(&decimal(2), &decimal(3))[0].contains("decimal(10, 2) to decimal(10, 3)"));
}

#[test]
fn a_type_may_only_become_one_that_holds_all_of_its_values() {
    let of = |word: &str| -> Value {
        let (name, rest) = word.split_once('(').unwrap_or((word, ""));
        let mut field = json!({"name": "a", "dataType": name});
        let digits: Vec<u32> = rest.trim_end_matches(')').split(',').filter_map(|d| d.parse().ok()).collect();
        match (name, digits.as_slice()) {
            ("decimal", [precision, scale]) => {
                field["precision"] = json!(precision);
                field["scale"] = json!(scale);
            }
            (_, [length]) => field["length"] = json!(length),
            _ => {}
        }
        field
    };
    let reasons = |before: &str, after: &str| evolution(&fields(json!([of(before)])), &fields(json!([of(after)])));
    for (before, after) in [
        ("smallint", "integer"),
        ("smallint", "bigint"),
        ("integer", "bigint"),
        ("real", "double"),
        ("varchar(5)", "varchar(6)"),
        ("varchar(5)", "varchar"),
        ("varchar(5)", "text"),
        ("text", "varchar"),
        ("decimal(10,2)", "decimal(12,2)"),
    ] {
        assert_eq!(reasons(before, after), Vec::<String>::new(), "{before} to {after}");
    }
    for (before, after) in [
        ("bigint", "integer"),
        ("integer", "smallint"),
        ("integer", "double"),
        ("double", "real"),
        ("text", "varchar(100)"),
        ("decimal(10,2)", "decimal(12,3)"),
        ("decimal(10,2)", "decimal(9,2)"),
        ("date", "timestamp"),
        ("json", "text"),
        ("uuid", "text"),
    ] {
        assert_eq!(reasons(before, after).len(), 1, "{before} to {after}");
    }
    assert_eq!(
        reasons("integer", "smallint"),
        ["the field \"a\" would change from integer to smallint, but only bigint holds all that is in it"]
    );
}
