//! Sums, differences and products of whole numbers in queries fail where 64 bits do not hold them, rather than wrap
//! around: a wrong number is worse than none.

use datafusion::arrow::compute::kernels::numeric;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result, internal_err};
use datafusion::logical_expr::expr::{AggregateFunction, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, ColumnarValue, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Operator,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, cast,
};
use std::sync::Arc;

/// Digits of a sum of whole numbers while it is made.
const SUM: DataType = DataType::Decimal128(38, 0);

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
            let changed = expr.transform_up(|expr| operator(expr, &schema))?;
            Ok(changed.update_data(|expr| name.restore(expr)))
        })
    })?;
    Ok(arithmetic.data.transform_up_with_subqueries(sums)?.data)
}

fn operator(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = &expr else { return Ok(Transformed::no(expr)) };
    if !matches!(op, Operator::Plus | Operator::Minus | Operator::Multiply) {
        return Ok(Transformed::no(expr));
    }
    // What refers to an outer query has no type here.
    match (left.get_type(schema), right.get_type(schema)) {
        (Ok(one), Ok(other)) if one == other && one.is_integer() => {
            let function = Arc::new(ScalarUDF::from(Checked::new(*op)));
            let arguments = vec![left.as_ref().clone(), right.as_ref().clone()];
            Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction::new_udf(function, arguments))))
        }
        _ => Ok(Transformed::no(expr)),
    }
}

/// Sums whole numbers as decimals, and makes whole numbers of the sums behind the groups.
fn sums(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Aggregate(aggregate) = &plan else { return Ok(Transformed::no(plan)) };
    let before = aggregate.schema.clone();
    let groups = before.fields().len() - aggregate.aggr_expr.len();
    let mut wide = Vec::with_capacity(aggregate.aggr_expr.len());
    let mut any = false;
    for (index, expr) in aggregate.aggr_expr.iter().enumerate() {
        let hidden = format!("__flowgate_sum_{index}");
        let changed = expr.clone().transform_up(|expr| sum(expr, aggregate.input.schema()))?;
        any |= changed.transformed;
        wide.push(changed.data.unalias_nested().data.alias(hidden));
    }
    if !any {
        return Ok(Transformed::no(plan));
    }
    let after = Aggregate::try_new(aggregate.input.clone(), aggregate.group_expr.clone(), wide)?;
    let columns = after.schema.columns();
    let output = columns.into_iter().zip(before.iter()).enumerate().map(|(at, (column, (qualifier, field)))| {
        let value = Expr::Column(column);
        if at < groups {
            value
        } else {
            cast(value, field.data_type().clone()).alias_qualified(qualifier.cloned(), field.name())
        }
    });
    let output: Vec<Expr> = output.collect();
    Ok(Transformed::yes(LogicalPlanBuilder::from(LogicalPlan::Aggregate(after)).project(output)?.build()?))
}

fn sum(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Expr::AggregateFunction(AggregateFunction { func, params }) = &expr else { return Ok(Transformed::no(expr)) };
    let whole = params.args.first().is_some_and(|value| value.get_type(schema).is_ok_and(|t| t.is_integer()));
    if func.name() != "sum" || !whole {
        return Ok(Transformed::no(expr));
    }
    let mut params = params.clone();
    params.args = params.args.into_iter().map(|value| cast(value, SUM)).collect();
    Ok(Transformed::new(
        Expr::AggregateFunction(AggregateFunction { func: func.clone(), params }),
        true,
        TreeNodeRecursion::Jump,
    ))
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
