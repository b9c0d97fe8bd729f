//! What a receipt says of itself: its digest, its definition, its sums; and its tables one by one.

use super::log::Log;
use super::table;
use serde_json::Value;
use shared::models::receipt::{Receipt, Target};
use shared::models::run::RunStatus;
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
    let of_status = matches!(receipt.status, RunStatus::Completed | RunStatus::CompletedWithErrors);
    if let Some(rows_out) = receipt.rows_out.filter(|_| of_status) {
        let own = receipt.targets.iter().filter(|target| target.node_id.is_some());
        let sum: u64 = own.map(|target| target.rows).sum();
        let text = format!("rowsOut is the sum of the targets' rows: {rows_out}");
        checks.check(rows_out == sum, text, || format!("they come to {sum}"));
    }
    for target in &receipt.targets {
        of_target(receipt, target, lake, &mut checks);
    }
    if receipt.targets.is_empty() {
        nothing_written(receipt, lake, &mut checks);
    }
    checks.0
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
            "the table {:?}: cannot be checked: its log had been cleaned when the receipt was made",
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

/// A run that says that it wrote nothing must be in no table of its tenant. Tables of rejected rows may still tell of rows
/// that were taken out again.
fn nothing_written(receipt: &Receipt, lake: &Path, checks: &mut Checks) {
    let tenant = &receipt.tenant_id;
    if tenant.is_empty() || tenant.contains(['/', '\\', '.']) {
        return checks.fail(format!("the tenant {tenant:?} is no folder of a lake"));
    }
    let text = format!("nothing was written to the tables of {tenant}");
    let Ok(entries) = std::fs::read_dir(lake.join(tenant)) else {
        return checks.note(format!("{text}: there are none"));
    };
    let tables = entries.flatten().map(|entry| entry.path()).filter(|path| path.join("_delta_log").is_dir());
    let mut tables: Vec<_> = tables.filter(|path| !path.to_string_lossy().ends_with("_rejected")).collect();
    tables.sort();
    let mut whole = true;
    for path in tables {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let log = match Log::read(&path) {
            Ok(log) => log,
            Err(why) => {
                whole = false;
                checks.unable(format!("{text}: {name} cannot be checked: {why}"));
                continue;
            }
        };
        let found = log.commits().find(|commit| {
            commit.transactions.iter().any(|(app, version)| *app == receipt.run_id && *version == table::COMMITTED)
        });
        if let Some(commit) = found {
            return checks.fail(format!("{text}: in {name} version {} has the run's rows", commit.version));
        }
        if !log.reaches_back_to(receipt.created_at.0.timestamp_millis()) {
            whole = false;
            let oldest = log.oldest();
            checks.unable(format!("{text}: {name} cannot be checked: its log before version {oldest} was cleaned"));
        }
    }
    if whole {
        checks.check(true, text, String::new);
    }
}
