//! Puts one value into a field: into all rows, or where there is none.

use super::convert::{has_value, safe};
use super::{Compute, Computed, Misfit, Op, broken, column, constant, find};
use crate::error::RunError;
use crate::nodes::columns::type_name;
use datafusion::arrow::array::{Array, ArrayRef, RecordBatch, Scalar, UInt32Array};
use datafusion::arrow::compute::kernels::zip::zip;
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use serde_json::Value;
use shared::models::node::DataTypeName;

#[derive(Debug)]
struct AddField {
    value: ArrayRef,
}

pub(super) fn add_field(
    schema: &SchemaRef,
    field: &str,
    value: &Value,
    name: DataTypeName,
) -> Result<Box<dyn Op>, String> {
    let value = constant::named(value, name).map_err(|why| format!("value for {field:?}: {why}"))?;
    Computed::boxed(schema, vec![(field, value.data_type().clone())], AddField { value })
}

impl Compute for AddField {
    fn compute(&self, batch: &RecordBatch, _: &mut Vec<Misfit>) -> Result<Vec<ArrayRef>, RunError> {
        let first = UInt32Array::from(vec![0; batch.num_rows()]);
        Ok(vec![take(&self.value, &first, None).map_err(broken)?])
    }
}

#[derive(Debug)]
struct FillNull {
    place: usize,
    data_type: DataType,
    value: ArrayRef,
}

pub(super) fn fill_null(schema: &SchemaRef, field: &str, value: &Value) -> Result<Box<dyn Op>, String> {
    let (place, from) = find(schema, field)?;
    let data_type = match &from {
        // A column without any value takes the type of what is put into it.
        DataType::Null => constant::type_of(&[value]),
        DataType::Dictionary(_, value) => value.as_ref().clone(),
        other => other.clone(),
    };
    let value = constant::of_type(value, &data_type)
        .map_err(|why| format!("value for {field:?}, which is of type {}: {why}", type_name(&from)))?;
    Computed::boxed(schema, vec![(field, data_type.clone())], FillNull { place, data_type, value })
}

impl Compute for FillNull {
    fn compute(&self, batch: &RecordBatch, _: &mut Vec<Misfit>) -> Result<Vec<ArrayRef>, RunError> {
        let values = safe(column(batch, self.place)?, &self.data_type).map_err(broken)?;
        if values.logical_null_count() == 0 {
            return Ok(vec![values]);
        }
        Ok(vec![zip(&has_value(&values), &values, &Scalar::new(self.value.clone())).map_err(broken)?])
    }
}
