//! Judges the rows of a batch by rules, and acts on the verdicts: rejects, fails, warns.

use super::VERDICT;
use super::rule::{RowRule, name_of, wanted};
use crate::engine::expressions::Expressions;
use crate::error::{Kind, RunError};
use crate::nodes::evaluate::{evaluate, seen};
use crate::nodes::ledger::{Ledger, text_at};
use crate::nodes::rows::RowWork;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int32Array, RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::{Int32Type, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::common::{DFSchema, Result};
use datafusion::physical_expr::PhysicalExpr;
use shared::models::node::{OnFail, Rule, RuleName};
use std::sync::Arc;

/// The rules of a node.
#[derive(Debug)]
pub struct Rules {
    /// Its id and its name.
    pub node: (String, String),
    pub rules: Vec<Rule>,
    /// Those that look at one row.
    pub of_rows: Vec<RowRule>,
    pub expressions: Arc<Expressions>,
}

/// The rules of a node, bound to certain columns.
#[derive(Debug)]
pub struct Bound {
    rules: Arc<Rules>,
    conditions: Vec<Arc<dyn PhysicalExpr>>,
}

/// Per row the rule that it breaks first, of those that do more than warn.
type Verdicts = Vec<Option<i32>>;

impl Rules {
    /// The rules over batches whose columns are those of `schema`.
    ///
    /// # Errors
    /// Where `schema` lacks a column that they were compiled for.
    pub fn bind(self: &Arc<Self>, schema: &Schema) -> Result<Bound> {
        let schema = DFSchema::try_from(schema.clone())?;
        let bind = |rule: &RowRule| self.expressions.bind(&rule.condition, &schema);
        Ok(Bound { rules: self.clone(), conditions: self.of_rows.iter().map(bind).collect::<Result<_>>()? })
    }

    fn rule(&self, index: usize) -> Result<&Rule, RunError> {
        self.rules.get(index).ok_or_else(|| RunError::new(Kind::Internal, "a row breaks a rule that is not there"))
    }
}

impl Bound {
    /// The rows that break a rule, in their order.
    fn broken(&self, at: usize, batch: &RecordBatch) -> Result<Vec<usize>, RunError> {
        let Some(condition) = self.conditions.get(at) else { return Ok(Vec::new()) };
        let (values, failed) = evaluate(condition, batch)?;
        let mut broken: Vec<usize> = failed.into_iter().map(|failure| failure.row).collect();
        if let Some(values) = values.as_boolean_opt().filter(|values| values.false_count() > 0) {
            broken.extend((0..values.len()).filter(|row| values.is_valid(*row) && !values.value(*row)));
            broken.sort_unstable();
        }
        Ok(broken)
    }

    fn judge(&self, batch: &RecordBatch) -> Result<Verdicts, RunError> {
        let mut verdicts = vec![None; batch.num_rows()];
        for (at, rule) in self.rules.of_rows.iter().enumerate() {
            if self.rules.rule(rule.index)?.on_fail == Some(OnFail::Warn) {
                continue;
            }
            for row in self.broken(at, batch)? {
                if let Some(verdict) = verdicts.get_mut(row).filter(|verdict| verdict.is_none()) {
                    *verdict = Some(rule.index as i32);
                }
            }
        }
        Ok(verdicts)
    }

    /// Rejects the rows that break a rule, ends the run where one says so, and counts what only warns.
    fn act(&self, batch: &RecordBatch, verdicts: &Verdicts, ledger: &Ledger) -> Result<RecordBatch, RunError> {
        for (at, rule) in self.rules.of_rows.iter().enumerate() {
            let known = self.rules.rule(rule.index)?;
            if known.on_fail == Some(OnFail::Warn) {
                // A row that an earlier rule took out is not seen by this one.
                let out = |row: &usize| verdicts.get(*row).copied().flatten().is_some_and(|v| v < rule.index as i32);
                let broken = self.broken(at, batch)?;
                ledger.warned(&known.id, broken.iter().filter(|row| !out(row)).count());
            }
        }
        for (row, verdict) in verdicts.iter().enumerate() {
            if let Some(verdict) = verdict {
                self.end(batch, row, usize::try_from(*verdict).unwrap_or_default(), ledger)?;
            }
        }
        let kept: BooleanArray = verdicts.iter().map(|verdict| Some(verdict.is_none())).collect();
        filter_record_batch(batch, &kept).map_err(broken)
    }

    /// The end of a row, or of the run.
    fn end(&self, batch: &RecordBatch, row: usize, index: usize, ledger: &Ledger) -> Result<(), RunError> {
        let rule = self.rules.rule(index)?;
        let at = self.rules.of_rows.iter().position(|of_row| of_row.index == index);
        let (column, value) = match (&rule.field, at.and_then(|at| self.rules.of_rows.get(at))) {
            (Some(field), _) => (field.clone(), batch.column_by_name(field).and_then(|values| text_at(values, row))),
            (None, Some(of_row)) => seen(&of_row.condition, batch, row),
            (None, None) => (String::new(), None),
        };
        let mut right = wanted(rule);
        if let (RuleName::Expression, Some(condition)) = (rule.rule, at.and_then(|at| self.conditions.get(at)))
            && let Some(failure) = evaluate(condition, &batch.slice(row, 1))?.1.pop()
        {
            right = format!("{right}; it fails on this row: {}", failure.reason);
        }
        let name = name_of(rule.rule);
        if rule.on_fail != Some(OnFail::Fail) {
            let reason = format!("rule {:?} ({name}): {right}", rule.id);
            return ledger.reject(batch, row, &column, value.as_deref(), &reason);
        }
        let (id, node) = &self.rules.node;
        let place = ledger.place(batch, row).map(|place| format!("{place}, ")).unwrap_or_default();
        let value = value.map_or_else(|| "null".to_owned(), |value| format!("{value:?}"));
        let message = format!(
            "node {node:?}: rule {:?} ({name}) is broken: {place}column {column:?}, value {value}: {right} (onFail is fail); nothing was written",
            rule.id
        );
        Err(RunError::new(Kind::Data, message).at(id))
    }
}

/// Judges and acts at once.
#[derive(Debug)]
pub struct Both {
    pub rules: Bound,
}

impl RowWork for Both {
    fn apply(&self, batch: RecordBatch, ledger: &Ledger) -> Result<RecordBatch, RunError> {
        let verdicts = self.rules.judge(&batch)?;
        self.rules.act(&batch, &verdicts, ledger)
    }
}

/// Writes the verdicts beside the rows; counts what comes in.
#[derive(Debug)]
pub struct Judge {
    pub rules: Bound,
    pub schema: SchemaRef,
    pub ledger: Ledger,
}

impl RowWork for Judge {
    fn apply(&self, batch: RecordBatch, _: &Ledger) -> Result<RecordBatch, RunError> {
        self.ledger.rows_in(batch.num_rows());
        let verdicts: ArrayRef = Arc::new(Int32Array::from(self.rules.judge(&batch)?));
        let mut columns = batch.columns().to_vec();
        columns.push(verdicts);
        RecordBatch::try_new(self.schema.clone(), columns).map_err(broken)
    }
}

/// Acts on the verdicts and takes them away; counts what goes out.
#[derive(Debug)]
pub struct Act {
    pub rules: Bound,
    pub schema: SchemaRef,
    pub ledger: Ledger,
}

impl RowWork for Act {
    fn apply(&self, batch: RecordBatch, _: &Ledger) -> Result<RecordBatch, RunError> {
        let verdicts: Verdicts = match batch.column_by_name(VERDICT).map(|v| v.as_primitive_opt::<Int32Type>()) {
            Some(Some(verdicts)) => verdicts.iter().collect(),
            _ => return Err(RunError::new(Kind::Internal, "the verdicts of a validation are not there")),
        };
        let place = batch.schema().index_of(VERDICT).map_err(broken)?;
        let columns =
            batch.columns().iter().enumerate().filter(|(at, _)| *at != place).map(|(_, c)| c.clone()).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options).map_err(broken)?;
        let kept = self.rules.act(&batch, &verdicts, &self.ledger)?;
        self.ledger.rows_out(kept.num_rows());
        Ok(kept)
    }
}

fn broken(error: ArrowError) -> RunError {
    RunError::new(Kind::Internal, format!("the rows of a validation do not go together: {error}"))
}
