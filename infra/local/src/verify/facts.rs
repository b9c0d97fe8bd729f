//! What a receipt says of a commit against what the commit says of itself, in `commitInfo`.

use super::checks::Checks;
use super::log::Commit;
use serde_json::Value;
use shared::models::receipt::{DeltaWrite, Receipt, Target, TargetKind, VALUE_CHARS, WatermarkMove};

/// The attempt, the load mode, the watermark and the rejected rows.
pub fn check(
    receipt: &Receipt,
    target: &Target,
    delta: &DeltaWrite,
    (commit, at): (&Commit, &str),
    checks: &mut Checks,
) {
    let facts = commit.facts();
    let told = target.attempt.map(|attempt| attempt.to_string());
    fact(&format!("{at}: attempt"), told, commit.attempt().map(|attempt| attempt.to_string()), checks);
    let told = target.load_mode.and_then(|mode| serde_json::to_value(mode).ok());
    let told = told.as_ref().and_then(Value::as_str).map(str::to_owned);
    fact(&format!("{at}: load mode"), told, facts["loadMode"].as_str().map(str::to_owned), checks);
    watermark(delta.watermark.as_ref(), facts, &format!("{at}: watermark"), checks);
    if target.kind == TargetKind::Delta && target.written_by == receipt.run_id {
        failed_rows(receipt, facts, at, checks);
    }
}

/// One fact as the receipt tells it and as the log has it. One that the log does not have cannot be compared: commits that
/// were made before it was written down lack it.
fn fact(what: &str, told: Option<String>, found: Option<String>, checks: &mut Checks) {
    match (told, found) {
        (Some(told), Some(found)) => checks.same(what, told, found),
        (None, Some(found)) => checks.fail(format!("{what}: not given: the log has {found}")),
        (Some(told), None) => checks.unable(format!("{what}: {told}: cannot be checked: the log does not say")),
        (None, None) => checks.note(format!("{what}: not given, and the log does not say either")),
    }
}

fn watermark(told: Option<&WatermarkMove>, facts: &Value, what: &str, checks: &mut Checks) {
    let found = moved(&facts["watermark"]);
    match (told, &found) {
        (None, None) => {}
        // A commit that says which version it had read would say this too.
        (Some(told), None) if facts["readVersion"].is_u64() => {
            checks.fail(format!("{what}: {}: the log has none", words(told)));
        }
        (Some(told), Some(found)) if told.shortened => beginnings(told, found, what, checks),
        (told, found) => fact(what, told.map(words), found.as_ref().map(words), checks),
    }
}

/// A receipt that had no room for the whole values tells how they begin.
fn beginnings(told: &WatermarkMove, found: &WatermarkMove, what: &str, checks: &mut Checks) {
    let begins = |told: &Option<String>, found: &Option<String>| match (told, found) {
        (Some(told), Some(found)) if told.chars().count() >= VALUE_CHARS => found.starts_with(told.as_str()),
        (told, found) => told == found,
    };
    let held = told.column == found.column && begins(&told.before, &found.before) && begins(&told.after, &found.after);
    let text = format!("{what}, of long values the first {VALUE_CHARS} characters: {}", words(told));
    checks.check(held, text, || format!("the log has {}", words(found)));
}

/// How a commit says that it moved a watermark, as a receipt tells it.
fn moved(fact: &Value) -> Option<WatermarkMove> {
    let value = |key: &str| fact[key]["value"].as_str().map(str::to_owned);
    let column = fact["column"].as_str()?.to_owned();
    Some(WatermarkMove { column, before: value("before"), after: value("after"), shortened: false })
}

fn words(moved: &WatermarkMove) -> String {
    let value = |mark: &Option<String>| mark.as_ref().map_or("none".to_owned(), |mark| format!("{mark:?}"));
    format!("{:?} from {} to {}", moved.column, value(&moved.before), value(&moved.after))
}

/// What the run as a whole has rejected, which its own commits say.
fn failed_rows(receipt: &Receipt, facts: &Value, at: &str, checks: &mut Checks) {
    let told = receipt.failed_rows;
    let Some(rejected) = facts["rejectedRows"].as_u64() else {
        return checks.note(format!("{at}: how many rows the run had rejected the log does not say"));
    };
    if is_alone(receipt) {
        checks.same(&format!("{at}: failedRows, the rows that the run had rejected"), told, rejected);
    } else {
        let text = format!("{at}: failedRows are no fewer than the rows that the run had rejected by then: {told}");
        checks.check(told >= rejected, text, || format!("the log has {rejected}"));
    }
}

/// Whether one attempt of this run has written all tables, and all of them say what it had rejected. Other attempts, runs
/// that it retries and databases may have rejected more.
fn is_alone(receipt: &Receipt) -> bool {
    let own = |target: &Target| match target.kind {
        TargetKind::Delta => target.written_by == receipt.run_id,
        TargetKind::Rejected => true,
        TargetKind::Database => false,
    };
    receipt.attempts.len() == 1 && receipt.targets.iter().all(own)
}
