//! One run from its job to its commits: open, plan, stage, check, commit.

use super::accounting;
use super::graph::{Graph, SAME_TABLE, all_of};
use super::job::{Hooks, Job, Outcome, Settings, TableSchema};
use super::plan::Planner;
use super::session::{self, parallelism};
use super::{lineage, story};
use crate::error::{Kind, RunError};
use crate::nodes::tap::{self, drain};
use crate::nodes::validate;
use crate::sources::Past;
use crate::targets::{self, Target, rejected, unless};
use datafusion::execution::session_state::SessionState;
use datafusion::physical_plan::ExecutionPlan;
use shared::models::node::NodeConfig;
use shared::models::schema::Field;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

/// Executes `job`: reads its sources, brings the rows through the graph, and commits what reaches the targets, each
/// atomically. Where it ends with an error nothing has become visible, unless one of several targets had been
/// committed before the error; a retry fills in the others.
///
/// # Errors
/// `Kind::Definition` with all faults of the pipeline that its columns show; `Kind::Cancelled` on `hooks.stop`; what
/// `hooks.gate` refuses with; what reading and writing end with.
pub async fn execute(job: Job, settings: &Settings, hooks: Hooks) -> Result<Outcome, RunError> {
    let graph = Graph::new(&job, &hooks.progress)?;
    let mut run = Run { graph: &graph, job: &job, settings, hooks: &hooks, targets: Vec::new(), rejected: Vec::new() };
    let result = run.go().await;
    if result.is_err() {
        for target in run.targets.iter_mut().map(|open| &mut open.target).chain(&mut run.rejected) {
            target.abort().await;
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
    /// The tables of rejected rows, which are committed before those of the targets.
    rejected: Vec<Target>,
}

/// An open target.
struct Open {
    /// The index of its node.
    node: usize,
    /// Its schema, with the types that its table has.
    schema: TableSchema,
    target: Target,
}

/// What is to be executed for one target.
struct Planned {
    /// The index in [`Run::targets`].
    target: usize,
    plan: Arc<dyn ExecutionPlan>,
}

/// What is to be executed in all.
struct Plans {
    session: SessionState,
    targets: Vec<Planned>,
    /// Inputs of queries that no target's plan reads, since they cannot matter there; read to be counted.
    left_out: Vec<Arc<dyn ExecutionPlan>>,
}

impl Run<'_> {
    async fn go(&mut self) -> Result<Outcome, RunError> {
        let stop = self.hooks.stop.clone();
        let planned = tokio::select! {
            biased;
            () = stop.cancelled() => return Err(stopped()),
            planned = self.prepare() => planned?,
        };
        if let Some(plans) = planned {
            let session = self.stage(plans).await?;
            unless(&stop, self.enter(&session)).await?;
            return self.commit(&session).await;
        }
        self.hooks
            .progress
            .log("committing", "The rows of this run are in all its targets already; nothing is read again.");
        unless(&stop, self.hooks.gate.pass()).await?;
        let session = session::open(self.job, self.settings, false, 0)?;
        let schemas: Vec<TableSchema> = self.targets.iter().map(|open| open.schema.clone()).collect();
        let mut kept = unless(&stop, rejected::recorded(self.job, &schemas, self.settings)).await?;
        let mut outcome = self.commit(&session).await?;
        kept.append(&mut outcome.targets);
        Ok(Outcome { targets: kept, ..outcome })
    }

    /// Makes the targets ready for their commits and passes the gate.
    async fn enter(&mut self, session: &SessionState) -> Result<(), RunError> {
        for open in &mut self.targets {
            open.target.prepare(session).await?;
        }
        self.hooks.gate.enter().await
    }

    /// Opens everything and plans what is to be executed; none where all targets have their rows.
    async fn prepare(&mut self) -> Result<Option<Plans>, RunError> {
        let begun = Instant::now();
        for index in self.graph.targets() {
            let Some(node) = self.graph.nodes.get(index) else { continue };
            let NodeConfig::Target(config) = &node.config else { continue };
            let target = targets::open(self.job, &node.id, config, self.settings).await.map_err(|e| e.at(&node.id))?;
            // A run commits a table once, and one table may have several names.
            if target.identity().is_some() && self.targets.iter().any(|o| o.target.identity() == target.identity()) {
                return Err(node.fault_in("/table", SAME_TABLE));
            }
            self.targets.push(Open { node: index, schema: target.schema().clone(), target });
        }
        let open: Vec<usize> =
            self.targets.iter().filter(|open| !open.target.already_committed()).map(|open| open.node).collect();
        if open.is_empty() {
            return Ok(None);
        }
        let expressions = session::expressions(self.job, self.settings);
        let planner = self.planner(&open);
        let wanted = self.wanted(&open);
        let (opened, survey) = planner.look(&wanted, &expressions).await;
        all_of(survey.faults)?;
        let (session, spilling) = planner.session(&opened, &expressions)?;
        let compiled = planner.compiler(&opened, &expressions).targets(&wanted)?;
        let mut targets = Vec::with_capacity(compiled.targets.len());
        let mut tapped = HashSet::new();
        for (index, plan) in open.iter().zip(compiled.targets) {
            let Some(target) = self.targets.iter().position(|open| open.node == *index) else { continue };
            let plan = session::physical(&session, &plan).await?;
            tracing::debug!(run = self.job.run_id, plan = %datafusion::physical_plan::displayable(plan.as_ref()).indent(false), "planned");
            tapped.extend(tap::ids(&plan));
            targets.push(Planned { target, plan });
        }
        let mut left_out = Vec::new();
        // From the last to the first, so that what comes before a query is read together with it.
        for (id, plan) in compiled.sql_inputs.into_iter().rev() {
            if !tapped.contains(&id) {
                let plan = session::physical(&session, &plan).await?;
                tapped.extend(tap::ids(&plan));
                left_out.push(plan);
            }
        }
        self.hooks.progress.log(
            "planning",
            story::planned(self.graph, parallelism(self.job, self.settings), spilling, begun.elapsed()),
        );
        Ok(Some(Plans { session, targets, left_out }))
    }

    /// The fields of these targets.
    fn wanted(&self, targets: &[usize]) -> Vec<(usize, &[Field])> {
        let open = self.targets.iter().filter(|open| targets.contains(&open.node));
        open.map(|open| (open.node, open.schema.fields.as_slice())).collect()
    }

    /// A planner that leaves out rows which the targets have already.
    fn planner(&self, targets: &[usize]) -> Planner<'_> {
        let past = (0..self.graph.nodes.len()).filter_map(|index| Some((index, self.past(targets, index)?)));
        let all: Vec<usize> = self.targets.iter().map(|open| open.node).collect();
        let planner = Planner::new(self.graph, self.job, self.settings, &self.hooks.progress);
        planner.past(past.collect()).among(self.wanted(&all))
    }

    /// The rows of a source that its target would leave out, where that can be told by one of the source's columns.
    fn past(&self, targets: &[usize], source: usize) -> Option<Past> {
        self.targets.iter().filter(|open| targets.contains(&open.node)).find_map(|open| {
            let (column, from) = open.target.watermark()?;
            let field = open.schema.fields.iter().find(|field| field.name == column)?;
            let column = lineage::unchanged(self.graph, open.node, field, source)?;
            Some(Past { column, field: field.clone(), from: from.clone() })
        })
    }

    /// Streams all rows into files that nobody sees yet, and checks that the counts add up.
    async fn stage(&mut self, plans: Plans) -> Result<SessionState, RunError> {
        let Plans { session, targets: plans, left_out } = plans;
        let (progress, stop) = (&self.hooks.progress, &self.hooks.stop);
        let staged = self.open_nodes(&plans);
        let ran: HashSet<usize> = self.graph.before(&staged).into_iter().collect();
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
        for plan in left_out {
            drain(&plan, &session.task_ctx(), stop).await?;
        }
        if stop.is_cancelled() {
            return Err(stopped());
        }
        accounting::close(self.graph, &ran)?;
        progress.log("writing", story::counted(self.graph, &ran, progress.rejected()));
        for warning in story::warned(self.graph, &ran) {
            progress.log("writing", warning);
        }
        for warning in validate::check_counts(self.graph, &ran)? {
            progress.log("writing", warning);
        }
        let errors = self.job.execution.errors();
        accounting::check_rate(self.graph, errors.max_error_rate)?;
        self.stage_rejected(&session, &staged).await?;
        Ok(session)
    }

    /// Stages the rejected rows, each beside the table of the first target that its node leads to.
    async fn stage_rejected(&mut self, session: &SessionState, staged: &[usize]) -> Result<(), RunError> {
        let progress = &self.hooks.progress;
        if !progress.keeps_rows() {
            return Ok(());
        }
        let rows = progress.finish_rows()?;
        let mut tables: Vec<(TableSchema, HashSet<String>, bool)> = Vec::new();
        let mut seen = HashSet::new();
        for open in &self.targets {
            let above = self.graph.before(&[open.node]);
            let nodes = above.iter().filter(|index| seen.insert(**index));
            let nodes = nodes.filter_map(|index| self.graph.nodes.get(*index));
            let nodes: HashSet<String> = nodes.map(|node| node.id.clone()).collect();
            let is_staged = staged.contains(&open.node);
            // What a target that has its rows already rejected was kept with them.
            let nodes = if is_staged { nodes } else { HashSet::new() };
            match tables.iter_mut().find(|(schema, _, _)| schema.id == open.schema.id) {
                Some((_, all, every)) => {
                    all.extend(nodes);
                    *every &= is_staged;
                }
                None => tables.push((open.schema.clone(), nodes, is_staged)),
            }
        }
        for (schema, nodes, all) in tables {
            let kept = rejected::Kept { job: self.job, schema: &schema, nodes, all };
            let context = session.task_ctx();
            let target = rejected::stage(kept, rows.as_deref(), context, self.settings, &self.hooks.stop).await?;
            self.rejected.extend(target.map(|target| Target::Lake(Box::new(target))));
        }
        Ok(())
    }

    fn open_nodes(&self, plans: &[Planned]) -> Vec<usize> {
        plans.iter().filter_map(|planned| self.targets.get(planned.target)).map(|open| open.node).collect()
    }

    async fn commit(&mut self, session: &SessionState) -> Result<Outcome, RunError> {
        let (progress, stop) = (&self.hooks.progress, &self.hooks.stop);
        let nothing_ran = self.targets.iter().all(|open| open.target.already_committed());
        let mut outcome = Outcome { rows_in: accounting::rows_in(self.graph), ..Outcome::default() };
        for target in &mut self.rejected {
            target.commit(session, stop).await?;
            outcome.targets.extend(target.receipt());
        }
        for open in &mut self.targets {
            let Some(node) = self.graph.nodes.get(open.node) else { continue };
            let begun = Instant::now();
            let ran = !open.target.already_committed();
            let committed = open.target.commit(session, stop).await.map_err(|e| e.at(&node.id))?;
            outcome.targets.extend(open.target.receipt());
            outcome.rows_out += committed.rows_out;
            outcome.skipped_rows += committed.skipped;
            // What was rejected is known from the commits: the rows may be those of another attempt, or of a run before.
            outcome.failed_rows = outcome.failed_rows.max(committed.rejected);
            progress.log(
                "committing",
                story::committed(node, &open.schema.name, committed.rows_out, committed.version, ran, begun.elapsed()),
            );
        }
        // A run that found everything in has read nothing: what its commits say is all that is known.
        if nothing_ran {
            outcome.rows_in = outcome.rows_out + outcome.skipped_rows;
        }
        outcome.errors = progress.finish_errors()?;
        Ok(outcome)
    }
}

fn stopped() -> RunError {
    RunError::new(Kind::Cancelled, "the run was stopped")
}
