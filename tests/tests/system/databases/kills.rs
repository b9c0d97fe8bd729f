//! Each row lands once, in both kinds of databases: kills, pauses, late commits, and settling.

use super::either::Either;
use crate::processes::{Process, token};
use serde_json::json;
use std::path::Path;
use std::time::{Duration, Instant};
use tests::servers::{self, Server};
use tests::{Api, World};
use worker::engine::job::Connector;

/// A pipeline of a stack of its own from five lines into the table `people`, with its run.
pub async fn started(api: &Api, data: &Path, server: &Server, database: &str) -> (String, String) {
    let lines: Vec<String> = (1..=5).map(|id| json!({"id": id}).to_string()).collect();
    std::fs::write(data.join("rows.jsonl"), lines.join("\n")).unwrap();
    let body = json!({"name": "files", "type": "local_fs", "config": {"path": "rows.jsonl"}});
    let files = api.create("/connectors", &body).await;
    let config = json!({"host": "127.0.0.1", "port": server.port, "database": database});
    let body = json!({"name": "shop", "type": server.kind(), "config": config, "authMethod": "password",
        "authConfig": {"username": servers::USER, "password": servers::PASSWORD}});
    let shop = api.create("/connectors", &body).await;
    let fields = json!([{"name": "id", "dataType": "integer"}]);
    let schema = api.create("/schemas", &json!({"name": "people", "fields": fields})).await;
    let body = json!({"name": "p", "connectorId": files, "schemaId": schema,
        "nodes": [{"id": "s", "nodeType": "source", "config": {}},
            {"id": "t", "nodeType": "target", "config": {"connectorId": shop}}],
        "edges": [{"source": "s", "target": "t"}]});
    let pipeline = api.create("/pipelines", &body).await;
    let run = api.run(&pipeline, json!({})).await;
    (pipeline, run)
}

/// Whether the run's rows are in `people`; from now on they never come in where they are not.
async fn settle(shop: &Connector, run: &str) -> bool {
    worker::targets::database::settle(shop, "people", run, &[]).await.unwrap().is_in()
}

/// A stack that is a process of its own, with a run that has staged its rows and waits in the middle of its commit.
struct Waiting {
    stack: Process,
    /// What it keeps, and its files.
    folder: tempfile::TempDir,
    token: String,
    pipeline: String,
    run: String,
}

impl Waiting {
    /// Holds the table `people`, for which the run waits.
    async fn start(db: &mut Either) -> Self {
        db.run("CREATE TABLE people (id int)").await;
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        std::fs::create_dir_all(&data).unwrap();
        let stack = Process::start(&data);
        let token = token(&data);
        db.hold("people").await;
        let api = Api::new(&stack.url, &token);
        let (pipeline, run) = started(&api, &data, db.server(), db.name()).await;
        db.until(&db.waiting("people"), "1").await;
        Self { stack, folder, token, pipeline, run }
    }

    fn kill_and_restart(&mut self) {
        self.stack.kill_and_restart(&self.folder.path().join("data"));
    }

    /// Waits until the run has ended, which it does with all its rows; the attempt that has ended it.
    async fn completed(&self) -> u64 {
        let ended = Api::new(&self.stack.url, &self.token).finished(&self.pipeline, &self.run).await;
        assert_eq!((&ended["status"], &ended["rowsOut"]), (&json!("completed"), &json!(5)), "{ended}");
        ended["attempt"].as_u64().unwrap()
    }
}

async fn a_run_killed_before_its_commit(mut db: Either) {
    let mut waiting = Waiting::start(&mut db).await;
    waiting.kill_and_restart();
    db.release().await;
    assert!(waiting.completed().await >= 2);
    assert_eq!(db.texts("SELECT count(*) FROM people").await, ["5"]);
    assert_eq!(db.texts("SELECT count(*) FROM flowgate_runs").await, ["1"]);
    db.until(db.staged(), "0").await;
    waiting.stack.kill();
}

#[tokio::test]
async fn a_run_killed_before_its_commit_lands_once_and_leaves_nothing_staged_in_postgresql() {
    let Some(db) = Either::postgres().await else { return };
    a_run_killed_before_its_commit(db).await;
}

#[tokio::test]
async fn a_run_killed_before_its_commit_lands_once_and_leaves_nothing_staged_in_mysql() {
    let Some(db) = Either::maria().await else { return };
    a_run_killed_before_its_commit(db).await;
}

async fn a_run_killed_after_its_commit(mut db: Either) {
    let mut waiting = Waiting::start(&mut db).await;
    // The worker stops and hears of nothing more, while the server goes on with the commit that it was sent.
    waiting.stack.pause().await;
    db.as_holder("INSERT INTO people VALUES (100)").await;
    db.release().await;
    // It never came to COMMIT, so its transaction hangs; the next worker waits for it until the connection is gone.
    waiting.kill_and_restart();
    waiting.completed().await;
    assert_eq!(db.texts("SELECT count(*) FROM people").await, ["6"]);
    // Redelivered, as if its end had been lost: the ledger knows the run.
    let settled = settle(&db.connector(), &waiting.run).await;
    assert!(settled, "the ledger does not know the run");
    assert_eq!(db.texts("SELECT concat(state, rows_written) FROM flowgate_runs").await, ["committed5"]);
    waiting.stack.kill();
}

#[tokio::test]
async fn a_run_killed_after_its_commit_finds_it_and_writes_nothing_again_in_postgresql() {
    let Some(db) = Either::postgres().await else { return };
    a_run_killed_after_its_commit(db).await;
}

#[tokio::test]
async fn a_run_killed_after_its_commit_finds_it_and_writes_nothing_again_in_mysql() {
    let Some(db) = Either::maria().await else { return };
    a_run_killed_after_its_commit(db).await;
}

async fn a_run_that_is_paused_in_its_transaction(mut db: Either) {
    let waiting = Waiting::start(&mut db).await;
    waiting.stack.pause().await;
    db.release().await;
    let left_alone = db.left_alone();
    db.until(&left_alone, "1").await;
    // The server waits for a minute.
    let paused = Instant::now();
    while db.texts(&left_alone).await != ["0"] {
        assert!(paused.elapsed() < Duration::from_secs(90), "the transaction is still open");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(db.texts("SELECT count(*) FROM people").await, ["0"]);
    waiting.stack.signal("-CONT");
    waiting.completed().await;
    assert_eq!(db.texts("SELECT count(*) FROM people").await, ["5"]);
    assert_eq!(db.texts("SELECT count(*) FROM flowgate_runs").await, ["1"]);
    db.until(db.connected(), "0").await;
    waiting.stack.kill();
}

#[tokio::test]
async fn a_run_that_is_paused_in_its_transaction_until_postgresql_gives_it_up_lands_once() {
    let Some(db) = Either::postgres().await else { return };
    a_run_that_is_paused_in_its_transaction(db).await;
}

#[tokio::test]
async fn a_run_that_is_paused_in_its_transaction_until_mysql_gives_it_up_lands_once() {
    let Some(db) = Either::maria().await else { return };
    a_run_that_is_paused_in_its_transaction(db).await;
}

async fn a_commit_that_comes_after_its_run_was_settled(mut db: Either) {
    db.run("CREATE TABLE people (id int)").await;
    let shop = db.connector();
    assert!(!settle(&shop, "run_that_nobody_knows").await);
    // The run stages and waits at the ledger, where somebody settles it.
    db.hold("flowgate_runs").await;
    let world = World::new().await;
    let (pipeline, run) = started(&world.api, world.stack.files_root(), db.server(), db.name()).await;
    let waiting = db.waiting("flowgate_runs");
    db.until(&waiting, "1").await;
    let void = format!(
        "INSERT INTO flowgate_runs (run_id, target_table, state, rows_written, rows_skipped, rows_rejected) \
         VALUES ('{run}', 'people', 'void', 0, 0, 0)"
    );
    db.as_holder(&void).await;
    db.release().await;
    db.until(&waiting, "0").await;
    db.until(db.connected(), "0").await;
    assert_eq!(db.texts("SELECT count(*) FROM people").await, ["0"]);
    assert!(!settle(&shop, &run).await, "what is settled stays so");
    let seen = world.api.get(&format!("/pipelines/{pipeline}/runs/{run}")).await.expect(200).json();
    assert_ne!(seen["status"], "completed", "{seen}");
}

#[tokio::test]
async fn a_commit_to_postgresql_that_comes_after_its_run_was_settled_changes_nothing() {
    let Some(db) = Either::postgres().await else { return };
    a_commit_that_comes_after_its_run_was_settled(db).await;
}

#[tokio::test]
async fn a_commit_to_mysql_that_comes_after_its_run_was_settled_changes_nothing() {
    let Some(db) = Either::maria().await else { return };
    a_commit_that_comes_after_its_run_was_settled(db).await;
}

async fn settling_waits_for_a_commit(mut db: Either) {
    db.run("CREATE TABLE people (id int)").await;
    db.hold("people").await;
    let world = World::new().await;
    let (pipeline, run) = started(&world.api, world.stack.files_root(), db.server(), db.name()).await;
    db.until(&db.waiting("people"), "1").await;
    let shop = db.connector();
    let (settled, ()) = tokio::join!(settle(&shop, &run), async {
        db.until(&db.waiting("flowgate_runs"), "1").await;
        db.release().await;
    });
    assert!(settled, "the rows are in, and it was said that they never will be");
    assert_eq!(world.api.finished(&pipeline, &run).await["status"], "completed");
    assert_eq!(db.texts("SELECT count(*) FROM people").await, ["5"]);
}

#[tokio::test]
async fn settling_waits_for_a_commit_to_postgresql_that_is_under_way() {
    let Some(db) = Either::postgres().await else { return };
    settling_waits_for_a_commit(db).await;
}

#[tokio::test]
async fn settling_waits_for_a_commit_to_mysql_that_is_under_way() {
    let Some(db) = Either::maria().await else { return };
    settling_waits_for_a_commit(db).await;
}
