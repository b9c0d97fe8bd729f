//! Compiles the graph of a run: from a target back to its sources, one logical plan a target.

use super::expressions::Expressions;
use super::graph::{Graph, GraphNode, Input, all_of};
use super::progress::{NodeCounters, Progress, ROW_COLUMN};
use crate::error::{Kind, RunError};
use crate::nodes::columns::{column, find, may_be_named, type_name, visible};
use crate::nodes::deduplicate::can_be_key;
use crate::nodes::join::Side;
use crate::nodes::ledger::Ledger;
use crate::nodes::partition::Divide;
use crate::nodes::step::follow;
use crate::nodes::tap::{Count, Tap};
use crate::nodes::{
    aggregate, branch, deduplicate, filter, join, pivot, sort, sql, transform, union, unpivot, validate,
};
use crate::sources::Source;
use datafusion::common::ScalarValue;
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use shared::models::node::{NodeConfig, PivotConfig, SqlConfig};
use shared::models::pipeline::Partitioning;
use shared::models::schema::Field;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// How often nodes may be compiled in all, since a query may read each of its inputs many times.
const MAX_COPIES: u64 = 10_000;

/// How a fault ends that says no more than that opening has failed, which is a fault of its own.
pub(super) const NOT_OPEN: &str = "is not open";

/// What the compiler knows of a run.
pub struct Compiler<'a> {
    pub graph: &'a Graph,
    pub opened: &'a Opened,
    pub expressions: &'a Arc<Expressions>,
    pub progress: &'a Arc<Progress>,
    pub partitioning: Partitioning,
    pub parallelism: usize,
    /// Nodes whose first copy has been compiled: only that one counts.
    counted: HashSet<usize>,
    /// What comes into sql nodes, by the id of its tap; see [`Compiled::sql_inputs`].
    sql_inputs: Vec<(usize, LogicalPlan)>,
    /// How often nodes have been compiled.
    copies: u64,
    pub(super) faults: Vec<RunError>,
    /// What edges are known to give: they are not compiled again.
    pub(super) known: HashMap<Input, Option<Flow>>,
    /// Whether it goes on behind a faulty node, and compiles each edge once; what comes out is not for execution then.
    pub(super) surveys: bool,
}

/// What must be known before a graph can be compiled.
#[derive(Debug, Default)]
pub struct Opened {
    /// The open sources, by the index of their node.
    pub sources: HashMap<usize, Source>,
    /// What lookups read, by the index of their node and the place of their op, with counters of its own: what it
    /// rejects is reported, and it counts as no rows of the node.
    pub lookups: HashMap<(usize, usize), (Source, Arc<NodeCounters>)>,
    /// The values that become columns, by the index of the pivot.
    pub pivots: HashMap<usize, Vec<ScalarValue>>,
}

/// A graph as logical plans.
pub struct Compiled {
    /// What comes into each target.
    pub targets: Vec<LogicalPlan>,
    /// What comes into sql nodes, each after what comes before it. The optimizer leaves out an input that cannot
    /// matter, such as below `WHERE false`; it must be read all the same, or its rows would be missing in the counts.
    pub sql_inputs: Vec<(usize, LogicalPlan)>,
}

/// The rows that a node gives.
#[derive(Clone)]
pub(super) struct Flow {
    pub(super) plan: LogicalPlan,
    /// About how many bytes of files they are made of.
    pub(super) bytes: Option<u64>,
}

impl<'a> Compiler<'a> {
    /// A compiler over the sources that are open.
    pub fn new(
        graph: &'a Graph,
        opened: &'a Opened,
        expressions: &'a Arc<Expressions>,
        progress: &'a Arc<Progress>,
        partitioning: Partitioning,
        parallelism: usize,
    ) -> Self {
        Self {
            graph,
            opened,
            expressions,
            progress,
            partitioning,
            parallelism,
            counted: HashSet::new(),
            sql_inputs: Vec::new(),
            copies: 0,
            faults: Vec::new(),
            known: HashMap::new(),
            surveys: false,
        }
    }

    /// The plan of what comes into each of `targets`, with the columns that its fields take.
    ///
    /// # Errors
    /// All faults that were found, in one error.
    pub fn targets(mut self, targets: &[(usize, &[Field])]) -> Result<Compiled, RunError> {
        let mut plans = Vec::new();
        for (target, fields) in targets {
            let Some(node) = self.graph.nodes.get(*target) else { continue };
            let Some(flow) = node.inputs.first().and_then(|input| self.flow(input, true)) else { continue };
            // A row that the target rejects is kept whole, with what the target does not take.
            let plan = if self.progress.keeps_rows() { Ok(flow.plan) } else { wanted(node, flow.plan, fields) };
            match plan {
                Ok(plan) => plans.push(plan),
                Err(fault) => self.faults.push(fault),
            }
        }
        all_of(self.faults)?;
        Ok(Compiled { targets: plans, sql_inputs: self.sql_inputs })
    }

    /// The field of the pivot at `index` whose values become columns; none where a fault upstream has been noted.
    pub fn pivot_values(&mut self, index: usize, config: &PivotConfig) -> Option<LogicalPlan> {
        let node = self.graph.nodes.get(index)?;
        let flow = self.flow(node.inputs.first()?, false)?;
        pivot::only_values(node, config, flow.plan).ok()
    }

    /// The columns that node `index` gives, where they can be told from the sources that are open.
    pub fn columns(&mut self, index: usize) -> Option<Vec<String>> {
        let flow = self.flow(&Input { node: index, label: None, route: None }, false)?;
        Some(visible(flow.plan.schema()).map(|field| field.name().clone()).collect())
    }

    /// About how many bytes of files the smaller side of the largest join is made of. A lookup is a join, and a query
    /// may join all of its inputs.
    pub fn largest_build_side(&mut self) -> u64 {
        let mut largest = 0;
        for (index, node) in self.graph.nodes.iter().enumerate() {
            if !matches!(node.config, NodeConfig::Join(_) | NodeConfig::Sql(_) | NodeConfig::Transform(_)) {
                continue;
            }
            let lookups = self.opened.lookups.iter().filter(|((at, _), _)| *at == index);
            let mut sides: Vec<u64> = lookups.map(|(_, (source, _))| source.bytes()).collect();
            if sides.is_empty() && node.inputs.len() < 2 {
                continue;
            }
            let inputs =
                node.inputs.iter().map(|input| self.flow(input, false).and_then(|flow| flow.bytes).unwrap_or(0));
            sides.extend(inputs);
            let all = sides.iter().fold(0_u64, |sum, side| sum.saturating_add(*side));
            largest = largest.max(all - sides.iter().max().copied().unwrap_or(0));
        }
        largest
    }

    /// About how many bytes a row takes that has the columns of all sources and lookups, as far as they are known.
    pub fn widest_row(&self) -> u64 {
        let lookups = self.opened.lookups.values().map(|(source, _)| source);
        let sources = self.opened.sources.values().chain(lookups);
        sources.filter_map(Source::row_bytes).fold(0, u64::saturating_add)
    }

    /// What comes over an edge; none where a fault upstream has been noted.
    pub(super) fn flow(&mut self, input: &Input, count: bool) -> Option<Flow> {
        if let Some(known) = self.known.get(input) {
            return known.clone();
        }
        let flow = self.compile(input, count);
        if self.surveys {
            self.known.insert(input.clone(), flow.clone());
        }
        flow
    }

    fn compile(&mut self, input: &Input, count: bool) -> Option<Flow> {
        let node = self.graph.nodes.get(input.node)?;
        self.copies += 1;
        if self.copies > MAX_COPIES {
            self.faults.push(node.fault(format!(
                "the graph divides and meets again so often that its nodes would be worked more than {MAX_COPIES} times"
            )));
            return None;
        }
        let counts = count && self.counted.insert(input.node);
        let ledger = Ledger::new(counts.then(|| node.counters.clone()), self.progress.clone());
        let mut flows = Vec::with_capacity(node.inputs.len());
        for input in &node.inputs {
            flows.push(self.flow(input, count));
        }
        let flows: Vec<Flow> = flows.into_iter().collect::<Option<_>>()?;
        if self.surveys && self.is_told_already(input.node, node) {
            return self.behind(node, &flows, None);
        }
        let given = if self.surveys { flows.clone() } else { Vec::new() };
        let flow = match &node.config {
            NodeConfig::Sql(config) => self.sql(node, config, flows, ledger),
            _ => self.node(input, node, flows, ledger, counts),
        };
        match flow {
            Ok(flow) => Some(flow),
            Err(fault) if self.surveys => self.behind(node, &given, Some(fault.at(&node.id))),
            Err(fault) => {
                self.faults.push(fault.at(&node.id));
                None
            }
        }
    }

    /// The rows of an sql node. An input that the query reads more than once is compiled again each time, and counted
    /// the first time.
    fn sql(
        &mut self,
        node: &'a GraphNode,
        config: &SqlConfig,
        flows: Vec<Flow>,
        ledger: Ledger,
    ) -> Result<Flow, RunError> {
        let bytes = flows.iter().map(|flow| flow.bytes).sum();
        let inputs: Vec<LogicalPlan> = flows.into_iter().map(|flow| flow.plan).collect();
        let mut first: Vec<Option<LogicalPlan>> = inputs.iter().cloned().map(Some).collect();
        let (expressions, counting) = (self.expressions.clone(), ledger.clone());
        let plan = sql::plan(node, config, &inputs, &expressions, ledger, |index| {
            if let Some(input) = first.get_mut(index).and_then(Option::take) {
                if !counting.counts() {
                    return sql::tapped(input, Tap::new(Count::In, counting.clone()));
                }
                let id = self.sql_inputs.len();
                let tapped = sql::tapped(input, Tap::new(Count::In, counting.clone()).known_as(id))?;
                self.sql_inputs.push((id, tapped.clone()));
                return Ok(tapped);
            }
            let again = node.inputs.get(index).and_then(|input| self.flow(input, false));
            let again = again.ok_or_else(|| node.fault("one of its inputs cannot be read a second time"))?;
            sql::tapped(again.plan, Tap::new(Count::In, counting.silent()))
        })?;
        Ok(Flow { plan, bytes })
    }

    fn node(
        &self,
        input: &Input,
        node: &GraphNode,
        flows: Vec<Flow>,
        ledger: Ledger,
        counts: bool,
    ) -> Result<Flow, RunError> {
        let index = input.node;
        let bytes = flows.iter().map(|flow| flow.bytes).sum();
        let one = |flows: Vec<Flow>| {
            let only = flows.into_iter().next().map(|flow| flow.plan);
            only.ok_or_else(|| node.fault("nothing comes into it"))
        };
        let plan = match &node.config {
            NodeConfig::Source(_) => return self.source(index, node, counts),
            NodeConfig::Filter(config) => filter::plan(node, config, one(flows)?, self.expressions, ledger)?,
            NodeConfig::Transform(config) => {
                let lookups = |op: usize| self.lookup(index, op, node, counts);
                transform::plan(node, config, (one(flows)?, bytes), self.expressions, ledger, &lookups)?
            }
            NodeConfig::Sort(config) => sort::plan(node, config, one(flows)?, ledger)?,
            NodeConfig::Deduplicate(config) => deduplicate::plan(node, config, one(flows)?, ledger)?,
            NodeConfig::Aggregate(config) => aggregate::plan(node, config, one(flows)?, ledger)?,
            NodeConfig::Union(config) => {
                let inputs = flows.into_iter().map(|flow| flow.plan).collect();
                union::plan(node, config, inputs, self.parallelism, ledger)?
            }
            NodeConfig::Join(config) => {
                let (left, right) = sides(node, flows)?;
                join::plan(node, config, left, right, ledger)?
            }
            NodeConfig::Pivot(config) => {
                let values = self.opened.pivots.get(&index).map(Vec::as_slice);
                pivot::plan(node, config, values, one(flows)?, ledger)?
            }
            NodeConfig::Unpivot(config) => unpivot::plan(node, config, one(flows)?, ledger)?,
            NodeConfig::Branch(config) => {
                branch::plan(node, config, input.route.as_deref(), one(flows)?, self.expressions, ledger)?
            }
            NodeConfig::Validate(config) => validate::plan(node, config, one(flows)?, self.expressions, ledger)?,
            NodeConfig::Sql(_) => return Err(node.fault("a query is planned apart")),
            NodeConfig::Target(_) => return Err(node.fault("a target gives no rows on, so no edge may leave it")),
        };
        Ok(Flow { plan, bytes })
    }

    /// What the lookup at `op` of a transform reads.
    fn lookup(
        &self,
        index: usize,
        op: usize,
        node: &GraphNode,
        counts: bool,
    ) -> Result<(LogicalPlan, Option<u64>), RunError> {
        let Some((source, counters)) = self.opened.lookups.get(&(index, op)) else {
            return Err(node.fault(format!("what it looks up {NOT_OPEN}")));
        };
        let plan = self.scan(&format!("lookup_{index}_{op}"), source, node, counts.then_some(counters))?;
        Ok((plan, Some(source.bytes())))
    }

    /// The rows of an open source, which `counters` count.
    fn scan(
        &self,
        name: &str,
        source: &Source,
        node: &GraphNode,
        counters: Option<&Arc<NodeCounters>>,
    ) -> Result<LogicalPlan, RunError> {
        for field in source.schema().fields().iter().filter(|field| field.name() != ROW_COLUMN) {
            may_be_named(field.name()).map_err(|why| node.fault(why))?;
        }
        let provider = source.provider(counters.cloned(), self.progress.clone());
        let plan = LogicalPlanBuilder::scan(name, provider_as_source(provider), None)?;
        // Without the scan's name before them, columns have the same plain names everywhere.
        let names: Vec<_> = source.schema().fields().iter().map(|f| f.name().clone()).collect();
        let scanned = names.iter().map(|column| {
            let qualified = datafusion::common::Column::new(Some(name), column);
            datafusion::logical_expr::Expr::Column(qualified).alias(column)
        });
        Ok(plan.project(scanned.collect::<Vec<_>>())?.build()?)
    }

    fn source(&self, index: usize, node: &GraphNode, counts: bool) -> Result<Flow, RunError> {
        // Not open yet: asked only to learn what can be known before.
        let Some(source) = self.opened.sources.get(&index) else { return Err(node.fault(format!("it {NOT_OPEN}"))) };
        let plan = self.scan(&format!("source_{index}"), source, node, counts.then_some(&node.counters))?;
        let divide = if source.is_divided() { None } else { self.divide(node, &plan)? };
        let plan = match divide {
            Some(divide) => follow(plan, Arc::new(divide)),
            None => plan,
        };
        Ok(Flow { plan, bytes: Some(source.bytes()) })
    }

    /// How the rows of a source are divided.
    fn divide(&self, node: &GraphNode, plan: &LogicalPlan) -> Result<Option<Divide>, RunError> {
        let named = |name: &String| {
            let fault = |why: String| node.fault(format!("executionConfig.partitioning: {why}"));
            let field = find(plan.schema(), name).map_err(fault)?;
            if !can_be_key(field.data_type()) {
                return Err(fault(format!("column {name:?} holds {}", type_name(field.data_type()))));
            }
            Ok(name.clone())
        };
        Ok(match &self.partitioning {
            Partitioning::None if self.parallelism > 1 => Some(Divide::AtLeast(self.parallelism)),
            Partitioning::None | Partitioning::File => None,
            Partitioning::Hash { columns, count } => {
                let columns = columns.iter().map(named).collect::<Result<_, _>>()?;
                Some(Divide::Hash(columns, usize::from(*count)))
            }
            Partitioning::Range { column, count } => Some(Divide::Range(named(column)?, usize::from(*count))),
        })
    }
}

/// The two inputs of a join, by the labels of the edges, or by their order where they have none.
fn sides(node: &GraphNode, flows: Vec<Flow>) -> Result<(Side, Side), RunError> {
    let labels: Vec<_> = node.inputs.iter().filter_map(|input| input.label.as_deref()).collect();
    let odd = labels.iter().any(|label| !["left", "right"].contains(label)) || labels.first() == labels.get(1);
    let mut sides = flows.into_iter().map(|flow| Side { plan: flow.plan, bytes: flow.bytes });
    match (node.left(), sides.next(), sides.next()) {
        (0, Some(left), Some(right)) if !odd || labels.is_empty() => Ok((left, right)),
        (_, Some(right), Some(left)) if !odd => Ok((left, right)),
        _ => Err(node.fault("its two edges must be labelled left and right")),
    }
}

/// The columns that the target takes. The others need not be carried further than they are used.
fn wanted(node: &GraphNode, plan: LogicalPlan, fields: &[Field]) -> Result<LogicalPlan, RunError> {
    let taken: Vec<_> = plan
        .schema()
        .fields()
        .iter()
        .filter(|column| column.name() == ROW_COLUMN || fields.iter().any(|field| field.name == *column.name()))
        .map(|field| column(field.name()))
        .collect();
    LogicalPlanBuilder::from(plan)
        .project(taken)
        .and_then(LogicalPlanBuilder::build)
        .map_err(|e| RunError::new(Kind::Internal, e.strip_backtrace()).at(&node.id))
}
