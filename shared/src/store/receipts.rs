//! What receipts are made of: items of their own under the run, written before and with its end.

use super::runs::run_key;
use super::{Query, Store, away, item, key_item, keys, read, refused, s};
use crate::error::{Error, Result};
use crate::models::receipt::{Input, RolledBack, Target};
use crate::models::run::{NodeProgress, Run, RunStatus};
use crate::models::time::JsonText;
use aws_sdk_dynamodb::types::{Put, TransactWriteItem};
use serde::{Deserialize, Serialize};

/// What one attempt has read; kept before it commits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    pub attempt: u32,
    pub inputs: JsonText<Vec<Input>>,
    pub nodes: JsonText<Vec<NodeProgress>>,
}

/// What the worker knows at the run's end; kept in the transaction that ends it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Kept {
    /// Of the definition that was run.
    pub definition_hash: String,
    pub targets: JsonText<Vec<Target>>,
}

/// The same without what can be long.
fn shortened(reading: &Reading) -> Reading {
    let mut short = reading.clone();
    for input in &mut short.inputs.0 {
        if let Some(files) = &mut input.files {
            files.list.clear();
        }
        if let Some(database) = &mut input.database {
            database.query = database.query.take().map(|query| query.chars().take(100).collect());
        }
    }
    for node in &mut short.nodes.0 {
        node.warnings.clear();
    }
    short
}

impl Store {
    /// Keeps what an attempt has read. Each attempt has an item of its own, so that a late one overwrites nothing.
    ///
    /// # Errors
    /// Where the table does not answer.
    pub async fn keep_reading(&self, run: &Run, reading: &Reading) -> Result<()> {
        let key = keys::reading(&run.tenant_id, &run.id, reading.attempt);
        let fields = match item(&key, reading) {
            // What was read must not keep a run from its end: the hashes and counts say it too.
            Err(Error::TooLarge(_)) => item(&key, &shortened(reading))?,
            other => other?,
        };
        self.client().put_item().table_name(self.table()).set_item(Some(fields)).send().await.map_err(away)?;
        Ok(())
    }

    /// What the attempts of a run have read, in their order.
    ///
    /// # Errors
    /// Where the table does not answer.
    pub async fn readings(&self, run: &Run) -> Result<Vec<Reading>> {
        let partition = keys::under_run(&run.tenant_id, &run.id);
        let (mut found, mut after) = (Vec::new(), None::<String>);
        loop {
            let query = Query { after: after.as_deref(), ..Query::new(&partition, keys::READINGS, 100) };
            let page = self.query(query).await?;
            found.extend(page.items.into_iter().map(read::<Reading>).collect::<Result<Vec<_>>>()?);
            match page.next {
                None => return Ok(found),
                next => after = next,
            }
        }
    }

    /// What was kept at the run's end; none where no worker ended it.
    ///
    /// # Errors
    /// Where the table does not answer.
    pub async fn kept_receipt(&self, run: &Run) -> Result<Option<Kept>> {
        self.get(&keys::receipt(&run.tenant_id, &run.id)).await
    }

    pub(super) fn put_receipt(&self, run: &Run, kept: &Kept) -> Result<TransactWriteItem> {
        let fields = item(&keys::receipt(&run.tenant_id, &run.id), kept)?;
        let put = Put::builder().table_name(self.table()).set_item(Some(fields)).build().map_err(Error::internal)?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    /// Marks a run as rolled back, once, and lets it be retried. False where it was marked before, or is gone.
    ///
    /// # Errors
    /// Where the table does not answer.
    pub async fn mark_rolled_back(&self, run: &Run, how: &RolledBack) -> Result<bool> {
        let text = serde_dynamo::to_attribute_value(JsonText(how)).map_err(Error::internal)?;
        let update = self
            .client()
            .update_item()
            .table_name(self.table())
            .set_key(Some(key_item(&run_key(run))))
            .update_expression("SET rolledBack = :how REMOVE undoingUntil")
            .condition_expression(
                "attribute_exists(PK) AND attribute_not_exists(rolledBack) AND NOT #status IN (:a, :b)",
            )
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":how", text)
            .expression_attribute_values(":a", s(RunStatus::Pending.name()))
            .expression_attribute_values(":b", s(RunStatus::Running.name()));
        match update.send().await {
            Ok(_) => Ok(true),
            Err(error) if refused(&error) => Ok(false),
            Err(error) => Err(away(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::connector::ConnectorType;
    use crate::models::receipt::{InputFile, InputFiles, InputTable};
    use crate::models::time::Time;

    #[test]
    fn what_is_too_long_to_be_kept_is_shortened() {
        let file = InputFile { path: "x".repeat(900), size: 1, etag: None, version: None, modified_at: None };
        let input = Input {
            node_id: "node_1".to_owned(),
            op: None,
            attempt: 1,
            connector_id: "conn_1".to_owned(),
            connector_type: ConnectorType::LocalFs,
            opened_at: Time(std::time::SystemTime::UNIX_EPOCH.into()),
            rows: None,
            files: Some(InputFiles { count: 500, bytes: 500, hash: "sha256:1".to_owned(), list: vec![file; 500] }),
            database: Some(InputTable { query: Some("ü".repeat(2000)), ..InputTable::default() }),
            api: None,
        };
        let reading = Reading { attempt: 1, inputs: JsonText(vec![input]), nodes: JsonText(Vec::new()) };
        let key = keys::reading("acme", "run_1", 1);
        assert!(matches!(item(&key, &reading), Err(Error::TooLarge(_))));
        let short = shortened(&reading);
        item(&key, &short).unwrap();
        let files = short.inputs.0[0].files.clone().unwrap();
        assert_eq!((files.count, files.hash.as_str(), files.list.len()), (500, "sha256:1", 0));
    }
}
