//! Runs in the table: every step of a run's life is one conditional write.

mod end;
mod hold;
mod room;
mod undoing;

pub use end::{End, Ender};
pub use hold::{Beat, Claim};
pub use undoing::{UNDOING, Undoing};

use super::idempotency::{Created, Idempotency};
use super::keys::{self, Key};
use super::resources::{Listed, Slice};
use super::{Item, Query, Store, Transacted, item, key_item, n, s};
use crate::error::{Error, Result};
use crate::models::run::{Run, RunStatus};
use crate::models::time::{JsonText, Time};
use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem, Update};
use chrono::Duration;

/// The conflict of a run that must be alone with another one.
pub const RUN_ACTIVE: &str = "RUN_ACTIVE";

pub(super) fn run_key(run: &Run) -> Key {
    keys::run(&run.tenant_id, &run.pipeline_id, &run.id)
}

/// How long after the last time the tick looks after a run that no worker took, which it has sent again so often: a minute,
/// then a quarter of an hour, doubled up to an hour.
///
/// The first look is for what was kept and could not be sent. The queue loses no message, so what still waits after it was
/// sent again waits behind others, and more messages would only be in their way.
pub fn resend_delay(resends: u32) -> Duration {
    Duration::minutes(if resends == 0 { 1 } else { 8 << resends.min(3) })
}

/// The refusal of a second retry of a run.
pub fn already_retried(old: &Run, newest: &Run) -> Error {
    Error::conflict(
        "RUN_RETRIED",
        format!(
            "{} has been retried already; its newest retry is {}, which is {}: retry that one instead where it is needed, since \
             it knows of the rows of all runs before it",
            old.id,
            newest.id,
            newest.status.name()
        ),
    )
}

impl Store {
    /// Keeps a new run together with its pipeline being there. Where `alone` is the pipeline state's `turn`, two
    /// runs that both want to be alone meet, and the later one is refused. A run that is retried is retried once: its retries
    /// are a chain, in which each knows of all rows before it.
    ///
    /// # Errors
    /// 404 where the pipeline went away, 409 where another run, or another retry of the same run, came first, or where the
    /// run that this one retries is being rolled back.
    pub async fn create_run(
        &self,
        run: &Run,
        idempotency: Option<&Idempotency>,
        alone: Option<u64>,
    ) -> Result<Created> {
        let mut writes = vec![self.pipeline_exists(&run.tenant_id, &run.pipeline_id)?];
        writes.extend(self.new_run(run)?);
        writes.extend(self.idempotency_of(idempotency, (&run.id, 1), run.created_at)?);
        if let Some(turn) = alone {
            writes.push(self.take_turn(run, turn)?);
        }
        if let Some(old) = &run.retry_of {
            writes.push(self.mark_retried(run, old)?);
        }
        match self.transact(writes).await? {
            Transacted::Done => Ok(Created::Now),
            Transacted::Refused(places) => match self.refused_before(idempotency).await? {
                Some(before) => Ok(before),
                None if places.contains(&0) => Err(Error::not_found("pipeline", &run.pipeline_id)),
                None => {
                    self.can_be_retried(run).await?;
                    Err(Error::conflict(RUN_ACTIVE, "another run of this pipeline was started in this moment"))
                }
            },
        }
    }

    /// The run itself (only where it is not there yet) and the mark that it is live.
    pub(super) fn new_run(&self, run: &Run) -> Result<[TransactWriteItem; 2]> {
        let mut fields = item(&run_key(run), run)?;
        let look = Time(run.created_at.0 + resend_delay(0));
        fields.extend(self.overdue(&run.tenant_id, &run.pipeline_id, &run.id, look));
        let put = Put::builder()
            .table_name(self.table())
            .set_item(Some(fields))
            .condition_expression("attribute_not_exists(PK)")
            .build()
            .map_err(Error::internal)?;
        Ok([
            TransactWriteItem::builder().put(put).build(),
            self.put_mark(&keys::live(&run.tenant_id, &run.pipeline_id, &run.id))?,
        ])
    }

    /// Where the index has a run that is to be looked after at `again`; earlier where anybody may end it then, but not before
    /// `first`.
    pub(super) fn overdue_or_over(&self, run: &Run, (first, again): (Time, Time)) -> Item {
        let at = run.over_from(self.clocks_apart()).map_or(again, |over| over.max(first).min(again));
        self.overdue(&run.tenant_id, &run.pipeline_id, &run.id, at)
    }

    fn mark_retried(&self, run: &Run, old: &str) -> Result<TransactWriteItem> {
        let update = Update::builder()
            .table_name(self.table())
            .set_key(Some(key_item(&keys::run(&run.tenant_id, &run.pipeline_id, old))))
            .update_expression("SET retriedBy = :run")
            .condition_expression(
                "attribute_exists(PK) AND attribute_not_exists(retriedBy) \
                 AND (attribute_not_exists(undoingUntil) OR undoingUntil < :now)",
            )
            .expression_attribute_values(":run", s(&run.id))
            .expression_attribute_values(":now", s(run.created_at.text()))
            .build()
            .map_err(Error::internal)?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    /// # Errors
    /// 409 where the run that this one retries has been retried by another one, or is being rolled back.
    async fn can_be_retried(&self, run: &Run) -> Result<()> {
        let Some(id) = &run.retry_of else { return Ok(()) };
        let old = self.run(&run.tenant_id, &run.pipeline_id, id).await?;
        match (self.newest_retry(&old).await?, old.undoing_until) {
            (Some(newest), _) => Err(already_retried(&old, &newest)),
            (None, Some(until)) if until >= run.created_at => Err(undoing::being_undone(&old, until)),
            (None, _) => Ok(()),
        }
    }

    /// The last of the retries of a run, each of which retries the one before it; none where there is none.
    ///
    /// # Errors
    /// Where the table does not answer.
    pub async fn newest_retry(&self, run: &Run) -> Result<Option<Run>> {
        let mut newest = None;
        let mut next = run.retried_by.clone();
        while let Some(id) = next.take() {
            let Some(retry) = self.find_run(&run.tenant_id, &run.pipeline_id, &id).await? else { break };
            next.clone_from(&retry.retried_by);
            newest = Some(retry);
        }
        Ok(newest)
    }

    fn take_turn(&self, run: &Run, turn: u64) -> Result<TransactWriteItem> {
        let update = Update::builder()
            .table_name(self.table())
            .set_key(Some(key_item(&keys::state(&run.tenant_id, &run.pipeline_id))))
            .update_expression("SET turn = :next")
            .condition_expression("attribute_not_exists(turn) OR turn = :turn")
            .expression_attribute_values(":turn", n(turn))
            .expression_attribute_values(":next", n(turn + 1))
            .build()
            .map_err(Error::internal)?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    /// A run.
    ///
    /// # Errors
    /// 404 where it is not there.
    pub async fn run(&self, tenant: &str, pipeline: &str, id: &str) -> Result<Run> {
        self.find_run(tenant, pipeline, id).await?.ok_or_else(|| Error::not_found("run", id))
    }

    /// A run, where it is there.
    ///
    /// # Errors
    /// Where the table does not answer.
    pub async fn find_run(&self, tenant: &str, pipeline: &str, id: &str) -> Result<Option<Run>> {
        if [pipeline, id].iter().any(|id| id.is_empty() || id.len() > 100 || id.contains('#')) {
            return Ok(None);
        }
        self.get(&keys::run(tenant, pipeline, id)).await
    }

    /// A pipeline's runs, newest first, of one status where it is given.
    ///
    /// # Errors
    /// Where the table does not answer.
    pub async fn runs(
        &self,
        tenant: &str,
        pipeline: &str,
        status: Option<RunStatus>,
        slice: &Slice,
    ) -> Result<Listed<Run>> {
        self.newest(&keys::under_pipeline(tenant, pipeline), keys::RUNS, status, slice).await
    }

    /// The ids of a pipeline's runs that are not final.
    ///
    /// # Errors
    /// Where the table does not answer.
    pub async fn live_runs(&self, tenant: &str, pipeline: &str) -> Result<Vec<String>> {
        let partition = keys::under_pipeline(tenant, pipeline);
        let (mut live, mut after) = (Vec::new(), None);
        loop {
            let query = Query { after: after.as_deref(), ..Query::new(&partition, keys::LIVE, 1000) };
            let page = self.query(query).await?;
            let ids = page.items.iter().filter_map(|i| i.get("SK")?.as_s().ok()?.strip_prefix(keys::LIVE));
            live.extend(ids.map(str::to_owned));
            after = page.next;
            if after.is_none() {
                return Ok(live);
            }
        }
    }
}

pub(super) fn attribute(item: &Item, name: &str) -> AttributeValue {
    item.get(name).cloned().unwrap_or(AttributeValue::Null(true))
}

fn json<T: serde::Serialize>(value: &T) -> Result<AttributeValue> {
    serde_dynamo::to_attribute_value(JsonText(value)).map_err(Error::internal)
}
