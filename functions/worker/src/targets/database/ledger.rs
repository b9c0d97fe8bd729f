//! `flowgate_runs`, the table beside the target's that says which runs are in it: a run's row and its rows are one
//! transaction.

use super::connection::{Connection, Failed};
use crate::databases::{Dialect, Fault, TableName};
use std::sync::Arc;

/// The table's name.
const NAME: &str = "flowgate_runs";
/// What is kept of a run whose rows are in.
const COMMITTED: &str = "committed";
/// What is kept of a run whose rows must never come in.
const VOID: &str = "void";

/// What the ledger says of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// Its rows are in: how many, how many the load mode left out, and how many the run had rejected; and which attempt
    /// brought them, where the ledger knows.
    Committed { rows: u64, skipped: u64, rejected: u64, attempt: Option<u32> },
    /// They never will be.
    Void,
}

/// The ledger of a table.
#[derive(Debug, Clone)]
pub struct Ledger {
    table: TableName,
    dialect: Dialect,
    target: String,
}

impl Ledger {
    /// The ledger beside `target`.
    pub fn of(target: &TableName, dialect: Dialect) -> Self {
        Self { table: target.beside(NAME), dialect, target: target.table.clone() }
    }

    /// The name of the table that is the ledger.
    pub fn name(&self) -> String {
        self.table.to_string()
    }

    fn quoted(&self) -> String {
        self.table.quoted(self.dialect)
    }

    /// Makes the table where it is not there.
    ///
    /// # Errors
    /// As the server says.
    pub async fn make(&self, connection: &mut Connection) -> Result<(), Failed> {
        let name = self.quoted();
        // Asked first, since making it needs a right even where it is there.
        if connection.run(&format!("SELECT attempt FROM {name} WHERE 1 = 0")).await.is_ok() {
            return Ok(());
        }
        if connection.run(&format!("SELECT 1 FROM {name} WHERE 1 = 0")).await.is_ok() {
            return self.add_attempt(connection).await;
        }
        let columns = match self.dialect {
            Dialect::Postgresql => {
                "run_id text NOT NULL, target_table text NOT NULL, state text NOT NULL, rows_written bigint NOT NULL, \
                 rows_skipped bigint NOT NULL, rows_rejected bigint NOT NULL, recorded_at timestamptz NOT NULL DEFAULT now(), \
                 attempt integer, PRIMARY KEY (run_id, target_table)"
            }
            Dialect::Mysql => {
                "run_id varchar(64) NOT NULL, target_table varchar(64) NOT NULL, state varchar(16) NOT NULL, \
                 rows_written bigint NOT NULL, rows_skipped bigint NOT NULL, rows_rejected bigint NOT NULL, \
                 recorded_at timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6), attempt integer, \
                 PRIMARY KEY (run_id, target_table)"
            }
        };
        let end = match self.dialect {
            Dialect::Postgresql => "",
            Dialect::Mysql => " ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
        };
        match connection.run(&format!("CREATE TABLE IF NOT EXISTS {name} ({columns}){end}")).await {
            Ok(_) => Ok(()),
            // Two who make it at once: one of them has.
            Err(failed) if failed.again || failed.duplicate => Ok(()),
            Err(failed) => Err(failed),
        }
    }

    /// A ledger that is older than its column for attempts gets it; what is in it keeps none.
    async fn add_attempt(&self, connection: &mut Connection) -> Result<(), Failed> {
        match connection.run(&format!("ALTER TABLE {} ADD COLUMN attempt integer", self.quoted())).await {
            Ok(_) => Ok(()),
            // Two who add it at once: one of them has.
            Err(failed) if failed.again => Ok(()),
            Err(failed) => {
                let message = format!(
                    "the ledger {} lacks the column attempt, which could not be added; its owner can, by ALTER TABLE {} ADD \
                     COLUMN attempt integer: {}",
                    self.table,
                    self.quoted(),
                    failed.fault.message
                );
                Err(Failed { fault: Fault { message, ..failed.fault }, ..failed })
            }
        }
    }

    /// What is known of a run.
    ///
    /// # Errors
    /// As the server says.
    pub async fn find(&self, connection: &mut Connection, run: &str) -> Result<Option<Entry>, Failed> {
        let statement = format!(
            "SELECT state, rows_written, rows_skipped, rows_rejected, attempt FROM {} WHERE run_id = {} AND target_table = {}",
            self.quoted(),
            connection.literal(run),
            connection.literal(&self.target)
        );
        let rows = connection.rows(&statement).await?;
        let number = |text: Option<&Option<String>>| text.cloned().flatten().and_then(|t| t.parse().ok()).unwrap_or(0);
        Ok(rows.first().map(|row| match row.first().and_then(Option::as_deref) {
            Some(COMMITTED) => Entry::Committed {
                rows: number(row.get(1)),
                skipped: number(row.get(2)),
                rejected: number(row.get(3)),
                attempt: row.get(4).and_then(|text| text.as_ref()?.parse().ok()),
            },
            _ => Entry::Void,
        }))
    }

    /// Enters a run into the open transaction; false where it is there already. Waits for another transaction that has
    /// entered it and is not at its end.
    ///
    /// # Errors
    /// As the server says.
    pub async fn enter(&self, connection: &mut Connection, run: &str, entry: Entry) -> Result<bool, Failed> {
        let (state, rows, skipped, rejected, attempt) = match entry {
            Entry::Committed { rows, skipped, rejected, attempt } => (COMMITTED, rows, skipped, rejected, attempt),
            Entry::Void => (VOID, 0, 0, 0, None),
        };
        let attempt = attempt.map_or_else(|| "NULL".to_owned(), |attempt| attempt.to_string());
        let conflict = if self.dialect == Dialect::Postgresql { " ON CONFLICT DO NOTHING" } else { "" };
        let statement = format!(
            "INSERT INTO {} (run_id, target_table, state, rows_written, rows_skipped, rows_rejected, attempt) \
             VALUES ({}, {}, '{state}', {rows}, {skipped}, {rejected}, {attempt}){conflict}",
            self.quoted(),
            connection.literal(run),
            connection.literal(&self.target)
        );
        match connection.run(&statement).await {
            Ok(entered) => Ok(entered == 1),
            Err(failed) if failed.duplicate => Ok(false),
            Err(failed) => Err(failed),
        }
    }

    /// What has become of a run for ever: where nothing has, it is made void, so that a late commit of it fails.
    ///
    /// # Errors
    /// As the server says; nothing is settled then.
    pub async fn settle(&self, connection: &mut Connection, run: &str) -> Result<Entry, Failed> {
        self.make(connection).await?;
        // Outside of a transaction each statement is one.
        if self.enter(connection, run, Entry::Void).await? {
            return Ok(Entry::Void);
        }
        Ok(self.find(connection, run).await?.unwrap_or(Entry::Void))
    }

    /// Whether a run is in, asked after the word of its commit was lost: waits for a commit that is under way, and changes
    /// nothing.
    ///
    /// # Errors
    /// As the server says.
    pub async fn ask(&self, server: &Arc<crate::databases::Server>, run: &str) -> Result<Option<Entry>, Fault> {
        let mut connection = Connection::new(server).await?;
        let plain = |failed: Failed| failed.fault;
        connection.begin().await.map_err(plain)?;
        let absent = self.enter(&mut connection, run, Entry::Void).await.map_err(plain)?;
        connection.run("ROLLBACK").await.map_err(plain)?;
        if absent { Ok(None) } else { self.find(&mut connection, run).await.map_err(plain) }
    }
}
