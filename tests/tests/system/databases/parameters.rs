//! Parameters of a run in the query of a source.

use super::either::Either;
use super::{by_id, connector, pipeline};
use serde_json::{Value, json};
use tests::World;

#[tokio::test]
async fn parameters_of_a_query_are_values_and_never_sql_in_postgresql() {
    let Some(db) = Either::postgres().await else { return };
    parameters_are_values(db).await;
}

#[tokio::test]
async fn parameters_of_a_query_are_values_and_never_sql_in_mysql() {
    let Some(db) = Either::maria().await else { return };
    parameters_are_values(db).await;
}

async fn parameters_are_values(mut db: Either) {
    db.run("CREATE TABLE people (id int, name varchar(40), d date)").await;
    db.run("INSERT INTO people VALUES (1, 'O''Brien', '2026-01-15'), (2, 'x', '2026-01-15'), (-3, 'y', '2026-01-15')")
        .await;
    let world = World::new().await;
    let server = connector(&world, "shop", db.server(), db.name(), json!({})).await;
    let schema = world
        .schema("found", json!([{"name": "id", "dataType": "integer"}, {"name": "name", "dataType": "text"}]))
        .await;
    let query = "SELECT id, name FROM people -- of ${whom}\nWHERE (name = ${name} OR id = 0-${id}) AND ${sure} AND ${day} < '2026-02-01' AND d = ${day}";
    let truncate = json!({"loadMode": "truncate", "allowEmpty": true});
    let pipeline = pipeline(&world, &server, &schema, json!({"query": query}), truncate).await;
    let run = async |parameters: Value| {
        let id = world.api.run(&pipeline, parameters).await;
        world.api.finished(&pipeline, &id).await
    };
    let ids = async |name: &str, id: i32| {
        let run = run(json!({"name": name, "id": id, "sure": true, "day": "2026-01-15"})).await;
        assert_eq!(run["status"], "completed", "{run}");
        by_id(&world, &schema).await.iter().map(|row| row["id"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(ids("O'Brien", 3).await, [-3, 1]);
    assert_eq!(ids("x' OR '1' = '1", -2).await, [2]);
    assert_eq!(ids("\\' OR 1 = 1 -- $$ \" ` */", -2).await, [2]);
    assert_eq!(ids("", -2).await, [2]);
    let run = run(json!({"named": "x", "id": 1, "sure": true, "day": "2026-01-15"})).await;
    assert_eq!(run["error"]["code"], "INVALID_PIPELINE", "{run}");
    assert!(run["error"]["message"].as_str().unwrap().contains("did you mean ${named}?"), "{run}");
    // A receipt shows the query, and no value of a parameter.
    let id = world.api.run(&pipeline, json!({"name": "x", "id": 0, "sure": true, "day": "2026-01-15"})).await;
    world.api.finished(&pipeline, &id).await;
    let receipt = world.api.get(&format!("/pipelines/{pipeline}/runs/{id}/receipt")).await.expect(200).json();
    assert_eq!(receipt["inputs"][0]["database"]["query"], query, "{receipt}");
}
