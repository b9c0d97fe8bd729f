//! What must be so after a storm.

use crate::moments::Moment;
use crate::proxy::{CUT_OFF, DIED, Ending};
use crate::receipts;
use crate::storm::{Storm, Table};
use serde_json::Value;
use shared::models::receipt::AttemptOutcome;
use shared::models::run::{MOST_LOST, Run, RunStatus, Taken};
use shared::models::time::Time;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use tests::servers::Postgres;

/// The run that kills each worker that reads its source.
pub const POISON: u64 = 0;
/// From here on the numbers are those of sources of episodes. None of them is a slow one's.
pub const EPISODES: u64 = 13 * 100_000;

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
        let rows = if Self::is_large(number) { 40 } else { 1 + number % 40 };
        match number {
            POISON => Self::Poison,
            n if n % 23 == 7 => Self::NoSource,
            // Some of each table's, and of those that are cut off from the database.
            n if n % 9 == 4 || n % 27 == 2 => Self::OneRejected { rows },
            _ => Self::Rows { rows },
        }
    }

    /// Whether its rows are so long that its file has several parts.
    pub fn is_large(number: u64) -> bool {
        number % 70 == 40
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

/// Whether the database is cut off from this run whenever it commits: what it may have committed is settled in the end.
pub fn is_doomed(number: u64) -> bool {
    let fits = matches!(Expected::of(number), Expected::Rows { .. } | Expected::OneRejected { .. });
    fits && number < EPISODES && number % 29 == 2
}

/// Of a hundred runs that nothing but the weather keeps from it, as many are done at least.
const MOST: usize = 80;

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
    wrong.extend(storm.wrong.lock().unwrap().drain(..));
    wrong.extend(storm.around.faults.shortfalls());
    for what in [DIED, CUT_OFF] {
        let needed = storm.database.is_some() || what != CUT_OFF;
        if needed && storm.around.faults.noted(what) == 0 {
            wrong.push(format!("none of these happened: {what}"));
        }
    }
    let runs: Vec<(u64, Seen)> = storm.runs.lock().unwrap().drain().collect();
    let mut ended = Vec::new();
    let (mut free, mut done) = (0, 0);
    for (place, table) in storm.tables.iter().enumerate() {
        let first = match &storm.database {
            Some(database) if table.in_database => in_database(database, &table.name, &mut wrong).await,
            _ => rows(storm, &table.id, &mut wrong).await,
        };
        let second = match &table.second {
            Some(second) => Some(rows(storm, second, &mut wrong).await),
            None => None,
        };
        let rejected = rejected(storm, &table.id, &mut wrong).await;
        let own: HashSet<u64> = runs
            .iter()
            .filter(|(_, seen)| seen.pipeline == storm.pipelines[place])
            .map(|(number, _)| *number)
            .collect();
        for (name, rows) in [(&table.name, Some(&first)), (&table.name, second.as_ref())] {
            let strange = rows.into_iter().flat_map(Rows::keys).filter(|number| !own.contains(number));
            wrong.extend(strange.map(|number| {
                format!("{name}, or the table beside it, has rows of run {number}, which never wrote it")
            }));
        }
        for (number, seen) in runs.iter().filter(|(_, seen)| seen.pipeline == storm.pipelines[place]) {
            let now = storm.again(seen).await;
            // Whoever was told that it is final already may have made it so by a request whose answer was lost on its way.
            let cancelled = seen.cancelled.is_some() || storm.around.cancelled.lock().unwrap().contains(&seen.id);
            let doomed = table.in_database && is_doomed(*number);
            if !cancelled
                && !doomed
                && matches!(Expected::of(*number), Expected::Rows { .. } | Expected::OneRejected { .. })
            {
                free += 1;
                done += usize::from(is_done(&now));
            }
            let faults = of_run(*number, seen, &now, cancelled, doomed)
                .into_iter()
                .chain(Some(&now).filter(|now| now.status.is_final()).into_iter().flat_map(of_any))
                .chain(of_rows(*number, &now, table, &first, second.as_ref()))
                .chain({
                    let is_there = first.contains_key(number);
                    of_rejected(*number, &now, is_there, rejected.get(&seen.id).copied().unwrap_or(0))
                });
            wrong.extend(faults.map(|what| format!("run {number} ({}): {what}", seen.id)));
            ended.push(now);
        }
        log(storm, &table.id, &mut wrong);
        log(storm, &format!("{}_rejected", table.id), &mut wrong);
        if let Some(second) = &table.second {
            log(storm, second, &mut wrong);
        }
    }
    storm.runs.lock().unwrap().extend(runs);
    println!("{done} of {free} runs are done that nothing but the weather kept from it");
    if done * 100 < free * MOST {
        wrong.push(format!("only {done} of {free} runs are done that nothing but the weather kept from it"));
    }
    for table in storm.more_tables.lock().unwrap().clone() {
        log(storm, &table, &mut wrong);
        log(storm, &format!("{table}_rejected"), &mut wrong);
    }
    let others = storm.others.lock().unwrap().clone();
    for seen in &others {
        match storm.look_at(&seen.pipeline_id, &seen.id).await.unwrap() {
            None => wrong.push(format!("{} is gone", seen.id)),
            Some(now) => {
                wrong.extend(
                    changed(seen, &now).into_iter().chain(of_any(&now)).map(|what| format!("{}: {what}", seen.id)),
                );
                ended.push(now);
            }
        }
    }
    ends(storm, &ended, &mut wrong);
    receipts::check(storm, &ended, &mut wrong).await;
    let (cut_off, others) = storm.unfinished().await;
    println!("{cut_off} uploads were cut off at their ends or by their sender's death: the bucket's rule is for them");
    wrong.extend(others.into_iter().map(|key| format!("an upload was neither ended nor given up: {key}")));
    wrong
}

/// The rows of a table, through the API.
async fn rows(storm: &Storm, schema: &str, wrong: &mut Vec<String>) -> Rows {
    let mut rows = Rows::new();
    match storm.rows_of(schema).await {
        Ok(all) => all.into_iter().for_each(|(run, n)| rows.entry(run).or_default().push(n)),
        Err(why) => wrong.push(why),
    }
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
async fn rejected(storm: &Storm, schema: &str, wrong: &mut Vec<String>) -> HashMap<String, usize> {
    let mut found = HashMap::new();
    match storm.pages(&format!("/schemas/{schema}/data?rejected=true&")).await {
        Ok(rows) => {
            for row in rows {
                let mut texts = row.as_object().into_iter().flat_map(|row| row.values().filter_map(Value::as_str));
                let run = texts.find(|text| text.starts_with("run_")).unwrap_or_default();
                *found.entry(run.to_owned()).or_default() += 1;
            }
        }
        Err(why) => wrong.push(why),
    }
    found
}

fn of_run(number: u64, seen: &Seen, now: &Run, cancelled: bool, doomed: bool) -> Vec<String> {
    let mut wrong = Vec::new();
    let Some(last) = &seen.last else {
        return vec![format!("is not final: {:?}, attempt {}, {:?}", now.status, now.attempt, now.error)];
    };
    wrong.extend(changed(last, now));
    let error = now.error.as_ref().map(|error| (error.0.code.as_str(), error.0.retryable));
    let counted = now.rows.unwrap_or_default();
    match (now.status, Expected::of(number)) {
        (RunStatus::Completed, Expected::Rows { rows })
            if !doomed && counted.failed == 0 && counted.rows_in == rows => {}
        (RunStatus::CompletedWithErrors, Expected::OneRejected { rows })
            if !doomed && counted.failed == 1 && counted.rows_in == rows + 1 => {}
        (RunStatus::Cancelled, _) if cancelled => {}
        (RunStatus::Failed, Expected::NoSource) if error == Some(("SOURCE_ERROR", false)) => {}
        (RunStatus::Failed, Expected::Poison) if error == Some(("DELIVERED_TOO_OFTEN", false)) => {}
        // The storm was too much for it, and it says so: each of the attempts that it had failed.
        (RunStatus::Failed, Expected::Rows { .. } | Expected::OneRejected { .. })
            if matches!(error, Some(("TARGET_UNAVAILABLE" | "SOURCE_UNAVAILABLE" | "INTERNAL", true)))
                && now.failures + 1 >= now.max_attempts => {}
        (RunStatus::Failed, _) if now.lost_attempts() >= MOST_LOST && error == Some(("DELIVERED_TOO_OFTEN", false)) => {
        }
        (status, expected) => {
            wrong.push(format!("is {status:?} with {error:?} and {counted:?} instead of {expected:?}"))
        }
    }
    wrong
}

/// What of a final run is not as it was.
fn changed(then: &Run, now: &Run) -> Option<String> {
    let is_same = (then.status, then.finished_at, then.attempt) == (now.status, now.finished_at, now.attempt);
    let told = |run: &Run| format!("{:?} at {:?}", run.status, run.finished_at);
    (!is_same).then(|| format!("was {}, is {}", told(then), told(now)))
}

/// What must be so of any run: its history explains it.
fn of_any(now: &Run) -> Vec<String> {
    let mut wrong = Vec::new();
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
    let failed = now.attempts.iter().filter(|taken| taken.outcome == Some(AttemptOutcome::Failed)).count();
    // One whose end is that of the run, and not one that gave the run back before somebody else ended it.
    let is_end = |taken: &Taken| taken.outcome == Some(AttemptOutcome::Failed) && taken.ended_at == now.finished_at;
    let is_last = usize::from(now.attempts.last().is_some_and(is_end) && now.status == RunStatus::Failed);
    if failed != now.failures as usize + is_last {
        wrong.push(format!("counts {} failures, and tells of {:?}", now.failures, now.attempts));
    }
    wrong
}

fn is_done(run: &Run) -> bool {
    matches!(run.status, RunStatus::Completed | RunStatus::CompletedWithErrors)
}

/// Every row of a run that is completed is in each of its tables once, none of another; of one that failed after a table
/// had taken it, all are in the tables that it names, and none in the others.
fn of_rows(number: u64, now: &Run, of: &Table, first: &Rows, second: Option<&Rows>) -> Vec<String> {
    let all: Vec<u64> = (0..Expected::of(number).rows().unwrap_or(0)).collect();
    let message = now.error.as_ref().map(|error| error.0.message.as_str()).unwrap_or_default();
    let partly = message.split_once("are in the table of ").and_then(|(_, names)| names.split_once(" and not in "));
    let beside = of.name.replace("table_", "second_");
    let mut wrong = Vec::new();
    for (name, table) in [(&of.name, Some(first)), (&beside, second)] {
        let Some(table) = table else { continue };
        let is_there = is_done(now) || partly.is_some_and(|(there, _)| there.contains(&format!("{name:?}")));
        let expected = if is_there { all.as_slice() } else { &[] };
        let rows = table.get(&number).cloned().unwrap_or_default();
        if rows != expected {
            wrong.push(format!(
                "is {:?} ({message:?}), and {name} has {rows:?} instead of {} rows",
                now.status,
                expected.len()
            ));
        }
    }
    let out = all.len() as u64 * if second.is_some() { 2 } else { 1 };
    if is_done(now) && now.rows.unwrap_or_default().rows_out != out {
        wrong.push(format!("says {:?}, and {out} rows are out", now.rows));
    }
    wrong
}

/// A rejected row is kept where those are that fit.
fn of_rejected(number: u64, now: &Run, is_there: bool, kept: usize) -> Option<String> {
    let expected = usize::from(is_there && matches!(Expected::of(number), Expected::OneRejected { .. }));
    (kept != expected).then(|| format!("is {:?}, and {kept} rejected rows are kept instead of {expected}", now.status))
}

/// No run was ended by two reports. Those of the stack itself (cancellations, its own ticks, dead letters) do not come by here:
/// where one came after another, or before it, the run is not what that one said.
fn ends(storm: &Storm, runs: &[Run], wrong: &mut Vec<String>) {
    let ends = storm.around.ends.lock().unwrap();
    let mut by_run: BTreeMap<&str, Vec<&Ending>> = BTreeMap::new();
    for ending in ends.iter() {
        by_run.entry(&ending.run).or_default().push(ending);
    }
    for (run, ends) in &by_run {
        let done: HashSet<&str> = ends.iter().filter(|e| e.done).map(|e| e.token.as_str()).collect();
        if done.len() > 1 {
            wrong.push(format!("{run} was ended {} times", done.len()));
        }
    }
    let mut by_stack = 0;
    for run in runs {
        let sent = by_run.get(run.id.as_str()).map(Vec::as_slice).unwrap_or_default();
        let at = run.finished_at.map(Time::text).unwrap_or_default();
        let is_it = |ending: &&&Ending| (ending.status.as_str(), &ending.at) == (run.status.name(), &at);
        let code = run.error.as_ref().map(|error| error.0.code.as_str());
        if sent.iter().any(|ending| is_it(&ending)) {
            // What was reported is what it is.
        } else if let Some(other) = sent.iter().find(|ending| ending.done) {
            wrong.push(format!("{} was ended as {other:?}, and is {:?} since {at}", run.id, run.status));
        } else if run.status == RunStatus::Cancelled || matches!(code, Some("DELIVERED_TOO_OFTEN" | "TIMEOUT")) {
            by_stack += 1;
        } else {
            wrong.push(format!("{} is {:?}, which nobody ever reported: {sent:?}", run.id, run.status));
        }
    }
    println!("{by_stack} runs were ended by the stack itself");
}

/// The log of a table names each run once, and every file beside it. Rejected rows are those of the attempt that is in: a later
/// one puts its own in the place of those that an earlier one has left, whose files may be removed.
fn log(storm: &Storm, schema: &str, wrong: &mut Vec<String>) {
    let prefix = format!("lake/tables/acme/{schema}/");
    let is_rejected = schema.ends_with("_rejected");
    let (mut named, mut needed) = (HashSet::new(), HashSet::new());
    let mut committed = HashMap::<String, usize>::new();
    let all = storm.around.buckets.below(&prefix);
    for (key, bytes) in all.iter().filter(|(key, _)| key.contains("/_delta_log/") && key.ends_with(".json")) {
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let Ok(action) = serde_json::from_slice::<Value>(line) else {
                wrong.push(format!("{key} is broken"));
                continue;
            };
            if let Some(path) = action["add"]["path"].as_str() {
                named.insert(path.to_owned());
                needed.insert(path.to_owned());
            }
            if let Some(path) = action["remove"]["path"].as_str().filter(|_| is_rejected) {
                needed.remove(path);
            }
            if action["txn"]["version"] == 1 {
                *committed.entry(action["txn"]["appId"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
            }
        }
    }
    for (run, count) in committed.iter().filter(|(_, count)| **count > 1 && !is_rejected) {
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
    for missing in needed.iter().filter(|path| !there.contains(path.as_str())) {
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
