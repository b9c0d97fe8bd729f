//! The receipts of all runs after a storm, held against the logs of their tables by the program that users have for it.

use crate::processes::binary;
use crate::storm::Storm;
use reqwest::Method;
use serde_json::Value;
use shared::models::run::{Run, RunStatus};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

/// Receipts that are checked at once.
const AT_ONCE: usize = 4;

/// Adds what is wrong with the receipts of these runs.
pub async fn check(storm: &Arc<Storm>, runs: &[Run], wrong: &mut Vec<String>) {
    let folder = storm.around.folder.join("receipts");
    let lake = folder.join("lake");
    logs(storm, &lake);
    let mut waiting = Vec::new();
    for run in runs {
        let path = format!("/pipelines/{}/runs/{}/receipt", run.pipeline_id, run.id);
        let (status, receipt) = storm.ask_stack(Method::GET, &path, None).await;
        if status != 200 {
            wrong.push(format!("{} has no receipt: {receipt}", run.id));
            continue;
        }
        wrong.extend(of(run, &receipt).into_iter().map(|what| format!("the receipt of {} {what}: {receipt}", run.id)));
        let file = folder.join(format!("{}.json", run.id));
        std::fs::write(&file, receipt.to_string()).unwrap();
        waiting.push(file);
    }
    println!("{} receipts are checked", waiting.len());
    let mut tasks = tokio::task::JoinSet::new();
    for file in waiting {
        if tasks.len() >= AT_ONCE {
            wrong.extend(tasks.join_next().await.and_then(|said| said.unwrap()));
        }
        let lake = lake.clone();
        tasks.spawn_blocking(move || verify(&file, &lake));
    }
    wrong.extend(tasks.join_all().await.into_iter().flatten());
}

/// The logs of all tables, in a folder as an auditor gets them.
fn logs(storm: &Storm, lake: &Path) {
    let prefix = "lake/tables/";
    for (key, bytes) in storm.around.buckets.below(prefix).into_iter().filter(|(key, _)| key.contains("/_delta_log/")) {
        let path = lake.join(&key[prefix.len()..]);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

/// What the program says where a receipt does not hold.
fn verify(file: &Path, lake: &Path) -> Option<String> {
    let mut command = Command::new(binary("flowgate"));
    let output = command.arg("verify-receipt").arg(file).arg("--lake").arg(lake).stdin(Stdio::null()).output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (!output.status.success()).then(|| format!("{}: {said}", file.display()))
}

/// What a receipt does not tell of its run.
fn of(run: &Run, receipt: &Value) -> Vec<&'static str> {
    let list = |name: &str| receipt[name].as_array().cloned().unwrap_or_default();
    let is_done = matches!(run.status, RunStatus::Completed | RunStatus::CompletedWithErrors);
    let (attempts, targets, inputs) = (list("attempts"), list("targets"), list("inputs"));
    let own: Vec<&Value> = targets.iter().filter(|target| target["writtenBy"] == run.id.as_str()).collect();
    let mut wrong = Vec::new();
    let mut must = |held: bool, what| wrong.extend((!held).then_some(what));
    must(receipt["status"] == run.status.name(), "has another status");
    must(attempts.len() == run.attempt as usize, "has another number of attempts");
    must(!is_done || !targets.is_empty(), "tells of no table");
    must(!is_done || own.is_empty() || !inputs.is_empty(), "tells of nothing that was read");
    let known = |target: &&Value| target["attempt"].as_u64().is_some_and(|n| (1..=u64::from(run.attempt)).contains(&n));
    must(own.iter().all(known), "does not tell which attempt has committed");
    let outcomes: Vec<&str> = attempts.iter().filter_map(|attempt| attempt["outcome"].as_str()).collect();
    let last = outcomes.last().copied();
    must(!is_done || last == Some(run.status.name()), "tells of another end of the last attempt");
    wrong
}
