//! A full disk: a run that meets it writes all or nothing, leaves nothing, and goes through once there is room.

use crate::room::Disk;
use flowgate::stack::Options;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use tests::World;
use worker::engine::job::Lake;

/// Bytes of the disk.
const SIZE: usize = 1 << 20;
/// Rows of a run, whose texts are as good as random and so fill some 300 KB.
const ROWS: u64 = 3000;

/// Fills a disk up to so many bytes.
fn leave(disk: &Disk, bytes: usize) {
    let filler = disk.0.join("filler");
    let _ = std::fs::remove_file(&filler);
    let used: usize = files(&disk.0).iter().map(|file| pages(std::fs::metadata(file).unwrap().len())).sum();
    let fill = (SIZE - used).saturating_sub(bytes);
    // Whatever the disk takes of it is enough.
    let _ = std::fs::write(filler, vec![1; fill]);
}

fn pages(bytes: u64) -> usize {
    bytes.div_ceil(4096) as usize * 4096
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Numbers by which no text is like the one before.
fn source(run: u64) -> String {
    let mut text = "run,n,text\n".to_owned();
    let mut state = run.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    for n in 0..ROWS {
        write!(text, "{run},{n},").unwrap();
        for _ in 0..6 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            write!(text, "{state:x}").unwrap();
        }
        text.push('\n');
    }
    text
}

/// What lies in the table and is neither named by its log nor a part of it.
fn left(table: &Path) -> Vec<PathBuf> {
    let log = table.join("_delta_log");
    let mut named = HashSet::new();
    for file in files(&log).iter().filter(|file| file.extension().is_some_and(|e| e == "json")) {
        for line in std::fs::read_to_string(file).unwrap().lines() {
            let action: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
            named.extend(action["add"]["path"].as_str().map(|path| table.join(path)));
        }
    }
    let is_log = |file: &Path| {
        let name = file.file_name().unwrap().to_str().unwrap();
        file.starts_with(&log) && name.len() == 25 && name.ends_with(".json")
    };
    files(table).into_iter().filter(|file| !named.contains(file) && !is_log(file)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_on_a_full_disk_writes_all_or_nothing_and_goes_through_once_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::mount(&folder.path().join("disk"), SIZE) else { return };
    let lake = Lake { url: format!("file://{}", disk.0.join("lake").display()), options: HashMap::new() };
    let world = World::with(|options: &mut Options| options.lake = Some(lake)).await;
    let connector = world.connector("files", "in").await;
    let fields = json!([
        {"name": "run", "dataType": "bigint"}, {"name": "n", "dataType": "bigint"}, {"name": "text", "dataType": "text"},
    ]);
    let schema = world.schema("rows", fields).await;
    let body = json!({
        "name": "p", "connectorId": connector, "schemaId": schema,
        "executionConfig": {"parallelism": 1, "retry": {"maxAttempts": 1}},
        "nodes": [
            {"id": "s", "nodeType": "source", "config": {"path": "${part}.csv"}},
            {"id": "t", "nodeType": "target", "config": {"loadMode": "truncate"}},
        ],
        "edges": [{"source": "s", "target": "t"}],
    });
    let pipeline = world.api.create("/pipelines", &body).await;
    let table = disk.0.join("lake/acme").join(&schema);
    let (mut failed, mut completed) = (0, 0);
    // From no room at all, by way of none for the log's entry, to enough.
    let rooms = (0..=12).map(|pages| pages * 4096).chain((5..40).map(|part| part * 16384));
    let mut holds = None;
    for (run, room) in rooms.enumerate() {
        if completed == 3 {
            break;
        }
        world.file(&format!("in/{run}.csv"), source(run as u64));
        leave(&disk, room);
        let id = world.api.run(&pipeline, json!({"part": run.to_string()})).await;
        let ended = world.api.finished(&pipeline, &id).await;
        match ended["status"].as_str() {
            Some("completed") => {
                completed += 1;
                holds = Some(run);
            }
            Some("failed") => {
                failed += 1;
                let error = &ended["error"];
                assert_eq!(
                    (&error["code"], &error["retryable"]),
                    (&json!("TARGET_UNAVAILABLE"), &json!(true)),
                    "with room for {room} bytes: {ended}"
                );
                let said = error["message"].as_str().unwrap();
                assert!(said.contains("no room is left on the disk of the lake"), "{said}");
            }
            _ => panic!("{ended}"),
        }
        assert_eq!(left(&table), Vec::<PathBuf>::new(), "with room for {room} bytes: {ended}");
        let rows = world.api.rows(&schema).await;
        assert!(rows.iter().all(|row| Some(row["run"].as_u64().unwrap() as usize) == holds), "{ended}");
        assert_eq!(rows.len() as u64, if holds.is_some() { ROWS } else { 0 }, "{ended}");
    }
    println!("{failed} runs met a full disk, {completed} had room");
    assert!(failed >= 5 && completed == 3, "{failed} {completed}");
}
