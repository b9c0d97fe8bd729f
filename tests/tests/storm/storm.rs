//! One storm: runs are started while faults happen, and waited for until the last one is final.

use crate::bucket::Buckets;
use crate::episodes::{self, Often};
use crate::faults::{Fault, Faults, Wanted};
use crate::functions::Front;
use crate::moments::{Moment, Service};
use crate::processes::{LEASE, Stack, Worker};
use crate::proxy::{Around, DISK, Who};
use crate::room::Disk;
use crate::verdict::{EPISODES, Expected, Seen};
use crate::{clock, database};
use flowgate::data_folder::DataFolder;
use reqwest::Method;
use serde_json::{Value, json};
use shared::aws::local_config;
use shared::models::run::Run;
use std::collections::HashMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tests::Api;
use tests::servers::{self, Postgres};
use tokio::sync::watch;

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
    pub often: Often,
}

/// Characters of a row of a run that is large.
const LONG: usize = 360_000;

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
    /// The runs of episodes, as they were when they were first seen final.
    pub others: Mutex<Vec<Run>>,
    /// The schemas of episodes.
    pub more_tables: Mutex<Vec<String>>,
    /// What was wrong in episodes.
    pub wrong: Mutex<Vec<String>>,
    /// The connector to the sources.
    pub connector: String,
    pub form: Form,
    front: Front,
    numbers: AtomicU64,
    client: reqwest::Client,
    /// Whether no fault is to come any more.
    calm: watch::Sender<bool>,
    /// Episodes that are not at their end and do not wait for that.
    pub playing: AtomicUsize,
}

impl Storm {
    /// Starts everything, with definitions and without faults so far.
    pub async fn prepare(seed: u64, form: Form, folder: PathBuf) -> Self {
        let buckets = Buckets::default();
        let disk = Disk::mount(&folder.join("disk"), DISK);
        let data = folder.join("disk").join("data");
        std::fs::create_dir_all(&data).unwrap();
        let database = Postgres::new().await;
        let can = |moment: Moment, fault: Fault| {
            (disk.is_some() || fault != Fault::FullDisk) && (database.is_some() || !moment.is_of_database())
        };
        let faults = Faults::plan(seed, form.wanted, can);
        // The stack needs an address at once, and the bucket answers as soon as somebody asks.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let bucket = format!("http://{}", listener.local_addr().unwrap());
        let stack = Stack::start(&data, &bucket, &folder.join("stack.log"));
        let exports = stack.exports.clone();
        let around = Arc::new(Around::new(faults, stack, buckets, folder.clone(), disk));
        around.bucket_url.set(bucket).unwrap();
        around.open_on(listener, Who::Friend);
        let data = DataFolder::open(&data).unwrap();
        let front = Front::start(&around, &data, &exports).await;
        around.trust(&front.token);
        let api = Api::new(&around.stack.read().unwrap().api, &front.token);
        let source = around.open(Who::Source).await;
        let port = match &database {
            Some(database) => database::open(&around, database.server.port).await,
            None => 0,
        };
        let of = database.as_ref().map(|database| (database, port));
        let Defined { connector, tables, pipelines } = define(&api, form.tables, &source, of).await;
        let (library, scratch) = (clock::library(&folder), folder.join("disk"));
        let mut workers = Vec::new();
        for index in 0..form.workers {
            let proxy = around.open(Who::Worker(index)).await;
            // One clock is right, one is behind by more than a lease, one ahead.
            let ahead = [0, -(LEASE as i64) - 2, LEASE as i64 + 2][index % 3];
            let name = format!("worker{index}");
            workers.push(Worker::start(&name, (&folder, &scratch), &exports, &proxy, (ahead, &library)));
        }
        assert!(around.workers.set(workers).is_ok());
        Self {
            seed,
            around,
            api,
            tables,
            database,
            pipelines,
            runs: Mutex::default(),
            others: Mutex::default(),
            more_tables: Mutex::default(),
            wrong: Mutex::default(),
            connector,
            form,
            front,
            numbers: AtomicU64::new(EPISODES),
            client: reqwest::Client::new(),
            calm: watch::channel(false).0,
            playing: AtomicUsize::new(0),
        }
    }

    /// Starts all runs and waits for their ends.
    pub async fn rage(self: &Arc<Self>) {
        let begun = Instant::now();
        let mut said = Instant::now();
        let storm = Arc::clone(self);
        let episodes = tokio::spawn(async move { episodes::play(&storm, storm.form.often).await });
        // Until all faults have come.
        let last = 2 * self.form.runs;
        let faults = &self.around.faults;
        let is_more = || faults.left() > 0 || faults.rare_left() > 0;
        for number in (0..last).take_while(|number| *number < self.form.runs || is_more()) {
            while self.open_runs() >= self.form.at_once {
                self.look().await;
                if said.elapsed() > Duration::from_secs(15) {
                    said = Instant::now();
                    println!(
                        "{:>5.0?} {number} runs started, {} open, {} faults to come, and {} that only some runs meet",
                        begun.elapsed(),
                        self.open_runs(),
                        faults.left(),
                        faults.rare_left()
                    );
                }
            }
            self.start(number).await;
        }
        println!("{:>5.0?} all runs are started; {} faults did not come", begun.elapsed(), self.around.faults.left());
        // What only some runs meet may still be met by those of episodes.
        let deadline = Instant::now() + self.form.patience;
        while self.playing.load(SeqCst) > 0 && Instant::now() < deadline {
            self.look().await;
        }
        self.around.faults.stop();
        self.around.make_room();
        self.calm.send_replace(true);
        let deadline = Instant::now() + self.form.patience;
        while self.open_runs() > 0 && Instant::now() < deadline {
            self.look().await;
        }
        println!("{:>5.0?} {} runs are not final", begun.elapsed(), self.open_runs());
        while !episodes.is_finished() {
            self.look().await;
        }
        let wrong = episodes.await.unwrap();
        self.wrong.lock().unwrap().extend(wrong);
        println!("{:>5.0?} all episodes are at their end", begun.elapsed());
    }

    /// Waits until no fault is to come any more.
    pub async fn calm(&self) {
        let _ = self.calm.subscribe().wait_for(|calm| *calm).await;
    }

    /// The number of a source that nobody has.
    pub fn next_number(&self) -> u64 {
        self.numbers.fetch_add(13, SeqCst)
    }

    /// Asks over the faulty network, as a caller does who does not give up.
    pub async fn ask(&self, method: Method, path: &str, key: Option<&str>, body: Option<&Value>) -> (u16, Value) {
        let deadline = Instant::now() + self.form.patience;
        loop {
            match self.front.send(method.clone(), path, key, body).await {
                // A conflict may be with the same request, sent before and still being answered.
                Some((status, said)) if status < 500 && ![409, 429].contains(&status) => return (status, said),
                last => assert!(Instant::now() < deadline, "{method} {path}: {last:?}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Asks the stack itself, which is killed and stopped now and then: the last answer where it gives no good one.
    pub async fn ask_stack(&self, method: Method, path: &str, body: Option<&Value>) -> (u16, Value) {
        let deadline = Instant::now() + self.form.patience;
        loop {
            let url = format!("{}/api/v1{path}", self.around.stack.read().unwrap().api);
            let mut request = self.client.request(method.clone(), url).bearer_auth(&self.api.token);
            if let Some(body) = body {
                request = request.json(body);
            }
            if let Ok(answer) = request.timeout(Duration::from_secs(20)).send().await {
                let status = answer.status().as_u16();
                let is_answer = (status < 500 && status != 429) || Instant::now() > deadline;
                if let (true, Ok(said)) = (is_answer, answer.json().await) {
                    return (status, said);
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// All pages of a list of the stack; `path` ends where another parameter may follow.
    ///
    /// # Errors
    /// What it answered instead.
    pub async fn pages(&self, path: &str) -> Result<Vec<Value>, String> {
        let (mut all, mut cursor) = (Vec::new(), String::new());
        loop {
            let (status, page) = self.ask_stack(Method::GET, &format!("{path}limit=100{cursor}"), None).await;
            let Some(data) = page["data"].as_array().filter(|_| status == 200) else {
                return Err(format!("{path} is answered with {status}: {page}"));
            };
            all.extend(data.iter().cloned());
            match page["pagination"]["cursor"].as_str() {
                None => return Ok(all),
                Some(next) => cursor = format!("&cursor={next}"),
            }
        }
    }

    /// The rows of a table, each as its run's number and its own, sorted.
    ///
    /// # Errors
    /// What was answered instead.
    pub async fn rows_of(&self, schema: &str) -> Result<Vec<(u64, u64)>, String> {
        let rows = self.pages(&format!("/schemas/{schema}/data?")).await?;
        let row = |row: &Value| match (row["run"].as_u64(), row["n"].as_u64()) {
            (Some(run), Some(n)) => Ok((run, n)),
            _ => Err(format!("{schema} has a strange row: {row}")),
        };
        let mut rows = rows.iter().map(row).collect::<Result<Vec<_>, _>>()?;
        rows.sort_unstable();
        Ok(rows)
    }

    /// A run as the table has it; an error where the table does not say.
    pub async fn look_at(&self, pipeline: &str, run: &str) -> shared::Result<Option<Run>> {
        self.front.look_at(pipeline, run).await
    }

    /// A run of an episode once it is final; none where it does not come to that.
    pub async fn ended(&self, pipeline: &str, id: &str, longest: Duration) -> Option<Run> {
        let deadline = Instant::now() + longest;
        while Instant::now() < deadline {
            if let Some(run) = self.front.find(pipeline, id).await.filter(|run| run.status.is_final()) {
                self.others.lock().unwrap().push(run.clone());
                return Some(run);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        None
    }

    fn open_runs(&self) -> usize {
        self.runs.lock().unwrap().values().filter(|seen| seen.last.is_none()).count()
    }

    /// Starts a run as a caller does who does not give up: with the same key until it is accepted.
    async fn start(self: &Arc<Self>, number: u64) {
        if let Some(text) = source_of(number) {
            self.around.buckets.put(&format!("sources/{number}.csv"), text);
        }
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

    /// How many uploads their senders could not give up, and the files of others that are open, once these had time to.
    pub async fn unfinished(&self) -> (usize, Vec<String>) {
        let deadline = Instant::now() + self.form.patience;
        loop {
            let (cut_off, others) = self.around.unfinished();
            if others.is_empty() || Instant::now() > deadline {
                return (cut_off.len(), others);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// A run as the table has it, without a fault on the way.
    pub async fn again(&self, seen: &Seen) -> shared::models::run::Run {
        self.front.find(&seen.pipeline, &seen.id).await.expect("a run that was accepted is there")
    }
}

/// What a run reads; none where there is nothing.
fn source_of(number: u64) -> Option<String> {
    let rows = Expected::of(number).rows()?;
    let mut text = "run,n,text\n".to_owned();
    let long = if Expected::is_large(number) { LONG } else { 0 };
    for n in 0..rows {
        writeln!(text, "{number},{n},text of row {n} {}", noise(number * 100 + n, long)).unwrap();
    }
    if Expected::of(number) == (Expected::OneRejected { rows }) {
        writeln!(text, "{number},no number,a row that does not fit").unwrap();
    }
    Some(text)
}

/// Characters that no compression makes short, so that a table's file has several parts.
fn noise(seed: u64, length: usize) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(LETTERS[(state >> 32) as usize % LETTERS.len()])
    };
    (0..length).map(next).collect()
}

/// What runs are of.
struct Defined {
    connector: String,
    tables: Vec<Table>,
    pipelines: Vec<String>,
}

/// A connector to the sources, and as many tables as pipelines: some write a second table too, some merge. The database is
/// reached on the port beside it.
async fn define(api: &Api, tables: u64, source: &str, database: Option<(&Postgres, u16)>) -> Defined {
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
        if let Some((database, port)) = database.filter(|_| table == tables - 1) {
            database.run(&format!("CREATE TABLE table_{table} (run bigint, n bigint, text text)")).await;
            let config = json!({"host": "127.0.0.1", "port": port, "database": database.name});
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
                "errorHandling": {"onError": "deadLetter"},
                "retry": {"maxAttempts": 6, "initialDelaySeconds": 1, "maxDelaySeconds": 2}
            },
        });
        pipelines.push(api.create("/pipelines", &body).await);
        all.push(table_of);
    }
    Defined { connector, tables: all, pipelines }
}

/// What a pipeline writes.
pub struct Table {
    pub id: String,
    pub name: String,
    /// Whether it lies in the database, while its rejected rows are kept beside the table of its schema.
    pub in_database: bool,
    /// The table of its second target.
    pub second: Option<String>,
}
