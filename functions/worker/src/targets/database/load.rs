//! Brings rows into the staging table: a temporary one of the connection, which the server drops with the connection,
//! whatever ends the worker. So nothing staged is ever left behind, and nobody else sees it.

use super::connection::{self, Connection, Failed};
use super::lines::{self, Form};
use super::table::{Column, Table};
use super::{copy, internal};
use crate::databases::{Dialect, mysql, postgres};
use crate::engine::progress::ROW_COLUMN;
use crate::error::{Kind, RunError};
use crate::targets::files::{Written, stopped};
use crate::targets::stage::{RowStream, Writes};
use bytes::Bytes;
use datafusion::arrow::datatypes::SchemaRef;
use futures::{SinkExt, StreamExt, stream};
use mysql_async::prelude::Queryable;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The staging table. It is found before any table of that name, since it is temporary.
pub const STAGING: &str = "flowgate_staging";
/// Pieces that are made before the connection takes them.
const AHEAD: usize = 2;

/// A piece of encoded rows with their number, or why there is none.
type Piece = Result<(Bytes, u64), RunError>;

/// Writes into the staging table of a connection.
pub struct Load<'a> {
    pub connection: &'a mut Connection,
    pub table: &'a Table,
    /// Whether the rows also say where they came from.
    pub with_rows: bool,
}

impl Writes for Load<'_> {
    async fn write_all(
        &mut self,
        _: &SchemaRef,
        streams: Vec<RowStream>,
        stop: &CancellationToken,
    ) -> Result<Written, RunError> {
        // Also where it waits for somebody's lock on the table.
        let done = tokio::select! {
            biased;
            () = stop.cancelled() => Err(stopped()),
            done = self.load(streams) => done,
        };
        // Whoever is asked to stop should not hear of what it stopped.
        if stop.is_cancelled() { Err(stopped()) } else { done.map(|rows| Written { rows, ..Written::default() }) }
    }
}

impl Load<'_> {
    async fn load(&mut self, streams: Vec<RowStream>) -> Result<u64, RunError> {
        let target = |failed: Failed| failed.fault.target();
        self.make().await.map_err(target)?;
        let form = self.form().await.map_err(target)?;
        let (sender, receiver) = mpsc::channel(AHEAD);
        let mut tasks = JoinSet::new();
        let mut columns = self.table.columns.clone();
        let mut list = self.table.list("");
        if self.with_rows {
            columns.push(Column { name: ROW_COLUMN.to_owned(), kind: "int8".to_owned(), ..Column::default() });
            list = format!("{list}, {}", self.table.dialect.quote(ROW_COLUMN));
        }
        let columns: Arc<[Column]> = columns.into();
        for rows in streams {
            let (sender, columns) = (sender.clone(), Arc::clone(&columns));
            tasks.spawn(encode(rows, form, columns, sender));
        }
        drop(sender);
        let insert = format!("INSERT INTO {STAGING} ({list}) VALUES ");
        let rows = match (&mut *self.connection, form) {
            (Connection::Postgres(session), _) => copy_in(session, &list, receiver).await,
            (Connection::Mysql(session), Some(Form::Lines)) => load_data(session, &list, receiver).await,
            (Connection::Mysql(session), _) => insert_all(session, &insert, receiver).await,
        }?;
        while let Some(ended) = tasks.join_next().await {
            // Its rows would be missing.
            ended.map_err(|e| internal(format!("a task that encoded rows ended by itself: {e}")))?;
        }
        Ok(rows)
    }

    /// Makes the staging table anew, with the types of the table's columns.
    async fn make(&mut self) -> Result<(), Failed> {
        let (list, table) = (self.table.list(""), self.table.quoted());
        let statements = match self.connection.dialect() {
            Dialect::Postgresql => [
                format!("DROP TABLE IF EXISTS pg_temp.{STAGING}"),
                format!("CREATE TEMPORARY TABLE {STAGING} AS SELECT {list} FROM {table} WITH NO DATA"),
            ],
            Dialect::Mysql => [
                format!("DROP TEMPORARY TABLE IF EXISTS {STAGING}"),
                format!("CREATE TEMPORARY TABLE {STAGING} ENGINE = InnoDB AS SELECT {list} FROM {table} WHERE 1 = 0"),
            ],
        };
        for statement in statements {
            self.connection.run(&statement).await?;
        }
        if self.with_rows {
            let row = self.table.dialect.quote(ROW_COLUMN);
            self.connection.run(&format!("ALTER TABLE {STAGING} ADD COLUMN {row} bigint NULL")).await?;
        }
        Ok(())
    }

    /// How MySQL takes the rows; none for PostgreSQL.
    async fn form(&mut self) -> Result<Option<Form>, Failed> {
        if self.connection.dialect() == Dialect::Postgresql {
            return Ok(None);
        }
        let found = self.connection.rows("SELECT IF(@@local_infile, 'ON', 'OFF')").await?;
        let on = found.first().and_then(|row| row.first().cloned().flatten()).as_deref() == Some("ON");
        Ok(Some(if on { Form::Lines } else { Form::Tuples }))
    }
}

/// Encodes the rows of one partition.
async fn encode(mut rows: RowStream, form: Option<Form>, columns: Arc<[Column]>, sender: mpsc::Sender<Piece>) {
    while let Some(batch) = rows.next().await {
        let pieces = batch.and_then(|batch| match form {
            None => copy::rows(&batch, &columns).map(|bytes| vec![(bytes, batch.num_rows() as u64)]).map_err(internal),
            Some(form) => lines::pieces(&batch, form).map_err(internal),
        });
        let pieces = match pieces {
            Ok(pieces) => pieces.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        };
        for piece in pieces {
            let failed = piece.is_err();
            if sender.send(piece).await.is_err() || failed {
                return;
            }
        }
    }
}

async fn copy_in(session: &postgres::Session, list: &str, mut pieces: mpsc::Receiver<Piece>) -> Result<u64, RunError> {
    let failed = |e: tokio_postgres::Error| session.fault(&e).target();
    session.busy(true);
    let statement = format!("COPY pg_temp.{STAGING} ({list}) FROM STDIN (FORMAT binary)");
    let sink = session.copy_in::<_, Bytes>(&statement).await.map_err(failed)?;
    let mut sink = pin!(sink);
    sink.send(Bytes::from_static(copy::HEADER)).await.map_err(failed)?;
    let mut rows = 0;
    while let Some(piece) = pieces.recv().await {
        let (bytes, count) = piece?;
        rows += count;
        if sink.send(bytes).await.is_err() {
            // What the server says is told at the end.
            break;
        }
    }
    let _ = sink.send(Bytes::from_static(copy::TRAILER)).await;
    let taken = sink.finish().await.map_err(failed)?;
    session.busy(false);
    all(taken, rows)
}

fn all(taken: u64, sent: u64) -> Result<u64, RunError> {
    if taken == sent {
        return Ok(taken);
    }
    Err(RunError::new(Kind::TargetUnavailable, format!("the database took {taken} of {sent} rows")))
}

async fn load_data(session: &mut mysql::Session, list: &str, pieces: mpsc::Receiver<Piece>) -> Result<u64, RunError> {
    let (sent, failure) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(None::<RunError>)));
    let (count, keep) = (Arc::clone(&sent), Arc::clone(&failure));
    session.set_infile_handler(async move {
        Ok(stream::unfold(pieces, |mut pieces| async move { pieces.recv().await.map(|piece| (piece, pieces)) })
            .map(move |piece| match piece {
                Ok((bytes, rows)) => {
                    count.fetch_add(rows, Ordering::Relaxed);
                    Ok(bytes)
                }
                Err(error) => {
                    keep.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    Err(io::Error::other("the rows ended early"))
                }
            })
            .boxed())
    });
    session.busy = true;
    let statement = format!(
        "LOAD DATA LOCAL INFILE 'flowgate' INTO TABLE {STAGING} CHARACTER SET utf8mb4 \
         FIELDS TERMINATED BY '\\t' ESCAPED BY '\\\\' LINES TERMINATED BY '\\n' ({list})"
    );
    let loaded = session.query_drop(statement).await;
    if let Some(error) = failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Err(error);
    }
    loaded.map_err(|e| session.fault(&e).target())?;
    session.busy = false;
    let (taken, warnings) = (session.affected_rows(), session.get_warnings());
    if warnings > 0 {
        // LOCAL makes warnings of errors: a value was changed on its way.
        let said: Option<(String, u32, String)> =
            session.query_first("SHOW WARNINGS LIMIT 1").await.map_err(|e| session.fault(&e).target())?;
        let said = said.map(|(_, code, text)| format!("{text} (warning {code})")).unwrap_or_default();
        let why = format!("{}: a value does not fit its column: {said}", session.server.name);
        return Err(RunError::new(Kind::Target, why));
    }
    all(taken, sent.load(Ordering::Relaxed))
}

async fn insert_all(
    session: &mut mysql::Session,
    insert: &str,
    mut pieces: mpsc::Receiver<Piece>,
) -> Result<u64, RunError> {
    let (mut taken, mut sent) = (0, 0);
    session.busy = true;
    while let Some(piece) = pieces.recv().await {
        let (bytes, count) = piece?;
        sent += count;
        let statement = [insert.as_bytes(), &bytes].concat();
        session.query_drop(statement).await.map_err(|e| connection::of_mysql(session, &e).fault.target())?;
        taken += session.affected_rows();
    }
    session.busy = false;
    all(taken, sent)
}
