//! One run from its job to its commits: open, plan, stage, check, commit.

use super::accounting;
use super::compile::Compiler;
use super::expressions::Expressions;
use super::graph::{Graph, GraphNode};
use super::job::{Hooks, Job, Outcome, Settings};
use super::session::{self, parallelism};
use super::{lineage, story};
use crate::error::{Kind, RunError};
use crate::nodes::tap::drain;
use crate::sources::{self, Source, SourceRequest};
use crate::targets::{self, Target};
use datafusion::execution::session_state::SessionState;
use datafusion::physical_plan::ExecutionPlan;
use shared::models::node::{NodeConfig, SourceConfig};
use shared::models::pipeline::Partitioning;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

/// How much larger the rows of a join's smaller side may become in memory than their files are, with their hash table.
const GROWTH: u64 = 4;

/// Executes `job`: reads its sources, brings the rows through the graph, and commits what reaches the targets, each
/// atomically. Where it ends with an error nothing has become visible, unless one of several targets had been
/// committed before the error; a retry fills in the others.
///
/// # Errors
/// `Kind::Definition` with all faults of the pipeline that its columns show; `Kind::Cancelled` on `hooks.stop`; what
/// `hooks.gate` refuses with; what reading and writing end with.
pub async fn execute(job: Job, settings: &Settings, hooks: Hooks) -> Result<Outcome, RunError> {
    let graph = Graph::new(&job, &hooks.progress)?;
    let mut run = Run { graph: &graph, job: &job, settings, hooks: &hooks, targets: Vec::new() };
    let result = run.go().await;
    if result.is_err() {
        for target in &mut run.targets {
            target.target.abort().await;
        }
    }
    result
}

struct Run<'a> {
    graph: &'a Graph,
    job: &'a Job,
    settings: &'a Settings,
    hooks: &'a Hooks,
    targets: Vec<Open>,
}

/// An open target.
struct Open {
    /// The index of its node.
    node: usize,
    target: Target,
}

/// What is to be executed for one target.
struct Planned {
    /// The index in [`Run::targets`].
    target: usize,
    plan: Arc<dyn ExecutionPlan>,
}

impl Run<'_> {
    async fn go(&mut self) -> Result<Outcome, RunError> {
        let stop = self.hooks.stop.clone();
        let planned = tokio::select! {
            biased;
            () = stop.cancelled() => return Err(stopped()),
            planned = self.prepare() => planned?,
        };
        if let Some((session, plans)) = planned {
            self.stage(&session, plans).await?;
            self.hooks.gate.enter().await?;
            return self.commit(&session).await;
        }
        self.hooks
            .progress
            .log("committing", "The rows of this run are in all its targets already; nothing is read again.");
        let session = session::open(self.job, self.settings, false)?;
        self.commit(&session).await
    }

    /// Opens everything and plans what is to be executed; none where all targets have their rows.
    async fn prepare(&mut self) -> Result<Option<(SessionState, Vec<Planned>)>, RunError> {
        let begun = Instant::now();
        for index in self.graph.targets() {
            let Some(node) = self.graph.nodes.get(index) else { continue };
            let NodeConfig::Target(config) = &node.config else { continue };
            let target = targets::open(self.job, &node.id, config, self.settings).await.map_err(|e| e.at(&node.id))?;
            self.targets.push(Open { node: index, target });
        }
        let open: Vec<usize> =
            self.targets.iter().filter(|open| !open.target.already_committed()).map(|open| open.node).collect();
        if open.is_empty() {
            return Ok(None);
        }
        let expressions = Arc::new(Expressions::new(self.job.parameters.clone()));
        let sources = self.open_sources(&open, &expressions).await?;
        let spilling = self.compiler(&sources, &expressions).largest_build_side().saturating_mul(GROWTH)
            > self.settings.memory_bytes as u64;
        let session = session::open(self.job, self.settings, spilling)?;
        let logical = self.compiler(&sources, &expressions).targets(&open, &self.job.schema.fields)?;
        let mut planned = Vec::with_capacity(logical.len());
        for (index, plan) in open.iter().zip(logical) {
            let Some(target) = self.targets.iter().position(|open| open.node == *index) else { continue };
            let plan = session.create_physical_plan(&plan).await?;
            tracing::debug!(run = self.job.run_id, plan = %datafusion::physical_plan::displayable(plan.as_ref()).indent(false), "planned");
            planned.push(Planned { target, plan });
        }
        self.hooks.progress.log(
            "planning",
            story::planned(self.graph, parallelism(self.job, self.settings), spilling, begun.elapsed()),
        );
        Ok(Some((session, planned)))
    }

    fn compiler<'a>(&'a self, sources: &'a HashMap<usize, Source>, expressions: &'a Arc<Expressions>) -> Compiler<'a> {
        let partitioning = self.job.execution.partitioning.clone().unwrap_or(Partitioning::None);
        let parallelism = parallelism(self.job, self.settings);
        Compiler::new(self.graph, sources, expressions, &self.hooks.progress, partitioning, parallelism)
    }

    /// Opens the sources that `targets` need, the left inputs of joins before the right ones, since the columns of the
    /// left decide what those of the right are called.
    async fn open_sources(
        &self,
        targets: &[usize],
        expressions: &Arc<Expressions>,
    ) -> Result<HashMap<usize, Source>, RunError> {
        let mut sources = HashMap::new();
        let mut faults = Vec::new();
        for index in self.in_order(targets) {
            let Some(node) = self.graph.nodes.get(index) else { continue };
            let NodeConfig::Source(config) = &node.config else { continue };
            let expected = {
                let compiler = RefCell::new(self.compiler(&sources, expressions));
                let columns = |node: usize| compiler.borrow_mut().columns(node);
                lineage::expected(self.graph, targets, &self.job.schema.fields, index, &columns)
            };
            match self.open_source(node, config, &expected).await {
                Ok(source) => {
                    sources.insert(index, source);
                }
                Err(fault) => faults.push(fault.at(&node.id)),
            }
        }
        super::graph::all_of(faults)?;
        Ok(sources)
    }

    async fn open_source(
        &self,
        node: &GraphNode,
        config: &SourceConfig,
        expected: &lineage::Wanted,
    ) -> Result<Source, RunError> {
        let begun = Instant::now();
        let id = config.connector_id.as_deref().unwrap_or(&self.job.connector_id);
        let Some(connector) = self.job.connectors.get(id) else {
            return Err(node.fault(format!("the connector {id:?} does not exist any more")));
        };
        let request = SourceRequest {
            node: &node.id,
            connector,
            config,
            expected,
            parallelism: parallelism(self.job, self.settings),
            batch_size: self.job.execution.batch_size(),
        };
        let source = sources::open(request, self.settings, &self.hooks.progress).await?;
        self.hooks.progress.log("planning", story::opened(node, &connector.name, &source.schema(), begun.elapsed()));
        Ok(source)
    }

    /// The nodes that `targets` need, in the order of a walk that goes left first and visits inputs before consumers.
    fn in_order(&self, targets: &[usize]) -> Vec<usize> {
        let mut order = Vec::new();
        let mut seen = HashSet::new();
        let mut open: Vec<(usize, bool)> = targets.iter().rev().map(|target| (*target, false)).collect();
        while let Some((index, done)) = open.pop() {
            if done {
                order.push(index);
                continue;
            }
            let Some(node) = self.graph.nodes.get(index).filter(|_| seen.insert(index)) else { continue };
            open.push((index, true));
            let mut inputs: Vec<_> = node.inputs.iter().collect();
            inputs.sort_by_key(|input| input.label.as_deref() == Some("right"));
            open.extend(inputs.iter().rev().map(|input| (input.node, false)));
        }
        order
    }

    /// Streams all rows into files that nobody sees yet, and checks that the counts add up.
    async fn stage(&mut self, session: &SessionState, plans: Vec<Planned>) -> Result<(), RunError> {
        let (progress, stop) = (&self.hooks.progress, &self.hooks.stop);
        let ran: HashSet<usize> = self.in_order(&self.open_nodes(&plans)).into_iter().collect();
        let begun = Instant::now();
        progress.log("reading", story::reading(self.graph, &ran));
        for Planned { target, plan } in plans {
            let Some(open) = self.targets.get_mut(target) else { continue };
            let Some(node) = self.graph.nodes.get(open.node) else { continue };
            let context = session.task_ctx();
            let counters = node.counters.clone();
            open.target
                .stage(plan.clone(), context.clone(), counters, progress.clone(), stop)
                .await
                .map_err(|e| e.at(&node.id))?;
            drain(&plan, &context, stop).await?;
            progress.log("writing", story::staged(node, begun.elapsed()));
        }
        if stop.is_cancelled() {
            return Err(stopped());
        }
        accounting::close(self.graph, &ran)?;
        progress.log("writing", story::counted(self.graph, &ran, progress.rejected()));
        let errors = self.job.execution.errors();
        accounting::check_rate(progress, accounting::rows_in(self.graph), errors.max_error_rate)
    }

    fn open_nodes(&self, plans: &[Planned]) -> Vec<usize> {
        plans.iter().filter_map(|planned| self.targets.get(planned.target)).map(|open| open.node).collect()
    }

    async fn commit(&mut self, session: &SessionState) -> Result<Outcome, RunError> {
        let progress = &self.hooks.progress;
        let nothing_ran = self.targets.iter().all(|open| open.target.already_committed());
        let mut outcome = Outcome { rows_in: accounting::rows_in(self.graph), ..Outcome::default() };
        for open in &mut self.targets {
            let Some(node) = self.graph.nodes.get(open.node) else { continue };
            let begun = Instant::now();
            let ran = !open.target.already_committed();
            let committed = open.target.commit(session).await.map_err(|e| e.at(&node.id))?;
            outcome.rows_out += committed.rows_out;
            outcome.skipped_rows += committed.skipped;
            progress.log(
                "committing",
                story::committed(
                    node,
                    &self.job.schema.name,
                    committed.rows_out,
                    committed.version,
                    ran,
                    begun.elapsed(),
                ),
            );
        }
        // A run that found everything in has read nothing: what its commits say is all that is known.
        if nothing_ran {
            outcome.rows_in = outcome.rows_out + outcome.skipped_rows;
        }
        outcome.failed_rows = progress.rejected();
        outcome.errors = progress.finish_errors()?;
        Ok(outcome)
    }
}

fn stopped() -> RunError {
    RunError::new(Kind::Cancelled, "the run was stopped")
}
