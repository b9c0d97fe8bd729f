//! The ledger of fires: every due time gets into it in the transaction that moves the next fire past it.

use super::keys;
use super::runs::attribute;
use super::{Item, Store, Transacted, away, key_item, n, read, s};
use crate::error::{Error, Result};
use crate::models::fire::Fire;
use crate::models::pipeline::PipelineState;
use crate::models::run::Run;
use crate::models::time::Time;
use aws_sdk_dynamodb::types::{TransactWriteItem, Update};
use futures::try_join;

/// One move of a pipeline's next fire, with what became of the due times that it passes.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    pub next: Option<Time>,
    /// The oldest first.
    pub entries: &'a [Fire],
    /// The runs that they start.
    pub runs: &'a [Run],
    /// Whether a run of them must be the only live one, so that it meets others that must be.
    pub alone: bool,
}

/// How a fire ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fired {
    /// The entries and the runs are there and the next fire is set.
    Now,
    /// Something came in between: another tick, a change of the pipeline, or a run that had to be alone.
    Before,
}

/// A page of the ledger.
#[derive(Debug)]
pub struct Ledger {
    pub entries: Vec<Fire>,
    /// Whether there are more.
    pub more: bool,
}

/// What is written for a due time, which may be there already.
enum Write {
    Run(TransactWriteItem),
    Live(TransactWriteItem),
    Entry(TransactWriteItem),
}

impl Write {
    fn item(&self) -> TransactWriteItem {
        let (Self::Run(item) | Self::Live(item) | Self::Entry(item)) = self;
        item.clone()
    }
}

impl Store {
    /// Moves a pipeline's next fire from what `state` says, and puts entries and runs where they are not there yet: all or
    /// nothing. A transaction holds 100 writes: one, one an entry, and two a run.
    ///
    /// # Errors
    /// Where the table does not answer.
    pub async fn fire(&self, tenant: &str, pipeline: &str, state: &PipelineState, step: Step<'_>) -> Result<Fired> {
        let pass = self.pass_fires(tenant, pipeline, state, step)?;
        let mut writes = Vec::with_capacity(step.entries.len() + 2 * step.runs.len());
        for entry in step.entries {
            writes.push(Write::Entry(self.put_fire(tenant, pipeline, entry)?));
        }
        for run in step.runs {
            let [run, live] = self.new_run(run)?;
            writes.extend([Write::Run(run), Write::Live(live)]);
        }
        loop {
            let all = std::iter::once(pass.clone()).chain(writes.iter().map(Write::item)).collect();
            match self.transact(all).await? {
                Transacted::Done => return Ok(Fired::Now),
                Transacted::Refused(places) if places.contains(&0) => return Ok(Fired::Before),
                // What is there already was put when a clock was ahead of this one, and stays as it is.
                Transacted::Refused(places) => leave_out(&mut writes, &places),
            }
        }
    }

    /// An entry of the ledger, where it is not there yet.
    pub(super) fn put_fire(&self, tenant: &str, pipeline: &str, entry: &Fire) -> Result<TransactWriteItem> {
        self.put_new(&keys::fire(tenant, pipeline, &entry.at.text()), entry)
    }

    fn pass_fires(
        &self,
        tenant: &str,
        pipeline: &str,
        state: &PipelineState,
        step: Step<'_>,
    ) -> Result<TransactWriteItem> {
        let mut condition = "nextRunAt = :was".to_owned();
        let mut update = self
            .move_fires(tenant, pipeline, state, step, None)
            .expression_attribute_values(":was", s(state.next_run_at.map(Time::text).unwrap_or_default()));
        // A change of the pipeline may leave its next fire where it was, and still say something else about it.
        if let Some(version) = state.pipeline_version {
            condition += " AND pipelineVersion = :version";
            update = update.expression_attribute_values(":version", n(version));
        } else {
            condition += " AND attribute_not_exists(pipelineVersion)";
        }
        if step.alone {
            condition += " AND (attribute_not_exists(turn) OR turn = :turn)";
            update = update.expression_attribute_values(":turn", n(state.turn));
        }
        let update = update.condition_expression(condition);
        Ok(TransactWriteItem::builder().update(update.build().map_err(Error::internal)?).build())
    }

    /// The update of a pipeline's state that sets its next fire, and by which version it is set where that changes,
    /// without a condition.
    pub(super) fn move_fires(
        &self,
        tenant: &str,
        pipeline: &str,
        state: &PipelineState,
        step: Step<'_>,
        version: Option<u32>,
    ) -> aws_sdk_dynamodb::types::builders::UpdateBuilder {
        let mut update = Update::builder().table_name(self.table());
        update = update.set_key(Some(key_item(&keys::state(tenant, pipeline))));
        let mut sets = Vec::new();
        if let Some(next) = step.next {
            let due = self.due(tenant, pipeline, next);
            sets.extend(["nextRunAt = :next", "GSI1PK = :pk", "GSI1SK = :sk"]);
            update = update
                .expression_attribute_values(":next", s(next.text()))
                .expression_attribute_values(":pk", attribute(&due, "GSI1PK"))
                .expression_attribute_values(":sk", attribute(&due, "GSI1SK"));
        }
        if let Some(last) = step.entries.last() {
            sets.push("firesUntil = :until");
            update = update.expression_attribute_values(":until", s(last.last().text()));
        }
        if step.alone {
            sets.push("turn = :turned");
            update = update.expression_attribute_values(":turned", n(state.turn + 1));
        }
        if let Some(version) = version {
            sets.push("pipelineVersion = :new");
            update = update.expression_attribute_values(":new", n(version));
        }
        let mut expression = if sets.is_empty() { String::new() } else { format!("SET {} ", sets.join(", ")) };
        if step.next.is_none() {
            expression += "REMOVE nextRunAt, GSI1PK, GSI1SK";
        }
        update.update_expression(expression.trim_end())
    }

    /// The entries of the ledger for due times after `after` and not after `until`, the oldest first, `limit` at most. One
    /// that stands for several is among them where its last due time is after `after`.
    ///
    /// # Errors
    /// Where the table does not answer.
    pub async fn fires(
        &self,
        (tenant, pipeline): (&str, &str),
        (after, until): (Time, Time),
        limit: usize,
    ) -> Result<Ledger> {
        let (reaching, (mut rest, mut more)) = try_join!(
            self.reaching((tenant, pipeline), after),
            self.entries((tenant, pipeline), (after, until), limit + 1)
        )?;
        rest.splice(0..0, reaching);
        more |= rest.len() > limit;
        rest.truncate(limit);
        Ok(Ledger { entries: rest, more })
    }

    /// How many these are, counted to 10,000 at most; the flag says that there may be more.
    ///
    /// # Errors
    /// Where the table does not answer.
    pub async fn count_fires(
        &self,
        (tenant, pipeline): (&str, &str),
        (after, until): (Time, Time),
    ) -> Result<(u64, bool)> {
        let Some([from, to]) = bounds((tenant, pipeline), (after, until)) else { return Ok((0, false)) };
        let partition = keys::under_pipeline(tenant, pipeline);
        let (reaching, (count, at_least)) =
            try_join!(self.reaching((tenant, pipeline), after), self.count_between(&partition, (&from, &to), None))?;
        Ok((count + u64::from(reaching.is_some()), at_least))
    }

    /// The entry that begins at or before `after` and ends after it.
    async fn reaching(&self, (tenant, pipeline): (&str, &str), after: Time) -> Result<Option<Fire>> {
        let key = |time: &str| keys::fire(tenant, pipeline, time).sk;
        let answer = self
            .client()
            .query()
            .table_name(self.table())
            .key_condition_expression("PK = :pk AND SK BETWEEN :from AND :to")
            .expression_attribute_values(":pk", s(keys::under_pipeline(tenant, pipeline)))
            .expression_attribute_values(":from", s(key("")))
            .expression_attribute_values(":to", s(key(&after.text())))
            .scan_index_forward(false)
            .consistent_read(true)
            .limit(1)
            .send()
            .await
            .map_err(away)?;
        let entry: Option<Fire> = answer.items.unwrap_or_default().into_iter().next().map(read).transpose()?;
        Ok(entry.filter(|entry| entry.last() > after))
    }

    async fn entries(&self, place: (&str, &str), span: (Time, Time), limit: usize) -> Result<(Vec<Fire>, bool)> {
        let Some([from, to]) = bounds(place, span) else { return Ok((Vec::new(), false)) };
        let answer = self
            .client()
            .query()
            .table_name(self.table())
            .key_condition_expression("PK = :pk AND SK BETWEEN :from AND :to")
            .expression_attribute_values(":pk", s(keys::under_pipeline(place.0, place.1)))
            .expression_attribute_values(":from", s(from))
            .expression_attribute_values(":to", s(to))
            .consistent_read(true)
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .send()
            .await
            .map_err(away)?;
        let items: Vec<Item> = answer.items.unwrap_or_default();
        let more = answer.last_evaluated_key.is_some() && items.len() < limit;
        Ok((items.into_iter().map(read).collect::<Result<_>>()?, more))
    }
}

/// The sort keys of the first and the last entry that may begin after `after` and not after `until`; none where there is
/// no time between them.
fn bounds((tenant, pipeline): (&str, &str), (after, until): (Time, Time)) -> Option<[String; 2]> {
    let first = Time(after.0 + chrono::Duration::milliseconds(1));
    (first <= until).then(|| [first, until].map(|at| keys::fire(tenant, pipeline, &at.text()).sk))
}

/// Takes out the writes at these places (the first one has place 1), a run's mark with its run.
fn leave_out(writes: &mut Vec<Write>, places: &[usize]) {
    let mut with_run = false;
    let mut place = 0;
    writes.retain(|write| {
        place += 1;
        let refused = places.contains(&place);
        match write {
            Write::Run(_) => with_run = refused,
            Write::Live(_) => return !with_run,
            Write::Entry(_) => {}
        }
        !refused
    });
}
