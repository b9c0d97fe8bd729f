//! A lookup in a table of a database.

use super::{by_id, connector};
use serde_json::{Value, json};
use tests::World;
use tests::servers::{Maria, Postgres, Server};

const CITIES: &str = "CREATE TABLE cities (country varchar(2), code varchar(2), name varchar(20), size bigint)";
const ROWS: &str =
    "INSERT INTO cities VALUES ('de', 'be', 'Berlin', 3), ('ch', 'be', 'Bern', 1), ('fr', 'pa', 'Paris', NULL)";
const SECOND_BERLIN: &str = "INSERT INTO cities VALUES ('de', 'be', 'Berlin again', 3)";

/// A pipeline that adds fields of `cities` to people; its table's schema, and a run of it.
async fn looked_up(world: &World, server: &Server, database: &str) -> (String, String, Value) {
    world.file("people.csv", "id,city,country\n1,be,de\n2,be,ch\n3,pa,fr\n4,xx,de\n5,,de\n");
    let people = world.connector("people", "people.csv").await;
    let shop = connector(world, "shop", server, database, json!({})).await;
    let of = |name: &str, data_type: &str| json!({"name": name, "dataType": data_type});
    let fields = json!([of("id", "integer"), of("name", "text"), of("size", "bigint")]);
    let schema = world.schema("placed", fields).await;
    let lookup = json!({"op": "lookup", "connectorId": shop, "table": "cities", "select": ["name", "size"],
        "on": [{"left": "city", "right": "code"}, {"left": "country", "right": "country"}]});
    let body = json!({
        "name": "p", "connectorId": people, "schemaId": schema, "executionConfig": {"retry": {"maxAttempts": 1}},
        "nodes": [
            {"id": "s", "nodeType": "source", "config": {}},
            {"id": "place", "nodeType": "transform", "config": {"ops": [lookup]}},
            {"id": "t", "nodeType": "target", "config": {"loadMode": "truncate"}},
        ],
        "edges": [{"source": "s", "target": "place"}, {"source": "place", "target": "t"}],
    });
    let pipeline = world.api.create("/pipelines", &body).await;
    let run = world.run(&pipeline).await;
    (pipeline, schema, run)
}

async fn assert_found(world: &World, schema: &str, run: &Value) {
    assert_eq!((&run["status"], &run["rowsOut"]), (&json!("completed"), &json!(5)), "{run}");
    let rows: Vec<Value> =
        by_id(world, schema).await.iter().map(|row| json!([row["id"], row["name"], row["size"]])).collect();
    let expected = [
        json!([1, "Berlin", 3]),
        json!([2, "Bern", 1]),
        json!([3, "Paris", null]),
        json!([4, null, null]),
        json!([5, null, null]),
    ];
    assert_eq!(rows, expected);
}

/// Once a key has two rows there.
async fn assert_refused(world: &World, pipeline: &str) {
    let run = world.run(pipeline).await;
    let message = run["error"]["message"].as_str().unwrap_or_default();
    let says = "node \"place\": op 1 (lookup): two of the looked-up rows have the key code = \"be\", country = \"de\"";
    assert!(run["status"] == "failed" && message.starts_with(says), "{run}");
}

#[tokio::test]
async fn fields_are_looked_up_in_a_table_of_postgresql() {
    let Some(db) = Postgres::new().await else { return };
    db.run(&format!("{CITIES}; {ROWS}")).await;
    let world = World::new().await;
    let (pipeline, schema, run) = looked_up(&world, &db.server, &db.name).await;
    assert_found(&world, &schema, &run).await;
    db.run(SECOND_BERLIN).await;
    assert_refused(&world, &pipeline).await;
}

#[tokio::test]
async fn fields_are_looked_up_in_a_table_of_mysql() {
    let Some(mut db) = Maria::new().await else { return };
    db.run(CITIES).await;
    db.run(ROWS).await;
    let world = World::new().await;
    let (pipeline, schema, run) = looked_up(&world, &db.server, &db.name).await;
    assert_found(&world, &schema, &run).await;
    db.run(SECOND_BERLIN).await;
    assert_refused(&world, &pipeline).await;
}
