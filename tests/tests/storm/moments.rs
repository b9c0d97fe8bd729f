//! The moments of a run's life that show on the wire, and how a request is told to be one of them.

use axum::http::{HeaderMap, Method, Uri};
use serde_json::Value;
use std::fmt;

/// A step of a run's life. Each is met just before a request is handed on, or just after it was done and before its answer
/// is given: everything that a run does for others to see is one of these requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Moment {
    /// The queue has given the message away; the worker does not have it yet.
    Received,
    /// The worker asks for the run.
    Claiming,
    /// The run is the worker's, which does not know it yet.
    Claimed,
    /// The worker opens the target's table, before it plans.
    Opening,
    /// The plan is made, and the source's rows are asked for.
    Planned,
    /// The source's rows are on their way.
    Reading,
    /// A heartbeat is sent.
    Beating,
    /// A heartbeat has arrived.
    Beaten,
    /// A file is written beside the table.
    Writing,
    /// It is written; nobody sees it yet.
    Staged,
    /// All is staged; the run is to enter the stage `committing`.
    BeforeCommitting,
    /// It has entered it.
    Committing,
    /// The table's next version is on its way.
    Publishing,
    /// It is there: the rows are in, and nothing else says so.
    Published,
    /// The worker reports the end.
    Reporting,
    /// The run is final; its message is not deleted.
    Reported,
    /// The message is to be deleted.
    Deleting,
    /// It is deleted.
    Deleted,
    /// A failed attempt gives the run back.
    GivingBack,
    /// It is given back.
    GivenBack,
    /// A part of a large file is written beside the table.
    Uploading,
    /// It is there, and the file is not.
    Uploaded,
    /// The version of the table beside with the rejected rows is on its way.
    KeepingRejected,
    /// It is there; the rows that fit are not.
    RejectedKept,
    /// The version is on its way that keeps the run out of the table for ever.
    Settling,
    /// It is there, and nothing else says so.
    Settled,
    /// The table's version with wider types is on its way; its files are there.
    Widening,
    /// It is there.
    Widened,
    /// What attempts have staged is looked for, to be removed.
    Discarding,
    /// A file of it is removed.
    Discarded,
    /// The database has the run in its ledger, in a transaction that is open.
    InTransaction,
    /// It has committed, and nothing else says so.
    Committed,
}

impl Moment {
    /// Those that every run meets.
    pub const ALL: [Self; 18] = [
        Self::Received,
        Self::Claiming,
        Self::Claimed,
        Self::Opening,
        Self::Planned,
        Self::Reading,
        Self::Beating,
        Self::Beaten,
        Self::Writing,
        Self::Staged,
        Self::BeforeCommitting,
        Self::Committing,
        Self::Publishing,
        Self::Published,
        Self::Reporting,
        Self::Reported,
        Self::Deleting,
        Self::Deleted,
    ];

    /// Those that only some runs meet: large ones, those whose attempts fail, those with other targets.
    pub const RARE: [Self; 14] = [
        Self::GivingBack,
        Self::GivenBack,
        Self::Uploading,
        Self::Uploaded,
        Self::KeepingRejected,
        Self::RejectedKept,
        Self::Settling,
        Self::Settled,
        Self::Widening,
        Self::Widened,
        Self::Discarding,
        Self::Discarded,
        Self::InTransaction,
        Self::Committed,
    ];

    /// Those that are met at a database.
    pub fn is_of_database(self) -> bool {
        matches!(self, Self::InTransaction | Self::Committed)
    }

    /// Those that are met at the bucket in which the tables lie.
    pub fn is_of_lake(self) -> bool {
        use Moment as M;
        matches!(
            self,
            M::Opening
                | M::Writing
                | M::Publishing
                | M::Uploading
                | M::KeepingRejected
                | M::Settling
                | M::Widening
                | M::Discarding
        )
    }

    /// Whether the request says for which run it is.
    pub fn names_a_run(self) -> bool {
        use Moment as M;
        !matches!(self, M::Received | M::Opening | M::Deleting | M::Deleted | M::Widening | M::Widened)
    }

    /// Whether the request has been done by then.
    pub fn is_after(self) -> bool {
        use Moment as M;
        matches!(
            self,
            M::Received
                | M::Claimed
                | M::Reading
                | M::Beaten
                | M::Staged
                | M::Committing
                | M::Published
                | M::Reported
                | M::Deleted
                | M::GivenBack
                | M::Uploaded
                | M::RejectedKept
                | M::Settled
                | M::Widened
                | M::Discarded
                | M::InTransaction
                | M::Committed
        )
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `pad` keeps the width that a table asks for.
        f.pad(&format!("{self:?}"))
    }
}

/// Whom a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    Table,
    Queue,
    Bucket,
}

/// A request on its way.
pub struct Call {
    pub service: Service,
    /// The action of the table or the queue, or the method.
    pub action: String,
    pub body: Value,
    pub key: String,
    /// The run that it is about, where it names one.
    pub run: Option<String>,
    before: Option<Moment>,
    after: Option<Moment>,
}

impl Call {
    /// Reads a request.
    pub fn read(method: &Method, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Self {
        let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
        let (service, action) = match target.split_once('.') {
            Some(("AmazonSQS", action)) => (Service::Queue, action),
            Some((_, action)) => (Service::Table, action),
            None => (Service::Bucket, method.as_str()),
        };
        let parsed =
            if service == Service::Bucket { Value::Null } else { serde_json::from_slice(body).unwrap_or_default() };
        let mut call = Self {
            service,
            action: action.to_owned(),
            body: parsed,
            key: uri.path().trim_start_matches('/').to_owned(),
            run: None,
            before: None,
            after: None,
        };
        (call.before, call.after) = match service {
            Service::Table => call.of_table(),
            Service::Queue => call.of_queue(),
            Service::Bucket => call.of_bucket(uri.query().unwrap_or_default(), headers, body),
        };
        call.run = match call.before {
            _ if call.service != Service::Bucket => named(&call.body.to_string()),
            Some(Moment::Publishing | Moment::KeepingRejected | Moment::Settling) => {
                transaction(body).map(|(run, _)| run)
            }
            _ => named(&call.key).or_else(|| named(uri.query().unwrap_or_default())),
        };
        call
    }

    /// The moment just before it is handed on.
    pub fn before(&self) -> Option<Moment> {
        self.before
    }

    /// The moment after it was done, where it was done as asked.
    pub fn after(&self, answer: &[u8], status: u16) -> Option<Moment> {
        let nothing = self.action == "ReceiveMessage" && !contains(answer, "ReceiptHandle");
        self.after.filter(|_| (200..300).contains(&status) && !nothing)
    }

    fn of_table(&self) -> (Option<Moment>, Option<Moment>) {
        use Moment as M;
        let update = self.body["UpdateExpression"].as_str().unwrap_or_default();
        match self.action.as_str() {
            "UpdateItem" if update.contains("attempt = attempt + :one") => (Some(M::Claiming), Some(M::Claimed)),
            "UpdateItem" if update.contains("committing = :yes") => (Some(M::BeforeCommitting), Some(M::Committing)),
            "UpdateItem" if update.contains("failures = failures + :one") => (Some(M::GivingBack), Some(M::GivenBack)),
            "UpdateItem" if update.starts_with("SET leaseUntil = :lease, progress") => {
                (Some(M::Beating), Some(M::Beaten))
            }
            "TransactWriteItems" if self.body.to_string().contains("#status = :final") => {
                (Some(M::Reporting), Some(M::Reported))
            }
            _ => (None, None),
        }
    }

    fn of_queue(&self) -> (Option<Moment>, Option<Moment>) {
        match self.action.as_str() {
            "ReceiveMessage" => (None, Some(Moment::Received)),
            "DeleteMessage" => (Some(Moment::Deleting), Some(Moment::Deleted)),
            _ => (None, None),
        }
    }

    fn of_bucket(&self, query: &str, headers: &HeaderMap, body: &[u8]) -> (Option<Moment>, Option<Moment>) {
        use Moment as M;
        let in_log = self.key.contains("/_delta_log/");
        let is_source = self.key.starts_with("sources/");
        let is_file = !in_log && !is_source && self.key.ends_with(".parquet");
        match self.action.as_str() {
            "PUT" if in_log && self.key.ends_with(".json") => match transaction(body) {
                Some((_, 1)) if self.key.contains("_rejected/") => (Some(M::KeepingRejected), Some(M::RejectedKept)),
                Some((_, 1)) => (Some(M::Publishing), Some(M::Published)),
                Some((_, 0)) => (Some(M::Settling), Some(M::Settled)),
                Some(_) => (None, None),
                None if contains(body, "\"UPDATE FIELD METADATA\"") => (Some(M::Widening), Some(M::Widened)),
                None => (None, None),
            },
            "PUT" if is_file && query.contains("partNumber") => (Some(M::Uploading), Some(M::Uploaded)),
            "PUT" if is_file => (Some(M::Writing), Some(M::Staged)),
            "POST" if is_file && query.contains("uploadId") => (Some(M::Writing), Some(M::Staged)),
            "DELETE" if is_file && !query.contains("uploadId") => (None, Some(M::Discarded)),
            "POST" if query.contains("delete") && contains(body, "/run_") => (None, Some(M::Discarded)),
            "GET" if query.contains("list-type") && query.contains("_delta_log") => (Some(M::Opening), None),
            "GET" if query.contains("list-type") && named(query).is_some() => (Some(M::Discarding), None),
            // The first look only guesses the columns.
            "GET" if is_source && headers.contains_key("range") => (Some(M::Planned), Some(M::Reading)),
            _ => (None, None),
        }
    }

    /// The run's number where the request is for its source.
    pub fn source(&self) -> Option<u64> {
        self.key.strip_prefix("sources/")?.strip_suffix(".csv")?.parse().ok()
    }
}

/// The first run that a text names.
pub fn named(text: &str) -> Option<String> {
    let ids = text.match_indices("run_").filter_map(|(at, _)| text.get(at..at + 36));
    ids.map(str::to_owned).find(|id| id[4..].chars().all(|c| c.is_ascii_hexdigit()))
}

/// The run whose transaction an entry of a table's log carries, and its version.
fn transaction(entry: &[u8]) -> Option<(String, i64)> {
    let lines = entry.split(|byte| *byte == b'\n').filter(|line| contains(line, "\"txn\""));
    let mut actions = lines.filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    actions.find_map(|action| {
        let txn = &action["txn"];
        Some((txn["appId"].as_str()?.to_owned(), txn["version"].as_i64()?))
    })
}

/// Whether `text` is in `bytes`.
pub fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}
