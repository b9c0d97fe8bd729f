//! Connectors in the table.

use super::idempotency::{Created, Idempotency};
use super::keys::{self, Kind};
use super::resources::{changed_meanwhile, name_taken};
use super::{Store, Transacted};
use crate::error::Result;
use crate::models::connector::Connector;

impl Store {
    /// Keeps a new connector.
    ///
    /// # Errors
    /// 409 where its name is taken, 422 for an idempotency key with another body.
    pub async fn create_connector(&self, new: &Connector, idempotency: Option<&Idempotency>) -> Result<Created> {
        let mut writes = vec![
            self.put_new(&keys::resource(&new.tenant_id, Kind::Connector, &new.id), new)?,
            self.put_new(&keys::name(&new.tenant_id, Kind::Connector, &new.name), &serde_json::json!({"id": new.id}))?,
        ];
        writes.extend(self.idempotency_of(idempotency, &new.id, new.version)?);
        match self.transact(writes).await? {
            Transacted::Done => Ok(Created::Now),
            Transacted::Refused(_) => match self.refused_before(idempotency).await? {
                Some(before) => Ok(before),
                None => Err(name_taken(Kind::Connector, &new.name)),
            },
        }
    }

    /// Replaces a connector; `new` has the next version of `old`.
    ///
    /// # Errors
    /// 409 where its name is taken, 412 where it was changed in the meantime.
    pub async fn update_connector(&self, old: &Connector, new: &Connector) -> Result<()> {
        let id = (new.id.as_str(), new.version);
        let writes = self.replace_named(&new.tenant_id, Kind::Connector, id, (&old.name, &new.name), new)?;
        match self.transact(writes).await? {
            Transacted::Done => Ok(()),
            Transacted::Refused(places) if places.contains(&0) => Err(changed_meanwhile(Kind::Connector)),
            Transacted::Refused(_) => Err(name_taken(Kind::Connector, &new.name)),
        }
    }

    /// Removes a connector that no pipeline uses.
    ///
    /// # Errors
    /// 409 where a pipeline uses it, 412 where it was changed in the meantime.
    pub async fn delete_connector(&self, old: &Connector) -> Result<()> {
        self.delete_named(&old.tenant_id, Kind::Connector, (&old.id, old.version), &old.name).await
    }
}

impl Store {
    /// Keeps the outcome of a test beside a connector; its version stays. One that was deleted stays deleted.
    ///
    /// # Errors
    /// Where the table does not answer.
    pub async fn keep_test(
        &self,
        tenant: &str,
        id: &str,
        error: Option<&str>,
        now: crate::models::time::Time,
    ) -> Result<()> {
        use super::{away, key_item, s};
        let status = if error.is_none() { "ok" } else { "failed" };
        let update = self
            .client()
            .update_item()
            .table_name(self.table())
            .set_key(Some(key_item(&keys::resource(tenant, Kind::Connector, id))))
            .condition_expression("attribute_exists(PK)")
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":status", s(status))
            .expression_attribute_values(":now", s(now.text()));
        let update = match error {
            Some(error) => update
                .update_expression("SET #status = :status, lastTestedAt = :now, lastError = :error")
                .expression_attribute_values(":error", s(error)),
            None => update.update_expression("SET #status = :status, lastTestedAt = :now REMOVE lastError"),
        };
        match update.send().await {
            Ok(_) => Ok(()),
            Err(error) if super::refused(&error) => Ok(()),
            Err(error) => Err(away(error)),
        }
    }
}
