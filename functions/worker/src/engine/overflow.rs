//! Sums, differences and products of numbers in queries fail where their type does not hold them, rather than wrap
//! around: a wrong number is worse than none. Texts fail that are too long for the worker's memory.

use super::exact::{fits, wide};
use super::numbers::{is_float, one_nan, unsigned_keys, zeros_are_one};
use super::texts::{MOST_BYTES_IN_QUERIES, bounded};
use datafusion::arrow::compute::kernels::numeric;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result, ScalarValue, internal_err};
use datafusion::logical_expr::expr::{AggregateFunction, ScalarFunction, WindowFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, ColumnarValue, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Operator,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Sort, Volatility, Window, WindowFunctionDefinition, cast,
    lit,
};
use std::sync::Arc;

/// The same plan, with arithmetic that fails. Its types must have been coerced.
///
/// # Errors
/// Where the plan does not hold together.
pub fn checked(plan: LogicalPlan) -> Result<LogicalPlan> {
    let arithmetic = plan.transform_up_with_subqueries(|node| {
        let schema = merge_schema(&node.inputs());
        let names = NamePreserver::new(&node);
        node.map_expressions(|expr| {
            let name = names.save(&expr);
            let changed = expr.transform_up(|expr| {
                let checked = operator(expr, &schema)?.transform_data(|expr| one_nan(expr, &schema))?;
                checked.transform_data(|expr| zeros_are_one(expr, &schema))
            })?;
            let changed = changed
                .transform_data(|expr| expr.transform_up(|expr| bounded(expr, &schema, MOST_BYTES_IN_QUERIES)))?;
            Ok(changed.update_data(|expr| name.restore(expr)))
        })
    })?;
    Ok(arithmetic
        .data
        .transform_up_with_subqueries(|plan| match &plan {
            LogicalPlan::Aggregate(aggregate) => sums(aggregate).map(|changed| or_same(changed, plan)),
            LogicalPlan::Window(window) => running_sums(window).map(|changed| or_same(changed, plan)),
            LogicalPlan::Sort(sort) if sort.expr.iter().any(|key| is_float(&key.expr, sort.input.schema())) => {
                let expr = unsigned_keys(sort.expr.clone(), sort.input.schema());
                Ok(Transformed::yes(LogicalPlan::Sort(Sort { expr, ..sort.clone() })))
            }
            _ => Ok(Transformed::no(plan)),
        })?
        .data)
}

fn or_same(changed: Option<LogicalPlan>, plan: LogicalPlan) -> Transformed<LogicalPlan> {
    changed.map_or_else(|| Transformed::no(plan), Transformed::yes)
}

fn operator(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let (left, op, right) = match &expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => (left.as_ref().clone(), *op, right.as_ref().clone()),
        // The smallest number has no opposite.
        Expr::Negative(value) => match value.get_type(schema) {
            Ok(of) if of.is_integer() => (lit(ScalarValue::new_zero(&of)?), Operator::Minus, value.as_ref().clone()),
            _ => return Ok(Transformed::no(expr)),
        },
        _ => return Ok(Transformed::no(expr)),
    };
    if !matches!(op, Operator::Plus | Operator::Minus | Operator::Multiply) {
        return Ok(Transformed::no(expr));
    }
    // What refers to an outer query has no type here.
    match (left.get_type(schema), right.get_type(schema)) {
        (Ok(one), Ok(other)) if one == other && one.is_integer() => {
            let function = Arc::new(ScalarUDF::from(Checked::new(op)));
            Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction::new_udf(function, vec![left, right]))))
        }
        _ => Ok(Transformed::no(expr)),
    }
}

/// Makes the sums of groups wide, and gives them their types behind the groups; none where there are no such sums.
fn sums(aggregate: &Aggregate) -> Result<Option<LogicalPlan>> {
    let groups = aggregate.schema.fields().len() - aggregate.aggr_expr.len();
    let Some(sums) = widened(&aggregate.aggr_expr, aggregate.input.schema())? else { return Ok(None) };
    let after = Aggregate::try_new(aggregate.input.clone(), aggregate.group_expr.clone(), sums)?;
    named(LogicalPlan::Aggregate(after), groups, &aggregate.schema, &aggregate.aggr_expr).map(Some)
}

/// The same for sums OVER windows.
fn running_sums(window: &Window) -> Result<Option<LogicalPlan>> {
    let columns = window.input.schema().fields().len();
    let Some(sums) = widened(&window.window_expr, window.input.schema())? else { return Ok(None) };
    let after = Window::try_new(sums, window.input.clone())?;
    named(LogicalPlan::Window(after), columns, &window.schema, &window.window_expr).map(Some)
}

/// The expressions with wide sums, under names of their own; none where nothing is to be changed.
fn widened(exprs: &[Expr], schema: &DFSchema) -> Result<Option<Vec<Expr>>> {
    let (mut changed, mut any) = (Vec::with_capacity(exprs.len()), false);
    for (index, expr) in exprs.iter().enumerate() {
        let sum = expr.clone().transform_up(|expr| sum(expr, schema))?;
        any |= sum.transformed;
        changed.push(sum.data.unalias_nested().data.alias(format!("__flowgate_sum_{index}")));
    }
    Ok(any.then_some(changed))
}

/// `plan` with the names and types that its columns had `before`; those behind the first `same` ones were widened.
fn named(plan: LogicalPlan, same: usize, before: &DFSchema, exprs: &[Expr]) -> Result<LogicalPlan> {
    let columns = plan.schema().columns();
    let output = columns.into_iter().zip(before.iter()).enumerate().map(|(at, (column, (qualifier, field)))| {
        let value = Expr::Column(column);
        let Some(expr) = at.checked_sub(same).and_then(|at| exprs.get(at)) else { return value };
        let data_type = field.data_type().clone();
        let value = if is_sum(expr) { fits(value, data_type, field.name().clone()) } else { cast(value, data_type) };
        value.alias_qualified(qualifier.cloned(), field.name())
    });
    let output: Vec<Expr> = output.collect();
    LogicalPlanBuilder::from(plan).project(output)?.build()
}

fn is_sum(expr: &Expr) -> bool {
    match expr {
        Expr::AggregateFunction(function) => function.func.name() == "sum",
        Expr::WindowFunction(window) => {
            matches!(&window.fun, WindowFunctionDefinition::AggregateUDF(function) if function.name() == "sum")
        }
        Expr::Alias(alias) => is_sum(&alias.expr),
        _ => false,
    }
}

fn sum(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let arguments = match &expr {
        Expr::AggregateFunction(AggregateFunction { params, .. }) if is_sum(&expr) => &params.args,
        Expr::WindowFunction(window) if is_sum(&expr) => &window.params.args,
        _ => return Ok(Transformed::no(expr)),
    };
    let of = arguments.first().and_then(|value| value.get_type(schema).ok());
    let Some(wide) = of.and_then(|of| wide(&of)) else { return Ok(Transformed::no(expr)) };
    let widen = |values: Vec<Expr>| values.into_iter().map(|value| cast(value, wide.clone())).collect();
    let changed = match expr {
        Expr::AggregateFunction(AggregateFunction { func, mut params }) => {
            params.args = widen(params.args);
            Expr::AggregateFunction(AggregateFunction { func, params })
        }
        Expr::WindowFunction(window) => {
            let WindowFunction { fun, mut params } = *window;
            params.args = widen(params.args);
            Expr::WindowFunction(Box::new(WindowFunction { fun, params }))
        }
        other => other,
    };
    Ok(Transformed::new(changed, true, TreeNodeRecursion::Jump))
}

/// `+`, `-` or `*` of two whole numbers of one type.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    operator: Operator,
    signature: Signature,
}

impl Checked {
    fn new(operator: Operator) -> Self {
        Self { operator, signature: Signature::any(2, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &str {
        match self.operator {
            Operator::Plus => "checked_plus",
            Operator::Minus => "checked_minus",
            _ => "checked_times",
        }
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [one, _] => Ok(one.clone()),
            _ => internal_err!("{} takes two numbers", self.name()),
        }
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [left, right] = args.args.as_slice() else { return internal_err!("{} takes two numbers", self.name()) };
        let both_scalar = matches!((left, right), (ColumnarValue::Scalar(_), ColumnarValue::Scalar(_)));
        let rows = if both_scalar { 1 } else { args.number_rows };
        let (left, right) = (left.to_array(rows)?, right.to_array(rows)?);
        let result = match self.operator {
            Operator::Plus => numeric::add(&left, &right),
            Operator::Minus => numeric::sub(&left, &right),
            _ => numeric::mul(&left, &right),
        }?;
        if both_scalar {
            return Ok(ColumnarValue::Scalar(datafusion::common::ScalarValue::try_from_array(&result, 0)?));
        }
        Ok(ColumnarValue::Array(result))
    }
}
