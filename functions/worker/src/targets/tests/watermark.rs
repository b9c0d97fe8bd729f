//! Incremental loads bring each row once, whoever else loads meanwhile.

use super::*;
use crate::error::Kind;
use crate::targets::settle;

/// `id` and `name` without a key.
fn world() -> World {
    World::new(json!([{ "name": "id", "dataType": "integer" }, { "name": "name", "dataType": "text" }]))
}

fn past() -> Value {
    json!({ "loadMode": "incremental_watermark", "watermarkColumn": "id" })
}

fn stored(world: &World) -> Option<Value> {
    let mut found = None;
    for version in 0.. {
        let path = world.table_folder().join(format!("_delta_log/{version:020}.json"));
        let Ok(text) = std::fs::read_to_string(path) else { break };
        for action in text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
            if let Some(configuration) = action.pointer("/metaData/configuration") {
                let text = configuration.get("flowgate.watermark.id").and_then(Value::as_str);
                found = text.map(|text| serde_json::from_str(text).unwrap());
            }
        }
    }
    found
}

#[tokio::test]
async fn the_first_load_takes_all_and_the_next_only_what_is_past_it() {
    let world = world();
    let done = world.run("run_1", past(), &[people(1, &[(1, "a"), (3, "c"), (2, "b")])]).await.unwrap();
    assert_eq!((done.rows_out, done.skipped), (3, 0));
    assert_eq!(stored(&world).unwrap()["value"], "3");
    let done =
        world.run("run_2", past(), &[people(1, &[(1, "a"), (3, "c"), (2, "b"), (5, "e"), (4, "d")])]).await.unwrap();
    assert_eq!((done.rows_out, done.skipped), (2, 3));
    assert_eq!(world.people().await, ["1:a", "2:b", "3:c", "4:d", "5:e"]);
    let versions = world.versions();
    let done = world.run("run_3", past(), &[people(1, &[(1, "a")])]).await.unwrap();
    assert_eq!((done.rows_out, done.skipped, world.versions()), (0, 1, versions + 1));
    assert_eq!(stored(&world).unwrap()["value"], "5");
}

#[tokio::test]
async fn rows_with_just_the_watermark_are_neither_lost_nor_doubled() {
    let world = world();
    world.run("run_1", past(), &[people(1, &[(1, "a"), (3, "c"), (3, "c")])]).await.unwrap();
    let all = [(1, "a"), (3, "c"), (3, "c"), (3, "c"), (3, "d"), (4, "e")];
    let done = world.run("run_2", past(), &[people(1, &all)]).await.unwrap();
    assert_eq!((done.rows_out, done.skipped), (3, 3));
    assert_eq!(world.people().await, ["1:a", "3:c", "3:c", "3:c", "3:d", "4:e"]);
}

#[tokio::test]
async fn a_primary_key_tells_which_rows_are_there() {
    let world = World::new(json!([
        { "name": "key", "dataType": "text", "isPrimaryKey": true },
        { "name": "id", "dataType": "integer" },
        { "name": "name", "dataType": "text" },
    ]));
    let batch = |rows: &[(&str, i64, &str)]| {
        let key: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|r| r.0)));
        let id: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.1)));
        let name: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|r| r.2)));
        RecordBatch::try_from_iter([("key", key), ("id", id), ("name", name)]).unwrap()
    };
    world.run("run_1", past(), &[batch(&[("x", 1, "a"), ("y", 2, "b")])]).await.unwrap();
    world.run("run_2", past(), &[batch(&[("x", 1, "a"), ("y", 2, "new name"), ("z", 2, "b")])]).await.unwrap();
    assert_eq!(world.people().await, ["1:a", "2:b", "2:b"]);
}

#[tokio::test]
async fn a_row_without_a_watermark_is_rejected_and_one_below_it_is_not_looked_at() {
    let mut world = world();
    world.schema.fields[1].length = Some(3);
    world.schema.fields[1].data_type = shared::models::node::DataTypeName::Varchar;
    world.run("run_1", past(), &[people(1, &[(5, "a")])]).await.unwrap();
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(6)]));
    let names: ArrayRef = Arc::new(StringArray::from(vec!["too long", "b", "c"]));
    let rows: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    let batch =
        RecordBatch::try_from_iter_with_nullable([("id", ids, true), ("name", names, true), (ROW_COLUMN, rows, true)]);
    let mut attempt = world.open("run_2", past(), &[]).await.unwrap();
    world.stage(&mut attempt, &[vec![batch.unwrap()]]).await.unwrap();
    let done = world.commit(&mut attempt).await.unwrap();
    assert_eq!((done.rows_out, done.skipped, done.rejected), (1, 1, 1));
    let error = &attempt.errors()[0];
    assert_eq!((error.row, error.column.as_str()), (Some(2), "id"));
    assert!(error.error.contains("the watermark"), "{}", error.error);
}

#[tokio::test]
async fn of_two_runs_that_read_one_watermark_the_later_is_refused_and_reads_again() {
    let world = world();
    world.run("run_0", past(), &[people(1, &[(1, "a")])]).await.unwrap();
    // Both bring a row of just the watermark: afterwards it is the same value.
    let rows = [people(1, &[(1, "a"), (1, "b")])];
    let mut slow = world.open("run_1", past(), &[]).await.unwrap();
    world.stage(&mut slow, &[rows.to_vec()]).await.unwrap();
    world.run("run_2", past(), &rows).await.unwrap();
    let error = world.commit(&mut slow).await.unwrap_err();
    assert!(error.kind == Kind::TargetUnavailable && error.message.contains("watermark"), "{error}");
    slow.target.abort().await;
    assert_eq!(world.people().await, ["1:a", "1:b"]);
    let done = world.run("run_1", past(), &rows).await.unwrap();
    assert_eq!((done.rows_out, done.skipped), (0, 2));
    assert_eq!(world.people().await, ["1:a", "1:b"]);
}

#[tokio::test]
async fn a_retry_reads_from_before_the_run_that_it_replaces() {
    let world = world();
    world.run("run_0", past(), &[people(1, &[(1, "a")])]).await.unwrap();
    world.run("run_1", past(), &[people(1, &[(1, "a"), (2, "b")])]).await.unwrap();
    let earlier = [Earlier { run_id: "run_1".to_owned(), replace: true }];
    let mut attempt = world.open("run_2", past(), &earlier).await.unwrap();
    world.stage(&mut attempt, &[vec![people(1, &[(1, "a"), (2, "b"), (3, "c")])]]).await.unwrap();
    world.commit(&mut attempt).await.unwrap();
    assert_eq!(world.people().await, ["1:a", "2:b", "3:c"]);
    assert_eq!(stored(&world).unwrap()["value"], "3");
    // Others have gone on from the first run since.
    let error =
        world.open("run_3", past(), &[Earlier { run_id: "run_0".to_owned(), replace: true }]).await.err().unwrap();
    assert!(error.message.contains("is not the last that moved the watermark"), "{error}");
}

#[tokio::test]
async fn a_first_load_that_is_replaced_by_nothing_leaves_no_watermark() {
    let world = world();
    world.run("run_1", past(), &[people(1, &[(1, "a")])]).await.unwrap();
    let mut attempt =
        world.open("run_2", past(), &[Earlier { run_id: "run_1".to_owned(), replace: true }]).await.unwrap();
    world.stage(&mut attempt, &[vec![people(1, &[])]]).await.unwrap();
    world.commit(&mut attempt).await.unwrap();
    assert_eq!((world.people().await, stored(&world)), (vec![], None));
}

#[tokio::test]
async fn the_watermark_is_found_behind_checkpoints_and_a_cleaned_log() {
    let world = world();
    world.run("run_1", past(), &[people(1, &[(7, "a")])]).await.unwrap();
    for run in 0..101 {
        settle("acme", &world.schema, &format!("void_{run}"), &[], &world.settings).await.unwrap();
    }
    for version in 0..90 {
        std::fs::remove_file(world.table_folder().join(format!("_delta_log/{version:020}.json"))).unwrap();
    }
    let done = world.run("run_2", past(), &[people(1, &[(6, "x"), (7, "a"), (8, "b")])]).await.unwrap();
    assert_eq!((done.rows_out, done.skipped), (1, 2));
}

#[tokio::test]
async fn the_watermark_goes_on_when_its_field_is_widened() {
    let mut world = world();
    world.run("run_1", past(), &[people(1, &[(7, "a")])]).await.unwrap();
    world.schema.fields[0].data_type = shared::models::node::DataTypeName::Bigint;
    let done = world.run("run_2", past(), &[people(1, &[(7, "a"), (3_000_000_000, "b")])]).await.unwrap();
    assert_eq!((done.rows_out, done.skipped), (1, 1));
    assert_eq!(world.people().await, ["3000000000:b", "7:a"]);
}

#[tokio::test]
async fn a_text_that_is_too_long_for_a_watermark_is_refused_before_the_commit() {
    let world = world();
    let by_name = || json!({ "loadMode": "incremental_watermark", "watermarkColumn": "name" });
    let longest = "é".repeat(512);
    let longer = format!("{longest}x");
    let done = world.run("run_1", by_name(), &[people(1, &[(1, "a"), (2, longest.as_str())])]).await.unwrap();
    assert_eq!(done.rows_out, 2);
    let before = (world.versions(), world.files_on_disk());
    let error = world.run("run_2", by_name(), &[people(1, &[(3, longer.as_str())])]).await.unwrap_err();
    assert_eq!((error.kind, error.node.as_deref()), (Kind::Target, Some("out")));
    for part in ["\"name\"", "1025 bytes", "1024 at most", "éé", "a number or a time"] {
        assert!(error.message.contains(part), "{error}");
    }
    assert_eq!((world.versions(), world.files_on_disk()), before);
    // What is not the greatest is no watermark.
    let done = world.run("run_3", by_name(), &[people(1, &[(3, longer.as_str()), (4, "ê")])]).await.unwrap();
    assert_eq!(done.rows_out, 2);
}

#[tokio::test]
async fn a_watermark_that_does_not_reach_the_target_is_a_fault() {
    let world = world();
    let error = world.open("run_1", json!({ "loadMode": "incremental_watermark" }), &[]).await.err().unwrap();
    assert_eq!(error.kind, Kind::Definition);
    let mut attempt = world.open("run_1", past(), &[]).await.unwrap();
    let names: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
    let batch = RecordBatch::try_from_iter([("name", names)]).unwrap();
    let error = world.stage(&mut attempt, &[vec![batch]]).await.unwrap_err();
    assert!(error.message.contains("no column has its name"), "{error}");
}

#[tokio::test]
async fn a_run_that_is_stopped_reads_no_rows_of_the_watermark() {
    let world = world();
    world.run("run_1", past(), &[people(1, &[(1, "a")])]).await.unwrap();
    let mut attempt = world.open("run_2", past(), &[]).await.unwrap();
    // Who reads the table finds its only file gone.
    std::fs::remove_dir_all(world.table_folder().join("run_1")).unwrap();
    let stop = CancellationToken::new();
    stop.cancel();
    let plan = plan(&[vec![people(1, &[(1, "b")])]]);
    let (counters, progress) = (Arc::clone(&attempt.counters), Arc::clone(&attempt.progress));
    let staged = attempt.target.stage(plan, world.session.task_ctx(), counters, progress, &stop).await;
    assert_eq!(staged.unwrap_err().kind, Kind::Cancelled);
}
