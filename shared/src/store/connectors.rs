//! Connectors in the table.

use super::idempotency::{Created, Idempotency};
use super::keys::{self, Kind};
use super::resources::name_taken;
use super::{Store, Transacted, away, key_item, n, refused, s};
use crate::error::Result;
use crate::models::connector::Connector;
use crate::models::time::Time;

/// What a test leaves of its outcome.
const OUTCOME: &[&str] = &["status", "lastTestedAt", "lastError"];

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
        writes.extend(self.idempotency_of(idempotency, (&new.id, new.version), new.created_at)?);
        match self.transact(writes).await? {
            Transacted::Done => Ok(Created::Now),
            Transacted::Refused(_) => match self.refused_before(idempotency).await? {
                Some(before) => Ok(before),
                None => Err(name_taken(Kind::Connector, &new.name)),
            },
        }
    }

    /// Replaces a connector; `new` has the next version of `old`. Where what was `tested` of it stays, so does the stored
    /// outcome, which may be newer than that of `old`. False where it was changed in the meantime.
    ///
    /// # Errors
    /// 409 where its name is taken.
    pub async fn update_connector(&self, old: &Connector, new: &Connector, tested: bool) -> Result<bool> {
        let id = (new.id.as_str(), new.version);
        let kept = if tested { OUTCOME } else { &[] };
        let writes = self.replace_named(&new.tenant_id, Kind::Connector, id, (&old.name, &new.name), new, kept)?;
        match self.transact(writes).await? {
            Transacted::Done => Ok(true),
            Transacted::Refused(places) if places.contains(&0) => Ok(false),
            Transacted::Refused(_) => Err(name_taken(Kind::Connector, &new.name)),
        }
    }

    /// Removes a connector that no pipeline uses. False where one does by now, or it was changed in the meantime.
    ///
    /// # Errors
    /// Where the table does not answer.
    pub async fn delete_connector(&self, old: &Connector) -> Result<bool> {
        self.delete_named(&old.tenant_id, Kind::Connector, (&old.id, old.version), &old.name).await
    }
}

impl Store {
    /// Keeps the outcome of a test beside the connector that was tested; its version stays. One that was changed or deleted
    /// since was not tested.
    ///
    /// # Errors
    /// Where the table does not answer.
    pub async fn keep_test(&self, tested: &Connector, error: Option<&str>, now: Time) -> Result<()> {
        let status = if error.is_none() { "ok" } else { "failed" };
        let update = self
            .client()
            .update_item()
            .table_name(self.table())
            .set_key(Some(key_item(&keys::resource(&tested.tenant_id, Kind::Connector, &tested.id))))
            .condition_expression("#version = :version")
            .expression_attribute_names("#version", "version")
            .expression_attribute_values(":version", n(tested.version))
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
            Err(error) if refused(&error) => Ok(()),
            Err(error) => Err(away(error)),
        }
    }
}
