//! What each load mode does to the table.

use super::*;
use crate::error::Kind;

#[tokio::test]
async fn append_adds_rows_and_a_table_that_is_not_there_yet_is_empty() {
    let world = World::customers();
    assert!(world.rows().await.is_empty());
    assert!(!world.table_folder().exists(), "reading makes no table");
    let done = world.run("run_1", append(), &[people(1, &[(1, "Ada"), (2, "Bob")])]).await.unwrap();
    assert_eq!((done.rows_out, done.skipped, done.version), (2, 0, 1));
    world.run("run_2", append(), &[people(1, &[(1, "Ada")])]).await.unwrap();
    assert_eq!(world.people().await, ["1:Ada", "1:Ada", "2:Bob"]);
}

#[tokio::test]
async fn a_folder_with_an_empty_log_is_no_table_yet() {
    let world = World::customers();
    std::fs::create_dir_all(world.table_folder().join("_delta_log")).unwrap();
    assert!(world.rows().await.is_empty());
    world.run("run_1", append(), &[people(1, &[(1, "Ada")])]).await.unwrap();
    assert_eq!(world.people().await, ["1:Ada"]);
}

#[tokio::test]
async fn a_run_without_good_rows_leaves_an_empty_version() {
    let world = World::customers();
    let done = world.run("run_1", append(), &[people(1, &[])]).await.unwrap();
    assert_eq!((done.rows_out, done.version), (0, 1));
    assert_eq!((world.versions(), world.files_on_disk()), (2, 0));
    assert!(world.rows().await.is_empty());
}

#[tokio::test]
async fn truncate_replaces_all_rows_but_never_with_nothing() {
    let world = World::customers();
    world.run("run_1", append(), &[people(1, &[(1, "Ada")])]).await.unwrap();
    world.run("run_2", truncate(), &[people(1, &[(2, "Bob")])]).await.unwrap();
    assert_eq!(world.people().await, ["2:Bob"]);
    let refused = world.run("run_3", truncate(), &[people(1, &[])]).await.unwrap_err();
    assert_eq!((refused.kind, refused.kind.code()), (Kind::Target, "TARGET_ERROR"));
    assert_eq!(world.people().await, ["2:Bob"]);
    world.run("run_4", json!({ "loadMode": "truncate", "allowEmpty": true }), &[people(1, &[])]).await.unwrap();
    assert!(world.rows().await.is_empty());
}

#[tokio::test]
async fn upsert_replaces_rows_of_the_same_key_and_the_last_of_a_batch_wins() {
    let world = World::customers();
    world.run("run_1", append(), &[people(1, &[(1, "Ada"), (2, "Bob"), (3, "Cy")])]).await.unwrap();
    let mut attempt = world.open("run_2", upsert(), &[]).await.unwrap();
    // Two partitions, so that the last row is not the one that comes last.
    let parts = [vec![people(10, &[(2, "Bea"), (9, "Ina")])], vec![people(1, &[(2, "Ben"), (4, "Dan")])]];
    world.stage(&mut attempt, &parts).await.unwrap();
    let done = world.commit(&mut attempt).await.unwrap();
    assert_eq!((done.rows_out, done.skipped), (3, 1));
    assert_eq!(attempt.counters.deduplicated.load(Relaxed), 1);
    assert_eq!(world.people().await, ["1:Ada", "2:Bea", "3:Cy", "4:Dan", "9:Ina"]);
}

#[tokio::test]
async fn upsert_leaves_files_without_its_keys_alone() {
    let world = World::customers();
    world.run("run_1", append(), &[people(1, &[(1, "Ada")])]).await.unwrap();
    world.run("run_2", append(), &[people(1, &[(5, "Eve"), (6, "Fay")])]).await.unwrap();
    world.run("run_3", upsert(), &[people(1, &[(6, "Flo")])]).await.unwrap();
    assert_eq!(world.people().await, ["1:Ada", "5:Eve", "6:Flo"]);
    let log = std::fs::read_to_string(world.table_folder().join("_delta_log/00000000000000000003.json")).unwrap();
    let removed: Vec<&str> = log.lines().filter(|line| line.starts_with("{\"remove\"")).collect();
    assert_eq!(removed.len(), 1, "{log}");
    assert!(removed[0].contains("run_2/"), "{log}");
}

#[tokio::test]
async fn upsert_by_several_text_keys_tells_rows_apart_by_all_of_them() {
    let world = World::new(json!([
        { "name": "Country", "dataType": "varchar" },
        { "name": "name", "dataType": "varchar" },
        { "name": "id", "dataType": "integer" },
    ]));
    let batch = |rows: &[(&str, &str, i64)]| {
        let country: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|r| r.0)));
        let name: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|r| r.1)));
        let id: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.2)));
        RecordBatch::try_from_iter([("Country", country), ("name", name), ("id", id)]).unwrap()
    };
    let config = json!({ "loadMode": "upsert", "upsertKey": ["Country", "name"] });
    world.run("run_1", config.clone(), &[batch(&[("de", "Ada", 1), ("fr", "Ada", 2)])]).await.unwrap();
    world.run("run_2", config, &[batch(&[("fr", "Ada", 3), ("fr", "Bob", 4)])]).await.unwrap();
    assert_eq!(world.people().await, ["1:Ada", "3:Ada", "4:Bob"]);
}

#[tokio::test]
async fn upsert_without_a_key_is_refused() {
    let world = World::new(json!([{ "name": "a", "dataType": "text" }]));
    let error = world.open("run_1", upsert(), &[]).await.err().unwrap();
    assert_eq!(error.kind, Kind::Definition);
    let error = world.open("run_1", json!({ "loadMode": "upsert", "upsertKey": ["b"] }), &[]).await.err().unwrap();
    assert!(error.message.contains("\"b\" is not a field"), "{error}");
}

#[tokio::test]
async fn fields_that_the_schema_gains_are_added_with_the_next_run() {
    let mut world = World::customers();
    world.run("run_1", append(), &[people(1, &[(1, "Ada")])]).await.unwrap();
    let more = json!([
        { "name": "since", "dataType": "timestamp" },
        { "name": "level", "dataType": "integer", "isNullable": false, "defaultValue": 7 },
    ]);
    world.schema.fields.extend(serde_json::from_value::<Vec<Field>>(more).unwrap());
    world.run("run_2", append(), &[people(1, &[(2, "Bob")])]).await.unwrap();
    let rows = world.rows().await;
    assert_eq!(rows[0].get("level"), Some(&Value::Null));
    assert_eq!(rows[1].get("level"), Some(&json!(7)));
    assert_eq!(rows[1].keys().collect::<Vec<_>>(), ["id", "name", "since", "level"]);
    // The rows that lack the field are rewritten all the same.
    world.run("run_3", upsert(), &[people(1, &[(1, "Amy"), (3, "Cy")])]).await.unwrap();
    assert_eq!(world.people().await, ["1:Amy", "2:Bob", "3:Cy"]);
}

#[tokio::test]
async fn a_field_that_changes_its_type_is_refused_before_a_row_is_read() {
    let mut world = World::customers();
    world.run("run_1", append(), &[people(1, &[(1, "Ada")])]).await.unwrap();
    world.schema.fields[0] = serde_json::from_value(json!({ "name": "id", "dataType": "uuid" })).unwrap();
    let error = world.open("run_2", append(), &[]).await.err().unwrap();
    assert_eq!(error.kind, Kind::Target);
    assert!(error.message.contains("\"id\""), "{error}");
}

#[tokio::test]
async fn unique_values_are_kept_apart_within_a_run_only() {
    let world = World::new(json!([
        { "name": "id", "dataType": "bigint", "isUnique": true },
        { "name": "name", "dataType": "text" },
    ]));
    let mut attempt = world.open("run_1", append(), &[]).await.unwrap();
    let batch = people(1, &[(1, "Ada"), (2, "Bob"), (1, "Cy")]);
    world.stage(&mut attempt, &[vec![batch.clone(), batch.clone()]]).await.unwrap();
    assert_eq!(world.commit(&mut attempt).await.unwrap().rows_out, 2);
    let errors = attempt.errors();
    assert_eq!(errors.iter().map(|error| error.row.unwrap()).collect::<Vec<_>>(), [1, 2, 3, 3]);
    assert_eq!((errors[3].column.as_str(), errors[3].value.as_deref()), ("id", Some("1")));
    assert_eq!(attempt.progress.rejected(), 4);
    world.run("run_2", append(), &[people(1, &[(1, "Dan")])]).await.unwrap();
    assert_eq!(world.people().await, ["1:Ada", "1:Dan", "2:Bob"]);
}
