//! An incremental load into a table of a database. The watermark is a row of `flowgate_watermarks`, a table beside the
//! target's, and is moved by the transaction that brings the rows in, so that the two cannot part.

use super::connection::{Connection, Failed};
use super::table::Table;
use crate::databases::{Dialect, TableName};
use crate::engine::job::{Connector, Settings};
use crate::engine::progress::Progress;
use crate::error::{Kind, RunError};
use crate::sources::{self, SourceRequest};
use crate::targets::cast::{Caster, Needed};
use crate::targets::increment::moved;
use crate::targets::watermark::{self, Loaded, Past, Watermark};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::util::display::array_value_to_string;
use datafusion::execution::TaskContext;
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;
use futures::StreamExt;
use shared::models::node::{DataTypeName, SourceConfig};
use shared::models::pipeline::{ErrorHandling, Partitioning};
use shared::models::schema::Field;
use std::collections::HashMap;
use std::sync::Arc;

/// The table's name.
const NAME: &str = "flowgate_watermarks";

/// An incremental load of one run.
pub struct Increment {
    pub column: String,
    /// What the database had stored when the run read it, and must have still when it commits.
    pub stored: Option<Watermark>,
    schema: String,
    marks: TableName,
    target: String,
    connector: Connector,
    settings: Settings,
    past: Option<Arc<Past>>,
}

impl Increment {
    /// That of a table, from the watermark that is stored.
    ///
    /// # Errors
    /// `Kind::Definition` where the watermark is no field with an order, or rows that have the same watermark cannot be told
    /// apart; `Kind::Target`, `Kind::TargetUnavailable`.
    pub async fn open(
        connection: &mut Connection,
        table: &Table,
        schema: &str,
        column: Option<&str>,
        (connector, settings): (&Connector, &Settings),
    ) -> Result<Self, RunError> {
        let column = column.ok_or_else(|| {
            RunError::new(Kind::Definition, "the load mode incremental_watermark needs a watermarkColumn")
        })?;
        watermark::field(&table.fields, column, schema)?;
        may_be_compared(table, schema)?;
        let mut increment = Self {
            column: column.to_owned(),
            stored: None,
            schema: schema.to_owned(),
            marks: table.name.beside(NAME),
            target: table.name.table.clone(),
            connector: connector.clone(),
            settings: settings.clone(),
            past: None,
        };
        let failed = |failed: Failed| failed.fault.target();
        increment.make(connection).await.map_err(failed)?;
        increment.stored = increment.read(connection).await.map_err(failed)?;
        Ok(increment)
    }

    /// What tells the rows that are past the watermark.
    ///
    /// # Errors
    /// `Kind::Target` where the watermark is none of the field's type; `Kind::Resources` where the rows that have its value
    /// do not fit into memory; `Kind::TargetUnavailable`.
    pub async fn past(
        &mut self,
        connection: &Connection,
        table: &Table,
        columns: &SchemaRef,
        context: &TaskContext,
    ) -> Result<Arc<Past>, RunError> {
        let field = watermark::field(&table.fields, &self.column, &self.schema)?;
        let from = self.stored.as_ref().map(|stored| stored.scalar(field)).transpose()?;
        let loaded = match &from {
            Some(value) => self.loaded(connection, table, field, value, columns, context).await?,
            None => Loaded::default(),
        };
        let past = Arc::new(Past::new(field, from, loaded));
        self.past = Some(Arc::clone(&past));
        Ok(past)
    }

    /// Reads the rows of the table that have just the watermark's value.
    async fn loaded(
        &self,
        connection: &Connection,
        table: &Table,
        field: &Field,
        value: &ScalarValue,
        columns: &SchemaRef,
        context: &TaskContext,
    ) -> Result<Loaded, RunError> {
        let (names, is_key) = Loaded::compared(&table.fields);
        let list = table.dialect.list(names.iter().map(String::as_str));
        let literal = literal(connection, field, value)?;
        // By the collation of a text also others may be equal; they are looked at again.
        let query =
            format!("SELECT {list} FROM {} WHERE {} = {literal}", table.quoted(), table.dialect.quote(&self.column));
        let mut loaded = Loaded::none(names.clone(), is_key, context);
        let fields: Vec<Field> = table.fields.iter().filter(|f| names.contains(&f.name)).cloned().collect();
        let request = SourceRequest {
            node: "",
            connector: &self.connector,
            config: &SourceConfig { query: Some(query), ..SourceConfig::default() },
            expected: &fields.iter().map(|f| (f.name.clone(), f.clone())).collect::<HashMap<_, _>>(),
            past: None,
            parallelism: 1,
            batch_size: context.session_config().batch_size(),
            // A database's batches are short by themselves.
            batch_bytes: usize::MAX,
            most_rows: None,
            partitioning: &Partitioning::None,
        };
        // Its counts are not the run's.
        let unseen = Progress::new(
            ErrorHandling::default(),
            self.settings.scratch.join(format!("watermark-{}", uuid::Uuid::new_v4().simple())),
            shared::clock::Clock::default(),
        );
        let away = |error: RunError| RunError::new(Kind::TargetUnavailable, error.message);
        let source = sources::open(request, &self.settings, &unseen).await.map_err(away)?;
        let session = SessionContext::new_with_config_rt(context.session_config().clone(), context.runtime_env());
        let mut batches = session.read_table(source.provider(None, unseen))?.execute_stream().await?;
        let held: Vec<_> = fields.iter().filter_map(|f| columns.field_with_name(&f.name).ok().cloned()).collect();
        let held = Arc::new(datafusion::arrow::datatypes::Schema::new(held));
        let caster = Caster::new(&batches.schema(), &held, &fields, Needed::default())?;
        while let Some(batch) = batches.next().await {
            // A row that the fields do not hold is none that could come.
            let (rows, _) = caster.cast(&batch?)?;
            loaded.add(&rows, columns, (&self.schema, &self.column))?;
        }
        Ok(loaded)
    }

    async fn make(&self, connection: &mut Connection) -> Result<(), Failed> {
        let name = self.quoted(connection);
        // Asked first, since making it needs a right even where it is there.
        if connection.run(&format!("SELECT 1 FROM {name} WHERE 1 = 0")).await.is_ok() {
            return Ok(());
        }
        let (name_type, text, end) = match connection.dialect() {
            Dialect::Postgresql => ("text", "text", ""),
            Dialect::Mysql => ("varchar(64)", "longtext", " ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"),
        };
        let columns = format!(
            "target_table {name_type} NOT NULL, column_name {name_type} NOT NULL, value_type {text} NOT NULL, \
             value {text} NOT NULL, run_id {name_type} NOT NULL, PRIMARY KEY (target_table, column_name)"
        );
        match connection.run(&format!("CREATE TABLE IF NOT EXISTS {name} ({columns}){end}")).await {
            Ok(_) => Ok(()),
            // Two who make it at once: one of them has.
            Err(failed) if failed.again || failed.duplicate => Ok(()),
            Err(failed) => Err(failed),
        }
    }

    async fn read(&self, connection: &mut Connection) -> Result<Option<Watermark>, Failed> {
        let statement =
            format!("SELECT value_type, value, run_id FROM {} WHERE {}", self.quoted(connection), self.own(connection));
        let rows = connection.rows(&statement).await?;
        let text = |row: &[Option<String>], at: usize| row.get(at).cloned().flatten().unwrap_or_default();
        Ok(rows.first().map(|row| Watermark { r#type: text(row, 0), value: text(row, 1), run: text(row, 2) }))
    }

    /// Moves the watermark in the open transaction; an error where it is not any more what the run read. Waits for another
    /// transaction that moves it.
    ///
    /// # Errors
    /// As the server says.
    pub async fn store(&self, connection: &mut Connection, run: &str) -> Result<Option<RunError>, Failed> {
        // Nothing came in, so that nothing can be doubled.
        let Some(after) = self.past.as_ref().and_then(|past| past.after(run)) else { return Ok(None) };
        let (name, own) = (self.quoted(connection), self.own(connection));
        let texts = [&after.r#type, &after.value, &after.run].map(|text| connection.literal(text));
        let [kind, value, run] = &texts;
        let changed = match &self.stored {
            Some(stored) => {
                let statement = format!(
                    "UPDATE {name} SET value_type = {kind}, value = {value}, run_id = {run} WHERE {own} AND run_id = {}",
                    connection.literal(&stored.run)
                );
                connection.run(&statement).await?
            }
            None => {
                let conflict = if connection.dialect() == Dialect::Postgresql { " ON CONFLICT DO NOTHING" } else { "" };
                let statement = format!(
                    "INSERT INTO {name} (target_table, column_name, value_type, value, run_id) \
                     VALUES ({}, {}, {kind}, {value}, {run}){conflict}",
                    connection.literal(&self.target),
                    connection.literal(&self.column)
                );
                match connection.run(&statement).await {
                    Ok(inserted) => inserted,
                    Err(failed) if failed.duplicate => 0,
                    Err(failed) => return Err(failed),
                }
            }
        };
        if changed == 1 {
            return Ok(None);
        }
        let now = self.read(connection).await?;
        Ok(Some(moved(&self.column, &self.schema, &self.stored, &now)))
    }

    fn quoted(&self, connection: &Connection) -> String {
        self.marks.quoted(connection.dialect())
    }

    fn own(&self, connection: &Connection) -> String {
        let [target, column] = [&self.target, &self.column].map(|text| connection.literal(text));
        format!("target_table = {target} AND column_name = {column}")
    }
}

/// Rows with the watermark's own value are told apart by what the database gives back, which must be what it was given.
fn may_be_compared(table: &Table, schema: &str) -> Result<(), RunError> {
    let (names, is_key) = Loaded::compared(&table.fields);
    let column = |name: &str| table.columns.iter().find(|c| c.name == name);
    for field in table.fields.iter().filter(|f| names.contains(&f.name)) {
        let padded = field.data_type != DataTypeName::Uuid
            && column(&field.name).is_some_and(|c| matches!(c.kind.as_str(), "bpchar" | "char"));
        let why = if padded {
            "is of a type whose values lose or gain blanks at their ends; make the column a varchar"
        } else if field.data_type == DataTypeName::Json {
            "is json, which databases write in their own way; give the schema a primary key"
        } else {
            continue;
        };
        let what = if is_key { "its key" } else { "all its columns, since the schema has no primary key" };
        return Err(RunError::new(
            Kind::Definition,
            format!(
                "incremental_watermark tells the rows of the schema {schema:?} apart by {what}, but the column {:?} of the table \
                 {:?} {why}",
                field.name,
                table.name.to_string()
            ),
        ));
    }
    Ok(())
}

/// The watermark's value as a statement compares it.
fn literal(connection: &Connection, field: &Field, value: &ScalarValue) -> Result<String, RunError> {
    let shown = |e: &dyn std::fmt::Display| RunError::new(Kind::Internal, format!("a watermark cannot be shown: {e}"));
    let array = value.to_array().map_err(|e| shown(&e))?;
    let text = array_value_to_string(&array, 0).map_err(|e| shown(&e))?;
    Ok(match field.data_type {
        DataTypeName::Smallint | DataTypeName::Integer | DataTypeName::Bigint | DataTypeName::Decimal => text,
        // Times of a session are in UTC, and MySQL knows no letter for it.
        DataTypeName::Timestamptz if connection.dialect() == Dialect::Mysql => {
            connection.literal(text.trim_end_matches('Z'))
        }
        _ => connection.literal(&text),
    })
}
