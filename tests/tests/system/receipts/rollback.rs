//! Runs that are undone: what goes, what comes back, and what forbids it.

use super::{People, path, people, receipt, retried, rollback, rows, to};
use crate::python::{self, Tools};
use serde_json::{Value, json};
use shared::clock::Clock;
use shared::id::{self as ids, Prefix};
use shared::launch;
use shared::models::run::{Run, Trigger};
use shared::models::time::Time;
use shared::store::Store;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use tests::World;

fn code(answer: &tests::Answer) -> String {
    answer.json()["code"].as_str().unwrap().to_owned()
}

fn id(run: &Value) -> &str {
    run["id"].as_str().unwrap()
}

/// How many versions the table has had.
fn versions(people: &People) -> usize {
    let log = std::fs::read_dir(people.world.lake().join(&people.schema).join("_delta_log")).unwrap();
    log.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|e| e == "json")).count()
}

#[tokio::test]
async fn appended_rows_go_whatever_was_appended_since_and_only_once() {
    let people = People::new().await;
    let api = &people.world.api;
    let pipeline = people.pipeline(&[json!({})]).await;
    let first = people.run(&pipeline, "1,Ada\n2,Bob\n").await;
    people.run(&pipeline, "3,Cy\n").await;
    let would = rollback(api, &first, json!({"dryRun": true})).await.expect(200).json();
    assert_eq!((&would["dryRun"], &would["rolledBack"], &would["runId"]), (&json!(true), &Value::Null, &first["id"]));
    let table = &would["tables"][0];
    let told = ["undoes", "version", "filesRemoved", "rowsRemoved", "filesRestored", "rowsRestored"];
    assert_eq!(told.map(|key| table[key].as_u64().unwrap()), [1, 3, 1, 2, 0, 0], "{would}");
    assert_eq!((rows(api, &people.schema).await.len(), versions(&people)), (3, 3));
    let did = rollback(api, &first, json!({})).await.expect(200).json();
    assert_eq!(did["tables"], would["tables"]);
    assert_eq!((&did["dryRun"], &did["rolledBack"]["version"]), (&json!(false), &json!(3)));
    assert_eq!(rows(api, &people.schema).await, ["3:Cy"]);
    // The run stays what it was, and says what became of it.
    let run = api.get(&path(&first)).await.expect(200).json();
    assert_eq!((&run["status"], &run["rolledBack"]), (&json!("completed"), &did["rolledBack"]));
    assert_eq!(receipt(api, &first).await["rolledBack"], did["rolledBack"]);
    for body in [json!({}), json!({"dryRun": true})] {
        let again = rollback(api, &first, body).await.expect(409);
        assert_eq!(code(&again), "ALREADY_ROLLED_BACK");
        assert!(again.text.contains("rolled back at"), "{}", again.text);
    }
    assert_eq!(versions(&people), 4);
    assert_eq!(rollback(api, &first, json!({"dryrun": true})).await.expect(400).pointers(), ["/dryrun"]);
}

#[tokio::test]
async fn a_run_that_was_rolled_back_can_be_retried() {
    let people = People::new().await;
    let api = &people.world.api;
    let pipeline = people.pipeline(&[json!({})]).await;
    let run = people.run(&pipeline, "1,Ada\n").await;
    let refused = api.post(&format!("{}/retry", path(&run)), &json!({})).await.expect(409);
    assert_eq!(code(&refused), "RUN_NOT_RETRYABLE");
    rollback(api, &run, json!({})).await.expect(200);
    let retry = retried(api, &run).await;
    assert_eq!((&retry["status"], &retry["rowsOut"]), (&json!("completed"), &json!(1)), "{retry}");
    assert_eq!(rows(api, &people.schema).await, ["1:Ada"]);
    assert_eq!(receipt(api, &retry).await["targets"][0]["writtenBy"], retry["id"]);
    // Neither are the rows of the one that was rolled back replaced a second time.
    let run = people.run(&pipeline, "2,Bob\nx,Cy\n").await;
    assert_eq!(run["status"], "completed_with_errors");
    rollback(api, &run, json!({})).await.expect(200);
    people.world.file("people.csv", "id,name\n2,Bob\n3,Cy\n");
    assert_eq!(retried(api, &run).await["status"], "completed");
    assert_eq!(rows(api, &people.schema).await, ["1:Ada", "2:Bob", "3:Cy"]);
}

#[tokio::test]
async fn a_retry_that_is_rolled_back_gives_the_table_to_the_run_before() {
    let people = People::new().await;
    let api = &people.world.api;
    let pipeline = people.pipeline(&[json!({})]).await;
    let run = people.run(&pipeline, "1,Ada\nx,Bob\n").await;
    people.world.file("people.csv", "id,name\n1,Ada\n2,Bob\n");
    let retry = retried(api, &run).await;
    assert_eq!(rows(api, &people.schema).await, ["1:Ada", "2:Bob"]);
    let refused = rollback(api, &run, json!({})).await.expect(409);
    assert_eq!(code(&refused), "LATER_WRITES");
    assert!(refused.text.contains(id(&retry)), "{}", refused.text);
    let did = rollback(api, &retry, json!({})).await.expect(200).json();
    assert_eq!((&did["tables"][0]["filesRemoved"], &did["tables"][0]["filesRestored"]), (&json!(1), &json!(1)));
    assert_eq!(rows(api, &people.schema).await, ["1:Ada"]);
    rollback(api, &run, json!({})).await.expect(200);
    assert_eq!(rows(api, &people.schema).await, [""; 0]);
}

/// Another tool says in the log of a table whether it only grows, as one that a run can replace does not.
fn only_grows(people: &People, schema: &str, only: bool) {
    let log = people.world.lake().join(schema).join("_delta_log");
    let mut entries: Vec<PathBuf> = std::fs::read_dir(&log).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.retain(|path| path.extension().is_some_and(|e| e == "json"));
    entries.sort();
    let texts = entries.iter().map(|path| std::fs::read_to_string(path).unwrap());
    let text = texts.collect::<Vec<_>>().join("\n");
    let lines = text.lines().filter(|line| !line.is_empty());
    let mut actions: Vec<Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    actions.retain(|action| action["metaData"].is_object());
    let mut table = actions.pop().unwrap();
    table["metaData"]["configuration"]["delta.appendOnly"] = json!(only.to_string());
    let entry = format!("{}\n{table}\n", json!({"commitInfo": {"operation": "SET TBLPROPERTIES"}}));
    std::fs::write(log.join(format!("{:020}.json", entries.len())), entry).unwrap();
}

/// A run that is in the first of its two tables alone: the second one, of which this answers the schema, held a row, and
/// could not be replaced.
async fn partly_written(people: &People) -> (String, Value) {
    let names = people.world.schema("names", json!([{"name": "name", "dataType": "text"}])).await;
    let body = json!({"name": "n", "connectorId": people.connector, "schemaId": names});
    let before = people.world.api.create("/pipelines", &body).await;
    people.run(&before, "0,Zoe\n").await;
    only_grows(people, &names, true);
    let both = people.pipeline(&[json!({}), json!({"table": "names", "loadMode": "truncate"})]).await;
    let run = people.run(&both, "1,Ada\n2,Bob\n").await;
    assert_eq!((&run["status"], &run["rowsOut"]), (&json!("failed"), &json!(2)), "{run}");
    (names, run)
}

/// The run as the table keeps it.
async fn kept(store: &Store, run: &Value) -> Run {
    store.run("acme", run["pipelineId"].as_str().unwrap(), id(run)).await.unwrap()
}

#[tokio::test]
async fn a_run_on_whose_rows_its_retry_counts_is_undone_after_the_retry() {
    let people = People::new().await;
    let api = &people.world.api;
    let (names, run) = partly_written(&people).await;
    only_grows(&people, &names, false);
    let retry = retried(api, &run).await;
    assert_eq!((&retry["status"], &retry["rowsOut"]), (&json!("completed"), &json!(4)), "{retry}");
    let written = receipt(api, &retry).await["targets"].clone();
    assert_eq!((&written[0]["writtenBy"], &written[1]["writtenBy"]), (&run["id"], &retry["id"]), "{written}");
    let holds = async || [rows(api, &people.schema).await, rows(api, &names).await];
    for body in [json!({"dryRun": true}), json!({})] {
        let refused = rollback(api, &run, body).await.expect(409);
        assert_eq!(code(&refused), "LATER_WRITES");
        assert!(refused.text.contains(id(&retry)), "{}", refused.text);
    }
    assert_eq!(holds().await, [["1:Ada", "2:Bob"], ["null:Ada", "null:Bob"]]);
    assert_eq!(api.get(&path(&run)).await.expect(200).json()["rolledBack"], Value::Null);
    // What the retry has not written itself stays.
    let did = rollback(api, &retry, json!({})).await.expect(200).json();
    let undone: Vec<&Value> = did["tables"].as_array().unwrap().iter().map(|table| &table["schemaId"]).collect();
    assert_eq!(undone, [&json!(names)], "{did}");
    assert_eq!(holds().await, [vec!["1:Ada", "2:Bob"], vec!["null:Zoe"]]);
    rollback(api, &run, json!({})).await.expect(200);
    assert_eq!(holds().await, [vec![], vec!["null:Zoe"]]);
    // All of it can be brought again.
    let again = retried(api, &retry).await;
    assert_eq!((&again["status"], &again["rowsOut"]), (&json!("completed"), &json!(4)), "{again}");
    assert_eq!(holds().await, [["1:Ada", "2:Bob"], ["null:Ada", "null:Bob"]]);
}

#[tokio::test]
async fn a_retry_that_wrote_nothing_itself_gives_up_the_rows_of_the_run_before() {
    let people = People::new().await;
    let api = &people.world.api;
    let (names, run) = partly_written(&people).await;
    let retry = retried(api, &run).await;
    assert_eq!((&retry["status"], &retry["rowsOut"]), (&json!("failed"), &json!(2)), "{retry}");
    let refused = rollback(api, &run, json!({})).await.expect(409);
    assert_eq!(code(&refused), "LATER_WRITES");
    assert!(refused.text.contains(id(&retry)), "{}", refused.text);
    let did = rollback(api, &retry, json!({})).await.expect(200).json();
    assert_eq!((&did["tables"], &did["rolledBack"]["version"]), (&json!([]), &json!(0)), "{did}");
    assert_eq!(rows(api, &people.schema).await, ["1:Ada", "2:Bob"]);
    assert_eq!(code(&rollback(api, &retry, json!({})).await.expect(409)), "ALREADY_ROLLED_BACK");
    rollback(api, &run, json!({})).await.expect(200);
    assert_eq!(rows(api, &people.schema).await, [""; 0]);
    assert_eq!(rows(api, &names).await, ["null:Zoe"]);
}

#[tokio::test]
async fn a_run_is_not_undone_while_a_retry_of_it_is_live() {
    let people = People::new().await;
    let api = &people.world.api;
    let (_, run) = partly_written(&people).await;
    let services = people.world.stack.services();
    let old = kept(&services.store, &run).await;
    // No message names it, so that it stays as it is.
    let stored = services.store.pipeline("acme", &old.pipeline_id).await.unwrap();
    let now = services.clock.now();
    let mut retry = launch::new_run(&stored, ids::new(Prefix::Run, now), Trigger::Retry, "ada", now.into());
    retry.retry_of = Some(old.id.clone());
    services.store.create_run(&retry, None, None).await.unwrap();
    for body in [json!({"dryRun": true}), json!({})] {
        let refused = rollback(api, &run, body).await.expect(409);
        assert_eq!(code(&refused), "LATER_WRITES");
        assert!(refused.text.contains(&retry.id) && refused.text.contains("pending"), "{}", refused.text);
    }
    assert_eq!(rows(api, &people.schema).await, ["1:Ada", "2:Bob"]);
    let cancel = format!("/pipelines/{}/runs/{}/cancel", retry.pipeline_id, retry.id);
    api.post(&cancel, &json!({})).await.expect(202);
    rollback(api, &run, json!({})).await.expect(200);
    assert_eq!(rows(api, &people.schema).await, [""; 0]);
}

#[tokio::test]
async fn no_retry_is_made_of_a_run_that_is_being_rolled_back() {
    let people = People::new().await;
    let api = &people.world.api;
    let (names, run) = partly_written(&people).await;
    only_grows(&people, &names, false);
    let store = &people.world.stack.services().store;
    let old = kept(store, &run).await;
    let now = Time(Clock::default().now());
    let again = format!("{}/retry", path(&run));
    let first = store.begin_undoing(&old, now).await.unwrap().unwrap();
    assert_eq!(code(&api.post(&again, &json!({})).await.expect(409)), "ROLLBACK_UNDER_WAY");
    // A second one that is refused does not speak for the first one.
    let second = store.begin_undoing(&old, now).await.unwrap().unwrap();
    store.end_undoing(&old, second, false).await.unwrap();
    assert_eq!(code(&api.post(&again, &json!({})).await.expect(409)), "ROLLBACK_UNDER_WAY");
    store.end_undoing(&old, first, true).await.unwrap();
    // One of which nobody hears again is over after a while.
    let long_ago = Time(now.0 - chrono::Duration::minutes(2));
    store.begin_undoing(&old, long_ago).await.unwrap().unwrap();
    assert_eq!(retried(api, &run).await["status"], "completed");
    assert!(store.begin_undoing(&old, now).await.unwrap().is_none(), "it was retried");
}

#[tokio::test]
async fn an_upsert_is_undone_while_nobody_has_changed_the_table_since() {
    let people = People::new().await;
    let api = &people.world.api;
    let append = people.pipeline(&[json!({})]).await;
    let upsert = people.pipeline(&[json!({"loadMode": "upsert"})]).await;
    let first = people.run(&append, "1,Ada\n2,Bob\n").await;
    let merged = people.run(&upsert, "2,Ben\n3,Cy\n").await;
    let later = people.run(&append, "4,Eve\n").await;
    assert_eq!(rows(api, &people.schema).await, ["1:Ada", "2:Ben", "3:Cy", "4:Eve"]);
    for body in [json!({"dryRun": true}), json!({})] {
        let refused = rollback(api, &merged, body).await.expect(409);
        assert_eq!(code(&refused), "LATER_WRITES");
        assert!(refused.text.contains(id(&later)), "{}", refused.text);
    }
    // The rows that the upsert has rewritten are not those of the first run any more.
    let refused = rollback(api, &first, json!({})).await.expect(409);
    assert!(refused.text.contains(id(&merged)), "{}", refused.text);
    assert_eq!(versions(&people), 4);
    rollback(api, &later, json!({})).await.expect(200);
    let did = rollback(api, &merged, json!({})).await.expect(200).json();
    let table = &did["tables"][0];
    assert_eq!((&table["filesRestored"], &table["rowsRestored"]), (&json!(1), &json!(2)), "{did}");
    assert_eq!(rows(api, &people.schema).await, ["1:Ada", "2:Bob"]);
    rollback(api, &first, json!({})).await.expect(200);
    assert_eq!(rows(api, &people.schema).await, [""; 0]);
    // What came back and went is merged into as ever.
    people.run(&upsert, "1,Ann\n").await;
    assert_eq!(rows(api, &people.schema).await, ["1:Ann"]);
}

#[tokio::test]
async fn what_truncate_replaced_comes_back_unless_its_files_are_gone() {
    let people = People::new().await;
    let api = &people.world.api;
    let append = people.pipeline(&[json!({})]).await;
    let truncate = people.pipeline(&[json!({"loadMode": "truncate"})]).await;
    let first = people.run(&append, "1,Ada\n2,Bob\n").await;
    let second = people.run(&truncate, "9,Zoe\n").await;
    let refused = rollback(api, &first, json!({})).await.expect(409);
    assert!(refused.text.contains(id(&second)), "{}", refused.text);
    let would = rollback(api, &second, json!({"dryRun": true})).await.expect(200).json();
    let table = &would["tables"][0];
    let told = ["filesRemoved", "rowsRemoved", "filesRestored", "rowsRestored"];
    assert_eq!(told.map(|key| table[key].as_u64().unwrap()), [1, 1, 1, 2]);
    let folder = people.world.lake().join(&people.schema).join(id(&first));
    let hidden = people.world.folder().join("vacuumed");
    std::fs::rename(&folder, &hidden).unwrap();
    let refused = rollback(api, &second, json!({})).await.expect(409);
    assert_eq!(code(&refused), "FILES_GONE");
    assert_eq!(rows(api, &people.schema).await, ["9:Zoe"]);
    std::fs::rename(&hidden, &folder).unwrap();
    rollback(api, &second, json!({})).await.expect(200);
    assert_eq!(rows(api, &people.schema).await, ["1:Ada", "2:Bob"]);
    let third = people.run(&truncate, "8,Yan\n").await;
    let fourth = people.run(&truncate, "7,Xi\n").await;
    let refused = rollback(api, &third, json!({})).await.expect(409);
    assert!(refused.text.contains(id(&fourth)), "{}", refused.text);
}

#[tokio::test]
async fn a_watermark_goes_back_with_its_rows() {
    let people = People::new().await;
    let api = &people.world.api;
    let load = json!({"loadMode": "incremental_watermark", "watermarkColumn": "id"});
    let pipeline = people.pipeline(&[load]).await;
    let first = people.run(&pipeline, "1,Ada\n2,Bob\n").await;
    let second = people.run(&pipeline, "2,Bob\n3,Cy\n").await;
    assert_eq!(second["rowsOut"], 1, "{second}");
    let refused = rollback(api, &first, json!({})).await.expect(409);
    assert_eq!(code(&refused), "WATERMARK_MOVED");
    assert!(refused.text.contains(id(&second)), "{}", refused.text);
    let did = rollback(api, &second, json!({})).await.expect(200).json();
    assert_eq!(did["tables"][0]["watermark"], json!({"column": "id", "before": "3", "after": "2"}));
    assert_eq!(rows(api, &people.schema).await, ["1:Ada", "2:Bob"]);
    // The row past the old watermark is new again.
    assert_eq!(people.run(&pipeline, "2,Bob\n3,Cy\n").await["rowsOut"], 1);
    assert_eq!(rows(api, &people.schema).await, ["1:Ada", "2:Bob", "3:Cy"]);
}

#[tokio::test]
async fn the_first_load_leaves_no_watermark_behind() {
    let people = People::new().await;
    let api = &people.world.api;
    let load = json!({"loadMode": "incremental_watermark", "watermarkColumn": "id"});
    let pipeline = people.pipeline(&[load]).await;
    let first = people.run(&pipeline, "5,Ada\n").await;
    let did = rollback(api, &first, json!({})).await.expect(200).json();
    assert_eq!(did["tables"][0]["watermark"], json!({"column": "id", "before": "5", "after": null}));
    assert_eq!(people.run(&pipeline, "1,Bob\n").await["rowsOut"], 1);
    assert_eq!(rows(api, &people.schema).await, ["1:Bob"]);
}

#[tokio::test]
async fn several_tables_and_their_rejected_rows_go_together_or_not_at_all() {
    let people = People::new().await;
    let api = &people.world.api;
    let names = people.world.schema("names", self::people()).await;
    let targets = [json!({}), json!({"table": "names", "loadMode": "truncate"})];
    let mut body = to(&people.connector, &people.schema, &targets);
    body["executionConfig"] = json!({"errorHandling": {"onError": "deadLetter"}});
    let both = api.create("/pipelines", &body).await;
    let run = people.run(&both, "1,Ada\n2,Dorothea\n").await;
    assert_eq!(run["failedRows"], 2, "{run}");
    let rejected = async || {
        let path = format!("/schemas/{}/data?rejected=true&includeTotal=true", people.schema);
        api.get(&path).await.expect(200).json()["pagination"]["total"].as_u64().unwrap()
    };
    assert_eq!(rejected().await, 1);
    // One table depends on nothing, the other one was changed since.
    let body = json!({"name": "n", "connectorId": people.connector, "schemaId": names});
    let other = api.create("/pipelines", &body).await;
    let later = people.run(&other, "7,Xi\n").await;
    let refused = rollback(api, &run, json!({})).await.expect(409);
    assert!(refused.text.contains(id(&later)), "{}", refused.text);
    assert_eq!((rows(api, &people.schema).await.len(), rejected().await), (1, 1));
    rollback(api, &later, json!({})).await.expect(200);
    let did = rollback(api, &run, json!({})).await.expect(200).json();
    let kinds: Vec<_> = did["tables"].as_array().unwrap().iter().map(|t| t["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["delta", "rejected", "delta", "rejected"], "{did}");
    assert_eq!((rows(api, &people.schema).await.len(), rows(api, &names).await.len()), (0, 0));
    assert_eq!(rejected().await, 0);
}

#[tokio::test]
async fn what_wrote_nothing_or_has_not_ended_cannot_be_undone() {
    let people = People::new().await;
    let api = &people.world.api;
    let pipeline = people.pipeline(&[json!({})]).await;
    let empty = people.run(&pipeline, "").await;
    let refused = rollback(api, &empty, json!({})).await.expect(409);
    assert_eq!(code(&refused), "NOTHING_WRITTEN", "{empty}");
    let failed = people.run(&people.pipeline(&[json!({"loadMode": "truncate"})]).await, "").await;
    assert_eq!(failed["status"], "failed");
    assert_eq!(code(&rollback(api, &failed, json!({})).await.expect(409)), "NOTHING_WRITTEN");
    let world = World::with(|o| o.worker = false).await;
    let connector = world.connector("c", "nothing.csv").await;
    let schema = world.schema("people", self::people()).await;
    let pipeline = world.copy(&connector, &schema).await;
    let run = world.api.post(&format!("/pipelines/{pipeline}/run"), &json!({})).await.expect(201).json();
    assert_eq!(code(&rollback(&world.api, &run, json!({})).await.expect(409)), "RUN_NOT_FINAL");
    world.api.post(&format!("/pipelines/{pipeline}/runs/run_0/rollback"), &json!({})).await.expect(404);
}

#[tokio::test]
async fn rollbacks_beside_running_runs_take_out_their_own_rows_once() {
    let people = People::new().await;
    let api = &people.world.api;
    let append = people.pipeline(&[json!({})]).await;
    let upsert = people.pipeline(&[json!({"loadMode": "upsert"})]).await;
    let mut old = Vec::new();
    for number in 0..4 {
        old.push(people.run(&append, &format!("{number},old\n")).await);
    }
    people.world.file("people.csv", "id,name\n50,new\n51,new\n");
    let mut started = Vec::new();
    for pipeline in [&append, &upsert, &append, &upsert] {
        started.push((pipeline, api.run(pipeline, json!({})).await));
    }
    // Each is asked for three times at once.
    let asked = old.iter().cycle().take(12).map(|run| rollback(api, run, json!({})));
    let answers = futures::future::join_all(asked).await;
    let worked = answers.iter().filter(|answer| answer.status.as_u16() == 200).count();
    assert_eq!(worked, 4, "{answers:#?}");
    for answer in answers.iter().filter(|answer| answer.status.as_u16() != 200) {
        assert_eq!(code(answer), "ALREADY_ROLLED_BACK");
    }
    for (pipeline, run) in started {
        assert_eq!(api.finished(pipeline, &run).await["status"], "completed");
    }
    // Two keys, of each an upserted row and no more than the two that were appended.
    let found = rows(api, &people.schema).await;
    assert!(found.iter().all(|row| row.ends_with(":new")), "{found:?}");
    let keys: BTreeSet<&String> = found.iter().collect();
    assert!(keys.len() == 2 && found.len() <= 6, "{found:?}");
}

#[tokio::test]
async fn a_table_that_was_rolled_back_is_read_by_others_as_it_was() {
    let Some(tools) = Tools::install(&python::DELTA, "DuckDB and deltalake over a table that was rolled back") else {
        return;
    };
    let people = People::new().await;
    let append = people.pipeline(&[json!({})]).await;
    let upsert = people.pipeline(&[json!({"loadMode": "upsert"})]).await;
    people.run(&append, "1,Ada\n2,Bob\n").await;
    let merged = people.run(&upsert, "2,Ben\n3,Cy\n").await;
    rollback(&people.world.api, &merged, json!({})).await.expect(200);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/read_delta.py");
    let table = people.world.lake().join(&people.schema);
    let output = tools.command("python").arg(script).arg(&table).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = json!([{"id": 1, "name": "Ada"}, {"id": 2, "name": "Bob"}]);
    assert_eq!((&found["duckdb"], &found["deltalake"]), (&rows, &rows));
}
