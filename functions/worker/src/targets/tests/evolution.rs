//! A table follows its schema to wider types, with the rows that it has and the runs that are on their way.

use super::*;
use datafusion::arrow::array::{Decimal128Array, Float32Array, Int16Array, Int32Array};
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

fn set(world: &mut World, field: usize, value: Value) {
    let mut all = value;
    all["name"] = json!(world.schema.fields[field].name);
    world.schema.fields[field] = serde_json::from_value(all).unwrap();
}

/// `id` is an integer without a key.
fn integers() -> World {
    World::new(json!([{ "name": "id", "dataType": "integer" }, { "name": "name", "dataType": "varchar", "length": 4 }]))
}

/// The types that the table's current files really have for a column, and what the log says of it.
fn types(world: &World, column: &str) -> (Vec<String>, String) {
    let (mut files, mut logged) = (std::collections::BTreeSet::new(), String::new());
    for version in 0..world.versions() {
        let path = world.table_folder().join(format!("_delta_log/{version:020}.json"));
        for action in std::fs::read_to_string(path).unwrap().lines() {
            let action: Value = serde_json::from_str(action).unwrap();
            if let Some(path) = action.pointer("/add/path").and_then(Value::as_str) {
                files.insert(path.to_owned());
            }
            if let Some(path) = action.pointer("/remove/path").and_then(Value::as_str) {
                assert!(files.remove(path), "{path} was there");
            }
            if let Some(schema) = action.pointer("/metaData/schemaString").and_then(Value::as_str) {
                let schema: Value = serde_json::from_str(schema).unwrap();
                let field = schema["fields"].as_array().unwrap().iter().find(|f| f["name"] == column).cloned();
                logged = field.map(|f| f["type"].as_str().unwrap().to_owned()).unwrap_or_default();
            }
        }
    }
    let of = |path: &String| {
        let file = std::fs::File::open(world.table_folder().join(path)).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        reader.schema().field_with_name(column).unwrap().data_type().to_string()
    };
    let mut all: Vec<String> = files.iter().map(of).collect();
    all.sort();
    all.dedup();
    (all, logged)
}

#[tokio::test]
async fn rows_that_are_there_keep_their_values_in_the_wider_type() {
    let mut world = World::new(json!([
        { "name": "small", "dataType": "smallint" },
        { "name": "whole", "dataType": "integer" },
        { "name": "share", "dataType": "real" },
        { "name": "price", "dataType": "decimal", "precision": 5, "scale": 2 },
        { "name": "word", "dataType": "varchar", "length": 3 },
    ]));
    let first = RecordBatch::try_from_iter_with_nullable([
        ("small", Arc::new(Int16Array::from(vec![Some(i16::MIN), None])) as ArrayRef, true),
        ("whole", Arc::new(Int32Array::from(vec![Some(i32::MAX), None])), true),
        ("share", Arc::new(Float32Array::from(vec![Some(0.5), None])), true),
        (
            "price",
            Arc::new(Decimal128Array::from(vec![Some(99_999), None]).with_precision_and_scale(5, 2).unwrap()),
            true,
        ),
        ("word", Arc::new(StringArray::from(vec![Some("abc"), None])), true),
    ])
    .unwrap();
    world.run("run_1", append(), &[first]).await.unwrap();
    for (field, value) in [
        json!({ "dataType": "integer" }),
        json!({ "dataType": "bigint" }),
        json!({ "dataType": "double" }),
        json!({ "dataType": "decimal", "precision": 38, "scale": 2 }),
        json!({ "dataType": "text" }),
    ]
    .into_iter()
    .enumerate()
    {
        set(&mut world, field, value);
    }
    let before = world.rows().await;
    assert_eq!(before[0]["price"], json!("999.99"), "until the next run the files are as they were");
    let text = |v: &str| -> ArrayRef { Arc::new(StringArray::from(vec![v])) };
    let second = RecordBatch::try_from_iter([
        ("small", text("70000")),
        ("whole", text("3000000000")),
        ("share", text("0.1")),
        ("price", text("123456789012345678901234567890123456.78")),
        ("word", text("a longer word")),
    ])
    .unwrap();
    world.run("run_2", append(), &[second]).await.unwrap();
    let mut rows = world.rows().await;
    rows.sort_by_key(|row| row["word"].to_string());
    assert_eq!(
        json!(rows),
        json!([
            { "small": 70000, "whole": 3_000_000_000_i64, "share": 0.1, "price": "123456789012345678901234567890123456.78",
              "word": "a longer word" },
            { "small": -32768, "whole": 2_147_483_647, "share": 0.5, "price": "999.99", "word": "abc" },
            { "small": null, "whole": null, "share": null, "price": null, "word": null },
        ])
    );
    assert_eq!(types(&world, "small"), (vec!["Int32".to_owned()], "integer".to_owned()));
    assert_eq!(types(&world, "share"), (vec!["Float64".to_owned()], "double".to_owned()));
    assert_eq!(types(&world, "price"), (vec!["Decimal128(38, 2)".to_owned()], "decimal(38,2)".to_owned()));
}

#[tokio::test]
async fn several_changes_in_a_row_and_upserts_after_them() {
    let mut world = World::new(json!([
        { "name": "id", "dataType": "smallint", "isPrimaryKey": true }, { "name": "name", "dataType": "text" },
    ]));
    world.run("run_1", upsert(), &[people(1, &[(1, "a"), (2, "b")])]).await.unwrap();
    set(&mut world, 0, json!({ "dataType": "integer", "isPrimaryKey": true }));
    world.run("run_2", upsert(), &[people(1, &[(2, "B"), (70_000, "c")])]).await.unwrap();
    set(&mut world, 0, json!({ "dataType": "bigint", "isPrimaryKey": true }));
    world.schema.fields.push(serde_json::from_value(json!({ "name": "more", "dataType": "date" })).unwrap());
    world.run("run_3", upsert(), &[people(1, &[(1, "A"), (3_000_000_000, "d")])]).await.unwrap();
    assert_eq!(world.people().await, ["1:A", "2:B", "3000000000:d", "70000:c"]);
    assert_eq!(types(&world, "id"), (vec!["Int64".to_owned()], "long".to_owned()));
    world.run("run_4", truncate(), &[people(1, &[(5, "e")])]).await.unwrap();
    assert_eq!(world.people().await, ["5:e"]);
}

#[tokio::test]
async fn a_run_in_flight_with_the_old_schema_still_gets_in() {
    for mode in [append(), json!({ "loadMode": "upsert", "upsertKey": ["id"] })] {
        let mut world = integers();
        world.run("run_0", append(), &[people(1, &[(1, "a")])]).await.unwrap();
        let mut slow = world.open("run_1", mode.clone(), &[]).await.unwrap();
        world.stage(&mut slow, &[vec![people(1, &[(2, "b")])]]).await.unwrap();
        let old = world.schema.clone();
        set(&mut world, 0, json!({ "dataType": "bigint" }));
        set(&mut world, 1, json!({ "dataType": "text" }));
        world.run("run_2", append(), &[people(1, &[(3_000_000_000, "longer than four")])]).await.unwrap();
        world.commit(&mut slow).await.unwrap();
        assert_eq!(world.people().await, ["1:a", "2:b", "3000000000:longer than four"], "{mode}");
        assert_eq!(types(&world, "id"), (vec!["Int64".to_owned()], "long".to_owned()));
        // One that begins with the old schema, too.
        let new = std::mem::replace(&mut world.schema, old);
        world.run("run_3", mode.clone(), &[people(1, &[(4, "d")])]).await.unwrap();
        world.schema = new;
        assert_eq!(world.rows().await.len(), 4);
        assert_eq!(types(&world, "id").0, ["Int64"]);
    }
}

#[tokio::test]
async fn a_retry_replaces_rows_that_were_widened_since() {
    let mut world =
        World::new(json!([{ "name": "id", "dataType": "smallint" }, { "name": "name", "dataType": "text" }]));
    world.run("run_0", append(), &[people(1, &[(9, "z")])]).await.unwrap();
    let done = world.run("run_1", append(), &[people(1, &[(1, "a"), (70_000, "b")])]).await.unwrap();
    assert_eq!((done.rows_out, done.rejected), (1, 1));
    set(&mut world, 0, json!({ "dataType": "integer" }));
    world.run("run_5", append(), &[people(1, &[(8, "y")])]).await.unwrap();
    set(&mut world, 0, json!({ "dataType": "bigint" }));
    let mut attempt =
        world.open("run_2", append(), &[Earlier { run_id: "run_1".to_owned(), replace: true }]).await.unwrap();
    world.stage(&mut attempt, &[vec![people(1, &[(1, "a"), (70_000, "b")])]]).await.unwrap();
    world.commit(&mut attempt).await.unwrap();
    assert_eq!(world.people().await, ["1:a", "70000:b", "8:y", "9:z"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_that_widen_a_table_at_once_widen_it_once() {
    let mut world = integers();
    for run in 0..3_i64 {
        world.run(&format!("old_{run}"), append(), &[people(1, &[(run, "a")])]).await.unwrap();
    }
    set(&mut world, 0, json!({ "dataType": "bigint" }));
    let world = Arc::new(world);
    let mut tasks = tokio::task::JoinSet::new();
    for run in 0..4_i64 {
        let world = Arc::clone(&world);
        tasks.spawn(async move {
            world.run(&format!("run_{run}"), append(), &[people(1, &[(10 + run, "b")])]).await.unwrap()
        });
    }
    tasks.join_all().await;
    assert_eq!(world.rows().await.len(), 7);
    assert_eq!(world.versions(), 1 + 3 + 1 + 4);
    // Three files of before, three that stand for them, and four of the runs.
    assert_eq!(world.files_on_disk(), 10);
}

#[tokio::test]
async fn pages_hold_while_a_table_is_widened() {
    let mut world = integers();
    world.run("run_1", append(), &[people(1, &[(1, "a"), (2, "b"), (3, "c")])]).await.unwrap();
    let request = PageRequest { limit: 2, bytes: usize::MAX, position: None, include_total: false };
    let first = read_page("acme", &world.schema, &world.settings, request.clone()).await.unwrap();
    set(&mut world, 0, json!({ "dataType": "bigint" }));
    world.run("run_2", append(), &[people(1, &[(4, "d")])]).await.unwrap();
    let request = PageRequest { position: first.next, ..request };
    let second = read_page("acme", &world.schema, &world.settings, request).await.unwrap();
    assert_eq!((second.rows.len(), &second.rows[0]["id"], second.next), (1, &json!(3), None));
}

#[tokio::test]
async fn many_rows_are_widened_in_batches() {
    let mut world = integers();
    let rows: Vec<(i64, &str)> = (0..100_000).map(|id| (id, "x")).collect();
    world.run("run_1", append(), &[people(1, &rows)]).await.unwrap();
    set(&mut world, 0, json!({ "dataType": "bigint" }));
    world.run("run_2", append(), &[people(1, &[(-1, "y")])]).await.unwrap();
    let mut ids: Vec<i64> = world.rows().await.iter().map(|row| row["id"].as_i64().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, (-1..100_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_a_dead_attempt_left_of_a_widening_is_removed_by_the_next_attempt() {
    let fields =
        |data_type: &str| json!([{ "name": "id", "dataType": data_type }, { "name": "name", "dataType": "text" }]);
    let mut world = World::new(fields("integer"));
    world.run("run_1", append(), &[people(1, &[(1, "Ada")])]).await.unwrap();
    world.schema.fields = serde_json::from_value(fields("bigint")).unwrap();
    drop(world.open("run_2", append(), &[]).await.unwrap());
    let mut folder = world.table_folder().join("widened");
    let widened = loop {
        let inside = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
        if inside.is_file() {
            break inside;
        }
        folder = inside;
    };
    // Of one that came second; and of one that is under way, in the place of a file that nobody has replaced.
    let (dead, busy) = (folder.join("dead.parquet"), folder.join("part/busy.parquet"));
    std::fs::create_dir(folder.join("part")).unwrap();
    std::fs::copy(&widened, &dead).unwrap();
    std::fs::copy(&widened, &busy).unwrap();
    drop(world.open("run_2", append(), &[]).await.unwrap());
    assert!(dead.exists(), "a first attempt has nobody before it");
    let second = Job { attempt: 2, ..world.job("run_2", &[]) };
    drop(world.open_for(&second, append()).await.unwrap());
    assert_eq!([&dead, &busy, &widened].map(|path| path.exists()), [false, true, true]);
    assert_eq!(world.people().await, ["1:Ada"]);
}
