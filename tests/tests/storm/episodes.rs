//! What else happens in a storm beside runs that append: tables that are replaced, read on, widened, rolled back; runs that
//! are retried, that take too long, or whose pipeline goes away; and schedules.

use crate::storm::Storm;
use chrono::{DateTime, Duration as Span, Utc};
use reqwest::Method;
use serde_json::{Value, json};
use shared::models::run::{MOST_LOST, Run, RunStatus};
use std::collections::HashSet;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

/// How often each of them is played; runs are refused, and tables become wider, so often at two places at once.
#[derive(Debug, Clone, Copy)]
pub struct Often {
    pub truncates: usize,
    pub refusals: usize,
    pub increments: usize,
    pub widenings: usize,
    pub retries: usize,
    pub timeouts: usize,
    pub deletions: usize,
}

/// Seconds after which a run has taken too long.
const TIMEOUT: u64 = 4;
/// Minutes between two due times.
const EVERY: i64 = 30;
/// The longest that one step may take: a run that is killed each time it is taken is tried again for minutes.
const LONGEST: Duration = Duration::from_secs(900);

/// Plays all of them at once, and answers what was wrong.
pub async fn play(storm: &Arc<Storm>, often: Often) -> Vec<String> {
    let mut tasks = tokio::task::JoinSet::new();
    let episode = |name: &'static str| Episode { storm: Arc::clone(storm), name, wrong: Vec::new() };
    tasks.spawn(counted(Arc::clone(storm), episode("truncate").truncates(often.truncates)));
    for name in ["refused", "refused_too"] {
        tasks.spawn(counted(Arc::clone(storm), episode(name).refused(often.refusals)));
    }
    tasks.spawn(counted(Arc::clone(storm), episode("incremental").increments(often.increments)));
    for name in ["widened", "widened_too"] {
        tasks.spawn(counted(Arc::clone(storm), episode(name).widens(often.widenings)));
    }
    tasks.spawn(counted(Arc::clone(storm), episode("retry").retries(often.retries)));
    tasks.spawn(counted(Arc::clone(storm), episode("timeout").times_out(often.timeouts)));
    tasks.spawn(counted(Arc::clone(storm), episode("deletion").deletes(often.deletions)));
    tasks.spawn(episode("schedule").keeps_time());
    let all = tasks.join_all().await;
    all.into_iter()
        .flat_map(|episode| episode.wrong.into_iter().map(move |what| format!("{}: {what}", episode.name)))
        .collect()
}

/// Counts an episode as long as it plays.
fn counted(
    storm: Arc<Storm>,
    episode: impl Future<Output = Episode> + Send + 'static,
) -> impl Future<Output = Episode> + Send + 'static {
    storm.playing.fetch_add(1, SeqCst);
    async move {
        let ended = episode.await;
        storm.playing.fetch_sub(1, SeqCst);
        ended
    }
}

struct Episode {
    storm: Arc<Storm>,
    name: &'static str,
    wrong: Vec<String>,
}

fn is_done(run: &Run) -> bool {
    matches!(run.status, RunStatus::Completed | RunStatus::CompletedWithErrors)
}

/// Whether the storm was too much for a run.
fn is_weather(run: &Run) -> bool {
    let error = run.error.as_ref().map(|error| (error.0.code.as_str(), error.0.retryable));
    match error {
        Some(("TARGET_UNAVAILABLE" | "SOURCE_UNAVAILABLE" | "INTERNAL", true)) => run.failures + 1 >= run.max_attempts,
        Some(("DELIVERED_TOO_OFTEN", false)) => run.lost_attempts() >= MOST_LOST,
        _ => false,
    }
}

fn source(number: u64, from: u64, rows: u64) -> String {
    let mut text = "run,n,text\n".to_owned();
    (from..from + rows).for_each(|n| writeln!(text, "{number},{n},text of row {n}").unwrap());
    text
}

impl Episode {
    fn note(&self, what: &'static str) {
        self.storm.around.faults.note(what);
    }

    async fn create(&self, path: &str, body: &Value) -> String {
        let key = format!("{} {}", self.name, body["name"]);
        let (status, made) = self.storm.ask(Method::POST, path, Some(&key), Some(body)).await;
        assert_eq!(status, 201, "{made}");
        made["id"].as_str().unwrap().to_owned()
    }

    /// A table with a pipeline into it; `more` are parts of the pipeline.
    async fn define(&self, name: &str, path: &str, target: Value, more: Value) -> (String, String) {
        let fields = json!([
            {"name": "run", "dataType": "bigint"}, {"name": "n", "dataType": "bigint"}, {"name": "text", "dataType": "text"},
        ]);
        self.define_with(name, path, target, more, fields).await
    }

    async fn define_with(&self, name: &str, path: &str, target: Value, more: Value, fields: Value) -> (String, String) {
        let schema = self.create("/schemas", &json!({"name": name, "fields": fields})).await;
        self.storm.more_tables.lock().unwrap().push(schema.clone());
        let mut execution = json!({
            "parallelism": 1, "retry": {"maxAttempts": 6, "initialDelaySeconds": 1, "maxDelaySeconds": 2}
        });
        let mut body = json!({
            "name": name, "connectorId": self.storm.connector, "schemaId": schema,
            "nodes": [
                {"id": "s", "nodeType": "source", "config": {"path": path}},
                {"id": "t", "nodeType": "target", "config": target},
            ],
            "edges": [{"source": "s", "target": "t"}],
        });
        for (key, value) in more.as_object().unwrap() {
            match key.as_str() {
                "execution" => execution.as_object_mut().unwrap().extend(value.as_object().unwrap().clone()),
                _ => body[key] = value.clone(),
            }
        }
        body["executionConfig"] = execution;
        (schema, self.create("/pipelines", &body).await)
    }

    /// A number of a source of its own, whose text is `make`'s.
    fn source(&self, make: impl FnOnce(u64) -> String) -> u64 {
        let number = self.storm.next_number();
        self.put(number, make(number));
        number
    }

    fn put(&self, number: u64, text: String) {
        self.storm.around.buckets.put(&format!("sources/{number}.csv"), text);
    }

    async fn start(&self, pipeline: &str, number: u64, key: &str) -> String {
        let body = json!({"parameters": {"part": number.to_string()}});
        let key = format!("{} {key} {number}", self.name);
        let path = format!("/pipelines/{pipeline}/run");
        let (status, run) = self.storm.ask(Method::POST, &path, Some(&key), Some(&body)).await;
        assert_eq!(status, 201, "{run}");
        run["id"].as_str().unwrap().to_owned()
    }

    /// Waits for a run's end.
    async fn end(&mut self, pipeline: &str, id: &str) -> Option<Run> {
        let run = self.storm.ended(pipeline, id, LONGEST).await;
        if run.is_none() {
            self.wrong.push(format!("the run {id} does not come to an end"));
        }
        run
    }

    /// Whether a run is done; that it was neither, nor failed by the weather, is wrong.
    fn came_through(&mut self, run: &Run) -> bool {
        if !is_done(run) && !is_weather(run) {
            self.wrong.push(format!("{} is {:?}: {:?}", run.id, run.status, run.error));
        }
        is_done(run)
    }

    /// The table has just these rows of runs.
    async fn has(&mut self, schema: &str, wanted: &[(u64, u64)], when: &str) {
        let mut wanted = wanted.to_vec();
        wanted.sort_unstable();
        match self.storm.rows_of(schema).await {
            Ok(rows) if rows == wanted => {}
            Ok(rows) => self.wrong.push(format!("{when}: {schema} has {rows:?} instead of {wanted:?}")),
            Err(why) => self.wrong.push(format!("{when}: {why}")),
        }
    }

    /// Each run replaces the whole table.
    async fn truncates(mut self, steps: usize) -> Self {
        let (schema, pipeline) =
            self.define("replaced", "${part}.csv", json!({"loadMode": "truncate"}), json!({})).await;
        let mut holds = Vec::new();
        for _ in 0..steps {
            let number = self.source(|number| source(number, 0, 7));
            let id = self.start(&pipeline, number, "").await;
            let Some(run) = self.end(&pipeline, &id).await else { break };
            if self.came_through(&run) {
                holds = (0..7).map(|n| (number, n)).collect();
                self.note("tables that a run has replaced");
            }
            self.has(&schema, &holds, &format!("after {id}")).await;
        }
        self
    }

    /// Another tool lets a table only grow, which a run that replaces it learns at its commit: it has to be settled. Every
    /// other one writes a table before, which keeps its rows.
    async fn refused(mut self, steps: usize) -> Self {
        let kept = json!({"execution": {"errorHandling": {"onError": "deadLetter"}}});
        let truncate = json!({"loadMode": "truncate"});
        let (only, grows) = (format!("{}_only_grows", self.name), format!("{}_grows", self.name));
        let (refusing, alone) = self.define(&only, "${part}.csv", truncate, kept.clone()).await;
        let both = json!({
            "nodes": [
                {"id": "s", "nodeType": "source", "config": {"path": "${part}.csv"}},
                {"id": "t", "nodeType": "target", "config": {}},
                {"id": "u", "nodeType": "target", "config": {"table": only, "loadMode": "truncate"}},
            ],
            "edges": [{"source": "s", "target": "t"}, {"source": "s", "target": "u"}],
            "execution": kept["execution"],
        });
        let (taking, beside) = self.define(&grows, "${part}.csv", json!({}), both).await;
        let parted = format!("are in the table of \"{grows}\" and not in that of \"{only}\"");
        let text = |number| source(number, 0, 5) + &format!("{number},five,does not fit\n");
        let (mut taken, mut holds) = (Vec::new(), Vec::new());
        while holds.is_empty() {
            let number = self.source(text);
            let id = self.start(&alone, number, "").await;
            let Some(run) = self.end(&alone, &id).await else { return self };
            if self.came_through(&run) {
                holds = (0..5).map(|n| (number, n)).collect();
            }
        }
        self.only_grows(&refusing);
        for step in 0..steps {
            let (number, is_beside) = (self.source(text), step % 2 == 1);
            let pipeline = if is_beside { &beside } else { &alone };
            let id = self.start(pipeline, number, "").await;
            let Some(run) = self.end(pipeline, &id).await else { break };
            let said = run.error.as_ref().map(|error| (error.0.code.as_str(), error.0.message.as_str()));
            let (code, message) = said.unwrap_or_default();
            let partly = message.contains(&parted);
            if run.status != RunStatus::Failed || (code == "TARGET_ERROR" && partly != is_beside) {
                self.wrong.push(format!("{id}, which is refused, is {:?}: {said:?}", run.status));
            }
            if partly {
                taken.extend((0..5).map(|n| (number, n)));
            }
            if run.committing {
                self.note("runs that were settled");
            }
            self.has(&refusing, &holds, &format!("after {id}, which is refused")).await;
            self.has(&taking, &taken, &format!("after {id}, which is refused at another table")).await;
        }
        self
    }

    /// Another tool says so in the log of a table.
    fn only_grows(&self, schema: &str) {
        let log = format!("lake/tables/acme/{schema}/_delta_log/");
        let mut entries = self.storm.around.buckets.below(&log);
        entries.retain(|(key, _)| key.ends_with(".json"));
        let lines = entries.iter().flat_map(|(_, bytes)| bytes.split(|byte| *byte == b'\n'));
        let actions = lines.filter_map(|line| serde_json::from_slice::<Value>(line).ok());
        let mut table = actions.filter(|action| action["metaData"].is_object()).last().unwrap();
        table["metaData"]["configuration"]["delta.appendOnly"] = json!("true");
        let next = entries.len();
        let entry = format!("{}\n{table}\n", json!({"commitInfo": {"operation": "SET TBLPROPERTIES"}}));
        self.storm.around.buckets.put(&format!("{log}{next:020}.json"), entry);
    }

    /// Two runs at once read what has come since the last one.
    async fn increments(mut self, steps: usize) -> Self {
        let target = json!({"loadMode": "incremental_watermark", "watermarkColumn": "n"});
        let (schema, pipeline) = self.define("read_on", "${part}.csv", target, json!({})).await;
        let number = self.source(|number| source(number, 0, 0));
        let (mut rows, mut holds) = (0, Vec::new());
        for step in 0..steps {
            rows += 5;
            self.put(number, source(number, 0, rows));
            let both = [
                self.start(&pipeline, number, &format!("first {step}")).await,
                self.start(&pipeline, number, &format!("second {step}")).await,
            ];
            let mut through = false;
            for id in both {
                let Some(run) = self.end(&pipeline, &id).await else { return self };
                through |= self.came_through(&run);
            }
            if through {
                holds = (0..rows).map(|n| (number, n)).collect();
                self.note("pairs of incremental loads");
            }
            self.has(&schema, &holds, &format!("after step {step}")).await;
        }
        self
    }

    /// Columns become wider, one after the other, with a run after each.
    async fn widens(mut self, steps: usize) -> Self {
        const NARROW: [&str; 3] = ["smallint", "integer", "bigint"];
        const COLUMNS: usize = 6;
        let fields = |wide: &[usize; COLUMNS]| {
            let own = wide.iter().enumerate().map(|(i, w)| json!({"name": format!("w{i}"), "dataType": NARROW[*w]}));
            let keys = ["run", "n"].map(|name| json!({"name": name, "dataType": "bigint"}));
            Value::from_iter(keys.into_iter().chain(own))
        };
        let (mut round, mut done) = (0, 0);
        while done < steps {
            let mut wide = [0; COLUMNS];
            let (name, none) = (format!("{}_{round}", self.name), json!({}));
            let (schema, pipeline) = self.define_with(&name, "${part}.csv", none.clone(), none, fields(&wide)).await;
            let mut holds = Vec::new();
            for step in 0..=(2 * COLUMNS).min(steps - done) {
                if step > 0 {
                    wide[(step - 1) % COLUMNS] += 1;
                    let (path, body) = (format!("/schemas/{schema}"), json!({"fields": fields(&wide)}));
                    let (status, said) = self.storm.ask(Method::PUT, &path, None, Some(&body)).await;
                    assert_eq!(status, 200, "{said}");
                }
                let number = self.source(|number| {
                    let header = "run,n,w0,w1,w2,w3,w4,w5\n".to_owned();
                    (0..4).fold(header, |text, n| text + &format!("{number},{n},1,2,3,4,5,{n}\n"))
                });
                let id = self.start(&pipeline, number, "").await;
                let Some(run) = self.end(&pipeline, &id).await else { return self };
                if self.came_through(&run) {
                    holds.extend((0..4).map(|n| (number, n)));
                    self.note("runs into tables that had become wider");
                }
            }
            done += 2 * COLUMNS;
            round += 1;
            self.has(&schema, &holds, &format!("after {done} widenings")).await;
        }
        self
    }

    /// A row is rejected, mended and retried; then the retry is undone, and made again.
    async fn retries(mut self, steps: usize) -> Self {
        let kept = json!({"execution": {"errorHandling": {"onError": "deadLetter"}}});
        let (schema, pipeline) = self.define("mended", "${part}.csv", json!({}), kept).await;
        let mut holds = Vec::new();
        for step in 0..steps {
            let number = self.source(|number| source(number, 0, 5) + &format!("{number},five,does not fit\n"));
            let id = self.start(&pipeline, number, "").await;
            let Some(first) = self.end(&pipeline, &id).await else { break };
            if !self.came_through(&first) {
                continue;
            }
            if first.status != RunStatus::CompletedWithErrors {
                self.wrong.push(format!("{id} is {:?} although a row does not fit", first.status));
            }
            let before = holds.clone();
            holds.extend((0..5).map(|n| (number, n)));
            self.has(&schema, &holds, &format!("after {id}")).await;
            self.put(number, source(number, 0, 6));
            let Some((retry, done)) = self.retry(&pipeline, &id, &format!("{step}")).await else { break };
            if !done {
                continue;
            }
            let (with, without) = ([before, (0..6).map(|n| (number, n)).collect()].concat(), holds.clone());
            self.has(&schema, &with, &format!("after {retry}, a retry")).await;
            let path = format!("/pipelines/{pipeline}/runs/{retry}/rollback");
            let (status, said) = self.storm.ask_stack(Method::POST, &path, Some(&json!({}))).await;
            // Where the first answer was lost, it was done before.
            if status != 200 && said["code"] != "ALREADY_ROLLED_BACK" {
                self.wrong.push(format!("{retry} is not rolled back: {said}"));
                break;
            }
            self.note("rollbacks");
            self.has(&schema, &without, &format!("after {retry} was rolled back")).await;
            let Some((again, done)) = self.retry(&pipeline, &retry, &format!("{step} again")).await else { break };
            if done {
                holds = with;
            }
            self.has(&schema, &holds, &format!("after {again}, which brings again what was undone")).await;
        }
        self
    }

    async fn retry(&mut self, pipeline: &str, id: &str, key: &str) -> Option<(String, bool)> {
        let path = format!("/pipelines/{pipeline}/runs/{id}/retry");
        let (status, run) = self.storm.ask(Method::POST, &path, Some(&format!("retry {key}")), Some(&json!({}))).await;
        assert_eq!(status, 201, "{run}");
        let id = run["id"].as_str().unwrap().to_owned();
        let run = self.end(pipeline, &id).await?;
        self.note("retries");
        let done = self.came_through(&run);
        Some((id, done))
    }

    /// The rows of a source never come, and the run may not take long.
    async fn times_out(mut self, steps: usize) -> Self {
        let short = json!({"execution": {"timeoutSeconds": TIMEOUT}});
        let (schema, pipeline) = self.define("too_long", "${part}.csv", json!({}), short).await;
        for _ in 0..steps {
            let number = self.source(|number| source(number, 0, 3));
            self.storm.around.stalled.lock().unwrap().insert(number);
            let id = self.start(&pipeline, number, "").await;
            let Some(run) = self.end(&pipeline, &id).await else { break };
            match run.error.as_ref().map(|error| error.0.code.as_str()) {
                Some("TIMEOUT") if run.status == RunStatus::Failed => self.note("runs that took too long"),
                _ if is_weather(&run) => {}
                _ => self.wrong.push(format!("{id} never had its rows, and is {:?}: {:?}", run.status, run.error)),
            }
            self.has(&schema, &[], &format!("after {id}")).await;
        }
        self
    }

    /// Pipelines go away in the middle of a run: every other one's run gets no rows.
    async fn deletes(mut self, steps: usize) -> Self {
        for step in 0..steps {
            let (schema, pipeline) = self.define(&format!("gone_{step}"), "${part}.csv", json!({}), json!({})).await;
            let number = self.source(|number| source(number, 0, 3));
            if step % 2 == 0 {
                self.storm.around.stalled.lock().unwrap().insert(number);
            }
            let id = self.start(&pipeline, number, "").await;
            let taken = Instant::now() + Duration::from_secs(10);
            while Instant::now() < taken {
                match self.storm.look_at(&pipeline, &id).await {
                    Ok(Some(run)) if run.attempt == 0 => tokio::time::sleep(Duration::from_millis(50)).await,
                    _ => break,
                }
            }
            let (status, said) = self.storm.ask(Method::DELETE, &format!("/pipelines/{pipeline}"), None, None).await;
            // Where the first answer was lost, it is gone already.
            if status != 204 && status != 404 {
                self.wrong.push(format!("the pipeline {pipeline} cannot be deleted: {said}"));
            }
            let deadline = Instant::now() + LONGEST;
            while !matches!(self.storm.look_at(&pipeline, &id).await, Ok(None)) {
                if Instant::now() > deadline {
                    self.wrong.push(format!("{id} is there long after its pipeline was deleted"));
                    return self;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            self.note("pipelines deleted in the middle of a run");
            let all: Vec<_> = (0..3).map(|n| (number, n)).collect();
            match self.storm.rows_of(&schema).await {
                Ok(rows) if rows.is_empty() || step % 2 == 1 && rows == all => {}
                rows => self.wrong.push(format!("{id}, whose pipeline was deleted, has left {rows:?}")),
            }
        }
        self
    }

    /// A schedule whose time is told by clocks that are wrong, and whose ticks die.
    async fn keeps_time(mut self) -> Self {
        self.storm.around.buckets.put("sources/scheduled.csv", source(0, 0, 2));
        let minutes = format!("*/{EVERY} * * * *");
        let more = json!({"schedule": minutes, "execution": {"catchUp": "all"}});
        let (schema, pipeline) = self.define("on_time", "scheduled.csv", json!({}), more).await;
        self.storm.calm().await;
        // Clocks are wrong by chance: a short storm may end before any was far enough ahead.
        let deadline = Instant::now() + LONGEST;
        while Instant::now() < deadline && self.fires(&pipeline).await.iter().all(|fire| fire["runId"].is_null()) {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let path = format!("/pipelines/{pipeline}");
        let (status, said) = self.storm.ask(Method::PUT, &path, None, Some(&json!({"enabled": false}))).await;
        assert_eq!(status, 200, "{said}");
        let fires = self.fires(&pipeline).await;
        let started: Vec<String> = fires.iter().filter_map(|fire| fire["runId"].as_str().map(str::to_owned)).collect();
        let runs = self.pages(&format!("/pipelines/{pipeline}/runs?")).await;
        let ids: HashSet<&str> = runs.iter().filter_map(|run| run["id"].as_str()).collect();
        if ids != started.iter().map(String::as_str).collect() || ids.len() != started.len() {
            self.wrong.push(format!("the ledger tells of {started:?}, and the runs are {ids:?}"));
        }
        let mut done = 0;
        for id in &started {
            let Some(run) = self.end(&pipeline, id).await else { return self };
            done += usize::from(self.came_through(&run));
            self.note("scheduled runs");
        }
        if started.is_empty() {
            self.wrong.push("the schedule never fired".to_owned());
        }
        self.has(&schema, &(0..2).flat_map(|n| vec![(0, n); done]).collect::<Vec<_>>(), "after all fires").await;
        self.are_without_gaps(&fires);
        self
    }

    async fn pages(&mut self, path: &str) -> Vec<Value> {
        self.storm.pages(path).await.unwrap_or_else(|why| {
            self.wrong.push(why);
            Vec::new()
        })
    }

    async fn fires(&mut self, pipeline: &str) -> Vec<Value> {
        let now = Utc::now();
        let time = |at: DateTime<Utc>| shared::clock::rfc3339(at);
        let (from, to) = (time(now - Span::days(1)), time(now + Span::days(14)));
        let mut all = self.pages(&format!("/pipelines/{pipeline}/fires?from={from}&to={to}&")).await;
        all.retain(|fire| fire["status"] != "coming" && fire["status"] != "due");
        all
    }

    /// Every due time is in the ledger once.
    fn are_without_gaps(&mut self, fires: &[Value]) {
        let time = |value: &Value| value.as_str().map(|text| text.parse::<DateTime<Utc>>().unwrap());
        for pair in fires.windows(2) {
            let last = time(&pair[0]["until"]).or(time(&pair[0]["at"])).unwrap();
            if time(&pair[1]["at"]) != Some(last + Span::minutes(EVERY)) {
                self.wrong.push(format!("the ledger has a gap, or a due time twice: {} {}", pair[0], pair[1]));
            }
        }
    }
}
