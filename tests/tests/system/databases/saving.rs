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
