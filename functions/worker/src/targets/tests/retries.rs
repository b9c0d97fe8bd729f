//! A retry fills what is missing, and replaces what a run with errors wrote.

use super::*;
use crate::error::Kind;

fn after(run_id: &str, replace: bool) -> Vec<Earlier> {
    vec![Earlier { run_id: run_id.to_owned(), replace }]
}

async fn retry(
    world: &World,
    run_id: &str,
    config: Value,
    earlier: &[Earlier],
    rows: &[(i64, &str)],
) -> Result<Committed, RunError> {
    let mut attempt = world.open(run_id, config, earlier).await?;
    assert!(!attempt.target.already_committed());
    world.stage(&mut attempt, &[vec![people(1, rows)]]).await?;
    world.commit(&mut attempt).await
}

#[tokio::test]
async fn a_retry_leaves_a_table_that_has_the_rows_alone() {
    let world = World::customers();
    let first = world.run("run_1", append(), &[people(1, &[(1, "Ada")])]).await.unwrap();
    let mut attempt = world.open("run_2", append(), &after("run_1", false)).await.unwrap();
    assert!(attempt.target.already_committed());
    assert_eq!(world.commit(&mut attempt).await.unwrap(), first);
    assert_eq!(world.people().await, ["1:Ada"]);
}

#[tokio::test]
async fn a_retry_replaces_the_rows_of_a_run_that_had_errors() {
    let world = World::customers();
    world.run("run_0", append(), &[people(1, &[(9, "Ina")])]).await.unwrap();
    world.run("run_1", append(), &[people(1, &[(1, "Ada")])]).await.unwrap();
    retry(&world, "run_2", append(), &after("run_1", true), &[(1, "Ada"), (2, "Bob")]).await.unwrap();
    assert_eq!(world.people().await, ["1:Ada", "2:Bob", "9:Ina"]);
    // A retry of the retry replaces the retry, not the first run a second time.
    let both = [after("run_2", true), after("run_1", true)].concat();
    retry(&world, "run_3", append(), &both, &[(3, "Cy")]).await.unwrap();
    assert_eq!(world.people().await, ["3:Cy", "9:Ina"]);
}

#[tokio::test]
async fn a_retry_of_a_run_that_never_committed_simply_writes() {
    let world = World::customers();
    retry(&world, "run_2", append(), &after("run_1", true), &[(1, "Ada")]).await.unwrap();
    assert_eq!(world.people().await, ["1:Ada"]);
}

#[tokio::test]
async fn rows_that_were_rewritten_since_cannot_be_replaced() {
    let world = World::customers();
    world.run("run_1", append(), &[people(1, &[(1, "Ada"), (2, "Bob")])]).await.unwrap();
    world.run("run_2", upsert(), &[people(1, &[(2, "Ben")])]).await.unwrap();
    let error = retry(&world, "run_3", append(), &after("run_1", true), &[(1, "Ada")]).await.unwrap_err();
    assert_eq!(error.kind, Kind::Target);
    let error = retry(&world, "run_4", append(), &after("run_2", true), &[(1, "Ada")]).await.unwrap_err();
    assert!(error.message.contains("merged its rows"), "{error}");
    assert_eq!(world.people().await, ["1:Ada", "2:Ben"]);
}

#[tokio::test]
async fn truncate_and_upsert_replace_by_themselves() {
    let world = World::customers();
    world.run("run_1", upsert(), &[people(1, &[(1, "Ada")])]).await.unwrap();
    retry(&world, "run_2", upsert(), &after("run_1", true), &[(1, "Amy"), (2, "Bob")]).await.unwrap();
    assert_eq!(world.people().await, ["1:Amy", "2:Bob"]);
    retry(&world, "run_3", truncate(), &after("run_2", true), &[(3, "Cy")]).await.unwrap();
    assert_eq!(world.people().await, ["3:Cy"]);
}
