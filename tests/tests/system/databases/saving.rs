//! What is told when a pipeline is saved: nodes that do not go with the types of their connectors.

use serde_json::{Value, json};
use tests::World;

#[tokio::test]
async fn nodes_that_do_not_go_with_their_connectors_are_refused_at_their_pointers() {
    let world = World::new().await;
    let files = world.connector("files", "a.csv").await;
    let shop = json!({
        "name": "shop", "type": "postgresql", "config": {"host": "db", "database": "d"}, "authMethod": "password",
        "authConfig": {"username": "ann"}
    });
    let shop = world.api.create("/connectors", &shop).await;
    let schema = world.schema("s", json!([{"name": "id", "dataType": "integer", "isPrimaryKey": true}])).await;
    let save = async |connector: &str, source: Value, target: Value| {
        let body = json!({"name": "p", "connectorId": connector, "schemaId": schema,
            "nodes": [{"id": "s", "nodeType": "source", "config": source}, {"id": "t", "nodeType": "target", "config": target}],
            "edges": [{"source": "s", "target": "t"}]});
        world.api.post("/pipelines", &body).await
    };
    let refused = async |connector: &str, source: Value, target: Value| {
        save(connector, source, target).await.expect(400).pointers()
    };
    let (source, target) = ("/nodes/0/config", "/nodes/1/config");
    assert_eq!(refused(&files, json!({"table": "t"}), json!({})).await, [format!("{source}/table")]);
    assert_eq!(
        refused(&shop, json!({"path": "a.csv", "format": "csv"}), json!({})).await,
        [format!("{source}/format"), format!("{source}/path"), format!("{source}/table")]
    );
    assert_eq!(refused(&files, json!({}), json!({"connectorId": files})).await, [format!("{target}/connectorId")]);
    assert_eq!(refused(&files, json!({}), json!({"connectorId": "conn_x"})).await, [format!("{target}/connectorId")]);
    let body = json!({"name": "p", "connectorId": shop, "schemaId": schema});
    assert_eq!(world.api.post("/pipelines", &body).await.expect(400).pointers(), ["/connectorId"]);
    let saved = save(&files, json!({}), json!({"connectorId": shop, "loadMode": "upsert"})).await.expect(201).json();
    // The target's connector is in use now.
    world.api.delete(&format!("/connectors/{shop}")).await.expect(409);
    let path = format!("/pipelines/{}", saved["id"].as_str().unwrap());
    world.api.put(&path, &json!({"name": "q"})).await.expect(200);
    world.api.put(&path, &json!({"connectorId": shop})).await.expect(400);
}

#[tokio::test]
async fn a_change_that_leaves_the_nodes_is_refused_at_the_field_that_they_do_not_go_with() {
    let world = World::with(|o| o.worker = false).await;
    let files = world.connector("files", "in").await;
    let config = json!({"host": "db", "database": "d"});
    let shop = json!({"name": "shop", "type": "postgresql", "config": config, "authMethod": "password", "authConfig": {"username": "u"}});
    let shop = world.api.create("/connectors", &shop).await;
    let fields = |key: &str| json!([{"name": key, "dataType": "integer"}]);
    let (schema, other) = (world.schema("s", fields("id")).await, world.schema("o", fields("nr")).await);
    let nodes = json!([
        {"id": "own", "nodeType": "source", "config": {"path": "a.csv"}},
        {"id": "named", "nodeType": "source", "config": {"path": "b.csv", "connectorId": files}},
        {"id": "one", "nodeType": "union", "config": {}},
        {"id": "write", "nodeType": "target", "config": {"loadMode": "upsert", "upsertKey": ["id"]}},
    ]);
    let edge = |source: &str, target: &str| json!({"source": source, "target": target});
    let edges = json!([edge("own", "one"), edge("named", "one"), edge("one", "write")]);
    let body = json!({"name": "p", "connectorId": files, "schemaId": schema, "nodes": nodes, "edges": edges});
    let path = format!("/pipelines/{}", world.api.create("/pipelines", &body).await);
    let refused = async |change: Value| {
        let errors = world.api.put(&path, &change).await.expect(400).json()["errors"].clone();
        let errors = errors.as_array().unwrap().iter();
        errors.map(|e| (e["pointer"].clone(), e["detail"].as_str().unwrap().to_owned())).collect::<Vec<_>>()
    };
    let told = refused(json!({"connectorId": shop})).await;
    assert_eq!(told.iter().map(|(at, _)| at).collect::<Vec<_>>(), ["/connectorId", "/connectorId"]);
    assert!(told.iter().all(|(_, detail)| detail.starts_with("the node \"own\", which stays,")), "{told:?}");
    let told = refused(json!({"schemaId": other})).await;
    assert_eq!(told.iter().map(|(at, _)| at).collect::<Vec<_>>(), ["/schemaId"]);
    assert!(told[0].1.contains("\"write\"") && told[0].1.contains("has no field \"id\""), "{told:?}");
    // Only the database that the nodes read, which go, is left to be read.
    let nodes = json!([{"id": "s", "nodeType": "source", "config": {"table": "t"}}, {"id": "t", "nodeType": "target", "config": {}}]);
    let change = json!({"connectorId": shop, "nodes": nodes, "edges": [edge("s", "t")]});
    world.api.put(&path, &change).await.expect(200);
    assert_eq!(refused(json!({"nodes": []})).await[0].0, "/nodes");
}
