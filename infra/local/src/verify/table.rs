//! One table of a receipt against its log.

use super::checks::Checks;
use super::log::{COMMITTED, Commit, Log};
use super::{facts, listed};
use shared::models::node::LoadMode;
use shared::models::receipt::{DeltaWrite, Receipt, Target, TargetKind};

/// Milliseconds by which the clocks of two machines may differ.
const CLOCKS: i64 = 60_000;

/// Checks what `target` says of the table with this log.
pub fn check(receipt: &Receipt, target: &Target, delta: &DeltaWrite, log: &Log, checks: &mut Checks) {
    let at = format!("{} version {}", delta.location, delta.version_after);
    if let Some(gap) = log.gap() {
        checks.fail(format!("the log of {} is whole: version {gap} is missing between others", delta.location));
    }
    let Some(commit) = log.commit(delta.version_after) else {
        let (oldest, newest) = (log.oldest(), log.newest());
        if delta.version_after < oldest {
            let why = format!("{at}: cannot be checked: the log before version {oldest} was cleaned");
            return checks.unable(why);
        }
        return checks.fail(if delta.version_after > newest {
            format!("{at}: the table has no such version; its newest is {newest}")
        } else {
            format!("{at}: its entry is missing from the log")
        });
    };
    checks.check(
        commit.hash == delta.entry_hash,
        format!("{at}: the entry is as it was written ({})", commit.hash),
        || format!("the receipt says {}", delta.entry_hash),
    );
    transaction(receipt, target, delta, log, checks);
    contents(target, delta, commit, &at, checks);
    facts::check(receipt, target, delta, (commit, &at), checks);
    versions(delta, commit, log, &at, checks);
    earlier(receipt, target, log, (commit, &at), checks);
    rollbacks(receipt, target, delta, log, checks);
}

/// The run's transaction is in this commit and in no other one.
fn transaction(receipt: &Receipt, target: &Target, delta: &DeltaWrite, log: &Log, checks: &mut Checks) {
    let wanted = (delta.transaction.app_id.clone(), delta.transaction.version);
    let mut text = format!(
        "{} version {}: holds the transaction {} of the run, once in the whole log",
        delta.location, delta.version_after, wanted.0
    );
    if wanted.0 != target.written_by || wanted.1 != COMMITTED {
        return checks.fail(format!("{text}: it is not that of a commit of {}", target.written_by));
    }
    let holding = log
        .commits()
        .flat_map(|commit| commit.transactions.iter().filter(|found| **found == wanted).map(|_| commit.version));
    let mut holding: Vec<u64> = holding.collect();
    if target.kind == TargetKind::Rejected {
        // An attempt has replaced what one before it had rejected.
        holding.retain(|version| *version == delta.version_after || !is_of_attempt_before(log, *version, delta));
        let (late, rest): (Vec<u64>, Vec<u64>) =
            holding.into_iter().partition(|version| is_too_late(receipt, target, delta, log, *version));
        holding = rest;
        if !late.is_empty() {
            text += &format!(", but for what attempts replaced when the run had ended (versions {late:?})");
        }
    }
    if holding != [delta.version_after] {
        return checks.fail(format!("{text}: the versions that hold it are {holding:?}"));
    }
    // What was cleaned is older than what is there; a run cannot have been in the log before it was made.
    let oldest = log.oldest();
    let own = target.written_by == receipt.run_id;
    if oldest == 0 {
        checks.check(true, text, String::new);
    } else if own && log.reaches_back_to(receipt.created_at.0.timestamp_millis()) {
        checks.check(
            true,
            format!("{text} (what was cleaned, before version {oldest}, is older than the run)"),
            String::new,
        );
    } else {
        checks.unable(format!("{text}: cannot be checked: the log before version {oldest} was cleaned"));
    }
}

fn is_of_attempt_before(log: &Log, version: u64, delta: &DeltaWrite) -> bool {
    let attempt = |version| log.commit(version).and_then(|commit| commit.facts()["attempt"].as_u64());
    version < delta.version_after && attempt(version) < attempt(delta.version_after)
}

/// Whether a version is of an attempt that was at its commit when another one had ended the run, and then replaced the
/// rejected rows by its own.
fn is_too_late(receipt: &Receipt, target: &Target, delta: &DeltaWrite, log: &Log, version: u64) -> bool {
    let attempt = |version| log.commit(version).and_then(Commit::attempt);
    let (Some(own), Some(late)) = (attempt(delta.version_after), attempt(version)) else { return false };
    let first = listed::first_beside(receipt, &target.written_by, &delta.schema_id);
    version > delta.version_after && late > own && first.is_none_or(|first| late > first)
}

/// Files, bytes and rows.
fn contents(target: &Target, delta: &DeltaWrite, commit: &Commit, at: &str, checks: &mut Checks) {
    checks.same(&format!("{at}: files added"), delta.files_added, commit.files_added);
    checks.same(&format!("{at}: files removed"), delta.files_removed, commit.files_removed);
    checks.same(&format!("{at}: bytes added"), delta.bytes_added, commit.bytes_added);
    match commit.records_added {
        Some(records) => checks.same(&format!("{at}: rows in the added files"), delta.records_added, records),
        None => checks.unable(format!("{at}: rows in the added files: cannot be checked: a file has no statistics")),
    }
    let facts = commit.facts();
    match facts["rowsOut"].as_u64() {
        Some(rows) => checks.same(&format!("{at}: rows of the run"), target.rows, rows),
        None => checks.fail(format!("{at}: rows of the run: the commit does not say")),
    }
    checks.same(&format!("{at}: rows left out"), target.skipped_rows, facts["skippedRows"].as_u64().unwrap_or(0));
    let merged = target.load_mode == Some(LoadMode::Upsert);
    let (rows, records) = (target.rows, delta.records_added);
    if merged {
        // The rest are rows that stood in the files which the upsert has replaced.
        checks.check(rows <= records, format!("{at}: the rows of the run are among those in the added files"), || {
            format!("{rows} rows cannot be in files of {records}")
        });
    } else {
        checks.check(rows == records, format!("{at}: the added files hold the rows of the run and no others"), || {
            format!("the run has {rows}, the files {records}")
        });
    }
}

/// The version before, and what came in between.
fn versions(delta: &DeltaWrite, commit: &Commit, log: &Log, at: &str, checks: &mut Checks) {
    let after = delta.version_after;
    let found = commit.facts()["readVersion"].as_u64();
    let Some(before) = delta.version_before else {
        let text = format!("{at}: which version the run had read is not known");
        return match found {
            Some(found) => checks.fail(format!("{text}: the log has {found}")),
            None => checks.note(text),
        };
    };
    let text = format!("{at}: follows version {before}, which the run had read");
    if before >= after {
        return checks.fail(format!("{text}: it does not"));
    }
    match found {
        Some(found) if found == before => {}
        Some(found) => return checks.fail(format!("{text}: the log has {found}")),
        None => return checks.unable(format!("{text}: cannot be checked: the log does not say which it had read")),
    }
    let between: Vec<String> = (before + 1..after).filter_map(|v| log.commit(v)).map(Commit::author).collect();
    if between.len() as u64 != after - before - 1 {
        return checks
            .unable(format!("{text}: cannot be checked: the log before version {} was cleaned", log.oldest()));
    }
    match between.is_empty() {
        true => checks.check(true, text, String::new),
        false => checks.check(
            true,
            format!("{text}, after others that came in between: {}", between.join(", ")),
            String::new,
        ),
    }
}

/// What the log tells of the rows of a run before this one, which this one says that it left to stand: they were in when
/// it was made, and those of the run that it retries were not. Further back no log tells which run retries which.
fn earlier(receipt: &Receipt, target: &Target, log: &Log, (commit, at): (&Commit, &str), checks: &mut Checks) {
    let writer = &target.written_by;
    // Rejected rows may be replaced later.
    if *writer == receipt.run_id || target.kind != TargetKind::Delta {
        return;
    }
    let Some(retried) = receipt.retry_of.as_deref() else { return };
    let stands = !log.holding(retried).is_empty() && log.rollback_of(retried).is_none();
    if retried != writer.as_str() && stands {
        return checks.fail(format!(
            "{at}: the rows of {writer} were left to stand: the log has those of {retried}, which the run retries"
        ));
    }
    let text = format!("{at}: the rows of {writer} were in when the run was made");
    let Some(time) = commit.timestamp() else {
        return checks.note(format!("{text}: the log does not say when they came in"));
    };
    let late = time - receipt.created_at.0.timestamp_millis();
    checks.check(late <= CLOCKS, text, || format!("by the log they came in {} s later", late / 1000));
}

/// Rollbacks in the log and in the receipt.
fn rollbacks(receipt: &Receipt, target: &Target, delta: &DeltaWrite, log: &Log, checks: &mut Checks) {
    let undone = log.rollback_of(&target.written_by);
    let own = receipt.rolled_back.as_ref().filter(|_| target.written_by == receipt.run_id);
    let told = own.and_then(|how| {
        how.tables.iter().find(|table| table.schema_id == delta.schema_id && table.kind == target.kind)
    });
    if let Some(told) = told {
        let text = format!("{}: was rolled back by version {}", delta.location, told.version);
        let found = undone.map(|commit| commit.version);
        return checks.check(found == Some(told.version), text, || match found {
            Some(version) => format!("version {version} has the rollback"),
            None => "the log has no rollback of the run".to_owned(),
        });
    }
    let Some(commit) = undone else { return };
    let text = format!("{}: was rolled back", delta.location);
    if own.is_some() {
        return checks.fail(format!(
            "{text}: rolledBack does not name the table, but version {} of the log is the rollback",
            commit.version
        ));
    }
    checks.note(format!("{text} later, by version {}; the receipt is from before", commit.version));
}
