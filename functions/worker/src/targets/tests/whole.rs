//! What must be unique is so in the whole table after an upsert.

use super::*;
use crate::error::Kind;

/// `id` is the key, `name` must be unique.
fn world() -> World {
    World::new(json!([
        { "name": "id", "dataType": "bigint", "isPrimaryKey": true },
        { "name": "name", "dataType": "text", "isUnique": true },
    ]))
}

async fn upserted(world: &World, run: &str, rows: &[(i64, &str)]) -> (Committed, Vec<RowError>) {
    let mut attempt = world.open(run, upsert(), &[]).await.unwrap();
    world.stage(&mut attempt, &[vec![people(1, rows)]]).await.unwrap();
    let c = &attempt.counters;
    let [came, went, bad] = [&c.rows_in, &c.rows_out, &c.rejected].map(|count| count.load(Relaxed));
    assert_eq!(came, went + bad);
    (world.commit(&mut attempt).await.unwrap(), attempt.errors())
}

#[tokio::test]
async fn a_value_of_another_row_of_the_table_is_rejected() {
    let world = world();
    upserted(&world, "run_1", &[(1, "Ada"), (2, "Bob")]).await;
    let (done, errors) = upserted(&world, "run_2", &[(3, "Ada"), (2, "Ben"), (4, "Dan")]).await;
    assert_eq!((done.rows_out, done.rejected), (2, 1));
    let error = &errors[0];
    assert_eq!((error.row, error.column.as_str(), error.value.as_deref()), (Some(1), "name", Some("Ada")));
    assert!(error.error.contains("a row of the table with another key has it"), "{}", error.error);
    assert_eq!(world.people().await, ["1:Ada", "2:Ben", "4:Dan"]);
}

#[tokio::test]
async fn rows_of_one_run_may_exchange_their_values() {
    let world = world();
    upserted(&world, "run_1", &[(1, "Ada"), (2, "Bob"), (3, "Cy")]).await;
    let (done, errors) = upserted(&world, "run_2", &[(1, "Bob"), (2, "Ada"), (3, "Cy")]).await;
    assert_eq!((done.rows_out, errors.len()), (3, 0));
    assert_eq!(world.people().await, ["1:Bob", "2:Ada", "3:Cy"]);
}

#[tokio::test]
async fn a_row_that_is_rejected_keeps_its_old_value_and_others_from_it() {
    let world = world();
    upserted(&world, "run_1", &[(1, "a"), (2, "b"), (3, "c"), (9, "z")]).await;
    // 3 wants what 9 has and keeps; so 2 cannot have what 3 has, nor 1 what 2 has.
    let (done, errors) = upserted(&world, "run_2", &[(1, "b"), (2, "c"), (3, "z"), (4, "d")]).await;
    assert_eq!((done.rows_out, errors.len()), (1, 3));
    assert_eq!(world.people().await, ["1:a", "2:b", "3:c", "4:d", "9:z"]);
}

#[tokio::test]
async fn null_is_never_equal_to_anything() {
    let world = world();
    let batch = |ids: &[i64]| {
        let ids: ArrayRef = Arc::new(Int64Array::from(ids.to_vec()));
        let names: ArrayRef = Arc::new(StringArray::from(vec![None::<&str>; ids.len()]));
        RecordBatch::try_from_iter_with_nullable([("id", ids, true), ("name", names, true)]).unwrap()
    };
    world.run("run_1", upsert(), &[batch(&[1, 2])]).await.unwrap();
    world.run("run_2", upsert(), &[batch(&[2, 3])]).await.unwrap();
    assert_eq!(world.rows().await.len(), 3);
}

#[tokio::test]
async fn a_primary_key_holds_in_an_upsert_by_another_key() {
    let world = World::customers();
    let by_name = || json!({ "loadMode": "upsert", "upsertKey": ["name"] });
    world.run("run_1", by_name(), &[people(1, &[(1, "Ada"), (2, "Bob")])]).await.unwrap();
    let mut attempt = world.open("run_2", by_name(), &[]).await.unwrap();
    world.stage(&mut attempt, &[vec![people(1, &[(1, "Cy"), (7, "Ada")])]]).await.unwrap();
    world.commit(&mut attempt).await.unwrap();
    // 7 takes the place of 1, so that 1 is free for Cy.
    assert_eq!(world.people().await, ["1:Cy", "2:Bob", "7:Ada"]);
    let mut attempt = world.open("run_3", by_name(), &[]).await.unwrap();
    world.stage(&mut attempt, &[vec![people(1, &[(2, "Dan")])]]).await.unwrap();
    assert_eq!((attempt.errors().len(), attempt.errors()[0].column.as_str()), (1, "id"));
    world.commit(&mut attempt).await.unwrap();
    assert_eq!(world.people().await, ["1:Cy", "2:Bob", "7:Ada"]);
}

#[tokio::test]
async fn a_value_that_another_run_brought_meanwhile_makes_the_run_check_again() {
    let world = world();
    let mut slow = world.open("run_1", upsert(), &[]).await.unwrap();
    world.stage(&mut slow, &[vec![people(1, &[(1, "Ada"), (2, "Bob")])]]).await.unwrap();
    upserted(&world, "run_2", &[(3, "Cy")]).await;
    upserted(&world, "run_3", &[(4, "Ada")]).await;
    let error = world.commit(&mut slow).await.unwrap_err();
    assert!(error.kind == Kind::TargetUnavailable && error.message.contains("must be unique"), "{error}");
    slow.target.abort().await;
    let (done, errors) = upserted(&world, "run_1", &[(1, "Ada"), (2, "Bob")]).await;
    assert_eq!((done.rows_out, errors.len()), (1, 1));
    assert_eq!(world.people().await, ["2:Bob", "3:Cy", "4:Ada"]);
}

#[tokio::test]
async fn files_have_no_column_that_the_table_has_not() {
    let world = world();
    upserted(&world, "run_1", &[(1, "Ada")]).await;
    upserted(&world, "run_2", &[(1, "Amy"), (2, "Bob"), (3, "Amy")]).await;
    assert_eq!(world.people().await, ["1:Amy", "2:Bob"]);
    let row = world.rows().await.remove(0);
    assert_eq!(row.keys().collect::<Vec<_>>(), ["id", "name"]);
    let mut added = 0;
    for version in 0..world.versions() {
        let path = world.table_folder().join(format!("_delta_log/{version:020}.json"));
        added += std::fs::read_to_string(path).unwrap().lines().filter(|line| line.starts_with("{\"add\"")).count();
    }
    assert_eq!(world.files_on_disk(), added, "what was staged on the way is gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_rows_are_checked_in_little_memory() {
    let mut world = world();
    // Little enough that the joins sort instead of hashing.
    world.settings.memory_bytes = 1 << 20;
    let names: Vec<String> = (0..20_000).map(|n| format!("name {n}")).collect();
    let first: Vec<(i64, &str)> = (0..20_000).map(|n| (n, names[n as usize].as_str())).collect();
    upserted(&world, "run_1", &first).await;
    // Half of them have names of rows that stay.
    let second: Vec<(i64, &str)> = (0..10_000).map(|n| (100_000 + n, names[n as usize].as_str())).collect();
    let (done, _) = upserted(&world, "run_2", &second).await;
    assert_eq!((done.rows_out, done.rejected), (0, 10_000));
    assert_eq!(world.rows().await.len(), 20_000);
}
