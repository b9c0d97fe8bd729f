//! What is due: the sharded index, and what a deleted pipeline leaves behind.

use super::keys::{self, Key};
use super::runs::{attribute, resend_delay};
use super::{Item, Query, Store, away, key_item, n, refused, s};
use crate::error::{Error, Result};
use crate::models::run::Run;
use crate::models::time::Time;
use aws_sdk_dynamodb::types::{AttributeValue, DeleteRequest, WriteRequest};
use chrono::Duration;
use serde::Deserialize;
use std::pin::Pin;
use std::time::Instant;

/// A run, or what is left of a pipeline, that is to be looked after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overdue {
    pub tenant: String,
    pub pipeline: String,
    /// None where it is what is left of a deleted pipeline.
    pub run: Option<String>,
}

/// A page of what is due, and where the next one begins.
#[derive(Debug)]
pub struct Due<T> {
    pub items: Vec<T>,
    /// None at the end.
    pub next: Option<Place>,
}

/// A place in the index.
#[derive(Debug)]
pub struct Place(Item);

/// The most of a page of what is due: what one tick holds in memory of a shard.
pub(super) const DUE_PAGE: i32 = 500;

/// What a purge reads at once: a run's rejected rows are looked for one run after the other, in some milliseconds each.
const PURGE_PAGE: usize = 100;
/// How long after a worker has begun to purge the tick sends it again: longer than its message is hidden at any time, so
/// that this only happens where the message is lost.
const PURGE_HELD: Duration = Duration::minutes(10);

/// What is left of a deleted pipeline.
#[derive(Deserialize)]
struct Tombstone {
    /// How often the tick has sent its purge again.
    #[serde(default)]
    resends: u32,
}

/// The most shards that the index has had.
#[derive(Deserialize)]
struct Shards {
    most: u32,
}

impl Store {
    /// The shards in which something may be due: those of the deployment, and those in which an earlier one with more of
    /// them may have left something.
    ///
    /// # Errors
    /// Where the table does not answer.
    pub async fn all_shards(&self) -> Result<u32> {
        let kept = self.get::<Shards>(&keys::shards()).await?.map_or(0, |kept| kept.most);
        if kept < self.shards() {
            self.keep_shards().await?;
        }
        Ok(kept.max(self.shards()))
    }

    async fn keep_shards(&self) -> Result<()> {
        let update = self
            .client()
            .update_item()
            .table_name(self.table())
            .set_key(Some(key_item(&keys::shards())))
            .update_expression("SET most = :most")
            .condition_expression("attribute_not_exists(most) OR most < :most")
            .expression_attribute_values(":most", n(self.shards()));
        match update.send().await {
            Ok(_) => Ok(()),
            // Another tick was first.
            Err(error) if refused(&error) => Ok(()),
            Err(error) => Err(away(error)),
        }
    }

    /// The pipelines of a shard whose next fire is not after `now`, by pages: tenant and id.
    ///
    /// # Errors
    /// Where the table does not answer.
    pub async fn due_pipelines(&self, shard: u32, now: Time, from: Option<Place>) -> Result<Due<(String, String)>> {
        let found = self.indexed(&keys::due_shard(shard), now, from).await?;
        let items = found.items.iter().filter_map(keys::parse_state).map(|(t, p)| (t.to_owned(), p.to_owned()));
        Ok(Due { items: items.collect(), next: found.next })
    }

    /// The runs of a shard that are to be looked after by `now`, by pages.
    ///
    /// # Errors
    /// Where the table does not answer.
    pub async fn overdue_runs(&self, shard: u32, now: Time, from: Option<Place>) -> Result<Due<Overdue>> {
        let found = self.indexed(&keys::overdue_shard(shard), now, from).await?;
        let items = found.items.iter().filter_map(keys::parse_run).map(|(t, p, r)| Overdue {
            tenant: t.to_owned(),
            pipeline: p.to_owned(),
            run: r.map(str::to_owned),
        });
        Ok(Due { items: items.collect(), next: found.next })
    }

    async fn indexed(&self, partition: &str, until: Time, from: Option<Place>) -> Result<Due<Key>> {
        let answer = self
            .client()
            .query()
            .table_name(self.table())
            .index_name("GSI1")
            .key_condition_expression("GSI1PK = :pk AND GSI1SK <= :until")
            .expression_attribute_values(":pk", s(partition))
            .expression_attribute_values(":until", s(keys::due_at(&until.text(), "\u{7f}")))
            .set_exclusive_start_key(from.map(|place| place.0))
            .limit(self.due_page)
            .send()
            .await
            .map_err(away)?;
        let items = answer.items.unwrap_or_default();
        let items = items
            .iter()
            .filter_map(|i| Some(Key { pk: i.get("PK")?.as_s().ok()?.clone(), sk: i.get("SK")?.as_s().ok()?.clone() }));
        Ok(Due { items: items.collect(), next: answer.last_evaluated_key.map(Place) })
    }

    /// Notes that a run is sent again, so that the next time is later, and no later than when anybody may end it. False where
    /// it moved on in the meantime: then a worker has it, and has said when it is to be looked after. Two ticks that note it at
    /// once both hear that it is noted, and a run that is sent twice is harmless.
    ///
    /// # Errors
    /// Where the table does not answer.
    pub async fn note_resend(&self, run: &Run, now: Time) -> Result<bool> {
        let again = Time(now.0 + resend_delay(run.resends + 1));
        let due = self.overdue_or_over(run, (now, again));
        let (lease, held) = match run.lease_until {
            Some(until) => ("leaseUntil = :lease", Some(s(until.text()))),
            None => ("attribute_not_exists(leaseUntil)", None),
        };
        let update = self
            .client()
            .update_item()
            .table_name(self.table())
            .set_key(Some(key_item(&keys::run(&run.tenant_id, &run.pipeline_id, &run.id))))
            .update_expression("SET resends = :resends, GSI1PK = :pk, GSI1SK = :sk")
            .condition_expression(format!("#status = :status AND attempt = :attempt AND resends = :before AND {lease}"))
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":status", s(run.status.name()))
            .expression_attribute_values(":attempt", n(run.attempt))
            .expression_attribute_values(":before", n(run.resends))
            .expression_attribute_values(":resends", n(run.resends + 1))
            .expression_attribute_values(":pk", attribute(&due, "GSI1PK"))
            .expression_attribute_values(":sk", attribute(&due, "GSI1SK"));
        let update = match held {
            Some(held) => update.expression_attribute_values(":lease", held),
            None => update,
        };
        match update.send().await {
            Ok(_) => Ok(true),
            // The request is sent again where its answer is lost, and then meets what it has done itself.
            Err(error) if refused(&error) => {
                Ok(self.find_run(&run.tenant_id, &run.pipeline_id, &run.id).await?.is_some_and(|now| {
                    (now.status, now.attempt, now.lease_until) == (run.status, run.attempt, run.lease_until)
                        && now.resends == run.resends + 1
                }))
            }
            Err(error) => Err(away(error)),
        }
    }

    /// Whether something is left of a pipeline that was deleted.
    ///
    /// # Errors
    /// Where the table does not answer.
    pub async fn is_deleted(&self, tenant: &str, pipeline: &str) -> Result<bool> {
        Ok(self.tombstone(tenant, pipeline).await?.is_some())
    }

    async fn tombstone(&self, tenant: &str, pipeline: &str) -> Result<Option<Tombstone>> {
        self.get(&keys::tombstone(tenant, pipeline)).await
    }

    /// Notes that the purge of a deleted pipeline is sent again, so that the next time is later. False where nothing is left
    /// of it. Two ticks that note it at once both hear that it is noted, and a purge that is sent twice is harmless.
    ///
    /// # Errors
    /// Where the table does not answer.
    pub async fn note_purge(&self, tenant: &str, pipeline: &str, now: Time) -> Result<bool> {
        let Some(left) = self.tombstone(tenant, pipeline).await? else { return Ok(false) };
        let again = Time(now.0 + resend_delay(left.resends + 1));
        let sets = "SET resends = :resends, GSI1PK = :pk, GSI1SK = :sk";
        let condition = "attribute_exists(PK) AND (attribute_not_exists(resends) OR resends = :before)";
        let values = [(":resends", n(left.resends + 1)), (":before", n(left.resends))];
        if self.move_purge((tenant, pipeline), again, (sets, condition), &values).await? {
            return Ok(true);
        }
        // The request is sent again where its answer is lost, and then meets what it has done itself.
        Ok(self.tombstone(tenant, pipeline).await?.is_some_and(|now| now.resends == left.resends + 1))
    }

    /// Notes that a worker purges a deleted pipeline, so that the tick does not send it again before that worker should long
    /// be done or dead. False where nothing is left of it.
    ///
    /// # Errors
    /// Where the table does not answer.
    pub async fn take_purge(&self, tenant: &str, pipeline: &str, now: Time) -> Result<bool> {
        let writes = ("SET GSI1PK = :pk, GSI1SK = :sk", "attribute_exists(PK)");
        self.move_purge((tenant, pipeline), Time(now.0 + PURGE_HELD), writes, &[]).await
    }

    async fn move_purge(
        &self,
        (tenant, pipeline): (&str, &str),
        at: Time,
        (sets, condition): (&str, &str),
        values: &[(&str, AttributeValue)],
    ) -> Result<bool> {
        let due = self.overdue(tenant, pipeline, pipeline, at);
        let mut update = self
            .client()
            .update_item()
            .table_name(self.table())
            .set_key(Some(key_item(&keys::tombstone(tenant, pipeline))))
            .update_expression(sets)
            .condition_expression(condition)
            .expression_attribute_values(":pk", attribute(&due, "GSI1PK"))
            .expression_attribute_values(":sk", attribute(&due, "GSI1SK"));
        for (name, value) in values {
            update = update.expression_attribute_values(*name, value.clone());
        }
        match update.send().await {
            Ok(_) => Ok(true),
            Err(error) if refused(&error) => Ok(false),
            Err(error) => Err(away(error)),
        }
    }

    /// Removes what lies below a deleted pipeline, but for runs that are not final, and for those of which `discard` cannot
    /// remove what they have left at their targets; as long as there are any, the versions stay, which say where that is. It
    /// goes on until it is `until`; however short that is, something is removed.
    ///
    /// # Errors
    /// Where the table does not answer; what is left is removed by the next purge.
    pub async fn purge(&self, tenant: &str, pipeline: &str, until: Instant, discard: &Discard<'_>) -> Result<Purged> {
        let partition = keys::under_pipeline(tenant, pipeline);
        let mut waiting = 0;
        let mut after: Option<String> = None;
        loop {
            let query = Query { after: after.as_deref(), ..Query::new(&partition, "", PURGE_PAGE) };
            let page = self.query(query).await?;
            let mut gone = Vec::new();
            for item in page.items {
                let Some(sk) = item.get("SK").and_then(|v| v.as_s().ok()).cloned() else { continue };
                if sk == keys::tombstone(tenant, pipeline).sk || sk.starts_with(keys::LIVE) {
                    continue;
                }
                if sk.starts_with(keys::RUNS) {
                    let run: Run = super::read(item)?;
                    if !run.status.is_final() {
                        waiting += 1;
                        continue;
                    }
                    if run.may_have_left() && !discard(run.clone()).await {
                        waiting += 1;
                        continue;
                    }
                    if !self.purge_errors(tenant, &run.id, until).await? {
                        self.remove_all(gone).await?;
                        return Ok(Purged::InPart);
                    }
                }
                // The versions come after all runs.
                if sk.starts_with(keys::VERSIONS) && waiting > 0 {
                    continue;
                }
                gone.push(Key { pk: partition.clone(), sk });
            }
            let removed = !gone.is_empty();
            self.remove_all(gone).await?;
            match page.next {
                None => break,
                Some(_) if removed && Instant::now() >= until => return Ok(Purged::InPart),
                next => after = next,
            }
        }
        if waiting > 0 {
            return Ok(Purged::Waiting(waiting));
        }
        self.remove_all(vec![keys::tombstone(tenant, pipeline)]).await?;
        Ok(Purged::Done)
    }

    /// Removes what lies below a run that is gone or going, since its pipeline was deleted: an attempt that does not hold the
    /// run any more may have kept something after the purge was there. Nothing is removed of a pipeline that is there.
    ///
    /// # Errors
    /// Where the table does not answer.
    pub async fn remove_late(&self, run: &Run) -> Result<()> {
        // In this order: whoever deletes it after the first look purges all that was kept before.
        if !self.is_deleted(&run.tenant_id, &run.pipeline_id).await?
            && self.find_run(&run.tenant_id, &run.pipeline_id, &run.id).await?.is_some()
        {
            return Ok(());
        }
        while !self.purge_errors(&run.tenant_id, &run.id, Instant::now()).await? {}
        Ok(())
    }

    /// Removes what lies below a run. False where it became too late for all of it.
    async fn purge_errors(&self, tenant: &str, run: &str, until: Instant) -> Result<bool> {
        let partition = keys::under_run(tenant, run);
        loop {
            let page = self.query(Query::new(&partition, "", 25)).await?;
            if page.items.is_empty() {
                return Ok(true);
            }
            let sks = page.items.iter().filter_map(|i| i.get("SK")?.as_s().ok().cloned());
            self.remove_all(sks.map(|sk| Key { pk: partition.clone(), sk }).collect()).await?;
            if Instant::now() >= until {
                return Ok(false);
            }
        }
    }

    async fn remove_all(&self, keys: Vec<Key>) -> Result<()> {
        for chunk in keys.chunks(25) {
            let mut writes = Vec::with_capacity(chunk.len());
            for key in chunk {
                let delete = DeleteRequest::builder().set_key(Some(key_item(key))).build().map_err(Error::internal)?;
                writes.push(WriteRequest::builder().delete_request(delete).build());
            }
            for attempt in 0.. {
                super::pause(attempt).await;
                let answer =
                    self.client().batch_write_item().request_items(self.table(), writes).send().await.map_err(away)?;
                writes = answer.unprocessed_items.unwrap_or_default().remove(self.table()).unwrap_or_default();
                if writes.is_empty() {
                    break;
                }
                if attempt >= super::TRIES {
                    return Err(Error::Throttled);
                }
            }
        }
        Ok(())
    }
}

/// Removes what a final run has left at its targets. False where it could not.
pub type Discard<'a> = dyn Fn(Run) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>> + Send + Sync + 'a;

/// How a purge ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purged {
    /// Nothing is left.
    Done,
    /// So many runs are not final yet, or have left something that could not be removed.
    Waiting(usize),
    /// It was not done in time; there is more.
    InPart,
}
