//! Tables that are called as their schema, which may be renamed, or as a parameter says: a run keeps to the name under which
//! it came to its commit.

use super::either::Either;
use super::kills::started;
use super::races::killed_behind_its_commit;
use super::{connector, pipeline};
use serde_json::{Value, json};
use shared::id::Prefix;
use shared::launch;
use shared::models::run::{Progress, Rows, Run, Trigger};
use shared::models::time::{JsonText, Time};
use shared::queue::{Message, Task};
use shared::store::runs::Claim;
use std::time::Duration;
use tests::servers::Postgres;
use tests::{Api, World};

/// What the ledger says of which tables.
const LEDGER: &str = "SELECT concat(target_table, ' ', state) FROM flowgate_runs ORDER BY 1";

/// Gives the schema of a pipeline, which is called `people`, another name.
async fn rename(api: &Api, pipeline: &str) {
    let stored = api.get(&format!("/pipelines/{pipeline}")).await.expect(200).json();
    let path = format!("/schemas/{}", stored["schemaId"].as_str().unwrap());
    api.put(&path, &json!({"name": "persons"})).await.expect(200);
}

#[tokio::test]
async fn a_run_killed_after_its_commit_finds_it_although_its_schema_was_renamed() {
    let Some(db) = Postgres::new().await else { return };
    let (stack, _folder, api, pipeline, run) = killed_behind_its_commit(&db, rename).await;
    let ended = api.finished(&pipeline, &run).await;
    assert_eq!((&ended["status"], &ended["rowsOut"]), (&json!("completed"), &json!(5)), "{ended}");
    assert!(ended["attempt"].as_u64().unwrap() >= 2, "{ended}");
    assert_eq!(db.texts("SELECT count(*) FROM people").await, ["5"]);
    assert_eq!(db.texts(LEDGER).await, ["people committed"]);
    let receipt = api.get(&format!("/pipelines/{pipeline}/runs/{run}/receipt")).await.expect(200).json();
    assert_eq!(receipt["targets"][0]["database"]["targetTable"], "people", "{receipt}");
    stack.kill();
}

/// A run brings five rows into `people`, whose schema is renamed meanwhile, and none into `others`, which takes four.
async fn a_retry_of_a_run_whose_schema_was_renamed(mut db: Either) {
    db.run("CREATE TABLE people (id int)").await;
    db.run("CREATE TABLE others (id int, CONSTRAINT few CHECK (id < 5))").await;
    let world = World::new().await;
    let lines: Vec<String> = (1..=5).map(|id| json!({"id": id}).to_string()).collect();
    world.file("rows.jsonl", lines.join("\n"));
    let files = world.connector("files", "rows.jsonl").await;
    let shop = connector(&world, "shop", db.server(), db.name(), json!({})).await;
    let schema = world.schema("people", json!([{"name": "id", "dataType": "integer"}])).await;
    let body = json!({"name": "p", "connectorId": files, "schemaId": schema,
        "executionConfig": {"retry": {"maxAttempts": 1}},
        "nodes": [{"id": "s", "nodeType": "source", "config": {}},
            {"id": "t", "nodeType": "target", "config": {"connectorId": shop}},
            {"id": "u", "nodeType": "target", "config": {"connectorId": shop, "table": "others"}}],
        "edges": [{"source": "s", "target": "t"}, {"source": "s", "target": "u"}]});
    let pipeline = world.api.create("/pipelines", &body).await;
    db.hold("people").await;
    let run = world.api.run(&pipeline, json!({})).await;
    db.until(&db.waiting("people"), "1").await;
    rename(&world.api, &pipeline).await;
    db.release().await;
    let ended = world.api.finished(&pipeline, &run).await;
    let said = ended["error"]["message"].as_str().unwrap_or_default();
    assert!(said.contains("in the table of \"people in shop\" and not in that of \"others in shop\""), "{ended}");
    db.run("ALTER TABLE others DROP CONSTRAINT few").await;
    let retry = world.api.create(&format!("/pipelines/{pipeline}/runs/{run}/retry"), &json!({})).await;
    let ended = world.api.finished(&pipeline, &retry).await;
    assert_eq!(ended["status"], "completed", "{ended}");
    assert_eq!(db.texts(LEDGER).await, ["others committed", "others void", "people committed"]);
    // A new run takes the schema as it is now.
    assert_eq!(world.run(&pipeline).await["status"], "completed");
    for (table, rows) in [("people", "5"), ("persons", "5"), ("others", "10")] {
        assert_eq!(db.texts(&format!("SELECT count(*) FROM {table}")).await, [rows], "{table}");
    }
}

#[tokio::test]
async fn a_retry_writes_the_tables_of_its_run_in_postgresql_although_the_schema_was_renamed() {
    let Some(db) = Either::postgres().await else { return };
    a_retry_of_a_run_whose_schema_was_renamed(db).await;
}

#[tokio::test]
async fn a_retry_writes_the_tables_of_its_run_in_mysql_although_the_schema_was_renamed() {
    let Some(db) = Either::maria().await else { return };
    a_retry_of_a_run_whose_schema_was_renamed(db).await;
}

/// A run that a worker lost right behind its commit of five rows into `table`.
async fn lost(world: &World, db: &mut Either, pipeline: &str, table: &str, parameters: &Value) -> Run {
    let services = world.stack.services();
    let (store, now) = (&services.store, services.clock.now());
    let stored = store.pipeline("acme", pipeline).await.unwrap();
    let mut run = launch::new_run(&stored, shared::id::new(Prefix::Run, now), Trigger::Manual, "ada", now.into());
    run.parameters = JsonText(parameters.as_object().unwrap().clone());
    store.create_run(&run, None, None).await.unwrap();
    let past = Time(now - chrono::Duration::seconds(60));
    let Claim::Taken(held) = store.claim("acme", pipeline, &run.id, "died", past).await.unwrap() else {
        panic!("nobody else wants it")
    };
    let held = Run { table_name: Some("people".to_owned()), ..*held };
    assert!(store.enter_committing(&held, Rows::default(), &Progress::default(), None).await.unwrap());
    let entry = format!(
        "INSERT INTO flowgate_runs (run_id, target_table, state, rows_written, rows_skipped, rows_rejected) \
         VALUES ('{}', '{table}', 'committed', 5, 0, 0)",
        run.id
    );
    db.run(&entry).await;
    held
}

/// The end of a run that is not executed any more, as its targets say.
async fn settled(world: &World, run: &Run) -> Value {
    let (tenant_id, pipeline_id, run_id) = (run.tenant_id.clone(), run.pipeline_id.clone(), run.id.clone());
    let message = Message { task: Task::Settle, tenant_id, pipeline_id, run_id };
    world.stack.services().queue.send(&message, Duration::ZERO).await.unwrap();
    world.api.finished(&run.pipeline_id, &run.id).await
}

async fn a_run_that_is_settled_after_its_schema_was_renamed(mut db: Either) {
    let world = World::new().await;
    let (pipeline, first) = started(&world.api, world.stack.files_root(), db.server(), db.name()).await;
    assert_eq!(world.api.finished(&pipeline, &first).await["status"], "completed");
    let run = lost(&world, &mut db, &pipeline, "people", &json!({})).await;
    rename(&world.api, &pipeline).await;
    let ended = settled(&world, &run).await;
    assert_eq!((&ended["status"], &ended["rowsOut"]), (&json!("completed"), &json!(5)), "{ended}");
    assert_eq!(db.texts(LEDGER).await, ["people committed", "people committed"]);
}

#[tokio::test]
async fn a_run_is_settled_where_it_has_written_postgresql_although_its_schema_was_renamed() {
    let Some(db) = Either::postgres().await else { return };
    a_run_that_is_settled_after_its_schema_was_renamed(db).await;
}

#[tokio::test]
async fn a_run_is_settled_where_it_has_written_mysql_although_its_schema_was_renamed() {
    let Some(db) = Either::maria().await else { return };
    a_run_that_is_settled_after_its_schema_was_renamed(db).await;
}

#[tokio::test]
async fn a_run_is_settled_in_the_table_that_its_parameters_name() {
    let Some(mut db) = Either::postgres().await else { return };
    let world = World::new().await;
    world.file("rows.jsonl", "{\"id\": 1}");
    let files = world.connector("files", "rows.jsonl").await;
    let shop = connector(&world, "shop", db.server(), db.name(), json!({})).await;
    let schema = world.schema("people", json!([{"name": "id", "dataType": "integer"}])).await;
    let target = json!({"connectorId": shop, "table": "people_${region}"});
    let copy = pipeline(&world, &files, &schema, json!({}), target).await;
    let parameters = json!({"region": "north"});
    let first = world.api.run(&copy, parameters.clone()).await;
    assert_eq!(world.api.finished(&copy, &first).await["status"], "completed");
    let run = lost(&world, &mut db, &copy, "people_north", &parameters).await;
    let ended = settled(&world, &run).await;
    assert_eq!((&ended["status"], &ended["rowsOut"]), (&json!("completed"), &json!(5)), "{ended}");
    assert_eq!(db.texts(LEDGER).await, ["people_north committed", "people_north committed"]);
}
