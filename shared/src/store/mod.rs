//! The one table: typed reads and conditional writes, through the AWS SDK.

pub mod connectors;
pub mod errors;
pub mod fires;
pub mod idempotency;
pub mod keys;
mod payload;
pub mod pipelines;
pub mod receipts;
pub mod resources;
pub mod runs;
pub mod schemas;
pub mod tick;

use crate::aws::{Chain, timeouts};
use crate::error::{Error, Result};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes, TransactWriteItem};
use keys::Key;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::time::Duration;

pub(crate) type Item = HashMap<String, AttributeValue>;

/// The table.
#[derive(Debug, Clone)]
pub struct Store {
    client: Client,
    table: String,
    shards: u32,
    lease_seconds: u32,
    clocks_apart: Duration,
    due_page: i32,
}

/// A page of a Query.
#[derive(Debug)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// The sort key after which the next page begins; none at the end.
    pub next: Option<String>,
}

/// How a transaction ended.
#[derive(Debug)]
pub(crate) enum Transacted {
    Done,
    /// Which writes' conditions did not hold, by their places.
    Refused(Vec<usize>),
}

/// The bytes that an item may have.
const MAX_ITEM: usize = 400 * 1024;
/// The most items of a list that are counted.
const MOST_COUNTED: u64 = 10_000;
/// How often a transaction that met another one is tried.
const TRIES: u32 = 8;
/// How far the clocks of workers may be from that of who looks after their runs.
const CLOCKS_APART: Duration = Duration::from_secs(300);

/// The error of a call to the table: throttling and outages are told apart from defects.
pub(crate) fn away<E, R>(error: SdkError<E, R>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    let said = error.as_service_error();
    let code = said.and_then(ProvideErrorMetadata::code).unwrap_or_default().to_owned();
    let grown = said.and_then(ProvideErrorMetadata::message).is_some_and(|message| message.starts_with("Item size"));
    match code.as_str() {
        "ProvisionedThroughputExceededException"
        | "ThrottlingException"
        | "RequestLimitExceeded"
        | "TransactionInProgressException" => Error::Throttled,
        "ValidationException" if grown => Error::TooLarge("what is to be stored is larger than 400 KB".to_owned()),
        "ValidationException" | "ResourceNotFoundException" | "AccessDeniedException" => {
            Error::internal(Chain::new(error))
        }
        _ => Error::Unavailable { what: "the store", source: Box::new(Chain::new(error)) },
    }
}

/// A text attribute.
pub(crate) fn s(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}
/// A number attribute.
pub(crate) fn n(number: impl ToString) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

pub(crate) fn key_item(key: &Key) -> Item {
    HashMap::from([("PK".to_owned(), s(&key.pk)), ("SK".to_owned(), s(&key.sk))])
}

/// `value` as an item at `key`. Attributes that are null are left out.
///
/// # Errors
/// 413 where it would pass 400 KB.
pub(crate) fn item(key: &Key, value: &impl Serialize) -> Result<Item> {
    let mut item: Item = serde_dynamo::to_item(value).map_err(Error::internal)?;
    item.retain(|_, v| !matches!(v, AttributeValue::Null(_)));
    item.extend(key_item(key));
    let size: usize = item.iter().map(|(name, value)| name.len() + size(value)).sum();
    if size > MAX_ITEM {
        return Err(Error::TooLarge(format!(
            "what is to be stored has {size} bytes; {MAX_ITEM} at most can be stored in one piece"
        )));
    }
    Ok(item)
}

fn size(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::N(digits) => digits.len() / 2 + 2,
        AttributeValue::B(bytes) => bytes.as_ref().len(),
        AttributeValue::M(map) => 3 + map.iter().map(|(k, v)| 1 + k.len() + size(v)).sum::<usize>(),
        AttributeValue::L(list) => 3 + list.iter().map(|v| 1 + size(v)).sum::<usize>(),
        _ => 1,
    }
}

pub(crate) fn read<T: DeserializeOwned>(item: Item) -> Result<T> {
    serde_dynamo::from_item(item).map_err(Error::internal)
}

impl Store {
    /// The table of this name, whose index has `shards` shards.
    pub fn new(client: Client, table: impl Into<String>, shards: u32) -> Self {
        let lease_seconds = crate::config::DEFAULT_LEASE_SECONDS;
        let client = Client::from_conf(client.config().to_builder().timeout_config(timeouts(None)).build());
        Self {
            client,
            table: table.into(),
            shards: shards.max(1),
            lease_seconds,
            clocks_apart: CLOCKS_APART,
            due_page: tick::DUE_PAGE,
        }
    }

    /// The same, whose calls end after `longest` with all their attempts, where it is given.
    #[must_use]
    pub fn within(self, longest: Option<Duration>) -> Self {
        let client = Client::from_conf(self.client.config().to_builder().timeout_config(timeouts(longest)).build());
        Self { client, ..self }
    }

    /// The same, whose workers hold runs for `seconds` without a heartbeat.
    #[must_use]
    pub fn with_lease(self, seconds: u32) -> Self {
        Self { lease_seconds: seconds, ..self }
    }

    /// The same for whoever looks after runs by a clock that may be so far `apart` from those of workers.
    #[must_use]
    pub fn with_clocks_apart(self, apart: Duration) -> Self {
        Self { clocks_apart: apart, ..self }
    }

    /// The same, which reads what is due by pages of `most`, to try what happens at their ends.
    #[must_use]
    pub fn with_due_pages(self, most: i32) -> Self {
        Self { due_page: most, ..self }
    }

    /// How long a worker holds a run without a heartbeat.
    pub fn lease(&self) -> Duration {
        Duration::from_secs(self.lease_seconds.into())
    }

    /// How far the clocks of workers may be from that of who looks after their runs: so long after the end of a lease nobody
    /// holds the run.
    pub fn clocks_apart(&self) -> Duration {
        self.clocks_apart
    }

    /// The shards of the index.
    pub fn shards(&self) -> u32 {
        self.shards
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, key: &Key) -> Result<Option<T>> {
        let answer = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(key_item(key)))
            .consistent_read(true)
            .send()
            .await
            .map_err(away)?;
        answer.item.map(read).transpose()
    }

    /// The items that are there, by their keys.
    pub(crate) async fn get_many(&self, keys: Vec<Key>) -> Result<HashMap<Key, Item>> {
        let mut unique: Vec<Key> = Vec::with_capacity(keys.len());
        let mut seen = std::collections::HashSet::new();
        unique.extend(keys.into_iter().filter(|k| seen.insert(k.clone())));
        let batches = unique.chunks(100).map(|chunk| self.get_batch(chunk.iter().map(key_item).collect()));
        let mut found = HashMap::new();
        for batch in futures::future::try_join_all(batches).await? {
            for item in batch {
                if let (Some(AttributeValue::S(pk)), Some(AttributeValue::S(sk))) = (item.get("PK"), item.get("SK")) {
                    found.insert(Key { pk: pk.clone(), sk: sk.clone() }, item);
                }
            }
        }
        Ok(found)
    }

    async fn get_batch(&self, keys: Vec<Item>) -> Result<Vec<Item>> {
        let mut found = Vec::with_capacity(keys.len());
        let mut wanted = keys;
        for attempt in 0..TRIES {
            if wanted.is_empty() {
                return Ok(found);
            }
            pause(attempt).await;
            let request = KeysAndAttributes::builder()
                .set_keys(Some(wanted))
                .consistent_read(true)
                .build()
                .map_err(Error::internal)?;
            let answer = self.client.batch_get_item().request_items(&self.table, request).send().await.map_err(away)?;
            found.extend(answer.responses.unwrap_or_default().remove(&self.table).unwrap_or_default());
            wanted =
                answer.unprocessed_keys.unwrap_or_default().remove(&self.table).map(|k| k.keys).unwrap_or_default();
        }
        if wanted.is_empty() { Ok(found) } else { Err(Error::Throttled) }
    }

    /// One Query of a partition: items whose sort keys begin with `prefix`, after (or, backwards, before) `after`.
    pub(crate) async fn query(&self, query: Query<'_>) -> Result<Page<Item>> {
        let mut request = self
            .client
            .query()
            .table_name(&self.table)
            .expression_attribute_values(":pk", s(query.partition))
            .scan_index_forward(!query.backwards)
            .consistent_read(true)
            .limit(i32::try_from(query.limit).unwrap_or(i32::MAX));
        request = if query.prefix.is_empty() {
            request.key_condition_expression("PK = :pk")
        } else {
            request
                .key_condition_expression("PK = :pk AND begins_with(SK, :sk)")
                .expression_attribute_values(":sk", s(query.prefix))
        };
        if let Some(status) = query.status {
            request = request
                .filter_expression("#status = :status")
                .expression_attribute_names("#status", "status")
                .expression_attribute_values(":status", s(status));
        }
        if let Some(after) = query.after {
            let key = Key { pk: query.partition.to_owned(), sk: after.to_owned() };
            request = request.set_exclusive_start_key(Some(key_item(&key)));
        }
        let answer = request.send().await.map_err(away)?;
        let next = answer.last_evaluated_key.as_ref().and_then(sort_key);
        Ok(Page { items: answer.items.unwrap_or_default(), next })
    }

    /// A page for a list: `query.limit` items at most, fewer where 4 MB or 1,000 items were read or an answer has no room
    /// for more, and the sort key after which the next page begins where there is one.
    pub(crate) async fn page<T: DeserializeOwned>(&self, query: Query<'_>) -> Result<Page<T>> {
        let limit = query.limit;
        let mut items: Vec<Item> = Vec::with_capacity(limit + 1);
        let mut after = query.after.map(str::to_owned);
        // A Query reads 1 MB at most, and 250 items where it filters.
        for _ in 0..4 {
            let want = if query.status.is_some() { 250 } else { limit + 1 - items.len() };
            let page = self.query(Query { after: after.as_deref(), limit: want, ..query }).await?;
            items.extend(page.items);
            after = page.next;
            if items.len() > limit || after.is_none() {
                break;
            }
        }
        let most = limit.min(payload::room(&items));
        if items.len() > most {
            items.truncate(most);
            after = items.last().and_then(sort_key);
        }
        Ok(Page { items: items.into_iter().map(read).collect::<Result<_>>()?, next: after })
    }

    /// How many items a partition has whose sort keys begin with `prefix`, of the first 10,000 that are read; the flag
    /// says that there may be more.
    pub(crate) async fn count(&self, partition: &str, prefix: &str, status: Option<&str>) -> Result<(u64, bool)> {
        let from = if prefix.is_empty() { " " } else { prefix };
        self.count_between(partition, (from, &format!("{prefix}\u{7f}")), status).await
    }

    /// The same of the sort keys from one to another.
    pub(crate) async fn count_between(
        &self,
        partition: &str,
        (from, to): (&str, &str),
        status: Option<&str>,
    ) -> Result<(u64, bool)> {
        use aws_sdk_dynamodb::types::Select;
        let (mut total, mut read, mut start) = (0, 0, None);
        loop {
            let mut request = self
                .client
                .query()
                .table_name(&self.table)
                .key_condition_expression("PK = :pk AND SK BETWEEN :from AND :to")
                .expression_attribute_values(":pk", s(partition))
                .expression_attribute_values(":from", s(from))
                .expression_attribute_values(":to", s(to))
                .select(Select::Count)
                .consistent_read(true)
                .set_exclusive_start_key(start);
            if let Some(status) = status {
                request = request
                    .filter_expression("#status = :status")
                    .expression_attribute_names("#status", "status")
                    .expression_attribute_values(":status", s(status));
            }
            let answer = request.send().await.map_err(away)?;
            total += u64::try_from(answer.count).unwrap_or(0);
            // A filter leaves out what was read all the same.
            read += u64::try_from(answer.scanned_count).unwrap_or(0);
            match answer.last_evaluated_key {
                Some(_) if read >= MOST_COUNTED => return Ok((total.min(MOST_COUNTED), true)),
                None => return Ok(counted(total)),
                next => start = next,
            }
        }
    }

    /// Writes all or nothing. Where it meets another transaction it is tried again after a short, random while.
    pub(crate) async fn transact(&self, writes: Vec<TransactWriteItem>) -> Result<Transacted> {
        use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError as Refusal;
        let mut throttled = false;
        for attempt in 0..TRIES {
            pause(attempt).await;
            let sent = self.client.transact_write_items().set_transact_items(Some(writes.clone())).send().await;
            let error = match sent {
                Ok(_) => return Ok(Transacted::Done),
                Err(error) => error,
            };
            let Some(Refusal::TransactionCanceledException(cancelled)) = error.as_service_error() else {
                return Err(away(error));
            };
            let codes: Vec<&str> =
                cancelled.cancellation_reasons().iter().map(|r| r.code().unwrap_or("None")).collect();
            let places: Vec<usize> = (0..codes.len()).filter(|&i| codes[i] == "ConditionalCheckFailed").collect();
            if !places.is_empty() {
                return Ok(Transacted::Refused(places));
            }
            if codes.iter().any(|c| c.contains("ItemSize") || *c == "ValidationError") {
                return Err(Error::TooLarge("what is to be stored is larger than 400 KB".to_owned()));
            }
            throttled = codes.iter().any(|c| c.contains("Throttl") || c.contains("Exceeded"));
        }
        if throttled {
            return Err(Error::Throttled);
        }
        Err(Error::conflict("BUSY", "the same things are being changed by others right now; try again"))
    }

    pub(crate) fn table(&self) -> &str {
        &self.table
    }
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }
}

/// Waits a random while that doubles with each attempt; not at all before the first.
async fn pause(attempt: u32) {
    if attempt > 0 {
        let most = 20_u64 << attempt.min(6);
        tokio::time::sleep(Duration::from_millis(rand::random_range(most / 2..most))).await;
    }
}

/// What a Query asks for.
#[derive(Clone, Copy)]
pub(crate) struct Query<'a> {
    pub partition: &'a str,
    pub prefix: &'a str,
    pub after: Option<&'a str>,
    pub backwards: bool,
    pub limit: usize,
    /// Only items whose `status` is this.
    pub status: Option<&'a str>,
}

impl<'a> Query<'a> {
    pub(crate) fn new(partition: &'a str, prefix: &'a str, limit: usize) -> Self {
        Self { partition, prefix, after: None, backwards: false, limit, status: None }
    }
}

/// A total as lists tell it, and whether it is less than there is.
pub fn counted(total: u64) -> (u64, bool) {
    (total.min(MOST_COUNTED), total > MOST_COUNTED)
}

fn sort_key(item: &Item) -> Option<String> {
    item.get("SK").and_then(|v| v.as_s().ok()).cloned()
}

/// Whether a conditional update was refused by its condition.
pub(crate) fn refused<R>(error: &SdkError<aws_sdk_dynamodb::operation::update_item::UpdateItemError, R>) -> bool {
    error.as_service_error().is_some_and(|e| e.is_conditional_check_failed_exception())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::PATIENCE;
    use aws_sdk_dynamodb::error::ErrorMetadata;
    use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
    use std::time::Instant;

    fn answered(code: &str, message: &str) -> Error {
        let said = ErrorMetadata::builder().code(code).message(message).build();
        away(SdkError::service_error(UpdateItemError::generic(said), ()))
    }

    #[test]
    fn an_item_that_grew_too_large_is_told_from_a_defect() {
        for grown in ["Item size to update has exceeded the maximum allowed size", "Item size has exceeded the maximum"]
        {
            assert!(matches!(answered("ValidationException", grown), Error::TooLarge(_)), "{grown}");
        }
        let defect = "Invalid UpdateExpression: Expression size has exceeded the maximum allowed size";
        assert!(matches!(answered("ValidationException", defect), Error::Internal(_)));
        assert!(matches!(answered("ThrottlingException", "Item size"), Error::Throttled));
        assert!(matches!(answered("InternalServerError", ""), Error::Unavailable { .. }));
    }

    #[tokio::test]
    async fn a_silent_table_is_given_up_in_time_to_say_so() {
        // It takes connections, and says nothing ever.
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", silent.local_addr().unwrap());
        let store = Store::new(Client::new(&crate::aws::local_config(&endpoint)), "Table", 1);
        let asked = Instant::now();
        let key = Key { pk: "a".to_owned(), sk: "b".to_owned() };
        let answer = store.within(Some(Duration::from_millis(200))).get::<serde_json::Value>(&key).await;
        assert!(matches!(answer, Err(Error::Unavailable { .. })), "{answer:?}");
        assert!(asked.elapsed() < PATIENCE, "it took {:?}, an attempt's time at least", asked.elapsed());
    }
}
