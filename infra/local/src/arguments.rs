//! The command line.

use chrono::TimeDelta;
use clap::{Args, Parser, Subcommand, ValueEnum};
use shared::caller::{TENANTS, is_tenant};
use shared::config::{DEFAULT_LEASE_SECONDS, DEFAULT_MEMORY_MIB, DEFAULT_RUNS, names};
use shared::hosts::AllowedHost;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The most days that a token is valid.
const LONGEST_DAYS: i64 = 3650;

/// The whole of Flowgate on this machine: API, table, queue, worker and clock in one process.
#[derive(Debug, Parser)]
#[command(name = "flowgate", version, about, args_conflicts_with_subcommands = true)]
pub struct Arguments {
    /// What to do; `serve` where it is left out.
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub serve: Serve,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Starts the stack and keeps it running until Ctrl-C (what `flowgate` alone does too)
    Serve(Serve),
    /// Prints a token for the API, alone on the last line
    Token(Token),
    /// Runs a real pipeline over real flights, from an HTTP call to rows in a table
    Demo(Demo),
    /// Holds a run's receipt against the logs of its tables, without asking anybody
    VerifyReceipt(VerifyReceipt),
}

/// Where everything is kept.
#[derive(Debug, Clone, Args)]
pub struct DataDir {
    /// The folder where everything is kept
    #[arg(long, value_name = "DIR", env = names::DATA_DIR, default_value = "flowgate-data")]
    pub data_dir: PathBuf,
}

/// Arguments of `serve`.
#[derive(Debug, Clone, Args)]
pub struct Serve {
    /// Where the API listens; port 0 takes any free one
    #[arg(long, value_name = "ADDRESS", env = names::LISTEN, default_value = "127.0.0.1:3000")]
    pub listen: SocketAddr,
    #[command(flatten)]
    pub data: DataDir,
    /// The folder that local_fs connectors may read; the data folder where it is left out
    #[arg(long, value_name = "DIR", env = names::FILES_ROOT)]
    pub files_root: Option<PathBuf>,
    /// Where the tables lie, such as s3://bucket/prefix, with the usual AWS variables; the data folder where it is left out
    #[arg(long, value_name = "URL", env = names::LAKE_URL)]
    pub lake: Option<String>,
    /// A host, or host:port, that rest_api connectors may reach although its address is private, such as localhost:8080
    #[arg(long, value_name = "HOST", env = names::HTTP_ALLOWED_HOSTS, value_delimiter = ',')]
    pub allow_host: Vec<AllowedHost>,
    /// What one run may hold in memory before it spills to disk, in MiB
    #[arg(long, value_name = "MIB", env = names::MEMORY_MIB, default_value_t = DEFAULT_MEMORY_MIB, value_parser = clap::value_parser!(u32).range(64..))]
    pub memory: u32,
    /// How many runs are executed at once; 0 leaves them to workers of their own, and says how these are started
    #[arg(long, value_name = "N", env = names::CONCURRENT_RUNS, default_value_t = DEFAULT_RUNS, value_parser = clap::value_parser!(u32).range(0..=64))]
    pub concurrent_runs: u32,
    /// Seconds after which a run goes on elsewhere whose worker has died
    #[arg(long, value_name = "SECONDS", env = names::LEASE_SECONDS, default_value_t = DEFAULT_LEASE_SECONDS, value_parser = clap::value_parser!(u32).range(2..=43_200))]
    pub lease: u32,
    /// Seconds that Ctrl-C gives to running runs; one that is not finished then goes on after the next start
    #[arg(long, value_name = "SECONDS", env = names::GRACE, default_value_t = 10)]
    pub grace: u64,
    #[command(flatten)]
    pub log: Log,
}

/// What is logged.
#[derive(Debug, Clone, Default, Args)]
pub struct Log {
    /// What is logged to standard error, such as info or worker=debug,warn
    #[arg(long, value_name = "FILTER", env = names::LOG)]
    pub log: Option<String>,
}

/// Arguments of `token`.
#[derive(Debug, Args)]
pub struct Token {
    /// What its bearer may do
    #[arg(long, value_enum, default_value = "editor")]
    pub role: RoleName,
    /// Whose data it is for
    #[arg(long, default_value = "default", value_parser = tenant)]
    pub tenant: String,
    /// How long it is valid: a number with s, m, h or d, and 3650d at most
    #[arg(long, default_value = "12h", value_parser = duration)]
    pub ttl: TimeDelta,
    /// Who it is for, which runs record as triggeredBy; the role's name where it is left out
    #[arg(long, value_name = "NAME")]
    pub sub: Option<String>,
    /// The secret that a deployment signs with; that of the stack with this data folder where it is left out
    #[arg(long, value_name = "SECRET", env = names::JWT_SECRET, hide_env_values = true)]
    pub secret: Option<String>,
    #[command(flatten)]
    pub data: DataDir,
}

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// Keeps everything in this folder; a temporary one is used where it is left out
    #[arg(long, value_name = "DIR", env = names::DATA_DIR)]
    pub data_dir: Option<PathBuf>,
    #[command(flatten)]
    pub log: Log,
}

/// Arguments of `verify-receipt`.
#[derive(Debug, Args)]
pub struct VerifyReceipt {
    /// The receipt, as GET /api/v1/pipelines/{id}/runs/{runId}/receipt answered it
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    #[command(flatten)]
    pub data: DataDir,
    /// The folder in which the tables lie; that of the data folder where it is left out
    #[arg(long, value_name = "PATH")]
    pub lake: Option<String>,
}

/// A role, by its name in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RoleName {
    /// Everything
    Admin,
    /// Reads, changes and runs
    Editor,
    /// Reads
    Viewer,
}

impl From<RoleName> for shared::roles::Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Admin => Self::Admin,
            RoleName::Editor => Self::Editor,
            RoleName::Viewer => Self::Viewer,
        }
    }
}

fn tenant(text: &str) -> Result<String, String> {
    if is_tenant(text) { Ok(text.to_owned()) } else { Err(format!("a tenant has {TENANTS}")) }
}

/// `90s`, `30m`, `12h`, `7d`, as long as [`LONGEST_DAYS`] at most; a number alone is seconds.
fn duration(text: &str) -> Result<TimeDelta, String> {
    let fault = || format!("{text:?} is not a duration such as 90s, 30m, 12h or 7d");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..) {
        Some("" | "s") => 1,
        Some("m") => 60,
        Some("h") => 3600,
        Some("d") => 86_400,
        _ => return Err(fault()),
    };
    let count: i64 = digits.parse().ok().filter(|count| *count > 0).ok_or_else(fault)?;
    let seconds = count.checked_mul(unit).filter(|seconds| *seconds <= LONGEST_DAYS * 86_400);
    seconds.map(TimeDelta::seconds).ok_or_else(|| format!("{text:?} is longer than {LONGEST_DAYS}d"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn serve_needs_no_name() {
        let arguments = Arguments::try_parse_from(["flowgate", "--listen", "127.0.0.1:0"]).unwrap();
        assert!(arguments.command.is_none());
        assert_eq!(arguments.serve.listen.port(), 0);
        let arguments = Arguments::try_parse_from(["flowgate", "serve", "--data-dir", "x"]).unwrap();
        assert!(matches!(arguments.command, Some(Command::Serve(serve)) if serve.data.data_dir.ends_with("x")));
    }

    #[test]
    fn hosts_are_allowed_one_by_one_or_in_a_list() {
        let arguments =
            Arguments::try_parse_from(["flowgate", "serve", "--allow-host", "a:1,b", "--allow-host", "::1"]);
        assert!(arguments.is_err_and(|e| e.to_string().contains("host:port")));
        let arguments =
            Arguments::try_parse_from(["flowgate", "--allow-host", "a:1,b", "--allow-host", "[::1]"]).unwrap();
        let hosts: Vec<String> = arguments.serve.allow_host.iter().map(ToString::to_string).collect();
        assert_eq!(hosts, ["a:1", "b", "[::1]"]);
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("1h"), Ok(TimeDelta::hours(1)));
        assert_eq!(duration("45"), Ok(TimeDelta::seconds(45)));
        for wrong in ["", "h", "0s", "-1h", "1w", "1.5h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_have_an_end() {
        assert_eq!(duration("3650d"), Ok(TimeDelta::days(3650)));
        for longer in ["3651d", "87601h", "100000000d", "9223372036854775807d", "9223372036854775807"] {
            assert!(duration(longer).is_err_and(|said| said.ends_with("is longer than 3650d")), "{longer}");
        }
        let arguments = Arguments::try_parse_from(["flowgate", "token", "--ttl", "100000000d"]);
        assert!(arguments.is_err_and(|e| e.to_string().contains("is longer than 3650d")));
    }

    #[test]
    fn a_token_is_for_tenants_that_the_api_knows() {
        for (name, is_known) in [("acme", true), ("ada@example.com", true), (".acme", false), ("a/b", false)] {
            let arguments = Arguments::try_parse_from(["flowgate", "token", "--tenant", name]);
            assert_eq!(arguments.is_ok(), is_known, "{name}");
        }
    }
}
