//! A run's rows are in once or never, whoever else commits and whatever is stopped.

use super::*;
use crate::error::Kind;
use crate::targets::{settle, settle_rejected};
use shared::models::pipeline::OnError;

async fn staged(world: &World, run_id: &str, config: Value, rows: &[(i64, &str)]) -> Attempt {
    let mut attempt = world.open(run_id, config, &[]).await.unwrap();
    world.stage(&mut attempt, &[vec![people(1, rows)]]).await.unwrap();
    attempt
}

#[tokio::test]
async fn a_run_that_comes_twice_writes_once() {
    let world = World::customers();
    let first = world.run("run_1", append(), &[people(1, &[(1, "Ada"), (1, "Bob")])]).await.unwrap();
    let second = world.open("run_1", append(), &[]).await.unwrap();
    assert!(second.target.already_committed());
    let again = world.run("run_1", append(), &[people(1, &[(1, "Ada")])]).await.unwrap();
    assert_eq!(again, first, "the numbers are those of the commit");
    assert_eq!(world.rows().await.len(), 1);
}

#[tokio::test]
async fn two_workers_with_one_run_write_once_and_leave_no_files() {
    let world = World::customers();
    let mut first = staged(&world, "run_1", append(), &[(1, "Ada")]).await;
    let mut second = staged(&world, "run_1", append(), &[(1, "Ada")]).await;
    assert_eq!(world.files_on_disk(), 2);
    let (a, b) = tokio::join!(world.commit(&mut first), world.commit(&mut second));
    assert_eq!(a.unwrap(), b.unwrap());
    assert_eq!(world.people().await, ["1:Ada"]);
    assert_eq!((world.files_on_disk(), world.versions()), (1, 2));
    first.target.abort().await;
    second.target.abort().await;
    assert_eq!(world.people().await, ["1:Ada"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_that_commit_at_once_all_get_in() {
    let world = Arc::new(World::customers());
    let mut tasks = tokio::task::JoinSet::new();
    for run in 0..8_i64 {
        let world = Arc::clone(&world);
        let config = [append(), upsert()][run as usize % 2].clone();
        tasks.spawn(async move {
            let mut attempt = staged(&world, &format!("run_{run}"), config, &[(run, "x"), (run + 100, "y")]).await;
            world.commit(&mut attempt).await.unwrap()
        });
    }
    let done = tasks.join_all().await;
    let mut versions: Vec<u64> = done.iter().map(|d| d.version).collect();
    versions.sort_unstable();
    assert_eq!(versions, (1..=8).collect::<Vec<_>>());
    assert_eq!(world.rows().await.len(), 16);
}

#[tokio::test]
async fn an_upsert_that_another_one_overtakes_is_computed_again() {
    let world = World::customers();
    world.run("run_0", append(), &[people(1, &[(1, "Ada"), (2, "Bob")])]).await.unwrap();
    let mut slow = staged(&world, "run_1", upsert(), &[(1, "Amy"), (3, "Cy")]).await;
    world.run("run_2", upsert(), &[people(1, &[(1, "Ann"), (3, "Cat"), (4, "Dan")])]).await.unwrap();
    world.commit(&mut slow).await.unwrap();
    assert_eq!(world.people().await, ["1:Amy", "2:Bob", "3:Cy", "4:Dan"]);
}

#[tokio::test]
async fn an_upsert_merges_before_its_gate_and_commits_what_it_has_merged() {
    let world = World::customers();
    world.run("run_0", append(), &[people(1, &[(1, "Ada"), (2, "Bob")])]).await.unwrap();
    let mut attempt = staged(&world, "run_1", upsert(), &[(1, "Amy")]).await;
    assert_eq!(world.files_on_disk(), 2);
    attempt.target.prepare(&world.session.state()).await.unwrap();
    assert_eq!(
        (world.files_on_disk(), world.versions()),
        (3, 2),
        "the other rows of the file are written, and not seen"
    );
    world.commit(&mut attempt).await.unwrap();
    assert_eq!((world.files_on_disk(), world.people().await), (3, vec!["1:Amy".to_owned(), "2:Bob".to_owned()]));
    // What others change in between is merged again.
    let mut slow = staged(&world, "run_2", upsert(), &[(1, "Ann")]).await;
    slow.target.prepare(&world.session.state()).await.unwrap();
    world.run("run_3", upsert(), &[people(1, &[(1, "Abe"), (2, "Ben")])]).await.unwrap();
    world.commit(&mut slow).await.unwrap();
    assert_eq!(world.people().await, ["1:Ann", "2:Ben"]);
}

#[tokio::test]
async fn a_commit_that_is_stopped_before_it_is_sent_leaves_nothing() {
    let world = World::customers();
    world.run("run_0", append(), &[people(1, &[(1, "Ada")])]).await.unwrap();
    let mut attempt = staged(&world, "run_1", upsert(), &[(1, "Amy")]).await;
    attempt.target.prepare(&world.session.state()).await.unwrap();
    let stop = CancellationToken::new();
    stop.cancel();
    let stopped = attempt.target.commit(&world.session.state(), &stop).await.unwrap_err();
    assert_eq!(stopped.kind, Kind::Cancelled);
    attempt.target.abort().await;
    assert_eq!((world.files_on_disk(), world.versions()), (1, 2));
}

#[tokio::test]
async fn whoever_settles_a_run_again_removes_what_the_one_before_had_no_time_for() {
    let world = World::customers();
    world.run("run_1", append(), &[people(1, &[(1, "Ada")])]).await.unwrap();
    assert!(!settle("acme", &world.schema, "run_2", &[], &world.settings).await.unwrap());
    for (run, is_in) in [("run_1", true), ("run_2", false)] {
        let folder = world.table_folder().join(run).join("0123");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("part-0.parquet"), "rows").unwrap();
        assert_eq!(settle("acme", &world.schema, run, &[], &world.settings).await.unwrap(), is_in);
        assert!(!folder.exists(), "{run}");
    }
    assert_eq!((world.people().await, world.files_on_disk()), (vec!["1:Ada".to_owned()], 1));
}

#[tokio::test]
async fn the_table_of_a_schema_that_was_deleted_still_says_what_is_in_it() {
    let world = World::customers();
    let gone = TableSchema { fields: Vec::new(), ..world.schema.clone() };
    assert!(!settle("acme", &gone, "run_1", &[], &world.settings).await.unwrap());
    assert!(!world.table_folder().exists(), "no table is made of it");
    world.run("run_1", append(), &[people(1, &[(1, "Ada")])]).await.unwrap();
    let mut late = staged(&world, "run_2", append(), &[(2, "Bob")]).await;
    assert!(settle("acme", &gone, "run_1", &[], &world.settings).await.unwrap());
    assert!(!settle("acme", &gone, "run_2", &[], &world.settings).await.unwrap());
    assert_eq!(world.commit(&mut late).await.unwrap_err().kind, Kind::Superseded);
    assert_eq!(world.people().await, ["1:Ada"]);
}

#[tokio::test]
async fn what_was_settled_never_gets_in() {
    let world = World::customers();
    let mut late = staged(&world, "run_1", append(), &[(1, "Ada")]).await;
    assert!(!settle("acme", &world.schema, "run_1", &[], &world.settings).await.unwrap());
    assert!(!settle("acme", &world.schema, "run_1", &[], &world.settings).await.unwrap(), "asked twice");
    let error = world.commit(&mut late).await.unwrap_err();
    assert_eq!(error.kind, Kind::Superseded);
    late.target.abort().await;
    assert!(world.rows().await.is_empty());
    assert_eq!(world.files_on_disk(), 0);
    assert_eq!(world.open("run_1", append(), &[]).await.err().unwrap().kind, Kind::Superseded);
}

#[tokio::test]
async fn what_was_committed_stays_when_it_is_settled() {
    let world = World::customers();
    world.run("run_1", append(), &[people(1, &[(1, "Ada")])]).await.unwrap();
    assert!(settle("acme", &world.schema, "run_1", &[], &world.settings).await.unwrap());
    assert_eq!(world.people().await, ["1:Ada"]);
}

#[tokio::test]
async fn a_settled_run_of_a_table_that_is_not_there_cannot_make_rows_later() {
    let world = World::customers();
    assert!(!settle("acme", &world.schema, "run_1", &[], &world.settings).await.unwrap());
    assert_eq!(world.open("run_1", append(), &[]).await.err().unwrap().kind, Kind::Superseded);
}

#[tokio::test]
async fn transactions_are_found_behind_checkpoints() {
    let world = World::customers();
    world.run("run_first", append(), &[people(1, &[(1, "Ada")])]).await.unwrap();
    for run in 0..101 {
        settle("acme", &world.schema, &format!("void_{run}"), &[], &world.settings).await.unwrap();
    }
    let log = world.table_folder().join("_delta_log");
    assert!(std::fs::read_dir(&log).unwrap().any(|f| f.unwrap().path().extension().is_some_and(|e| e == "parquet")));
    assert!(world.open("run_first", append(), &[]).await.unwrap().target.already_committed());
    assert_eq!(world.open("void_1", append(), &[]).await.err().unwrap().kind, Kind::Superseded);
}

#[tokio::test]
async fn what_is_aborted_or_stopped_leaves_no_files() {
    let world = World::customers();
    let mut attempt = staged(&world, "run_1", append(), &[(1, "Ada")]).await;
    assert_eq!(world.files_on_disk(), 1);
    attempt.target.abort().await;
    assert_eq!(world.files_on_disk(), 0);
    assert!(!world.table_folder().join("run_1").exists());

    let mut attempt = world.open("run_2", append(), &[]).await.unwrap();
    let stop = CancellationToken::new();
    stop.cancel();
    let (counters, progress) = (Arc::clone(&attempt.counters), Arc::clone(&attempt.progress));
    let plan = plan(&[vec![people(1, &[(1, "Ada")])]]);
    let ended = attempt.target.stage(plan, world.session.task_ctx(), counters, progress, &stop).await;
    assert_eq!(ended.unwrap_err().kind, Kind::Cancelled);
    assert_eq!((world.files_on_disk(), world.versions()), (0, 1));
}

#[tokio::test]
async fn a_pipeline_that_takes_no_rejects_fails_and_leaves_no_files() {
    let world = World::customers();
    let mut attempt = world.open("run_1", append(), &[]).await.unwrap();
    let errors = ErrorHandling { on_error: OnError::Fail, ..ErrorHandling::default() };
    attempt.progress = Progress::new(errors, world.folder.path().join("spool"), Clock::default());
    let long = "a name with more than twenty characters";
    let parts = [vec![people(1, &[(1, "Ada")])], vec![people(2, &[(2, long)])]];
    let error = world.stage(&mut attempt, &parts).await.unwrap_err();
    assert_eq!(error.kind, Kind::Data);
    assert!(error.message.contains("39 characters where the field \"name\" takes 20"), "{error}");
    assert_eq!(world.files_on_disk(), 0);
}

/// A table of rejected rows, in which a later attempt may put its own in the place of those of one before it.
fn rejected() -> World {
    let mut world = World::customers();
    world.schema.id += "_rejected";
    world
}

impl World {
    async fn attempt(&self, number: u32) -> Attempt {
        let job = Job { attempt: number, ..self.job("run_1", &[]) };
        self.open_for(&job, append()).await.unwrap()
    }

    /// An attempt that has staged a row with its number, to replace what one before it has committed.
    async fn replacing(&self, number: u32) -> Attempt {
        let mut attempt = self.attempt(number).await;
        let Target::Lake(target) = &mut attempt.target else { unreachable!("the table lies in the lake") };
        assert!(target.replace_own().await.unwrap());
        self.stage(&mut attempt, &[vec![people(1, &[(i64::from(number), "later")])]]).await.unwrap();
        attempt
    }

    /// What lies in the run's folder.
    fn staged(&self) -> usize {
        let run = self.folder.path().join("lake/acme").join(&self.schema.id).join("run_1");
        let folders = std::fs::read_dir(run).unwrap().map(|folder| folder.unwrap().path());
        folders.map(|folder| std::fs::read_dir(folder).unwrap().count()).sum()
    }
}

#[tokio::test]
async fn who_tidies_up_late_leaves_what_a_later_attempt_is_about_to_commit() {
    let world = rejected();
    world.run("run_1", append(), &[people(1, &[(1, "first")])]).await.unwrap();
    let mut second = world.replacing(2).await;
    // The first attempt hears only now that it has committed.
    world.commit(&mut world.attempt(1).await).await.unwrap();
    assert_eq!(world.staged(), 2);
    world.commit(&mut second).await.unwrap();
    assert_eq!(world.people().await, ["2:later"]);
    // The first one's file is named by the version before.
    assert_eq!(world.staged(), 2);
}

#[tokio::test]
async fn rejected_rows_of_a_run_that_is_in_its_tables_are_replaced_by_no_attempt_before() {
    let world = rejected();
    world.run("run_1", append(), &[people(1, &[(1, "first")])]).await.unwrap();
    let mut second = world.replacing(2).await;
    // The third one finds the run in its tables, and leaves the rejected rows as they are.
    let mut third = world.attempt(3).await;
    assert!(third.target.already_committed());
    assert_eq!(world.commit(&mut third).await.unwrap().rows_out, 1);
    assert_eq!(world.staged(), 1, "what the second one had staged is gone");
    assert_eq!(world.commit(&mut second).await.unwrap().rows_out, 1);
    assert_eq!(world.people().await, ["1:first"]);
    // One that comes after it still may.
    world.commit(&mut world.replacing(4).await).await.unwrap();
    assert_eq!(world.people().await, ["4:later"]);
}

#[tokio::test]
async fn a_run_that_is_settled_as_done_keeps_the_rejected_rows_that_it_has() {
    let mut world = World::customers();
    world.run("run_1", append(), &[people(1, &[(7, "fits")])]).await.unwrap();
    let own = world.schema.clone();
    world.schema.id += "_rejected";
    world.run("run_1", append(), &[people(1, &[(1, "first")])]).await.unwrap();
    let mut second = world.replacing(2).await;
    assert!(crate::targets::settle("acme", &own, "run_1", &[], &world.settings).await.unwrap());
    assert_eq!(world.staged(), 1);
    world.commit(&mut second).await.unwrap();
    assert_eq!(world.people().await, ["1:first"]);
}

/// As they are beside a table that the run does not write, since its rows go to a database.
#[tokio::test]
async fn rejected_rows_stay_or_go_as_the_rows_do_whose_table_lies_elsewhere() {
    for (has_rows, kept) in [(true, vec!["1:first".to_owned()]), (false, Vec::new())] {
        let mut world = World::customers();
        let beside = world.schema.clone();
        world.schema.id += "_rejected";
        let settled = async |run: &str| {
            settle_rejected("acme", &beside, run, has_rows, &world.settings).await.unwrap();
        };
        settled("run_0").await;
        assert!(!world.folder.path().join("lake/acme").exists(), "no table is made for that");
        world.run("run_1", append(), &[people(1, &[(1, "first")])]).await.unwrap();
        let mut second = world.replacing(2).await;
        settled("run_1").await;
        assert_eq!(world.staged(), 1, "what the second one had staged is gone");
        assert_eq!(world.commit(&mut second).await.is_ok(), has_rows);
        assert_eq!(world.people().await, kept);
        // One that has kept nothing so far.
        let mut late = staged(&world, "run_2", append(), &[(2, "late")]).await;
        settled("run_2").await;
        settled("run_2").await;
        assert_eq!(world.commit(&mut late).await.unwrap_err().kind, Kind::Superseded);
        assert!(!world.folder.path().join("lake/acme").join(&world.schema.id).join("run_2").exists());
        assert_eq!(world.people().await, kept);
    }
}
