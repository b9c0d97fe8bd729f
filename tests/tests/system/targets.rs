//! Targets: several of them, what they load, what they keep of rejected rows, and schemas that change under them.

use serde_json::{Value, json};
use tests::World;

fn people() -> Value {
    json!([{"name": "id", "dataType": "integer"}, {"name": "name", "dataType": "varchar", "length": 5}])
}

/// A pipeline from one source to these targets.
fn to(connector: &str, schema: &str, targets: &[Value]) -> Value {
    let mut nodes = vec![json!({"id": "s", "nodeType": "source", "config": {}})];
    nodes.extend(
        targets
            .iter()
            .enumerate()
            .map(|(i, config)| json!({"id": format!("t{i}"), "nodeType": "target", "config": config})),
    );
    let edges: Vec<_> = (0..targets.len()).map(|i| json!({"source": "s", "target": format!("t{i}")})).collect();
    json!({"name": "p", "connectorId": connector, "schemaId": schema, "nodes": nodes, "edges": edges})
}

#[tokio::test]
async fn a_pipeline_writes_the_tables_of_several_schemas_and_uses_them() {
    let world = World::new().await;
    world.file("people.csv", "id,name\n1,Ada\n2,Bob\n");
    let connector = world.connector("people", "people.csv").await;
    let schema = world.schema("people", people()).await;
    let names = world.schema("names", json!([{"name": "name", "dataType": "text"}])).await;
    let wrong = world
        .api
        .post("/pipelines", &to(&connector, &schema, &[json!({}), json!({"table": "nmaes"})]))
        .await
        .expect(400);
    assert_eq!(wrong.pointers(), ["/nodes/2/config/table"]);
    assert!(wrong.text.contains("did you mean \\\"names\\\"?"), "{}", wrong.text);
    let twice = world
        .api
        .post("/pipelines", &to(&connector, &schema, &[json!({}), json!({"table": "people"})]))
        .await
        .expect(400);
    assert_eq!(twice.pointers(), ["/nodes/2/config/table"]);
    let key = json!({"table": "names", "loadMode": "upsert", "upsertKey": ["id"]});
    let wrong = world.api.post("/pipelines", &to(&connector, &schema, std::slice::from_ref(&key))).await.expect(400);
    assert_eq!(wrong.pointers(), ["/nodes/1/config/upsertKey/0"]);
    // Whatever else is wrong with the body.
    let files = json!({"connectorId": connector});
    let watermark = json!({"loadMode": "incremental_watermark", "watermarkColumn": "nmae"});
    let mut body = to(&connector, &schema, &[key, json!({"lodeMode": "append"}), files, watermark]);
    body["name"] = json!("");
    let wrong = world.api.post("/pipelines", &body).await.expect(400);
    for pointer in [
        "/name",
        "/nodes/1/config/upsertKey/0",
        "/nodes/2/config/lodeMode",
        "/nodes/3/config/connectorId",
        "/nodes/4/config/watermarkColumn",
    ] {
        assert!(wrong.pointers().contains(&pointer.to_owned()), "{pointer} is not in {}", wrong.text);
    }

    let body = to(&connector, &schema, &[json!({}), json!({"table": "names"})]);
    let id = world.api.create("/pipelines", &body).await;
    let run = world.run(&id).await;
    assert_eq!((&run["status"], &run["rowsIn"], &run["rowsOut"]), (&json!("completed"), &json!(2), &json!(4)), "{run}");
    assert_eq!(world.api.rows(&names).await, [json!({"name": "Ada"}), json!({"name": "Bob"})]);
    // It goes on writing the same table when the schema is renamed.
    world.api.put(&format!("/schemas/{names}"), &json!({"name": "words"})).await.expect(200);
    assert_eq!(world.run(&id).await["status"], "completed");
    assert_eq!(world.api.rows(&names).await.len(), 4);
    // So it does when what was read of it is sent back, also where another schema has got the old name since.
    let path = format!("/pipelines/{id}");
    let read = world.api.get(&path).await.expect(200).json();
    world.api.put(&path, &read).await.expect(200);
    let other = world.schema("names", json!([{"name": "other", "dataType": "text"}])).await;
    let same = json!({"nodes": read["nodes"], "edges": read["edges"]});
    assert_eq!(world.api.post(&format!("{path}/validate"), &same).await.expect(200).json()["valid"], true);
    world.api.put(&path, &read).await.expect(200);
    world.api.put(&path, &json!({"schemaId": schema})).await.expect(200);
    assert_eq!(world.run(&id).await["status"], "completed");
    assert_eq!(world.api.rows(&names).await.len(), 6);
    assert_eq!(world.api.rows(&other).await, Vec::<Value>::new());
    // A target of the new name writes the schema that has it now.
    let again = to(&connector, &schema, &[json!({}), json!({"table": "names"})]);
    let new = world.api.put(&path, &json!({"nodes": again["nodes"], "edges": again["edges"]})).await.expect(200).json();
    world.api.delete(&format!("/schemas/{other}")).await.expect(409);
    let mut back = read["nodes"].clone();
    back[2]["config"]["table"] = json!("words");
    let back = json!({"nodes": back, "edges": read["edges"]});
    world.api.put(&path, &back).await.expect(200);
    assert_ne!(new["nodes"][2]["id"], read["nodes"][2]["id"]);
    world.api.delete(&format!("/schemas/{other}")).await.expect(204);
    assert_eq!(world.api.delete(&format!("/schemas/{names}")).await.expect(409).json()["code"], "IN_USE");
    world.api.delete(&format!("/schemas/{schema}")).await.expect(409);
    // Once no target names it any more it may go.
    let nodes = to(&connector, &schema, &[json!({})]);
    let change = json!({"nodes": nodes["nodes"], "edges": nodes["edges"]});
    world.api.put(&path, &change).await.expect(200);
    world.api.delete(&format!("/schemas/{names}")).await.expect(204);
    world.api.delete(&format!("/pipelines/{id}")).await.expect(204);
    world.api.delete(&format!("/schemas/{schema}")).await.expect(204);
}

#[tokio::test]
async fn a_pipeline_whose_schema_has_changed_can_be_paused() {
    let world = World::with(|o| o.worker = false).await;
    let connector = world.connector("people", "people.csv").await;
    let keyed = json!([{"name": "id", "dataType": "bigint", "isPrimaryKey": true}]);
    let schema = world.schema("a", keyed).await;
    let upsert = [json!({"loadMode": "upsert"})];
    let merging = world.api.create("/pipelines", &to(&connector, &schema, &upsert)).await;
    let config = json!({"host": "db", "database": "d"});
    let shop = json!({"name": "shop", "type": "postgresql", "config": config, "authMethod": "password", "authConfig": {"username": "u"}});
    let shop = world.api.create("/connectors", &shop).await;
    let tables = [json!({"connectorId": shop}), json!({"connectorId": shop, "table": "b"})];
    let writing = world.api.create("/pipelines", &to(&connector, &schema, &tables)).await;
    let change = json!({"name": "b", "fields": [{"name": "id", "dataType": "bigint"}]});
    world.api.put(&format!("/schemas/{schema}"), &change).await.expect(200);
    for (id, pointer) in [(merging, "/nodes/1/config/upsertKey"), (writing, "/nodes/2/config/table")] {
        let path = format!("/pipelines/{id}");
        let paused = world.api.put(&path, &json!({"enabled": false})).await.expect(200).json();
        assert_eq!(paused["status"], "paused");
        // What is sent is looked at.
        let sent = json!({"nodes": paused["nodes"], "edges": paused["edges"]});
        assert_eq!(world.api.put(&path, &sent).await.expect(400).pointers(), [pointer]);
    }
}

#[tokio::test]
async fn an_incremental_load_takes_what_is_new() {
    let world = World::new().await;
    world.file("people.csv", "id,name\n1,Ada\n2,Bob\n");
    let connector = world.connector("people", "people.csv").await;
    let schema = world.schema("people", people()).await;
    let target = json!({"loadMode": "incremental_watermark", "watermarkColumn": "id"});
    let id = world.api.create("/pipelines", &to(&connector, &schema, &[target])).await;
    assert_eq!(world.run(&id).await["rowsOut"], 2);
    world.file("people.csv", "id,name\n1,Ada\n2,Bob\n2,Ben\n3,Cy\n");
    let run = world.run(&id).await;
    let counts = ["status", "rowsIn", "rowsOut", "skippedRows", "failedRows"].map(|key| run[key].clone());
    assert_eq!(counts, [json!("completed"), json!(4), json!(2), json!(2), json!(0)], "{run}");
    assert_eq!(world.api.rows(&schema).await.len(), 4);
}

#[tokio::test]
async fn rejected_rows_are_read_where_the_others_are() {
    let world = World::new().await;
    world.file("people.csv", "id,name\n1,Ada\n2,Dorothea\nx,Cy\n");
    let connector = world.connector("people", "people.csv").await;
    let schema = world.schema("people", people()).await;
    let mut body = to(&connector, &schema, &[json!({})]);
    body["executionConfig"] = json!({"errorHandling": {"onError": "deadLetter"}});
    let id = world.api.create("/pipelines", &body).await;
    let run = world.run(&id).await;
    assert_eq!((&run["status"], &run["failedRows"]), (&json!("completed_with_errors"), &json!(2)), "{run}");
    let path = format!("/schemas/{schema}/data?includeTotal=true&limit=1&rejected=true");
    let page = world.api.get(&path).await.expect(200).json();
    assert_eq!(page["pagination"]["total"], 2);
    let row = &page["data"][0];
    assert_eq!(row["run_id"], run["id"]);
    assert!(row["data"].as_str().is_some_and(|data| data.contains("\"id\":")), "{row}");
    let cursor = page["pagination"]["cursor"].as_str().unwrap();
    world.api.get(&format!("{path}&cursor={cursor}")).await.expect(200);
    // A position among the rejected rows is none among the others.
    world.api.get(&format!("/schemas/{schema}/data?limit=1&cursor={cursor}")).await.expect(400);
    world.api.get(&format!("/schemas/{schema}/data?rejected=yes")).await.expect(400);
    assert_eq!(world.api.rows(&schema).await.len(), 1);
}

#[tokio::test]
async fn a_page_of_wide_rows_is_short_enough_for_an_answer() {
    let world = World::new().await;
    let rows: String = (0..30).map(|id| format!("{id},{}\n", "x".repeat(700_000))).collect();
    world.file("wide.csv", format!("id,name\n{rows}"));
    let connector = world.connector("wide", "wide.csv").await;
    let fields = json!([{"name": "id", "dataType": "integer"}, {"name": "name", "dataType": "text"}]);
    let schema = world.schema("wide", fields).await;
    let id = world.api.create("/pipelines", &to(&connector, &schema, &[json!({})])).await;
    assert_eq!(world.run(&id).await["rowsOut"], 30);
    let (mut ids, mut cursor) = (Vec::new(), String::new());
    loop {
        let answer = world.api.get(&format!("/schemas/{schema}/data?limit=500{cursor}")).await.expect(200);
        assert!(answer.text.len() < 5_000_000, "{} bytes", answer.text.len());
        let page = answer.json();
        ids.extend(page["data"].as_array().unwrap().iter().map(|row| row["id"].as_i64().unwrap()));
        let Some(next) = page["pagination"]["cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(ids, (0..30).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_walk_whose_version_is_gone_is_told_to_begin_again() {
    let world = World::new().await;
    world.file("people.csv", "id,name\n1,Ada\n2,Bob\n");
    let connector = world.connector("people", "people.csv").await;
    let schema = world.schema("people", people()).await;
    let id = world.api.create("/pipelines", &to(&connector, &schema, &[json!({"loadMode": "truncate"})])).await;
    world.run(&id).await;
    let first = world.api.get(&format!("/schemas/{schema}/data?limit=1")).await.expect(200).json();
    let cursor = first["pagination"]["cursor"].as_str().unwrap();
    let files = |folder: &std::path::Path| -> Vec<_> {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries
            .filter(|path| path.extension().is_none_or(|ending| ending != "log") && !path.ends_with("_delta_log"))
            .collect()
    };
    let table = world.lake().join(&schema);
    let before = files(&table);
    world.run(&id).await;
    // As VACUUM does with what no version needs that is young enough.
    for path in before {
        if path.is_dir() { std::fs::remove_dir_all(path).unwrap() } else { std::fs::remove_file(path).unwrap() }
    }
    let gone = world.api.get(&format!("/schemas/{schema}/data?limit=1&cursor={cursor}")).await.expect(409).json();
    assert_eq!(gone["code"], "TABLE_UNREADABLE", "{gone}");
    assert!(gone["detail"].as_str().unwrap().contains("begin with the first page"), "{gone}");
    assert_eq!(world.api.rows(&schema).await.len(), 2);
}

#[tokio::test]
async fn a_table_follows_its_schema_to_wider_types() {
    let world = World::new().await;
    world.file("people.csv", "id,name\n1,Ada\n");
    let connector = world.connector("people", "people.csv").await;
    let schema = world.schema("people", people()).await;
    let id = world.copy(&connector, &schema).await;
    world.run(&id).await;
    let wider = json!({"fields": [{"name": "id", "dataType": "bigint"}, {"name": "name", "dataType": "text"}]});
    world.api.put(&format!("/schemas/{schema}"), &wider).await.expect(200);
    assert_eq!(world.api.rows(&schema).await, [json!({"id": 1, "name": "Ada"})]);
    world.file("people.csv", "id,name\n3000000000,Dorothea\n");
    let run = world.run(&id).await;
    assert_eq!(run["status"], "completed", "{run}");
    let rows = world.api.rows(&schema).await;
    assert!(
        rows.contains(&json!({"id": 1, "name": "Ada"}))
            && rows.contains(&json!({"id": 3_000_000_000_i64, "name": "Dorothea"}))
    );
    let narrow = json!({"fields": [{"name": "id", "dataType": "integer"}]});
    let refused = world.api.put(&format!("/schemas/{schema}"), &narrow).await.expect(409);
    assert!(
        refused.text.contains("bigint to integer") && refused.text.contains("dropped"),
        "all reasons: {}",
        refused.text
    );
}
