//! Rejected rows that are kept whole, beside the table.

use super::*;
use crate::deadline::{Deadline, LONGEST};
use crate::targets::{rejected, rollback, settle};
use shared::models::receipt::TargetKind;

/// A file with a row that the source rejects, one that a cast rejects and one that the target rejects.
fn bench() -> Bench {
    let file = "id,name,score\n1,Ada,5\n2,Bob\n3,Cy,x\n4,Dorothea,7\n5,Eve,8\n";
    let cast = json!({"nodeType": "transform", "config": {"ops": [
        {"op": "cast", "field": "score", "type": "integer", "onError": "reject"},
    ]}});
    let fields = json!([
        {"name": "id", "dataType": "integer"}, {"name": "name", "dataType": "varchar", "length": 5},
        {"name": "score", "dataType": "integer"},
    ]);
    Bench::chain(fields, file, &[cast]).execution(json!({"errorHandling": {"onError": "deadLetter"}}))
}

impl Bench {
    async fn rejected(&self) -> Vec<Value> {
        let mut rows = self.read(&rejected::schema(&self.job().schema)).await;
        rows.sort_by_key(|row| row["row"].as_u64());
        rows
    }
}

#[tokio::test]
async fn rejected_rows_are_kept_whole_with_their_reason() {
    let bench = bench();
    let ran = bench.run().await;
    assert_eq!((ran.outcome().rows_out, ran.outcome().failed_rows), (2, 3));
    let rows = bench.rejected().await;
    let told: Vec<_> =
        rows.iter().map(|row| (row["row"].clone(), row["node"].clone(), row["column"].clone())).collect();
    assert_eq!(
        told,
        [
            (json!(2), json!("source"), json!("score")),
            (json!(3), json!("step1"), json!("score")),
            (json!(4), json!("target"), json!("name")),
        ]
    );
    assert!(rows.iter().all(|row| row["run_id"] == "run_1" && row["file"] == "in.csv"), "{rows:?}");
    let data = |row: &Value| serde_json::from_str::<Value>(row["data"].as_str().unwrap()).unwrap();
    assert_eq!(data(&rows[0]), json!({"record": ["2", "Bob"]}));
    assert_eq!(data(&rows[1]), json!({"id": 3, "name": "Cy", "score": "x"}));
    assert_eq!(data(&rows[2]), json!({"id": 4, "name": "Dorothea", "score": 7}));
    assert_eq!(rows[2]["value"], json!("Dorothea"));
    assert!(rows[2]["reason"].as_str().unwrap().contains("8 characters"), "{rows:?}");
}

#[tokio::test]
async fn a_row_with_too_few_or_too_many_fields_or_an_open_quote_is_kept_as_the_list_of_its_fields() {
    let file = "id,a,b\n1,23\n12,3\n4,\"5,6\",7,8\n9,\"x\ny";
    let bench = Bench::chain(fields(&[("id", "integer")]), file, &[])
        .execution(json!({"errorHandling": {"onError": "deadLetter"}}));
    bench.run().await.result.unwrap();
    let data = |row: &Value| serde_json::from_str::<Value>(row["data"].as_str().unwrap()).unwrap();
    assert_eq!(
        bench.rejected().await.iter().map(data).collect::<Vec<_>>(),
        [
            json!({"record": ["1", "23"]}),
            json!({"record": ["12", "3"]}),
            json!({"record": ["4", "5,6", "7", "8"]}),
            json!({"record": ["9", "x\ny"]}),
        ]
    );
}

#[tokio::test]
async fn rejected_rows_are_kept_once_whatever_ends_between_the_commits() {
    let mut bench = bench();
    fail_between_the_commits(&mut bench).await;
    assert_eq!(bench.rejected().await.len(), 3, "they are committed first");
    let again = bench.run().await;
    assert_eq!((again.table.len(), bench.rejected().await.len()), (2, 3));
    let last = bench.run().await;
    assert_eq!((last.table.len(), last.outcome().failed_rows, bench.rejected().await.len()), (2, 3, 3));
    // It has read nothing, and tells of both tables all the same.
    let told = |ran: &Ran| -> Vec<_> { ran.outcome().targets.iter().map(|target| target.kind).collect() };
    assert_eq!(told(&last), [TargetKind::Rejected, TargetKind::Delta]);
    assert_eq!(told(&last), told(&again));
}

#[tokio::test]
async fn what_an_attempt_has_rejected_is_replaced_by_the_next_one_as_long_as_its_rows_are_not_in() {
    for (file, rows, left) in [
        ("id,name,score\n1,Ada,5\n2,Bob,6\n3,Cy,7\n", 3, vec![]),
        ("id,name,score\n1,Ada,5\n2,Bob,y\n3,Cy,7\n", 2, vec![json!(2)]),
    ] {
        let mut bench = bench();
        fail_between_the_commits(&mut bench).await;
        assert_eq!(bench.rejected().await.len(), 3);
        bench.job["attempt"] = json!(2);
        let bench = bench.file("in.csv", file);
        let ran = bench.run().await;
        assert_eq!((ran.table.len(), ran.outcome().failed_rows), (rows, left.len() as u64));
        let kept: Vec<Value> = bench.rejected().await.iter().map(|row| row["row"].clone()).collect();
        assert_eq!(kept, left);
        // A worker that comes once more finds both.
        let last = bench.run().await;
        assert_eq!((last.table.len(), bench.rejected().await.len()), (rows, left.len()));
        // And what is undone does not bring back what was replaced.
        let schema = rejected::schema(&bench.job().schema);
        let by = ("ann", shared::models::time::Time(chrono::DateTime::UNIX_EPOCH));
        let undo = rollback::Undo::new("acme", &schema, "run_1", by, &bench.settings()).unwrap();
        let deadline = Deadline::since(tokio::time::Instant::now(), LONGEST);
        assert!(undo.undo(undo.look().await.unwrap(), deadline).await.is_ok());
        assert_eq!(bench.rejected().await, Vec::<Value>::new());
    }
}

#[tokio::test]
async fn rejected_rows_that_an_attempt_staged_before_it_died_go_with_one_that_rejects_nothing() {
    let mut bench = bench();
    bench.run().await;
    let folder = bench.dir.path().join("lake/acme/schema_1_rejected/run_2/0123");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("part-0.parquet"), "rows").unwrap();
    bench.job["run"] = json!("run_2");
    bench.job["attempt"] = json!(2);
    let bench = bench.file("in.csv", "id,name,score\n1,Ada,5\n");
    bench.run().await;
    assert!(!folder.exists(), "what nobody took is still there");
    assert_eq!(bench.rejected().await.len(), 3, "those of the other run stay");
}

/// Runs, and lets the commit to the target fail after that of the rejected rows.
async fn fail_between_the_commits(bench: &mut Bench) {
    let log = bench.dir.path().join("lake/acme/schema_1/_delta_log");
    let away = log.with_file_name("away");
    let (from, to) = (log.clone(), away.clone());
    let meanwhile = move || {
        std::fs::rename(&from, &to).unwrap();
        std::fs::write(&from, "").unwrap();
    };
    bench.gate = Arc::new(Gate { meanwhile: Some(Box::new(meanwhile)), ..Gate::default() });
    bench.run().await.result.unwrap_err();
    std::fs::remove_file(&log).unwrap();
    std::fs::rename(&away, &log).unwrap();
    bench.gate = Arc::default();
}

#[tokio::test]
async fn a_run_that_is_settled_without_rows_takes_its_rejected_ones_out_again() {
    let mut bench = bench();
    fail_between_the_commits(&mut bench).await;
    let schema = bench.job().schema;
    assert!(!settle("acme", &schema, "run_1", &[], &bench.settings()).await.unwrap());
    assert_eq!(bench.rejected().await, Vec::<Value>::new());
}

#[tokio::test]
async fn a_retry_that_is_settled_without_rows_brings_the_rejected_ones_back_that_it_had_replaced() {
    let mut bench = bench();
    bench.run().await;
    let before = bench.rejected().await;
    assert_eq!(before.len(), 3);
    bench.job["run"] = json!("run_2");
    bench.earlier = vec![Earlier { run_id: "run_1".to_owned(), replace: true }];
    let mut bench = bench.file("in.csv", "id,name,score\n1,Ada,5\n2,Bob,6\n3,Cy,y\n");
    // The second attempt replaces what the first one has kept.
    for attempt in 1..=2 {
        bench.job["attempt"] = json!(attempt);
        fail_between_the_commits(&mut bench).await;
        let rows = bench.rejected().await;
        assert_eq!((rows.len(), &rows[0]["run_id"]), (1, &json!("run_2")));
    }
    let schema = bench.job().schema;
    for time in ["once", "twice"] {
        let is_there = settle("acme", &schema, "run_2", &bench.earlier, &bench.settings()).await.unwrap();
        assert_eq!((is_there, bench.rejected().await), (false, before.clone()), "settled {time}");
    }
}

#[tokio::test]
async fn a_retry_replaces_the_rejected_rows_of_the_run_before() {
    let mut bench = bench();
    bench.run().await;
    bench.job["run"] = json!("run_2");
    bench.earlier = vec![Earlier { run_id: "run_1".to_owned(), replace: true }];
    let mut bench = bench.file("in.csv", "id,name,score\n1,Ada,5\n2,Bob,6\n3,Cy,y\n");
    let ran = bench.run().await;
    assert_eq!((ran.table.len(), ran.outcome().failed_rows), (2, 1));
    let rows = bench.rejected().await;
    assert_eq!((rows.len(), &rows[0]["run_id"]), (1, &json!("run_2")));
    // The next retry rejects nothing, and leaves nothing.
    bench.job["run"] = json!("run_3");
    bench.earlier.insert(0, Earlier { run_id: "run_2".to_owned(), replace: true });
    let bench = bench.file("in.csv", "id,name,score\n1,Ada,5\n");
    bench.run().await;
    assert_eq!(bench.rejected().await, Vec::<Value>::new());
}

#[tokio::test]
async fn without_the_wish_no_table_of_rejected_rows_is_made() {
    let bench = bench().execution(json!({}));
    bench.run().await;
    assert!(!bench.dir.path().join("lake/acme/schema_1_rejected").exists());
    let clean = Bench::chain(fields(&[("id", "integer")]), "id\n1\n", &[]);
    let clean = clean.execution(json!({"errorHandling": {"onError": "deadLetter"}}));
    clean.run().await;
    assert!(!clean.dir.path().join("lake/acme/schema_1_rejected").exists(), "nor where nothing is rejected");
}
