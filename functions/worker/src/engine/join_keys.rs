//! The keys of joins that sort. DataFusion's semi and anti joins compare keys across batches in a way of their own, which
//! knows no timestamps with a zone, no times of day and no wide decimals, and panics at NaN: such keys are joined by their
//! row format, bytes that are equal, and ordered, as the values are. And the two zeros of floating point are one key, as
//! where joins hash.

use crate::nodes::columns::one_zero_key;
use datafusion::arrow::array::{Array, ArrayRef, BinaryArray};
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{JoinType, Result};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::SortMergeJoinExec;
use std::sync::Arc;

/// A rule of the physical optimizer.
pub type Rule = Arc<dyn PhysicalOptimizerRule + Send + Sync>;

/// `rules` behind the one that prepares the keys of joins: before those that sort and partition by them.
pub fn with_join_keys(rules: &[Rule]) -> Vec<Rule> {
    let first: Rule = Arc::new(JoinKeys);
    std::iter::once(first).chain(rules.iter().filter(|rule| rule.name() != RULE).cloned()).collect()
}

const RULE: &str = "join_keys";

#[derive(Debug)]
struct JoinKeys;

impl PhysicalOptimizerRule for JoinKeys {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let options = Arc::new(config.clone());
        plan.transform_up(|node| match node.downcast_ref::<SortMergeJoinExec>() {
            Some(join) => prepared(join, &options),
            None => Ok(Transformed::no(node)),
        })
        .data()
    }
    fn name(&self) -> &str {
        RULE
    }
    fn schema_check(&self) -> bool {
        true
    }
}

fn prepared(join: &SortMergeJoinExec, options: &Arc<ConfigOptions>) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    let across_batches =
        !matches!(join.join_type(), JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full);
    let side = |key: &Arc<dyn PhysicalExpr>, schema: &Schema| -> Result<Arc<dyn PhysicalExpr>> {
        let key = one_zero_key(Arc::clone(key), schema)?;
        if !across_batches || is_compared(&key.data_type(schema)?) {
            return Ok(key);
        }
        let function = Arc::new(ScalarUDF::from(RowFormat { signature: Signature::any(1, Volatility::Immutable) }));
        Ok(Arc::new(ScalarFunctionExpr::try_new(function, vec![key], schema, Arc::clone(options))?))
    };
    let (left, right) = (join.left().schema(), join.right().schema());
    let on = join.on().iter().map(|(l, r)| Ok((side(l, &left)?, side(r, &right)?))).collect::<Result<Vec<_>>>()?;
    Ok(Transformed::yes(Arc::new(SortMergeJoinExec::try_new(
        Arc::clone(join.left()),
        Arc::clone(join.right()),
        on,
        join.filter().clone(),
        join.join_type(),
        join.sort_options().to_vec(),
        join.null_equality(),
    )?)))
}

/// Whether DataFusion compares values of this type across batches (`compare_join_arrays`), and always.
fn is_compared(data_type: &DataType) -> bool {
    match data_type {
        DataType::Null | DataType::Boolean | DataType::Date32 | DataType::Date64 | DataType::Decimal128(..) => true,
        DataType::Timestamp(_, zone) => zone.is_none(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => true,
        other => other.is_integer(),
    }
}

/// A value as bytes that are equal and ordered as the values are; null stays null.
#[derive(Debug, PartialEq, Eq, Hash)]
struct RowFormat {
    signature: Signature,
}

impl ScalarUDFImpl for RowFormat {
    fn name(&self) -> &str {
        "row_format"
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Binary)
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let values = ColumnarValue::values_to_arrays(&args.args)?;
        let fields = values.iter().map(|v| SortField::new(v.data_type().clone())).collect();
        let rows = RowConverter::new(fields)?.convert_columns(&values)?.try_into_binary()?;
        let (offsets, bytes, _) = rows.into_parts();
        let nulls = values.first().and_then(|values| values.logical_nulls());
        let keys: ArrayRef = Arc::new(BinaryArray::try_new(offsets, bytes, nulls)?);
        Ok(ColumnarValue::Array(keys))
    }
}
