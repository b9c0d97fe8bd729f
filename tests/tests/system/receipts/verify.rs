//! `flowgate verify-receipt`: what holds, and what a changed byte does to it.

use super::{People, receipt, retried, rollback};
use crate::processes::program;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use tests::World;

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
            held && said.contains(&format!("The receipt of {} holds: 1", found["runId"].as_str().unwrap())),
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
        ("/definition/content/name", json!("q"), "the definition's hash"),
        ("/rowsOut", json!(1), "they come to 2"),
        ("/targets", json!([]), "version 1 has the run's rows"),
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
async fn commits_in_between_are_named_and_rollbacks_are_noted() {
    let people = People::new().await;
    let pipeline = people.pipeline(&[json!({})]).await;
    let first = people.run(&pipeline, "1,Ada\n").await;
    let second = people.run(&pipeline, "2,Bob\n").await;
    // As if the second run had opened the table before the first one's commit.
    let mut found = receipt(&people.world.api, &second).await;
    found["targets"][0]["delta"]["versionBefore"] = json!(0);
    let (held, said) = verify(&people.world, &sealed(found));
    let between = format!("after others that came in between: version 1 ({})", first["id"].as_str().unwrap());
    assert!(held && said.contains(&between), "{said}");
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
