//! Answers that were given before: the same key and body within 24 hours give the first answer again.

use super::keys::{self, Key};
use super::{Store, item, n, s};
use crate::cursor::of_one_secret;
use crate::error::{Error, Result};
use crate::models::pipeline::Used;
use crate::models::time::{JsonText, Time};
use aws_sdk_dynamodb::types::{Put, TransactWriteItem};
use serde::{Deserialize, Serialize};

/// How long an answer is kept.
const KEPT_SECONDS: i64 = 24 * 3600;

/// A request's idempotency key with a keyed hash of its body.
#[derive(Debug, Clone)]
pub struct Idempotency {
    pub(super) key: Key,
    body_hash: String,
    now: Time,
    shown: Option<Used>,
}

/// What a request with the key made before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    body_hash: String,
    /// The id of what was made.
    pub made: String,
    /// Its version at that time.
    pub version: u32,
    /// When it was made.
    pub made_at: Time,
    /// What the answer showed that neither the body nor the above says, where there was such a thing.
    pub shown: Option<JsonText<Used>>,
    /// Seconds since 1970; TTL deletes late, so reads look at it too.
    expires_at: i64,
}

/// What a create came to.
#[derive(Debug)]
pub enum Created {
    /// It was made now.
    Now,
    /// It was made before, by a request with the same key and body.
    Before(Record),
}

impl Idempotency {
    /// The key that `caller` sent to the route at `path`, with a keyed hash of the body.
    pub fn new(tenant: &str, caller: &str, path: &str, key: &str, body_hash: String, now: Time) -> Self {
        Self { key: keys::idempotency(tenant, caller, path, key), body_hash, now, shown: None }
    }

    /// The same, whose record also keeps what the answer shows of others.
    #[must_use]
    pub fn showing(self, shown: &Used) -> Self {
        Self { shown: Some(shown.clone()), ..self }
    }

    pub(super) fn write(&self, store: &Store, (made, version): (&str, u32), at: Time) -> Result<TransactWriteItem> {
        let record = Record {
            body_hash: self.body_hash.clone(),
            made: made.to_owned(),
            version,
            made_at: at,
            shown: self.shown.clone().map(JsonText),
            expires_at: self.now.0.timestamp() + KEPT_SECONDS,
        };
        let put = Put::builder()
            .table_name(store.table())
            .set_item(Some(item(&self.key, &record)?))
            .condition_expression("attribute_not_exists(PK) OR expiresAt <= :now")
            .expression_attribute_values(":now", n(self.now.0.timestamp()))
            .build()
            .map_err(Error::internal)?;
        Ok(TransactWriteItem::builder().put(put).build())
    }
}

impl Store {
    /// What a request with this key made before, if it did.
    ///
    /// # Errors
    /// 422 where it had another body, or where nobody knows.
    pub async fn made_before(&self, idempotency: Option<&Idempotency>) -> Result<Option<Record>> {
        let Some(asked) = idempotency else { return Ok(None) };
        let Some(record) = self.get::<Record>(&asked.key).await? else { return Ok(None) };
        if record.expires_at <= asked.now.0.timestamp() {
            return Ok(None);
        }
        if record.body_hash != asked.body_hash {
            let detail = if of_one_secret(&record.body_hash, &asked.body_hash) {
                "this Idempotency-Key was used with another body within the last 24 hours; a new request needs a new key"
            } else {
                "this Idempotency-Key was used within the last 24 hours, but the deployment's secret for such records was \
                 replaced since: whether the body was this one cannot be told; look for what it made, or use a new key"
            };
            return Err(Error::IdempotencyMismatch(detail.to_owned()));
        }
        Ok(Some(record))
    }

    /// What a refused transaction means for a create whose idempotency record was among the writes.
    pub(super) async fn refused_before(&self, idempotency: Option<&Idempotency>) -> Result<Option<Created>> {
        Ok(self.made_before(idempotency).await?.map(Created::Before))
    }

    /// The write of a create's idempotency record, where it has one; `made` are the id and the version of what is made.
    pub(super) fn idempotency_of(
        &self,
        idempotency: Option<&Idempotency>,
        made: (&str, u32),
        at: Time,
    ) -> Result<Option<TransactWriteItem>> {
        idempotency.map(|i| i.write(self, made, at)).transpose()
    }
}

/// The condition that an item is there.
pub(super) fn exists(store: &Store, key: &Key) -> Result<TransactWriteItem> {
    let check = aws_sdk_dynamodb::types::ConditionCheck::builder()
        .table_name(store.table())
        .key("PK", s(&key.pk))
        .key("SK", s(&key.sk))
        .condition_expression("attribute_exists(PK)")
        .build()
        .map_err(Error::internal)?;
    Ok(TransactWriteItem::builder().condition_check(check).build())
}
