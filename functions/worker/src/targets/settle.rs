//! Decides for ever whether a run's rows are in a table, whoever may still be writing them.

use super::commit::{TRIES, Tried, pause, too_busy, try_once};
use super::log::{self, Facts};
use super::rejected;
use super::table::{COMMITTED, Place, rolled_back, state, transaction};
use super::widen;
use super::{commit, files};
use crate::engine::job::{Earlier, Settings, TableSchema};
use crate::error::{Kind, RunError};
use deltalake::DeltaTable;
use deltalake::kernel::Action;
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStoreExt};
use std::collections::HashSet;

/// Whose rows a table has of those that a run was to bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// The run's own.
    Own,
    /// Those of an earlier run that it left to stand.
    Earlier,
    /// None, and the run's never will be there.
    Nothing,
}

impl Settled {
    /// Whether what the run was to bring is there.
    pub fn is_in(self) -> bool {
        self != Self::Nothing
    }
}

/// Whether the rows of the run, or of an earlier one that it left to stand, are in the table of `schema`, which is settled
/// with the rejected rows beside it.
///
/// # Errors
/// `Kind::TargetUnavailable` where the lake does not answer: nothing is settled then.
pub async fn settle(
    tenant: &str,
    schema: &TableSchema,
    run_id: &str,
    earlier: &[Earlier],
    settings: &Settings,
) -> Result<bool, RunError> {
    let settled = settle_table(tenant, schema, run_id, earlier, settings).await?;
    settle_rejected(tenant, schema, run_id, settled.is_in(), settings).await?;
    Ok(settled.is_in())
}

/// Whose rows are in the table of `schema`; if neither the run's are nor those of an earlier one that it left to stand,
/// commits an empty version with the run's transaction so that they never will be. A commit of the run that comes later
/// meets it and changes nothing. Rejected rows beside the table stay as they are.
///
/// # Errors
/// As [`settle`].
pub async fn settle_table(
    tenant: &str,
    schema: &TableSchema,
    run_id: &str,
    earlier: &[Earlier],
    settings: &Settings,
) -> Result<Settled, RunError> {
    let place = Place::new(tenant, schema, settings)?;
    decide(&place, schema, run_id, earlier).await
}

/// Settles the rejected rows beside the table of `schema`. Those of a run that `has_rows` stay as they are from now on; those
/// of one without are taken out, and late ones kept out.
///
/// # Errors
/// As [`settle`].
pub async fn settle_rejected(
    tenant: &str,
    schema: &TableSchema,
    run_id: &str,
    has_rows: bool,
    settings: &Settings,
) -> Result<(), RunError> {
    if !has_rows {
        return take_out(tenant, schema, run_id, settings).await;
    }
    let place = Place::new(tenant, &rejected::schema(schema), settings)?;
    match place.load(None).await? {
        Some(table) => close(&place, table, run_id, u32::MAX).await,
        None => Ok(()),
    }
}

/// Removes what attempts of a run have staged at the table of `schema`, and beside it, where none of them committed or ever
/// will. False where something may be left.
///
/// # Errors
/// `Kind::TargetUnavailable` where the lake cannot be opened.
pub async fn discard(tenant: &str, schema: &TableSchema, run_id: &str, settings: &Settings) -> Result<bool, RunError> {
    let mut all = true;
    for schema in [schema, &rejected::schema(schema)] {
        let place = Place::new(tenant, schema, settings)?;
        all &= files::remove_run(&place, place.storage()?, run_id).await;
        if let Some(table) = place.load(None).await? {
            widen::tidy(&place, &table).await;
        }
    }
    Ok(all)
}

async fn decide(place: &Place, schema: &TableSchema, run_id: &str, earlier: &[Earlier]) -> Result<Settled, RunError> {
    let facts = Facts::settled(run_id);
    let mut last = None;
    for attempt in 0..TRIES {
        if attempt > 0 {
            pause(attempt).await;
        }
        let Some(table) = load(place, schema).await? else { return Ok(Settled::Nothing) };
        match transaction(place, &table, run_id).await? {
            Some(COMMITTED) => {
                tidy(place, &table, run_id).await;
                return Ok(Settled::Own);
            }
            // Whoever entered it may have died before this.
            Some(_) => {
                files::remove_run(place, table.object_store(), run_id).await;
                return Ok(Settled::Nothing);
            }
            None => {}
        }
        if has_earlier(place, &table, earlier).await? {
            return Ok(Settled::Earlier);
        }
        match try_once(place, &table, Vec::new(), &facts).await? {
            Tried::Committed(_) => {
                // From now on no commit can take them.
                files::remove_run(place, table.object_store(), run_id).await;
                return Ok(Settled::Nothing);
            }
            Tried::Conflict => last = None,
            Tried::Unknown(error) if !error.kind.is_retryable() => return Err(error),
            Tried::Unknown(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| too_busy(place)))
}

/// The table; made where it is not there yet, so that the run can be kept out of it. That of a schema which was deleted is
/// not made any more: no run can write it.
async fn load(place: &Place, schema: &TableSchema) -> Result<Option<DeltaTable>, RunError> {
    if schema.fields.is_empty() {
        return place.load(None).await;
    }
    place.load_or_create(schema).await.map(Some)
}

/// Leaves the rejected rows of a run that is in its tables as they are: attempts before `attempt` cannot replace them any
/// more, and what they have staged is removed.
///
/// # Errors
/// `Kind::TargetUnavailable` where the lake does not answer.
pub async fn close(place: &Place, mut table: DeltaTable, run_id: &str, attempt: u32) -> Result<(), RunError> {
    let folder = files::Folder::new(place, table.object_store(), run_id, attempt)?;
    if transaction(place, &table, run_id).await?.is_none() && !folder.is_used().await {
        return Ok(());
    }
    commit::close(place, &mut table, run_id, attempt).await?;
    let entry = match log::find(place, &table, run_id).await {
        Ok(entry) => Some(entry),
        Err(error) if error.kind == Kind::Target && transaction(place, &table, run_id).await? != Some(COMMITTED) => {
            None
        }
        // What it names is not known any more.
        Err(error) if error.kind == Kind::Target => return Ok(()),
        Err(error) => return Err(error),
    };
    folder.remove_up_to(attempt, &entry.as_ref().map(log::Entry::named).unwrap_or_default()).await;
    Ok(())
}

/// Removes what other attempts than the one that has committed had staged. It is as good as settled whether this works or
/// not.
async fn tidy(place: &Place, table: &DeltaTable, run_id: &str) {
    let tidied = async {
        let entry = log::find(place, table, run_id).await?;
        let folder = files::Folder::new(place, table.object_store(), run_id, 0)?;
        folder.remove_others(&entry.named()).await;
        Ok::<(), RunError>(())
    };
    if let Err(error) = tidied.await {
        tracing::warn!(run = run_id, %error, "files that no commit took may be left behind");
    }
}

/// Whether the newest of the earlier runs that is in stays as it is, so that this one never writes.
async fn has_earlier(place: &Place, table: &DeltaTable, earlier: &[Earlier]) -> Result<bool, RunError> {
    for run in earlier {
        if transaction(place, table, &run.run_id).await? == Some(COMMITTED)
            && !rolled_back(place, table, &run.run_id).await?
        {
            return Ok(!run.replace);
        }
    }
    Ok(false)
}

/// Takes the rejected rows of a run out again that wrote nothing, brings those back that it had replaced, and keeps late ones
/// out.
async fn take_out(tenant: &str, schema: &TableSchema, run_id: &str, settings: &Settings) -> Result<(), RunError> {
    let place = Place::new(tenant, &rejected::schema(schema), settings)?;
    let facts = Facts::settled(run_id);
    for attempt in 0..TRIES {
        if attempt > 0 {
            pause(attempt).await;
        }
        let Some(table) = place.load(None).await? else { return Ok(()) };
        let before = transaction(&place, &table, run_id).await?;
        let actions = match before {
            Some(COMMITTED) => {
                let mut actions = removes(&place, &table, run_id).await?;
                actions.extend(restores(&place, &table, run_id).await?);
                actions
            }
            Some(_) => {
                // Those that were in are still named by older versions of the table.
                if has_entry(&place, &table, run_id).await? {
                    tidy(&place, &table, run_id).await;
                } else {
                    files::remove_run(&place, table.object_store(), run_id).await;
                }
                return Ok(());
            }
            None => Vec::new(),
        };
        if let Tried::Committed(_) = try_once(&place, &table, actions, &facts).await? {
            // From now on no attempt can replace them.
            match before {
                None => _ = files::remove_run(&place, table.object_store(), run_id).await,
                Some(_) => tidy(&place, &table, run_id).await,
            }
            return Ok(());
        }
    }
    Err(too_busy(&place))
}

/// Whether the log names files of the run, or may have.
async fn has_entry(place: &Place, table: &DeltaTable, run_id: &str) -> Result<bool, RunError> {
    match log::find(place, table, run_id).await {
        Ok(_) => Ok(true),
        // Where the log is whole, its first entry is there.
        Err(error) if error.kind == Kind::Target => {
            let first = table.log_store().read_commit_entry(0).await.map_err(|e| place.error("read", e))?;
            Ok(first.is_none())
        }
        Err(error) => Err(error),
    }
}

async fn removes(place: &Place, table: &DeltaTable, run_id: &str) -> Result<Vec<Action>, RunError> {
    let files = match log::find(place, table, run_id).await {
        Ok(entry) => entry.files,
        // The log does not reach back so far: the rows stay, under the run's id.
        Err(error) if error.kind == Kind::Target => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let current = state(table)?.log_data();
    let ours = current.iter().filter(|file| files.iter().any(|path| *path == file.path()));
    Ok(ours.map(|file| Action::Remove(file.remove_action(true))).collect())
}

/// The files of earlier runs that commits of this one have taken out.
async fn restores(place: &Place, table: &DeltaTable, run_id: &str) -> Result<Vec<Action>, RunError> {
    let own = format!("{run_id}/");
    let (mut found, mut newest) = (Vec::new(), Some(state(table)?.version()));
    while let Some(version) = newest {
        let Some(entry) = log::newest_of(place, table, version, run_id).await? else { break };
        let others = entry.removed.iter().map(String::as_str).filter(|path| !path.starts_with(&own)).collect();
        found.extend(files_before(place, entry.version, others).await?);
        // An attempt before this one may have taken them out.
        let is_first = entry.facts.as_ref().is_none_or(|facts| facts.attempt <= 1);
        newest = if is_first { None } else { entry.version.checked_sub(1) };
    }
    Ok(found)
}

/// Adds the files at `paths` as they were before `version`, as far as they can be had.
async fn files_before(place: &Place, version: u64, paths: HashSet<&str>) -> Result<Vec<Action>, RunError> {
    let mut there = Vec::new();
    if paths.is_empty() {
        return Ok(there);
    }
    let before = match place.load(Some(version.saturating_sub(1))).await {
        Ok(Some(before)) => before,
        Ok(None) => return Ok(there),
        // The log does not reach back so far.
        Err(error) if error.kind == Kind::Target => return Ok(there),
        Err(error) => return Err(error),
    };
    let mut adds = Vec::with_capacity(paths.len());
    for file in state(&before)?.log_data().iter().filter(|file| paths.contains(&*file.path())) {
        #[expect(deprecated, reason = "nothing else makes an action of a file that has one")]
        let add = file.add_action();
        adds.push(add);
    }
    let store = before.object_store();
    for add in adds {
        match store.head(&Path::from(add.path.as_str())).await {
            Ok(_) => there.push(Action::Add(add)),
            // Somebody has removed it for good (a vacuum).
            Err(StoreError::NotFound { .. }) => {}
            Err(error) => return Err(place.error("read", error.into())),
        }
    }
    Ok(there)
}
