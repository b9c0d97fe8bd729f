//! Which columns of a source are wanted as the texts that they are written as: ops work on these texts, and nothing looks at
//! the columns as numbers or times, for which their types are guessed.

use super::graph::{Graph, GraphNode};
use super::lineage::{self, Wanted};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use shared::models::node::{
    DataTypeName, JoinConfig, JoinType, Mapping, NodeConfig, RuleName, TransformOp, ValidateConfig,
};
use std::collections::HashSet;

/// What is done with the columns of some rows.
#[derive(Debug, Clone, Default)]
struct Uses {
    /// Columns whose texts an op works on.
    written: HashSet<String>,
    /// Columns that are looked at by their types, or by names that may be theirs.
    typed: HashSet<String>,
    /// Where all are looked at by their types: those that are not.
    all_but: Option<HashSet<String>>,
}

/// The columns of a source, or of what a lookup reads, that are wanted as they are written, over all its ways to `targets`.
/// `reader` and `columns` are those of [`lineage::expected`].
pub fn texts(
    graph: &Graph,
    targets: impl Iterator<Item = usize>,
    reader: (usize, Option<usize>),
    columns: &dyn Fn(usize) -> Option<Vec<String>>,
) -> HashSet<String> {
    let mut found = Uses::default();
    let mut open: Vec<(usize, Uses)> = targets.map(|target| (target, Uses::default())).collect();
    while let Some((index, uses)) = open.pop() {
        let Some(node) = graph.nodes.get(index) else { continue };
        if index == reader.0 {
            found.join(match reader.1 {
                Some(op) => looked_up(node, op, uses),
                None => uses,
            });
            continue;
        }
        for (side, input) in node.inputs.iter().enumerate() {
            open.push((input.node, before(node, side, uses.clone(), columns)));
        }
    }
    found.written.iter().filter(|name| !found.is_typed(name)).cloned().collect()
}

impl Uses {
    fn join(&mut self, other: Self) {
        self.written.extend(other.written);
        self.typed.extend(other.typed);
        self.all_but = match (self.all_but.take(), other.all_but) {
            (Some(mut one), Some(other)) => {
                one.retain(|name| other.contains(name));
                Some(one)
            }
            (one, other) => one.or(other),
        };
    }

    fn is_typed(&self, name: &str) -> bool {
        self.typed.contains(name) || self.all_but.as_ref().is_some_and(|but| !but.contains(name))
    }

    /// Goes before where a column is made or left out; whether it is looked at by its type behind.
    fn made(&mut self, name: &str) -> bool {
        let typed = self.is_typed(name);
        self.written.remove(name);
        self.typed.remove(name);
        if let Some(but) = &mut self.all_but {
            but.insert(name.to_owned());
        }
        typed
    }

    /// Goes before where all other columns are left out.
    fn selected(&mut self, names: &[String]) {
        self.typed = names.iter().filter(|name| self.is_typed(name)).cloned().collect();
        self.written.retain(|name| names.contains(name));
        self.all_but = None;
    }

    fn look_at_all(&mut self) {
        self.all_but = Some(HashSet::new());
    }

    /// A column is worked on as a text, or looked at by its type.
    fn take(&mut self, name: &str, as_text: bool) {
        let names = if as_text { &mut self.written } else { &mut self.typed };
        names.insert(name.to_owned());
    }

    fn look_at<'n>(&mut self, names: impl IntoIterator<Item = &'n String>) {
        self.typed.extend(names.into_iter().cloned());
    }

    /// An expression looks at the columns that it names; other words of it may be taken for such.
    fn look_into(&mut self, expression: &str) {
        let Ok(tokens) = Tokenizer::new(&GenericDialect {}, expression).tokenize() else {
            self.look_at_all();
            return;
        };
        self.typed.extend(tokens.into_iter().filter_map(|token| match token {
            Token::Word(word) => Some(word.value),
            _ => None,
        }));
    }
}

/// What is done with the input at `side`, where `uses` is done with what the node gives.
fn before(node: &GraphNode, side: usize, mut uses: Uses, columns: &dyn Fn(usize) -> Option<Vec<String>>) -> Uses {
    match &node.config {
        NodeConfig::Transform(config) => config.ops.iter().rev().for_each(|op| before_op(op, &mut uses)),
        NodeConfig::Filter(config) => uses.look_into(&config.condition),
        NodeConfig::Branch(config) => config.routes.iter().for_each(|route| uses.look_into(&route.condition)),
        NodeConfig::Validate(config) => before_rules(config, &mut uses),
        NodeConfig::Sort(config) => uses.look_at(config.by.iter().map(|key| &key.field)),
        NodeConfig::Deduplicate(config) => {
            uses.look_at(&config.keys);
            uses.look_at(config.order_by.iter().flatten().map(|key| &key.field));
        }
        NodeConfig::Join(config) => {
            let left = node.left();
            if side == left {
                uses.look_at(config.on.iter().map(|key| &key.left));
            } else {
                uses = right(config, uses, node.inputs.get(left).and_then(|input| columns(input.node)));
                uses.look_at(config.on.iter().map(|key| &key.right));
            }
        }
        NodeConfig::Aggregate(config) => {
            uses = Uses::default();
            uses.look_at(&config.group_by);
            uses.look_at(config.measures.iter().map(|measure| &measure.field));
        }
        NodeConfig::Pivot(config) => {
            uses = Uses::default();
            uses.look_at(&config.index);
            uses.look_at([&config.columns, &config.values]);
        }
        NodeConfig::Unpivot(config) => {
            uses.selected(&config.index);
            uses.look_at(&config.columns);
        }
        // The types of a union's inputs must go together, and a query is written for those that there are.
        NodeConfig::Union(_) | NodeConfig::Sql(_) => uses.look_at_all(),
        NodeConfig::Source(_) | NodeConfig::Target(_) => {}
    }
    uses
}

/// What is done with a join's right input. As long as the left's columns are not known, no text is sure to be of the right.
fn right(config: &JoinConfig, uses: Uses, left: Option<Vec<String>>) -> Uses {
    if matches!(config.r#type, JoinType::Semi | JoinType::Anti) {
        return Uses::default();
    }
    let suffix = config.suffix.as_deref().unwrap_or("_right");
    let mut typed = uses.typed;
    let short: Vec<String> = typed.iter().filter_map(|name| name.strip_suffix(suffix).map(str::to_owned)).collect();
    typed.extend(short);
    let wanted: Wanted = uses.written.into_iter().map(|name| (name.clone(), lineage::text(&name))).collect();
    let written = lineage::right(config, wanted, left).into_keys().collect();
    Uses { written, typed, all_but: uses.all_but.map(|_| HashSet::new()) }
}

fn before_rules(config: &ValidateConfig, uses: &mut Uses) {
    for rule in &config.rules {
        match rule.rule {
            // They look at texts, or at whether there is anything.
            RuleName::NotNull | RuleName::Length | RuleName::Regex | RuleName::Email | RuleName::RowCount => {}
            RuleName::Unique | RuleName::Range | RuleName::OneOf => uses.look_at(&rule.field),
            RuleName::Expression => {
                let expr = rule.params.as_ref().and_then(|params| params.expr.as_deref());
                uses.look_into(expr.unwrap_or_default());
            }
        }
    }
}

fn before_op(op: &TransformOp, uses: &mut Uses) {
    match op {
        TransformOp::Cast { field, r#type, format, .. } => {
            uses.made(field);
            // A format is for what is a date or a time.
            let to_text = matches!(r#type, DataTypeName::Text | DataTypeName::Varchar) && format.is_none();
            uses.take(field, to_text);
        }
        // What comes out has the column's type where that holds the new values.
        TransformOp::MapValues { field, .. } => {
            let typed = uses.made(field);
            uses.take(field, !typed);
        }
        TransformOp::Split { field, into, .. } => {
            for name in into {
                uses.made(name);
            }
            uses.take(field, true);
        }
        TransformOp::Merge { fields, into, .. } => {
            uses.made(into);
            uses.written.extend(fields.iter().cloned());
        }
        TransformOp::Expression { field, expr } => {
            uses.made(field);
            uses.look_into(expr);
        }
        TransformOp::Lookup { on, select, .. } => {
            for name in select {
                uses.made(name);
            }
            uses.look_at(on.iter().map(|key| &key.left));
        }
        TransformOp::AddField { field, .. }
        | TransformOp::ParseJson { into: field, .. }
        | TransformOp::Hash { field, .. }
        | TransformOp::MaskPii { field, .. } => {
            uses.made(field);
        }
        TransformOp::Rename { mappings } => {
            rename(mappings, &mut uses.written);
            rename(mappings, &mut uses.typed);
            if let Some(but) = &mut uses.all_but {
                rename(mappings, but);
            }
        }
        TransformOp::Drop { fields } => {
            for name in fields {
                uses.made(name);
            }
        }
        TransformOp::Select { fields } => uses.selected(fields),
        // They leave what is no text as it is, and put values of any type in.
        TransformOp::Trim { .. } | TransformOp::FillNull { .. } => {}
    }
}

/// The names before a renaming.
fn rename(mappings: &[Mapping], names: &mut HashSet<String>) {
    let moved: Vec<String> = mappings.iter().filter(|m| names.remove(&m.to)).map(|m| m.from.clone()).collect();
    for mapping in mappings {
        names.remove(&mapping.from);
    }
    names.extend(moved);
}

/// What is done with the table that the lookup at `op` reads, where `uses` is done with what the node gives.
fn looked_up(node: &GraphNode, op: usize, mut uses: Uses) -> Uses {
    let NodeConfig::Transform(config) = &node.config else { return Uses::default() };
    config.ops.iter().skip(op + 1).rev().for_each(|after| before_op(after, &mut uses));
    let Some(TransformOp::Lookup { on, select, .. }) = config.ops.get(op) else { return Uses::default() };
    uses.selected(select);
    uses.look_at(on.iter().map(|key| &key.right));
    uses
}
