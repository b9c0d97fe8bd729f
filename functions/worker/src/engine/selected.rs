//! Which columns of its inputs a query only hands on: a plain name in its SELECT list, and used for nothing else.

use super::lineage::{self, Wanted};
use super::queries::parsed;
use datafusion::sql::sqlparser::ast::{
    Expr, GroupByExpr, JoinConstraint, JoinOperator, Query, Select, SelectItem, SelectItemQualifiedWildcardKind,
    SetExpr, TableFactor, Visit, Visitor,
};
use datafusion::sql::sqlparser::parser::Parser;
use shared::sql::in_depth;
use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

/// What is wanted of `input`, where `wanted` is wanted of what `query` gives. What a query compares, orders by or
/// calculates with keeps the type that it was written for.
pub fn before(query: &str, input: &str, wanted: &Wanted) -> Wanted {
    in_depth(|| handed_on(query, input, wanted))
}

fn handed_on(query: &str, input: &str, wanted: &Wanted) -> Wanted {
    let Ok(query) = parsed(query, "one SELECT", Parser::parse_query) else { return Wanted::new() };
    let SetExpr::Select(select) = query.body.as_ref() else { return Wanted::new() };
    let Some(tables) = tables(select).filter(|_| query.with.is_none()) else { return Wanted::new() };
    let mut names = tables.iter().filter(|(_, table)| table == input).map(|(name, _)| name.as_str());
    let (Some(name), None) = (names.next(), names.next()) else { return Wanted::new() };
    let own = Own { name, only: tables.len() == 1 };
    let Some(given) = own.given(select, wanted) else { return Wanted::new() };
    let (uses, handed) = (uses(&query), handed(select));
    let mut found = Wanted::new();
    for (output, column) in given {
        let nothing_else = uses.get(&column) == handed.get(&column);
        if let Some(field) = wanted.get(&output).filter(|_| nothing_else) {
            lineage::add(&mut found, column, field.clone(), lineage::both);
        }
    }
    found
}

/// What the tables of a SELECT are called in it, and which inputs they are; none where there is more than these.
fn tables(select: &Select) -> Option<Vec<(String, String)>> {
    let mut tables = Vec::new();
    for from in &select.from {
        tables.push(table(&from.relation)?);
        for join in &from.joins {
            tables.push(table(&join.relation)?);
            match &join.join_operator {
                JoinOperator::Join(JoinConstraint::On(_))
                | JoinOperator::Inner(JoinConstraint::On(_))
                | JoinOperator::Left(JoinConstraint::On(_))
                | JoinOperator::LeftOuter(JoinConstraint::On(_))
                | JoinOperator::Right(JoinConstraint::On(_))
                | JoinOperator::RightOuter(JoinConstraint::On(_))
                | JoinOperator::FullOuter(JoinConstraint::On(_)) => {}
                _ => return None,
            }
        }
    }
    Some(tables)
}

fn table(factor: &TableFactor) -> Option<(String, String)> {
    let TableFactor::Table { name, alias, args: None, .. } = factor else { return None };
    let [part] = name.0.as_slice() else { return None };
    let input = part.as_ident()?.value.clone();
    match alias {
        None => Some((input.clone(), input)),
        Some(alias) if alias.columns.is_empty() => Some((alias.name.value.clone(), input)),
        Some(_) => None,
    }
}

/// The input that is asked about, as the query calls it.
struct Own<'a> {
    name: &'a str,
    /// Whether a name without a table is one of its columns.
    only: bool,
}

impl Own<'_> {
    /// The columns that are given on, each after the name that it has then; none where that cannot be told.
    fn given(&self, select: &Select, wanted: &Wanted) -> Option<Vec<(String, String)>> {
        let (mut given, mut taken, mut all) = (Vec::new(), HashSet::new(), false);
        for item in &select.projection {
            let (name, expr) = match item {
                SelectItem::UnnamedExpr(expr) => (last(expr).unwrap_or_default(), expr),
                SelectItem::ExprWithAlias { expr, alias } => (alias.value.as_str(), expr),
                SelectItem::Wildcard(_) if item.to_string() == "*" => {
                    all |= self.only;
                    continue;
                }
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(table), _)
                    if item.to_string() == format!("{table}.*") =>
                {
                    all |= table.to_string() == self.name;
                    continue;
                }
                _ => return None,
            };
            taken.insert(name.to_owned());
            given.extend(self.column(expr).map(|column| (name.to_owned(), column.to_owned())));
        }
        if all {
            let rest = wanted.keys().filter(|name| !taken.contains(*name));
            given.extend(rest.map(|name| (name.clone(), name.clone())));
        }
        Some(given)
    }

    /// The column of the input that `expr` is.
    fn column<'e>(&self, expr: &'e Expr) -> Option<&'e str> {
        match expr {
            Expr::Identifier(name) if self.only => Some(&name.value),
            Expr::CompoundIdentifier(names) => match names.as_slice() {
                [table, name] if table.value == self.name => Some(&name.value),
                _ => None,
            },
            _ => None,
        }
    }
}

/// The name of a column, without its table's.
fn last(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Identifier(name) => Some(&name.value),
        Expr::CompoundIdentifier(names) => names.last().map(|name| name.value.as_str()),
        _ => None,
    }
}

/// How often each column stands alone, in the SELECT list or in GROUP BY.
fn handed(select: &Select) -> HashMap<String, usize> {
    let mut found = HashMap::new();
    let listed = select.projection.iter().filter_map(|item| match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr),
        _ => None,
    });
    let grouped = match &select.group_by {
        GroupByExpr::Expressions(exprs, _) => exprs.as_slice(),
        GroupByExpr::All(_) => &[],
    };
    for name in listed.chain(grouped).filter_map(last) {
        *found.entry(name.to_owned()).or_default() += 1;
    }
    found
}

/// How often the name of each column is in the query.
fn uses(query: &Query) -> HashMap<String, usize> {
    struct Uses(HashMap<String, usize>);
    impl Visitor for Uses {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            if let Some(name) = last(expr) {
                *self.0.entry(name.to_owned()).or_default() += 1;
            }
            ControlFlow::Continue(())
        }
    }
    let mut uses = Uses(HashMap::new());
    let _ = query.visit(&mut uses);
    uses.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The columns of `input` that keep the types of the fields `a`, `b` and `c`, as `column→field`.
    fn kept(query: &str) -> String {
        let field = |name: &str| serde_json::from_value(json!({"name": name, "dataType": "text"})).unwrap();
        let wanted: Wanted = ["a", "b", "c"].map(|name| (name.to_owned(), field(name))).into();
        let mut kept: Vec<_> =
            before(query, "input", &wanted).into_iter().map(|(name, field)| format!("{name}→{}", field.name)).collect();
        kept.sort();
        kept.join(" ")
    }

    #[test]
    fn plain_columns_keep_the_types_of_the_schema() {
        for (query, expected) in [
            ("SELECT a, x AS b, upper(c) AS c FROM input", "a→a x→b"),
            ("SELECT * FROM input", "a→a b→b c→c"),
            ("SELECT *, y + 1 AS c FROM input WHERE y > 2", "a→a b→b"),
            ("SELECT a, count(*) AS b FROM input GROUP BY a", "a→a"),
            ("SELECT i.a, o.b FROM input i JOIN other o ON i.k = o.k", "a→a"),
            ("SELECT i.*, o.b FROM input AS i LEFT JOIN other o ON i.k = o.k", "a→a c→c"),
            ("SELECT DISTINCT \"a\" FROM input", "a→a"),
        ] {
            assert_eq!(kept(query), expected, "{query}");
        }
    }

    #[test]
    fn what_a_query_works_with_keeps_the_type_that_it_was_written_for() {
        for query in [
            "SELECT a FROM input WHERE a > 2",
            "SELECT a FROM input ORDER BY a LIMIT 1",
            "SELECT a + 1 AS a FROM input",
            "SELECT a, row_number() OVER (ORDER BY a) AS n FROM input",
            "SELECT a FROM input UNION ALL SELECT 'x'",
            "SELECT i.a FROM input i JOIN other o USING (a)",
            "SELECT i.a FROM input i, input j",
            "SELECT a FROM input, other",
            "SELECT a FROM (SELECT x AS a FROM input) t",
            "WITH t AS (SELECT x AS a FROM input) SELECT a FROM t",
            "SELECT a FROM other",
            "SELECT a FROM",
        ] {
            assert_eq!(kept(query), "", "{query}");
        }
    }
}
