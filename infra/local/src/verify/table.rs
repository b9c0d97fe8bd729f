//! One table of a receipt against its log.

use super::checks::Checks;
use super::log::{Commit, Log};
use shared::models::node::LoadMode;
use shared::models::receipt::{DeltaWrite, Receipt, Target, TargetKind};

/// The version of the `txn` action of a commit that has a run's rows.
pub const COMMITTED: i64 = 1;

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
    versions(delta, log, &at, checks);
    rollbacks(receipt, target, delta, log, checks);
}

/// The run's transaction is in this commit and in no other one.
fn transaction(receipt: &Receipt, target: &Target, delta: &DeltaWrite, log: &Log, checks: &mut Checks) {
    let wanted = (delta.transaction.app_id.clone(), delta.transaction.version);
    let text = format!(
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
fn versions(delta: &DeltaWrite, log: &Log, at: &str, checks: &mut Checks) {
    let after = delta.version_after;
    let Some(before) = delta.version_before else {
        return checks.note(format!("{at}: which version the run had read is not known"));
    };
    let text = format!("{at}: follows version {before}, which the run had read");
    if before >= after {
        return checks.fail(format!("{text}: it does not"));
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

/// Rollbacks in the log and in the receipt.
fn rollbacks(receipt: &Receipt, target: &Target, delta: &DeltaWrite, log: &Log, checks: &mut Checks) {
    let undone = log.commits().find(|commit| commit.facts()["rollbackOf"].as_str() == Some(&target.written_by));
    let told = receipt.rolled_back.as_ref().and_then(|how| {
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
    if let Some(commit) = undone {
        checks.note(format!(
            "{}: was rolled back later, by version {}; the receipt is from before",
            delta.location, commit.version
        ));
    }
}
