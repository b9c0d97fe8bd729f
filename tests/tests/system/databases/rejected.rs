//! Rejected rows that are kept beside the table of a schema while the others go to a database: they stay or go with these.

use super::connector;
use super::either::Either;
use crate::attempts::People;
use crate::wait;
use serde_json::{Value, json};
use shared::clock::Clock;
use shared::models::run::Run;
use shared::models::time::Time;
use shared::queue::Task;
use std::path::PathBuf;
use std::time::Duration;

/// A target: a table of the database, or that of the schema where it names none.
type To = Option<&'static str>;

/// People of whom one has no number: he is rejected on his way to these targets, and kept.
async fn people(shop: Option<&Either>, targets: &[To]) -> People {
    let people = People::new().await;
    people.world.file("people.csv", "id,name\n1,Ada\nx,Bob\n");
    let shop = match shop {
        Some(db) => connector(&people.world, "shop", db.server(), db.name(), json!({})).await,
        None => away(&people).await,
    };
    let of = |to: &To| to.map_or(json!({}), |table| json!({"connectorId": shop, "table": table}));
    let mut nodes = vec![json!({"id": "s", "nodeType": "source", "config": {}})];
    let mut edges = Vec::new();
    for (place, to) in targets.iter().enumerate() {
        let id = format!("t{place}");
        nodes.push(json!({"id": id, "nodeType": "target", "config": of(to)}));
        edges.push(json!({"source": "s", "target": id}));
    }
    let body = json!({"nodes": nodes, "edges": edges,
        "executionConfig": {"errorHandling": {"onError": "deadLetter"}, "retry": {"maxAttempts": 1}}});
    people.world.api.put(&format!("/pipelines/{}", people.pipeline), &body).await.expect(200);
    people
}

/// A connector to a database that is not there.
async fn away(people: &People) -> String {
    let body = json!({
        "name": "away", "type": "postgresql", "config": {"host": "127.0.0.1", "port": 1, "database": "d"},
        "authMethod": "password", "authConfig": {"username": "u", "password": "p"}
    });
    people.world.api.create("/connectors", &body).await
}

/// The runs of the rejected rows that are kept, as these say.
async fn kept(people: &People) -> Vec<String> {
    let path = format!("/schemas/{}/data?rejected=true", people.schema);
    let page = people.world.api.get(&path).await.expect(200).json();
    page["data"].as_array().unwrap().iter().map(|row| row["run_id"].as_str().unwrap().to_owned()).collect()
}

/// The table of the rejected rows.
fn folder(people: &People) -> PathBuf {
    people.world.lake().join(format!("{}_rejected", people.schema))
}

/// A file of rejected rows that an attempt has staged.
fn staged(people: &People, run: &Run) -> PathBuf {
    let folder = folder(people).join(&run.id).join("1-0123");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("part-0.parquet"), "rows").unwrap();
    folder.join("part-0.parquet")
}

/// The runs in the log of the rejected rows, each with the version of its transaction, oldest first.
fn transactions(people: &People) -> Vec<(String, i64)> {
    let entries = std::fs::read_dir(folder(people).join("_delta_log")).unwrap();
    let mut entries: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    entries.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    entries.sort();
    let text: String = entries.iter().map(|path| std::fs::read_to_string(path).unwrap() + "\n").collect();
    let actions = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let transaction =
        |action: Value| Some((action["txn"]["appId"].as_str()?.to_owned(), action["txn"]["version"].as_i64()?));
    actions.filter_map(transaction).collect()
}

/// Runs it as it is, so that the table of its rejected rows is there with one; answers the run.
async fn first(people: &People) -> String {
    let run = people.world.run(&people.pipeline).await;
    assert_eq!((&run["status"], &run["failedRows"]), (&json!("completed_with_errors"), &json!(1)), "{run}");
    let id = run["id"].as_str().unwrap().to_owned();
    assert_eq!(kept(people).await, [id.as_str()]);
    id
}

async fn a_run_that_the_database_refuses(mut db: Either) {
    db.run("CREATE TABLE people (id int CHECK (id < 100), name text)").await;
    let people = people(Some(&db), &[Some("people")]).await;
    let world = &people.world;
    world.file("people.csv", "id,name\n1,Ada\nx,Bob\n100,Cyd\n");
    let run = world.run(&people.pipeline).await;
    assert_eq!((&run["status"], &run["error"]["code"]), (&json!("failed"), &json!("TARGET_ERROR")), "{run}");
    let id = run["id"].as_str().unwrap();
    assert_eq!(transactions(&people), [(id.to_owned(), 1), (id.to_owned(), 0)], "they were in, and are taken out");
    assert_eq!(kept(&people).await, [""; 0]);
    let path = format!("/pipelines/{}/runs/{id}", people.pipeline);
    let receipt = world.api.get(&format!("{path}/receipt")).await.expect(200).json();
    assert_eq!(receipt["targets"], json!([]), "{receipt}");
    world.file("people.csv", "id,name\n1,Ada\nx,Bob\n");
    let retry = world.api.create(&format!("{path}/retry"), &json!({})).await;
    let ended = world.api.finished(&people.pipeline, &retry).await;
    assert_eq!(ended["status"], "completed_with_errors", "{ended}");
    assert_eq!(kept(&people).await, [retry.as_str()]);
    assert_eq!(db.texts("SELECT count(*) FROM people").await, ["1"]);
}

#[tokio::test]
async fn a_run_that_postgresql_refuses_takes_its_rejected_rows_out_again() {
    let Some(db) = Either::postgres().await else { return };
    a_run_that_the_database_refuses(db).await;
}

#[tokio::test]
async fn a_run_that_mysql_refuses_takes_its_rejected_rows_out_again() {
    let Some(db) = Either::maria().await else { return };
    a_run_that_the_database_refuses(db).await;
}

#[tokio::test]
async fn rejected_rows_beside_a_database_are_kept_out_once_their_run_is_settled() {
    let Some(mut db) = Either::postgres().await else { return };
    db.run("CREATE TABLE people (id int, name text)").await;
    let people = people(Some(&db), &[Some("people")]).await;
    let before = first(&people).await;
    // Its worker stopped before the commit of the rejected rows, and may go on at any time.
    let run = people.run().await;
    people.lost_in_commit(&run, 60).await;
    let staged = staged(&people, &run);
    people.send(Task::Settle, &run).await;
    let ended = people.finished(&run).await;
    assert_eq!(
        (&ended["status"], &ended["error"]["code"]),
        (&json!("failed"), &json!("DELIVERED_TOO_OFTEN")),
        "{ended}"
    );
    assert_eq!(transactions(&people).last(), Some(&(run.id.clone(), 0)), "a late commit meets this");
    assert!(!staged.exists(), "what no commit can take any more is still there");
    assert_eq!(kept(&people).await, [before]);
}

/// Settles a run whose rejected row is in, and whose other one is in these tables of the database and in no other table;
/// answers its status and how many rejected rows are left.
async fn settled(db: &mut Either, targets: &[To], there: &[&str]) -> (String, usize) {
    let people = people(Some(&*db), targets).await;
    let first = first(&people).await;
    let run = people.run().await;
    people.lost_in_commit(&run, 60).await;
    // Both ids have the same length.
    let log = folder(&people).join("_delta_log/00000000000000000001.json");
    let text = std::fs::read_to_string(&log).unwrap();
    std::fs::write(&log, text.replace(&first, &run.id)).unwrap();
    std::fs::rename(folder(&people).join(&first), folder(&people).join(&run.id)).unwrap();
    for table in there {
        let entry = format!(
            "INSERT INTO flowgate_runs (run_id, target_table, state, rows_written, rows_skipped, rows_rejected) \
             VALUES ('{}', '{table}', 'committed', 1, 0, 1)",
            run.id
        );
        db.run(&entry).await;
    }
    let staged = staged(&people, &run);
    people.send(Task::Settle, &run).await;
    let ended = people.finished(&run).await;
    assert!(!staged.exists(), "{targets:?}, {there:?}: what no commit took is still there");
    (ended["status"].as_str().unwrap().to_owned(), kept(&people).await.len())
}

#[tokio::test]
async fn rejected_rows_stay_where_one_of_the_targets_beside_which_they_are_kept_has_the_rows_of_their_run() {
    let Some(mut db) = Either::postgres().await else { return };
    db.run("CREATE TABLE people (id int, name text); CREATE TABLE others (id int, name text)").await;
    let (people, others, lake): (To, To, To) = (Some("people"), Some("others"), None);
    for (targets, there, is_done, left) in [
        (vec![people], vec!["people"], true, 1),
        (vec![people], vec![], false, 0),
        (vec![people, others], vec!["others"], false, 1),
        (vec![people, others], vec![], false, 0),
        (vec![people, lake], vec!["people"], false, 1),
        (vec![lake, people], vec![], false, 0),
    ] {
        let (status, found) = settled(&mut db, &targets, &there).await;
        let case = format!("{targets:?}, {there:?}: {status}");
        assert_eq!((status.starts_with("completed"), found), (is_done, left), "{case}");
    }
}

#[tokio::test]
async fn rejected_rows_that_an_attempt_staged_before_it_died_go_with_its_cancelled_run() {
    let people = people(None, &[Some("people")]).await;
    let run = people.run().await;
    people.lost(&run, 60).await;
    let staged = staged(&people, &run);
    let path = format!("/pipelines/{}/runs/{}/cancel", people.pipeline, run.id);
    people.world.api.post(&path, &json!({})).await.expect(202);
    people.send(Task::Run, &run).await;
    let ended = people.finished(&run).await;
    assert_eq!((&ended["status"], &ended["attempt"]), (&json!("cancelled"), &json!(2)), "{ended}");
    wait("what was staged is removed", async || !staged.exists()).await;
}

#[tokio::test]
async fn rejected_rows_that_an_attempt_staged_before_it_died_go_with_its_deleted_pipeline() {
    let people = people(None, &[Some("people")]).await;
    let run = people.run().await;
    let held = people.lost(&run, 60).await;
    let staged = staged(&people, &run);
    let store = &people.world.stack.services().store;
    let now = Time(Clock::default().now());
    // It waits for its next attempt, so that it is cancelled without a worker.
    assert!(store.give_back(&held, &held.given_too_often(), Duration::ZERO, now).await.unwrap());
    people.world.api.delete(&format!("/pipelines/{}", people.pipeline)).await.expect(204);
    wait("the pipeline is purged", async || !store.is_deleted("acme", &people.pipeline).await.unwrap()).await;
    assert!(!staged.exists(), "what was staged is still there");
}
