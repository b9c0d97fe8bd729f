//! Databases: a connector's config as a server, its connections, and what their errors mean to a run.

mod fault;
pub mod mysql;
mod names;
pub mod parameters;
pub mod postgres;
mod tls;

pub use fault::{Fault, What};
pub use names::TableName;

use crate::engine::job::Connector;
use crate::error::{Kind, RunError};
use serde_json::Value;
use shared::models::connector::{ConnectorType, DatabaseConfig, Password, SslMode};
use std::fmt;
use std::time::Duration;

/// How long a connection may take to be made, with its encryption and its password.
const CONNECT: Duration = Duration::from_secs(10);

/// The SQL that a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Postgresql,
    Mysql,
}

impl Dialect {
    /// That of the databases of a connector; none where it is no database's.
    pub fn of(kind: ConnectorType) -> Option<Self> {
        match kind {
            ConnectorType::Postgresql => Some(Self::Postgresql),
            ConnectorType::Mysql => Some(Self::Mysql),
            ConnectorType::LocalFs
            | ConnectorType::AwsS3
            | ConnectorType::Gcs
            | ConnectorType::AzureBlob
            | ConnectorType::RestApi => None,
        }
    }

    /// A name as the server takes it whatever is in it.
    pub fn quote(self, name: &str) -> String {
        match self {
            Self::Postgresql => format!("\"{}\"", name.replace('"', "\"\"")),
            Self::Mysql => format!("`{}`", name.replace('`', "``")),
        }
    }

    /// Names in a list.
    pub fn list<'a>(self, names: impl IntoIterator<Item = &'a str>) -> String {
        names.into_iter().map(|name| self.quote(name)).collect::<Vec<_>>().join(", ")
    }
}

/// What a source of a database reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    Table(TableName),
    /// One SELECT in the database's own SQL, without a semicolon at its end.
    Query(String),
}

/// A database as its connector describes it.
#[derive(Clone)]
pub struct Server {
    /// Such as `connector "shop"`, for messages.
    pub name: String,
    pub dialect: Dialect,
    pub host: String,
    pub port: u16,
    pub database: String,
    pub ssl: SslMode,
    /// The certificates (PEM) that are believed in the place of the system's.
    roots: Option<String>,
    pub user: String,
    password: Option<String>,
    wanted: Option<Wanted>,
}

/// Without the password.
impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}:{}/{}", self.name, self.host, self.port, self.database)
    }
}

impl Server {
    /// The server of a connector.
    ///
    /// # Errors
    /// `Kind::Definition` where the config does not fit, or nobody is named who could log in.
    pub fn of(connector: &Connector) -> Result<Self, RunError> {
        let name = format!("connector {:?}", connector.name);
        let wrong = |why: String| RunError::new(Kind::Definition, format!("{name}: {why}"));
        let Some(dialect) = Dialect::of(connector.kind) else {
            return Err(wrong("it is no database".to_owned()));
        };
        let port = match dialect {
            Dialect::Postgresql => 5432,
            Dialect::Mysql => 3306,
        };
        let config: DatabaseConfig = serde_json::from_value(Value::Object(connector.config.clone()))
            .map_err(|e| wrong(format!("its config does not fit: {e}")))?;
        // The error of a value that does not fit would show the value.
        let auth = connector.auth.clone().map(|auth| serde_json::from_value::<Password>(Value::Object(auth)));
        let auth = auth.transpose().map_err(|_| wrong("its authConfig is none of the method password".to_owned()))?;
        let Some(auth) = auth else {
            return Err(wrong(
                "a database needs to know who logs in: set authMethod to password, with a username in authConfig"
                    .to_owned(),
            ));
        };
        let wanted = match (&config.table, &config.query) {
            (_, Some(query)) => Some(Wanted::Query(trimmed(query))),
            (Some(table), None) => Some(Wanted::Table(TableName::parse(table))),
            (None, None) => None,
        };
        Ok(Self {
            dialect,
            host: config.host,
            port: config.port.unwrap_or(port),
            database: config.database,
            ssl: config.ssl_mode.unwrap_or_default(),
            roots: config.ssl_root_cert,
            user: auth.username,
            password: auth.password,
            wanted,
            name,
        })
    }

    /// What a source node reads: what it names itself, else what its connector names.
    ///
    /// # Errors
    /// `Kind::Definition` where neither names a table or a query.
    pub fn wanted(&self, table: Option<&str>, query: Option<&str>) -> Result<Wanted, RunError> {
        match (table, query) {
            (_, Some(query)) => Ok(Wanted::Query(trimmed(query))),
            (Some(table), None) => Ok(Wanted::Table(TableName::parse(table))),
            (None, None) => self.wanted.clone().ok_or_else(|| {
                let why = "neither the source nor the connector says which table or query is read; set table or query";
                RunError::new(Kind::Definition, format!("{}: {why}", self.name))
            }),
        }
    }

    /// What the connector itself names to be read.
    pub fn own(&self) -> Option<&Wanted> {
        self.wanted.as_ref()
    }

    /// `host:port`, for messages.
    fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// An error of this server that nobody can help by waiting.
    pub fn refused(&self, why: impl fmt::Display) -> Fault {
        Fault { what: What::Refused, message: format!("{}: {why}", self.name) }
    }

    /// An error of this server that may be gone next time.
    pub fn away(&self, why: impl fmt::Display) -> Fault {
        Fault { what: What::Away, message: format!("{}: {why}", self.name) }
    }

    fn too_slow(&self) -> Fault {
        self.away(format!("{} did not let us in within {} s", self.address(), CONNECT.as_secs()))
    }
}

fn trimmed(query: &str) -> String {
    query.trim().trim_end_matches(|c: char| c == ';' || c.is_whitespace()).to_owned()
}
