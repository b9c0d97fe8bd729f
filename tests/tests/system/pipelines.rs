//! Pipelines: what is stored, versions, references, and their end.

use serde_json::{Value, json};
use tests::World;

async fn ready(world: &World) -> (String, String) {
    let connector = world.connector("files", "in.csv").await;
    let schema = world.schema("people", json!([{"name": "age", "dataType": "integer"}])).await;
    (connector, schema)
}

fn graph() -> (Value, Value) {
    let nodes = json!([
        {"id": "s", "nodeType": "source", "label": "People", "config": {}, "position": {"x": 1.5, "y": -2}},
        {"id": "f", "nodeType": "filter", "config": {"condition": "age > 3"}},
        {"id": "t", "nodeType": "target", "config": {}},
    ]);
    (nodes, json!([{"source": "s", "target": "f"}, {"source": "f", "target": "t", "label": "rest"}]))
}

#[tokio::test]
async fn a_pipeline_comes_back_as_the_contract_says() {
    let world = World::new().await;
    let (connector, schema) = ready(&world).await;
    let (nodes, edges) = graph();
    let body = json!({
        "name": "  Customer Import ", "description": "d", "connectorId": connector, "schemaId": schema,
        "schedule": "0 2 * * *", "timezone": "Europe/Berlin", "executionConfig": {"batchSize": 5000},
        "nodes": nodes, "edges": edges,
    });
    let made = world.api.post("/pipelines", &body).await.expect(201);
    let pipeline = made.json();
    let id = pipeline["id"].as_str().unwrap();
    assert_eq!(made.header("location"), format!("/api/v1/pipelines/{id}"));
    assert_eq!(made.header("etag"), "\"1\"");
    assert_eq!(pipeline["name"], "Customer Import");
    assert_eq!((&pipeline["status"], &pipeline["version"]), (&json!("active"), &json!(1)));
    assert_eq!(pipeline["connector"], json!({"id": connector, "name": "files", "type": "local_fs"}));
    assert_eq!(pipeline["schema"]["name"], "people");
    assert!(pipeline["nextRunAt"].as_str().unwrap().ends_with(":00:00.000Z"));
    let source = &pipeline["nodes"][0];
    assert!(source["id"].as_str().unwrap().starts_with("node_"));
    assert_eq!((&source["clientId"], &source["label"]), (&json!("s"), &json!("People")));
    assert_eq!(pipeline["edges"][0]["source"], source["id"]);
    assert_eq!(world.api.get(&format!("/pipelines/{id}")).await.expect(200).json(), pipeline);
    assert_eq!(world.api.get("/pipelines").await.expect(200).json()["data"], json!([pipeline]));
    // What was read can be sent back, and nodes keep their ids.
    let back = world.api.put("/pipelines", &pipeline).await.expect(200).json();
    assert_eq!((&back["version"], &back["nodes"]), (&json!(2), &pipeline["nodes"]));
}

#[tokio::test]
async fn a_change_makes_a_version_and_leaves_the_old_one() {
    let world = World::new().await;
    let (connector, schema) = ready(&world).await;
    let (nodes, edges) = graph();
    let body = json!({"name": "p", "connectorId": connector, "schemaId": schema, "schedule": "@daily", "nodes": nodes, "edges": edges});
    let id = world.api.create("/pipelines", &body).await;
    let path = format!("/pipelines/{id}");
    let changed = world.api.put(&path, &json!({"enabled": false, "description": "new"})).await.expect(200).json();
    assert_eq!((&changed["status"], &changed["nextRunAt"]), (&json!("paused"), &Value::Null));
    assert_eq!(changed["nodes"].as_array().unwrap().len(), 3, "what is left out stays");
    let cleared = world.api.put(&path, &json!({"schedule": null, "nodes": []})).await.expect(200).json();
    assert_eq!((&cleared["schedule"], &cleared["nodes"], &cleared["edges"]), (&Value::Null, &json!([]), &json!([])));
    let answer = world.api.put(&path, &json!({"edges": [], "name": null})).await.expect(400);
    assert_eq!(answer.pointers(), ["/edges", "/name"], "in the order of the body");
    let versions = world.api.get(&format!("{path}/versions")).await.expect(200).json();
    let numbers: Vec<_> = versions["data"].as_array().unwrap().iter().map(|v| v["version"].clone()).collect();
    assert_eq!(numbers, [json!(3), json!(2), json!(1)]);
    let first = world.api.get(&format!("{path}/versions/1")).await.expect(200).json();
    assert_eq!((&first["description"], &first["schedule"]), (&Value::Null, &json!("@daily")));
    world.api.get(&format!("{path}/versions/9")).await.expect(404);
}

#[tokio::test]
async fn what_a_pipeline_uses_cannot_be_deleted() {
    let world = World::new().await;
    let (connector, schema) = ready(&world).await;
    let id = world.copy(&connector, &schema).await;
    let answer = world.api.delete(&format!("/connectors/{connector}")).await.expect(409);
    assert!(answer.text.contains(&id) && answer.text.contains("IN_USE"), "{}", answer.text);
    world.api.delete(&format!("/schemas/{schema}")).await.expect(409);
    // The pipeline goes to other ones: the old ones are free.
    let other = world.connector("other", "other.csv").await;
    world.api.put(&format!("/pipelines/{id}"), &json!({"connectorId": other})).await.expect(200);
    world.api.delete(&format!("/connectors/{connector}")).await.expect(204);
    world.api.delete(&format!("/pipelines?id={id}")).await.expect(204);
    world.api.delete(&format!("/connectors/{other}")).await.expect(204);
    world.api.delete(&format!("/schemas/{schema}")).await.expect(204);
    world.api.delete(&format!("/pipelines/{id}")).await.expect(404);
}

#[tokio::test]
async fn names_are_unique_and_free_again_after_a_change() {
    let world = World::new().await;
    let first = world.connector("a", "a.csv").await;
    let again = json!({"name": "a", "type": "local_fs", "config": {"path": "b.csv"}});
    assert_eq!(world.api.post("/connectors", &again).await.expect(409).json()["code"], "NAME_TAKEN");
    world.api.put(&format!("/connectors/{first}"), &json!({"name": "b"})).await.expect(200);
    world.api.post("/connectors", &again).await.expect(201);
    world.api.put(&format!("/connectors/{first}"), &json!({"name": "a"})).await.expect(409);
}

#[tokio::test]
async fn a_schema_changes_only_as_far_as_its_table_survives() {
    let world = World::new().await;
    let schema = world.schema("s", json!([{"name": "a", "dataType": "integer"}])).await;
    let path = format!("/schemas/{schema}");
    let added = json!({"fields": [{"name": "a", "dataType": "integer"}, {"name": "b", "dataType": "text"}]});
    world.api.put(&path, &added).await.expect(200);
    let narrower = json!({"fields": [{"name": "a", "dataType": "smallint"}, {"name": "b", "dataType": "text"}]});
    assert_eq!(world.api.put(&path, &narrower).await.expect(409).json()["code"], "WOULD_LOSE_DATA");
    world.api.put(&path, &json!({"fields": [{"name": "b", "dataType": "text"}]})).await.expect(409);
}

#[tokio::test]
async fn a_schema_shows_the_flags_that_its_fields_leave_out_and_takes_them_back() {
    let world = World::with(|o| o.worker = false).await;
    let fields = json!([
        {"name": "id", "dataType": "integer", "isPrimaryKey": true},
        {"name": "code", "dataType": "text", "isUnique": true, "isNullable": false},
        {"name": "text", "dataType": "text", "isPrimaryKey": null}
    ]);
    let path = format!("/schemas/{}", world.schema("s", fields).await);
    let read = world.api.get(&path).await.expect(200).json();
    let flags = |schema: &Value| -> Vec<Value> {
        let fields = schema["fields"].as_array().unwrap();
        fields.iter().map(|f| json!([f["isNullable"], f["isPrimaryKey"], f["isUnique"]])).collect()
    };
    assert_eq!(flags(&read), [json!([false, true, false]), json!([false, false, true]), json!([true, false, false])]);
    assert_eq!(world.api.get("/schemas").await.json()["data"][0], read);
    let again = world.api.put(&path, &read).await.expect(200).json();
    assert_eq!(again["fields"], read["fields"]);
}

#[tokio::test]
async fn what_is_not_available_yet_says_so_when_it_is_saved() {
    let world = World::new().await;
    let body = json!({"name": "pg", "type": "postgresql", "config": {}});
    let pointers = world.api.post("/connectors", &body).await.expect(400).pointers();
    assert_eq!(pointers, ["/authMethod", "/config/database", "/config/host"]);
}
