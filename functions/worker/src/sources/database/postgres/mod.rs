//! Reads PostgreSQL by binary COPY, all pieces in one snapshot.

mod columns;
mod copy;
mod numeric;
mod value;

use super::past;
use super::pieces::{self, Piece};
use super::{Column, DatabaseSource, Reader, Request, Sink};
use crate::databases::postgres::Session;
use crate::databases::{Dialect, Fault, Server, Wanted};
use crate::error::{Kind, RunError};
use columns::{As, PostgresColumn};
use copy::Tuples;
use futures::TryStreamExt;
use shared::models::pipeline::Partitioning;
use std::pin::pin;
use std::sync::Arc;
use tokio_postgres::SimpleQueryMessage;

/// Makes texts the same whatever the session's defaults are.
const SETTINGS: &str = "SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO'; SET LOCAL IntervalStyle = 'postgres'; \
                        SET LOCAL extra_float_digits = 3; SET LOCAL bytea_output = 'hex'";
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY";
/// Names that an error lists.
const LISTED: i64 = 1000;

/// What is read, as of one moment.
#[derive(Debug)]
pub struct Table {
    server: Arc<Server>,
    /// What stands behind FROM.
    from: String,
    columns: Vec<PostgresColumn>,
    snapshot: String,
    /// Holds the snapshot until the source is dropped.
    _holder: Session,
}

impl Table {
    /// The server's name of the state that is read.
    pub fn snapshot(&self) -> &str {
        &self.snapshot
    }
}

/// Opens a table or a query.
///
/// # Errors
/// As [`DatabaseSource::open`].
pub async fn open(server: &Arc<Server>, wanted: Wanted, request: &Request<'_>) -> Result<DatabaseSource, RunError> {
    let holder = Session::connect(server).await.map_err(Fault::source)?;
    // Even preparing a statement waits where somebody has locked the table.
    holder.busy(true);
    holder.batch_execute(&format!("{BEGIN}; {SETTINGS}")).await.map_err(|e| holder.fault(&e).source())?;
    let (from, name, select) = match &wanted {
        Wanted::Table(table) => {
            let quoted = table.quoted(Dialect::Postgresql);
            (quoted.clone(), table.to_string(), format!("SELECT * FROM {quoted}"))
        }
        // A comment at its end must not swallow what follows.
        Wanted::Query(query) => (format!("(\n{query}\n) AS q"), "query".to_owned(), query.clone()),
    };
    let columns = match holder.prepare(&select).await {
        Ok(statement) if !statement.params().is_empty() => {
            return Err(server.refused("the query has parameters such as $1, which nobody sets").source());
        }
        Ok(statement) => columns::of(statement.columns(), request.expected),
        Err(error) => return Err(explained(&holder, &wanted, &error).await),
    };
    if columns.is_empty() {
        return Err(server.refused(format!("{name} has no columns to read")).source());
    }
    let failed = |e: tokio_postgres::Error| holder.fault(&e).source();
    let row = holder.query_one("SELECT pg_export_snapshot()", &[]).await.map_err(failed)?;
    let snapshot: String = row.try_get(0).map_err(failed)?;
    let (rows, width) = estimate(&holder, &from).await.map_err(Fault::source)?;
    let names: Vec<&str> = columns.iter().map(|c| c.name.as_str()).collect();
    let keys = pieces::keys(request.partitioning, &server.name, &names)?;
    let divided = !keys.is_empty();
    let pieces = match request.partitioning {
        Partitioning::None | Partitioning::File => pieces::whole(&name),
        Partitioning::Hash { count, .. } => pieces::hashes(&name, &hash(&keys, *count), *count),
        Partitioning::Range { column, count } => {
            ranges(&holder, &name, &from, column, &columns, *count).await.map_err(Fault::source)?
        }
    };

    let described =
        columns.iter().map(|c| Column { name: c.name.clone(), data_type: c.data_type.clone(), fallible: c.fallible() });
    let described: Vec<Column> = described.collect();
    let pieces = match request.past.and_then(|past| past::condition(Dialect::Postgresql, &described, past)) {
        Some(condition) => pieces.into_iter().map(|piece| piece.and(&condition)).collect(),
        None => pieces,
    };
    holder.busy(false);
    let table = Table { server: Arc::clone(server), from, columns, snapshot, _holder: holder };
    Ok(DatabaseSource { reader: Reader::Postgres(Box::new(table)), columns: described, pieces, rows, width, divided })
}

/// An error of the statement that reads, with the nearest name where a table is not there.
async fn explained(session: &Session, wanted: &Wanted, error: &tokio_postgres::Error) -> RunError {
    let fault = session.fault(error);
    let code = error.code().map(tokio_postgres::error::SqlState::code).unwrap_or_default();
    let Wanted::Table(table) = wanted else { return fault.source() };
    if !matches!(code, "42P01" | "3F000") {
        return fault.source();
    }
    let names = names(session).await.unwrap_or_default();
    let near = shared::error::nearest(&table.to_string(), names.iter().map(String::as_str));
    let near = near.map(|n| format!("; did you mean {n:?}?")).unwrap_or_default();
    session
        .server
        .refused(format!("there is no table {:?} in {:?}{near}", table.to_string(), session.server.database))
        .source()
}

/// The tables that a user sees: plain names where the search path finds them.
async fn names(session: &Session) -> Result<Vec<String>, tokio_postgres::Error> {
    session.batch_execute("ROLLBACK").await?;
    const NAMES: &str = "SELECT CASE WHEN pg_table_is_visible(c.oid) THEN '' ELSE n.nspname || '.' END || c.relname \
                         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                         WHERE c.relkind IN ('r', 'v', 'm', 'f', 'p') AND n.nspname NOT LIKE 'pg\\_%' \
                         AND n.nspname <> 'information_schema' ORDER BY 1 LIMIT $1";
    session.query(NAMES, &[&LISTED]).await?.iter().map(|row| row.try_get(0)).collect()
}

/// The hash of `keys`, from 0 on.
fn hash(keys: &[&str], count: u16) -> String {
    let list = Dialect::Postgresql.list(keys.iter().copied());
    // `%` has the sign of what is divided.
    format!("(hashtext(concat_ws('|', {list}))::bigint % {count} + {count})")
}

/// Ranges of equal width; where a column has no measure of width, its hash divides the rows.
async fn ranges(
    session: &Session,
    name: &str,
    from: &str,
    column: &str,
    columns: &[PostgresColumn],
    count: u16,
) -> Result<Vec<Piece>, Fault> {
    if count < 2 {
        return Ok(pieces::whole(name));
    }
    let quoted = Dialect::Postgresql.quote(column);
    let width = columns.iter().find(|c| c.name == column).and_then(PostgresColumn::width);
    let Some(width) = width else {
        return Ok(pieces::hashes(name, &hash(&[column], count), count));
    };
    let step = width.step.replace("{n}", &count.to_string());
    let statement = format!(
        "SELECT ({step})::text FROM (SELECT min(c){cast} AS lo, max(c){cast} AS hi FROM (SELECT {quoted} AS c FROM {from}) s \
         WHERE {finite}) b, generate_series(1, {last}) AS k WHERE lo IS NOT NULL ORDER BY k",
        cast = width.cast,
        finite = width.finite,
        last = count - 1,
    );
    let rows = session.query(&statement, &[]).await.map_err(|e| session.fault(&e))?;
    let bounds: Result<Vec<String>, _> = rows.iter().map(|row| row.try_get::<_, String>(0)).collect();
    let bounds = bounds.map_err(|e| session.fault(&e))?;
    let bounds: Vec<String> = bounds.into_iter().map(|b| if width.quoted { format!("'{b}'") } else { b }).collect();
    Ok(pieces::ranges(name, Dialect::Postgresql, column, &bounds))
}

/// Rows and the bytes of one, as the planner guesses.
async fn estimate(session: &Session, from: &str) -> Result<(u64, u64), Fault> {
    let statement = format!("EXPLAIN (FORMAT JSON) SELECT * FROM {from}");
    // What this refuses, reading would too: preparing a statement asks for no rights.
    let said = session.simple_query(&statement).await.map_err(|e| session.fault(&e))?;
    let text = said.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    let plan: serde_json::Value = text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let number = |key: &str| plan.pointer(&format!("/0/Plan/{key}")).and_then(serde_json::Value::as_f64);
    let number = |key: &str| number(key).map_or(0, |n| n.max(0.0) as u64);
    Ok((number("Plan Rows"), number("Plan Width")))
}

/// The server's version and the number of tables that the user sees.
///
/// # Errors
/// Where the server does not answer, or refuses.
pub async fn look(server: &Arc<Server>) -> Result<(String, u64), Fault> {
    let session = Session::connect(server).await?;
    const LOOK: &str = "SELECT current_setting('server_version'), count(*) FROM information_schema.tables \
                        WHERE table_schema NOT IN ('pg_catalog', 'information_schema')";
    let failed = |e: tokio_postgres::Error| session.fault(&e);
    let row = session.query_one(LOOK, &[]).await.map_err(failed)?;
    let (version, count): (String, i64) = (row.try_get(0).map_err(failed)?, row.try_get(1).map_err(failed)?);
    Ok((format!("PostgreSQL {version}"), u64::try_from(count).unwrap_or(0)))
}

impl Table {
    /// Reads a piece to its end; false where nobody wants more.
    pub async fn read(&self, columns: &[Column], piece: &Piece, index: usize, sink: &Sink) -> Result<bool, RunError> {
        let session = Session::connect(&self.server).await.map_err(Fault::source)?;
        let failed = |e: tokio_postgres::Error| session.fault(&e).source();
        session.busy(true);
        let snapshot = format!("{BEGIN}; SET TRANSACTION SNAPSHOT '{}'; {SETTINGS}", self.snapshot);
        session.batch_execute(&snapshot).await.map_err(|e| {
            let why =
                format!("the connection that holds the run's view of the data is gone: {}", session.fault(&e).message);
            RunError::new(Kind::SourceUnavailable, why)
        })?;
        let selected: Vec<&PostgresColumn> = sink.selected.iter().filter_map(|i| self.columns.get(*i)).collect();
        let stream = session.copy_out(&self.copy(&selected, piece)).await.map_err(failed)?;
        let mut stream = pin!(stream);
        let mut tuples = Tuples::default();
        let mut rows = sink.rows(columns, 1);
        let garbled = |why: &str| self.server.away(format!("the data came garbled: {why}")).source();
        let kinds: Vec<As> = selected.iter().map(|c| c.read).collect();
        while let Some(bytes) = stream.try_next().await.map_err(failed)? {
            tuples.push(&bytes);
            while let Some(tuple) = tuples.next().map_err(garbled)? {
                for (at, (field, read)) in tuple.fields().zip(&kinds).enumerate() {
                    match field {
                        None => rows.null(at),
                        Some(bytes) => rows.set(at, bytes.len(), |values| value::append(*read, bytes, values)),
                    }
                }
                rows.end_row();
                if sink.is_full(&rows) {
                    let next = sink.rows(columns, rows.next());
                    if !sink.send(index, std::mem::replace(&mut rows, next)).await? {
                        return Ok(false);
                    }
                }
            }
        }
        if !tuples.is_ended() {
            return Err(garbled("it ends in the middle"));
        }
        session.busy(false);
        sink.send(index, rows).await
    }

    fn copy(&self, selected: &[&PostgresColumn], piece: &Piece) -> String {
        let list: Vec<String> = selected.iter().map(|c| c.expression()).collect();
        let condition = piece.condition.as_ref().map(|c| format!(" WHERE {c}")).unwrap_or_default();
        format!("COPY (SELECT {} FROM {}{condition}) TO STDOUT (FORMAT binary)", list.join(", "), self.from)
    }
}
