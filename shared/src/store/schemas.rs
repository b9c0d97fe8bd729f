//! Schemas in the table.

use super::idempotency::{Created, Idempotency};
use super::keys::{self, Kind};
use super::resources::name_taken;
use super::{Query, Store, Transacted, read};
use crate::error::Result;
use crate::models::schema::Schema;
use std::collections::HashMap;

/// The most names among which a near one is looked for.
const NAMES: usize = 500;

impl Store {
    /// Keeps a new schema.
    ///
    /// # Errors
    /// 409 where its name is taken, 422 for an idempotency key with another body.
    pub async fn create_schema(&self, new: &Schema, idempotency: Option<&Idempotency>) -> Result<Created> {
        let mut writes = vec![
            self.put_new(&keys::resource(&new.tenant_id, Kind::Schema, &new.id), new)?,
            self.put_new(&keys::name(&new.tenant_id, Kind::Schema, &new.name), &serde_json::json!({"id": new.id}))?,
        ];
        writes.extend(self.idempotency_of(idempotency, (&new.id, new.version), new.created_at)?);
        match self.transact(writes).await? {
            Transacted::Done => Ok(Created::Now),
            Transacted::Refused(_) => match self.refused_before(idempotency).await? {
                Some(before) => Ok(before),
                None => Err(name_taken(Kind::Schema, &new.name)),
            },
        }
    }

    /// Replaces a schema; `new` has the next version of `old`. False where it was changed in the meantime.
    ///
    /// # Errors
    /// 409 where its name is taken.
    pub async fn update_schema(&self, old: &Schema, new: &Schema) -> Result<bool> {
        let id = (new.id.as_str(), new.version);
        let writes = self.replace_named(&new.tenant_id, Kind::Schema, id, (&old.name, &new.name), new, &[])?;
        match self.transact(writes).await? {
            Transacted::Done => Ok(true),
            Transacted::Refused(places) if places.contains(&0) => Ok(false),
            Transacted::Refused(_) => Err(name_taken(Kind::Schema, &new.name)),
        }
    }

    /// Removes a schema that no pipeline uses. False where one does by now, or it was changed in the meantime.
    ///
    /// # Errors
    /// Where the table does not answer.
    pub async fn delete_schema(&self, old: &Schema) -> Result<bool> {
        self.delete_named(&old.tenant_id, Kind::Schema, (&old.id, old.version), &old.name).await
    }

    /// The ids of schemas by their names; names that nobody has are missing.
    ///
    /// # Errors
    /// Where the table does not answer.
    pub async fn schema_ids(&self, tenant: &str, names: &[&str]) -> Result<HashMap<String, String>> {
        let usable = names.iter().filter(|name| !name.is_empty() && name.len() <= 100);
        let wanted = usable.map(|name| keys::name(tenant, Kind::Schema, name)).collect();
        let found = self.get_many(wanted).await?;
        let id = |item: &super::Item| item.get("id").and_then(|id| id.as_s().ok().cloned());
        Ok(found.into_iter().filter_map(|(key, item)| Some((key.sk, id(&item)?))).collect())
    }

    /// Schemas by their ids; those that are not there are missing.
    ///
    /// # Errors
    /// Where the table does not answer.
    pub async fn schemas(
        &self,
        tenant: &str,
        ids: impl IntoIterator<Item = &String>,
    ) -> Result<HashMap<String, Schema>> {
        let wanted = ids.into_iter().map(|id| keys::resource(tenant, Kind::Schema, id)).collect();
        let found = self.get_many(wanted).await?;
        found.into_values().map(|item| read::<Schema>(item).map(|schema| (schema.id.clone(), schema))).collect()
    }

    /// The names of a tenant's schemas, the first 500 of them.
    ///
    /// # Errors
    /// Where the table does not answer.
    pub async fn schema_names(&self, tenant: &str) -> Result<Vec<String>> {
        let partition = keys::name(tenant, Kind::Schema, "").pk;
        let page = self.query(Query::new(&partition, "", NAMES)).await?;
        Ok(page.items.iter().filter_map(|item| item.get("SK")?.as_s().ok().cloned()).collect())
    }
}
