//! What others write while a run reads: each run sees one moment, and an incremental load goes on from there.

use super::{by_id, connector, pipeline, rejected};
use mysql_async::prelude::Queryable;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tests::World;
use tests::servers::{self, Maria, Postgres};
use tokio::task::JoinHandle;

/// Writes until it is stopped.
struct Writer {
    stop: Arc<AtomicBool>,
    task: JoinHandle<u64>,
}

impl Writer {
    /// Says `statement` again and again, with `{n}` for the number of the time.
    async fn start(db: &Maria, statement: &'static str) -> Self {
        let options = mysql_async::OptsBuilder::default()
            .ip_or_hostname("127.0.0.1")
            .tcp_port(db.server.port)
            .user(Some(servers::USER))
            .pass(Some(servers::PASSWORD))
            .db_name(Some(&db.name))
            .prefer_socket(false);
        let mut client = mysql_async::Conn::new(options).await.unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let mut times = 0;
            while !stopped.load(Ordering::Acquire) {
                times += 1;
                client.query_drop(statement.replace("{n}", &times.to_string())).await.unwrap();
            }
            times
        });
        Self { stop, task }
    }

    /// How often it wrote.
    async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Release);
        self.task.await.unwrap()
    }
}

/// A pipeline that reads the whole table `moves` in ranges of `k` into `schema`.
async fn in_ranges(world: &World, shop: &str, schema: &str, target: Value) -> String {
    let body = json!({
        "name": "p", "connectorId": shop, "schemaId": schema,
        "executionConfig": {"partitioning": {"strategy": "range", "column": "k", "count": 8}},
        "nodes": [{"id": "s", "nodeType": "source", "config": {}}, {"id": "t", "nodeType": "target", "config": target}],
        "edges": [{"source": "s", "target": "t"}],
    });
    world.api.create("/pipelines", &body).await
}

#[tokio::test]
async fn rows_of_mysql_that_move_between_ranges_are_read_once() {
    let Some(mut db) = Maria::new().await else { return };
    db.run("CREATE TABLE moves (id int PRIMARY KEY, k int)").await;
    db.run("INSERT INTO moves SELECT seq, seq FROM seq_1_to_4000").await;
    db.run(&format!("GRANT SELECT ON `{}`.* TO `only reads`@`%` IDENTIFIED BY 'x'", db.name)).await;
    let world = World::new().await;
    let shop = connector(&world, "shop", &db.server, &db.name, json!({"table": "moves"})).await;
    let config = json!({"host": "127.0.0.1", "port": db.server.port, "database": db.name, "table": "moves"});
    let reader = json!({"name": "reader", "type": "mysql", "config": config, "authMethod": "password",
        "authConfig": {"username": "only reads", "password": "x"}});
    let reader = world.api.create("/connectors", &reader).await;
    let schema = world.schema("moved", json!([{"name": "id", "dataType": "integer"}])).await;
    let writer = Writer::start(&db, "UPDATE moves SET k = 4001 - k").await;
    for (shop, alone) in [(&shop, false), (&reader, true)] {
        let copy = in_ranges(&world, shop, &schema, json!({"loadMode": "truncate"})).await;
        for _ in 0..3 {
            let run = world.run(&copy).await;
            assert_eq!(run["rowsOut"], 4000, "{run}");
            let ids = by_id(&world, &schema).await.into_iter().filter_map(|row| row["id"].as_u64());
            assert!(ids.eq(1..=4000));
            let path = format!("/pipelines/{copy}/runs/{}/progress", run["id"].as_str().unwrap());
            let said = world.api.get(&path).await.expect(200).text;
            assert_eq!(said.contains("one connection reads all pieces"), alone, "{said}");
        }
    }
    assert!(writer.stop().await > 1);
}

#[tokio::test]
async fn an_incremental_load_from_mysql_loses_no_row_that_is_written_meanwhile() {
    let Some(mut db) = Maria::new().await else { return };
    db.run("CREATE TABLE moves (seq bigint PRIMARY KEY, k int, KEY (k))").await;
    db.run("INSERT INTO moves SELECT -seq, seq FROM seq_1_to_4000").await;
    let world = World::new().await;
    let shop = connector(&world, "shop", &db.server, &db.name, json!({"table": "moves"})).await;
    let schema = world.schema("seen", json!([{"name": "seq", "dataType": "bigint"}])).await;
    let target = json!({"loadMode": "incremental_watermark", "watermarkColumn": "seq"});
    let load = in_ranges(&world, &shop, &schema, target).await;
    // Each comes later than those before it, somewhere in the ranges.
    let writer = Writer::start(&db, "INSERT INTO moves VALUES ({n}, ({n} * 7919) % 4000)").await;
    for _ in 0..4 {
        assert_eq!(world.run(&load).await["status"], "completed");
    }
    let written = writer.stop().await;
    assert_eq!(world.run(&load).await["status"], "completed");
    assert_eq!(world.api.rows(&schema).await.len() as u64, 4000 + written);
}

/// Loads a table of a database twice, and answers what came in the second time.
async fn twice(
    world: &World,
    shop: &str,
    name: &str,
    source: Value,
    fields: Value,
    mark: &str,
) -> (Value, Value, Value) {
    let schema = world.schema(&format!("{name}_{mark}"), fields).await;
    let target = json!({"loadMode": "incremental_watermark", "watermarkColumn": mark});
    let load = pipeline(world, shop, &schema, source, target).await;
    assert_eq!(world.run(&load).await["rowsOut"], 4);
    let run = world.run(&load).await;
    assert_eq!(run["status"], "completed", "{run}");
    (run["rowsIn"].clone(), run["rowsOut"].clone(), run["skippedRows"].clone())
}

fn fields() -> Value {
    json!([
        {"name": "id", "dataType": "bigint", "isPrimaryKey": true}, {"name": "at", "dataType": "timestamp"},
        {"name": "instant", "dataType": "timestamptz"}, {"name": "day", "dataType": "date"},
        {"name": "price", "dataType": "decimal", "precision": 10, "scale": 2}, {"name": "mark", "dataType": "text"}
    ])
}

/// Rows of which two have the greatest value of each column, but for its last digit.
const ROWS: &str = "(1, '2026-01-15 09:00:00.000001', '2026-01-15 09:00:00.000001', '2026-01-14', -1.25, 'a'),
    (2, '2026-01-15 09:00:00.000002', '2026-01-15 09:00:00.000002', '2026-01-14', 1.24, 'b'),
    (3, '2026-01-15 09:00:00.000003', '2026-01-15 09:00:00.000003', '2026-01-15', 1.25, 'c'),
    (4, '2026-01-15 09:00:00.000003', '2026-01-15 09:00:00.000003', '2026-01-15', 1.25, 'c')";

async fn only_what_is_past_the_watermark_is_asked_for(world: &World, shop: &str) {
    for mark in ["at", "instant", "day", "price"] {
        let table = json!({"table": "log"});
        assert_eq!(twice(world, shop, "t", table, fields(), mark).await, (json!(2), json!(0), json!(2)), "{mark}");
        let query = json!({"query": "SELECT * FROM log"});
        assert_eq!(twice(world, shop, "q", query, fields(), mark).await, (json!(2), json!(0), json!(2)), "{mark}");
    }
    let id = twice(world, shop, "t", json!({"table": "log"}), fields(), "id").await;
    assert_eq!(id, (json!(1), json!(0), json!(1)));
    // Whose order it is nobody knows.
    let mark = twice(world, shop, "t", json!({"table": "log"}), fields(), "mark").await;
    assert_eq!(mark, (json!(4), json!(0), json!(4)));
}

#[tokio::test]
async fn an_incremental_load_asks_mysql_only_for_what_is_past_the_watermark() {
    let Some(mut db) = Maria::new().await else { return };
    db.run("CREATE TABLE log (id bigint, at datetime(6), instant timestamp(6) NULL, day date, price decimal(10,2), mark text)")
        .await;
    db.run(&format!("INSERT INTO log VALUES {ROWS}")).await;
    let world = World::new().await;
    let shop = connector(&world, "shop", &db.server, &db.name, json!({})).await;
    only_what_is_past_the_watermark_is_asked_for(&world, &shop).await;
    let ordered = json!({"query": "SELECT * FROM log ORDER BY id"});
    assert_eq!(twice(&world, &shop, "o", ordered, fields(), "id").await, (json!(4), json!(0), json!(4)));
}

#[tokio::test]
async fn an_incremental_load_from_mysql_rejects_zero_dates_each_time() {
    let Some(mut db) = Maria::new().await else { return };
    db.run("CREATE TABLE log (id bigint, at datetime(6), instant timestamp(6) NULL, day date)").await;
    db.run("INSERT INTO log VALUES (1, '2026-01-15 09:00:00', '2026-01-15 09:00:00', '2026-01-15')").await;
    let world = World::new().await;
    let shop = connector(&world, "shop", &db.server, &db.name, json!({"table": "log"})).await;
    let mut loads = Vec::new();
    for (mark, kind) in [("at", "timestamp"), ("instant", "timestamptz"), ("day", "date")] {
        let fields = json!([{"name": "id", "dataType": "bigint"}, {"name": mark, "dataType": kind}]);
        let schema = world.schema(&format!("by_{mark}"), fields).await;
        let target = json!({"loadMode": "incremental_watermark", "watermarkColumn": mark});
        let load = pipeline(&world, &shop, &schema, json!({}), target).await;
        assert_eq!(world.run(&load).await["status"], "completed");
        loads.push((mark, load));
    }
    // Each has one zero; its other times are before the watermark, so that by these it is not asked for.
    let (old, zero) = ("'2026-01-01'", "'0000-00-00'");
    db.run(&format!(
        "INSERT INTO log VALUES (2, {zero}, {old}, {old}), (3, {old}, {zero}, {old}), (4, {old}, {old}, {zero})"
    ))
    .await;
    for (mark, load) in &loads {
        for _ in 0..2 {
            let run = world.run(load).await;
            let counts = (&run["rowsIn"], &run["rowsOut"], &run["skippedRows"], &run["failedRows"]);
            assert_eq!(counts, (&json!(2), &json!(0), &json!(1), &json!(1)), "{mark}: {run}");
            let told: Vec<_> =
                rejected(&world, load, &run).await.into_iter().map(|(_, column, value)| (column, value)).collect();
            assert_eq!(told, [((*mark).to_owned(), Some("0000-00-00".to_owned()))]);
        }
    }
}

#[tokio::test]
async fn an_incremental_load_asks_postgresql_only_for_what_is_past_the_watermark() {
    let Some(db) = Postgres::new().await else { return };
    db.run("SET TimeZone = 'UTC'; CREATE TABLE log (id bigint, at timestamp, instant timestamptz, day date, price numeric(10,2), mark text)")
        .await;
    db.run(&format!("SET TimeZone = 'UTC'; INSERT INTO log VALUES {ROWS}")).await;
    let world = World::new().await;
    let shop = connector(&world, "shop", &db.server, &db.name, json!({})).await;
    only_what_is_past_the_watermark_is_asked_for(&world, &shop).await;
}
