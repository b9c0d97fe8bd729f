//! Validate: checks rows against rules. The rules apply in their order, and a row is reported under the first one that
//! it breaks; later rules do not see it any more.
//!
//! Rules that look at one row are all judged in one step. A `unique` sorts the rows by its field, which spills, so a
//! node with such rules judges first, marks what is not unique, and acts on the marks at the end: a row that another
//! rule rejects does not keep others from having its value. Only a `unique` that comes later is not known by then: to
//! judge several at once, all their values would have to be held in memory.

mod matches;
mod rule;
mod unique;
mod work;

use super::columns::{require, type_name};
use super::deduplicate::can_be_key;
use super::ledger::Ledger;
use super::rows::RowExec;
use super::step::{Step, follow};
use super::ties;
use crate::engine::expressions::Expressions;
use crate::engine::graph::{Graph, GraphNode};
use crate::error::{Kind, RunError};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::Session;
use datafusion::common::{DFSchema, DFSchemaRef, Result};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use rule::RowRule;
use shared::models::node::{NodeConfig, OnFail, Rule, RuleName, RuleParams, ValidateConfig};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use unique::Unique;
use work::{Act, Both, Judge, Rules};

/// The hidden column with the number of the rule that a row breaks; `Int32`, null where it breaks none.
const VERDICT: &str = "__flowgate_verdict";

/// Plans the rules over `input`.
///
/// # Errors
/// `Kind::Definition`, with all faults of the rules in one message.
pub fn plan(
    node: &GraphNode,
    config: &ValidateConfig,
    input: LogicalPlan,
    expressions: &Arc<Expressions>,
    ledger: Ledger,
) -> Result<LogicalPlan, RunError> {
    let (mut of_rows, mut uniques, mut faults) = (Vec::new(), Vec::new(), Vec::new());
    for (index, rule) in config.rules.iter().enumerate() {
        let planned = match rule.rule {
            RuleName::RowCount => bounds_of(rule).map(|_| ()),
            RuleName::Unique => unique_field(node, rule, &input).map(|field| uniques.push((index, field))),
            _ => rule::compile(rule, index, input.schema(), expressions).map(|rule| of_rows.push(rule)),
        };
        if let Err(why) = planned {
            let name = rule::name_of(rule.rule);
            faults.push(node.fault(format!("rule {:?} ({name}): {why}", rule.id)));
        }
    }
    crate::engine::graph::all_of(faults)?;
    let rules = Rules {
        node: (node.id.clone(), node.name.clone()),
        rules: config.rules.clone(),
        of_rows,
        expressions: expressions.clone(),
    };
    let rules = Arc::new(rules);
    if uniques.is_empty() {
        return Ok(follow(input, Arc::new(Stage { kind: StageKind::Both, schema: None, rules, ledger })));
    }
    let before = input.schema().as_arrow().clone();
    let mut fields: Vec<_> = before.fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(VERDICT, DataType::Int32, true)));
    let judged = Some(Arc::new(DFSchema::try_from(Schema::new(fields))?));
    let after = Some(Arc::new(DFSchema::try_from(before)?));
    let order = ties::order(&input);
    let stage = |kind, schema| Stage { kind, schema, rules: rules.clone(), ledger: ledger.clone() };
    let mut plan = follow(input, Arc::new(stage(StageKind::Judge, judged)));
    for (index, field) in uniques {
        let Some(rule) = config.rules.get(index) else { continue };
        let warns = (rule.on_fail == Some(OnFail::Warn)).then(|| rule.id.clone());
        let unique = Unique { rule: index as i32, field, order: order.clone(), warns, ledger: ledger.clone() };
        plan = follow(plan, Arc::new(unique));
    }
    Ok(follow(plan, Arc::new(stage(StageKind::Act, after))))
}

fn unique_field(node: &GraphNode, rule: &Rule, input: &LogicalPlan) -> Result<String, String> {
    let name = rule.field.as_deref().ok_or("it names no field")?;
    let field = require(node, input, name).map_err(|_| rule::missing_field(name, input.schema()))?;
    if can_be_key(field.data_type()) {
        Ok(name.to_owned())
    } else {
        Err(format!("column {name:?} holds {}, which cannot be compared", type_name(field.data_type())))
    }
}

/// What one step of a validation does.
#[derive(Debug, Clone, Copy)]
enum StageKind {
    /// Judges rows and acts at once.
    Both,
    /// Writes the number of the rule that a row breaks beside it.
    Judge,
    /// Rejects rows by their numbers, and takes the numbers away.
    Act,
}

#[derive(Debug)]
struct Stage {
    kind: StageKind,
    /// Given where the columns change.
    schema: Option<DFSchemaRef>,
    rules: Arc<Rules>,
    ledger: Ledger,
}

impl Step for Stage {
    fn name(&self) -> &'static str {
        "Validate"
    }
    fn schema(&self) -> Option<&DFSchemaRef> {
        self.schema.as_ref()
    }
    fn reads(&self) -> Option<Vec<String>> {
        match self.kind {
            StageKind::Both => {
                self.ledger.reads(self.rules.of_rows.iter().flat_map(RowRule::columns).map(str::to_owned))
            }
            StageKind::Judge | StageKind::Act => None,
        }
    }
    fn plan(&self, input: Arc<dyn ExecutionPlan>, _: &dyn Session) -> Result<Arc<dyn ExecutionPlan>> {
        let bound = self.rules.bind(&input.schema())?;
        let schema = self.schema.as_ref().map(|schema| Arc::new(schema.as_arrow().clone()));
        let (ledger, silent) = (self.ledger.clone(), self.ledger.silent());
        Ok(Arc::new(match (self.kind, &schema) {
            (StageKind::Judge, Some(to)) => {
                let work = Judge { rules: bound, schema: to.clone(), ledger };
                RowExec::new("JudgeRows", input, Arc::new(work), silent, schema)
            }
            (StageKind::Act, Some(to)) => {
                let work = Act { rules: bound, schema: to.clone(), ledger };
                RowExec::new("ActOnRows", input, Arc::new(work), silent, schema)
            }
            _ => RowExec::new("ValidateRows", input, Arc::new(Both { rules: bound }), ledger, None),
        }))
    }
}

/// The bounds of a rule that counts, both included.
fn bounds_of(rule: &Rule) -> Result<(u64, u64), String> {
    let none = RuleParams::default();
    let params = rule.params.as_ref().unwrap_or(&none);
    let read = |name: &str, value: &Option<serde_json::Value>, default: u64| match value {
        None => Ok(default),
        Some(value) => rule::count(value).map_err(|why| format!("{name}: {why}")),
    };
    Ok((read("min", &params.min, 0)?, read("max", &params.max, u64::MAX)?))
}

/// Checks the rules that count the rows which came into the nodes `ran`, once all of them have come; answers the
/// sentences of those that only warn.
///
/// # Errors
/// `Kind::Data` that names node and rule, where one fails the run.
pub fn check_counts(graph: &Graph, ran: &HashSet<usize>) -> Result<Vec<String>, RunError> {
    let mut warnings = Vec::new();
    for (index, node) in graph.nodes.iter().enumerate() {
        let NodeConfig::Validate(config) = &node.config else { continue };
        let came = node.counters.rows_in.load(Relaxed);
        for rule in config.rules.iter().filter(|rule| rule.rule == RuleName::RowCount && ran.contains(&index)) {
            let (low, high) = bounds_of(rule).map_err(|why| node.fault(why))?;
            if (low..=high).contains(&came) {
                continue;
            }
            let wanted = rule::between(rule.params.as_ref());
            let told = format!(
                "node {:?}: rule {:?} (rowCount) is broken: {came} rows came in, and there must be {wanted}",
                node.name, rule.id
            );
            if rule.on_fail != Some(OnFail::Warn) {
                return Err(
                    RunError::new(Kind::Data, format!("{told} (onFail is fail); nothing was written")).at(&node.id)
                );
            }
            node.counters.warnings.add(&rule.id, 1);
            warnings.push(format!("{told} (onFail is warn)."));
        }
    }
    Ok(warnings)
}
