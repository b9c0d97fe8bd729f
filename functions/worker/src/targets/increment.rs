//! An incremental load of one run: from which watermark it reads, and to which it moves it.

use super::commit::Property;
use super::table::Place;
use super::target::Target;
use super::watermark::{self, Loaded, Moved, Past, Watermark};
use crate::error::{Kind, RunError};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::execution::TaskContext;
use deltalake::DeltaTable;
use shared::models::schema::Field;
use std::collections::HashSet;
use std::sync::Arc;

/// An incremental load of one run.
#[derive(Debug)]
pub struct Increment {
    pub column: String,
    run_id: String,
    /// What the table had stored when the run read it, and must have still when it commits.
    stored: Option<Watermark>,
    /// From where the run reads: the same, or what it was before the run whose rows are replaced.
    pub from: Option<Watermark>,
    /// Files whose rows are replaced, so that they do not count as there.
    without: HashSet<String>,
    past: Option<Arc<Past>>,
}

impl Increment {
    /// That of a target at the table's newest version, which replaces the rows of the run `replaces`.
    ///
    /// # Errors
    /// `Kind::Definition` where the watermark is no field with an order; `Kind::Target` where other runs have gone on from
    /// the one that is replaced; `Kind::TargetUnavailable`.
    pub async fn open(target: &Target, column: Option<&str>, replaces: Option<String>) -> Result<Self, RunError> {
        let column = column.ok_or_else(|| {
            RunError::new(Kind::Definition, "the load mode incremental_watermark needs a watermarkColumn")
        })?;
        watermark::field(&target.schema.fields, column, &target.schema.name)?;
        let stored = Watermark::stored(&target.place, &target.table, column)?;
        let (mut from, mut without) = (stored.clone(), HashSet::new());
        if let Some(run) = replaces {
            let entry = target.appended(&run).await?;
            match entry.facts.and_then(|facts| facts.watermark) {
                Some(moved) if moved.column == column && moved.after == stored => from = moved.before,
                _ => return Err(went_on(&run, column)),
            }
            without.extend(target.current(&run, &entry.files)?);
        }
        let run_id = target.run_id.clone();
        Ok(Self { column: column.to_owned(), run_id, stored, from, without, past: None })
    }

    /// What tells the rows that are past it.
    ///
    /// # Errors
    /// As [`Loaded::read`].
    pub async fn past(
        &mut self,
        place: &Place,
        table: &DeltaTable,
        files: &SchemaRef,
        fields: &[Field],
        context: &TaskContext,
    ) -> Result<Arc<Past>, RunError> {
        let field = watermark::field(fields, &self.column, &place.schema)?;
        let from = self.from.as_ref().map(|from| from.scalar(field)).transpose()?;
        let loaded = match &from {
            Some(value) => {
                Loaded::read(place, table, files, fields, (&self.column, value), &self.without, context).await?
            }
            None => Loaded::default(),
        };
        let past = Arc::new(Past::new(field, from, loaded));
        self.past = Some(Arc::clone(&past));
        Ok(past)
    }

    /// What the commit says of it.
    pub fn moved(&self) -> Moved {
        Moved { column: self.column.clone(), before: self.from.clone(), after: self.after() }
    }

    fn after(&self) -> Option<Watermark> {
        self.past.as_ref().and_then(|past| past.after(&self.run_id)).or_else(|| self.from.clone())
    }

    /// The property that the commit sets; none where the watermark stays.
    ///
    /// # Errors
    /// `Kind::TargetUnavailable` where another run has moved it since it was read.
    pub fn property(&self, place: &Place, table: &DeltaTable) -> Result<Option<Property>, RunError> {
        let now = Watermark::stored(place, table, &self.column)?;
        if now != self.stored {
            return Err(moved(&self.column, &place.schema, &self.stored, &now));
        }
        match self.after() {
            after if after == self.stored => Ok(None),
            Some(after) => after.to_property(&self.column).map(Some),
            // The first load is replaced by one without rows.
            None => Ok(Some((Watermark::property(&self.column), None))),
        }
    }
}

/// The error of a run that finds another watermark than the one that it read.
pub fn moved(column: &str, schema: &str, was: &Option<Watermark>, is: &Option<Watermark>) -> RunError {
    let value = |mark: &Option<Watermark>| mark.as_ref().map_or("none".to_owned(), |m| format!("{:?}", m.value));
    RunError::new(
        Kind::TargetUnavailable,
        format!(
            "another run has brought rows past the watermark of {column:?} into the table of the schema {schema:?} since this one \
             read it (it was {}, and is {}); the rows must be read again from there",
            value(was),
            value(is)
        ),
    )
}

fn went_on(run: &str, column: &str) -> RunError {
    RunError::new(
        Kind::Target,
        format!(
            "the run {run}, which this one retries and replaces, is not the last that moved the watermark of {column:?}: the \
             rows after it would come twice; start a new run instead, and bring the rows that were rejected by a run of their own"
        ),
    )
}
