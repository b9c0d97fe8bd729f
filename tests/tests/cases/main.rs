//! What pipelines do, case by case: each folder `tests/cases/<topic>/<case>` is one.
//!
//! `case.yaml` holds files, schemas, a pipeline, and what must come out; its form is in `case.rs`, and every file
//! beside it is an input too. All cases run through HTTP on one stack, each as a tenant of its own.
//! `CASES=filter cargo test -p tests --test cases` runs the cases whose `topic/case` contains that word.

mod case;
mod compare;
mod inputs;
mod play;

use futures::StreamExt;
use std::path::{Path, PathBuf};
use tests::World;

/// Cases that run at once.
const AT_ONCE: usize = 6;

fn folders(of: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(of).unwrap_or_else(|e| panic!("{}: {e}", of.display()));
    let mut folders: Vec<_> = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

/// The name of a case, `topic/case`.
fn name(folder: &Path) -> String {
    let mut parts: Vec<_> = folder.iter().rev().take(2).map(|part| part.to_string_lossy()).collect();
    parts.reverse();
    parts.join("/")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_case_comes_out_as_it_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    let wanted = std::env::var("CASES").unwrap_or_default();
    let all: Vec<PathBuf> = folders(&root).iter().flat_map(|topic| folders(topic)).collect();
    let chosen: Vec<&PathBuf> = all.iter().filter(|folder| name(folder).contains(&wanted)).collect();
    assert!(!chosen.is_empty(), "no case contains {wanted:?}");
    let world = World::with(|options| options.concurrent_runs = AT_ONCE).await;
    let world = &world;
    let mut failed: Vec<String> = futures::stream::iter(chosen.iter().map(|folder| async move {
        let faults = play::play(world, folder).await;
        faults.into_iter().map(|fault| format!("{}: {fault}", name(folder))).collect::<Vec<_>>()
    }))
    .buffer_unordered(AT_ONCE)
    .concat()
    .await;
    failed.sort();
    println!("{} cases of {}", chosen.len(), all.len());
    assert!(failed.is_empty(), "{} faults in {} cases:\n{}", failed.len(), chosen.len(), failed.join("\n"));
}
