//! Incremental loads into tables of databases: the watermark lies beside the table and moves with its rows.

use super::{by_id, connector, pipeline};
use serde_json::{Value, json};
use tests::World;
use tests::servers::{Maria, Postgres, Server};

/// A table of people, to which files are brought past a watermark.
struct Loads<'a> {
    world: &'a World,
    shop: &'a str,
    schema: String,
    load: String,
}

impl<'a> Loads<'a> {
    async fn new(world: &'a World, shop: &'a str, name: &str, fields: Value, watermark: &str) -> Self {
        let schema = world.schema(name, fields).await;
        let files = world.connector(&format!("files of {name}"), &format!("{name}.jsonl")).await;
        let target = json!({"connectorId": shop, "loadMode": "incremental_watermark", "watermarkColumn": watermark});
        let load = pipeline(world, &files, &schema, json!({}), target).await;
        Self { world, shop, schema: name.to_owned(), load }
    }

    /// Rows that came in, and rows that were left out.
    async fn load(&self, rows: &[Value]) -> (Value, Value) {
        let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
        self.world.file(&format!("{}.jsonl", self.schema), lines.join("\n"));
        let run = self.world.run(&self.load).await;
        assert_eq!((&run["status"], &run["failedRows"]), (&json!("completed"), &json!(0)), "{run}");
        (run["rowsOut"].clone(), run["skippedRows"].clone())
    }

    /// The table's rows, by way of the lake.
    async fn rows(&self, fields: Value) -> Vec<Value> {
        let back = self.world.schema(&format!("{}_back", self.schema), fields).await;
        let read =
            pipeline(self.world, self.shop, &back, json!({"table": self.schema}), json!({"loadMode": "truncate"}))
                .await;
        assert_eq!(self.world.run(&read).await["status"], "completed");
        by_id(self.world, &back).await
    }
}

async fn ties_are_neither_lost_nor_doubled(world: &World, server: &Server, database: &str) {
    let shop = connector(world, "shop", server, database, json!({})).await;
    let by_key = json!([
        {"name": "id", "dataType": "integer", "isPrimaryKey": true}, {"name": "at", "dataType": "timestamptz"},
        {"name": "name", "dataType": "text"}
    ]);
    let loads = Loads::new(world, &shop, "by_key", by_key.clone(), "at").await;
    let row = |id: u32, at: &str| json!({"id": id, "at": format!("2026-01-0{at}Z"), "name": "x"});
    let (a, b, c) = (row(1, "1T00:00:00"), row(2, "2T10:00:00.000001"), row(3, "2T10:00:00.000001"));
    assert_eq!(loads.load(&[a.clone(), b.clone(), c.clone()]).await, (json!(3), json!(0)));
    let (tie, late, new) = (row(4, "2T10:00:00.000001"), row(5, "2T10:00:00"), row(6, "3T00:00:00"));
    assert_eq!(loads.load(&[a, b, c, tie, late, new.clone()]).await, (json!(2), json!(4)));
    assert_eq!(loads.load(std::slice::from_ref(&new)).await, (json!(0), json!(1)));
    let ids: Vec<Value> = loads.rows(by_key).await.iter().map(|row| row["id"].clone()).collect();
    assert_eq!(ids, [json!(1), json!(2), json!(3), json!(4), json!(6)]);

    // Without a key all columns say which rows are the same.
    let by_all = json!([
        {"name": "id", "dataType": "integer"}, {"name": "price", "dataType": "decimal", "precision": 20, "scale": 2},
        {"name": "mark", "dataType": "varchar", "length": 10}, {"name": "ratio", "dataType": "double"},
        {"name": "day", "dataType": "date"}, {"name": "yes", "dataType": "boolean"}, {"name": "one", "dataType": "uuid"}
    ]);
    let loads = Loads::new(world, &shop, "by_all", by_all.clone(), "mark").await;
    let full = json!({"id": 1, "price": "12345678901234567.89", "mark": "b'\\", "ratio": 0.1, "day": "1969-12-31",
        "yes": true, "one": "0191d3a4-0000-7000-8000-00000000abcd"});
    let nulls = json!({"id": 2, "mark": "b'\\"});
    assert_eq!(loads.load(&[full.clone(), full.clone(), nulls.clone()]).await, (json!(3), json!(0)));
    let three = [full.clone(), full.clone(), full.clone(), nulls, json!({"id": 3, "mark": "B"})];
    // One more of the same, and one that is before them: upper case letters come first.
    assert_eq!(loads.load(&three).await, (json!(1), json!(4)));
    let ids: Vec<Value> = loads.rows(by_all).await.iter().map(|row| row["id"].clone()).collect();
    assert_eq!(ids, [json!(1), json!(1), json!(1), json!(2)]);
    let whole = json!([{"name": "id", "dataType": "bigint"}]);
    let loads = Loads::new(world, &shop, "whole", whole.clone(), "id").await;
    // A double could not tell these apart.
    let id = |id: i64| json!({"id": id});
    assert_eq!(loads.load(&[id(9_007_199_254_740_992)]).await, (json!(1), json!(0)));
    let both = [id(9_007_199_254_740_992), id(9_007_199_254_740_993)];
    assert_eq!(loads.load(&both).await, (json!(1), json!(1)));
    assert_eq!(loads.rows(whole).await, both);
}

#[tokio::test]
async fn an_incremental_load_into_postgresql_loses_and_doubles_nothing() {
    let Some(db) = Postgres::new().await else { return };
    ties_are_neither_lost_nor_doubled(&World::new().await, &db.server, &db.name).await;
    assert_eq!(db.texts("SELECT value FROM flowgate_watermarks WHERE target_table = 'by_all'").await, ["b'\\"]);
}

#[tokio::test]
async fn an_incremental_load_into_mysql_loses_and_doubles_nothing() {
    let Some(mut db) = Maria::new().await else { return };
    ties_are_neither_lost_nor_doubled(&World::new().await, &db.server, &db.name).await;
    assert_eq!(db.texts("SELECT value FROM flowgate_watermarks WHERE target_table = 'by_all'").await, ["b'\\"]);
}

#[tokio::test]
async fn a_text_that_is_too_long_for_a_watermark_keeps_the_rows_out_of_a_database() {
    let Some(db) = Postgres::new().await else { return };
    let world = World::new().await;
    let shop = connector(&world, "shop", &db.server, &db.name, json!({})).await;
    let fields = json!([{"name": "id", "dataType": "integer"}, {"name": "mark", "dataType": "text"}]);
    let loads = Loads::new(&world, &shop, "marks", fields, "mark").await;
    world.file("marks.jsonl", json!({"id": 1, "mark": "x".repeat(1025)}).to_string());
    let run = world.run(&loads.load).await;
    assert_eq!((&run["status"], &run["error"]["code"]), (&json!("failed"), &json!("TARGET_ERROR")), "{run}");
    let message = run["error"]["message"].as_str().unwrap();
    assert!(message.contains("\"mark\" has 1025 bytes"), "{message}");
    assert!(db.texts("SELECT id FROM marks").await.is_empty());
    assert_eq!(loads.load(&[json!({"id": 2, "mark": "x".repeat(1024)})]).await, (json!(1), json!(0)));
}

#[tokio::test]
async fn a_watermark_that_moved_in_the_meantime_keeps_the_rows_out() {
    let Some(db) = Postgres::new().await else { return };
    let world = World::new().await;
    let shop = connector(&world, "shop", &db.server, &db.name, json!({})).await;
    let fields = json!([{"name": "id", "dataType": "bigint"}]);
    let loads = Loads::new(&world, &shop, "moved", fields, "id").await;
    assert_eq!(loads.load(&[json!({"id": 1})]).await, (json!(1), json!(0)));
    world.file("moved.jsonl", "{\"id\": 2}");
    // Somebody else is at its commit, and was faster.
    db.run("BEGIN; UPDATE flowgate_watermarks SET value = '2', run_id = 'run_other'").await;
    let run = world.api.run(&loads.load, json!({})).await;
    let other = db.connect().await;
    let waits = "SELECT count(*)::text FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'UPDATE %watermarks%'";
    let deadline = std::time::Instant::now() + tests::DEADLINE;
    loop {
        let row = other.query_one(waits, &[]).await.unwrap();
        if row.get::<_, String>(0) == "1" {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "the run does not come to its commit");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    db.run("INSERT INTO moved VALUES (2); COMMIT").await;
    let run = world.api.finished(&loads.load, &run).await;
    assert_eq!((&run["status"], &run["error"]["code"]), (&json!("failed"), &json!("TARGET_UNAVAILABLE")), "{run}");
    let message = run["error"]["message"].as_str().unwrap();
    assert!(message.contains("another run has brought rows past the watermark"), "{message}");
    assert_eq!(db.texts("SELECT id FROM moved ORDER BY id").await, ["1", "2"]);
    // Tried again, it finds the row there.
    assert_eq!(loads.load(&[json!({"id": 2}), json!({"id": 3})]).await, (json!(1), json!(1)));
}
