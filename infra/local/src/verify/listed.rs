//! Which tables a receipt lists and whose rows they have, against all tables of its tenant.

use super::checks::Checks;
use super::log::{Commit, Log};
use shared::models::receipt::{Receipt, Target, TargetKind};
use std::collections::HashSet;
use std::path::Path;

/// What the names of tables of rejected rows end with.
const REJECTED: &str = "_rejected";

/// Whose rows the targets have: the run's own, or those of a run that it retries and that were left to stand.
pub fn writers(receipt: &Receipt, checks: &mut Checks) {
    let own = "the rows of all targets are the run's own";
    let mut others = receipt.targets.iter().filter(|target| target.written_by != receipt.run_id).peekable();
    if others.peek().is_none() {
        if !receipt.targets.is_empty() {
            checks.check(true, own, String::new);
        }
        return;
    }
    for target in others {
        let (table, writer) = (&target.table, &target.written_by);
        match &receipt.retry_of {
            None => {
                let why = format!("the table {table:?} has those of {writer}, and the run retries no other one");
                checks.fail(format!("{own}: {why}"));
            }
            Some(retried) if retried == writer => {
                let text = format!("the table {table:?} has rows of {writer}, which the run retries");
                checks.check(true, text, String::new);
            }
            Some(retried) => checks.note(format!(
                "the table {table:?} has rows of {writer}; whether {retried}, which the run retries, is a retry of it no log tells"
            )),
        }
    }
}

/// Each target is a table of the tenant or one of a database, of the kind that it says, and no table is there twice.
pub fn places(receipt: &Receipt, checks: &mut Checks) {
    if receipt.targets.is_empty() {
        return;
    }
    let text = format!("the targets are tables of {} or of databases, each once", receipt.tenant_id);
    let mut wrong = Vec::new();
    let mut seen = HashSet::new();
    for target in &receipt.targets {
        let in_database = target.kind == TargetKind::Database;
        if target.database.is_some() != in_database || (in_database && target.delta.is_some()) {
            wrong.push(format!("{:?} is of another kind", target.table));
        }
        let Some(delta) = &target.delta else { continue };
        let (place, schema) = (&delta.location, &delta.schema_id);
        if *place != format!("{}/{schema}", receipt.tenant_id) {
            wrong.push(format!("the table of {schema} does not lie in {place:?}"));
        }
        if !in_database && target.kind != kind_of(schema) {
            wrong.push(format!("{place} is of another kind"));
        }
        if !seen.insert(place) {
            wrong.push(format!("{place} is listed twice"));
        }
    }
    checks.check(wrong.is_empty(), text, || wrong.join("; "));
}

/// Each table of the tenant that has rows of the run is listed. Answers the tables of rejected rows which are not and need
/// not be, since an attempt brought them when another one had ended the run.
pub fn all(receipt: &Receipt, lake: &Path, checks: &mut Checks) -> HashSet<String> {
    let mut late = HashSet::new();
    let tenant = &receipt.tenant_id;
    if tenant.is_empty() || tenant.starts_with('.') || tenant.contains(['/', '\\']) {
        checks.fail(format!("the tenant {tenant:?} is no folder of a lake"));
        return late;
    }
    let text = match receipt.targets.is_empty() {
        true => format!("nothing was written to the tables of {tenant}"),
        false => format!("all tables of {tenant} that have rows of the run are listed"),
    };
    let Ok(entries) = std::fs::read_dir(lake.join(tenant)) else {
        checks.note(format!("{text}: there are none"));
        return late;
    };
    let listed = own(receipt).filter_map(|target| target.delta.as_ref());
    let listed: HashSet<&str> = listed.map(|delta| delta.schema_id.as_str()).collect();
    let tables = entries.flatten().map(|entry| entry.path()).filter(|path| path.join("_delta_log").is_dir());
    let mut tables: Vec<_> = tables.collect();
    tables.sort();
    let mut whole = true;
    for path in tables {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // Its log was read to its end already.
        if listed.contains(name.as_str()) {
            continue;
        }
        match unlisted(receipt, &path, &name) {
            Unlisted::Empty => {}
            Unlisted::Late(version) => {
                checks.note(format!("{name}: version {version} has rejected rows that came when the run had ended"));
                late.insert(name);
            }
            Unlisted::Has(version) => {
                whole = false;
                checks.fail(format!("{text}: in {name} version {version} has the run's rows"));
            }
            Unlisted::Unknown(why) => {
                whole = false;
                checks.unable(format!("{text}: {name} cannot be checked: {why}"));
            }
        }
    }
    if whole {
        checks.check(true, text, String::new);
    }
    late
}

/// What a table that a receipt does not list has of its run.
enum Unlisted {
    Empty,
    /// Rejected rows, in this version, which came when the run had ended.
    Late(u64),
    /// Rows, in this version.
    Has(u64),
    Unknown(String),
}

fn unlisted(receipt: &Receipt, path: &Path, name: &str) -> Unlisted {
    let log = match Log::read_of(path, &receipt.run_id) {
        Ok(log) => log,
        Err(why) => return Unlisted::Unknown(why),
    };
    let holding = log.holding(&receipt.run_id);
    if let Some(newest) = holding.last() {
        let first = first_beside(receipt, &receipt.run_id, name);
        let is_late = |commit: &&Commit| commit.attempt().zip(first).is_some_and(|(attempt, first)| attempt > first);
        return if holding.iter().all(is_late) {
            Unlisted::Late(newest.version)
        } else if is_forgotten(receipt, kind_of(name)) {
            Unlisted::Unknown("it may be the one whose log the receipt does not know".to_owned())
        } else {
            Unlisted::Has(newest.version)
        };
    }
    if let Some(gap) = log.gap() {
        return Unlisted::Unknown(format!("version {gap} of its log is missing between others"));
    }
    if !log.reaches_back_to(receipt.created_at.0.timestamp_millis()) {
        return Unlisted::Unknown(format!("its log before version {} was cleaned", log.oldest()));
    }
    Unlisted::Empty
}

/// The first of the attempts of `run` that brought rows into the tables beside which `rejected` lies, as far as the receipt
/// knows them. One that brings rejected rows after the end of the run comes after it: of one before it, this one would
/// have replaced them, or kept them out.
pub fn first_beside(receipt: &Receipt, run: &str, rejected: &str) -> Option<u64> {
    let beside = rejected.strip_suffix(REJECTED)?;
    let is_beside = |target: &&Target| match (target.kind, &target.delta) {
        (TargetKind::Database, _) => true,
        (TargetKind::Delta, Some(delta)) => delta.schema_id == beside,
        _ => false,
    };
    let written = receipt.targets.iter().filter(|target| target.written_by == run).filter(is_beside);
    written.filter_map(|target| target.attempt).min().map(u64::from)
}

/// What is said to be rolled back are tables that have the run's own rows.
pub fn rolled_back(receipt: &Receipt, late: &HashSet<String>, checks: &mut Checks) {
    let Some(how) = &receipt.rolled_back else { return };
    let text = "what was rolled back are tables that the receipt lists";
    let Some(first) = how.tables.first() else {
        return checks.fail(format!("{text}: it names none"));
    };
    let is_listed = |schema: &str, kind: TargetKind| {
        own(receipt).any(|t| t.kind == kind && t.delta.as_ref().is_some_and(|delta| delta.schema_id == schema))
    };
    let mut strange = Vec::new();
    for table in &how.tables {
        let schema = table.schema_id.as_str();
        if is_listed(schema, table.kind) || (table.kind == TargetKind::Rejected && late.contains(schema)) {
            continue;
        }
        if is_forgotten(receipt, table.kind) {
            checks.note(format!("{schema}: whether it is the table whose log the receipt does not know is not said"));
        } else {
            strange.push(schema);
        }
    }
    checks.check(strange.is_empty(), text, || format!("it does not list {}", strange.join(", ")));
    let text = format!("the rollback's version is that of its first table: {}", how.version);
    checks.check(how.version == first.version, text, || format!("that is {}", first.version));
}

/// The targets that have the run's own rows.
fn own(receipt: &Receipt) -> impl Iterator<Item = &Target> {
    receipt.targets.iter().filter(move |target| target.written_by == receipt.run_id)
}

/// Whether there is a target of this kind of which the receipt knows no commit.
fn is_forgotten(receipt: &Receipt, kind: TargetKind) -> bool {
    own(receipt).any(|target| target.kind == kind && target.delta.is_none())
}

fn kind_of(table: &str) -> TargetKind {
    if table.ends_with(REJECTED) { TargetKind::Rejected } else { TargetKind::Delta }
}
