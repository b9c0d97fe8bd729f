//! Receipts of runs that read and write databases, which cannot be undone.

use super::{connector, pipeline};
use serde_json::{Value, json};
use tests::World;
use tests::servers::{Maria, Postgres, Server};

fn people() -> Value {
    json!([{"name": "id", "dataType": "bigint", "isPrimaryKey": true}, {"name": "name", "dataType": "varchar", "length": 5}])
}

async fn receipt(world: &World, run: &Value) -> Value {
    let path = format!("/pipelines/{}/runs/{}", run["pipelineId"].as_str().unwrap(), run["id"].as_str().unwrap());
    let refused = world.api.post(&format!("{path}/rollback"), &json!({"dryRun": true})).await;
    if run["status"] == "completed" && refused.status.as_u16() == 409 {
        assert_eq!(refused.json()["code"], "DATABASE_TARGET", "{}", refused.text);
    }
    world.api.get(&format!("{path}/receipt")).await.expect(200).json()
}

/// Copies a file into a table of the database, and the table into the lake; answers both receipts.
async fn both_ways(server: &Server, database: &str) -> (Value, Value) {
    let world = World::new().await;
    world.file("people.csv", "id,name\n1,Ada\n2,Bob\n");
    let files = world.connector("files", "people.csv").await;
    let db = connector(&world, "db", server, database, json!({})).await;
    let schema = world.schema("people", people()).await;
    let out = pipeline(&world, &files, &schema, json!({}), json!({"connectorId": db, "table": "copied"})).await;
    let run = world.run(&out).await;
    assert_eq!(run["status"], "completed", "{run}");
    let written = receipt(&world, &run).await;
    assert_eq!(written["targets"].as_array().unwrap().len(), 1);
    let target = &written["targets"][0];
    assert_eq!((&target["kind"], &target["rows"], &target["delta"]), (&json!("database"), &json!(2), &Value::Null));
    assert_eq!((&target["table"], &target["writtenBy"], &target["attempt"]), (&json!("copied"), &run["id"], &json!(1)));
    let ledger = json!({"connectorId": db, "ledger": "flowgate_runs", "runId": run["id"], "targetTable": "copied"});
    assert_eq!(target["database"], ledger);
    let back = pipeline(&world, &db, &schema, json!({"table": "copied"}), json!({})).await;
    let run = world.run(&back).await;
    assert_eq!(run["status"], "completed", "{run}");
    let read = receipt(&world, &run).await;
    assert_eq!((&read["inputs"][0]["database"]["table"], &read["inputs"][0]["rows"]), (&json!("copied"), &json!(2)));
    assert_eq!(read["inputs"][0]["files"], Value::Null);
    let text = [written.to_string(), read.to_string()].concat();
    assert!(!text.contains(tests::servers::PASSWORD), "{text}");
    (written, read)
}

#[tokio::test]
async fn a_receipt_names_the_ledger_and_the_snapshot_of_postgresql() {
    let Some(db) = Postgres::new().await else { return };
    let (_, read) = both_ways(&db.server, &db.name).await;
    assert!(read["inputs"][0]["database"]["snapshot"].is_string(), "{read}");
}

#[tokio::test]
async fn a_receipt_names_the_ledger_of_mysql() {
    let Some(db) = Maria::new().await else { return };
    let (_, read) = both_ways(&db.server, &db.name).await;
    assert_eq!(read["inputs"][0]["database"]["pieces"], 1);
}

/// The ledger as it was before it told attempts.
fn older_ledger(text: &str) -> String {
    format!(
        "CREATE TABLE flowgate_runs (run_id {text} NOT NULL, target_table {text} NOT NULL, state {text} NOT NULL, \
         rows_written bigint NOT NULL, rows_skipped bigint NOT NULL, rows_rejected bigint NOT NULL, \
         recorded_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP, PRIMARY KEY (run_id, target_table))"
    )
}

const OF_OLD: &str = "INSERT INTO flowgate_runs VALUES ('run_old', 'copied', 'committed', 1, 0, 0, CURRENT_TIMESTAMP)";
const ATTEMPTS: &str = "SELECT attempt FROM flowgate_runs ORDER BY attempt IS NULL DESC";

#[tokio::test]
async fn an_older_ledger_gets_a_column_for_attempts() {
    let Some(db) = Postgres::new().await else { return };
    db.run(&format!("{}; {OF_OLD}", older_ledger("text"))).await;
    both_ways(&db.server, &db.name).await;
    assert_eq!(db.texts(ATTEMPTS).await, ["NULL", "1"]);
}

#[tokio::test]
async fn an_older_ledger_of_mysql_gets_a_column_for_attempts() {
    let Some(mut db) = Maria::new().await else { return };
    db.run(&older_ledger("varchar(64)")).await;
    db.run(OF_OLD).await;
    both_ways(&db.server, &db.name).await;
    assert_eq!(db.texts(ATTEMPTS).await, ["NULL", "1"]);
}
