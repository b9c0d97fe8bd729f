//! A connection that writes: statements and their texts, the same for both dialects.

use crate::databases::{Dialect, Fault, Server, What, mysql, postgres};
use mysql_async::prelude::Queryable;
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres::SimpleQueryMessage;

/// The longest that a transaction may wait for its next statement. Shorter than what waits for its locks waits.
const IDLE: Duration = Duration::from_secs(60);

/// A connection of one dialect.
pub enum Connection {
    Postgres(Box<postgres::Session>),
    Mysql(Box<mysql::Session>),
}

/// A statement that failed.
#[derive(Debug)]
pub struct Failed {
    pub fault: Fault,
    /// Whether a unique key has the value already.
    pub duplicate: bool,
    /// Whether the same may work at once: a deadlock, or two who made the same thing.
    pub again: bool,
}

/// Rows of texts.
pub type Texts = Vec<Vec<Option<String>>>;

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// As the sessions of the dialects.
    pub async fn new(server: &Arc<Server>) -> Result<Self, Fault> {
        let mut connection = match server.dialect {
            Dialect::Postgresql => Self::Postgres(Box::new(postgres::Session::connect(server).await?)),
            Dialect::Mysql => Self::Mysql(Box::new(mysql::Session::connect(server).await?)),
        };
        let settings: &[&str] = match server.dialect {
            Dialect::Postgresql => &[
                "SET standard_conforming_strings = on",
                "SET lock_timeout = '120s'",
                "SET TimeZone = 'UTC'",
                "SET default_transaction_isolation = 'read committed'",
                // A worker whose machine has vanished is noticed within a minute, and its locks are given up. Asked for by
                // name, since not all that speak like PostgreSQL know these.
                "SELECT count(set_config(name, CASE name WHEN 'tcp_keepalives_count' THEN '3' ELSE '15' END, false)) \
                 FROM pg_catalog.pg_settings \
                 WHERE name IN ('tcp_keepalives_idle', 'tcp_keepalives_interval', 'tcp_keepalives_count')",
            ],
            Dialect::Mysql => &[
                // A value that does not fit is an error, zero is no wish for a number, and a backslash escapes.
                "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION'",
                "SET SESSION innodb_lock_wait_timeout = 120, lock_wait_timeout = 120",
                // Rows that are not there yet are locked too.
                "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
            ],
        };
        for setting in settings {
            connection.run(setting).await.map_err(|failed| failed.fault)?;
        }
        Ok(connection)
    }

    /// The server.
    pub fn server(&self) -> &Arc<Server> {
        match self {
            Self::Postgres(session) => &session.server,
            Self::Mysql(session) => &session.server,
        }
    }

    /// The SQL that it speaks.
    pub fn dialect(&self) -> Dialect {
        self.server().dialect
    }

    /// A text as a statement writes it.
    pub fn literal(&self, text: &str) -> String {
        match self {
            Self::Postgres(_) => format!("'{}'", text.replace('\'', "''")),
            Self::Mysql(_) => format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''")),
        }
    }

    /// Begins a transaction. The server ends it by itself where no statement follows for [`IDLE`]: whoever is stopped in its
    /// middle, or has vanished without a word, holds locks for which others wait.
    ///
    /// # Errors
    /// As the server says.
    pub async fn begin(&mut self) -> Result<(), Failed> {
        let seconds = IDLE.as_secs();
        match self.dialect() {
            Dialect::Postgresql => {
                self.run("BEGIN").await?;
                // Asked for by name, since servers before 9.6 do not have it.
                let limit = format!(
                    "SELECT count(set_config(name, '{seconds}s', true)) FROM pg_catalog.pg_settings \
                     WHERE name = 'idle_in_transaction_session_timeout'"
                );
                self.run(&limit).await?;
            }
            Dialect::Mysql => {
                // It has none for transactions alone, and nothing follows this one but its repetition.
                self.run(&format!("SET SESSION wait_timeout = {seconds}")).await?;
                self.run("BEGIN").await?;
            }
        }
        Ok(())
    }

    /// Runs a statement and answers the rows that it changed.
    ///
    /// # Errors
    /// As the server says.
    pub async fn run(&mut self, statement: &str) -> Result<u64, Failed> {
        match self {
            Self::Postgres(session) => {
                session.busy(true);
                let said = session.simple_query(statement).await.map_err(|e| of_postgres(session, &e));
                session.busy(false);
                Ok(said?.iter().fold(0, |last, message| match message {
                    SimpleQueryMessage::CommandComplete(rows) => *rows,
                    _ => last,
                }))
            }
            Self::Mysql(session) => {
                session.busy = true;
                let said = session.query_drop(statement).await;
                session.busy = false;
                said.map_err(|e| of_mysql(session, &e))?;
                Ok(session.affected_rows())
            }
        }
    }

    /// Runs a statement and answers its rows.
    ///
    /// # Errors
    /// As the server says.
    pub async fn rows(&mut self, statement: &str) -> Result<Texts, Failed> {
        match self {
            Self::Postgres(session) => {
                session.busy(true);
                let said = session.simple_query(statement).await.map_err(|e| of_postgres(session, &e));
                session.busy(false);
                let said = said?;
                let row = |message: &SimpleQueryMessage| match message {
                    SimpleQueryMessage::Row(row) => {
                        Some((0..row.len()).map(|i| row.get(i).map(str::to_owned)).collect())
                    }
                    _ => None,
                };
                Ok(said.iter().filter_map(row).collect())
            }
            Self::Mysql(session) => {
                session.busy = true;
                let said = session.query(statement).await;
                session.busy = false;
                let rows: Vec<mysql_async::Row> = said.map_err(|e| of_mysql(session, &e))?;
                let text = |value: mysql_async::Value| match value {
                    mysql_async::Value::NULL => None,
                    mysql_async::Value::Bytes(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
                    other => Some(other.as_sql(true)),
                };
                Ok(rows.into_iter().map(|row| row.unwrap().into_iter().map(text).collect()).collect())
            }
        }
    }
}

impl Failed {
    /// Whether the connection is lost, or the server went away: what was sent last may have been done.
    pub fn is_away(&self) -> bool {
        self.fault.what == What::Away
    }
}

/// An error of PostgreSQL.
pub fn of_postgres(session: &postgres::Session, error: &tokio_postgres::Error) -> Failed {
    let code = error.code().map(tokio_postgres::error::SqlState::code).unwrap_or_default();
    // Two who make the same table or column at once meet in the catalog.
    let twice = matches!(code, "42P07" | "42710" | "42701");
    Failed {
        fault: session.fault(error),
        duplicate: code == "23505",
        again: matches!(code, "40001" | "40P01") || twice,
    }
}

/// An error of MySQL.
pub fn of_mysql(session: &mysql::Session, error: &mysql_async::Error) -> Failed {
    let code = if let mysql_async::Error::Server(said) = error { said.code } else { 0 };
    Failed { fault: session.fault(error), duplicate: code == 1062, again: matches!(code, 1213 | 1050 | 1060) }
}
