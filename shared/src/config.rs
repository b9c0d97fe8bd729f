//! Every environment variable that Flowgate reads, in one place.
//!
//! Only AWS's own are read elsewhere: by its SDKs, and by the clients of S3, Delta's and that of the worker's `sources/s3.rs`.

use crate::hosts::AllowedHost;
use std::env;

/// The names of the variables that the command line takes too.
pub mod names {
    /// The folder where the local stack keeps everything.
    pub const DATA_DIR: &str = "FLOWGATE_DATA_DIR";
    /// Where the local stack's API listens.
    pub const LISTEN: &str = "FLOWGATE_LISTEN";
    /// Seconds that Ctrl-C gives to the local stack's running runs.
    pub const GRACE: &str = "FLOWGATE_GRACE";
    /// See [`WorkerConfig::files_root`](super::WorkerConfig::files_root).
    pub const FILES_ROOT: &str = "FLOWGATE_FILES_ROOT";
    /// See [`WorkerConfig::lake_url`](super::WorkerConfig::lake_url).
    pub const LAKE_URL: &str = "FLOWGATE_LAKE_URL";
    /// See [`WorkerConfig::http_allowed_hosts`](super::WorkerConfig::http_allowed_hosts).
    pub const HTTP_ALLOWED_HOSTS: &str = "FLOWGATE_HTTP_ALLOWED_HOSTS";
    /// See [`WorkerConfig::memory_bytes`](super::WorkerConfig::memory_bytes).
    pub const MEMORY_MIB: &str = "FLOWGATE_MEMORY_MIB";
    /// See [`WorkerConfig::concurrent_runs`](super::WorkerConfig::concurrent_runs).
    pub const CONCURRENT_RUNS: &str = "FLOWGATE_CONCURRENT_RUNS";
    /// See [`Config::lease_seconds`](super::Config::lease_seconds).
    pub const LEASE_SECONDS: &str = "FLOWGATE_LEASE_SECONDS";
    /// See [`TokenConfig::secret`](super::TokenConfig::secret).
    pub const JWT_SECRET: &str = "FLOWGATE_JWT_SECRET";
    /// See [`log_filter`](super::log_filter).
    pub const LOG: &str = "FLOWGATE_LOG";
}

/// What is wrong with the environment.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A variable that is needed is not set.
    #[error("the environment variable {0} is not set; template.yaml sets it for each function that needs it")]
    Missing(&'static str),
    /// A variable has a value that it cannot have.
    #[error("the environment variable {name} is {value:?}, which is not {wanted}")]
    Invalid {
        /// Its name.
        name: &'static str,
        /// What it holds.
        value: String,
        /// What it should hold.
        wanted: &'static str,
    },
}

/// How this process reaches what is around it.
#[derive(Clone)]
pub struct Config {
    /// `FLOWGATE_TABLE`: the DynamoDB table.
    pub table: String,
    /// `FLOWGATE_RUNS_QUEUE_URL`: the queue of runs.
    pub runs_queue_url: String,
    /// `FLOWGATE_TICKS_QUEUE_URL`: the queue on which the minute tick hands out its shards.
    pub ticks_queue_url: String,
    /// `FLOWGATE_SHARDS`: shards of the index of what is due; 8.
    pub shards: u32,
    /// `FLOWGATE_CURSOR_KEY`: the secret that seals cursors and idempotency records, at least 32 characters.
    pub cursor_key: String,
    /// How tokens are checked.
    pub tokens: TokenConfig,
    /// `FLOWGATE_KMS_KEY_ID`, or else `FLOWGATE_SECRETS_KEY_FILE`: what encrypts connectors' secrets.
    pub secrets: SecretsConfig,
    /// The worker service that the tick scales; none where nothing is to be scaled.
    pub scaling: Option<ScalingConfig>,
    /// `FLOWGATE_LOCAL_FS`: whether connectors of the type `local_fs` may be made; false.
    pub local_fs: bool,
    /// `FLOWGATE_LEASE_SECONDS`: how long a worker holds a run, and its message, without a heartbeat, of which there are
    /// five in that time; 20. All workers of a deployment should have the same.
    pub lease_seconds: u32,
}

/// How tokens are checked.
#[derive(Clone, Default)]
pub struct TokenConfig {
    /// `FLOWGATE_JWT_ALGORITHMS`: comma-separated among HS256, RS256 and ES256.
    pub algorithms: Vec<String>,
    /// `FLOWGATE_JWT_SECRET`: for HS256.
    pub secret: Option<String>,
    /// `FLOWGATE_JWKS_URL`: for RS256 and ES256.
    pub jwks_url: Option<String>,
    /// `FLOWGATE_JWT_ISSUER`.
    pub issuer: Option<String>,
    /// `FLOWGATE_JWT_AUDIENCE`.
    pub audience: Option<String>,
    /// `FLOWGATE_TENANT_CLAIM`; `tenantId`.
    pub tenant_claim: Option<String>,
    /// `FLOWGATE_ROLE_CLAIM`; `role` or `roles`.
    pub role_claim: Option<String>,
}

/// What encrypts connectors' secrets.
#[derive(Debug, Clone)]
pub enum SecretsConfig {
    /// A KMS key.
    Kms(String),
    /// A file of 32 bytes.
    File(std::path::PathBuf),
    /// Nothing: this function has no business with secrets.
    None,
}

/// The worker service that the tick scales.
#[derive(Debug, Clone)]
pub struct ScalingConfig {
    /// `FLOWGATE_WORKER_CLUSTER`.
    pub cluster: String,
    /// `FLOWGATE_WORKER_SERVICE`.
    pub service: String,
    /// `FLOWGATE_WORKER_MAX`: the most tasks; 10.
    pub max: i32,
    /// `FLOWGATE_CONCURRENT_RUNS`: runs that one task executes at once, as its own environment says; 2.
    pub runs: u32,
}

impl ScalingConfig {
    /// How many tasks work this many messages at once, of those that may run.
    pub fn wanted(&self, messages: u32) -> i32 {
        i32::try_from(messages.div_ceil(self.runs.max(1))).unwrap_or(i32::MAX).clamp(0, self.max)
    }
}

/// What the worker needs beyond [`Config`].
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// `FLOWGATE_LAKE_URL`: `s3://bucket/prefix` or `file:///folder`.
    pub lake_url: String,
    /// `FLOWGATE_FILES_ROOT`: the folder that `local_fs` may read; off where it is not set.
    pub files_root: Option<std::path::PathBuf>,
    /// `FLOWGATE_MEMORY_MIB`: for one run's operators, in MiB there and in bytes here; 1 GiB.
    pub memory_bytes: usize,
    /// `FLOWGATE_SCRATCH`: where operators spill; a folder in the system's temporary folder.
    pub scratch: std::path::PathBuf,
    /// `FLOWGATE_CONCURRENT_RUNS`: runs that one worker executes at once; 2.
    pub concurrent_runs: usize,
    /// `FLOWGATE_HTTP_ALLOWED_HOSTS`: hosts that connectors may reach by HTTP although their addresses are private, as
    /// `host` or `host:port` with commas between them; none.
    pub http_allowed_hosts: Vec<AllowedHost>,
    /// `ECS_AGENT_URI`, which ECS sets: where a task protects itself from being scaled in.
    pub ecs_agent_uri: Option<String>,
}

fn optional(name: &'static str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn number<T: std::str::FromStr>(name: &'static str, default: T) -> Result<T, ConfigError> {
    match optional(name) {
        None => Ok(default),
        Some(value) => value.parse().map_err(|_| ConfigError::Invalid { name, value, wanted: "a whole number" }),
    }
}

fn hosts(name: &'static str) -> Result<Vec<AllowedHost>, ConfigError> {
    let value = optional(name).unwrap_or_default();
    let wanted = "a list of host or host:port with commas between them";
    AllowedHost::list(&value).map_err(|_| ConfigError::Invalid { name, value, wanted })
}

impl Config {
    /// What the environment says. A variable that this function does not need may be missing: its text is then
    /// empty, and using it fails where it is used.
    ///
    /// # Errors
    /// Where a variable is missing that all need, or has a value that it cannot have.
    pub fn from_env() -> Result<Self, ConfigError> {
        let text = |name| optional(name).unwrap_or_default();
        Ok(Self {
            table: optional("FLOWGATE_TABLE").ok_or(ConfigError::Missing("FLOWGATE_TABLE"))?,
            runs_queue_url: text("FLOWGATE_RUNS_QUEUE_URL"),
            ticks_queue_url: text("FLOWGATE_TICKS_QUEUE_URL"),
            shards: number("FLOWGATE_SHARDS", DEFAULT_SHARDS)?.max(1),
            cursor_key: text("FLOWGATE_CURSOR_KEY"),
            tokens: TokenConfig {
                algorithms: text("FLOWGATE_JWT_ALGORITHMS")
                    .split(',')
                    .map(|a| a.trim().to_owned())
                    .filter(|a| !a.is_empty())
                    .collect(),
                secret: optional(names::JWT_SECRET),
                jwks_url: optional("FLOWGATE_JWKS_URL"),
                issuer: optional("FLOWGATE_JWT_ISSUER"),
                audience: optional("FLOWGATE_JWT_AUDIENCE"),
                tenant_claim: optional("FLOWGATE_TENANT_CLAIM"),
                role_claim: optional("FLOWGATE_ROLE_CLAIM"),
            },
            secrets: match (optional("FLOWGATE_KMS_KEY_ID"), optional("FLOWGATE_SECRETS_KEY_FILE")) {
                (Some(key), _) => SecretsConfig::Kms(key),
                (None, Some(file)) => SecretsConfig::File(file.into()),
                (None, None) => SecretsConfig::None,
            },
            scaling: match (optional("FLOWGATE_WORKER_CLUSTER"), optional("FLOWGATE_WORKER_SERVICE")) {
                (Some(cluster), Some(service)) => {
                    let max = number("FLOWGATE_WORKER_MAX", 10)?;
                    Some(ScalingConfig { cluster, service, max, runs: number(names::CONCURRENT_RUNS, DEFAULT_RUNS)? })
                }
                _ => None,
            },
            local_fs: optional("FLOWGATE_LOCAL_FS").is_some_and(|v| v == "true" || v == "1"),
            lease_seconds: number(names::LEASE_SECONDS, DEFAULT_LEASE_SECONDS)?.clamp(2, 43_200),
        })
    }
}

/// Shards of the index of what is due, where the deployment does not say.
///
/// How many are needed follows from what one partition of DynamoDB takes, 1,000 write units a second: a fire takes an entry
/// of the index out of its shard and puts one in, so a shard fires 500 pipelines a second at most, and an index that cannot
/// keep up throttles the table. A call of the tick works a shard for 20 s, so it fires 10,000 at most: a million due at the
/// same minute want 100 shards to be done in one call each. With 50 the next minute's calls do the second half, 80 s after
/// they were due; with fewer some are older than the 90 s after which they count as missed.
///
/// The function must keep up, too: a fire is three requests and a tenth of a fourth one (two reads, a transaction, a batch of
/// ten messages), so 500 a second are 1,550 signed requests, for each of which one processor has 0.6 ms. The template gives the
/// function the 1,769 MB at which Lambda gives it a whole one; with 256 MB it would have a seventh. That a whole one is enough is
/// an assumption, which was not measured on AWS. Where it is not, the log says that a shard is too large for one tick, and more
/// shards help, since each has a processor of its own.
///
/// Two other bounds are not moved by shards: a fire writes 8 units to the table and 3 to the index (items below 1 KB, doubled
/// by the transaction), so a million are 8 million units, for which a table's quota and warm throughput must be raised; and
/// the states of one tenant's pipelines share a partition, which takes 500 fires a second until DynamoDB has split it.
///
/// Another number than before strands nothing: the table keeps the highest one, and each tick asks so many shards. After
/// fewer than before what is saved anew goes into the fewer ones, and the others are asked for nothing, a Query a minute each.
pub const DEFAULT_SHARDS: u32 = 8;

/// Runs that one worker executes at once, where the deployment does not say.
pub const DEFAULT_RUNS: u32 = 2;

/// MiB that one run may hold in memory, where the deployment does not say.
pub const DEFAULT_MEMORY_MIB: u32 = 1024;

/// Seconds that a worker holds a run without a heartbeat, where the deployment does not say.
pub const DEFAULT_LEASE_SECONDS: u32 = 20;

/// `FLOWGATE_CLOCK_OFFSET_SECONDS`: how far this process's clock is ahead (negative: behind), to try what a wrong clock
/// does; 0. Only builds with debug assertions have it.
///
/// # Errors
/// Where it is no number.
#[cfg(debug_assertions)]
pub fn clock_offset_seconds() -> Result<i64, ConfigError> {
    number("FLOWGATE_CLOCK_OFFSET_SECONDS", 0)
}

impl WorkerConfig {
    /// What the environment says.
    ///
    /// # Errors
    /// Where a variable is missing or has a value that it cannot have.
    pub fn from_env() -> Result<Self, ConfigError> {
        Ok(Self {
            lake_url: optional(names::LAKE_URL).ok_or(ConfigError::Missing(names::LAKE_URL))?,
            files_root: optional(names::FILES_ROOT).map(Into::into),
            memory_bytes: number(names::MEMORY_MIB, DEFAULT_MEMORY_MIB)? as usize * 1024 * 1024,
            scratch: optional("FLOWGATE_SCRATCH").map_or_else(|| env::temp_dir().join("flowgate"), Into::into),
            concurrent_runs: number(names::CONCURRENT_RUNS, DEFAULT_RUNS)? as usize,
            http_allowed_hosts: hosts(names::HTTP_ALLOWED_HOSTS)?,
            ecs_agent_uri: optional("ECS_AGENT_URI"),
        })
    }
}

/// `FLOWGATE_LOG`: what is logged, such as `info` or `shared=debug,warn`; `default` where it is not set.
pub fn log_filter(default: &str) -> tracing_subscriber::EnvFilter {
    let text = optional(names::LOG).unwrap_or_else(|| default.to_owned());
    tracing_subscriber::EnvFilter::try_new(&text).unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_wanted_for_as_many_messages_as_it_has_runs() {
        let wanted = |runs, messages| {
            ScalingConfig { cluster: String::new(), service: String::new(), max: 4, runs }.wanted(messages)
        };
        assert_eq!([0, 1, 2, 3, 4, 5].map(|messages| wanted(2, messages)), [0, 1, 1, 2, 2, 3]);
        assert_eq!([1, 4, 5, 17, u32::MAX].map(|messages| wanted(4, messages)), [1, 1, 2, 4, 4]);
        assert_eq!([1, 3, 9].map(|messages| wanted(1, messages)), [1, 3, 4]);
    }
}
