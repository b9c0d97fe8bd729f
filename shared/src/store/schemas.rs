//! Schemas in the table.

use super::idempotency::{Created, Idempotency};
use super::keys::{self, Kind};
use super::resources::{changed_meanwhile, name_taken};
use super::{Store, Transacted};
use crate::error::Result;
use crate::models::schema::Schema;

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
        writes.extend(self.idempotency_of(idempotency, &new.id, new.version)?);
        match self.transact(writes).await? {
            Transacted::Done => Ok(Created::Now),
            Transacted::Refused(_) => match self.refused_before(idempotency).await? {
                Some(before) => Ok(before),
                None => Err(name_taken(Kind::Schema, &new.name)),
            },
        }
    }

    /// Replaces a schema; `new` has the next version of `old`.
    ///
    /// # Errors
    /// 409 where its name is taken, 412 where it was changed in the meantime.
    pub async fn update_schema(&self, old: &Schema, new: &Schema) -> Result<()> {
        let id = (new.id.as_str(), new.version);
        let writes = self.replace_named(&new.tenant_id, Kind::Schema, id, (&old.name, &new.name), new)?;
        match self.transact(writes).await? {
            Transacted::Done => Ok(()),
            Transacted::Refused(places) if places.contains(&0) => Err(changed_meanwhile(Kind::Schema)),
            Transacted::Refused(_) => Err(name_taken(Kind::Schema, &new.name)),
        }
    }

    /// Removes a schema that no pipeline uses.
    ///
    /// # Errors
    /// 409 where a pipeline uses it, 412 where it was changed in the meantime.
    pub async fn delete_schema(&self, old: &Schema) -> Result<()> {
        self.delete_named(&old.tenant_id, Kind::Schema, (&old.id, old.version), &old.name).await
    }
}
