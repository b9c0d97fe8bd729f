//! What must be so after a storm.

use crate::moments::Moment;
use crate::storm::Storm;
use serde_json::Value;
use shared::models::run::{MOST_LOST, Run, RunStatus};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use tests::servers::Postgres;

/// The run that kills each worker that reads its source.
pub const POISON: u64 = 0;

/// What a run would come to in calm weather.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    Rows {
        rows: u64,
    },
    /// Beside the rows one that does not fit and is kept apart.
    OneRejected {
        rows: u64,
    },
    /// Its source is not there, and never will be.
    NoSource,
    /// No worker survives it.
    Poison,
}

impl Expected {
    pub fn of(number: u64) -> Self {
        let rows = 1 + number % 40;
        match number {
            POISON => Self::Poison,
            n if n % 23 == 7 => Self::NoSource,
            n if n % 9 == 4 => Self::OneRejected { rows },
            _ => Self::Rows { rows },
        }
    }

    /// The rows that fit.
    pub fn rows(self) -> Option<u64> {
        match self {
            Self::Rows { rows } | Self::OneRejected { rows } => Some(rows),
            Self::Poison => Some(1),
            Self::NoSource => None,
        }
    }
}

/// What was seen of a run.
pub struct Seen {
    pub id: String,
    pub pipeline: String,
    /// As it was when it was first seen final.
    pub last: Option<Run>,
    /// Whether it was asked to be cancelled, and whether that was accepted.
    pub cancelled: Option<bool>,
}

/// The rows of a table by their runs' numbers.
type Rows = HashMap<u64, Vec<u64>>;

/// All that is wrong after a storm; nothing where all is well.
pub async fn judge(storm: &Arc<Storm>) -> Vec<String> {
    let left = storm.empty_queues().await;
    let mut wrong: Vec<String> = left.iter().map(|left| format!("a queue is not empty: {left}")).collect();
    let runs: Vec<(u64, Seen)> = storm.runs.lock().unwrap().drain().collect();
    for (place, table) in storm.tables.iter().enumerate() {
        let first = match &storm.database {
            Some(database) if table.in_database => in_database(database, &table.name, &mut wrong).await,
            _ => rows(storm, &table.id, &mut wrong).await,
        };
        let second = match &table.second {
            Some(second) => Some(rows(storm, second, &mut wrong).await),
            None => None,
        };
        let rejected = rejected(storm, &table.id).await;
        for (number, seen) in runs.iter().filter(|(_, seen)| seen.pipeline == storm.pipelines[place]) {
            let now = storm.again(seen).await;
            // Whoever was told that it is final already may have made it so by a request whose answer was lost on its way.
            let cancelled = seen.cancelled.is_some() || storm.around.cancelled.lock().unwrap().contains(&seen.id);
            let faults = of_run(*number, seen, &now, cancelled)
                .into_iter()
                .chain(of_rows(*number, &now, &first, second.as_ref()))
                .chain(match table.in_database {
                    true => None,
                    false => of_rejected(*number, &now, rejected.get(&seen.id).copied().unwrap_or(0)),
                });
            wrong.extend(faults.map(|what| format!("run {number} ({}): {what}", seen.id)));
        }
        log(storm, &table.id, &mut wrong);
        log(storm, &format!("{}_rejected", table.id), &mut wrong);
        if let Some(second) = &table.second {
            log(storm, second, &mut wrong);
        }
    }
    storm.runs.lock().unwrap().extend(runs);
    ends(storm, &mut wrong);
    if storm.around.buckets.unfinished() > 0 {
        wrong.push(format!("{} uploads are unfinished", storm.around.buckets.unfinished()));
    }
    wrong
}

/// The rows of a table, through the API.
async fn rows(storm: &Storm, schema: &str, wrong: &mut Vec<String>) -> Rows {
    let mut rows = Rows::new();
    for row in storm.now().rows(schema).await {
        let number = |name: &str| row[name].as_u64();
        match (number("run"), number("n")) {
            (Some(run), Some(n)) => rows.entry(run).or_default().push(n),
            _ => wrong.push(format!("{schema} has a strange row: {row}")),
        }
    }
    rows.values_mut().for_each(|rows| rows.sort_unstable());
    rows
}

/// The rows of a table in the database, in which nobody is at work any more.
async fn in_database(database: &Postgres, table: &str, wrong: &mut Vec<String>) -> Rows {
    let connected = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'flowgate' \
                     AND datname = current_database()";
    database.until(connected, "0").await;
    let mut rows = Rows::new();
    for row in database.texts(&format!("SELECT run || ' ' || n FROM {table} ORDER BY run, n")).await {
        match row.split_once(' ').map(|(run, n)| (run.parse(), n.parse())) {
            Some((Ok(run), Ok(n))) => rows.entry(run).or_default().push(n),
            _ => wrong.push(format!("{table} has a strange row: {row}")),
        }
    }
    for run in database.texts("SELECT run_id FROM flowgate_runs GROUP BY run_id HAVING count(*) > 1").await {
        wrong.push(format!("{run} is in the ledger of {table} twice"));
    }
    rows
}

/// How many rejected rows are kept beside a table, by the run's id.
async fn rejected(storm: &Storm, schema: &str) -> HashMap<String, usize> {
    let (api, mut cursor, mut found) = (storm.now(), String::new(), HashMap::new());
    loop {
        let path = format!("/schemas/{schema}/data?rejected=true&limit=500{cursor}");
        let page = api.get(&path).await.expect(200).json();
        for row in page["data"].as_array().unwrap() {
            let run = row.as_object().unwrap().values().filter_map(Value::as_str).find(|text| text.starts_with("run_"));
            *found.entry(run.unwrap().to_owned()).or_default() += 1;
        }
        match page["pagination"]["cursor"].as_str() {
            None => return found,
            Some(next) => cursor = format!("&cursor={next}"),
        }
    }
}

fn of_run(number: u64, seen: &Seen, now: &Run, cancelled: bool) -> Vec<String> {
    let mut wrong = Vec::new();
    let Some(last) = &seen.last else {
        return vec![format!("is not final: {:?}, attempt {}, {:?}", now.status, now.attempt, now.error)];
    };
    if (last.status, last.finished_at, last.attempt) != (now.status, now.finished_at, now.attempt) {
        wrong.push(format!(
            "was {:?} at {:?}, is {:?} at {:?}",
            last.status, last.finished_at, now.status, now.finished_at
        ));
    }
    let error = now.error.as_ref().map(|error| (error.0.code.as_str(), error.0.retryable));
    let counted = now.rows.unwrap_or_default();
    match (now.status, Expected::of(number)) {
        (RunStatus::Completed, Expected::Rows { rows }) if counted.failed == 0 && counted.rows_in == rows => {}
        (RunStatus::CompletedWithErrors, Expected::OneRejected { rows })
            if counted.failed == 1 && counted.rows_in == rows + 1 => {}
        (RunStatus::Cancelled, _) if cancelled => {}
        (RunStatus::Failed, Expected::NoSource) if error == Some(("SOURCE_ERROR", false)) => {}
        (RunStatus::Failed, Expected::Poison) if error == Some(("DELIVERED_TOO_OFTEN", false)) => {}
        // The storm was too much for it, and it says so.
        (RunStatus::Failed, Expected::Rows { .. } | Expected::OneRejected { .. })
            if matches!(error, Some(("TARGET_UNAVAILABLE" | "SOURCE_UNAVAILABLE" | "INTERNAL", true))) => {}
        (RunStatus::Failed, _) if now.lost_attempts() >= MOST_LOST && error == Some(("DELIVERED_TOO_OFTEN", false)) => {
        }
        (status, expected) => {
            wrong.push(format!("is {status:?} with {error:?} and {counted:?} instead of {expected:?}"))
        }
    }
    if now.attempt == 0 && now.status != RunStatus::Cancelled {
        wrong.push(format!("is {:?} although no worker ever took it", now.status));
    }
    if now.lease_until.is_some() {
        wrong.push("is final and still held".to_owned());
    }
    if now.attempts.len() != now.attempt as usize || now.attempts.iter().any(|taken| taken.worker.is_empty()) {
        wrong.push(format!("was taken {} times and tells of {:?}", now.attempt, now.attempts));
    }
    if is_done(now) && now.attempts.last().is_none_or(|taken| taken.outcome.is_none()) {
        wrong.push(format!("is {:?}, and its last attempt tells of no end: {:?}", now.status, now.attempts));
    }
    wrong
}

fn is_done(run: &Run) -> bool {
    matches!(run.status, RunStatus::Completed | RunStatus::CompletedWithErrors)
}

/// Every row of a run that is completed is in each of its tables once, none of another.
fn of_rows(number: u64, now: &Run, first: &Rows, second: Option<&Rows>) -> Vec<String> {
    let expected: Vec<u64> = (0..Expected::of(number).rows().unwrap_or(0)).filter(|_| is_done(now)).collect();
    let partly = now.error.as_ref().is_some_and(|error| error.0.message.contains("are in the table of"));
    let mut wrong = Vec::new();
    for (name, table) in [("first", Some(first)), ("second", second)] {
        let Some(table) = table else { continue };
        let rows = table.get(&number).cloned().unwrap_or_default();
        if rows != expected && !(partly && second.is_some()) {
            wrong.push(format!("is {:?}, and {name} has {rows:?} instead of {} rows", now.status, expected.len()));
        }
    }
    let out = expected.len() as u64 * if second.is_some() { 2 } else { 1 };
    if is_done(now) && now.rows.unwrap_or_default().rows_out != out {
        wrong.push(format!("says {:?}, and {out} rows are out", now.rows));
    }
    wrong
}

fn of_rejected(number: u64, now: &Run, kept: usize) -> Option<String> {
    let expected = usize::from(is_done(now) && matches!(Expected::of(number), Expected::OneRejected { .. }));
    (kept != expected).then(|| format!("is {:?}, and {kept} rejected rows are kept instead of {expected}", now.status))
}

/// No run was ended by two reports.
fn ends(storm: &Storm, wrong: &mut Vec<String>) {
    let mut tokens: BTreeMap<String, HashSet<String>> = BTreeMap::new();
    for (run, token) in storm.around.ends.lock().unwrap().iter() {
        tokens.entry(run.clone()).or_default().insert(token.clone());
    }
    for (run, tokens) in tokens.iter().filter(|(_, tokens)| tokens.len() > 1) {
        wrong.push(format!("{run} was ended {} times", tokens.len()));
    }
}

/// The log of a table names each run once, and every file beside it.
fn log(storm: &Storm, schema: &str, wrong: &mut Vec<String>) {
    let prefix = format!("lake/tables/acme/{schema}/");
    let (mut named, mut committed) = (HashSet::new(), HashMap::<String, usize>::new());
    let all = storm.around.buckets.below(&prefix);
    for (key, bytes) in all.iter().filter(|(key, _)| key.contains("/_delta_log/") && key.ends_with(".json")) {
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let Ok(action) = serde_json::from_slice::<Value>(line) else {
                wrong.push(format!("{key} is broken"));
                continue;
            };
            if let Some(path) = action["add"]["path"].as_str() {
                named.insert(path.to_owned());
            }
            if action["txn"]["version"] == 1 {
                *committed.entry(action["txn"]["appId"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
            }
        }
    }
    for (run, count) in committed.iter().filter(|(_, count)| **count > 1) {
        wrong.push(format!("{run} is in the log of {schema} {count} times"));
    }
    let there: HashSet<&str> = all
        .iter()
        .filter_map(|(key, _)| key.strip_prefix(&prefix))
        .filter(|key| !key.starts_with("_delta_log/"))
        .collect();
    let orphans = storm.around.orphans.lock().unwrap();
    let left = there.iter().filter(|path| !named.contains(**path) && !orphans.contains(&format!("{prefix}{path}")));
    for left in left {
        wrong.push(format!("{schema}: nobody took {left}"));
    }
    for missing in named.iter().filter(|path| !there.contains(path.as_str())) {
        wrong.push(format!("{schema}: {missing} is gone although the log names it"));
    }
}

/// How many runs ended how.
pub fn tally(storm: &Storm) -> String {
    let mut tally: BTreeMap<String, usize> = BTreeMap::new();
    let mut attempts = BTreeMap::<u32, usize>::new();
    for seen in storm.runs.lock().unwrap().values() {
        let Some(run) = &seen.last else { continue };
        let code = run.error.as_ref().map(|error| error.0.code.clone()).unwrap_or_default();
        *tally.entry(format!("{} {code}", run.status.name()).trim().to_owned()).or_default() += 1;
        *attempts.entry(run.attempt).or_default() += 1;
    }
    format!("{tally:?}\nruns by their attempts: {attempts:?}\nmoments: {}", Moment::ALL.len() + Moment::RARE.len())
}
