//! What a run leaves that is killed behind its commit, left alone, or cancelled; and large tables in little memory.

use super::either::{CONNECTED, Either, WAITING};
use super::kills::started;
use super::{connector, pipeline};
use crate::processes::{Process, token};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tests::servers::{self, Maria, Postgres, Server};
use tests::{Api, World};

/// A run that was killed right behind its commit into `people`, on a stack that was started again: the stack, its folder and
/// its client, the pipeline, and the run. What is to happen `meanwhile` happens while it commits.
pub async fn killed_behind_its_commit(
    db: &Postgres,
    meanwhile: impl AsyncFnOnce(&Api, &str),
) -> (Process, tempfile::TempDir, Api, String, String) {
    // The commit itself waits for a lock, so that nothing is left to be done once it has it.
    db.run(
        "CREATE TABLE people (id int); \
         CREATE FUNCTION waits() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NULL; END $$; \
         CREATE CONSTRAINT TRIGGER waits AFTER INSERT ON people DEFERRABLE INITIALLY DEFERRED \
         FOR EACH ROW EXECUTE FUNCTION waits()",
    )
    .await;
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir_all(&data).unwrap();
    let mut stack = Process::start(&data);
    let token = token(&data);
    let lock = db.connect().await;
    lock.batch_execute("SELECT pg_advisory_lock(1)").await.unwrap();
    let api = Api::new(&stack.url, &token);
    let (pipeline, run) = started(&api, &data, &db.server, &db.name).await;
    db.until(WAITING, "1").await;
    meanwhile(&api, &pipeline).await;
    stack.pause().await;
    lock.batch_execute("SELECT pg_advisory_unlock(1)").await.unwrap();
    db.until("SELECT state || attempt FROM flowgate_runs", "committed1").await;
    stack.kill_and_restart(&data);
    let api = Api::new(&stack.url, &token);
    (stack, folder, api, pipeline, run)
}

#[tokio::test]
async fn a_run_killed_after_its_commit_has_a_receipt_of_the_attempt_that_committed() {
    let Some(db) = Postgres::new().await else { return };
    let (stack, _folder, api, pipeline, run) = killed_behind_its_commit(&db, async |_, _| {}).await;
    let ended = api.finished(&pipeline, &run).await;
    assert_eq!((&ended["status"], &ended["rowsOut"]), (&json!("completed"), &json!(5)), "{ended}");
    assert!(ended["attempt"].as_u64().unwrap() >= 2, "{ended}");
    assert_eq!(db.texts("SELECT count(*) FROM people").await, ["5"]);
    let receipt = api.get(&format!("/pipelines/{pipeline}/runs/{run}/receipt")).await.expect(200).json();
    assert_eq!(
        (&receipt["targets"][0]["attempt"], &receipt["targets"][0]["rows"]),
        (&json!(1), &json!(5)),
        "{receipt}"
    );
    assert_eq!((&receipt["inputs"][0]["attempt"], &receipt["inputs"][0]["rows"]), (&json!(1), &json!(5)), "{receipt}");
    let nodes: Vec<&Value> = receipt["nodes"].as_array().unwrap().iter().map(|node| &node["rowsIn"]).collect();
    assert_eq!(nodes.len(), 2, "{receipt}");
    stack.kill();
}

#[tokio::test]
async fn a_transaction_that_is_left_alone_ends_by_itself() {
    let Some(db) = Postgres::new().await else { return };
    db.run(
        "CREATE TABLE people (id int); CREATE TABLE seen (limits text); \
         CREATE FUNCTION notes() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN INSERT INTO seen SELECT current_setting('idle_in_transaction_session_timeout') || ' ' || \
         current_setting('tcp_keepalives_idle'); RETURN NULL; END $$; \
         CREATE TRIGGER notes AFTER INSERT ON people FOR EACH STATEMENT EXECUTE FUNCTION notes()",
    )
    .await;
    let world = World::new().await;
    let (pipeline, run) = started(&world.api, world.stack.files_root(), &db.server, &db.name).await;
    assert_eq!(world.api.finished(&pipeline, &run).await["status"], "completed");
    assert_eq!(db.texts("SELECT limits FROM seen").await, ["1min 15"]);
}

#[tokio::test]
async fn a_transaction_of_mysql_that_is_left_alone_ends_by_itself() {
    let Some(mut db) = Maria::new().await else { return };
    db.run("CREATE TABLE people (id int)").await;
    db.run("CREATE TABLE seen (limits text)").await;
    db.run(
        "CREATE TRIGGER notes AFTER INSERT ON people FOR EACH ROW INSERT INTO seen VALUES \
         (CONCAT(@@SESSION.wait_timeout, ' ', @@SESSION.innodb_lock_wait_timeout, ' ', @@SESSION.lock_wait_timeout))",
    )
    .await;
    let world = World::new().await;
    let (copy, _) = one_row(&world, &db.server, &db.name, json!({})).await;
    assert_eq!(world.run(&copy).await["status"], "completed");
    assert_eq!(db.texts("SELECT limits FROM seen").await, ["60 120 120"]);
}

#[tokio::test]
async fn a_cancelled_run_leaves_no_statement_no_transaction_and_nothing_staged() {
    let Some(db) = Postgres::new().await else { return };
    let world = World::new().await;
    let slow = json!({"query": "SELECT i AS id, pg_sleep(0.001) IS NULL AS x FROM generate_series(1, 1000000) i"});
    let asleep = json!({"query": "SELECT 1 AS id FROM (SELECT pg_sleep(600)) s"});
    let schema = world.schema("people", json!([{"name": "id", "dataType": "integer"}])).await;
    let shop = connector(&world, "shop", &db.server, &db.name, json!({})).await;
    for query in [slow, asleep] {
        let copy = pipeline(&world, &shop, &schema, query, json!({"connectorId": shop})).await;
        let run = world.api.run(&copy, json!({})).await;
        let copying = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'COPY (%' \
                       AND datname = current_database()";
        db.until(copying, "1").await;
        world.api.post(&format!("/pipelines/{copy}/runs/{run}/cancel"), &json!({})).await.expect(202);
        assert_eq!(world.api.finished(&copy, &run).await["status"], "cancelled");
        db.until(CONNECTED, "0").await;
        db.until("SELECT count(*) FROM pg_class WHERE relname = 'flowgate_staging'", "0").await;
        assert_eq!(db.texts("SELECT count(*) FROM people").await, ["0"]);
    }
}

#[tokio::test]
async fn a_cancelled_run_of_mysql_leaves_no_connection() {
    let Some(mut db) = Maria::new().await else { return };
    let world = World::new().await;
    let schema = world.schema("people", json!([{"name": "id", "dataType": "integer"}])).await;
    let shop = connector(&world, "shop", &db.server, &db.name, json!({})).await;
    let query = json!({"query": "SELECT seq AS id, SLEEP(0.001) AS x FROM seq_1_to_1000000"});
    let copy = pipeline(&world, &shop, &schema, query, json!({"connectorId": shop})).await;
    let run = world.api.run(&copy, json!({})).await;
    let others = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE DB = DATABASE() AND ID <> CONNECTION_ID()";
    let reading = format!("{others} AND INFO LIKE 'SELECT seq%'");
    db.until(&reading, "1").await;
    world.api.post(&format!("/pipelines/{copy}/runs/{run}/cancel"), &json!({})).await.expect(202);
    assert_eq!(world.api.finished(&copy, &run).await["status"], "cancelled");
    db.until(others, "0").await;
    assert_eq!(db.texts("SELECT COUNT(*) FROM people").await, ["0"]);
}

/// A pipeline from a file with one row into the table `people` of a database; and the file's name.
async fn one_row(world: &World, server: &Server, database: &str, target: Value) -> (String, &'static str) {
    world.file("one.jsonl", "{\"id\": 1}");
    let files = world.connector("files", "one.jsonl").await;
    let schema = world.schema("people", json!([{"name": "id", "dataType": "integer"}])).await;
    let shop = connector(world, "shop", server, database, json!({})).await;
    let mut config = json!({"connectorId": shop});
    config.as_object_mut().unwrap().extend(target.as_object().unwrap().clone());
    (pipeline(world, &files, &schema, json!({}), config).await, "one.jsonl")
}

/// Cancels a run, which ends long before any lock that it waits for is given up on.
async fn cancelled(world: &World, pipeline: &str, run: &str) {
    world.api.post(&format!("/pipelines/{pipeline}/runs/{run}/cancel"), &json!({})).await.expect(202);
    let begun = Instant::now();
    assert_eq!(world.api.finished(pipeline, run).await["status"], "cancelled");
    assert!(begun.elapsed() < Duration::from_secs(30), "it took {:?} to stop", begun.elapsed());
}

#[tokio::test]
async fn a_run_that_waits_for_a_locked_table_can_be_cancelled() {
    let Some(db) = Postgres::new().await else { return };
    let world = World::new().await;
    let load = json!({"loadMode": "incremental_watermark", "watermarkColumn": "id"});
    let (copy, file) = one_row(&world, &db.server, &db.name, load).await;
    let lock = db.connect().await;
    // First where it makes sure of its table, then where it reads the rows that have the watermark.
    for (row, waits) in [(1, "CREATE TABLE IF NOT EXISTS%"), (2, "%SELECT%")] {
        world.file(file, format!("{{\"id\": {row}}}"));
        if row == 1 {
            lock.batch_execute("CREATE TABLE people (id int); BEGIN; LOCK TABLE people").await.unwrap();
        } else {
            assert_eq!(world.run(&copy).await["status"], "completed");
            lock.batch_execute("BEGIN; LOCK TABLE people").await.unwrap();
        }
        let run = world.api.run(&copy, json!({})).await;
        db.until(&format!("{WAITING} AND query LIKE '{waits}'"), "1").await;
        cancelled(&world, &copy, &run).await;
        db.until(CONNECTED, "0").await;
        lock.batch_execute("COMMIT").await.unwrap();
    }
    assert_eq!(db.texts("SELECT id FROM people").await, ["2"]);
}

#[tokio::test]
async fn a_run_that_waits_to_stage_its_rows_can_be_cancelled() {
    let Some(db) = Postgres::new().await else { return };
    db.run("CREATE TABLE people (id int)").await;
    let world = World::new().await;
    let (copy, _) = one_row(&world, &db.server, &db.name, json!({})).await;
    let lock = db.connect().await;
    lock.batch_execute("BEGIN; LOCK TABLE people").await.unwrap();
    let run = world.api.run(&copy, json!({})).await;
    db.until(&format!("{WAITING} AND query LIKE 'CREATE TEMPORARY TABLE%'"), "1").await;
    cancelled(&world, &copy, &run).await;
    db.until(CONNECTED, "0").await;
    lock.batch_execute("COMMIT").await.unwrap();
    assert_eq!(db.texts("SELECT count(*) FROM people").await, ["0"]);
}

#[tokio::test]
async fn a_run_that_waits_for_a_locked_table_of_mysql_can_be_cancelled() {
    let Some(mut db) = Maria::new().await else { return };
    let world = World::new().await;
    let (copy, _) = one_row(&world, &db.server, &db.name, json!({})).await;
    db.run("CREATE TABLE people (id int)").await;
    db.run("LOCK TABLES people WRITE").await;
    let run = world.api.run(&copy, json!({})).await;
    let others = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE DB = DATABASE() AND ID <> CONNECTION_ID()";
    db.until(&format!("{others} AND STATE LIKE 'Waiting for table metadata lock%'"), "1").await;
    cancelled(&world, &copy, &run).await;
    db.until(others, "0").await;
    db.run("UNLOCK TABLES").await;
}

/// A pipeline that merges a row by its id into the table `people` of a database, whose mails are unique.
async fn one_mail(world: &World, server: &Server, database: &str) -> String {
    world.file("one.jsonl", "{\"id\": 1, \"mail\": \"a\"}");
    let files = world.connector("files", "one.jsonl").await;
    let fields = json!([
        {"name": "id", "dataType": "integer", "isPrimaryKey": true},
        {"name": "mail", "dataType": "varchar", "length": 20, "isUnique": true}
    ]);
    let schema = world.schema("people", fields).await;
    let shop = connector(world, "shop", server, database, json!({})).await;
    pipeline(world, &files, &schema, json!({}), json!({"connectorId": shop, "loadMode": "upsert"})).await
}

#[tokio::test]
async fn a_run_that_looks_for_values_that_are_taken_can_be_cancelled() {
    let Some(db) = Postgres::new().await else { return };
    // Who reads its rows waits for a lock, and who asks for its columns does not.
    db.run(
        "CREATE TABLE kept (id int, mail varchar(20)); INSERT INTO kept VALUES (7, 'a'); \
         CREATE FUNCTION waits() RETURNS boolean LANGUAGE plpgsql AS \
         $$ BEGIN PERFORM pg_advisory_xact_lock(1); RETURN true; END $$; \
         CREATE VIEW people AS SELECT id, mail FROM kept WHERE waits()",
    )
    .await;
    let world = World::new().await;
    let copy = one_mail(&world, &db.server, &db.name).await;
    let lock = db.connect().await;
    lock.batch_execute("SELECT pg_advisory_lock(1)").await.unwrap();
    let run = world.api.run(&copy, json!({})).await;
    db.until(&format!("{WAITING} AND query LIKE 'UPDATE flowgate_staging%'"), "1").await;
    cancelled(&world, &copy, &run).await;
    db.until(CONNECTED, "0").await;
    lock.batch_execute("SELECT pg_advisory_unlock(1)").await.unwrap();
    assert_eq!(db.texts("SELECT id FROM kept").await, ["7"]);
}

#[tokio::test]
async fn a_run_that_looks_for_values_that_are_taken_in_mysql_can_be_cancelled() {
    let Some(mut db) = Either::maria().await else { return };
    db.run("CREATE TABLE people (id int PRIMARY KEY, mail varchar(20))").await;
    db.run("INSERT INTO people VALUES (7, 'a')").await;
    let world = World::new().await;
    let copy = one_mail(&world, db.server(), db.name()).await;
    // A statement that changes something locks the rows that it reads.
    db.hold("people").await;
    let run = world.api.run(&copy, json!({})).await;
    let looking = format!("{} AND INFO LIKE 'UPDATE flowgate_staging%'", db.connected());
    db.until(&looking, "1").await;
    cancelled(&world, &copy, &run).await;
    db.until(db.connected(), "0").await;
    db.release().await;
    assert_eq!(db.texts("SELECT id FROM people").await, ["7"]);
}

/// The most memory that a process had, in MiB.
fn peak(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.child.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[tokio::test]
async fn a_table_larger_than_the_memory_it_takes_is_streamed_through() {
    let Some(db) = Postgres::new().await else { return };
    // 600 MB as the wire carries them.
    db.run("CREATE TABLE people AS SELECT i AS id, repeat(md5(i::text), 94) AS long FROM generate_series(1, 200000) i")
        .await;
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir_all(&data).unwrap();
    let stack = Process::start(&data);
    let api = Api::new(&stack.url, &token(&data));
    let config = json!({"host": "127.0.0.1", "port": db.server.port, "database": db.name, "table": "people"});
    let body = json!({"name": "shop", "type": "postgresql", "config": config, "authMethod": "password",
        "authConfig": {"username": servers::USER, "password": servers::PASSWORD}});
    let shop = api.create("/connectors", &body).await;
    let fields = json!([{"name": "id", "dataType": "integer"}, {"name": "long", "dataType": "text"}]);
    let schema = api.create("/schemas", &json!({"name": "copied", "fields": fields})).await;
    let body = json!({"name": "p", "connectorId": shop, "schemaId": schema,
        "nodes": [{"id": "s", "nodeType": "source", "config": {}},
            {"id": "t", "nodeType": "target", "config": {"connectorId": shop}}],
        "edges": [{"source": "s", "target": "t"}]});
    let pipeline = api.create("/pipelines", &body).await;
    let before = peak(&stack);
    let run = api.run(&pipeline, json!({})).await;
    let run = api.finished(&pipeline, &run).await;
    assert_eq!((&run["status"], &run["rowsOut"]), (&json!("completed"), &json!(200_000)), "{run}");
    let grown = peak(&stack) - before;
    // A batch of 8,192 such rows has 24 MB, and some of them are under way at once.
    assert!(grown < 400, "it took {grown} MiB more for 600 MB");
    assert_eq!(db.texts("SELECT count(*) FROM (TABLE people EXCEPT TABLE copied) x").await, ["0"]);
    stack.kill();
}
