//! One storm: runs are started while faults happen, and waited for until the last one is final.

use crate::bucket::Buckets;
use crate::faults::{Faults, Wanted};
use crate::functions::Front;
use crate::moments::Service;
use crate::processes::{LEASE, Stack, Worker};
use crate::proxy::{Around, Who};
use crate::verdict::{Expected, Seen};
use flowgate::data_folder::DataFolder;
use serde_json::{Value, json};
use shared::aws::local_config;
use std::collections::HashMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tests::Api;
use tests::servers::{self, Postgres};

/// How large a storm is.
#[derive(Debug, Clone, Copy)]
pub struct Form {
    pub runs: u64,
    pub workers: usize,
    pub tables: u64,
    /// Runs that are not final at once.
    pub at_once: usize,
    pub wanted: Wanted,
    /// How long the last runs may take after the last one was started.
    pub patience: Duration,
}

/// What a storm left behind.
pub struct Storm {
    pub seed: u64,
    pub around: Arc<Around>,
    pub api: Api,
    pub tables: Vec<Table>,
    /// Where the last table lies, where there is a server.
    pub database: Option<Postgres>,
    pub pipelines: Vec<String>,
    /// By the runs' numbers.
    pub runs: Mutex<HashMap<u64, Seen>>,
    form: Form,
    front: Front,
}

impl Storm {
    /// Starts everything, with definitions and without faults so far.
    pub async fn prepare(seed: u64, form: Form, folder: PathBuf) -> Self {
        let buckets = Buckets::default();
        for number in 0..form.runs {
            if let Some(rows) = Expected::of(number).rows() {
                let mut text = "run,n,text\n".to_owned();
                (0..rows).for_each(|n| writeln!(text, "{number},{n},text of row {n}").unwrap());
                if Expected::of(number) == (Expected::OneRejected { rows }) {
                    writeln!(text, "{number},no number,a row that does not fit").unwrap();
                }
                buckets.put(&format!("sources/{number}.csv"), text);
            }
        }
        let data = folder.join("data");
        // The stack needs an address at once, and the bucket answers as soon as somebody asks.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let bucket = format!("http://{}", listener.local_addr().unwrap());
        let stack = Stack::start(&data, &bucket, &folder.join("stack.log"));
        let exports = stack.exports.clone();
        let around = Arc::new(Around::new(Faults::plan(seed, form.wanted), stack, buckets, folder.clone()));
        around.bucket_url.set(bucket).unwrap();
        around.open_on(listener, Who::Friend);
        let data = DataFolder::open(&data).unwrap();
        let front = Front::start(&around, &data, &exports).await;
        around.trust(&front.token);
        let api = Api::new(&around.stack.read().unwrap().api, &front.token);
        let source = around.open(Who::Source).await;
        let database = Postgres::new().await;
        let (tables, pipelines) = define(&api, form.tables, &source, database.as_ref()).await;
        let mut workers = Vec::new();
        for index in 0..form.workers {
            let proxy = around.open(Who::Worker(index)).await;
            // One clock is right, one is behind by more than a lease, one ahead.
            let ahead = [0, -(LEASE as i64) - 2, LEASE as i64 + 2][index % 3];
            workers.push(Worker::start(&format!("worker{index}"), &folder, &exports, &proxy, ahead));
        }
        assert!(around.workers.set(workers).is_ok());
        Self { seed, around, api, tables, database, pipelines, runs: Mutex::default(), form, front }
    }

    /// Starts all runs and waits for their ends.
    pub async fn rage(self: &Arc<Self>) {
        let begun = Instant::now();
        let mut said = Instant::now();
        for number in 0..self.form.runs {
            while self.open_runs() >= self.form.at_once {
                self.look().await;
                if said.elapsed() > Duration::from_secs(15) {
                    said = Instant::now();
                    println!(
                        "{:>5.0?} {number} runs started, {} open, {} faults to come",
                        begun.elapsed(),
                        self.open_runs(),
                        self.around.faults.left()
                    );
                }
            }
            self.start(number).await;
        }
        println!("{:>5.0?} all runs are started; {} faults did not come", begun.elapsed(), self.around.faults.left());
        self.around.faults.stop();
        let deadline = Instant::now() + self.form.patience;
        while self.open_runs() > 0 && Instant::now() < deadline {
            self.look().await;
        }
        println!("{:>5.0?} {} runs are not final", begun.elapsed(), self.open_runs());
    }

    fn open_runs(&self) -> usize {
        self.runs.lock().unwrap().values().filter(|seen| seen.last.is_none()).count()
    }

    /// Starts a run as a caller does who does not give up: with the same key until it is accepted.
    async fn start(self: &Arc<Self>, number: u64) {
        let pipeline = &self.pipelines[(number % self.form.tables) as usize];
        let body = json!({"parameters": {"part": number.to_string()}});
        let run: Value = loop {
            let path = format!("/pipelines/{pipeline}/run");
            let answer = self.front.post(&path, Some(&format!("run {number}")), &body).await;
            match answer {
                Some((201, run)) => break run,
                Some((status, said)) if status < 500 && ![409, 429].contains(&status) => panic!("{status}: {said}"),
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        let id = run["id"].as_str().unwrap().to_owned();
        let seen = Seen { id: id.clone(), pipeline: pipeline.clone(), last: None, cancelled: None };
        self.runs.lock().unwrap().insert(number, seen);
        if number % 11 == 5 {
            let (storm, path) = (Arc::clone(self), format!("/pipelines/{pipeline}/runs/{id}/cancel"));
            let wait = Duration::from_millis(self.around.faults.below(1500));
            tokio::spawn(async move {
                tokio::time::sleep(wait).await;
                let mut perhaps = false;
                loop {
                    match storm.front.post(&path, None, &json!({})).await {
                        Some((status @ (202 | 409), _)) => {
                            storm.around.faults.note("cancellations asked for");
                            let mut runs = storm.runs.lock().unwrap();
                            runs.get_mut(&number).unwrap().cancelled = Some(status == 202 || perhaps);
                            return;
                        }
                        // A request whose answer was lost may have been done.
                        _ => perhaps = true,
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            });
        }
    }

    /// Looks at the runs that are not final, and lets a moment pass.
    async fn look(&self) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        self.front.maybe_tick(&self.around).await;
        let open: Vec<(u64, String, String)> = self
            .runs
            .lock()
            .unwrap()
            .iter()
            .filter(|(_, seen)| seen.last.is_none())
            .map(|(number, seen)| (*number, seen.pipeline.clone(), seen.id.clone()))
            .collect();
        for (number, pipeline, id) in open {
            let Some(run) = self.front.find(&pipeline, &id).await else { continue };
            if run.status.is_final() {
                self.runs.lock().unwrap().get_mut(&number).unwrap().last = Some(run);
            }
        }
        for worker in self.around.workers.get().unwrap() {
            assert!(!worker.has_ended(), "a worker ended by itself; its log is in {}", self.around.folder.display());
        }
    }

    /// Waits until no queue has a message; what is left where that does not happen.
    pub async fn empty_queues(&self) -> Vec<String> {
        let deadline = Instant::now() + self.form.patience;
        loop {
            let mut left = Vec::new();
            let client = aws_sdk_sqs::Client::new(&local_config(&self.around.address(Service::Queue)));
            let queues = client.list_queues().send().await.unwrap().queue_urls.unwrap_or_default();
            assert!(queues.len() >= 3, "{queues:?}");
            for queue in queues {
                let all = aws_sdk_sqs::types::QueueAttributeName::All;
                let answer = client.get_queue_attributes().queue_url(&queue).attribute_names(all).send().await.unwrap();
                let counts = answer.attributes.unwrap_or_default();
                let count = counts.iter().filter(|(name, _)| name.as_str().starts_with("ApproximateNumberOfMessages"));
                let count: u64 = count.filter_map(|(_, count)| count.parse::<u64>().ok()).sum();
                if count > 0 {
                    left.push(format!("{count} in {queue}"));
                }
            }
            if left.is_empty() || Instant::now() > deadline {
                return left;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// The client of the stack as it is now.
    pub fn now(&self) -> Api {
        Api::new(&self.around.stack.read().unwrap().api, &self.api.token)
    }

    /// A run as the table has it, without a fault on the way.
    pub async fn again(&self, seen: &Seen) -> shared::models::run::Run {
        self.front.find(&seen.pipeline, &seen.id).await.expect("a run that was accepted is there")
    }
}

/// A connector to the sources, and as many tables as pipelines: some write a second table too, some merge.
async fn define(api: &Api, tables: u64, source: &str, database: Option<&Postgres>) -> (Vec<Table>, Vec<String>) {
    let connector = json!({
        "name": "sources", "type": "aws_s3", "authMethod": "access_key",
        "config": {"bucket": "sources", "region": "us-east-1", "endpoint": source},
        "authConfig": {"accessKeyId": "storm", "secretAccessKey": "storm"}
    });
    let connector = api.create("/connectors", &connector).await;
    let fields: Value = json!([
        {"name": "run", "dataType": "bigint", "isPrimaryKey": true}, {"name": "n", "dataType": "bigint", "isPrimaryKey": true},
        {"name": "text", "dataType": "text"},
    ]);
    let (mut all, mut pipelines) = (Vec::new(), Vec::new());
    for table in 0..tables {
        let schema = api.create("/schemas", &json!({"name": format!("table_{table}"), "fields": fields})).await;
        let second = format!("second_{table}");
        let mode = if table % 5 == 2 { "upsert" } else { "append" };
        let mut nodes = vec![
            json!({"id": "s", "nodeType": "source", "config": {"path": "${part}.csv"}}),
            json!({"id": "t", "nodeType": "target", "config": {"loadMode": mode}}),
        ];
        let mut edges = vec![json!({"source": "s", "target": "t"})];
        let mut table_of =
            Table { id: schema.clone(), name: format!("table_{table}"), second: None, in_database: false };
        if let Some(database) = database.filter(|_| table == tables - 1) {
            database.run(&format!("CREATE TABLE table_{table} (run bigint, n bigint, text text)")).await;
            let config = json!({"host": "127.0.0.1", "port": database.server.port, "database": database.name});
            let shop = json!({
                "name": "shop", "type": "postgresql", "config": config, "authMethod": "password",
                "authConfig": {"username": servers::USER, "password": servers::PASSWORD}
            });
            nodes[1]["config"] = json!({"connectorId": api.create("/connectors", &shop).await});
            table_of.in_database = true;
        } else if table % 3 == 1 {
            table_of.second = Some(api.create("/schemas", &json!({"name": second, "fields": fields})).await);
            nodes.push(json!({"id": "u", "nodeType": "target", "config": {"table": second}}));
            edges.push(json!({"source": "s", "target": "u"}));
        }
        let body = json!({
            "name": format!("pipeline {table}"), "connectorId": connector, "schemaId": schema,
            "nodes": nodes, "edges": edges,
            "executionConfig": {
                "parallelism": 1,
                "errorHandling": {"onError": if table_of.in_database { "skip" } else { "deadLetter" }},
                "retry": {"maxAttempts": 6, "initialDelaySeconds": 1, "maxDelaySeconds": 2}
            },
        });
        pipelines.push(api.create("/pipelines", &body).await);
        all.push(table_of);
    }
    (all, pipelines)
}

/// What a pipeline writes.
pub struct Table {
    pub id: String,
    pub name: String,
    /// Whether it lies in the database, where no rejected rows are kept.
    pub in_database: bool,
    /// The table of its second target.
    pub second: Option<String>,
}
