//! Undoes what one run's commit did to a table, as a commit of its own: the files that it added go, those that it removed
//! come back, and so does the watermark. Only while nothing that came later depends on it.
//!
//! The commit follows the very version that was looked at, so that whoever else commits meanwhile is looked at again; and
//! it carries a transaction of its own, `<run>_rollback` with the version that it makes, so that it happens once.

mod later;
mod plan;

use super::commit::{TRIES, Tried, pause, too_busy, try_undo};
use super::table::{COMMITTED, Place, rollback_id, state, transaction};
use crate::deadline::{Deadline, in_time};
use crate::engine::job::{Settings, TableSchema};
use crate::error::RunError;
use deltalake::DeltaTable;
use deltalake::kernel::Action;
use serde::{Deserialize, Serialize};
use shared::models::receipt::RollbackTable;
use shared::models::time::Time;
use tokio::time::Instant;

/// Why a table stays as it is.
#[derive(Debug)]
pub enum Refusal {
    /// Something depends on the run's rows, or they can no longer be undone; `code` is a stable upper-case word.
    Conflict { code: &'static str, detail: String },
    /// The time for it is over. Where it is `unknown` whether anything was changed, a commit was begun that may be in, or come
    /// in later.
    Late { unknown: bool },
    /// The table does not answer, or cannot be understood.
    Run(RunError),
}

impl From<RunError> for Refusal {
    fn from(error: RunError) -> Self {
        Self::Run(error)
    }
}

impl Refusal {
    fn new(code: &'static str, detail: impl Into<String>) -> Self {
        Self::Conflict { code, detail: detail.into() }
    }
}

/// What the rollback's commit says about itself, in `commitInfo`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Undone {
    /// The run whose commit is undone.
    pub rollback_of: String,
    /// The version that this commit made.
    pub undoes: u64,
    /// Who asked for it, and when.
    pub by: String,
    pub at: Time,
}

/// What a table says of a run that is to be undone.
#[derive(Debug)]
pub enum Look {
    /// It has no commit of the run.
    Nothing,
    /// The run's rows were taken out again, by this version.
    Already(u64),
    /// They can be taken out.
    Can(Box<Plan>),
}

/// How a run's rows are taken out of one version of a table.
#[derive(Debug)]
pub struct Plan {
    table: DeltaTable,
    actions: Vec<Action>,
    /// What that does.
    pub report: RollbackTable,
}

impl Plan {
    /// Whether the table stays the same but for the mark.
    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }
}

/// One run and one table.
pub struct Undo<'a> {
    pub schema: &'a TableSchema,
    pub run_id: &'a str,
    pub by: &'a str,
    pub at: Time,
    place: Place,
}

impl<'a> Undo<'a> {
    /// The table of `schema`.
    ///
    /// # Errors
    /// As [`Place::new`].
    pub fn new(
        tenant: &str,
        schema: &'a TableSchema,
        run_id: &'a str,
        (by, at): (&'a str, Time),
        settings: &Settings,
    ) -> Result<Self, RunError> {
        Ok(Self { schema, run_id, by, at, place: Place::new(tenant, schema, settings)? })
    }

    /// What undoing the run would do to the table as it is now; nothing is changed.
    ///
    /// # Errors
    /// Why it cannot be undone.
    pub async fn look(&self) -> Result<Look, Refusal> {
        let Some(table) = self.place.load(None).await? else { return Ok(Look::Nothing) };
        if transaction(&self.place, &table, self.run_id).await? != Some(COMMITTED) {
            return Ok(Look::Nothing);
        }
        if let Some(version) = transaction(&self.place, &table, &rollback_id(self.run_id)).await? {
            return Ok(Look::Already(u64::try_from(version).unwrap_or(0)));
        }
        self.place.check_writable(&table)?;
        self.plan(table).await.map(|plan| Look::Can(Box::new(plan)))
    }

    /// Takes the run's rows out, once, after a `look` at the table, which is repeated where others have committed since; none
    /// where the table has no commit of the run.
    ///
    /// # Errors
    /// Why it cannot be undone; nothing was changed then, or as [`Refusal::Late`] says.
    pub async fn undo(&self, look: Look, deadline: Deadline) -> Result<Option<RollbackTable>, Refusal> {
        let mut last: Option<(RunError, RollbackTable)> = None;
        let mut first = Some(look);
        for attempt in 0..TRIES {
            let unknown = last.is_some();
            let look = match first.take() {
                Some(look) => look,
                None => {
                    pause(attempt).await;
                    in_time(deadline.early, self.look()).await.ok_or(Refusal::Late { unknown })??
                }
            };
            let plan = match (look, &last) {
                (Look::Nothing, _) => return Ok(None),
                // The try of which nobody knew has worked.
                (Look::Already(version), Some((_, report))) if report.version == version => {
                    return Ok(Some(report.clone()));
                }
                (Look::Already(version), _) => return Err(already(self.run_id, version)),
                (Look::Can(plan), _) => plan,
            };
            let undone = Undone {
                rollback_of: self.run_id.to_owned(),
                undoes: plan.report.undoes,
                by: self.by.to_owned(),
                at: self.at,
            };
            if Instant::now() >= deadline.early {
                return Err(Refusal::Late { unknown });
            }
            let restores = plan.report.files_restored > 0;
            let commit = try_undo(&self.place, &plan.table, plan.actions, &undone, restores);
            match in_time(deadline.end, commit).await.ok_or(Refusal::Late { unknown: true })?? {
                Tried::Committed(version) => return Ok(Some(RollbackTable { version, ..plan.report })),
                Tried::Conflict => {}
                Tried::Unknown(error) if error.kind.is_retryable() => last = Some((error, plan.report)),
                Tried::Unknown(error) => return Err(error.into()),
            }
        }
        Err(last.map_or_else(|| too_busy(&self.place), |(error, _)| error).into())
    }
}

/// The refusal of a rollback that was done before.
pub fn already(run_id: &str, version: u64) -> Refusal {
    Refusal::new(
        "ALREADY_ROLLED_BACK",
        format!("the rows of {run_id} were taken out again already, by version {version}"),
    )
}

/// The newest version of a table that is loaded.
fn newest(table: &DeltaTable) -> Result<u64, RunError> {
    Ok(state(table)?.version())
}
