//! Every key of the table, and why it is as it is.
//!
//! What is read:
//!
//! | who asks | for what | how |
//! |---|---|---|
//! | list_pipelines, list_connectors, list_schemas | a tenant's, newest first, and how many there are | Query `T#<tenant>#PIPELINE`, `…#CONNECTOR` or `…#SCHEMA`, backwards |
//! | create_pipeline, update_pipeline, and what reads pipelines or versions | the states, connectors and schemas that they show | BatchGetItem `T#<tenant>#STATE`, `<pipeline>`; `T#<tenant>#CONNECTOR`, `<connector>`; `T#<tenant>#SCHEMA`, `<schema>` |
//! | every route of one pipeline, and below it; on_schedule | one pipeline | GetItem `T#<tenant>#PIPELINE`, `<pipeline>` |
//! | every route of one connector | one connector | GetItem `T#<tenant>#CONNECTOR`, `<connector>` |
//! | every route of one schema; create_pipeline, update_pipeline, validate, preview, the worker | one schema | GetItem `T#<tenant>#SCHEMA`, `<schema>` |
//! | create_pipeline, update_pipeline, validate, preview, the worker | the connectors that a graph names | BatchGetItem `T#<tenant>#CONNECTOR`, `<connector>` |
//! | create_pipeline, update_pipeline, validate, preview | the ids of the schemas that targets name | BatchGetItem `T#<tenant>#NAME#SCHEMA`, `<name>` |
//! | … | the schemas of these ids | BatchGetItem `T#<tenant>#SCHEMA`, `<schema>` |
//! | … | which names there are, where a target names none of them | Query `T#<tenant>#NAME#SCHEMA` |
//! | update_connector, update_schema | whose a name is | GetItem `T#<tenant>#NAME#<kind>`, `<name>` |
//! | delete_connector, delete_schema | who uses it, for the message | Query `T#<tenant>#USES#<id>` |
//! | every create, run_pipeline, retry_run | an answer that was given before | GetItem `T#<tenant>#IDEM#<SHA-256 of caller, route and key>`, `IDEM` |
//! | list_fires, update_pipeline, on_schedule; run_pipeline and retry_run where a run must be alone; who ends a run | a pipeline's state | GetItem `T#<tenant>#STATE`, `<pipeline>` |
//! | list_pipeline_versions | a pipeline's versions, newest first, and how many there are | Query `T#<tenant>#P#<pipeline>`, `V#…`, backwards |
//! | get_pipeline_version, get_run_receipt, retry_run, rollback, the worker | an old version | GetItem `T#<tenant>#P#<pipeline>`, `V#<version>` |
//! | list_runs | a pipeline's runs, newest first, and how many there are | Query `T#<tenant>#P#<pipeline>`, `R#…`, backwards |
//! | every route of one run, run_pipeline, on_schedule, on_dead_letter, the worker | one run | GetItem `T#<tenant>#P#<pipeline>`, `R#<run>` |
//! | delete_pipeline, on_schedule, the worker's purge; run_pipeline and retry_run where a run must be alone | a pipeline's live runs | Query `T#<tenant>#P#<pipeline>`, `L#…` |
//! | list_fires | a pipeline's past fires, oldest first, the one before them, and how many there are | Query `T#<tenant>#P#<pipeline>`, `F#<from>` to `F#<to>` |
//! | update_pipeline, delete_pipeline | what an earlier change has still to leave | GetItem `T#<tenant>#P#<pipeline>`, `REST` |
//! | on_schedule, the worker | whether something is left of a deleted pipeline | GetItem `T#<tenant>#P#<pipeline>`, `TOMBSTONE` |
//! | the worker, of what was deleted | all that lies below a pipeline, and below a run | Query `T#<tenant>#P#<pipeline>`; Query `T#<tenant>#R#<run>` |
//! | list_run_errors | a run's rejected rows, in chunks | Query `T#<tenant>#R#<run>`, `E#<attempt>#…` |
//! | get_run_receipt, the worker | what attempts of a run have read | Query `T#<tenant>#R#<run>`, `I#…` |
//! | get_run_receipt, rollback | what a run's worker kept at its end | GetItem `T#<tenant>#R#<run>`, `RECEIPT` |
//! | on_schedule | how many shards the index has ever had | GetItem `SHARDS`, `SHARDS` |
//! | on_schedule | which pipelines are due | Query index `DUE#<shard>` up to now |
//! | on_schedule | which runs, and which purges, are overdue | Query index `RUN#<shard>` up to now |
//!
//! What is written; lines that begin with "and" are of the same transaction, each write with its condition:
//!
//! | who writes | what | how |
//! |---|---|---|
//! | create, update and delete of connectors and schemas | itself, where no pipeline uses what is deleted | Put, Update or Delete `T#<tenant>#CONNECTOR` or `…#SCHEMA`, `<id>` |
//! | … | and its name, which is free, or its own | Put or Delete `T#<tenant>#NAME#<kind>`, `<name>` |
//! | create, update and delete of pipelines | itself | Put or Delete `T#<tenant>#PIPELINE`, `<pipeline>` |
//! | … | and its state | Put, Update or Delete `T#<tenant>#STATE`, `<pipeline>` |
//! | … | and that it uses a connector or a schema, or does no more | Update `users` of that; Put or Delete `T#<tenant>#USES#<id>`, `<pipeline>` |
//! | create_pipeline, update_pipeline | and a version that stays as it is | Put `T#<tenant>#P#<pipeline>`, `V#<version>` |
//! | update_pipeline | and what it gives up and has no room to leave | Put, later Delete `T#<tenant>#P#<pipeline>`, `REST` |
//! | update_pipeline, on_schedule | and what became of due times that the next fire passes | Put `T#<tenant>#P#<pipeline>`, `F#<time>`; Update of the state |
//! | delete_pipeline | and that something is left to be purged | Put `T#<tenant>#P#<pipeline>`, `TOMBSTONE` |
//! | every create, run_pipeline, retry_run | and what it answers | Put `T#<tenant>#IDEM#<SHA-256 of caller, route and key>`, `IDEM` |
//! | run_pipeline, retry_run, on_schedule | a run, and that it is live | Put `T#<tenant>#P#<pipeline>`, `R#<run>`; Put `…`, `L#<run>` |
//! | run_pipeline, retry_run | and that its pipeline is there; its turn where it must be alone; the run that it retries | ConditionCheck of the pipeline; Update of the state; Update of that run |
//! | cancel_run, rollback, on_schedule, the worker | each step of a run's life | UpdateItem `T#<tenant>#P#<pipeline>`, `R#<run>` |
//! | the worker | that a run is its pipeline's last one | UpdateItem `T#<tenant>#STATE`, `<pipeline>` |
//! | who ends a run | its end; and that it is not live; what its receipt is made of; its pipeline's last run | Update `T#<tenant>#P#<pipeline>`, `R#<run>`; Delete `…`, `L#<run>`; Put `T#<tenant>#R#<run>`, `RECEIPT`; Update of the state |
//! | the worker | a run's rejected rows, what an attempt has read | PutItem `T#<tenant>#R#<run>`, `E#<attempt>#<chunk>` and `I#<attempt>` |
//! | the test of a connector | its outcome | UpdateItem `T#<tenant>#CONNECTOR`, `<connector>` |
//! | on_schedule, the worker | when a purge is looked after again | UpdateItem `T#<tenant>#P#<pipeline>`, `TOMBSTONE` |
//! | the worker, of what was deleted | what it has read there goes | BatchWriteItem |
//! | on_schedule | that the index has more shards | UpdateItem `SHARDS`, `SHARDS` |
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
    fn what_is_read_by_its_key_is_in_the_table_above() {
        let rows: Vec<&str> = include_str!("keys.rs").lines().filter(|line| line.starts_with("//! |")).collect();
        for key in [
            resource("<tenant>", Kind::Pipeline, "<pipeline>"),
            resource("<tenant>", Kind::Connector, "<connector>"),
            resource("<tenant>", Kind::Schema, "<schema>"),
            state("<tenant>", "<pipeline>"),
            run("<tenant>", "<pipeline>", "<run>"),
            rest("<tenant>", "<pipeline>"),
            tombstone("<tenant>", "<pipeline>"),
            receipt("<tenant>", "<run>"),
            name("<tenant>", Kind::Schema, "<name>"),
            shards(),
        ] {
            let words = format!("GetItem `{}`, `{}`", key.pk, key.sk);
            assert!(rows.iter().any(|row| row.contains(&words)), "no row has {words}");
        }
    }

    #[test]
    fn parts_of_an_idempotency_key_cannot_be_shifted() {
        assert_ne!(idempotency("t", "ab", "c", "d"), idempotency("t", "a", "bc", "d"));
    }
}
