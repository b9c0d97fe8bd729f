//! Which files a source reads, where they may lie, and how they are compressed.

use super::Root;
use crate::error::{Kind, RunError};
use crate::sources::place::Place;
use crate::sources::{input, probe};
use futures::StreamExt;
use serde_json::json;
use shared::models::connector::ConnectorType;
use shared::models::node::Encoding;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use tokio::runtime::Handle;

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_folder_is_all_its_files_sorted_and_without_hidden_or_marked_ones() {
    let rows = Root::new("in")
        .file("in/b.csv", "a,b\n3,4\n")
        .file("in/a.csv", "a,b\n1,2\n")
        .file("in/sub/c.csv.gz", gzip("b,extra,a\n6,x,5\n"))
        .file("in/.hidden.csv", "q\n")
        .file("in/_SUCCESS", "")
        .file("in/_tmp/x.csv", "q\n")
        .file("in/readme.txt", "hello")
        .read()
        .await;
    assert_eq!(rows.texts(), ["1|2", "3|4", "5|6"]);
    assert_eq!(rows.ids, [(0, 1), (1, 1), (2, 1)]);
    let names: Vec<String> = rows.progress.partition_details().into_iter().map(|p| p.name).collect();
    assert_eq!(names, ["in/a.csv", "in/b.csv", "in/sub/c.csv.gz"]);
    assert!(rows.progress.partition_details().iter().all(|p| p.status == "completed" && p.rows == 1));
    assert_eq!(rows.progress.total_rows.load(Relaxed), 3);
}

#[tokio::test]
async fn a_node_asks_a_connector_for_what_it_has() {
    for node in [json!({"table": "t"}), json!({"query": "SELECT 1"})] {
        let error = Root::with("in.csv", "a\n1\n").node(node).try_read().await.unwrap_err();
        assert_eq!(error.kind, Kind::Definition, "{error}");
        assert!(error.message.ends_with(" is not for the connector \"sales\", which has files"), "{error}");
    }
    let mut database = Root::new("unused").node(json!({"path": "in.csv", "options": {}}));
    database.kind = ConnectorType::Postgresql;
    let error = database.try_read().await.unwrap_err();
    assert_eq!(error.kind, Kind::Definition, "{error}");
    assert!(error.message.starts_with("path or options is not for the connector \"sales\""), "{error}");
}

#[tokio::test]
async fn a_glob_matches_below_the_connectors_path() {
    let root = Root::new("in")
        .file("in/2024/a.csv", "a\n1\n")
        .file("in/2024/b.csv", "a\n2\n")
        .file("in/2025/a.csv", "a\n3\n")
        .node(json!({"path": "2024/*.csv"}));
    assert_eq!(root.read().await.texts(), ["1", "2"]);
    assert_eq!(root.node(json!({"path": "**/a.csv"})).read().await.texts(), ["1", "3"]);
}

#[tokio::test]
async fn names_with_odd_characters_are_found() {
    let name = "in/50% [a] #1 é.csv";
    let rows = Root::with(name, "a\n1\n").read().await;
    assert_eq!(rows.texts(), ["1"]);
}

#[tokio::test]
async fn nothing_found_says_what_lies_there() {
    let root = Root::new("in").file("in/a.txt", "").file("in/sub/b.json", "[]");
    let fault = root.node(json!({"format": "csv"})).fault().await;
    assert!(fault.contains("no csv file is at \"in\"") && fault.contains("a.txt") && fault.contains("sub/"), "{fault}");
    let fault = Root::new("gone/far/*.csv").file("x.csv", "").fault().await;
    assert!(fault.contains("its root holds x.csv"), "{fault}");
}

#[tokio::test]
async fn several_formats_in_a_folder_are_a_fault_unless_one_is_meant() {
    let root = Root::new(".").file("a.csv", "a\n1\n").file("b.json", "[]");
    assert!(root.fault().await.contains("1 of csv, 1 of json"));
    assert_eq!(root.node(json!({"format": "csv"})).read().await.texts(), ["1"]);
}

#[tokio::test]
async fn a_column_missing_in_a_later_file_is_a_fault_that_names_both() {
    let fault = Root::new("in").file("in/a.csv", "a,b\n1,2\n").file("in/b.csv", "a,bb\n1,2\n").fault().await;
    assert!(fault.contains("\"in/b.csv\" lacks the column \"b\""), "{fault}");
}

#[tokio::test]
async fn a_column_that_the_target_wants_and_that_only_a_later_file_has_is_a_fault() {
    for (format, delimiter) in [("csv", ","), ("tsv", "\t")] {
        let text = |columns: &[&str]| format!("{}\n", columns.join(delimiter));
        let first = [text(&["id", "name"]), text(&["1", "a"])].concat();
        let second = [text(&["id", "name", "email"]), text(&["2", "b", "b@x.org"])].concat();
        let root = Root::new("in")
            .file(&format!("in/1.{format}"), first)
            .file(&format!("in/2.{format}"), second)
            .expect("name", json!({"dataType": "text"}));
        assert_eq!(root.read().await.texts(), ["1|a", "2|b"], "nobody wants it");
        let fault = root.expect("email", json!({"dataType": "text"})).fault().await;
        assert!(
            fault.contains(&format!("\"in/2.{format}\" has the column \"email\", which the target wants")),
            "{fault}"
        );
    }
}

#[tokio::test]
async fn a_column_that_the_target_wants_and_that_comes_late_is_found_behind_the_first_rows_too() {
    let many: String = (0..10_000).map(|i| format!("{i}\n")).collect();
    let root = Root::new("in").file("in/a.csv", format!("id\n{many}")).file("in/b.csv", "id,email\n1,b@x.org\n");
    let fault = root.expect("email", json!({"dataType": "text"})).fault().await;
    assert!(fault.contains("\"in/b.csv\" has the column \"email\""), "{fault}");
}

#[tokio::test]
async fn a_reject_names_its_file_where_there_are_several() {
    let root = Root::new("in").file("in/a.csv", "a\n1\n").file("in/b.csv", "a\nx\n");
    let rows = root.expect("a", json!({"dataType": "bigint"})).read().await;
    assert_eq!(rows.reasons(), [(1, "a", "\"x\" is not an integer (in in/b.csv)")]);
}

#[tokio::test]
async fn gzip_members_and_zstd_frames_are_read_to_the_last() {
    let members = [gzip("a\n1\n"), gzip("2\n"), gzip("3\n")].concat();
    assert_eq!(Root::with("a.csv.gz", &members).read().await.texts(), ["1", "2", "3"]);
    // The content tells where the name does not.
    assert_eq!(Root::with("a.csv", &members).read().await.texts(), ["1", "2", "3"]);
    let frames =
        [zstd::encode_all("a\n1\n".as_bytes(), 3).unwrap(), zstd::encode_all("2\n".as_bytes(), 3).unwrap()].concat();
    assert_eq!(Root::with("a.csv.zst", frames).read().await.texts(), ["1", "2"]);
}

#[tokio::test]
async fn zeros_behind_a_gzip_member_are_padding_and_anything_else_is_a_fault() {
    let padded = [gzip("a\n1\n"), vec![0; 3], gzip("2\n"), vec![0; 100_000]].concat();
    assert_eq!(Root::with("a.csv.gz", padded).read().await.texts(), ["1", "2"]);
    let garbage = [gzip("a\n1\n"), b"\0garbage".to_vec()].concat();
    assert!(Root::with("a.csv.gz", garbage).fault().await.contains("a.csv.gz"));
}

#[tokio::test]
async fn damaged_compression_is_a_fault_and_never_fewer_rows() {
    let text: String = (0..100_000).map(|i| format!("{i},{}\n", i * 7919 % 10_007)).collect();
    let whole = gzip(&format!("a,b\n{text}"));
    let cut = &whole[..whole.len() / 2];
    let fault = Root::with("a.csv.gz", cut).fault().await;
    assert!(fault.contains("a.csv.gz") && fault.contains("ends in the middle"), "{fault}");
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle..middle + 64].fill(0x55);
    assert!(Root::with("a.csv.gz", flipped).fault().await.contains("a.csv.gz"));
    let frame = zstd::encode_all(format!("a,b\n{text}").as_bytes(), 3).unwrap();
    assert!(Root::with("a.csv.zst", &frame[..frame.len() - 7]).fault().await.contains("ends in the middle"));
    let named = Root::with("a.csv.gz", "a\n1\n").fault().await;
    assert!(named.contains("named as gzip"), "{named}");
}

#[tokio::test]
async fn paths_do_not_leave_the_root() {
    for path in ["../x.csv", "in/../../x.csv", "/etc/passwd", ".state/key", "in/.state/key"] {
        let fault = Root::new(path).file("in/.state/key", "a\n1\n").fault().await;
        assert!(fault.contains("lies") || fault.contains("leave"), "{path}: {fault}");
    }
    let root = Root::new("a.csv").file("in/a.csv", "a\n1\n");
    let absolute = root.dir.path().canonicalize().unwrap().join("in/a.csv");
    let root = root.node(json!({"path": absolute.to_str().unwrap()}));
    assert_eq!(root.read().await.texts(), ["1"]);
}

#[tokio::test]
async fn tables_are_nobodys_files() {
    let root = Root::new("*/*/*.csv").file("lake/other/t.csv", "a\n1\n").file("in/all/a.csv", "a\n2\n");
    assert_eq!(root.read().await.texts(), ["2"]);
    for path in ["lake", "lake/other", "lake/other/t.csv", "lake/*/t.csv"] {
        let fault = Root::new(path).file("lake/other/t.csv", "a\n1\n").fault().await;
        assert!(fault.contains("lies in the folder of the tables"), "{path}: {fault}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn symbolic_links_do_not_leave_the_root() {
    use std::os::unix::fs::symlink;
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret.csv"), "a\n1\n").unwrap();
    let root = Root::new("in").file("in/a.csv", "a\n2\n").file(".state/key.csv", "a\n3\n");
    symlink(outside.path().join("secret.csv"), root.dir.path().join("in/b.csv")).unwrap();
    assert!(root.fault().await.contains("symbolic link"));
    assert!(root.node(json!({"path": "b.csv"})).fault().await.contains("symbolic link"));

    let root = Root::new("in").file("in/a.csv", "a\n2\n");
    symlink(outside.path(), root.dir.path().join("in/sub")).unwrap();
    assert!(root.fault().await.contains("symbolic link"));

    let root = Root::new("in/b.csv").file("in/a.csv", "a\n2\n").file(".state/key.csv", "a\n3\n");
    symlink(root.dir.path().join(".state"), root.dir.path().join("in/s")).unwrap();
    symlink(root.dir.path().join("in/a.csv"), root.dir.path().join("in/b.csv")).unwrap();
    assert_eq!(root.read().await.texts(), ["2"]);
    assert!(root.node(json!({"path": "/in"})).fault().await.contains("outside"));
    let mut root = Root::new("in/s/key.csv").file(".state/key.csv", "a\n3\n").file("in/a.csv", "");
    symlink(root.dir.path().join(".state"), root.dir.path().join("in/s")).unwrap();
    assert!(root.fault().await.contains("belongs to Flowgate"));
    root.config.insert("path".to_owned(), json!("in"));
    assert!(root.fault().await.contains("belongs to Flowgate"));
}

#[tokio::test]
async fn without_a_files_root_local_files_are_off() {
    let root = Root::with("a.csv", "a\n1\n");
    let mut settings = root.settings();
    settings.files_root = None;
    let error = probe(&root.connector(), &settings).await.unwrap_err();
    assert_eq!(error.kind, Kind::Source);
    assert!(error.message.contains("turned off"));
}

#[tokio::test]
async fn a_probe_tells_files_and_columns() {
    let root = Root::new("in").file("in/a.csv", "id,name\n1,x\n").file("in/b.csv", "id,name\n");
    let sentence = probe(&root.connector(), &root.settings()).await.unwrap();
    assert_eq!(sentence, "Found 2 csv files of 20 bytes; the columns of \"in/a.csv\" are id, name.");
    let root = Root::new(".").file("a.csv", "id\n").file("b.json", "[]");
    let sentence = probe(&root.connector(), &root.settings()).await.unwrap();
    assert_eq!(sentence, "The connector has files of several formats: 1 of csv, 1 of json.");
}

#[tokio::test]
async fn a_file_that_vanishes_is_a_fault_and_not_zero_rows() {
    let root = Root::new("in").file("in/a.csv", "a\n1\n");
    let progress = root.progress();
    let source = root.open(&progress).await.unwrap();
    assert_eq!(source.files()[0].size, 4);
    std::fs::remove_file(root.dir.path().join("in/a.csv")).unwrap();
    let context = datafusion::prelude::SessionContext::new();
    let read = context.read_table(source.provider(None, progress)).unwrap().collect().await;
    let error = crate::error::RunError::from(read.unwrap_err());
    assert_eq!((error.kind, error.node.as_deref()), (Kind::Source, Some("read")));
    assert!(error.message.contains("in/a.csv"), "{error}");
}

#[tokio::test]
async fn a_stream_that_is_dropped_stops_its_readers() {
    let text: String = (0..400_000).map(|i| format!("{i},{i}\n")).collect();
    let root = Root::with("a.csv", format!("a,b\n{text}"));
    let progress = root.progress();
    let source = root.open(&progress).await.unwrap();
    let context = datafusion::prelude::SessionContext::new();
    let table = source.provider(None, Arc::clone(&progress));
    let plan = table.scan(&context.state(), None, &[], None).await.unwrap();
    let mut stream = plan.execute(0, context.task_ctx()).unwrap();
    assert!(stream.next().await.unwrap().unwrap().num_rows() > 0);
    drop(stream);
    drop(plan);
    // The readers hold the source until they have stopped.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while Arc::strong_count(&source.inner) > 2 {
        assert!(std::time::Instant::now() < deadline, "the readers go on");
        tokio::task::yield_now().await;
    }
    // And it can be scanned again, from the start.
    let rows = context.read_table(table).unwrap().count().await.unwrap();
    assert_eq!(rows, 400_000);
}

#[tokio::test]
async fn one_partition_alone_can_read_everything() {
    let text: String = (0..100_000).map(|i| format!("{i}\n")).collect();
    let root = Root::with("a.csv", format!("a\n{text}"));
    let progress = root.progress();
    let source = root.open(&progress).await.unwrap();
    let context = datafusion::prelude::SessionContext::new();
    let plan = source.provider(None, progress).scan(&context.state(), Some(&vec![0]), &[], None).await.unwrap();
    let mut streams: Vec<_> = (0..3).map(|p| plan.execute(p, context.task_ctx()).unwrap()).collect();
    // The others have begun, mostly to wait, and are then left alone.
    let mut rows = 0;
    for stream in &mut streams {
        if let std::task::Poll::Ready(Some(batch)) = futures::poll!(stream.next()) {
            rows += batch.unwrap().num_rows();
        }
    }
    while let Some(batch) = streams[1].next().await {
        rows += batch.unwrap().num_rows();
    }
    assert_eq!(rows, 100_000);
}

/// Opens a file of 2 MiB and two bytes, and reads it to its end after `change` has seen it.
async fn read_while(change: impl FnOnce(&Path) + Send + 'static) -> Result<usize, RunError> {
    let root = Root::with("a.csv", format!("a\n{}", "1\n".repeat(1 << 20)));
    let (place, _) = Place::of(&root.connector(), &root.settings()).await.unwrap();
    let file = place.head("a.csv").await.unwrap().unwrap();
    let (path, runtime) = (root.dir.path().join("a.csv"), Handle::current());
    let read = move || -> Result<usize, RunError> {
        let mut opened = input::open(&place, &file, Encoding::Utf8, &runtime)?;
        change(&path);
        let mut text = Vec::new();
        opened.reader.read_to_end(&mut text).map_err(|e| input::read_error(&place, &file, e))?;
        Ok(text.len())
    };
    tokio::task::spawn_blocking(read).await.unwrap()
}

#[tokio::test]
async fn a_local_file_that_changes_while_it_is_read_is_a_fault() {
    let shortened = |path: &Path| open_to_write(path).set_len(1 << 20).unwrap();
    let appended = |path: &Path| open_to_write(path).set_len(3 << 20).unwrap();
    let rewritten = |path: &Path| open_to_write(path).set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    for read in [read_while(shortened).await, read_while(appended).await, read_while(rewritten).await] {
        let error = read.unwrap_err();
        assert_eq!(error.kind, Kind::SourceUnavailable, "{error}");
        assert!(error.message.contains("\"a.csv\" was changed while it was read"), "{error}");
    }
}

#[tokio::test]
async fn a_local_file_that_is_left_alone_or_replaced_by_another_is_read_whole() {
    assert_eq!(read_while(|_| ()).await.unwrap(), (2 << 20) + 2);
    let replaced = |path: &Path| {
        std::fs::write(path.with_extension("new"), "a\n2\n").unwrap();
        std::fs::rename(path.with_extension("new"), path).unwrap();
    };
    assert_eq!(read_while(replaced).await.unwrap(), (2 << 20) + 2);
}

fn open_to_write(path: &Path) -> std::fs::File {
    std::fs::File::options().write(true).open(path).unwrap()
}
