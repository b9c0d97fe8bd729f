//! What pipelines, connectors and schemas have in common: lists, unique names, and who uses what.

use super::keys::{self, Key, Kind};
use super::{Page, Query, Store, item, key_item};
use crate::error::{Error, Result};
use crate::models::run::RunStatus;
use aws_sdk_dynamodb::types::{Delete, Put, TransactWriteItem, Update};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A page of a list: where it begins, how long it may be, and whether all are to be counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Slice {
    /// The most items.
    pub limit: usize,
    /// The sort key after which it begins.
    pub after: Option<String>,
    /// Whether to count all items, to 10,000 at most.
    pub total: bool,
}

/// A page with the count of all, where it was asked for; the flag says that there may be more than counted.
#[derive(Debug)]
pub struct Listed<T> {
    pub items: Vec<T>,
    pub next: Option<String>,
    pub total: Option<(u64, bool)>,
}

impl Store {
    /// A tenant's resources of a kind, newest first.
    ///
    /// # Errors
    /// Where the table does not answer.
    pub async fn list<T: DeserializeOwned>(&self, tenant: &str, kind: Kind, slice: &Slice) -> Result<Listed<T>> {
        self.newest(&keys::resources(tenant, kind), "", None, slice).await
    }

    pub(super) async fn newest<T: DeserializeOwned>(
        &self,
        partition: &str,
        prefix: &str,
        status: Option<RunStatus>,
        slice: &Slice,
    ) -> Result<Listed<T>> {
        let status = status.map(RunStatus::name);
        let query = Query {
            after: slice.after.as_deref(),
            backwards: true,
            status,
            ..Query::new(partition, prefix, slice.limit)
        };
        let (page, total): (Page<T>, _) = futures::try_join!(self.page(query), async {
            if slice.total { self.count(partition, prefix, status).await.map(Some) } else { Ok(None) }
        })?;
        Ok(Listed { items: page.items, next: page.next, total })
    }

    /// One resource.
    ///
    /// # Errors
    /// 404 where it is not there.
    pub async fn resource<T: DeserializeOwned>(&self, tenant: &str, kind: Kind, id: &str) -> Result<T> {
        if id.is_empty() || id.len() > 100 || id.contains('#') {
            return Err(Error::not_found(kind.name(), id));
        }
        self.get(&keys::resource(tenant, kind, id)).await?.ok_or_else(|| Error::not_found(kind.name(), id))
    }

    /// The pipelines that use a connector or a schema, 10 at most.
    ///
    /// # Errors
    /// Where the table does not answer.
    pub async fn users(&self, tenant: &str, used: &str) -> Result<Vec<String>> {
        let page = self.query(Query::new(&keys::users(tenant, used), "", 10)).await?;
        Ok(page.items.iter().filter_map(|i| i.get("SK")?.as_s().ok().cloned()).collect())
    }

    pub(super) fn put_new(&self, key: &Key, value: &impl Serialize) -> Result<TransactWriteItem> {
        self.put_if(key, value, "attribute_not_exists(PK)")
    }

    pub(super) fn put_if(&self, key: &Key, value: &impl Serialize, condition: &str) -> Result<TransactWriteItem> {
        let put = Put::builder()
            .table_name(self.table())
            .set_item(Some(item(key, value)?))
            .condition_expression(condition)
            .build()
            .map_err(Error::internal)?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    pub(super) fn put_mark(&self, key: &Key) -> Result<TransactWriteItem> {
        let put =
            Put::builder().table_name(self.table()).set_item(Some(key_item(key))).build().map_err(Error::internal)?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    pub(super) fn remove(&self, key: &Key) -> Result<TransactWriteItem> {
        let delete =
            Delete::builder().table_name(self.table()).set_key(Some(key_item(key))).build().map_err(Error::internal)?;
        Ok(TransactWriteItem::builder().delete(delete).build())
    }

    /// Counts a pipeline to the users of a connector or schema (which must be there), or off them.
    pub(super) fn count_user(&self, key: &Key, by: i8) -> Result<TransactWriteItem> {
        let update = Update::builder()
            .table_name(self.table())
            .set_key(Some(key_item(key)))
            .update_expression("ADD #users :by")
            .condition_expression("attribute_exists(PK)")
            .expression_attribute_names("#users", "users")
            .expression_attribute_values(":by", super::n(by))
            .build()
            .map_err(Error::internal)?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    /// Replaces a named resource whose stored version is `version - 1`, all but the attributes that are `kept`, and moves its
    /// name where that changed.
    pub(super) fn replace_named(
        &self,
        tenant: &str,
        kind: Kind,
        (id, version): (&str, u32),
        names: (&str, &str),
        value: &impl Serialize,
        kept: &[&str],
    ) -> Result<Vec<TransactWriteItem>> {
        let key = keys::resource(tenant, kind, id);
        let mut attributes = item(&key, value)?;
        // `users` is counted by others.
        for name in ["PK", "SK", "users"].iter().chain(kept) {
            attributes.remove(*name);
        }
        let gone = OPTIONAL.iter().copied().filter(|name| !attributes.contains_key(*name) && !kept.contains(name));
        let gone: Vec<&str> = gone.collect();
        let mut update = Update::builder().table_name(self.table()).set_key(Some(key_item(&key)));
        let mut sets = Vec::new();
        for (i, (name, value)) in attributes.into_iter().enumerate() {
            sets.push(format!("#a{i} = :a{i}"));
            update = update
                .expression_attribute_names(format!("#a{i}"), name)
                .expression_attribute_values(format!(":a{i}"), value);
        }
        let mut expression = format!("SET {}", sets.join(", "));
        if !gone.is_empty() {
            let names: Vec<String> = (0..gone.len()).map(|i| format!("#g{i}")).collect();
            expression = format!("{expression} REMOVE {}", names.join(", "));
            for (i, name) in gone.into_iter().enumerate() {
                update = update.expression_attribute_names(format!("#g{i}"), name);
            }
        }
        let update = update
            .update_expression(expression)
            .condition_expression("#stored = :before")
            .expression_attribute_names("#stored", "version")
            .expression_attribute_values(":before", super::n(version.saturating_sub(1)))
            .build()
            .map_err(Error::internal)?;
        let mut writes = vec![TransactWriteItem::builder().update(update).build()];
        let (old, new) = names;
        if old != new {
            writes.push(self.put_new(&keys::name(tenant, kind, new), &serde_json::json!({"id": id}))?);
            writes.push(self.remove(&keys::name(tenant, kind, old))?);
        }
        Ok(writes)
    }

    /// Removes a named resource that no pipeline uses and whose stored version is `version`. False where it is not so any
    /// more.
    pub(super) async fn delete_named(
        &self,
        tenant: &str,
        kind: Kind,
        (id, version): (&str, u32),
        name: &str,
    ) -> Result<bool> {
        let delete = Delete::builder()
            .table_name(self.table())
            .set_key(Some(key_item(&keys::resource(tenant, kind, id))))
            .condition_expression("#version = :version AND (attribute_not_exists(#users) OR #users <= :none)")
            .expression_attribute_names("#version", "version")
            .expression_attribute_names("#users", "users")
            .expression_attribute_values(":version", super::n(version))
            .expression_attribute_values(":none", super::n(0))
            .build()
            .map_err(Error::internal)?;
        let writes =
            vec![TransactWriteItem::builder().delete(delete).build(), self.remove(&keys::name(tenant, kind, name))?];
        Ok(matches!(self.transact(writes).await?, super::Transacted::Done))
    }

    /// Fails where a pipeline uses a named resource, which counts `users` of them.
    ///
    /// # Errors
    /// 409 `IN_USE`.
    pub async fn check_unused(&self, tenant: &str, kind: Kind, (id, name): (&str, &str), users: u32) -> Result<()> {
        if users == 0 {
            return Ok(());
        }
        let users = self.users(tenant, id).await?.join(", ");
        let kind = kind.name();
        let detail = format!("the {kind} {name:?} is used by {users}: delete or change these pipelines first");
        Err(Error::conflict("IN_USE", detail))
    }

    /// Fails where something else than `id` has the name.
    ///
    /// # Errors
    /// 409 `NAME_TAKEN`.
    pub async fn check_name(&self, tenant: &str, kind: Kind, id: &str, name: &str) -> Result<()> {
        match self.get::<Owner>(&keys::name(tenant, kind, name)).await? {
            Some(owner) if owner.id != id => Err(name_taken(kind, name)),
            _ => Ok(()),
        }
    }
}

/// Whose a name is.
#[derive(Deserialize)]
struct Owner {
    id: String,
}

/// How often a change is tried on what is stored by then, where somebody else is faster.
pub const CHANGES: u32 = 5;

/// The error of a change for which somebody else was always faster.
pub fn changing(kind: Kind) -> Error {
    let detail = format!("the {} is being changed by others right now; try again", kind.name());
    Error::conflict("BUSY", detail)
}

/// Attributes that an update may have to remove.
const OPTIONAL: &[&str] = &["description", "displayName", "secret", "lastTestedAt", "lastError"];

pub(super) fn name_taken(kind: Kind, name: &str) -> Error {
    Error::conflict("NAME_TAKEN", format!("another {} has the name {name:?} already", kind.name()))
}
