//! A run is undone once, or not at all, whoever else commits; and what comes after it knows.

use super::*;
use crate::deadline::{Deadline, LONGEST};
use crate::error::Kind;
use crate::targets::rollback::{Look, Refusal, Undo};
use crate::targets::settle;
use shared::models::receipt::RollbackTable;
use shared::models::time::Time;
use tokio::time::Instant;

impl World {
    fn undo<'w>(&'w self, run_id: &'w str) -> Undo<'w> {
        let at = Time::from(Clock::default().now());
        Undo::new("acme", &self.schema, run_id, ("ada", at), &self.settings).unwrap()
    }

    async fn roll_back(&self, run_id: &str) -> Result<RollbackTable, String> {
        let undo = self.undo(run_id);
        let undone = match undo.look().await {
            Ok(look) => undo.undo(look, Deadline::since(Instant::now(), LONGEST)).await,
            Err(refusal) => Err(refusal),
        };
        match undone {
            Ok(report) => Ok(report.unwrap()),
            Err(Refusal::Conflict { code, detail }) => Err(format!("{code}: {detail}")),
            Err(other) => panic!("{other:?}"),
        }
    }
}

fn after(run_id: &str, replace: bool) -> Vec<Earlier> {
    vec![Earlier { run_id: run_id.to_owned(), replace }]
}

#[tokio::test]
async fn what_is_looked_at_is_not_changed() {
    let world = World::customers();
    assert!(matches!(world.undo("run_1").look().await.unwrap(), Look::Nothing));
    world.run("run_1", append(), &[people(1, &[(1, "Ada")])]).await.unwrap();
    assert!(matches!(world.undo("run_2").look().await.unwrap(), Look::Nothing));
    let Look::Can(plan) = world.undo("run_1").look().await.unwrap() else { panic!() };
    assert_eq!((plan.report.rows_removed, plan.report.version, plan.is_empty()), (1, 2, false));
    assert_eq!((world.people().await.len(), world.versions()), (1, 2));
    assert_eq!(world.roll_back("run_1").await.unwrap(), plan.report);
    assert!(matches!(world.undo("run_1").look().await.unwrap(), Look::Already(2)));
    assert_eq!((world.people().await.len(), world.versions()), (0, 3));
}

#[tokio::test]
async fn no_commit_is_begun_when_the_time_for_it_is_over() {
    let world = World::customers();
    world.run("run_1", append(), &[people(1, &[(1, "Ada")])]).await.unwrap();
    let undo = world.undo("run_1");
    let all = Deadline::since(Instant::now(), LONGEST);
    let late = undo.undo(undo.look().await.unwrap(), Deadline { early: Instant::now(), ..all }).await;
    assert!(matches!(late, Err(Refusal::Late { unknown: false })), "{late:?}");
    assert_eq!((world.people().await.len(), world.versions()), (1, 2));
    // Nor is one waited for.
    let late = undo.undo(undo.look().await.unwrap(), Deadline { end: Instant::now(), ..all }).await;
    assert!(matches!(late, Err(Refusal::Late { unknown: true })), "{late:?}");
    assert_eq!(world.roll_back("run_1").await.unwrap().rows_removed, 1);
    assert_eq!((world.people().await.len(), world.versions()), (0, 3));
}

#[tokio::test]
async fn a_look_that_others_have_made_stale_is_repeated() {
    let world = World::customers();
    world.run("run_1", append(), &[people(1, &[(1, "Ada")])]).await.unwrap();
    let undo = world.undo("run_1");
    let stale = undo.look().await.unwrap();
    world.run("run_2", upsert(), &[people(1, &[(1, "Ann")])]).await.unwrap();
    let refused = undo.undo(stale, Deadline::since(Instant::now(), LONGEST)).await;
    let names = |detail: &str| detail.contains("run_2");
    assert!(
        matches!(&refused, Err(Refusal::Conflict { code: "LATER_WRITES", detail }) if names(detail)),
        "{refused:?}"
    );
    assert_eq!(world.people().await, ["1:Ann"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rollbacks_at_once_undo_a_run_once() {
    let world = Arc::new(World::customers());
    world.run("run_1", append(), &[people(1, &[(1, "Ada")])]).await.unwrap();
    world.run("run_2", append(), &[people(1, &[(2, "Bob")])]).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8 {
        let world = Arc::clone(&world);
        tasks.spawn(async move { world.roll_back(["run_1", "run_2"][task % 2]).await });
    }
    let ended = tasks.join_all().await;
    assert_eq!(ended.iter().filter(|end| end.is_ok()).count(), 2, "{ended:?}");
    let refused = ended.into_iter().filter_map(Result::err).all(|why| why.starts_with("ALREADY_ROLLED_BACK"));
    assert!(refused && world.people().await.is_empty());
    assert_eq!(world.versions(), 5);
}

#[tokio::test]
async fn an_upsert_that_was_staged_before_a_rollback_meets_the_table_as_it_is_then() {
    let world = World::customers();
    world.run("run_0", append(), &[people(1, &[(1, "Ada"), (2, "Bob")])]).await.unwrap();
    world.run("run_1", upsert(), &[people(1, &[(2, "Ben"), (4, "Dan")])]).await.unwrap();
    let mut slow = world.open("run_2", upsert(), &[]).await.unwrap();
    world.stage(&mut slow, &[vec![people(1, &[(2, "Bo"), (3, "Cy")])]]).await.unwrap();
    world.roll_back("run_1").await.unwrap();
    world.commit(&mut slow).await.unwrap();
    assert_eq!(world.people().await, ["1:Ada", "2:Bo", "3:Cy"]);
    // From then on the rollback of the first run would lose its rows.
    assert!(world.roll_back("run_0").await.unwrap_err().contains("run_2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_commits_beside_a_rollback_is_seen_by_it_or_sees_it() {
    for round in 0..12 {
        let world = Arc::new(World::customers());
        world.run("run_0", append(), &[people(1, &[(1, "Ada")])]).await.unwrap();
        world.run("run_1", truncate(), &[people(1, &[(2, "Bob")])]).await.unwrap();
        let config = [append(), upsert()][round % 2].clone();
        let mut slow = world.open("run_2", config, &[]).await.unwrap();
        world.stage(&mut slow, &[vec![people(1, &[(2, "Ben")])]]).await.unwrap();
        let other = Arc::clone(&world);
        let committing = tokio::spawn(async move { other.commit(&mut slow).await.unwrap() });
        let rolled = world.roll_back("run_1").await;
        committing.await.unwrap();
        let found = world.people().await;
        match rolled {
            // It was first: the run has found what was there before.
            Ok(_) => assert_eq!(found, ["1:Ada", "2:Ben"], "round {round}"),
            Err(why) => {
                assert!(why.starts_with("LATER_WRITES") && why.contains("run_2"), "{why}");
                let expected: &[&str] = if round % 2 == 0 { &["2:Ben", "2:Bob"] } else { &["2:Ben"] };
                assert_eq!(found, expected, "round {round}");
            }
        }
    }
}

#[tokio::test]
async fn a_retry_under_way_reads_again_when_the_run_before_it_is_undone() {
    let world = World::customers();
    world.run("run_1", append(), &[people(1, &[(1, "Ada")])]).await.unwrap();
    let mut attempt = world.open("run_2", append(), &after("run_1", false)).await.unwrap();
    assert!(attempt.target.already_committed());
    world.roll_back("run_1").await.unwrap();
    let error = world.commit(&mut attempt).await.unwrap_err();
    assert!(error.kind.is_retryable() && error.message.contains("a rollback"), "{error}");
    assert_eq!(world.people().await, [""; 0]);
    let mut attempt = world.open("run_2", append(), &after("run_1", false)).await.unwrap();
    assert!(!attempt.target.already_committed());
    world.stage(&mut attempt, &[vec![people(1, &[(1, "Ada")])]]).await.unwrap();
    world.commit(&mut attempt).await.unwrap();
    assert_eq!(world.people().await, ["1:Ada"]);
}

#[tokio::test]
async fn a_retry_of_a_run_that_was_undone_is_not_settled_as_there() {
    let world = World::customers();
    world.run("run_1", append(), &[people(1, &[(1, "Ada")])]).await.unwrap();
    let earlier = after("run_1", false);
    assert!(settle("acme", &world.schema, "run_2", &earlier, &world.settings).await.unwrap());
    world.roll_back("run_1").await.unwrap();
    assert!(!settle("acme", &world.schema, "run_3", &earlier, &world.settings).await.unwrap());
    let error = world.open("run_3", append(), &earlier).await.err().unwrap();
    assert_eq!(error.kind, Kind::Superseded);
}

#[tokio::test]
async fn a_worker_that_is_late_does_not_bring_back_what_was_undone() {
    let world = World::customers();
    let mut late = world.open("run_1", append(), &[]).await.unwrap();
    world.stage(&mut late, &[vec![people(1, &[(1, "Ada")])]]).await.unwrap();
    world.run("run_1", append(), &[people(1, &[(1, "Ada")])]).await.unwrap();
    world.roll_back("run_1").await.unwrap();
    world.commit(&mut late).await.unwrap();
    assert_eq!((world.people().await.len(), world.versions()), (0, 3));
}

#[tokio::test]
async fn rows_in_files_that_were_widened_can_go_but_replaced_ones_cannot_come_back() {
    let fields =
        |data_type: &str| json!([{ "name": "id", "dataType": data_type }, { "name": "name", "dataType": "text" }]);
    let mut world = World::new(fields("integer"));
    world.run("run_1", append(), &[people(1, &[(1, "Ada")])]).await.unwrap();
    world.run("run_2", append(), &[people(1, &[(2, "Bob")])]).await.unwrap();
    world.schema.fields = serde_json::from_value(fields("bigint")).unwrap();
    world.run("run_3", append(), &[people(1, &[(3, "Cy")])]).await.unwrap();
    assert_eq!(world.roll_back("run_1").await.unwrap().rows_removed, 1);
    assert_eq!(world.people().await, ["2:Bob", "3:Cy"]);
    let mut world = World::new(fields("integer"));
    world.run("run_1", append(), &[people(1, &[(1, "Ada")])]).await.unwrap();
    world.run("run_2", truncate(), &[people(1, &[(2, "Bob")])]).await.unwrap();
    world.schema.fields = serde_json::from_value(fields("bigint")).unwrap();
    drop(world.open("run_3", append(), &[]).await.unwrap());
    assert!(world.roll_back("run_2").await.unwrap_err().starts_with("SCHEMA_CHANGED"));
    assert_eq!(world.people().await, ["2:Bob"]);
}

#[tokio::test]
async fn a_log_that_was_cleaned_is_said_to_be() {
    let world = World::customers();
    world.run("run_1", append(), &[people(1, &[(1, "Ada")])]).await.unwrap();
    world.run("run_2", truncate(), &[people(1, &[(2, "Bob")])]).await.unwrap();
    let url = url::Url::from_directory_path(world.table_folder()).unwrap();
    let table = deltalake::DeltaTableBuilder::from_url(url).unwrap().load().await.unwrap();
    deltalake::checkpoints::create_checkpoint(&table, None).await.unwrap();
    let entry = |version: u64| world.table_folder().join(format!("_delta_log/{version:020}.json"));
    std::fs::remove_file(entry(0)).unwrap();
    std::fs::remove_file(entry(1)).unwrap();
    // What the second run replaced is known to nobody any more.
    assert!(world.roll_back("run_2").await.unwrap_err().starts_with("LOG_CLEANED"));
    assert!(world.roll_back("run_1").await.unwrap_err().starts_with("LOG_CLEANED"));
    assert_eq!(world.people().await, ["2:Bob"]);
}

#[tokio::test]
async fn what_attempts_have_replaced_of_each_other_comes_back_as_it_was_before_the_first() {
    let mut world = World::customers();
    world.schema.id = "schema_1_rejected".to_owned();
    world.run("run_0", append(), &[people(1, &[(9, "Zoe")])]).await.unwrap();
    world.run("run_1", append(), &[people(1, &[(1, "Ada")])]).await.unwrap();
    for (attempt, row) in [(1, (2, "Bob")), (2, (3, "Cy")), (3, (4, "Dan"))] {
        let job = Job { attempt, ..world.job("run_2", &after("run_1", true)) };
        let mut attempt = world.open_for(&job, append()).await.unwrap();
        assert_eq!(attempt.target.already_committed(), job.attempt > 1);
        let Target::Lake(target) = &mut attempt.target else { panic!() };
        assert_eq!(target.replace_own().await.unwrap(), job.attempt > 1);
        world.stage(&mut attempt, &[vec![people(1, &[row])]]).await.unwrap();
        world.commit(&mut attempt).await.unwrap();
        assert_eq!(world.people().await, [format!("{}:{}", row.0, row.1), "9:Zoe".to_owned()]);
    }
    let report = world.roll_back("run_2").await.unwrap();
    assert_eq!((report.rows_removed, report.rows_restored), (1, 1));
    assert_eq!(world.people().await, ["1:Ada", "9:Zoe"]);
    assert!(world.roll_back("run_2").await.unwrap_err().starts_with("ALREADY_ROLLED_BACK"));
    assert_eq!(world.roll_back("run_1").await.unwrap().rows_removed, 1);
    assert_eq!(world.people().await, ["9:Zoe"]);
}
