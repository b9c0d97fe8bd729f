//! Reads MySQL and MariaDB by streamed results of the binary protocol.

mod columns;
mod value;
mod view;

use super::past;
use super::pieces::{self, Piece};
use super::{Column, DatabaseSource, Reader, Request, Sink};
use crate::databases::mysql::{Session, fault};
use crate::databases::{Dialect, Fault, Server, TableName, Wanted};
use crate::error::RunError;
use crate::sources::parse;
use columns::MysqlColumn;
use futures::TryStreamExt;
use mysql_async::prelude::Queryable;
use mysql_async::{Error, Row};
use shared::models::pipeline::Partitioning;
use std::sync::Arc;
use view::View;

/// Names that an error lists.
const LISTED: u32 = 1000;

/// What is read.
#[derive(Debug)]
pub struct Table {
    server: Arc<Server>,
    /// What stands behind FROM.
    from: String,
    /// The query itself, where it is one.
    query: Option<String>,
    columns: Vec<MysqlColumn>,
    pub view: View,
}

/// Opens a table or a query.
///
/// # Errors
/// As [`DatabaseSource::open`].
pub async fn open(server: &Arc<Server>, wanted: Wanted, request: &Request<'_>) -> Result<DatabaseSource, RunError> {
    let mut session = Session::connect(server).await.map_err(Fault::source)?;
    session.query_drop("START TRANSACTION READ ONLY").await.map_err(|e| session.fault(&e).source())?;
    let (from, name, query) = match &wanted {
        Wanted::Table(table) => (table.quoted(Dialect::Mysql), table.to_string(), None),
        // A comment at its end must not swallow what follows.
        Wanted::Query(query) => (format!("(\n{query}\n) AS q"), "query".to_owned(), Some(query.clone())),
    };
    let select = query.clone().unwrap_or_else(|| format!("SELECT * FROM {from}"));
    let columns = match session.prep(select).await {
        Ok(statement) if statement.num_params() > 0 => {
            return Err(server.refused("the query has parameters (a question mark), which nobody sets").source());
        }
        Ok(statement) => columns::of(&statement.columns(), request.expected),
        Err(error) => return Err(explained(&mut session, &wanted, &error).await),
    };
    if columns.is_empty() {
        return Err(server.refused(format!("{name} has no columns to read")).source());
    }
    let names: Vec<&str> = columns.iter().map(|c| c.name.as_str()).collect();
    let keys = pieces::keys(request.partitioning, &server.name, &names)?;
    let divided = !keys.is_empty();
    let pieces = match request.partitioning {
        Partitioning::None | Partitioning::File => pieces::whole(&name),
        Partitioning::Hash { count, .. } => pieces::hashes(&name, &hash(&keys), *count),
        Partitioning::Range { column, count } => {
            let found = columns.iter().find(|c| c.name == *column);
            let bounds = match found {
                Some(found) if *count > 1 => bounds(&mut session, &from, found, *count).await,
                _ => Ok(Some(Vec::new())),
            };
            match bounds.map_err(|e| session.fault(&e).source())? {
                Some(bounds) => pieces::ranges(&name, Dialect::Mysql, column, &bounds),
                None => pieces::hashes(&name, &hash(&[column]), *count),
            }
        }
    };
    let (rows, width) = match &wanted {
        Wanted::Table(table) => estimate(&mut session, table).await.unwrap_or((0, 0)),
        Wanted::Query(_) => (0, 0),
    };
    let described =
        columns.iter().map(|c| Column { name: c.name.clone(), data_type: c.data_type.clone(), fallible: c.fallible() });
    let described: Vec<Column> = described.collect();
    let past = request.past.filter(|_| query.as_deref().is_none_or(|query| !is_ordered(query)));
    let pieces = match past.and_then(|past| past::condition(Dialect::Mysql, &described, past)) {
        Some(condition) => pieces.into_iter().map(|piece| piece.and(&condition)).collect(),
        None => pieces,
    };
    let locked = if let Wanted::Table(table) = wanted { Some(table) } else { None };
    let view = View::new(Arc::clone(server), locked, request.parallelism.min(pieces.len()), request.whole);
    let table = Table { server: Arc::clone(server), from, query, columns, view };
    Ok(DatabaseSource { reader: Reader::Mysql(Box::new(table)), columns: described, pieces, rows, width, divided })
}

/// Whether a query may give its rows in an order of its own, which it would lose inside of another.
fn is_ordered(query: &str) -> bool {
    query.to_ascii_lowercase().contains("order")
}

/// An error of the statement that reads, with the nearest name where a table is not there.
async fn explained(session: &mut Session, wanted: &Wanted, error: &Error) -> RunError {
    let fault = session.fault(error);
    let (Error::Server(said), Wanted::Table(table)) = (error, wanted) else { return fault.source() };
    if !matches!(said.code, 1146 | 1049) {
        return fault.source();
    }
    const NAMES: &str = "SELECT IF(TABLE_SCHEMA = DATABASE(), TABLE_NAME, CONCAT(TABLE_SCHEMA, '.', TABLE_NAME)) \
                         FROM information_schema.TABLES WHERE TABLE_SCHEMA NOT IN \
                         ('mysql', 'sys', 'performance_schema', 'information_schema') LIMIT";
    let names: Vec<String> = session.query(format!("{NAMES} {LISTED}")).await.unwrap_or_default();
    let near = shared::error::nearest(&table.to_string(), names.iter().map(String::as_str));
    let near = near.map(|n| format!("; did you mean {n:?}?")).unwrap_or_default();
    let server = &session.server;
    server.refused(format!("there is no table {:?} in {:?}{near}", table.to_string(), server.database)).source()
}

fn hash(keys: &[&str]) -> String {
    format!("CRC32(CONCAT_WS('|', {}))", Dialect::Mysql.list(keys.iter().copied()))
}

/// The bounds of `count` ranges of equal width; none where the column has no measure of width.
async fn bounds(
    session: &mut Session,
    from: &str,
    column: &MysqlColumn,
    count: u16,
) -> Result<Option<Vec<String>>, Error> {
    let quoted = Dialect::Mysql.quote(&column.name);
    let (low, high) = match column.read {
        columns::As::Integer | columns::As::Decimal | columns::As::Year => ("FLOOR(MIN(c))", "CEILING(MAX(c))"),
        columns::As::Date | columns::As::Micros => ("MIN(c)", "MAX(c)"),
        _ => return Ok(None),
    };
    let statement =
        format!("SELECT CAST({low} AS CHAR), CAST({high} AS CHAR) FROM (SELECT {quoted} AS c FROM {from}) AS b");
    let found: Option<(Option<String>, Option<String>)> = session.query_first(statement).await?;
    let Some((Some(low), Some(high))) = found else { return Ok(Some(Vec::new())) };
    let numbers = |parse: &dyn Fn(&str) -> Option<i128>| Some(pieces::steps(parse(&low)?, parse(&high)?, count));
    Ok(match column.read {
        columns::As::Date => numbers(&|t| parse::date(t).map(i128::from))
            .map(|all| all.into_iter().map(|days| format!("'{}'", value::date_text(days))).collect()),
        columns::As::Micros => numbers(&|t| parse::timestamp(t).map(i128::from))
            .map(|all| all.into_iter().map(|micros| format!("'{}'", value::time_text(micros))).collect()),
        _ => numbers(&|t| t.parse().ok()).map(|all| all.into_iter().map(|n| n.to_string()).collect()),
    })
}

/// Rows and the bytes of one, as the server guesses.
async fn estimate(session: &mut Session, table: &TableName) -> Option<(u64, u64)> {
    const ESTIMATE: &str = "SELECT TABLE_ROWS, AVG_ROW_LENGTH FROM information_schema.TABLES \
                            WHERE TABLE_SCHEMA = COALESCE(?, DATABASE()) AND TABLE_NAME = ?";
    session.exec_first(ESTIMATE, (&table.schema, &table.table)).await.ok()?
}

/// The server's version and the number of tables that the user sees.
///
/// # Errors
/// Where the server does not answer, or refuses.
pub async fn look(server: &Arc<Server>) -> Result<(String, u64), Fault> {
    let mut session = Session::connect(server).await?;
    const LOOK: &str = "SELECT VERSION(), COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()";
    let found: Option<(String, u64)> = session.query_first(LOOK).await.map_err(|e| fault(server, &e))?;
    let (version, tables) = found.unwrap_or_default();
    let what = if version.contains("MariaDB") { "MariaDB" } else { "MySQL" };
    let number = version.split('-').next().unwrap_or_default();
    Ok((format!("{what} {number}"), tables))
}

impl Table {
    /// Reads a piece to its end; false where nobody wants more.
    pub async fn read(
        &self,
        session: &mut Session,
        columns: &[Column],
        piece: &Piece,
        index: usize,
        sink: &Sink,
    ) -> Result<bool, RunError> {
        let selected: Vec<(usize, &MysqlColumn)> =
            sink.selected.iter().filter_map(|i| Some((*i, self.columns.get(*i)?))).collect();
        let (statement, places) = self.statement(&selected, piece);
        session.busy = true;
        let failed = |e: Error| fault(&self.server, &e).source();
        let mut rows = sink.rows(columns, 1);
        let mut stream = session.exec_stream::<Row, _, _>(statement, ()).await.map_err(failed)?;
        while let Some(row) = stream.try_next().await.map_err(failed)? {
            let mut row = row.unwrap_raw();
            for (at, (place, (_, column))) in places.iter().zip(&selected).enumerate() {
                match row.get_mut(*place).and_then(Option::take) {
                    None | Some(mysql_async::Value::NULL) => rows.null(at),
                    Some(value) => {
                        let bytes = value.bin_len() as usize;
                        rows.set(at, bytes, |values| value::append(column, value, values));
                    }
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
        drop(stream);
        session.busy = false;
        sink.send(index, rows).await
    }

    /// The statement, and where in its rows each selected column lies.
    fn statement(&self, selected: &[(usize, &MysqlColumn)], piece: &Piece) -> (String, Vec<usize>) {
        match (&self.query, &piece.condition) {
            // As it is: inside of another statement its ORDER BY would be lost.
            (Some(query), None) => (query.clone(), selected.iter().map(|(index, _)| *index).collect()),
            (_, condition) => {
                let list = Dialect::Mysql.list(selected.iter().map(|(_, c)| c.name.as_str()));
                let condition = condition.as_ref().map(|c| format!(" WHERE {c}")).unwrap_or_default();
                (format!("SELECT {list} FROM {}{condition}", self.from), (0..selected.len()).collect())
            }
        }
    }
}
