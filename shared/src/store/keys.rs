//! Every key of the table, and why it is as it is.
//!
//! | who asks | for what | how |
//! |---|---|---|
//! | list_pipelines | a tenant's pipelines, newest first | Query `T#<tenant>#PIPELINE`, backwards |
//! | … | their states, connectors and schemas | BatchGetItem |
//! | get_pipeline, every read below one | one pipeline | GetItem `T#<tenant>#PIPELINE`, `<pipeline>` |
//! | get_pipeline_version | an old version | GetItem `T#<tenant>#P#<pipeline>`, `V#<version>` |
//! | list_runs | a pipeline's runs, newest first | Query `T#<tenant>#P#<pipeline>`, `R#…`, backwards |
//! | on_schedule, update_pipeline | to note what became of due times | Put `T#<tenant>#P#<pipeline>`, `F#<time>` where the next fire is moved |
//! | list_fires | a pipeline's past fires, oldest first | Query `T#<tenant>#P#<pipeline>`, `F#<from>` to `F#<to>`, and the one before |
//! | run_pipeline, on_schedule | a pipeline's live runs | Query `T#<tenant>#P#<pipeline>`, `L#…` |
//! | list_run_errors | a run's rejected rows, in chunks | Query `T#<tenant>#R#<run>`, `E#<attempt>#…` |
//! | get_run_receipt | what attempts of a run have read | Query `T#<tenant>#R#<run>`, `I#<attempt>` |
//! | get_run_receipt | what a run's worker kept at its end | GetItem `T#<tenant>#R#<run>`, `RECEIPT` |
//! | list_connectors, list_schemas | a tenant's, newest first | Query `T#<tenant>#CONNECTOR` or `…#SCHEMA`, backwards |
//! | create_connector, create_schema | whether a name is free | condition on `T#<tenant>#NAME#<kind>`, `<name>` |
//! | create_pipeline, update_pipeline | the schemas that targets name | BatchGetItem `T#<tenant>#NAME#SCHEMA`, `<name>` |
//! | update_pipeline, delete_pipeline | what an earlier change has still to leave | GetItem `T#<tenant>#P#<pipeline>`, `REST` |
//! | create_pipeline, update_pipeline, validate, preview | which names there are, where a target names none of them | Query `T#<tenant>#NAME#SCHEMA` |
//! | delete_connector, delete_schema | who uses it | condition on its `users`; Query `T#<tenant>#USES#<id>` for the message |
//! | every create | an answer that was given before | GetItem `T#<tenant>#IDEM#<caller>#<route>#<key>` |
//! | on_schedule | how many shards the index has ever had | GetItem `SHARDS`, `SHARDS` |
//! | on_schedule | which pipelines are due | Query index `DUE#<shard>` up to now |
//! | on_schedule | which runs are overdue | Query index `RUN#<shard>` up to now |
//!
//! A tenant's name holds no `#`, nor does an id, so that no key can be taken for another one.

use sha2::{Digest, Sha256};

/// Partition and sort key of an item.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    pub pk: String,
    pub sk: String,
}

impl Key {
    fn new(pk: impl Into<String>, sk: impl Into<String>) -> Self {
        Self { pk: pk.into(), sk: sk.into() }
    }
}

/// The three kinds of resources that lie under their tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Pipeline,
    Connector,
    Schema,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Pipeline => "PIPELINE",
            Self::Connector => "CONNECTOR",
            Self::Schema => "SCHEMA",
        }
    }
    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pipeline => "pipeline",
            Self::Connector => "connector",
            Self::Schema => "schema",
        }
    }
}

/// The partition of a tenant's resources of a kind.
pub fn resources(tenant: &str, kind: Kind) -> String {
    format!("T#{tenant}#{}", kind.word())
}
/// A resource.
pub fn resource(tenant: &str, kind: Kind, id: &str) -> Key {
    Key::new(resources(tenant, kind), id)
}
/// What changes of a pipeline while it runs.
pub fn state(tenant: &str, pipeline: &str) -> Key {
    Key::new(format!("T#{tenant}#STATE"), pipeline)
}
/// The partition of what lies under a pipeline.
pub fn under_pipeline(tenant: &str, pipeline: &str) -> String {
    format!("T#{tenant}#P#{pipeline}")
}
/// The start of the sort keys of versions.
pub const VERSIONS: &str = "V#";
/// The start of the sort keys of runs.
pub const RUNS: &str = "R#";
/// The start of the sort keys of live runs.
pub const LIVE: &str = "L#";
/// The start of the sort keys of the ledger of fires.
pub const FIRES: &str = "F#";
/// An immutable version of a pipeline.
pub fn version(tenant: &str, pipeline: &str, version: u32) -> Key {
    Key::new(under_pipeline(tenant, pipeline), format!("{VERSIONS}{version:010}"))
}
/// A run.
pub fn run(tenant: &str, pipeline: &str, run: &str) -> Key {
    Key::new(under_pipeline(tenant, pipeline), format!("{RUNS}{run}"))
}
/// The entry of the ledger of fires that begins at `time` (RFC 3339 in UTC with milliseconds). Like the runs that it names
/// it stays until the pipeline is deleted.
pub fn fire(tenant: &str, pipeline: &str, time: &str) -> Key {
    Key::new(under_pipeline(tenant, pipeline), format!("{FIRES}{time}"))
}
/// The mark of a run that is not final; it is made and removed in the transactions that make and end the run.
pub fn live(tenant: &str, pipeline: &str, run: &str) -> Key {
    Key::new(under_pipeline(tenant, pipeline), format!("{LIVE}{run}"))
}
/// What a change of a pipeline gave up and had no room to leave in its own transaction.
pub fn rest(tenant: &str, pipeline: &str) -> Key {
    Key::new(under_pipeline(tenant, pipeline), "REST")
}
/// What stays of a deleted pipeline until all below it is removed.
pub fn tombstone(tenant: &str, pipeline: &str) -> Key {
    Key::new(under_pipeline(tenant, pipeline), "TOMBSTONE")
}
/// The partition of what lies under a run.
pub fn under_run(tenant: &str, run: &str) -> String {
    format!("T#{tenant}#R#{run}")
}
/// The start of the sort keys of one attempt's rejected rows.
pub fn attempt_errors(attempt: u32) -> String {
    format!("E#{attempt:06}#")
}
/// One chunk of a run's rejected rows.
pub fn errors(tenant: &str, run: &str, attempt: u32, chunk: u32) -> Key {
    Key::new(under_run(tenant, run), format!("{}{chunk:08}", attempt_errors(attempt)))
}
/// The start of the sort keys of what attempts have read.
pub const READINGS: &str = "I#";
/// What one attempt has read.
pub fn reading(tenant: &str, run: &str, attempt: u32) -> Key {
    Key::new(under_run(tenant, run), format!("{READINGS}{attempt:06}"))
}
/// What a run's receipt is made of, from its end on.
pub fn receipt(tenant: &str, run: &str) -> Key {
    Key::new(under_run(tenant, run), "RECEIPT")
}
/// A taken name.
pub fn name(tenant: &str, kind: Kind, name: &str) -> Key {
    Key::new(format!("T#{tenant}#NAME#{}", kind.word()), name)
}
/// The partition of the pipelines that use a connector or a schema.
pub fn users(tenant: &str, used: &str) -> String {
    format!("T#{tenant}#USES#{used}")
}
/// The mark that a pipeline uses a connector or a schema.
pub fn uses(tenant: &str, used: &str, pipeline: &str) -> Key {
    Key::new(users(tenant, used), pipeline)
}
/// The record of a create that carried an idempotency key. The key is hashed: it is the caller's text.
pub fn idempotency(tenant: &str, caller: &str, route: &str, key: &str) -> Key {
    let mut hash = Sha256::new();
    for part in [caller, route, key] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    Key::new(format!("T#{tenant}#IDEM#{}", hex::encode(hash.finalize())), "IDEM")
}

/// How many shards the index has ever had.
pub fn shards() -> Key {
    Key::new("SHARDS", "SHARDS")
}
/// The shard of a pipeline and its runs, of `shards`.
pub fn shard(tenant: &str, pipeline: &str, shards: u32) -> u32 {
    let hash = Sha256::digest(format!("{tenant}#{pipeline}"));
    u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]) % shards.max(1)
}
/// The index partition of the pipelines of a shard that have a schedule; its sort key begins with the due time.
pub fn due_shard(shard: u32) -> String {
    format!("DUE#{shard:04}")
}
/// The index partition of the runs of a shard that are not final; its sort key begins with the time to look after it.
pub fn overdue_shard(shard: u32) -> String {
    format!("RUN#{shard:04}")
}
/// The sort key in the index of what is due at `time` (RFC 3339).
pub fn due_at(time: &str, id: &str) -> String {
    format!("{time}#{id}")
}

/// What a key in the index says: tenant, and pipeline or pipeline and run.
pub fn parse_state(key: &Key) -> Option<(&str, &str)> {
    Some((key.pk.strip_prefix("T#")?.strip_suffix("#STATE")?, &key.sk))
}
/// Tenant, pipeline and run of a run's key; the run is none for a tombstone.
pub fn parse_run(key: &Key) -> Option<(&str, &str, Option<&str>)> {
    let (tenant, pipeline) = key.pk.strip_prefix("T#")?.split_once("#P#")?;
    Some((tenant, pipeline, key.sk.strip_prefix(RUNS)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_the_index_can_be_read_back() {
        assert_eq!(parse_state(&state("acme", "pipe_1")), Some(("acme", "pipe_1")));
        assert_eq!(parse_run(&run("acme", "pipe_1", "run_2")), Some(("acme", "pipe_1", Some("run_2"))));
        assert_eq!(parse_run(&tombstone("acme", "pipe_1")), Some(("acme", "pipe_1", None)));
    }

    #[test]
    fn parts_of_an_idempotency_key_cannot_be_shifted() {
        assert_ne!(idempotency("t", "ab", "c", "d"), idempotency("t", "a", "bc", "d"));
    }
}
