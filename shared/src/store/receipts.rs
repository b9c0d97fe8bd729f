//! What receipts are made of: items of their own under the run, written before and with its end.

use super::keys::Key;
use super::runs::run_key;
use super::{Item, Query, Store, away, item, key_item, keys, read, refused, s};
use crate::error::{Error, Result};
use crate::models::receipt::{Input, RolledBack, Target, VALUE_CHARS};
use crate::models::run::{NodeProgress, Rows, Run, RunStatus};
use crate::models::time::JsonText;
use aws_sdk_dynamodb::types::{Put, TransactWriteItem};
use serde::{Deserialize, Serialize};

/// What one attempt has read; kept before it commits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    pub attempt: u32,
    /// What it has counted by then; what was kept by an older version does not say it.
    #[serde(default)]
    pub rows: Option<Rows>,
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

/// The same with the beginnings of values that can be long.
fn with_beginnings(kept: &Kept) -> Kept {
    let mut short = kept.clone();
    for moved in short.targets.0.iter_mut().filter_map(|target| target.delta.as_mut()?.watermark.as_mut()) {
        for value in [&mut moved.before, &mut moved.after].into_iter().flatten() {
            if let Some((at, _)) = value.char_indices().nth(VALUE_CHARS) {
                value.truncate(at);
            }
        }
        moved.shortened = true;
    }
    short
}

/// The same without what tables' logs tell too: which tables have the rows of which run stays.
fn without_commits(kept: &Kept) -> Kept {
    let mut short = kept.clone();
    for target in &mut short.targets.0 {
        target.delta = None;
    }
    short
}

/// What was kept at a run's end as an item. However long it is, it must not keep the run from that end.
fn receipt_item(key: &Key, kept: &Kept) -> Result<Item> {
    match item(key, kept) {
        Err(Error::TooLarge(_)) => {}
        done => return done,
    }
    match item(key, &with_beginnings(kept)) {
        Err(Error::TooLarge(_)) => item(key, &without_commits(kept)),
        done => done,
    }
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
        let fields = receipt_item(&keys::receipt(&run.tenant_id, &run.id), kept)?;
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
    use crate::models::node::LoadMode;
    use crate::models::receipt::{
        DeltaTransaction, DeltaWrite, InputFile, InputFiles, InputTable, TargetKind, WatermarkMove,
    };
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
        let reading = Reading { attempt: 1, rows: None, inputs: JsonText(vec![input]), nodes: JsonText(Vec::new()) };
        let key = keys::reading("acme", "run_1", 1);
        assert!(matches!(item(&key, &reading), Err(Error::TooLarge(_))));
        let short = shortened(&reading);
        item(&key, &short).unwrap();
        let files = short.inputs.0[0].files.clone().unwrap();
        assert_eq!((files.count, files.hash.as_str(), files.list.len()), (500, "sha256:1", 0));
    }

    /// A table with names of `chars` characters that moved its watermark from one text to another.
    fn written(chars: usize, before: &str, after: &str) -> Target {
        let name = || "x".repeat(chars);
        let watermark = WatermarkMove {
            column: name(),
            before: Some(before.to_owned()),
            after: Some(after.to_owned()),
            shortened: false,
        };
        Target {
            node_id: Some(name()),
            kind: TargetKind::Delta,
            table: name(),
            written_by: name(),
            attempt: Some(u32::MAX),
            load_mode: Some(LoadMode::IncrementalWatermark),
            rows: u64::MAX,
            skipped_rows: u64::MAX,
            delta: Some(DeltaWrite {
                schema_id: name(),
                location: name(),
                version_before: Some(u64::MAX),
                version_after: u64::MAX,
                transaction: DeltaTransaction { app_id: name(), version: i64::MAX },
                files_added: u64::MAX,
                files_removed: u64::MAX,
                bytes_added: u64::MAX,
                records_added: u64::MAX,
                watermark: Some(watermark),
                entry_hash: name(),
            }),
            database: None,
        }
    }

    /// What is there of a receipt of these tables.
    fn kept(targets: Vec<Target>) -> Vec<Target> {
        let kept = Kept { definition_hash: "sha256:1".to_owned(), targets: JsonText(targets) };
        let item = receipt_item(&keys::receipt("acme", "run_1"), &kept).unwrap();
        read::<Kept>(item).unwrap().targets.0
    }

    #[test]
    fn of_a_receipt_that_is_too_long_the_watermarks_are_kept_as_they_begin() {
        let (before, after) = ("ü".repeat(110_000), "ý".repeat(110_000));
        let short = written(37, "1", "2");
        assert_eq!(kept(vec![short.clone()]), vec![short.clone()], "what has room stays whole");
        let told = kept(vec![written(37, &before, &after), short]);
        let moved = |target: &Target| target.delta.clone().unwrap().watermark.unwrap();
        let first = moved(&told[0]);
        assert_eq!((first.before, first.after, first.shortened), (Some("ü".repeat(100)), Some("ý".repeat(100)), true));
        assert_eq!((moved(&told[1]).before, moved(&told[1]).after), (Some("1".to_owned()), Some("2".to_owned())));
        // The most tables that a pipeline writes, each with its rejected rows, and the longest names.
        let most = kept(vec![written(128, &"\u{1}".repeat(1024), &before); 80]);
        assert!(most.iter().all(|target| moved(target).shortened));
    }

    #[test]
    fn of_a_receipt_that_is_too_long_whatever_its_watermarks_are_the_tables_and_their_runs_are_kept() {
        let wide = written(6000, "1", "2");
        let told = kept(vec![wide.clone(); 20]);
        assert_eq!(told, vec![Target { delta: None, ..wide }; 20]);
    }
}
