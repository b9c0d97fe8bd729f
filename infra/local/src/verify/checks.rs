//! What a receipt says of itself: its digest, its definition, its sums; and its tables one by one, and all of them.

use super::log::Log;
use super::{listed, table};
use serde_json::Value;
use shared::models::receipt::{Receipt, Target, TargetKind};
use shared::{canonical, receipt as receipts};
use std::path::Path;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Ok,
    Failed,
    /// One that cannot be made with what is there.
    Unable,
    /// Something worth knowing that is no check.
    Note,
}

/// One check, as a sentence.
#[derive(Debug)]
pub struct Check {
    pub verdict: Verdict,
    pub text: String,
}

/// Checks in their order.
#[derive(Debug, Default)]
pub struct Checks(Vec<Check>);

impl Checks {
    /// One that holds where `held`; `text` says what was looked at, `why` what is wrong with it.
    pub fn check(&mut self, held: bool, text: impl Into<String>, why: impl FnOnce() -> String) {
        let text = text.into();
        self.0.push(match held {
            true => Check { verdict: Verdict::Ok, text },
            false => Check { verdict: Verdict::Failed, text: format!("{text}: {}", why()) },
        });
    }

    /// Two values that must be the same.
    pub fn same<T: PartialEq + std::fmt::Display>(&mut self, what: &str, told: T, found: T) {
        let text = format!("{what}: {told}");
        self.check(told == found, text, || format!("the log has {found}"));
    }

    /// One that does not hold.
    pub fn fail(&mut self, text: impl Into<String>) {
        self.0.push(Check { verdict: Verdict::Failed, text: text.into() });
    }

    /// One that cannot be made: it does not say that the receipt is wrong, nor that it is right.
    pub fn unable(&mut self, text: impl Into<String>) {
        self.0.push(Check { verdict: Verdict::Unable, text: text.into() });
    }

    /// No check.
    pub fn note(&mut self, text: impl Into<String>) {
        self.0.push(Check { verdict: Verdict::Note, text: text.into() });
    }
}

/// All that can be said of a receipt, by the tables below `lake`.
pub fn all(value: &Value, receipt: &Receipt, lake: &Path) -> Vec<Check> {
    let mut checks = Checks::default();
    let digest = receipts::digest(value);
    checks.check(receipt.digest == digest, "the receipt is as it was answered (digest)", || {
        format!("it says {}, but comes to {digest}", receipt.digest)
    });
    definition(receipt, &mut checks);
    sums(receipt, &mut checks);
    listed::writers(receipt, &mut checks);
    listed::places(receipt, &mut checks);
    for target in &receipt.targets {
        of_target(receipt, target, lake, &mut checks);
    }
    let late = listed::all(receipt, lake, &mut checks);
    listed::rolled_back(receipt, &late, &mut checks);
    checks.0
}

/// What the run as a whole took and left out is what its tables did, however it ended.
fn sums(receipt: &Receipt, checks: &mut Checks) {
    let tables: Vec<&Target> = receipt.targets.iter().filter(|target| target.kind != TargetKind::Rejected).collect();
    if let Some(target) = tables.iter().find(|target| target.delta.is_none() && target.database.is_none()) {
        return checks.note(format!(
            "rowsOut and skippedRows were not checked, since what the table {:?} took is not known",
            target.table
        ));
    }
    let sum = |of: fn(&Target) -> u64| tables.iter().map(|target| u128::from(of(target))).sum::<u128>();
    let (rows, skipped) = (sum(|target| target.rows), sum(|target| target.skipped_rows));
    let text = "rowsOut is the sum of the targets' rows";
    match receipt.rows_out {
        Some(rows_out) => {
            let why = || format!("they come to {rows}");
            checks.check(u128::from(rows_out) == rows, format!("{text}: {rows_out}"), why);
        }
        // It never came so far.
        None if tables.is_empty() => {}
        None => checks.fail(format!("{text}: not given: they come to {rows}")),
    }
    let text = format!("skippedRows is the sum of what the targets left out: {}", receipt.skipped_rows);
    checks.check(u128::from(receipt.skipped_rows) == skipped, text, || format!("they come to {skipped}"));
}

fn definition(receipt: &Receipt, checks: &mut Checks) {
    let Some(content) = &receipt.definition.content else {
        return checks.note("the definition is not included, so that its hash was not checked");
    };
    let hash = canonical::hash(content);
    checks.check(hash == receipt.definition.hash, format!("the definition's hash: {hash}"), || {
        format!("the receipt says {}", receipt.definition.hash)
    });
    let named = (content["id"].as_str(), content["version"].as_u64());
    let wanted = (Some(receipt.pipeline_id.as_str()), Some(u64::from(receipt.pipeline_version)));
    let text = format!("the definition is that of {} in version {}", receipt.pipeline_id, receipt.pipeline_version);
    checks
        .check(named == wanted, text, || format!("it is that of {} in version {}", content["id"], content["version"]));
}

fn of_target(receipt: &Receipt, target: &Target, lake: &Path, checks: &mut Checks) {
    if let Some(database) = &target.database {
        return checks.note(format!(
            "the table {:?} is in a database, which has no log to be read; ask its {} for run_id = {:?}",
            target.table, database.ledger, database.run_id
        ));
    }
    let Some(delta) = &target.delta else {
        return checks.unable(format!(
            "the table {:?}: cannot be checked: its log had been cleaned when the receipt was made, or the receipt had no room for \
             what it says",
            target.table
        ));
    };
    let plain = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains('\\');
    if !delta.location.split('/').all(plain) {
        return checks
            .fail(format!("the table {:?}: its location {:?} is no folder of a lake", target.table, delta.location));
    }
    match Log::read(&lake.join(&delta.location)) {
        Ok(log) => table::check(receipt, target, delta, &log, checks),
        Err(why) => checks.fail(format!("the table {}: {why}", delta.location)),
    }
}
