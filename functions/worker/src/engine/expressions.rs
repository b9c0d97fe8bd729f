//! SQL expressions that users write: parsed with case-sensitive names, with parameters put in as literals, and
//! refused unless everything in them is on the list of what is allowed.

use super::functions::{SCALAR, check_call, is_aggregate};
use super::numbers::{one_nan, zeros_are_one};
use super::parameters;
use super::placeholders::{literal, parameter, with_placeholders};
use super::queries::{parsed, sql_config};
use super::texts::{MOST_BYTES, bounded};
use super::times;
use crate::engine::progress::ROW_COLUMN;
use chrono::{DateTime, Utc};
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DataFusionError, ScalarValue};
use datafusion::execution::SessionStateDefaults;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Expr, ExprSchemable, Operator};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, NegativeExpr, lit as literal_value};
use datafusion::sql::sqlparser::ast::{self, VisitMut, VisitorMut};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use serde_json::{Map, Value};
use shared::error::nearest;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Characters of an expression.
const MAX_CHARS: usize = 10_000;
/// Words and signs of an expression.
const MAX_TOKENS: usize = 4_000;
/// Levels of an expression, one an operator in a chain such as `a + b + c`.
const MAX_DEPTH: usize = 200;

/// Compiles the expressions of one run. `now()` is the same instant in all of them.
#[derive(Debug)]
pub struct Expressions {
    state: SessionState,
    parameters: Map<String, Value>,
    /// The most bytes that the rows of a batch may grow to.
    most_bytes: usize,
}

/// A compiled expression.
#[derive(Debug, Clone)]
pub struct Compiled {
    expr: Expr,
    data_type: DataType,
    columns: Vec<String>,
}

impl Compiled {
    /// The type of its value.
    pub fn data_type(&self) -> &DataType {
        &self.data_type
    }
    /// The columns that it reads, by name.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }
}

impl Expressions {
    /// Expressions over a run's parameters, whose `now()` is this moment.
    pub fn new(parameters: Map<String, Value>) -> Self {
        let functions = times::functions();
        let mut state = SessionStateBuilder::new()
            .with_config(sql_config())
            .with_scalar_functions(functions.into_iter().filter(|f| SCALAR.contains(&f.name())).collect())
            .with_expr_planners(SessionStateDefaults::default_expr_planners())
            .build();
        state.mark_start_execution();
        Self { state, parameters, most_bytes: usize::MAX }
    }

    /// The same, by which the rows of a batch may grow to so many bytes.
    #[must_use]
    pub fn within(self, most_bytes: usize) -> Self {
        Self { most_bytes, ..self }
    }

    /// The most bytes that the rows of a batch may grow to.
    pub fn most_bytes(&self) -> usize {
        self.most_bytes
    }

    /// The parameters of the run.
    pub fn parameters(&self) -> &Map<String, Value> {
        &self.parameters
    }

    /// The instant that `now()` is.
    pub fn now(&self) -> Option<DateTime<Utc>> {
        self.state.execution_props().query_execution_start_time
    }

    /// Compiles `sql` over the columns of `schema`.
    ///
    /// # Errors
    /// A sentence that says what in the expression is not allowed or not there, and what would be right.
    pub fn compile(&self, sql: &str, schema: &DFSchema) -> Result<Compiled, String> {
        let mut parsed = self.parse(sql)?;
        let mut check = Check { schema, expressions: self, depth: 0 };
        if let ControlFlow::Break(why) = parsed.visit(&mut check) {
            return Err(why);
        }
        let said = |e: DataFusionError| in_short(&e);
        let parsed = ast::ExprWithAlias { expr: parsed, alias: None };
        let expr = self.state.create_logical_expr_from_sql_expr(parsed, schema).map_err(said)?;
        // A function that is called by its other name, such as length, is planned with that name as an alias.
        let expr = expr.unalias_nested().data;
        let mut fault = None;
        expr.apply(|expr| {
            fault = allowed(expr).err();
            Ok(if fault.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })
        .map_err(said)?;
        match fault {
            Some(why) => Err(why),
            None => self.typed(expr, schema),
        }
    }

    /// Compiles an expression that was made of a config's values, over the columns of `schema`.
    ///
    /// # Errors
    /// A sentence that says what does not go together.
    pub fn typed(&self, expr: Expr, schema: &DFSchema) -> Result<Compiled, String> {
        let said = |e: DataFusionError| in_short(&e);
        let context = SimplifyContext::builder()
            .with_schema(Arc::new(schema.clone()))
            .with_config_options(self.state.config_options().clone())
            .with_query_execution_start_time(self.state.execution_props().query_execution_start_time)
            .build();
        let simplifier = ExprSimplifier::new(context);
        // Once more for the times that meet texts and dates: what makes them of one type casts to nanoseconds.
        let mut expr = expr;
        for _ in 0..2 {
            expr = expr.transform_up(|expr| times::in_micros(expr, schema)).map_err(said)?.data;
            expr = simplifier.coerce(expr, schema).map_err(said)?;
        }
        let expr = expr.transform_up(|expr| bounded(expr, schema, MOST_BYTES)).map_err(said)?.data;
        let mut columns: Vec<String> = expr.column_refs().into_iter().map(|c| c.name.clone()).collect();
        columns.sort_by_key(|name| schema.index_of_column_by_name(None, name));
        let data_type = expr.get_type(schema).map_err(said)?;
        let expr = simplifier.simplify(expr).map_err(said)?;
        let plain = |expr| one_nan(expr, schema)?.transform_data(|expr| zeros_are_one(expr, schema));
        let expr = expr.transform_up(plain).map_err(said)?.data;
        // Simplifying must not change what the columns after this one are planned for.
        let expr = if expr.get_type(schema).map_err(said)? == data_type {
            expr
        } else {
            datafusion::logical_expr::cast(expr, data_type.clone())
        };
        Ok(Compiled { expr, data_type, columns })
    }

    /// The compiled expression over batches whose columns are those of `schema`.
    ///
    /// # Errors
    /// Where `schema` lacks a column that it was compiled for.
    pub fn bind(&self, compiled: &Compiled, schema: &DFSchema) -> Result<Arc<dyn PhysicalExpr>, DataFusionError> {
        let expr = self.state.create_physical_expr(compiled.expr.clone(), schema)?;
        Ok(expr.transform_up(|expr| fails_on_overflow(expr, schema.as_arrow()))?.data)
    }

    /// The syntax tree of `sql`, with a placeholder for each parameter outside of texts.
    fn parse(&self, sql: &str) -> Result<ast::Expr, String> {
        let chars = sql.chars().count();
        if chars > MAX_CHARS {
            return Err(format!("it has {chars} characters, at most {MAX_CHARS} are allowed"));
        }
        let sql = with_placeholders(sql, &self.parameters, false)?;
        let tokens = Tokenizer::new(&GenericDialect {}, &sql).tokenize().map_err(|e| e.to_string())?;
        let tokens = tokens.iter().filter(|token| !matches!(token, Token::Whitespace(_))).count();
        if tokens > MAX_TOKENS {
            return Err(format!("it has {tokens} words and signs, at most {MAX_TOKENS} are allowed"));
        }
        let read = parsed(&sql, "one expression", Parser::parse_expr_with_alias)?;
        match read.alias {
            None => Ok(read.expr),
            Some(alias) => Err(format!("the alias {alias} has no meaning here; leave it out")),
        }
    }
}

/// DataFusion lets sums, products and opposites wrap around; a wrong number is worse than a rejected row.
fn fails_on_overflow(
    expr: Arc<dyn PhysicalExpr>,
    schema: &Schema,
) -> Result<Transformed<Arc<dyn PhysicalExpr>>, DataFusionError> {
    let binary = if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
        binary.clone()
    } else if let Some(negative) = expr.downcast_ref::<NegativeExpr>()
        && let of = negative.arg().data_type(schema)?
        && of.is_integer()
    {
        BinaryExpr::new(literal_value(ScalarValue::new_zero(&of)?), Operator::Minus, negative.arg().clone())
    } else {
        return Ok(Transformed::no(expr));
    };
    Ok(Transformed::yes(Arc::new(binary.with_fail_on_overflow(true))))
}

/// Checks a syntax tree and puts the parameters into it.
struct Check<'a> {
    schema: &'a DFSchema,
    expressions: &'a Expressions,
    depth: usize,
}

impl VisitorMut for Check<'_> {
    type Break = String;

    fn pre_visit_query(&mut self, _: &mut ast::Query) -> ControlFlow<String> {
        ControlFlow::Break("a subquery is not allowed; join the other table with a join node".to_owned())
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
            ast::Expr::Identifier(name) => column(&name.value, self.schema),
            ast::Expr::CompoundIdentifier(names) => {
                let names: Vec<_> = names.iter().map(|n| n.value.as_str()).collect();
                let whole = names.join(".");
                if self.schema.has_column_with_unqualified_name(&whole) {
                    return Err(format!("the column {whole:?} must be written in double quotes"));
                }
                names.first().map_or(Ok(()), |first| column(first, self.schema))
            }
            ast::Expr::Function(function) => self.call(function),
            ast::Expr::Value(value) => match &mut value.value {
                ast::Value::Placeholder(name) => {
                    let (name, parameter) = parameter(name, &self.expressions.parameters)?;
                    *expr = literal(name, parameter)?;
                    Ok(())
                }
                ast::Value::SingleQuotedString(text) => {
                    *text = parameters::fill(text, &self.expressions.parameters)?;
                    Ok(())
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// Whether a function may be called as it is called here.
    fn call(&self, function: &ast::Function) -> Result<(), String> {
        let name = function.name.to_string();
        let lower = name.to_lowercase();
        if function.over.is_some() {
            return Err(format!("{name}(…) OVER is not allowed; an expression sees one row"));
        }
        if is_aggregate(&lower) {
            return Err(format!("{name} measures many rows; use an aggregate node"));
        }
        let known = self.expressions.state.scalar_functions();
        if !known.contains_key(&lower) {
            let near = nearest(&lower, known.keys().map(String::as_str));
            let hint = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            return Err(format!("there is no function {name} that may be used here{hint}"));
        }
        let plain = function.filter.is_none()
            && function.within_group.is_empty()
            && function.null_treatment.is_none()
            && match &function.args {
                ast::FunctionArguments::List(list) => list.duplicate_treatment.is_none() && list.clauses.is_empty(),
                ast::FunctionArguments::None => true,
                ast::FunctionArguments::Subquery(_) => false,
            };
        if plain { Ok(()) } else { Err(format!("{name} takes plain arguments only")) }
    }
}

/// Whether `name` is a column that users see.
fn column(name: &str, schema: &DFSchema) -> Result<(), String> {
    if name.starts_with("__flowgate") {
        return Err(format!("{name:?} is not allowed; names that begin with __flowgate are Flowgate's own"));
    }
    if schema.has_column_with_unqualified_name(name) {
        return Ok(());
    }
    Err(missing(name, schema.fields().iter().map(|f| f.name().as_str())))
}

/// How a sentence about a column begins that is not there.
const MISSING: &str = "there is no column";

/// Whether a sentence says that a column is not there.
pub fn is_missing(sentence: &str) -> bool {
    sentence.contains(MISSING)
}

/// A sentence that `name` is not among `columns`.
pub fn missing<'a>(name: &str, columns: impl Iterator<Item = &'a str>) -> String {
    let columns: Vec<_> = columns.filter(|c| *c != ROW_COLUMN).collect();
    let hint = match nearest(name, columns.iter().copied()) {
        Some(near) => format!("did you mean {near:?}? "),
        None => String::new(),
    };
    let shown = columns.iter().take(40).copied().collect::<Vec<_>>().join(", ");
    let more = if columns.len() > 40 { format!(" and {} more", columns.len() - 40) } else { String::new() };
    format!("{MISSING} {name:?}; {hint}There are: {shown}{more}")
}

/// Whether a planned expression is of an allowed kind.
fn allowed(expr: &Expr) -> Result<(), String> {
    match expr {
        Expr::Column(Column { relation: None, name, .. }) if name != ROW_COLUMN => Ok(()),
        Expr::Literal(..)
        | Expr::BinaryExpr(_)
        | Expr::Like(_)
        | Expr::SimilarTo(_)
        | Expr::Not(_)
        | Expr::IsNotNull(_)
        | Expr::IsNull(_)
        | Expr::IsTrue(_)
        | Expr::IsFalse(_)
        | Expr::IsUnknown(_)
        | Expr::IsNotTrue(_)
        | Expr::IsNotFalse(_)
        | Expr::IsNotUnknown(_)
        | Expr::Negative(_)
        | Expr::Between(_)
        | Expr::Case(_)
        | Expr::Cast(_)
        | Expr::TryCast(_)
        | Expr::InList(_) => Ok(()),
        Expr::ScalarFunction(function) if SCALAR.contains(&function.name()) => {
            check_call(function.name(), &function.args)
        }
        Expr::ScalarFunction(function) => Err(format!("the function {:?} is not available", function.name())),
        other => Err(format!("{other} is not allowed in an expression")),
    }
}

/// What DataFusion says, without what only its developers need.
pub fn in_short(error: &DataFusionError) -> String {
    let text = match error.find_root() {
        DataFusionError::Plan(text) | DataFusionError::Execution(text) => text.clone(),
        DataFusionError::ArrowError(e, _) => e.to_string(),
        other => other.strip_backtrace(),
    };
    let mut text = text.as_str();
    for noise in [
        "Error during planning: ",
        "Execution error: ",
        "SQL error: ",
        "Schema error: ",
        "Arrow error: ",
        "Compute error: ",
        "Cast error: ",
        "Parser error: ",
        "This feature is not implemented: ",
    ] {
        text = text.strip_prefix(noise).unwrap_or(text);
    }
    text.lines().next().unwrap_or_default().trim_end_matches(['.', ' ']).to_owned()
}
