//! SQL queries that users write: parsed with case-sensitive names and parameters as values, planned over the node's
//! inputs alone, and refused unless everything in the plan is on the list of what is allowed.

use super::expressions::{Expressions, in_short};
use super::functions::{AGGREGATE, SCALAR, WINDOW, check_call};
use super::overflow::checked;
use super::parameters;
use super::placeholders::{literal, parameter, with_placeholders};
use super::times;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result as PlanResult, TableReference, plan_err};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::execution::{SessionStateDefaults, config::SessionConfig};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::logical_plan::builder::LogicalTableSource;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    AggregateUDF, Expr, HigherOrderUDF, LogicalPlan, ScalarUDF, TableSource, Union, WindowFunctionDefinition, WindowUDF,
};
use datafusion::sql::planner::{ParserOptions, SqlToRel};
use datafusion::sql::sqlparser::ast::{self, VisitMut, VisitorMut};
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;
use serde_json::{Map, Value};
use shared::error::nearest;
use shared::sql::{in_depth, parser};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Characters of a query.
const MAX_CHARS: usize = 20_000;
/// Levels of an expression, one an operator in a chain such as `a + b + c`.
const MAX_DEPTH: usize = 200;

/// A table that a query may read.
#[derive(Debug, Clone)]
pub struct Table {
    pub name: String,
    pub schema: SchemaRef,
}

/// The settings by which SQL of users is read.
pub fn sql_config() -> SessionConfig {
    let mut config = SessionConfig::new();
    let parser = &mut config.options_mut().sql_parser;
    parser.enable_ident_normalization = false;
    parser.parse_float_as_decimal = true;
    parser.map_string_types_to_utf8view = false;
    config
}

/// What queries may call, and how they are read.
fn session() -> SessionState {
    let scalars = times::functions();
    let aggregates = SessionStateDefaults::default_aggregate_functions();
    let windows = SessionStateDefaults::default_window_functions();
    SessionStateBuilder::new()
        .with_config(sql_config())
        .with_scalar_functions(scalars.into_iter().filter(|f| SCALAR.contains(&f.name())).collect())
        .with_aggregate_functions(aggregates.into_iter().filter(|f| AGGREGATE.contains(&f.name())).collect())
        .with_window_functions(windows.into_iter().filter(|f| WINDOW.contains(&f.name())).collect())
        .with_expr_planners(SessionStateDefaults::default_expr_planners())
        .build()
}

/// Plans `query` over `tables`. The scans in the plan are those of [`LogicalTableSource`]s, to be replaced.
///
/// # Errors
/// A sentence that says what in the query is not allowed or not there, and what would be right.
pub fn plan(query: &str, tables: &[Table], expressions: &Expressions) -> Result<LogicalPlan, String> {
    in_depth(|| planned(query, tables, expressions))
}

fn planned(query: &str, tables: &[Table], expressions: &Expressions) -> Result<LogicalPlan, String> {
    let said = |e: DataFusionError| in_short(&e);
    let state = session();
    let mut parsed = parse(query, expressions.parameters())?;
    let mut check = Check { state: &state, parameters: expressions.parameters(), depth: 0 };
    if let ControlFlow::Break(why) = parsed.visit(&mut check) {
        return Err(why);
    }
    let provider = Inputs { state: &state, tables };
    let options = ParserOptions::from(&state.config_options().sql_parser);
    let planner = SqlToRel::new_with_options(&provider, options);
    let plan = planner.sql_statement_to_plan(ast::Statement::Query(parsed)).map_err(said)?;
    let mut fault = None;
    plan.apply_with_subqueries(|node| {
        fault = allowed(node).err();
        Ok(if fault.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })
    .map_err(said)?;
    if let Some(why) = fault {
        return Err(why);
    }
    // Once more for the times that meet texts and dates: what makes them of one type casts to nanoseconds.
    let mut typed = plan;
    for _ in 0..2 {
        typed = in_micros(typed).map_err(said)?;
        typed = state.analyzer().execute_and_check(typed, state.config_options(), |_, _| {}).map_err(said)?;
    }
    checked(typed).map_err(said)
}

/// The same plan, whose times are in microseconds.
fn in_micros(plan: LogicalPlan) -> PlanResult<LogicalPlan> {
    let changed = plan.transform_up_with_subqueries(|node| {
        let schema = merge_schema(&node.inputs());
        let names = NamePreserver::new(&node);
        let changed = node.map_expressions(|expr| {
            let name = names.save(&expr);
            let changed = expr.transform_up(|expr| times::in_micros(expr, &schema))?;
            Ok(changed.update_data(|expr| name.restore(expr)))
        })?;
        changed.map_data(|node| match node {
            // Its columns have the types of its inputs, which may have changed.
            LogicalPlan::Union(union) => Ok(LogicalPlan::Union(Union::try_new_with_loose_types(union.inputs)?)),
            node => node.recompute_schema(),
        })
    })?;
    Ok(changed.data)
}

/// The syntax tree of one query, with a placeholder for each parameter outside of texts.
fn parse(query: &str, parameters: &Map<String, Value>) -> Result<Box<ast::Query>, String> {
    let chars = query.chars().count();
    if chars > MAX_CHARS {
        return Err(format!("it has {chars} characters, at most {MAX_CHARS} are allowed"));
    }
    let sql = with_placeholders(query, parameters, true)?;
    parsed(&sql, "one SELECT", Parser::parse_query)
}

/// What `read` reads of `sql`, which is `what` and nothing else.
pub fn parsed<T>(
    sql: &str,
    what: &str,
    read: impl FnOnce(&mut Parser<'static>) -> Result<T, ParserError>,
) -> Result<T, String> {
    let said = |e: ParserError| in_short(&DataFusionError::from(e));
    in_depth(|| {
        let mut parser = parser().try_with_sql(sql).map_err(said)?;
        let tree = read(&mut parser).map_err(said)?;
        match parser.next_token().token {
            Token::EOF => Ok(tree),
            other => Err(format!("{what} is expected; unexpected {other} behind it")),
        }
    })
}

/// The inputs of a node, and the functions that may be called.
struct Inputs<'a> {
    state: &'a SessionState,
    tables: &'a [Table],
}

impl ContextProvider for Inputs<'_> {
    fn get_table_source(&self, name: TableReference) -> PlanResult<Arc<dyn TableSource>> {
        let found = match &name {
            TableReference::Bare { table } => self.tables.iter().find(|known| known.name.as_str() == table.as_ref()),
            _ => None,
        };
        match found {
            Some(table) => Ok(Arc::new(LogicalTableSource::new(table.schema.clone()))),
            None => {
                let names: Vec<&str> = self.tables.iter().map(|table| table.name.as_str()).collect();
                let near = nearest(name.table(), names.iter().copied()).map(|near| format!("did you mean {near:?}? "));
                let (near, names) = (near.unwrap_or_default(), names.join(", "));
                plan_err!("there is no input {:?}; {near}The inputs are: {names}", name.to_string())
            }
        }
    }
    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        self.state.expr_planners()
    }
    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.state.scalar_functions().get(name).cloned()
    }
    fn get_higher_order_meta(&self, _: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }
    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.state.aggregate_functions().get(name).cloned()
    }
    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.state.window_functions().get(name).cloned()
    }
    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }
    fn options(&self) -> &ConfigOptions {
        self.state.config_options()
    }
    fn udf_names(&self) -> Vec<String> {
        self.state.scalar_functions().keys().cloned().collect()
    }
    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }
    fn udaf_names(&self) -> Vec<String> {
        self.state.aggregate_functions().keys().cloned().collect()
    }
    fn udwf_names(&self) -> Vec<String> {
        self.state.window_functions().keys().cloned().collect()
    }
}

/// Checks a syntax tree and puts the parameters into it.
struct Check<'a> {
    state: &'a SessionState,
    parameters: &'a Map<String, Value>,
    depth: usize,
}

impl VisitorMut for Check<'_> {
    type Break = String;

    fn pre_visit_query(&mut self, query: &mut ast::Query) -> ControlFlow<String> {
        if query.with.as_ref().is_some_and(|with| with.recursive) {
            return ControlFlow::Break("WITH RECURSIVE is not allowed".to_owned());
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut ast::Select) -> ControlFlow<String> {
        match select.into {
            Some(_) => ControlFlow::Break("SELECT INTO is not allowed; a target node writes tables".to_owned()),
            None => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_table_factor(&mut self, table: &mut ast::TableFactor) -> ControlFlow<String> {
        match table {
            ast::TableFactor::Table { args: None, .. }
            | ast::TableFactor::Derived { .. }
            | ast::TableFactor::NestedJoin { .. } => ControlFlow::Continue(()),
            other => ControlFlow::Break(format!("{other} is no input; table functions are not allowed")),
        }
    }

    fn pre_visit_expr(&mut self, expr: &mut ast::Expr) -> ControlFlow<String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return ControlFlow::Break(format!("it is nested deeper than {MAX_DEPTH} levels"));
        }
        match self.check(expr) {
            Ok(()) => ControlFlow::Continue(()),
            Err(why) => ControlFlow::Break(why),
        }
    }

    fn post_visit_expr(&mut self, _: &mut ast::Expr) -> ControlFlow<String> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }
}

impl Check<'_> {
    fn check(&self, expr: &mut ast::Expr) -> Result<(), String> {
        match expr {
            ast::Expr::Function(function) => self.call(&function.name.to_string()),
            ast::Expr::Value(value) => match &mut value.value {
                ast::Value::Placeholder(name) => {
                    let (name, value) = parameter(name, self.parameters)?;
                    *expr = literal(name, value)?;
                    Ok(())
                }
                ast::Value::SingleQuotedString(text) => {
                    *text = parameters::fill(text, self.parameters)?;
                    Ok(())
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// Whether there is a function of that name.
    fn call(&self, name: &str) -> Result<(), String> {
        let lower = name.trim_matches('"').to_lowercase();
        let state = self.state;
        let known = || {
            let names = state.scalar_functions().keys().chain(state.aggregate_functions().keys());
            names.chain(state.window_functions().keys()).map(String::as_str)
        };
        if known().any(|known| known == lower) {
            return Ok(());
        }
        let hint = nearest(&lower, known()).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
        Err(format!("there is no function {name} that may be used here{hint}"))
    }
}

/// Whether a planned node, with the expressions in it, is of an allowed kind.
fn allowed(node: &LogicalPlan) -> Result<(), String> {
    match node {
        LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Window(_)
        | LogicalPlan::Aggregate(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Join(_)
        | LogicalPlan::Union(_)
        | LogicalPlan::EmptyRelation(_)
        | LogicalPlan::Subquery(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Values(_)
        | LogicalPlan::Distinct(_) => {}
        LogicalPlan::TableScan(scan) if (scan.source.as_ref() as &dyn std::any::Any).is::<LogicalTableSource>() => {}
        other => return Err(format!("{} is not allowed; one SELECT over the inputs is", other.display())),
    }
    let mut fault = None;
    let each = node.apply_expressions(|expr| {
        expr.apply(|expr| {
            fault = fault.take().or_else(|| allowed_expr(expr).err());
            Ok(if fault.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })
    });
    match (fault, each) {
        (Some(why), _) => Err(why),
        (None, Err(e)) => Err(in_short(&e)),
        (None, Ok(_)) => Ok(()),
    }
}

fn allowed_expr(expr: &Expr) -> Result<(), String> {
    let unknown = |name: &str| Err(format!("the function {name:?} is not available"));
    match expr {
        Expr::Column(column) if column.name.starts_with("__flowgate") => {
            Err(format!("{:?} is not allowed; names that begin with __flowgate are Flowgate's own", column.name))
        }
        Expr::ScalarFunction(function) if SCALAR.contains(&function.name()) => {
            check_call(function.name(), &function.args)
        }
        Expr::ScalarFunction(function) => unknown(function.name()),
        Expr::AggregateFunction(function) if AGGREGATE.contains(&function.func.name()) => Ok(()),
        Expr::AggregateFunction(function) => unknown(function.func.name()),
        Expr::WindowFunction(window) => {
            let (name, known) = match &window.fun {
                WindowFunctionDefinition::AggregateUDF(f) => (f.name(), AGGREGATE.contains(&f.name())),
                WindowFunctionDefinition::WindowUDF(f) => (f.name(), WINDOW.contains(&f.name())),
            };
            if known { Ok(()) } else { unknown(name) }
        }
        Expr::ScalarVariable(..)
        | Expr::Placeholder(_)
        | Expr::HigherOrderFunction(_)
        | Expr::Lambda(_)
        | Expr::LambdaVariable(_)
        | Expr::Unnest(_) => Err(format!("{expr} is not allowed in a query")),
        _ => Ok(()),
    }
}
