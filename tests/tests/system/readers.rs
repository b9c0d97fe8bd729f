//! The tables as others read them: DuckDB, and the `deltalake` package for Python.

use crate::python::{self, Tools};
use serde_json::{Value, json};
use std::path::Path;
use tests::World;

/// A field of each data type, in the order of the columns below.
fn fields() -> Value {
    json!([
        {"name": "id", "dataType": "integer", "isNullable": false, "isPrimaryKey": true},
        {"name": "varchar", "dataType": "varchar", "length": 40},
        {"name": "text", "dataType": "text", "description": "what was said"},
        {"name": "bigint", "dataType": "bigint"},
        {"name": "smallint", "dataType": "smallint"},
        {"name": "decimal", "dataType": "decimal", "precision": 38, "scale": 10},
        {"name": "money", "dataType": "decimal", "precision": 9, "scale": 2},
        {"name": "real", "dataType": "real"},
        {"name": "double", "dataType": "double"},
        {"name": "boolean", "dataType": "boolean"},
        {"name": "date", "dataType": "date"},
        {"name": "timestamp", "dataType": "timestamp"},
        {"name": "timestamptz", "dataType": "timestamptz"},
        {"name": "json", "dataType": "json"},
        {"name": "uuid", "dataType": "uuid"},
    ])
}

const HEADER: &str =
    "id,varchar,text,bigint,smallint,decimal,money,real,double,boolean,date,timestamp,timestamptz,json,uuid\n";
const GREATEST: &str = "1,\"Ærø, \"\"quoted\"\"\",\"two\nlines\",9223372036854775807,32767,\
    9999999999999999999999999999.9999999999,9999999.99,3.4028235e38,1.7976931348623157e308,true,9999-12-31,\
    9999-12-31T23:59:59.999999,2026-03-29T02:30:00.123456+02:00,\"{\"\"a\"\":[1,null]}\",\
    01234567-89ab-cdef-0123-456789abcdef\n";
const LEAST: &str = "2,,x,-9223372036854775808,-32768,-9999999999999999999999999999.9999999999,-0.01,1.1754944e-38,\
    -5e-324,false,1900-01-01,1969-12-31T23:59:59.999999,1969-12-31T23:59:59.999999Z,[],\
    ffffffff-ffff-ffff-ffff-ffffffffffff\n";
const NOTHING: &str = "3,,,,,,,,,,,,,,\n";
const ORDINARY: &str = "4,Ada,🦀,42,7,12.5,12.50,0.1,0.1,true,2024-02-29,2024-02-29T12:00:00,2024-02-29T12:00:00Z,\
    \"\"\"text\"\"\",00000000-0000-0000-0000-000000000000\n";

/// As the script writes a number, so that nothing is rounded on the way.
fn bits(number: f64) -> i64 {
    number.to_bits().cast_signed()
}

fn expected(rows: &[Value]) -> Value {
    let all = fields();
    let names: Vec<_> = all.as_array().unwrap().iter().map(|field| field["name"].as_str().unwrap()).collect();
    let row = |values: &Value| -> Value {
        let values = values.as_array().unwrap();
        assert_eq!(values.len(), names.len());
        names
            .iter()
            .zip(values)
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    rows.iter().map(row).collect()
}

fn read(tools: &Tools, table: &Path) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/read_delta.py");
    let output = tools.command("python").arg(script).arg(table).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn assert_read(tools: &Tools, table: &Path, rows: &[Value]) {
    let found = read(tools, table);
    let expected = expected(rows);
    for reader in ["duckdb", "deltalake"] {
        assert_eq!(found[reader], expected, "by {reader}");
    }
}

#[tokio::test]
async fn every_data_type_is_read_back_by_duckdb_and_deltalake_as_it_was_written() {
    let Some(tools) = Tools::install(&python::DELTA, "DuckDB and deltalake over a table that Flowgate wrote") else {
        return;
    };
    let world = World::new().await;
    let connector = world.connector("all", "all.csv").await;
    let schema = world.schema("all_types", fields()).await;
    let table = world.lake().join(&schema);
    let load = async |mode: &str, text: String| {
        world.file("all.csv", HEADER.to_owned() + &text);
        let nodes = json!([
            {"id": "s", "nodeType": "source", "config": {}},
            {"id": "t", "nodeType": "target", "config": {"loadMode": mode}},
        ]);
        let body = json!({
            "name": mode, "connectorId": connector, "schemaId": schema, "nodes": nodes,
            "edges": [{"source": "s", "target": "t"}],
        });
        let run = world.run(&world.api.create("/pipelines", &body).await).await;
        assert_eq!(run["status"], "completed", "{run}");
    };
    let greatest = json!([
        1,
        "Ærø, \"quoted\"",
        "two\nlines",
        9_223_372_036_854_775_807_i64,
        32767,
        "9999999999999999999999999999.9999999999",
        "9999999.99",
        bits(f32::MAX.into()),
        bits(f64::MAX),
        true,
        "9999-12-31",
        "9999-12-31T23:59:59.999999",
        1_774_744_200_123_456_i64,
        "{\"a\":[1,null]}",
        "01234567-89ab-cdef-0123-456789abcdef"
    ]);
    let least = json!([
        2,
        null,
        "x",
        -9_223_372_036_854_775_808_i64,
        -32768,
        "-9999999999999999999999999999.9999999999",
        "-0.01",
        bits(f32::MIN_POSITIVE.into()),
        bits(-5e-324),
        false,
        "1900-01-01",
        "1969-12-31T23:59:59.999999",
        -1,
        "[]",
        "ffffffff-ffff-ffff-ffff-ffffffffffff"
    ]);
    let nothing = json!([3, null, null, null, null, null, null, null, null, null, null, null, null, null, null]);
    let ordinary = json!([
        4,
        "Ada",
        "🦀",
        42,
        7,
        "12.5000000000",
        "12.50",
        bits(0.1_f32.into()),
        bits(0.1),
        true,
        "2024-02-29",
        "2024-02-29T12:00:00",
        1_709_208_000_000_000_i64,
        "\"text\"",
        "00000000-0000-0000-0000-000000000000"
    ]);
    load("append", [GREATEST, LEAST, NOTHING].concat()).await;
    assert_read(&tools, &table, &[greatest.clone(), least, nothing.clone()]);
    let types = read(&tools, &table)["types"].clone();
    assert_eq!(types["decimal"], "decimal(38,10)");
    assert_eq!((&types["timestamp"], &types["timestamptz"]), (&json!("timestamp_ntz"), &json!("timestamp")));
    // One row becomes another one, one is new, and two stay.
    load("upsert", ORDINARY.to_owned() + &ORDINARY.replacen('4', "2", 1)).await;
    let mut changed = ordinary.clone();
    changed[0] = json!(2);
    assert_read(&tools, &table, &[greatest, changed, nothing, ordinary]);
}
