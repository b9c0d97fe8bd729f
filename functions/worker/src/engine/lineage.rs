//! Which columns of a source reach the target as they are, so that the schema's types end the guessing of theirs, and which
//! are wanted as texts on the way.

use super::graph::{Graph, GraphNode};
use super::{selected, written};
use crate::nodes::sql;
use crate::sources::parse;
use shared::models::node::{DataTypeName, JoinConfig, JoinType, NodeConfig, TransformOp};
use shared::models::schema::Field;
use std::collections::HashMap;

/// Digits of a decimal.
const MOST_DIGITS: u8 = 38;

/// Fields of the target's schema by the name that their column has at some node.
pub type Wanted = HashMap<String, Field>;

/// What the columns of a source, or of what a lookup reads, are known to become, over all its ways to `targets`.
/// `reader` is the index of the source, or of the transform with the place of the lookup's op. `columns` answers a
/// node's columns where they are known already. `join` makes one field of two that ways want of one column.
pub fn expected(
    graph: &Graph,
    targets: &[(usize, &[Field])],
    reader: (usize, Option<usize>),
    columns: &dyn Fn(usize) -> Option<Vec<String>>,
    join: fn(Field, &Field) -> Field,
) -> Wanted {
    let mut found = Wanted::new();
    for (target, fields) in targets {
        let wanted: Wanted = fields.iter().map(|field| (field.name.clone(), field.clone())).collect();
        let mut open = vec![(*target, wanted)];
        while let Some((index, wanted)) = open.pop() {
            let Some(node) = graph.nodes.get(index) else { continue };
            if index == reader.0 {
                let wanted = match reader.1 {
                    Some(op) => looked_up(node, op, wanted),
                    None => wanted,
                };
                for (name, field) in wanted {
                    add(&mut found, name, field, join);
                }
                continue;
            }
            for (side, input) in node.inputs.iter().enumerate() {
                open.push((input.node, before(node, side, wanted.clone(), columns)));
            }
        }
    }
    for name in written::texts(graph, targets.iter().map(|(target, _)| *target), reader, columns) {
        let field = text(&name);
        add(&mut found, name, field, join);
    }
    found
}

/// A column as the text that it is.
pub fn text(name: &str) -> Field {
    Field::new(name, DataTypeName::Text)
}

/// Adds what another way wants of a column.
pub fn add(wanted: &mut Wanted, name: String, field: Field, join: fn(Field, &Field) -> Field) {
    let field = match wanted.remove(&name) {
        Some(known) => join(known, &field),
        None => field,
    };
    wanted.insert(name, field);
}

/// A field from whose values both can be cast as from what the source says: of a type that holds exactly what both hold,
/// or else text. The order of the two does not matter.
pub fn both(one: Field, other: &Field) -> Field {
    use DataTypeName as D;
    if one.data_type == other.data_type && parse::field_type(&one) == parse::field_type(other) {
        return one;
    }
    let data_type = match (one.data_type, other.data_type) {
        (D::Smallint | D::Integer, D::Smallint | D::Integer) => D::Integer,
        (D::Smallint | D::Integer | D::Bigint, D::Smallint | D::Integer | D::Bigint) => D::Bigint,
        (D::Real | D::Double, D::Real | D::Double) => D::Double,
        _ => match precision_of_both(&one, other) {
            Some((precision, scale)) => {
                return Field { data_type: D::Decimal, precision: Some(precision), scale: Some(scale), ..one };
            }
            None => D::Text,
        },
    };
    Field { data_type, ..one }
}

/// As [`both`], for a database that has `tinyint(1)`: it is read as a number where a way wants one, from which a text or a
/// boolean can be made, while a boolean would leave only 0 and 1 of the number.
pub fn both_of_mysql(one: Field, other: &Field) -> Field {
    match (is_number(&one), is_number(other)) {
        (true, false) => one,
        (false, true) => other.clone(),
        _ => both(one, other),
    }
}

fn is_number(field: &Field) -> bool {
    use DataTypeName as D;
    matches!(field.data_type, D::Smallint | D::Integer | D::Bigint | D::Decimal | D::Real | D::Double)
}

/// Precision and scale of the decimals that hold all values of both; none where such are too long, or one is no exact
/// number.
fn precision_of_both(one: &Field, other: &Field) -> Option<(u8, i8)> {
    let ((one, own), (other, others)) = (digits(one)?, digits(other)?);
    let scale = own.max(others);
    let precision = u8::try_from(one.max(other) + i16::from(scale)).ok()?;
    (precision <= MOST_DIGITS).then_some((precision, scale))
}

/// The most digits that an exact number has before its point, and behind it.
fn digits(field: &Field) -> Option<(i16, i8)> {
    match field.data_type {
        DataTypeName::Smallint => Some((5, 0)),
        DataTypeName::Integer => Some((10, 0)),
        DataTypeName::Bigint => Some((19, 0)),
        DataTypeName::Decimal => {
            let (precision, scale) = field.decimal();
            Some((i16::from(precision) - i16::from(scale), scale))
        }
        _ => None,
    }
}

/// The column of the source at `source` that comes to `target` as its `column`, unchanged and by nothing but nodes that
/// look at one row at a time: rows that the source leaves out by its value change nothing in what becomes of the others.
/// None where another way leads to it as well.
pub fn unchanged(graph: &Graph, target: usize, column: &Field, source: usize) -> Option<String> {
    let mut wanted = Wanted::from([(column.name.clone(), column.clone())]);
    let mut index = target;
    while index != source {
        let node = graph.nodes.get(index)?;
        let [input] = node.inputs.as_slice() else { return None };
        if !matches!(node.config, NodeConfig::Target(_) | NodeConfig::Filter(_) | NodeConfig::Transform(_)) {
            return None;
        }
        if let NodeConfig::Transform(config) = &node.config
            && config.ops.iter().any(|op| touches(op, &wanted))
        {
            return None;
        }
        wanted = before(node, 0, wanted, &|_| None);
        index = input.node;
        let consumers = graph.nodes.iter().flat_map(|node| &node.inputs).filter(|input| input.node == index);
        if consumers.count() != 1 {
            return None;
        }
    }
    wanted.into_keys().next()
}

/// Whether an op changes the values of a column although it keeps its type.
fn touches(op: &TransformOp, wanted: &Wanted) -> bool {
    match op {
        TransformOp::FillNull { field, .. } | TransformOp::Hash { field, .. } | TransformOp::MaskPii { field, .. } => {
            wanted.contains_key(field)
        }
        // Which names they have by then is not worth telling.
        TransformOp::Trim { .. } | TransformOp::Rename { .. } => true,
        _ => false,
    }
}

/// What is wanted of the input at `side`, where `wanted` is wanted of the node.
fn before(node: &GraphNode, side: usize, mut wanted: Wanted, columns: &dyn Fn(usize) -> Option<Vec<String>>) -> Wanted {
    match &node.config {
        NodeConfig::Transform(config) => {
            for op in config.ops.iter().rev() {
                before_op(op, &mut wanted);
            }
            wanted
        }
        NodeConfig::Aggregate(config) => {
            wanted.retain(|name, _| config.group_by.contains(name) && !config.measures.iter().any(|m| m.r#as == *name));
            wanted
        }
        NodeConfig::Join(config) => {
            let left = node.left();
            if side == left {
                wanted
            } else {
                right(config, wanted, node.inputs.get(left).and_then(|i| columns(i.node)))
            }
        }
        // The columns that values become are measures, whatever they are called.
        NodeConfig::Pivot(config) => {
            wanted.retain(|name, _| config.index.contains(name));
            wanted
        }
        NodeConfig::Unpivot(config) => {
            let value = wanted.remove(&config.value_to);
            wanted.retain(|name, _| config.index.contains(name));
            wanted.extend(value.iter().flat_map(|v| config.columns.iter().map(|name| (name.clone(), v.clone()))));
            wanted
        }
        NodeConfig::Sql(config) => {
            let label = node.inputs.get(side).and_then(|input| input.label.as_deref());
            selected::before(&config.query, label.unwrap_or(sql::ONLY_INPUT), &wanted)
        }
        NodeConfig::Source(_)
        | NodeConfig::Filter(_)
        | NodeConfig::Union(_)
        | NodeConfig::Sort(_)
        | NodeConfig::Deduplicate(_)
        | NodeConfig::Branch(_)
        | NodeConfig::Validate(_)
        | NodeConfig::Target(_) => wanted,
    }
}

/// What is wanted of the table that the lookup at `op` reads, where `wanted` is wanted of the node. A key has the type
/// of the key that it is to meet.
fn looked_up(node: &GraphNode, op: usize, mut wanted: Wanted) -> Wanted {
    let NodeConfig::Transform(config) = &node.config else { return Wanted::new() };
    for after in config.ops.iter().skip(op + 1).rev() {
        before_op(after, &mut wanted);
    }
    let Some(TransformOp::Lookup { on, select, .. }) = config.ops.get(op) else { return Wanted::new() };
    let mut found: Wanted = wanted.iter().filter(|(name, _)| select.contains(name)).map(clone).collect();
    for key in on.iter().filter(|key| !select.contains(&key.left)) {
        if let Some(field) = wanted.get(&key.left) {
            found.insert(key.right.clone(), field.clone());
        }
    }
    found
}

fn clone((name, field): (&String, &Field)) -> (String, Field) {
    (name.clone(), field.clone())
}

/// What is wanted of a join's right input. As long as the left's columns are not known, only the keys are sure.
pub fn right(config: &JoinConfig, wanted: Wanted, left: Option<Vec<String>>) -> Wanted {
    let mut found = Wanted::new();
    for key in &config.on {
        if let Some(field) = wanted.get(&key.left) {
            found.insert(key.right.clone(), field.clone());
        }
    }
    if matches!(config.r#type, JoinType::Semi | JoinType::Anti) {
        return found;
    }
    let Some(left) = left else { return found };
    let suffix = config.suffix.as_deref().unwrap_or("_right");
    for (name, field) in wanted {
        let own = match name.strip_suffix(suffix) {
            Some(short) if left.iter().any(|l| l == short) => short.to_owned(),
            _ if left.contains(&name) => continue,
            _ => name,
        };
        found.entry(own).or_insert(field);
    }
    found
}

fn before_op(op: &TransformOp, wanted: &mut Wanted) {
    match op {
        TransformOp::Cast { field, .. }
        | TransformOp::Expression { field, .. }
        | TransformOp::AddField { field, .. }
        | TransformOp::MapValues { field, .. } => {
            wanted.remove(field);
        }
        TransformOp::Rename { mappings } => {
            let moved: Vec<_> = mappings.iter().filter_map(|m| Some((m.from.clone(), wanted.remove(&m.to)?))).collect();
            for mapping in mappings {
                wanted.remove(&mapping.from);
            }
            wanted.extend(moved);
        }
        TransformOp::Drop { fields } => wanted.retain(|name, _| !fields.contains(name)),
        TransformOp::Select { fields } => wanted.retain(|name, _| fields.contains(name)),
        // They work on the text as it is written in the source, not on what it was guessed to be.
        TransformOp::Hash { field, .. } | TransformOp::MaskPii { field, .. } => {
            wanted.insert(field.clone(), text(field));
        }
        TransformOp::Split { into, .. } => wanted.retain(|name, _| !into.contains(name)),
        TransformOp::Merge { into, .. } | TransformOp::ParseJson { into, .. } => {
            wanted.remove(into);
        }
        TransformOp::Trim { fields } => wanted.retain(|name, field| {
            !fields.contains(name)
                || matches!(
                    field.data_type,
                    DataTypeName::Varchar | DataTypeName::Text | DataTypeName::Json | DataTypeName::Uuid
                )
        }),
        TransformOp::Lookup { select, .. } => wanted.retain(|name, _| !select.contains(name)),
        TransformOp::FillNull { .. } => {}
    }
}
