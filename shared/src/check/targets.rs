//! What only the schemas of a pipeline's targets tell: keys and watermarks that are fields of theirs, and tables that
//! are written once.

use super::{pointer, slips, verdict};
use crate::Fault;
use crate::models::node::{DataTypeName, LoadMode, NodeType, TargetConfig};
use crate::models::schema::{Field, Schema};
use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};

/// The schemas whose tables the targets of a pipeline write.
#[derive(Debug, Clone, Default)]
pub struct Tables {
    /// The pipeline's own; none where it is not there, which is a fault of its own.
    pub own: Option<Schema>,
    /// Those that targets name, by that name.
    pub named: HashMap<String, Schema>,
    /// Whether only that is judged which the pipeline's own decides: the nodes are as they were saved.
    pub own_only: bool,
}

impl Tables {
    /// The schema whose fields a target has: a database's table has those of the pipeline's.
    pub fn of(&self, target: &TargetConfig) -> Option<&Schema> {
        match &target.table {
            Some(name) if target.connector_id.is_none() => self.named.get(name),
            _ => self.own.as_ref(),
        }
    }
}

/// Faults of the targets among `nodes`, which are those of the body or, where the body has none, the stored ones; none
/// in the place of one that cannot be read.
pub fn check<'a>(
    nodes: impl IntoIterator<Item = Option<(NodeType, &'a Map<String, Value>)>>,
    tables: &Tables,
    faults: &mut Vec<Fault>,
) {
    let mut written: HashSet<(Option<String>, String)> = HashSet::new();
    for (index, node) in nodes.into_iter().enumerate() {
        let Some((NodeType::Target, config)) = node else { continue };
        let at = format!("/nodes/{index}/config");
        let mut places = HashSet::new();
        slips::judge_whole(&Value::Object(config.clone()), faults, |config: &TargetConfig, faults| {
            let Some(schema) = tables.of(config) else { return };
            if !tables.own_only || config.table.is_none() || config.connector_id.is_some() {
                keys(config, schema, &at, faults);
                watermark(config, schema, &at, faults);
            }
            let table = match &config.table {
                Some(table) if config.connector_id.is_some() => table.clone(),
                _ => schema.name.clone(),
            };
            let place = (config.connector_id.clone(), table);
            if written.contains(&place) {
                faults.push(twice(index, config.table.is_some()));
            }
            places.insert(place);
        });
        // A slip may leave open which table it is.
        if places.len() == 1 {
            written.extend(places);
        }
    }
}

/// The fault of a second target of one table.
pub(super) fn twice(node: usize, named: bool) -> Fault {
    let pointer = if named { format!("/nodes/{node}/config/table") } else { format!("/nodes/{node}") };
    let detail = "another target writes the same table; bring the rows together with a union before one target";
    Fault::new(pointer, "duplicate_target", detail)
}

fn keys(config: &TargetConfig, schema: &Schema, at: &str, faults: &mut Vec<Fault>) {
    let at = pointer::push(at, "upsertKey");
    if config.load_mode == Some(LoadMode::Upsert)
        && config.upsert_key.is_none()
        && !schema.fields.0.iter().any(|f| f.is_primary_key == Some(true))
    {
        let detail =
            format!("the schema {} has no primary key, so upsert needs an upsertKey", verdict::quote(&schema.name));
        faults.push(Fault::new(&at, "required", detail));
    }
    for (position, name) in config.upsert_key.iter().flatten().enumerate() {
        if find(schema, name).is_none() {
            faults.push(no_field(pointer::at(&at, position), schema, name));
        }
    }
}

fn watermark(config: &TargetConfig, schema: &Schema, at: &str, faults: &mut Vec<Fault>) {
    let Some(name) = &config.watermark_column else { return };
    let at = pointer::push(at, "watermarkColumn");
    match find(schema, name) {
        None => faults.push(no_field(at, schema, name)),
        Some(field) if !can_be_watermark(field.data_type) => {
            let detail = format!(
                "the field {} cannot be a watermark: that takes a whole number, a decimal, a date, a time, a text or a uuid",
                verdict::quote(name)
            );
            faults.push(Fault::new(at, "type", detail));
        }
        Some(_) => {}
    }
}

/// Whether values of this type have one order without exceptions, and are never rounded.
pub fn can_be_watermark(data_type: DataTypeName) -> bool {
    !matches!(data_type, DataTypeName::Real | DataTypeName::Double | DataTypeName::Boolean | DataTypeName::Json)
}

fn find<'s>(schema: &'s Schema, name: &str) -> Option<&'s Field> {
    schema.fields.0.iter().find(|field| field.name == name)
}

fn no_field(at: String, schema: &Schema, name: &str) -> Fault {
    let near = verdict::near(name, schema.fields.0.iter().map(|f| f.name.as_str()));
    let detail = format!("the schema {} has no field {}{near}", verdict::quote(&schema.name), verdict::quote(name));
    Fault::new(at, "not_found", detail)
}
