//! `flowgate verify-receipt`: what holds, and what a changed byte does to it.

use super::{People, receipt, retried, rollback, to};
use crate::processes::program;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use tests::World;
use tests::stalled::Stalled;

/// Whether a file holds, and what was said.
fn verify_file(world: &World, file: &Path) -> (bool, String) {
    let mut command = Command::new(program());
    let output = command.arg("verify-receipt").arg(file).arg("--data-dir").arg(world.stack.folder().root()).output();
    let output = output.unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    (output.status.success(), said)
}

fn verify(world: &World, receipt: &Value) -> (bool, String) {
    let file = world.folder().join("receipt.json");
    std::fs::write(&file, receipt.to_string()).unwrap();
    verify_file(world, &file)
}

/// A forger knows how digests are made.
fn sealed(mut receipt: Value) -> Value {
    receipt["digest"] = json!(shared::receipt::digest(&receipt));
    receipt
}

fn entry(people: &People, version: u64) -> PathBuf {
    people.world.lake().join(&people.schema).join(format!("_delta_log/{version:020}.json"))
}

#[tokio::test]
async fn receipts_of_all_load_modes_hold() {
    let people = People::new().await;
    let api = &people.world.api;
    let pipelines = [
        people.pipeline(&[json!({})]).await,
        people.pipeline(&[json!({"loadMode": "upsert"})]).await,
        people.pipeline(&[json!({"loadMode": "truncate"})]).await,
        people.pipeline(&[json!({"loadMode": "incremental_watermark", "watermarkColumn": "id"})]).await,
    ];
    for pipeline in &pipelines {
        let run = people.run(pipeline, "1,Ada\n2,Bob\n7,Cy\n").await;
        let found = receipt(api, &run).await;
        let (held, said) = verify(&people.world, &found);
        assert!(
            held && said.contains(&format!("The receipt of {} holds: 2", found["runId"].as_str().unwrap())),
            "{said}"
        );
        assert!(!said.contains("FAILED"), "{said}");
    }
    // Both runs of a retry, and the folder of the tables named by itself.
    let run = people.run(&pipelines[0], "3,Eve\n4,Dorothea\n").await;
    people.world.file("people.csv", "id,name\n3,Eve\n4,Dora\n");
    let retry = retried(api, &run).await;
    for run in [run, retry] {
        let (held, said) = verify(&people.world, &receipt(api, &run).await);
        assert!(held, "{said}");
    }
    let file = people.world.folder().join("receipt.json");
    let lake = people.world.stack.folder().lake();
    let output = Command::new(program()).arg("verify-receipt").arg(&file).arg("--lake").arg(&lake).output().unwrap();
    assert!(output.status.success());
}

#[tokio::test]
async fn a_receipt_with_a_changed_byte_does_not_hold() {
    let people = People::new().await;
    let pipeline = people.pipeline(&[json!({})]).await;
    let run = people.run(&pipeline, "1,Ada\n2,Bob\n").await;
    let found = receipt(&people.world.api, &run).await;
    let text = found.to_string();
    let file = people.world.folder().join("changed.json");
    std::fs::write(&file, &text).unwrap();
    assert!(verify_file(&people.world, &file).0);
    for at in (0..text.len()).step_by(61) {
        let mut bytes = text.clone().into_bytes();
        bytes[at] = if bytes[at] == b'7' { b'8' } else { b'7' };
        std::fs::write(&file, &bytes).unwrap();
        let (held, said) = verify_file(&people.world, &file);
        assert!(!held, "byte {at}, {:?}: {said}", &text[at.saturating_sub(20)..(at + 20).min(text.len())]);
    }
    // Who makes the digest anew is found out by the log.
    let forged = |pointer: &str, value: Value| {
        let mut forged = found.clone();
        *forged.pointer_mut(pointer).unwrap() = value;
        sealed(forged)
    };
    let moved = json!({"column": "id", "before": null, "after": "2"});
    let undone = |tables: Value| json!({"at": "2026-01-15T09:00:00.000Z", "by": "ada", "version": 2, "tables": tables});
    let other = json!([{"schemaId": "schema_0", "kind": "delta", "version": 2}]);
    for (pointer, value, why) in [
        ("/targets/0/rows", json!(3), "rows of the run: 3: the log has 2"),
        ("/targets/0/delta/recordsAdded", json!(9), "rows in the added files: 9: the log has 2"),
        ("/targets/0/delta/filesAdded", json!(2), "files added: 2: the log has 1"),
        ("/targets/0/delta/versionAfter", json!(7), "the table has no such version; its newest is 1"),
        ("/targets/0/delta/versionBefore", json!(1), "it does not"),
        ("/targets/0/delta/transaction/appId", json!("run_0"), "it is not that of a commit"),
        ("/targets/0/delta/entryHash", json!("sha256:00"), "the receipt says sha256:00"),
        ("/targets/0/delta/location", json!("acme/../acme"), "no folder of a lake"),
        ("/targets/0/delta/location", json!("acme/other"), "there is no table at"),
        ("/targets/0/delta/versionBefore", Value::Null, "the run had read is not known: the log has 0"),
        ("/targets/0/delta/watermark", moved, "watermark: \"id\" from none to \"2\": the log has none"),
        ("/targets/0/attempt", json!(2), "attempt: 2: the log has 1"),
        ("/targets/0/attempt", Value::Null, "attempt: not given: the log has 1"),
        ("/targets/0/loadMode", json!("truncate"), "load mode: truncate: the log has append"),
        ("/targets/0/kind", json!("rejected"), "is of another kind"),
        ("/targets/0/writtenBy", json!("run_0"), "has those of run_0, and the run retries no other one"),
        ("/definition/content/name", json!("q"), "the definition's hash"),
        ("/rowsOut", json!(1), "they come to 2"),
        ("/rowsOut", Value::Null, "not given: they come to 2"),
        ("/failedRows", json!(1), "the rows that the run had rejected: 1: the log has 0"),
        ("/skippedRows", json!(1), "they come to 0"),
        ("/targets", json!([]), "version 1 has the run's rows"),
        ("/rolledBack", undone(json!([])), "it names none"),
        ("/rolledBack", undone(other), "it does not list schema_0"),
    ] {
        let (held, said) = verify(&people.world, &forged(pointer, value));
        assert!(!held && said.contains(why) && said.contains("FAILED"), "{pointer}: {said}");
    }
    // The definition may be left out.
    let mut without = found.clone();
    without["definition"].as_object_mut().unwrap().remove("content");
    let (held, said) = verify(&people.world, &sealed(without));
    assert!(held && said.contains("the definition is not included"), "{said}");
}

#[tokio::test]
async fn a_log_with_a_changed_byte_is_found_out() {
    let people = People::new().await;
    let pipeline = people.pipeline(&[json!({})]).await;
    let run = people.run(&pipeline, "1,Ada\n2,Bob\n").await;
    let other = people.run(&pipeline, "3,Cy\n").await;
    let found = receipt(&people.world.api, &run).await;
    let path = entry(&people, 1);
    let text = std::fs::read_to_string(&path).unwrap();
    for (from, to, why) in [
        (r#"\"numRecords\":2"#, r#"\"numRecords\":3"#, "rows in the added files: 2: the log has 3"),
        (r#""rowsOut":2"#, r#""rowsOut":4"#, "rows of the run: 2: the log has 4"),
        ("Ada", "Adb", "the receipt says sha256:"),
        (run["id"].as_str().unwrap(), other["id"].as_str().unwrap(), "the versions that hold it are []"),
    ] {
        assert!(text.contains(from), "{from} is not in {text}");
        std::fs::write(&path, text.replace(from, to)).unwrap();
        let (held, said) = verify(&people.world, &found);
        assert!(!held && said.contains(why), "{from}: {said}");
    }
    std::fs::write(&path, "no JSON").unwrap();
    assert!(verify(&people.world, &found).1.contains("line 1 is no JSON"));
    // The same transaction a second time.
    std::fs::write(&path, &text).unwrap();
    std::fs::write(entry(&people, 3), &text).unwrap();
    let (held, said) = verify(&people.world, &found);
    assert!(!held && said.contains("the versions that hold it are [1, 3]"), "{said}");
    std::fs::remove_file(entry(&people, 3)).unwrap();
    assert!(verify(&people.world, &found).0);
    // What a retention has cleaned cannot be checked; what came later still can.
    let later = receipt(&people.world.api, &other).await;
    std::fs::remove_file(entry(&people, 0)).unwrap();
    std::fs::remove_file(&path).unwrap();
    for receipt in [&found, &later] {
        let (held, said) = verify(&people.world, receipt);
        assert!(!held && said.contains("cannot be checked: the log before version 2 was cleaned"), "{said}");
        // Nothing says that it is wrong.
        assert!(said.contains("cannot be checked as a whole") && !said.contains("does not hold"), "{said}");
        assert!(said.contains("unable") && !said.contains("FAILED"), "{said}");
    }
}

#[tokio::test]
async fn facts_of_a_watermark_and_of_later_versions_cannot_be_forged() {
    let people = People::new().await;
    let load = json!({"loadMode": "incremental_watermark", "watermarkColumn": "id"});
    let pipeline = people.pipeline(&[load]).await;
    people.run(&pipeline, "1,Ada\n").await;
    let run = people.run(&pipeline, "1,Ada\n7,Cy\n").await;
    let found = receipt(&people.world.api, &run).await;
    let (held, said) = verify(&people.world, &found);
    assert!(held && said.contains("watermark: \"id\" from \"1\" to \"7\""), "{said}");
    for (pointer, value, why) in [
        ("/targets/0/delta/watermark/after", json!("9"), "to \"9\": the log has \"id\" from \"1\" to \"7\""),
        ("/targets/0/delta/watermark/before", Value::Null, "from none to \"7\": the log has"),
        ("/targets/0/delta/watermark", Value::Null, "watermark: not given: the log has"),
        ("/targets/0/delta/versionBefore", json!(0), "follows version 0, which the run had read: the log has 1"),
        ("/targets/0/skippedRows", json!(0), "rows left out: 0: the log has 1"),
    ] {
        let mut forged = found.clone();
        *forged.pointer_mut(pointer).unwrap() = value;
        let (held, said) = verify(&people.world, &sealed(forged));
        assert!(!held && said.contains(why), "{pointer}: {said}");
    }
}

#[tokio::test]
async fn a_table_that_is_left_out_is_found_whatever_the_rows_are_said_to_be() {
    let people = People::new().await;
    let api = &people.world.api;
    people.world.schema("names", json!([{"name": "name", "dataType": "text"}])).await;
    let mut body = to(&people.connector, &people.schema, &[json!({}), json!({"table": "names"})]);
    body["executionConfig"] = json!({"errorHandling": {"onError": "deadLetter"}});
    let pipeline = api.create("/pipelines", &body).await;
    let run = people.run(&pipeline, "1,Ada\n2,Dorothea\n").await;
    let later = people.run(&pipeline, "3,Eve\n").await;
    let found = receipt(api, &run).await;
    let (held, said) = verify(&people.world, &found);
    assert!(held && said.contains("all tables of acme that have rows of the run are listed"), "{said}");
    // The rejected rows, the people and the names.
    for (index, rows) in [(0, 3), (1, 2), (2, 1)] {
        let mut forged = found.clone();
        let gone = forged["targets"].as_array_mut().unwrap().remove(index);
        forged["rowsOut"] = json!(rows);
        let delta = &gone["delta"];
        let why =
            format!("in {} version {} has the run's rows", delta["schemaId"].as_str().unwrap(), delta["versionAfter"]);
        let (held, said) = verify(&people.world, &sealed(forged));
        assert!(!held && said.contains(&why), "{index}: {said}");
    }
    let mut failed = found.clone();
    (failed["status"], failed["rowsOut"]) = (json!("failed"), json!(1));
    let (held, said) = verify(&people.world, &sealed(failed));
    assert!(!held && said.contains("rowsOut is the sum of the targets' rows: 1: they come to 3"), "{said}");
    // The rows of another run are not this one's.
    let mut stolen = found.clone();
    let other = receipt(api, &later).await;
    stolen["targets"] = other["targets"].clone();
    stolen["rowsOut"] = other["rowsOut"].clone();
    let (held, said) = verify(&people.world, &sealed(stolen));
    assert!(!held && said.contains("and the run retries no other one"), "{said}");
    rollback(api, &run, json!({})).await.expect(200);
    let after = receipt(api, &run).await;
    let (held, said) = verify(&people.world, &after);
    assert!(held && said.contains("what was rolled back are tables that the receipt lists"), "{said}");
    let mut forged = after.clone();
    forged["rolledBack"]["tables"].as_array_mut().unwrap().pop();
    let (held, said) = verify(&people.world, &sealed(forged));
    assert!(!held && said.contains("rolledBack does not name the table"), "{said}");
}

#[tokio::test]
async fn commits_in_between_are_named() {
    let world = World::new().await;
    let stalled = Stalled::start(&world.api, world.folder(), &world.lake(), json!({})).await;
    // It has opened the table, and another run commits before it.
    world.file("people.csv", "n,text\n1,Ada\n");
    let connector = world.connector("people", "people.csv").await;
    let other = world.run(&world.copy(&connector, &stalled.schema).await).await;
    assert_eq!(other["status"], "completed", "{other}");
    stalled.s3.release();
    let run = world.api.finished(&stalled.pipeline, &stalled.run).await;
    let found = receipt(&world.api, &run).await;
    let delta = &found["targets"][0]["delta"];
    assert_eq!((&delta["versionBefore"], &delta["versionAfter"]), (&json!(0), &json!(2)), "{found}");
    let (held, said) = verify(&world, &found);
    let between = format!("after others that came in between: version 1 ({})", other["id"].as_str().unwrap());
    assert!(held && said.contains(&between), "{said}");
    // As if it had seen the other one's rows.
    let mut forged = found.clone();
    forged["targets"][0]["delta"]["versionBefore"] = json!(1);
    let (held, said) = verify(&world, &sealed(forged));
    assert!(!held && said.contains("follows version 1, which the run had read: the log has 0"), "{said}");
}

#[tokio::test]
async fn rollbacks_are_noted() {
    let people = People::new().await;
    let pipeline = people.pipeline(&[json!({})]).await;
    let first = people.run(&pipeline, "1,Ada\n").await;
    people.run(&pipeline, "2,Bob\n").await;
    let before = receipt(&people.world.api, &first).await;
    rollback(&people.world.api, &first, json!({})).await.expect(200);
    let (held, said) = verify(&people.world, &before);
    assert!(held && said.contains("was rolled back later, by version 3"), "{said}");
    let after = receipt(&people.world.api, &first).await;
    let (held, said) = verify(&people.world, &after);
    assert!(held && said.contains("ok      ") && said.contains("was rolled back by version 3"), "{said}");
    let mut wrong = after.clone();
    wrong["rolledBack"]["tables"][0]["version"] = json!(2);
    let (held, said) = verify(&people.world, &sealed(wrong));
    assert!(!held && said.contains("version 3 has the rollback"), "{said}");
}

#[tokio::test]
async fn what_is_no_receipt_is_refused_in_plain_words() {
    let world = World::with(|o| o.worker = false).await;
    let file = world.folder().join("x.json");
    let (held, said) = verify_file(&world, &file);
    assert!(!held && said.contains("there is no such file"), "{said}");
    for (text, why) in [
        ("", "is no JSON"),
        ("{", "is no JSON"),
        ("{}", "is no receipt: it has no \"format\""),
        (r#"{"format": "flowgate-receipt/9"}"#, "has the format \"flowgate-receipt/9\""),
        (r#"{"format": "flowgate-receipt/1"}"#, "is no whole receipt: missing field"),
    ] {
        std::fs::write(&file, text).unwrap();
        let (held, said) = verify_file(&world, &file);
        assert!(!held && said.contains(why), "{text}: {said}");
    }
    let output =
        Command::new(program()).arg("verify-receipt").arg(&file).args(["--lake", "s3://b/p"]).output().unwrap();
    assert!(String::from_utf8(output.stderr).unwrap().contains("is no folder of this machine"));
}
