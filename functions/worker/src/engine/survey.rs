//! Looks over a whole graph before anything is read: the columns of each node and edge, and all faults at once.

use super::compile::{Compiler, Flow, NOT_OPEN};
use super::expressions::{Expressions, is_missing};
use super::graph::{GraphNode, Input};
use super::job::Job;
use super::place::named_first;
use super::progress::ROW_COLUMN;
use crate::error::{Kind, RunError};
use crate::nodes::columns::{is_unknown, names_any, unknown, visible};
use crate::nodes::transform;
use crate::targets;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::logical_expr::{EmptyRelation, LogicalPlan};
use serde_json::Value;
use shared::models::node::{AggregateConfig, AggregateFn, JoinConfig, JoinType, NodeConfig, NodeType};
use std::collections::HashMap;
use std::sync::Arc;

/// What a graph was found to be.
#[derive(Debug, Default)]
pub struct Survey {
    /// The columns that come over each edge, where they can be told.
    pub columns: HashMap<Input, Vec<FieldRef>>,
    pub faults: Vec<RunError>,
}

impl Survey {
    /// The columns that come over an edge, where they can be told.
    pub fn over(&self, input: &Input) -> Option<&[FieldRef]> {
        self.columns.get(input).map(Vec::as_slice)
    }
}

impl Compiler<'_> {
    /// Looks over all nodes, behind faulty ones too as far as their columns can be told. Sources that are not open are
    /// taken for faults that are known.
    pub fn survey(mut self, job: &Job) -> Survey {
        self.surveys = true;
        let mut inputs: Vec<Input> = Vec::new();
        for (index, node) in self.graph.nodes.iter().enumerate() {
            if node.node_type != NodeType::Target {
                inputs.push(Input { node: index, label: None, route: None });
            }
            inputs.extend(node.inputs.iter().cloned());
        }
        let mut columns = HashMap::new();
        for input in inputs {
            if let Some(flow) = self.flow(&input, false) {
                columns.insert(input, visible(flow.plan.schema()).cloned().collect());
            }
        }
        let mut faults = std::mem::take(&mut self.faults);
        for node in &self.graph.nodes {
            let NodeConfig::Target(config) = &node.config else { continue };
            let Some(flow) = node.inputs.first().and_then(|input| self.flow(input, false)) else { continue };
            let coming = flow.plan.schema().as_arrow();
            if let Err(fault) = targets::check(job, node, config, coming) {
                faults.extend(unless_it_follows(fault.at(&node.id), &[flow]));
            }
        }
        Survey { columns, faults }
    }

    /// Whether what is wrong with a node has been said before.
    pub(super) fn is_told_already(&self, index: usize, node: &GraphNode) -> bool {
        node.broken
            || match &node.config {
                NodeConfig::Source(_) => !self.opened.sources.contains_key(&index),
                // Its columns are known when its values have been read.
                NodeConfig::Pivot(config) => config.pivot_values.is_none() && !self.opened.pivots.contains_key(&index),
                _ => false,
            }
    }

    /// Notes the faults of a node, and goes on with the columns that it would give if it were right.
    pub(super) fn behind(&mut self, node: &GraphNode, given: &[Flow], fault: Option<RunError>) -> Option<Flow> {
        self.faults.extend(fault.into_iter().flat_map(|fault| unless_it_follows(fault, given)));
        let schema = columns_behind(node, given, self.expressions)?;
        let schema = Arc::new(DFSchema::try_from(schema).ok()?);
        let plan = LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: false, schema });
        Some(Flow { plan, bytes: given.iter().map(|flow| flow.bytes).sum() })
    }
}

/// The single faults, without those about columns that a fault before has left unknown.
fn unless_it_follows(fault: RunError, given: &[Flow]) -> Vec<RunError> {
    let columns = given.iter().flat_map(|flow| visible(flow.plan.schema()));
    let unknown: Vec<&str> = columns.filter(|f| is_unknown(f)).map(|f| f.name().as_str()).collect();
    let follows = |fault: &RunError| {
        let told = fault.message.ends_with(NOT_OPEN);
        told || !is_missing(&fault.message) && names_any(&fault.message, unknown.iter().copied())
    };
    fault.each().into_iter().filter(|fault| !follows(fault)).collect()
}

/// The columns that a faulty node would give, where they can be told.
fn columns_behind(node: &GraphNode, given: &[Flow], expressions: &Expressions) -> Option<SchemaRef> {
    let schemas: Vec<SchemaRef> = given.iter().map(|flow| Arc::new(flow.plan.schema().as_arrow().clone())).collect();
    let first = schemas.first()?;
    match (&node.config, node.node_type) {
        (_, NodeType::Filter | NodeType::Sort | NodeType::Deduplicate | NodeType::Branch | NodeType::Validate) => {
            Some(Arc::clone(first))
        }
        _ if node.broken => None,
        (NodeConfig::Transform(config), _) => Some(transform::columns(config, first, expressions)),
        (NodeConfig::Aggregate(config), _) => Some(aggregated(config, first)),
        (NodeConfig::Union(_), _) => Some(united(&schemas)),
        (NodeConfig::Join(config), _) => joined(node, config, &schemas),
        (NodeConfig::Unpivot(config), _) => {
            let kept = config.index.iter().map(|name| named(name, first));
            let made = [Field::new(&config.name_to, DataType::Utf8, true), unknown(&config.value_to)];
            Some(schema_of(kept.chain(made)))
        }
        (NodeConfig::Pivot(config), _) => {
            let values = config.pivot_values.as_ref()?;
            let made = values.iter().map(|value| match value {
                Value::String(text) => unknown(text),
                other => unknown(&other.to_string()),
            });
            Some(schema_of(config.index.iter().map(|name| named(name, first)).chain(made)))
        }
        (NodeConfig::Source(_) | NodeConfig::Sql(_) | NodeConfig::Target(_), _) => None,
        // Their types are in the first arm.
        (NodeConfig::Filter(_) | NodeConfig::Sort(_) | NodeConfig::Deduplicate(_), _) => None,
        (NodeConfig::Branch(_) | NodeConfig::Validate(_), _) => None,
    }
}

fn schema_of(fields: impl Iterator<Item = Field>) -> SchemaRef {
    let mut all: Vec<Field> = Vec::new();
    for field in fields {
        if all.iter().all(|known| known.name() != field.name()) {
            all.push(field);
        }
    }
    Arc::new(Schema::new(all))
}

fn named(name: &str, schema: &Schema) -> Field {
    schema.field_with_name(name).map_or_else(|_| unknown(name), Clone::clone)
}

fn aggregated(config: &AggregateConfig, input: &Schema) -> SchemaRef {
    let groups = config.group_by.iter().map(|name| named(name, input));
    let measures = config.measures.iter().map(|measure| match measure.r#fn {
        AggregateFn::Count | AggregateFn::CountDistinct => Field::new(&measure.r#as, DataType::Int64, true),
        _ => unknown(&measure.r#as),
    });
    schema_of(groups.chain(measures))
}

/// A column whose types do not go together is unknown.
fn united(inputs: &[SchemaRef]) -> SchemaRef {
    let all = || inputs.iter().flat_map(|schema| schema.fields().iter()).filter(|f| f.name() != ROW_COLUMN);
    schema_of(all().map(|field| {
        let alike = all().filter(|f| f.name() == field.name()).all(|f| f.data_type() == field.data_type());
        if alike { field.as_ref().clone() } else { unknown(field.name()) }
    }))
}

fn joined(node: &GraphNode, config: &JoinConfig, inputs: &[SchemaRef]) -> Option<SchemaRef> {
    let (left, right) = match inputs {
        [right, left] if node.left() == 1 => (left, right),
        [left, right] => (left, right),
        _ => return None,
    };
    let only_left = matches!(config.r#type, JoinType::Semi | JoinType::Anti);
    let suffix = config.suffix.as_deref().unwrap_or("_right");
    let mut fields: Vec<Field> = left.fields().iter().map(|f| f.as_ref().clone()).collect();
    for field in right.fields().iter().filter(|f| !only_left && f.name() != ROW_COLUMN) {
        let name = field.name();
        if config.on.iter().any(|key| key.left == *name && key.right == *name) {
            continue;
        }
        let taken = left.field_with_name(name).is_ok();
        fields.push(field.as_ref().clone().with_name(if taken { format!("{name}{suffix}") } else { name.clone() }));
    }
    Some(schema_of(fields.into_iter()))
}

/// A fault of a job, told by the place in the pipeline that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// A JSON Pointer into the pipeline, such as `/nodes/3/config/ops/1/expr`.
    pub pointer: String,
    /// A stable lower-case word.
    pub code: &'static str,
    /// A sentence.
    pub detail: String,
    /// The id of the node, unless it stands for the pipeline's own connector and schema.
    pub node: Option<String>,
}

/// The faults of `job` by their places, in the order of its nodes. `copies` says that the pipeline has no nodes of its own.
pub fn told(job: &Job, copies: bool, faults: Vec<RunError>) -> Vec<Told> {
    let mut told: Vec<Told> = Vec::new();
    let index_of =
        |fault: &RunError| fault.node.as_deref().and_then(|id| job.nodes.iter().position(|node| node.id == id));
    let mut faults: Vec<RunError> = faults.into_iter().flat_map(RunError::each).collect();
    faults.sort_by_key(index_of);
    for fault in faults {
        let index = index_of(&fault);
        let node = index.and_then(|index| job.nodes.get(index));
        let pointer = match (index, node) {
            (Some(_), Some(node)) if copies => {
                if node.node_type == NodeType::Target { "/schemaId" } else { "/connectorId" }.to_owned()
            }
            (Some(index), Some(node)) => {
                let within = fault.pointer.clone().or_else(|| {
                    let prefix = format!("node {:?}: ", node.name());
                    let said = fault.message.strip_prefix(&prefix).unwrap_or(&fault.message);
                    let config = Value::Object(node.config.clone());
                    named_first(&config, said).map(|at| format!("/config{at}"))
                });
                format!("/nodes/{index}{}", within.unwrap_or_default())
            }
            _ => String::new(),
        };
        let code = code_of(&fault);
        let node = node.filter(|_| !copies).map(|node| node.id.clone());
        let one = Told { pointer, code, detail: fault.message, node };
        if !told.contains(&one) {
            told.push(one);
        }
    }
    told
}

fn code_of(fault: &RunError) -> &'static str {
    match fault.kind {
        Kind::Definition if is_missing(&fault.message) => "not_found",
        Kind::Definition => "invalid",
        Kind::Source => "source",
        Kind::SourceUnavailable => "source_unavailable",
        Kind::Target => "target",
        Kind::TargetUnavailable => "target_unavailable",
        Kind::Data | Kind::Value => "data",
        Kind::Timeout => "timeout",
        Kind::Resources => "resources",
        Kind::Cancelled | Kind::Superseded | Kind::Internal => "internal",
    }
}
