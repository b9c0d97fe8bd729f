//! Runs whose workers died, or failed: how often they are tried, and what is left of attempts that came to nothing.

mod counts;

use crate::wait;
use serde_json::{Value, json};
use shared::clock::Clock;
use shared::launch;
use shared::models::receipt::AttemptOutcome;
use shared::models::run::{MOST_FAILURES, MOST_LOST, Progress, Rows, Run, RunStatus, Trigger};
use shared::models::time::Time;
use shared::queue::{Message, Task};
use shared::store::runs::{Claim, End, Ender};
use std::path::PathBuf;
use tests::World;
use tests::s3::S3;

/// A pipeline that copies three people, in a world where nothing runs by itself.
pub(crate) struct People {
    pub(crate) world: World,
    pub(crate) schema: String,
    pub(crate) pipeline: String,
}

impl People {
    pub(crate) async fn new() -> Self {
        let world = World::new().await;
        world.file("people.csv", "id,name\n1,Ada\n2,Bob\n3,Cyd\n");
        let connector = world.connector("people", "people.csv").await;
        let fields = json!([{"name": "id", "dataType": "integer"}, {"name": "name", "dataType": "text"}]);
        let schema = world.schema("people", fields).await;
        let pipeline = world.copy(&connector, &schema).await;
        Self { world, schema, pipeline }
    }

    /// A run that no message names.
    pub(crate) async fn run(&self) -> Run {
        let services = self.world.stack.services();
        let stored = services.store.pipeline("acme", &self.pipeline).await.unwrap();
        let now = services.clock.now();
        let id = shared::id::new(shared::id::Prefix::Run, now);
        let run = launch::new_run(&stored, id, Trigger::Manual, "ada", now.into());
        services.store.create_run(&run, None, None).await.unwrap();
        run
    }

    /// A worker takes the run so long ago that its lease is over, and dies.
    pub(crate) async fn lost(&self, run: &Run, seconds_ago: i64) -> Run {
        let past = Time(Clock::default().now() - chrono::Duration::seconds(seconds_ago));
        let store = &self.world.stack.services().store;
        match store.claim("acme", &self.pipeline, &run.id, "died", past).await.unwrap() {
            Claim::Taken(run) => *run,
            other => panic!("nobody else wants it: {other:?}"),
        }
    }

    /// A worker comes to the run's commit and dies there.
    pub(crate) async fn lost_in_commit(&self, run: &Run, seconds_ago: i64) -> Run {
        let held = self.lost(run, seconds_ago).await;
        let store = &self.world.stack.services().store;
        assert!(store.enter_committing(&held, Rows::default(), &Progress::default(), None).await.unwrap());
        held
    }

    /// A file that an attempt has staged.
    fn staged(&self, run: &Run) -> PathBuf {
        let folder = self.world.lake().join(&self.schema).join(&run.id).join("0123");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("part-0.parquet"), "rows").unwrap();
        folder.join("part-0.parquet")
    }

    /// Makes the one commit of the table, which `run` has written, that of another run; answers the table's folder.
    fn give_commit(&self, run: &Run, other: &Run) -> PathBuf {
        let table = self.world.lake().join(&self.schema);
        let log = table.join("_delta_log/00000000000000000001.json");
        let text = std::fs::read_to_string(&log).unwrap();
        // Both ids have the same length.
        std::fs::write(&log, text.replace(&run.id, &other.id)).unwrap();
        std::fs::rename(table.join(&run.id), table.join(&other.id)).unwrap();
        table
    }

    pub(crate) async fn send(&self, task: Task, run: &Run) {
        let message =
            Message { task, tenant_id: "acme".to_owned(), pipeline_id: self.pipeline.clone(), run_id: run.id.clone() };
        self.world.stack.services().queue.send(&message, std::time::Duration::ZERO).await.unwrap();
    }

    /// What the dead-letter function does with a message for the run.
    async fn bury(&self, run: &Run) {
        let body = json!({"task": "run", "tenantId": "acme", "pipelineId": self.pipeline, "runId": run.id});
        let event = json!({"Records": [{"messageId": "1", "body": body.to_string()}]});
        let answer = self.world.stack.invoke("on_dead_letter", event).await.unwrap();
        assert_eq!(answer, json!({"batchItemFailures": []}));
    }

    pub(crate) async fn finished(&self, run: &Run) -> Value {
        self.world.api.finished(&self.pipeline, &run.id).await
    }

    async fn rows(&self) -> usize {
        self.world.api.rows(&self.schema).await.len()
    }
}

#[tokio::test]
async fn what_an_attempt_that_died_had_staged_goes_with_its_cancelled_run() {
    let people = People::new().await;
    let run = people.run().await;
    people.lost(&run, 60).await;
    let staged = people.staged(&run);
    let path = format!("/pipelines/{}/runs/{}", people.pipeline, run.id);
    people.world.api.post(&format!("{path}/cancel"), &json!({})).await.expect(202);
    people.send(Task::Run, &run).await;
    let ended = people.finished(&run).await;
    assert_eq!((&ended["status"], &ended["attempt"]), (&json!("cancelled"), &json!(2)), "{ended}");
    wait("what was staged is removed", async || !staged.exists()).await;
    let folder = people.world.lake().join(&people.schema).join(&run.id);
    wait("its folder too", async || !folder.exists()).await;
    assert_eq!(people.rows().await, 0);
}

#[tokio::test]
async fn an_attempt_that_finds_the_commit_removes_what_others_had_staged_and_nothing_else() {
    let people = People::new().await;
    let run = people.run().await;
    people.send(Task::Run, &run).await;
    assert_eq!(people.finished(&run).await["status"], "completed");
    // As it lay there when the worker died that had committed: not reported, with a file of an attempt before it.
    let staged = people.staged(&run);
    let again = people.run().await;
    people.lost_in_commit(&again, 60).await;
    let table = people.give_commit(&run, &again);
    let staged = table.join(&again.id).join(staged.strip_prefix(table.join(&run.id)).unwrap());
    assert!(staged.exists());
    people.send(Task::Run, &again).await;
    let ended = people.finished(&again).await;
    assert_eq!((&ended["status"], &ended["attempt"]), (&json!("completed"), &json!(2)), "{ended}");
    assert!(!staged.exists(), "what nobody took is still there");
    assert_eq!(people.rows().await, 3, "what was committed stays");
}

#[tokio::test]
async fn a_retry_that_finds_all_rows_in_can_be_cancelled_no_more_before_it_ends() {
    let people = People::new().await;
    let run = people.run().await;
    people.send(Task::Run, &run).await;
    assert_eq!(people.finished(&run).await["status"], "completed");
    // As it lies there where a run was given up although its rows are in.
    let old = people.run().await;
    let held = people.lost_in_commit(&old, 60).await;
    people.give_commit(&run, &old);
    let store = &people.world.stack.services().store;
    let now = Time(Clock::default().now());
    assert!(store.end_run(&held, Ender::Holder, &End::failed(held.given_too_often()), now).await.unwrap());
    let again = format!("/pipelines/{}/runs/{}/retry", people.pipeline, old.id);
    let retry = people.world.api.create(&again, &json!({})).await;
    let ended = people.world.api.finished(&people.pipeline, &retry).await;
    let told = ["status", "rowsIn", "rowsOut"].map(|name| ended[name].clone());
    assert_eq!(told, [json!("completed"), json!(3), json!(3)], "{ended}");
    let kept = store.find_run("acme", &people.pipeline, &retry).await.unwrap().unwrap();
    assert!(kept.committing, "a cancellation would have been accepted, and nothing would have come of it");
    assert_eq!(people.rows().await, 3);
}

#[tokio::test]
async fn a_run_that_passes_the_gate_with_nothing_of_its_own_is_cancelled_before_or_not_at_all() {
    let people = People::new().await;
    let store = &people.world.stack.services().store;
    let now = Time(Clock::default().now());
    let first = people.lost(&people.run().await, 1).await;
    assert!(store.pass_committing(&first, &Progress::default()).await.unwrap());
    assert!(!store.request_cancel(&first, now).await.unwrap());
    let kept = store.find_run("acme", &people.pipeline, &first.id).await.unwrap().unwrap();
    assert_eq!((kept.committing, kept.rows), (true, None), "what it comes to is said by its commits");
    let second = people.lost(&people.run().await, 1).await;
    assert!(store.request_cancel(&second, now).await.unwrap());
    assert!(!store.pass_committing(&second, &Progress::default()).await.unwrap());
    for run in [first, second] {
        assert!(store.end_run(&run, Ender::Holder, &End::cancelled(), now).await.unwrap());
    }
}

#[tokio::test]
async fn a_run_of_which_every_worker_dies_is_given_up_and_says_so() {
    let people = People::new().await;
    let run = people.run().await;
    for lost in 0..MOST_LOST {
        people.lost(&run, 3000 - i64::from(lost) * 30).await;
    }
    let staged = people.staged(&run);
    people.send(Task::Run, &run).await;
    let ended = people.finished(&run).await;
    assert_eq!(
        (&ended["status"], &ended["error"]["code"]),
        (&json!("failed"), &json!("DELIVERED_TOO_OFTEN")),
        "{ended}"
    );
    assert_eq!((&ended["attempt"], &ended["error"]["retryable"]), (&json!(MOST_LOST + 1), &json!(false)), "{ended}");
    wait("what was staged is removed", async || !staged.exists()).await;
    assert_eq!(people.rows().await, 0);
}

#[tokio::test]
async fn a_dead_letter_of_a_run_that_one_worker_lost_is_one_message_of_several_and_ends_nothing() {
    let people = People::new().await;
    let run = people.run().await;
    people.lost(&run, 120).await;
    people.bury(&run).await;
    let path = format!("/pipelines/{}/runs/{}", people.pipeline, run.id);
    assert_eq!(people.world.api.get(&path).await.expect(200).json()["status"], "running");
    // It is sent again, after the time of a lease; this one is not waited for here.
    let delayed = people.world.stack.services().queue.depth().await.unwrap().delayed;
    assert_eq!(delayed, 1);
    people.send(Task::Run, &run).await;
    let ended = people.finished(&run).await;
    assert_eq!((&ended["status"], &ended["attempt"]), (&json!("completed"), &json!(2)), "{ended}");
}

#[tokio::test]
async fn a_dead_letter_ends_a_run_whose_workers_all_died_and_what_they_staged_is_removed() {
    let people = People::new().await;
    let run = people.run().await;
    for lost in 0..MOST_LOST {
        people.lost(&run, 3000 - i64::from(lost) * 30).await;
    }
    let staged = people.staged(&run);
    people.bury(&run).await;
    let ended = people.finished(&run).await;
    assert_eq!(
        (&ended["status"], &ended["error"]["code"]),
        (&json!("failed"), &json!("DELIVERED_TOO_OFTEN")),
        "{ended}"
    );
    wait("what was staged is removed", async || !staged.exists()).await;
}

#[tokio::test]
async fn a_dead_letter_of_a_run_that_has_ended_sends_for_what_its_workers_left() {
    let people = People::new().await;
    let run = people.run().await;
    let held = people.lost(&run, 60).await;
    let staged = people.staged(&run);
    let store = &people.world.stack.services().store;
    let now = Time(Clock::default().now());
    // As it is where the dead letter has ended the run, and could not send for the rest.
    assert!(store.end_run(&held, Ender::Unheld(now), &End::failed(held.given_too_often()), now).await.unwrap());
    people.bury(&run).await;
    wait("what was staged is removed", async || !staged.exists()).await;
}

#[tokio::test]
async fn a_dead_letter_of_a_run_that_one_worker_lost_in_its_commit_ends_nothing_either() {
    let people = People::new().await;
    let run = people.run().await;
    people.lost_in_commit(&run, 120).await;
    people.bury(&run).await;
    let depth = people.world.stack.services().queue.depth().await.unwrap();
    assert_eq!((depth.visible, depth.in_flight, depth.delayed), (0, 0, 1), "it is sent again after a lease");
    people.send(Task::Run, &run).await;
    let ended = people.finished(&run).await;
    assert_eq!((&ended["status"], &ended["attempt"]), (&json!("completed"), &json!(2)), "{ended}");
}

#[tokio::test]
async fn a_run_that_all_workers_lost_in_its_commit_says_that_and_not_that_it_took_too_long() {
    let people = People::new().await;
    let run = people.run().await;
    for lost in 0..MOST_LOST - 1 {
        people.lost(&run, 3000 - i64::from(lost) * 30).await;
    }
    people.lost_in_commit(&run, 100).await;
    people.bury(&run).await;
    let ended = people.finished(&run).await;
    assert_eq!(
        (&ended["status"], &ended["error"]["code"]),
        (&json!("failed"), &json!("DELIVERED_TOO_OFTEN")),
        "{ended}"
    );
}

#[tokio::test]
async fn a_run_that_workers_gave_back_is_not_one_that_they_died_of() {
    let people = People::new().await;
    let run = people.run().await;
    let store = &people.world.stack.services().store;
    for given in 0..2 * MOST_LOST {
        let held = people.lost(&run, 3000 - i64::from(given) * 30).await;
        let then = Time(held.attempts.last().unwrap().started_at.0 + chrono::Duration::seconds(1));
        assert!(store.let_go(&held, then).await.unwrap());
    }
    people.send(Task::Run, &run).await;
    let ended = people.finished(&run).await;
    assert_eq!((&ended["status"], &ended["attempt"]), (&json!("completed"), &json!(2 * MOST_LOST + 1)), "{ended}");
}

#[tokio::test]
async fn a_run_that_failed_is_not_taken_before_its_delay_is_over_and_given_back_once() {
    let people = People::new().await;
    let run = people.run().await;
    let held = people.lost(&run, 0).await;
    let store = &people.world.stack.services().store;
    let error = held.given_too_often();
    let now = Time(Clock::default().now());
    let delay = std::time::Duration::from_secs(120);
    for sent in ["the request", "the same one again, whose answer was lost"] {
        assert!(store.give_back(&held, &error, delay, now).await.unwrap(), "{sent}");
    }
    let early = Time(now.0 + chrono::Duration::seconds(119));
    match store.claim("acme", &people.pipeline, &run.id, "too early", early).await.unwrap() {
        Claim::Held(until) => assert_eq!(until, Time(now.0 + chrono::Duration::seconds(120))),
        other => panic!("it waits: {other:?}"),
    }
    let due = Time(now.0 + chrono::Duration::seconds(120));
    let taken = store.claim("acme", &people.pipeline, &run.id, "in time", due).await.unwrap();
    assert!(matches!(taken, Claim::Taken(run) if run.failures == 1));
}

#[tokio::test]
async fn a_run_whose_table_lost_its_schema_ends_as_the_table_says() {
    let people = People::new().await;
    let (gone, there) = (people.run().await, people.run().await);
    people.lost_in_commit(&gone, 60).await;
    let fields = json!([{"name": "id", "dataType": "integer"}, {"name": "name", "dataType": "text"}]);
    people.send(Task::Run, &there).await;
    assert_eq!(people.finished(&there).await["status"], "completed");
    // The pipeline moves to another schema, and nothing uses the old one any more.
    let other = people.world.schema("others", fields).await;
    let api = &people.world.api;
    api.put(&format!("/pipelines/{}", people.pipeline), &json!({"schemaId": other})).await.expect(200);
    api.delete(&format!("/schemas/{}", people.schema)).await.expect(204);
    people.send(Task::Run, &gone).await;
    let ended = people.finished(&gone).await;
    assert_eq!((&ended["status"], &ended["error"]["code"]), (&json!("failed"), &json!("INVALID_PIPELINE")), "{ended}");
    let table = people.world.lake().join(&people.schema);
    let last = std::fs::read_to_string(table.join("_delta_log/00000000000000000002.json")).unwrap();
    assert!(last.contains(&gone.id), "it was settled there: {last}");
}

#[tokio::test]
async fn a_run_whose_database_nobody_can_ask_any_more_fails_and_says_so() {
    let people = People::new().await;
    let api = &people.world.api;
    let away = json!({
        "name": "away", "type": "postgresql", "config": {"host": "127.0.0.1", "port": 1, "database": "d"},
        "authMethod": "password", "authConfig": {"username": "u", "password": "p"}
    });
    let away = api.create("/connectors", &away).await;
    let path = format!("/pipelines/{}", people.pipeline);
    let body = |target: Value| {
        json!({
            "nodes": [{"id": "s", "nodeType": "source", "config": {}}, {"id": "t", "nodeType": "target", "config": target}],
            "edges": [{"source": "s", "target": "t"}],
        })
    };
    api.put(&path, &body(json!({"connectorId": away, "table": "people"}))).await.expect(200);
    let run = people.run().await;
    people.lost_in_commit(&run, 60).await;
    api.put(&path, &body(json!({}))).await.expect(200);
    api.delete(&format!("/connectors/{away}")).await.expect(204);
    people.send(Task::Run, &run).await;
    let ended = people.finished(&run).await;
    let said = ended["error"]["message"].as_str().unwrap_or_default();
    assert_eq!(ended["status"], "failed", "{ended}");
    assert!(said.contains("is not known") && said.contains("\"people\"") && said.contains(&away), "{said}");
}

#[tokio::test]
async fn a_run_whose_database_is_away_in_its_commit_is_put_off_and_in_the_end_says_what_is_not_known() {
    let people = People::new().await;
    let (api, services) = (&people.world.api, people.world.stack.services());
    let away = json!({
        "name": "away", "type": "postgresql", "config": {"host": "127.0.0.1", "port": 1, "database": "d"},
        "authMethod": "password", "authConfig": {"username": "u", "password": "p"}
    });
    let away = api.create("/connectors", &away).await;
    let body = json!({
        "nodes": [
            {"id": "s", "nodeType": "source", "config": {}},
            {"id": "t", "nodeType": "target", "config": {"connectorId": away, "table": "people"}},
        ],
        "edges": [{"source": "s", "target": "t"}],
        "executionConfig": {"retry": {"maxAttempts": 1}},
    });
    api.put(&format!("/pipelines/{}", people.pipeline), &body).await.expect(200);
    let run = people.run().await;
    people.lost_in_commit(&run, 60).await;
    people.send(Task::Run, &run).await;
    let found = async || services.store.find_run("acme", &people.pipeline, &run.id).await.unwrap().unwrap();
    wait("it is put off", async || found().await.failures == 1).await;
    let waiting = found().await;
    assert!(waiting.status == RunStatus::Pending && waiting.committing, "{waiting:?}");
    let tried = waiting.attempts.last().unwrap();
    assert_eq!(tried.outcome, Some(AttemptOutcome::Failed), "each attempt has an end: {waiting:?}");
    assert!(waiting.not_before.unwrap() > tried.ended_at.unwrap(), "nobody asks again at once: {waiting:?}");
    api.post(&format!("/pipelines/{}/runs/{}/cancel", people.pipeline, run.id), &json!({})).await.expect(409);
    // The message comes back when it may be asked again, and is the only one.
    let depth = services.queue.depth().await.unwrap();
    assert_eq!(depth.visible + depth.delayed, 0, "{depth:?}");
    // More than a day later it still does not answer.
    let error = waiting.error.clone().unwrap().0;
    let past = Time(Clock::default().now() - chrono::Duration::seconds(60));
    let later = Time(Clock::default().now() + chrono::Duration::days(1));
    for _ in 1..MOST_FAILURES {
        let Claim::Taken(held) = services.store.claim("acme", &people.pipeline, &run.id, "w", later).await.unwrap()
        else {
            panic!("nobody else wants it")
        };
        assert!(services.store.give_back(&held, &error, std::time::Duration::ZERO, past).await.unwrap());
    }
    people.send(Task::Run, &run).await;
    let ended = people.finished(&run).await;
    let said = ended["error"]["message"].as_str().unwrap_or_default();
    assert_eq!(
        (&ended["status"], &ended["error"]["code"]),
        (&json!("failed"), &json!("TARGET_UNAVAILABLE")),
        "{ended}"
    );
    assert!(said.contains("is not known") && said.contains("\"people in away\", which could not be asked"), "{said}");
}

#[tokio::test]
async fn a_pipeline_that_is_deleted_after_a_crash_leaves_no_staged_files() {
    let people = People::new().await;
    let run = people.run().await;
    let held = people.lost(&run, 60).await;
    let staged = people.staged(&run);
    let store = &people.world.stack.services().store;
    let now = Time(Clock::default().now());
    // It waits for its next attempt, so that it is cancelled without a worker.
    assert!(store.give_back(&held, &held.given_too_often(), std::time::Duration::ZERO, now).await.unwrap());
    people.world.api.delete(&format!("/pipelines/{}", people.pipeline)).await.expect(204);
    wait("the pipeline is purged", async || !store.is_deleted("acme", &people.pipeline).await.unwrap()).await;
    assert!(!staged.exists(), "what was staged is still there");
    assert!(store.find_run("acme", &people.pipeline, &run.id).await.unwrap().is_none());
}

#[tokio::test]
async fn a_run_in_its_commit_ends_although_its_pipeline_is_deleted() {
    let people = People::new().await;
    let run = people.run().await;
    people.lost_in_commit(&run, 60).await;
    let services = people.world.stack.services();
    people.world.api.delete(&format!("/pipelines/{}", people.pipeline)).await.expect(204);
    wait("the purge waits for the run", async || {
        let depth = services.queue.depth().await.unwrap();
        depth.visible == 0 && depth.in_flight == 1
    })
    .await;
    people.send(Task::Run, &run).await;
    let store = &services.store;
    wait("the pipeline is purged", async || !store.is_deleted("acme", &people.pipeline).await.unwrap()).await;
    assert!(store.find_run("acme", &people.pipeline, &run.id).await.unwrap().is_none());
}

#[tokio::test]
async fn a_run_that_waits_is_found_waiting_by_a_dead_letter_and_fails_with_the_reason() {
    let people = People::new().await;
    let run = people.run().await;
    people.bury(&run).await;
    let ended = people.finished(&run).await;
    assert_eq!(
        (&ended["status"], &ended["error"]["code"]),
        (&json!("failed"), &json!("DELIVERED_TOO_OFTEN")),
        "{ended}"
    );
    assert_eq!(ended["attempt"], 0);
}

#[tokio::test]
async fn what_waiting_can_mend_is_tried_again_and_what_it_cannot_is_not() {
    let world = World::new().await;
    world.file("people.csv", "id,name\n1,Ada\n");
    let s3 = S3::start(&world.folder().join("s3")).await;
    s3.put("files", "people.csv", "id,name\n1,Ada\n");
    let mut keys = s3.connector("keys", "files", "people.csv");
    keys["authConfig"]["secretAccessKey"] = json!("a wrong one");
    let keys = world.api.create("/connectors", &keys).await;
    // Nobody listens on this port.
    let away = json!({
        "name": "away", "type": "postgresql", "config": {"host": "127.0.0.1", "port": 1, "database": "d"},
        "authMethod": "password", "authConfig": {"username": "u", "password": "p"}
    });
    let away = world.api.create("/connectors", &away).await;
    let (file, nowhere) = (world.connector("file", "people.csv").await, world.connector("nowhere", "none.csv").await);
    let fields = json!([{"name": "id", "dataType": "integer"}, {"name": "name", "dataType": "text"}]);
    let schema = world.schema("people", fields).await;
    let node = |kind: &str, config: Value| json!({"id": kind, "nodeType": kind, "config": config});
    for (name, connector, source, filter, code, attempts) in [
        ("a server that is away", &away, json!({"table": "t"}), "id > 0", "SOURCE_UNAVAILABLE", 3),
        ("a file that is not there", &nowhere, json!({}), "id > 0", "SOURCE_ERROR", 1),
        ("a wrong key", &keys, json!({}), "id > 0", "SOURCE_ERROR", 1),
        ("a column that is not there", &file, json!({}), "age > 0", "INVALID_PIPELINE", 1),
    ] {
        let body = json!({
            "name": name, "connectorId": connector, "schemaId": schema,
            "executionConfig": {"retry": {"maxAttempts": 3, "initialDelaySeconds": 1, "maxDelaySeconds": 1}},
            "nodes": [node("source", source), node("filter", json!({"condition": filter})), node("target", json!({}))],
            "edges": [{"source": "source", "target": "filter"}, {"source": "filter", "target": "target"}],
        });
        let run = world.run(&world.api.create("/pipelines", &body).await).await;
        let error = &run["error"];
        assert_eq!((&run["status"], &error["code"]), (&json!("failed"), &json!(code)), "{name}: {run}");
        assert_eq!((&run["attempt"], &error["retryable"]), (&json!(attempts), &json!(attempts > 1)), "{name}: {run}");
    }
}
