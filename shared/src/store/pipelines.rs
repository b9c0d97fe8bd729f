//! Pipelines in the table: the current one, its immutable versions, its state, and what it uses.

use super::fires::Step;
use super::idempotency::{Created, Idempotency, exists};
use super::keys::{self, Kind};
use super::resources::{Listed, Slice, changing};
use super::{Item, Store, TRIES, Transacted, item, key_item, n, read, s};
use crate::error::{Error, Result};
use crate::fires::{self, Decision};
use crate::models::connector::{Connector, ConnectorType};
use crate::models::pipeline::{ConnectorRef, Pipeline, PipelineState, PipelineView, SchemaRef, Used};
use crate::models::time::Time;
use aws_sdk_dynamodb::types::{Delete, Put, TransactWriteItem, Update};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// The most writes of a transaction.
const MAX_WRITES: usize = 100;
/// The writes that move the next fire: the state, and what was missed.
const FIRE_WRITES: usize = 2;

/// A pipeline with its state.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    pub pipeline: Pipeline,
    pub state: PipelineState,
}

/// What an update writes but the next fire.
struct Replacement {
    writes: Vec<TransactWriteItem>,
    /// Whether it notes what is to be left afterwards.
    leaves_rest: bool,
}

#[derive(Deserialize)]
struct ConnectorHead {
    id: String,
    name: String,
    r#type: ConnectorType,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SchemaHead {
    id: String,
    name: String,
    display_name: Option<String>,
}

/// What a version of a pipeline gave up and still has to leave.
#[derive(Debug, Serialize, Deserialize)]
struct Rest {
    version: u32,
    connectors: Vec<String>,
    schemas: Vec<String>,
}

impl Rest {
    fn of(version: u32, given_up: &[(Kind, &str)]) -> Self {
        let of = |wanted: Kind| -> Vec<String> {
            given_up.iter().filter(|(kind, _)| *kind == wanted).map(|(_, id)| (*id).to_owned()).collect()
        };
        Self { version, connectors: of(Kind::Connector), schemas: of(Kind::Schema) }
    }

    fn given_up(&self) -> impl Iterator<Item = (Kind, &str)> {
        let connectors = self.connectors.iter().map(|id| (Kind::Connector, id.as_str()));
        connectors.chain(self.schemas.iter().map(|id| (Kind::Schema, id.as_str())))
    }
}

impl Store {
    /// Keeps a new pipeline with its first version and its state.
    ///
    /// # Errors
    /// 400 where a connector or the schema went away in the meantime, 413 where it is too large.
    pub async fn create_pipeline(&self, new: &Pipeline, idempotency: Option<&Idempotency>) -> Result<Created> {
        let tenant = &new.tenant_id;
        let mut writes = vec![
            self.put_new(&keys::resource(tenant, Kind::Pipeline, &new.id), new)?,
            self.put_new(&keys::version(tenant, &new.id, new.version), new)?,
            self.put_state(new)?,
        ];
        writes.extend(self.idempotency_of(idempotency, (&new.id, new.version), new.created_at)?);
        for used in used(new) {
            writes.extend(self.use_it(new, used)?);
        }
        match self.transact(writes).await? {
            Transacted::Done => Ok(Created::Now),
            Transacted::Refused(_) => match self.refused_before(idempotency).await? {
                Some(before) => Ok(before),
                None => Err(gone()),
            },
        }
    }

    /// Replaces a pipeline; `new` has the next version of `old`. Where it changes when the pipeline fires, the next fire
    /// moves at once, and due times that it passes are noted as missed. False where it was changed in the meantime.
    ///
    /// # Errors
    /// 400 where something that it uses went away.
    pub async fn update_pipeline(&self, old: &Pipeline, new: &Pipeline) -> Result<bool> {
        self.leave_rest(&new.tenant_id, &new.id).await?;
        // A tick that fires in between changes the state.
        for _ in 0..TRIES {
            let state = self.pipeline_state(&new.tenant_id, &new.id).await?;
            let change = fires::change(old, new, &state);
            let Replacement { mut writes, leaves_rest } = self.replacement(old, new)?;
            let moved = writes.len();
            match &change {
                None => writes.push(self.keep_version(new)?),
                Some(change) => {
                    writes.push(self.change_fires(new, &state, change)?);
                    for entry in &change.entries {
                        writes.push(self.put_fire(&new.tenant_id, &new.id, entry)?);
                    }
                }
            }
            match self.transact(writes).await? {
                Transacted::Done if leaves_rest => {
                    if let Err(error) = self.leave_rest(&new.tenant_id, &new.id).await {
                        tracing::warn!(pipeline = new.id, %error, "what it gave up is in use until its next change");
                    }
                    return Ok(true);
                }
                Transacted::Done => return Ok(true),
                Transacted::Refused(places) if places.iter().any(|p| *p < 2) => return Ok(false),
                Transacted::Refused(places) if places.iter().all(|p| *p >= moved) => {}
                Transacted::Refused(_) => return Err(gone()),
            }
        }
        Err(changing(Kind::Pipeline))
    }

    /// All that an update writes but the next fire; the pipeline and its version come first. What it gives up is left in
    /// the same transaction where there is room, and else noted in it, to be left by the next one.
    fn replacement(&self, old: &Pipeline, new: &Pipeline) -> Result<Replacement> {
        let tenant = &new.tenant_id;
        let put = Put::builder()
            .table_name(self.table())
            .set_item(Some(item(&keys::resource(tenant, Kind::Pipeline, &new.id), new)?))
            .condition_expression("#version = :before")
            .expression_attribute_names("#version", "version")
            .expression_attribute_values(":before", n(old.version))
            .build()
            .map_err(Error::internal)?;
        let mut writes = vec![
            TransactWriteItem::builder().put(put).build(),
            self.put_new(&keys::version(tenant, &new.id, new.version), new)?,
        ];
        let (before, after) = (used(old), used(new));
        for &one in after.iter().filter(|u| !before.contains(u)) {
            writes.extend(self.use_it(new, one)?);
        }
        let given_up: Vec<_> = before.into_iter().filter(|u| !after.contains(u)).collect();
        let leaves_rest = writes.len() + 2 * given_up.len() + FIRE_WRITES > MAX_WRITES;
        if leaves_rest {
            let rest = item(&keys::rest(tenant, &new.id), &Rest::of(new.version, &given_up))?;
            let put = Put::builder().table_name(self.table()).set_item(Some(rest)).build().map_err(Error::internal)?;
            writes.push(TransactWriteItem::builder().put(put).build());
        } else {
            for one in given_up {
                writes.extend(self.leave_it(tenant, &new.id, one)?);
            }
        }
        Ok(Replacement { writes, leaves_rest })
    }

    /// Leaves what a change of the pipeline gave up and had no room to leave, where there is such a thing. Until then the
    /// pipeline counts as a user of it; every change does this first, so that no more than one is ever waiting.
    async fn leave_rest(&self, tenant: &str, pipeline: &str) -> Result<()> {
        let key = keys::rest(tenant, pipeline);
        let Some(rest) = self.get::<Rest>(&key).await? else { return Ok(()) };
        let delete = Delete::builder()
            .table_name(self.table())
            .set_key(Some(key_item(&key)))
            .condition_expression("#version = :version")
            .expression_attribute_names("#version", "version")
            .expression_attribute_values(":version", n(rest.version))
            .build()
            .map_err(Error::internal)?;
        let mut writes = vec![TransactWriteItem::builder().delete(delete).build()];
        for one in rest.given_up() {
            writes.extend(self.leave_it(tenant, pipeline, one)?);
        }
        // Where it is refused somebody else has done it in this moment.
        self.transact(writes).await.map(|_| ())
    }

    /// Removes a pipeline from every list and schedule at once; what lies below it stays until it is purged, which
    /// the tick sees to from `purge_at` on. False where it was changed in the meantime.
    ///
    /// # Errors
    /// Where the table does not answer.
    pub async fn delete_pipeline(&self, old: &Pipeline, purge_at: Time) -> Result<bool> {
        let tenant = &old.tenant_id;
        self.leave_rest(tenant, &old.id).await?;
        let delete = Delete::builder()
            .table_name(self.table())
            .set_key(Some(key_item(&keys::resource(tenant, Kind::Pipeline, &old.id))))
            .condition_expression("#version = :version")
            .expression_attribute_names("#version", "version")
            .expression_attribute_values(":version", n(old.version))
            .build()
            .map_err(Error::internal)?;
        let mut tombstone = key_item(&keys::tombstone(tenant, &old.id));
        tombstone.extend(self.overdue(tenant, &old.id, &old.id, purge_at));
        let put = Put::builder().table_name(self.table()).set_item(Some(tombstone)).build().map_err(Error::internal)?;
        let mut writes = vec![
            TransactWriteItem::builder().delete(delete).build(),
            self.remove(&keys::state(tenant, &old.id))?,
            TransactWriteItem::builder().put(put).build(),
        ];
        for used in used(old) {
            writes.extend(self.leave_it(tenant, &old.id, used)?);
        }
        Ok(matches!(self.transact(writes).await?, Transacted::Done))
    }

    /// A pipeline.
    ///
    /// # Errors
    /// 404 where it is not there.
    pub async fn pipeline(&self, tenant: &str, id: &str) -> Result<Pipeline> {
        self.resource(tenant, Kind::Pipeline, id).await
    }

    /// A pipeline's state; what a new one has where there is none.
    ///
    /// # Errors
    /// Where the table does not answer.
    pub async fn pipeline_state(&self, tenant: &str, id: &str) -> Result<PipelineState> {
        Ok(self.get(&keys::state(tenant, id)).await?.unwrap_or_default())
    }

    /// An immutable version of a pipeline.
    ///
    /// # Errors
    /// Where the table does not answer.
    pub async fn pipeline_version(&self, tenant: &str, id: &str, version: u32) -> Result<Option<Pipeline>> {
        self.get(&keys::version(tenant, id, version)).await
    }

    /// A pipeline's versions, newest first.
    ///
    /// # Errors
    /// Where the table does not answer.
    pub async fn pipeline_versions(&self, tenant: &str, id: &str, slice: &Slice) -> Result<Listed<Pipeline>> {
        self.newest(&keys::under_pipeline(tenant, id), keys::VERSIONS, None, slice).await
    }

    /// What callers see of pipelines of one tenant: their states, connectors and schemas are read in one go.
    ///
    /// # Errors
    /// Where the table does not answer.
    pub async fn pipeline_views(&self, tenant: &str, pipelines: Vec<Pipeline>) -> Result<Vec<PipelineView>> {
        let mut wanted = Vec::new();
        for p in &pipelines {
            wanted.push(keys::state(tenant, &p.id));
            wanted.push(keys::resource(tenant, Kind::Connector, &p.connector_id));
            wanted.push(keys::resource(tenant, Kind::Schema, &p.schema_id));
        }
        let found = self.get_many(wanted).await?;
        pipelines.into_iter().map(|p| view(tenant, p, &found)).collect()
    }

    /// What callers see of the connector and the schema that a pipeline names.
    ///
    /// # Errors
    /// Where the table does not answer.
    pub async fn shown(&self, pipeline: &Pipeline) -> Result<Used> {
        let (tenant, connector, schema) = (&pipeline.tenant_id, &pipeline.connector_id, &pipeline.schema_id);
        let wanted = [(Kind::Connector, connector), (Kind::Schema, schema)];
        let found = self.get_many(wanted.map(|(kind, id)| keys::resource(tenant, kind, id)).to_vec()).await?;
        shown(tenant, connector, schema, &found)
    }

    /// What callers see of old versions: they have no next fire and no last run of their own.
    ///
    /// # Errors
    /// Where the table does not answer.
    pub async fn version_views(&self, tenant: &str, versions: Vec<Pipeline>) -> Result<Vec<PipelineView>> {
        let mut views = self.pipeline_views(tenant, versions).await?;
        for view in &mut views {
            (view.next_run_at, view.last_run_at, view.last_run_status) = (None, None, None);
        }
        Ok(views)
    }

    /// What callers see of one pipeline.
    ///
    /// # Errors
    /// Where the table does not answer.
    pub async fn pipeline_view(&self, pipeline: Pipeline) -> Result<PipelineView> {
        let tenant = pipeline.tenant_id.clone();
        let views = self.pipeline_views(&tenant, vec![pipeline]).await?;
        views.into_iter().next().ok_or_else(|| Error::internal("a pipeline has no view"))
    }

    /// Connectors by their ids; those that are not there are missing.
    ///
    /// # Errors
    /// Where the table does not answer.
    pub async fn connectors(&self, tenant: &str, ids: &[&str]) -> Result<HashMap<String, Connector>> {
        let wanted = ids.iter().map(|id| keys::resource(tenant, Kind::Connector, id)).collect();
        let found = self.get_many(wanted).await?;
        found.into_values().map(|i| read::<Connector>(i).map(|c| (c.id.clone(), c))).collect()
    }

    fn put_state(&self, new: &Pipeline) -> Result<TransactWriteItem> {
        let next = new.next_fire(new.created_at);
        let state =
            PipelineState { next_run_at: next, pipeline_version: Some(new.version), ..PipelineState::default() };
        let mut state = item(&keys::state(&new.tenant_id, &new.id), &state)?;
        if let Some(next) = next {
            state.extend(self.due(&new.tenant_id, &new.id, next));
        }
        let put = Put::builder().table_name(self.table()).set_item(Some(state)).build().map_err(Error::internal)?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    /// A tick that has read an older version of the pipeline writes nothing after this.
    fn keep_version(&self, new: &Pipeline) -> Result<TransactWriteItem> {
        let update = Update::builder()
            .table_name(self.table())
            .set_key(Some(key_item(&keys::state(&new.tenant_id, &new.id))))
            .update_expression("SET pipelineVersion = :version")
            .expression_attribute_values(":version", n(new.version))
            .build()
            .map_err(Error::internal)?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    fn change_fires(&self, new: &Pipeline, state: &PipelineState, change: &Decision) -> Result<TransactWriteItem> {
        let step = Step { next: change.next, entries: &change.entries, runs: &[], alone: false };
        let update = self.move_fires(&new.tenant_id, &new.id, state, step, Some(new.version));
        let update = match state.next_run_at {
            Some(was) => {
                update.condition_expression("nextRunAt = :was").expression_attribute_values(":was", s(was.text()))
            }
            None => update.condition_expression("attribute_exists(PK) AND attribute_not_exists(nextRunAt)"),
        };
        Ok(TransactWriteItem::builder().update(update.build().map_err(Error::internal)?).build())
    }

    /// Where the index has a pipeline that is due at `at`.
    pub(super) fn due(&self, tenant: &str, id: &str, at: Time) -> Item {
        let shard = keys::shard(tenant, id, self.shards());
        HashMap::from([
            ("GSI1PK".to_owned(), s(keys::due_shard(shard))),
            ("GSI1SK".to_owned(), s(keys::due_at(&at.text(), id))),
        ])
    }

    /// Where the index has a run (or what is left of a pipeline) that is to be looked after at `at`.
    pub(super) fn overdue(&self, tenant: &str, pipeline: &str, id: &str, at: Time) -> Item {
        let shard = keys::shard(tenant, pipeline, self.shards());
        HashMap::from([
            ("GSI1PK".to_owned(), s(keys::overdue_shard(shard))),
            ("GSI1SK".to_owned(), s(keys::due_at(&at.text(), id))),
        ])
    }

    fn use_it(&self, pipeline: &Pipeline, (kind, id): (Kind, &str)) -> Result<[TransactWriteItem; 2]> {
        let tenant = &pipeline.tenant_id;
        Ok([
            self.count_user(&keys::resource(tenant, kind, id), 1)?,
            self.put_mark(&keys::uses(tenant, id, &pipeline.id))?,
        ])
    }

    fn leave_it(&self, tenant: &str, pipeline: &str, (kind, id): (Kind, &str)) -> Result<[TransactWriteItem; 2]> {
        Ok([self.count_user(&keys::resource(tenant, kind, id), -1)?, self.remove(&keys::uses(tenant, id, pipeline))?])
    }

    /// The condition that a pipeline is there, for transactions.
    pub(super) fn pipeline_exists(&self, tenant: &str, id: &str) -> Result<TransactWriteItem> {
        exists(self, &keys::resource(tenant, Kind::Pipeline, id))
    }
}

fn used(pipeline: &Pipeline) -> Vec<(Kind, &str)> {
    let connectors = pipeline.connectors().into_iter().map(|id| (Kind::Connector, id));
    connectors.chain(pipeline.schemas().into_iter().map(|id| (Kind::Schema, id))).collect()
}

fn gone() -> Error {
    Error::fault("", "not_found", "a connector or the schema that the pipeline uses was deleted in this moment")
}

fn view(tenant: &str, p: Pipeline, found: &HashMap<keys::Key, Item>) -> Result<PipelineView> {
    let state: PipelineState =
        found.get(&keys::state(tenant, &p.id)).cloned().map(read).transpose()?.unwrap_or_default();
    let used = shown(tenant, &p.connector_id, &p.schema_id, found)?;
    Ok(p.view(state, used))
}

fn shown(tenant: &str, connector: &str, schema: &str, found: &HashMap<keys::Key, Item>) -> Result<Used> {
    let connector = found.get(&keys::resource(tenant, Kind::Connector, connector)).cloned();
    let schema = found.get(&keys::resource(tenant, Kind::Schema, schema)).cloned();
    Ok(Used {
        connector: connector
            .map(|i| read::<ConnectorHead>(i).map(|c| ConnectorRef { id: c.id, name: c.name, r#type: c.r#type }))
            .transpose()?,
        schema: schema
            .map(|i| read::<SchemaHead>(i).map(|c| SchemaRef { id: c.id, name: c.name, display_name: c.display_name }))
            .transpose()?,
    })
}
