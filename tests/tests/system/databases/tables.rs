//! Tables that have several names.

use super::connector;
use serde_json::{Value, json};
use tests::World;
use tests::servers::{Maria, Postgres, Server};

#[tokio::test]
async fn two_targets_of_one_table_of_postgresql_are_refused_whatever_they_call_it() {
    let Some(db) = Postgres::new().await else { return };
    two_targets_of_one_table_are_refused(&db.server, &db.name, "public").await;
}

#[tokio::test]
async fn two_targets_of_one_table_of_mysql_are_refused_whatever_they_call_it() {
    let Some(db) = Maria::new().await else { return };
    two_targets_of_one_table_are_refused(&db.server, &db.name, &db.name).await;
}

async fn two_targets_of_one_table_are_refused(server: &Server, database: &str, own: &str) {
    let world = World::new().await;
    world.file("rows.csv", "id\n1\n2\n");
    let files = world.connector("files", "rows.csv").await;
    let shop = connector(&world, "shop", server, database, json!({})).await;
    let again = connector(&world, "again", server, database, json!({})).await;
    let schema = world.schema("orders", json!([{"name": "id", "dataType": "integer"}])).await;
    let target = |connector: &str, table: &str| json!({"connectorId": connector, "table": table});
    let run = async |one: Value, other: Value| {
        let body = json!({"name": "p", "connectorId": files, "schemaId": schema,
            "nodes": [{"id": "s", "nodeType": "source", "config": {}}, {"id": "t", "nodeType": "target", "config": one},
                {"id": "u", "nodeType": "target", "config": other}],
            "edges": [{"source": "s", "target": "t"}, {"source": "s", "target": "u"}]});
        world.run(&world.api.create("/pipelines", &body).await).await
    };
    for (connector, table) in [(&shop, format!("{own}.orders")), (&again, "orders".to_owned())] {
        let run = run(target(&shop, "orders"), target(connector, &table)).await;
        let said = run["error"]["message"].as_str().unwrap_or_default();
        assert!(run["error"]["code"] == "INVALID_PIPELINE" && said.contains("writes the same table"), "{run}");
    }
    let run = run(target(&shop, "orders"), target(&again, "others")).await;
    assert_eq!((&run["status"], &run["rowsOut"]), (&json!("completed"), &json!(4)), "{run}");
}
