//! Tables on S3: what holds on a disk holds there too.

use crate::watched::hurried;
use flowgate::stack::{Options, Stack};
use serde_json::{Value, json};
use shared::clock::Clock;
use shared::launch;
use shared::models::run::{Progress, Rows, Run, Trigger};
use shared::models::time::Time;
use shared::queue::{Message, Task};
use shared::store::runs::Claim;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;
use tests::s3::S3;
use tests::{World, named};
use worker::engine::job::Lake;

/// A stack whose tables lie in a bucket.
struct Cloud {
    world: World,
    s3: S3,
    _folder: TempDir,
}

impl Cloud {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let s3 = S3::start(folder.path()).await;
        s3.bucket("lake");
        let lake = Lake { url: "s3://lake/tables/".to_owned(), options: s3.environment() };
        let world = World::with(|options: &mut Options| options.lake = Some(lake)).await;
        Self { world, s3, _folder: folder }
    }

    /// Where the tables of the tenant `acme` lie.
    fn tables(&self) -> PathBuf {
        self.s3.bucket("lake").join("tables/acme")
    }

    /// The commits of a table.
    fn commits(&self, schema: &str) -> Vec<String> {
        let log = fs::read_dir(self.tables().join(schema).join("_delta_log")).unwrap();
        let mut names: Vec<_> = log.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name.ends_with(".json"));
        names.sort();
        names
    }

    /// A schema of people, and a connector to a file with them.
    async fn people(&self) -> (String, String) {
        let fields = json!([
            {"name": "id", "dataType": "integer", "isPrimaryKey": true}, {"name": "name", "dataType": "text"},
        ]);
        // The server keeps notes in files that are named by keys: with ids of the usual length they are too long.
        let schema = "schema_1".to_owned();
        named::keep_schema_as(&self.world.stack.services().store, "acme", &schema, "people", fields).await;
        (self.world.connector("people", "people.csv").await, schema)
    }

    async fn pipeline(&self, (connector, schema): (&str, &str), mode: &str, execution: Value) -> String {
        let body = json!({
            "name": mode, "connectorId": connector, "schemaId": schema, "executionConfig": execution,
            "nodes": [
                {"id": "s", "nodeType": "source", "config": {}},
                {"id": "t", "nodeType": "target", "config": {"loadMode": mode}},
            ],
            "edges": [{"source": "s", "target": "t"}],
        });
        self.world.api.create("/pipelines", &body).await
    }

    async fn ids(&self, schema: &str) -> String {
        let rows = self.world.api.rows(schema).await;
        let mut ids: Vec<_> = rows.iter().map(|r| format!("{}{}", r["id"], r["name"].as_str().unwrap())).collect();
        ids.sort();
        ids.join(" ")
    }

    async fn send(&self, pipeline: &str, run: &str) {
        let message = Message {
            task: Task::Run,
            tenant_id: "acme".to_owned(),
            pipeline_id: pipeline.to_owned(),
            run_id: run.to_owned(),
        };
        self.world.stack.services().queue.send(&message, Duration::ZERO).await.unwrap();
    }
}

#[tokio::test]
async fn all_load_modes_write_to_a_bucket() {
    let cloud = Cloud::start().await;
    let (connector, schema) = cloud.people().await;
    let mut pipelines = Vec::new();
    for mode in ["append", "upsert", "truncate"] {
        pipelines.push(cloud.pipeline((&connector, &schema), mode, json!({})).await);
    }
    for (pipeline, text, expected) in [
        (&pipelines[0], "id,name\n1,a\n2,b\n", "1a 2b"),
        (&pipelines[1], "id,name\n2,B\n3,c\n3,d\n", "1a 2B 3d"),
        (&pipelines[0], "id,name\n4,e\n", "1a 2B 3d 4e"),
        (&pipelines[2], "id,name\n9,z\n", "9z"),
    ] {
        cloud.world.file("people.csv", text);
        let run = cloud.world.run(pipeline).await;
        assert_eq!(run["status"], "completed", "{run}");
        assert_eq!(cloud.ids(&schema).await, expected);
    }
    assert_eq!(cloud.commits(&schema).len(), 5, "one that makes the table, and one a run");
    assert!(!cloud.world.lake().exists(), "nothing of it lies on the disk");
}

#[tokio::test]
async fn a_retry_in_a_bucket_replaces_what_the_run_before_wrote() {
    let cloud = Cloud::start().await;
    let (connector, schema) = cloud.people().await;
    let pipeline = cloud.pipeline((&connector, &schema), "append", json!({})).await;
    cloud.world.file("people.csv", "id,name\n1,a\nx,b\n");
    let first = cloud.world.run(&pipeline).await;
    assert_eq!((&first["status"], &first["rowsOut"]), (&json!("completed_with_errors"), &json!(1)), "{first}");
    cloud.world.file("people.csv", "id,name\n1,a\n2,b\n");
    let path = format!("/pipelines/{pipeline}/runs/{}/retry", first["id"].as_str().unwrap());
    let second = cloud.world.api.create(&path, &json!({})).await;
    let second = cloud.world.api.finished(&pipeline, &second).await;
    assert_eq!(second["status"], "completed", "{second}");
    assert_eq!(cloud.ids(&schema).await, "1a 2b");
}

#[tokio::test]
async fn a_run_whose_worker_died_after_its_commit_finds_its_rows_in_the_bucket() {
    let cloud = Cloud::start().await;
    let (connector, schema) = cloud.people().await;
    let pipeline = cloud.pipeline((&connector, &schema), "append", json!({})).await;
    cloud.world.file("people.csv", "id,name\n1,a\n2,b\n");
    let run = cloud.world.run(&pipeline).await;
    let id = run["id"].as_str().unwrap();
    let commits = cloud.commits(&schema);
    // As it lay in the table when its worker died, in the moment after the commit.
    cloud.world.not_reported(&pipeline, id).await;
    cloud.send(&pipeline, id).await;
    let again = cloud.world.api.finished(&pipeline, id).await;
    assert_eq!((&again["status"], &again["attempt"]), (&json!("completed"), &json!(2)), "{again}");
    assert_eq!((&again["rowsIn"], &again["rowsOut"]), (&run["rowsIn"], &run["rowsOut"]), "{again}");
    assert_eq!(cloud.ids(&schema).await, "1a 2b");
    assert_eq!(cloud.commits(&schema), commits, "it commits nothing more");
}

#[tokio::test]
async fn a_run_whose_worker_died_before_its_commit_is_settled_and_leaves_nothing_in_the_bucket() {
    let cloud = Cloud::start().await;
    let (connector, schema) = cloud.people().await;
    let limit = json!({"timeoutSeconds": 1});
    let pipeline = cloud.pipeline((&connector, &schema), "append", limit).await;
    let store = &cloud.world.stack.services().store;
    // A worker that took it a minute ago, staged a file, was about to commit, and died.
    let past = Time(Clock::default().now() - chrono::Duration::seconds(60));
    let stored = store.pipeline("acme", &pipeline).await.unwrap();
    let run: Run = launch::new_run(&stored, named::RUN.to_owned(), Trigger::Manual, "ada", past);
    store.create_run(&run, None, None).await.unwrap();
    let Claim::Taken(held) = store.claim("acme", &pipeline, &run.id, "died", past).await.unwrap() else {
        panic!("nobody else wants it");
    };
    assert!(store.enter_committing(&held, Rows::default(), &Progress::default(), None).await.unwrap());
    let staged = format!("tables/acme/{schema}/{}/0/part-0.parquet", run.id);
    cloud.s3.put("lake", &staged, "rows");
    cloud.send(&pipeline, &run.id).await;
    let ended = cloud.world.api.finished(&pipeline, &run.id).await;
    assert_eq!((&ended["status"], &ended["error"]["code"]), (&json!("failed"), &json!("TIMEOUT")), "{ended}");
    assert!(!cloud.s3.bucket("lake").join(staged).exists(), "what was staged is removed");
    assert_eq!(cloud.world.api.rows(&schema).await, Vec::<Value>::new());
    let last = cloud.tables().join(&schema).join("_delta_log").join(cloud.commits(&schema).last().unwrap());
    let last = fs::read_to_string(last).unwrap();
    assert!(last.contains("\"txn\"") && last.contains(&run.id), "a late commit must meet it: {last}");
}

#[tokio::test]
async fn a_lake_that_does_not_answer_fails_the_run_and_shows_no_address() {
    let lake = Lake {
        url: "s3://lake".to_owned(),
        options: [
            ("AWS_ENDPOINT_URL", "http://127.0.0.1:1"),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "nobody"),
            ("AWS_SECRET_ACCESS_KEY", "nothing"),
            ("max_retries", "0"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into(),
    };
    let world = World::with(|options| options.lake = Some(lake)).await;
    world.file("people.csv", "id\n1\n");
    let connector = world.connector("people", "people.csv").await;
    let schema = world.schema("people", json!([{"name": "id", "dataType": "integer"}])).await;
    let body = json!({
        "name": "p", "connectorId": connector, "schemaId": schema, "executionConfig": {"retry": {"maxAttempts": 1}}
    });
    let pipeline = world.api.create("/pipelines", &body).await;
    let run = world.run(&pipeline).await;
    assert_eq!((&run["status"], &run["error"]["code"]), (&json!("failed"), &json!("TARGET_UNAVAILABLE")), "{run}");
    let said = run["error"]["message"].as_str().unwrap();
    assert!(said.contains("\"people\"") && !said.contains("127.0.0.1") && !said.contains("nobody"), "{said}");
}

#[tokio::test]
async fn a_lake_that_cannot_be_one_is_said_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    for url in ["gs://lake/tables", "lake"] {
        let lake = Lake { url: url.to_owned(), options: Default::default() };
        let started = Stack::start(Options { lake: Some(lake), ..Options::new(folder.path()) }).await;
        let said = started.err().unwrap().to_string();
        assert!(said.contains("s3://bucket/prefix") && said.contains(url), "{said}");
    }
}

#[tokio::test]
async fn a_run_is_undone_in_a_bucket() {
    let cloud = Cloud::start().await;
    let (connector, schema) = cloud.people().await;
    let append = cloud.pipeline((&connector, &schema), "append", json!({})).await;
    let upsert = cloud.pipeline((&connector, &schema), "upsert", json!({})).await;
    cloud.world.file("people.csv", "id,name\n1,a\n2,b\n");
    cloud.world.run(&append).await;
    cloud.world.file("people.csv", "id,name\n2,B\n3,c\n");
    let run = cloud.world.run(&upsert).await;
    let path = format!("/pipelines/{upsert}/runs/{}", run["id"].as_str().unwrap());
    let receipt = cloud.world.api.get(&format!("{path}/receipt")).await.expect(200).json();
    let delta = &receipt["targets"][0]["delta"];
    assert_eq!((&delta["location"], &delta["versionAfter"]), (&json!("acme/schema_1"), &json!(2)));
    assert!(delta["entryHash"].as_str().unwrap().starts_with("sha256:"), "{delta}");
    let undone = cloud.world.api.post(&format!("{path}/rollback"), &json!({})).await.expect(200).json();
    assert_eq!(undone["rolledBack"]["version"], 3);
    assert_eq!(cloud.ids(&schema).await, "1a 2b");
    assert_eq!(cloud.commits(&schema).len(), 4);
}

#[tokio::test]
async fn a_rollback_that_is_cut_off_between_two_tables_says_so_and_goes_on() {
    let cloud = Cloud::start().await;
    let (connector, schema) = cloud.people().await;
    let (api, services) = (&cloud.world.api, cloud.world.stack.services());
    let fields = json!([{"name": "id", "dataType": "integer"}, {"name": "name", "dataType": "text"}]);
    let other = "schema_2".to_owned();
    named::keep_schema_as(&services.store, "acme", &other, "others", fields).await;
    let body = json!({
        "name": "both", "connectorId": connector, "schemaId": schema,
        "nodes": [
            {"id": "s", "nodeType": "source", "config": {}},
            {"id": "one", "nodeType": "target", "config": {}},
            {"id": "two", "nodeType": "target", "config": {"table": "others"}},
        ],
        "edges": [{"source": "s", "target": "one"}, {"source": "s", "target": "two"}],
    });
    let pipeline = api.create("/pipelines", &body).await;
    cloud.world.file("people.csv", "id,name\n1,a\n2,b\n");
    let run = cloud.world.run(&pipeline).await;
    assert_eq!((&run["status"], &run["rowsOut"]), (&json!("completed"), &json!(4)), "{run}");

    let lake = Lake { url: "s3://lake/tables/".to_owned(), options: cloud.s3.environment() };
    let hurried = hurried(&cloud.world, services, lake, Duration::from_secs(12)).await;
    cloud.s3.hold_writes(&format!("tables/acme/{other}/_delta_log/"));
    let path = format!("/pipelines/{pipeline}/runs/{}", run["id"].as_str().unwrap());
    let late = hurried.post(&format!("{path}/rollback"), &json!({})).await.expect(503).json();
    assert_eq!(late["code"], "TIMEOUT", "{late}");
    let said = late["detail"].as_str().unwrap();
    let known = "the run's rows are out of \"people\", and whether they are out of \"others\" is not known";
    assert!(said.contains(known) && said.contains("asking again goes on"), "{said}");
    assert_eq!((cloud.ids(&schema).await.as_str(), cloud.ids(&other).await.as_str()), ("", "1a 2b"));

    cloud.s3.release();
    // What was cut off may still come in, which whoever asks meanwhile is told.
    let undone = async || {
        let answer = api.post(&format!("{path}/rollback"), &json!({})).await;
        assert!([200, 409].contains(&answer.status.as_u16()), "{}", answer.text);
        api.get(&path).await.expect(200).json()["rolledBack"].is_object()
    };
    crate::wait("the rollback goes on", undone).await;
    assert_eq!((cloud.ids(&schema).await, cloud.ids(&other).await), (String::new(), String::new()));
}
