//! What runs have counted at which several attempts have worked: those that wrote speak for them.

use super::People;
use serde_json::{Value, json};
use shared::models::run::{Progress, RowError, Rows, Run};
use shared::models::time::JsonText;
use shared::queue::Task;
use shared::store::errors::ErrorWriter;
use shared::store::receipts::Reading;
use std::ops::RangeInclusive;

impl People {
    /// An attempt keeps the rows with these numbers as rejected.
    async fn reject(&self, held: &Run, numbers: impl IntoIterator<Item = u64>) {
        let mut writer = ErrorWriter::new(&self.world.stack.services().store, held);
        for number in numbers {
            let row = RowError {
                row: Some(number),
                column: "id".to_owned(),
                value: Some("x".to_owned()),
                error: "\"x\" is not an integer".to_owned(),
                node: "node_1".to_owned(),
            };
            writer.push(row).await.unwrap();
        }
        writer.flush().await.unwrap();
    }

    /// A worker comes to the run's commit with 100 rows and one that it has rejected, and dies there.
    async fn lost_with_many(&self, run: &Run) {
        let held = self.lost(run, 60).await;
        self.reject(&held, [7]).await;
        let store = &self.world.stack.services().store;
        let rows = Rows { rows_in: 100, rows_out: 99, failed: 1, skipped: 0 };
        let (inputs, nodes) = (JsonText(Vec::new()), JsonText(Vec::new()));
        let reading = Reading { attempt: held.attempt, rows: Some(rows), inputs, nodes };
        store.keep_reading(&held, &reading).await.unwrap();
        assert!(store.enter_committing(&held, rows, &Progress::default(), Some(held.attempt)).await.unwrap());
    }

    /// Sends a message for the run, waits for its end, and answers what it comes to.
    async fn told(&self, task: Task, run: &Run) -> Value {
        self.send(task, run).await;
        let ended = self.finished(run).await;
        let path = format!("/pipelines/{}/runs/{}/errors", self.pipeline, run.id);
        let errors = self.world.api.get(&path).await.expect(200).json()["data"].as_array().unwrap().len();
        json!({
            "status": ended["status"], "attempt": ended["attempt"], "in": ended["rowsIn"], "out": ended["rowsOut"],
            "failed": ended["failedRows"], "errors": errors,
        })
    }
}

#[tokio::test]
async fn an_attempt_that_died_before_it_wrote_does_not_count() {
    let people = People::new().await;
    let run = people.run().await;
    people.lost_with_many(&run).await;
    let told = people.told(Task::Run, &run).await;
    assert_eq!(told, json!({"status": "completed", "attempt": 2, "in": 3, "out": 3, "failed": 0, "errors": 0}));
    // Nor where the one that wrote did not live to report it, and the next one settles the run, or finds its rows.
    for (task, attempt) in [(Task::Settle, 3), (Task::Run, 4)] {
        people.world.not_reported(&people.pipeline, &run.id).await;
        let told = people.told(task, &run).await;
        let expected = json!({"status": "completed", "attempt": attempt, "in": 3, "out": 3, "failed": 0, "errors": 0});
        assert_eq!(told, expected, "{task:?}");
    }
}

#[tokio::test]
async fn an_attempt_that_another_one_overtook_and_that_died_does_not_count() {
    for task in [Task::Settle, Task::Run] {
        let people = People::new().await;
        let run = people.run().await;
        people.told(Task::Run, &run).await;
        // The first one was slow, and its commit came in when the second one was at its own.
        people.world.not_reported(&people.pipeline, &run.id).await;
        people.lost_with_many(&run).await;
        let told = people.told(task, &run).await;
        let expected = json!({"status": "completed", "attempt": 3, "in": 3, "out": 3, "failed": 0, "errors": 0});
        assert_eq!(told, expected, "{task:?}");
    }
}

#[tokio::test]
async fn what_an_attempt_has_counted_that_wrote_one_of_two_tables_stays() {
    let people = People::new().await;
    let (api, world) = (&people.world.api, &people.world);
    let names = world.schema("names", json!([{"name": "name", "dataType": "text"}])).await;
    let node = |id: &str, kind: &str, config: Value| json!({"id": id, "nodeType": kind, "config": config});
    let body = json!({
        "nodes": [
            node("s", "source", json!({})), node("t", "target", json!({})),
            node("u", "target", json!({"table": "names"})),
        ],
        "edges": [{"source": "s", "target": "t"}, {"source": "s", "target": "u"}],
    });
    api.put(&format!("/pipelines/{}", people.pipeline), &body).await.expect(200);
    for task in [Task::Run, Task::Settle] {
        world.file("people.csv", "id,name\n1,Ada\n2,Bob\nx,Cyd\n");
        let run = people.run().await;
        let first = people.told(Task::Run, &run).await;
        let rows =
            json!({"status": "completed_with_errors", "attempt": 1, "in": 3, "out": 4, "failed": 1, "errors": 1});
        assert_eq!(first, rows);
        // As if its worker had died between its two commits.
        let log = world.lake().join(&names).join("_delta_log");
        let mut versions: Vec<_> = std::fs::read_dir(&log).unwrap().map(|entry| entry.unwrap().path()).collect();
        versions.retain(|path| path.extension().is_some_and(|end| end == "json"));
        std::fs::remove_file(versions.iter().max().unwrap()).unwrap();
        people.world.not_reported(&people.pipeline, &run.id).await;
        world.file("people.csv", "id,name\n7,Eve\n");
        let told = people.told(Task::Run, &run).await;
        let rows =
            json!({"status": "completed_with_errors", "attempt": 2, "in": 3, "out": 3, "failed": 1, "errors": 1});
        assert_eq!(told, rows);
        // Whoever comes once more tells the same.
        people.world.not_reported(&people.pipeline, &run.id).await;
        let told = people.told(task, &run).await;
        let rows =
            json!({"status": "completed_with_errors", "attempt": 3, "in": 3, "out": 3, "failed": 1, "errors": 1});
        assert_eq!(told, rows, "{task:?}");
    }
}

#[tokio::test]
async fn a_walk_over_rejected_rows_stays_with_the_attempt_with_which_it_began() {
    let people = People::new().await;
    let (run, store) = (people.run().await, &people.world.stack.services().store);
    let path = format!("/pipelines/{}/runs/{}/errors", people.pipeline, run.id);
    let page = async |query: &str| {
        let page = people.world.api.get(&format!("{path}?{query}")).await.expect(200).json();
        let rows = page["data"].as_array().unwrap().iter().map(|row| row["row"].as_u64().unwrap()).collect::<Vec<_>>();
        (rows, page["pagination"]["cursor"].as_str().map(str::to_owned))
    };
    let dies_in_commit = async |seconds_ago: i64, rejected: RangeInclusive<u64>| {
        let held = people.lost(&run, seconds_ago).await;
        people.reject(&held, rejected).await;
        let attempt = Some(held.attempt);
        assert!(store.enter_committing(&held, Rows::default(), &Progress::default(), attempt).await.unwrap());
    };
    dies_in_commit(120, 1..=1_020).await;
    let (mut walked, mut next) = page("limit=100").await;
    // The next attempt has rejected others.
    dies_in_commit(60, 2_001..=2_003).await;
    while let Some(cursor) = next {
        let (rows, after) = page(&format!("limit=100&cursor={cursor}")).await;
        walked.extend(rows);
        next = after;
    }
    assert_eq!(walked, (1..=1_020).collect::<Vec<_>>(), "in two chunks");
    assert_eq!(page("limit=100").await, (vec![2_001, 2_002, 2_003], None));
}
