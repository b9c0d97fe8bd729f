//! A database of either server, in which a test can hold a table, and see what Flowgate does there meanwhile.

use serde_json::{Value, json};
use shared::models::connector::ConnectorType;
use tests::servers::{self, Maria, Postgres, Server};
use worker::engine::job::Connector;

/// Statements of Flowgate that wait for a lock.
pub const WAITING: &str = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'flowgate' AND wait_event_type = 'Lock' \
     AND datname = current_database()";
/// Connections of Flowgate.
pub const CONNECTED: &str =
    "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'flowgate' AND datname = current_database()";
/// Transactions of Flowgate that are open and wait for its next statement.
const IN_TRANSACTION: &str = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'flowgate' \
                              AND state LIKE 'idle in transaction%' AND datname = current_database()";
/// Connections of Flowgate to MariaDB: all but the test's own.
const OTHERS: &str =
    "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE DB = DATABASE() AND ID <> CONNECTION_ID()";

/// A database of either server.
pub enum Either {
    /// With a second connection, which holds a table: in a transaction the first would see no news of others.
    Postgres(Box<Postgres>, Box<tokio_postgres::Client>),
    Maria(Maria),
}

impl Either {
    /// A new database of PostgreSQL; none where there is no server.
    pub async fn postgres() -> Option<Self> {
        let db = Postgres::new().await?;
        let holder = db.connect().await;
        Some(Self::Postgres(Box::new(db), Box::new(holder)))
    }

    /// A new database of MariaDB; none where there is no server.
    pub async fn maria() -> Option<Self> {
        Some(Self::Maria(Maria::new().await?))
    }

    /// Where it lies.
    pub fn server(&self) -> &Server {
        match self {
            Self::Postgres(db, _) => &db.server,
            Self::Maria(db) => &db.server,
        }
    }

    /// What it is called there.
    pub fn name(&self) -> &str {
        match self {
            Self::Postgres(db, _) => &db.name,
            Self::Maria(db) => &db.name,
        }
    }

    /// A connector to it, as a job has it.
    pub fn connector(&self) -> Connector {
        let kind = match self {
            Self::Postgres(..) => ConnectorType::Postgresql,
            Self::Maria(_) => ConnectorType::Mysql,
        };
        let config = json!({"host": "127.0.0.1", "port": self.server().port, "database": self.name()});
        let auth = json!({"username": servers::USER, "password": servers::PASSWORD});
        let object = |value: Value| value.as_object().unwrap().clone();
        let (id, name) = ("conn_1".to_owned(), "shop".to_owned());
        Connector { id, name, kind, config: object(config), auth: Some(object(auth)) }
    }

    /// Runs a statement.
    pub async fn run(&mut self, statement: &str) {
        match self {
            Self::Postgres(db, _) => db.run(statement).await,
            Self::Maria(db) => db.run(statement).await,
        }
    }

    /// The first column of a query, as texts.
    pub async fn texts(&mut self, query: &str) -> Vec<String> {
        match self {
            Self::Postgres(db, _) => db.texts(query).await,
            Self::Maria(db) => db.texts(query).await,
        }
    }

    /// Waits until a query answers this.
    pub async fn until(&mut self, query: &str, wanted: &str) {
        match self {
            Self::Postgres(db, _) => db.until(query, wanted).await,
            Self::Maria(db) => db.until(query, wanted).await,
        }
    }

    /// Lets nobody else add to a table until [`Self::release`]; they may read it.
    pub async fn hold(&mut self, table: &str) {
        self.as_holder("BEGIN").await;
        let lock = match self {
            Self::Postgres(..) => format!("LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE"),
            // All its rows, and the gaps between and behind them.
            Self::Maria(_) => format!("SELECT * FROM {table} FOR UPDATE"),
        };
        self.as_holder(&lock).await;
    }

    /// Runs a statement in the transaction that holds a table.
    pub async fn as_holder(&mut self, statement: &str) {
        match self {
            Self::Postgres(_, holder) => holder.batch_execute(statement).await.unwrap(),
            Self::Maria(db) => db.run(statement).await,
        }
    }

    /// Commits what was done by the one who holds a table.
    pub async fn release(&mut self) {
        self.as_holder("COMMIT").await;
    }

    /// Counts the statements of Flowgate that wait to add rows to a table which is held.
    pub fn waiting(&self, table: &str) -> String {
        match self {
            Self::Postgres(..) => format!("{WAITING} AND query LIKE 'INSERT INTO \"{table}\"%'"),
            // As long as the table is held, there is no end to any.
            Self::Maria(_) => format!("{OTHERS} AND INFO LIKE 'INSERT INTO `{table}`%'"),
        }
    }

    /// Counts the transactions of Flowgate that are open and wait for its next statement. With MariaDB all its connections
    /// are counted that wait for one.
    pub fn left_alone(&self) -> String {
        match self {
            Self::Postgres(..) => IN_TRANSACTION.to_owned(),
            Self::Maria(_) => format!("{OTHERS} AND COMMAND = 'Sleep'"),
        }
    }

    /// Counts the connections of Flowgate.
    pub fn connected(&self) -> &'static str {
        match self {
            Self::Postgres(..) => CONNECTED,
            Self::Maria(_) => OTHERS,
        }
    }

    /// Counts what is staged.
    pub fn staged(&self) -> &'static str {
        match self {
            Self::Postgres(..) => "SELECT count(*) FROM pg_class WHERE relname = 'flowgate_staging'",
            // It tells nobody of the temporary tables of others, and drops them with their connections.
            Self::Maria(_) => OTHERS,
        }
    }
}
