//! The columns behind an op that is faulty, as far as they can be told.

use crate::engine::progress::ROW_COLUMN;
use crate::nodes::columns::unknown;
use crate::sources::parse::arrow_type;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use shared::models::node::TransformOp;
use std::sync::Arc;

/// The columns that would come out of `op` over those of `schema` if it were right.
pub fn columns(op: &TransformOp, schema: &SchemaRef) -> SchemaRef {
    let mut fields: Vec<Arc<Field>> = schema.fields().iter().cloned().collect();
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    match op {
        TransformOp::Cast { field, r#type, precision, scale, .. } => {
            set(&mut fields, Field::new(field, arrow_type(*r#type, *precision, *scale), true));
        }
        TransformOp::AddField { field, r#type, .. } | TransformOp::ParseJson { into: field, r#type, .. } => {
            set(&mut fields, Field::new(field, arrow_type(*r#type, None, None), true));
        }
        TransformOp::Expression { field, .. } | TransformOp::MapValues { field, .. } => {
            set(&mut fields, unknown(field));
        }
        TransformOp::Hash { field, .. } | TransformOp::MaskPii { field, .. } => set(&mut fields, text(field)),
        TransformOp::Split { into, .. } => into.iter().for_each(|name| set(&mut fields, text(name))),
        TransformOp::Merge { into, .. } => set(&mut fields, text(into)),
        TransformOp::Lookup { select, .. } => select.iter().for_each(|name| set(&mut fields, unknown(name))),
        TransformOp::Rename { mappings } => {
            for mapping in mappings {
                let before = position(&fields, &mapping.from).map(|at| fields.remove(at));
                let after = before.map_or_else(|| unknown(&mapping.to), |f| f.as_ref().clone().with_name(&mapping.to));
                set(&mut fields, after);
            }
        }
        TransformOp::Drop { fields: dropped } => fields.retain(|f| !dropped.contains(f.name())),
        TransformOp::Select { fields: selected } => {
            let row = position(&fields, ROW_COLUMN).and_then(|at| fields.get(at).cloned());
            let known = |name: &String| position(&fields, name).and_then(|at| fields.get(at).cloned());
            fields = selected.iter().map(|name| known(name).unwrap_or_else(|| Arc::new(unknown(name)))).collect();
            fields.extend(row);
        }
        TransformOp::Trim { .. } | TransformOp::FillNull { .. } => {}
    }
    Arc::new(Schema::new(fields))
}

fn position(fields: &[Arc<Field>], name: &str) -> Option<usize> {
    fields.iter().position(|f| f.name() == name)
}

/// In the place of the column of that name, or as a new one.
fn set(fields: &mut Vec<Arc<Field>>, field: Field) {
    match position(fields, field.name()).and_then(|at| fields.get_mut(at)) {
        Some(old) => *old = Arc::new(field),
        None => fields.push(Arc::new(field)),
    }
}
