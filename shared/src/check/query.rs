//! The SELECT of an sql node, checked for syntax when a pipeline is saved; the worker checks it again against its inputs.

use super::expression::{MAX_FORMS, MAX_TOKENS, forms, not_parsed, tokens, weighs};
use super::verdict::quote;
use crate::sql::{in_depth, parser};
use sqlparser::ast::{
    Expr, Function, ObjectName, ObjectNamePart, Query, Select, SetExpr, TableFactor, Value, ValueWithSpan, Visit,
    Visitor,
};
use sqlparser::keywords::Keyword;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, TokenWithSpan};
use std::collections::HashSet;
use std::ops::ControlFlow;

/// Longest query, in characters.
const MAX_LENGTH: usize = 20_000;

/// Most levels of subqueries in expressions: the time to plan them nearly doubles with each one.
const MAX_SUBQUERIES: usize = 8;

/// Starts of functions of other databases that read files, other hosts or the server's own state.
const OUTWARD: &[&str] =
    &["read_", "pg_", "glob", "load_extension", "lo_import", "getenv", "current_setting", "http", "dblink"];

/// Checks one SELECT in which `${name}` stands for a value.
///
/// # Errors
/// A sentence that says what is wrong and, where it is known, at which line and column.
pub(super) fn check(text: &str) -> Result<(), String> {
    in_depth(|| match parse(text)?.visit(&mut Allowed::default()) {
        ControlFlow::Break(refused) => Err(refused),
        ControlFlow::Continue(()) => Ok(()),
    })
}

/// The tables that a query reads.
pub(super) struct Tables {
    /// Those that it names itself (`WITH name AS …`).
    pub(super) own: HashSet<String>,
    /// All that it reads, each once, in the order in which they come.
    pub(super) read: Vec<String>,
}

/// The tables of a query; none where it has faults, which are told by [`check`].
pub(super) fn tables(text: &str) -> Option<Tables> {
    check(text).ok()?;
    in_depth(|| {
        let mut found = Tables { own: HashSet::new(), read: Vec::new() };
        let _ = parse(text).ok()?.visit(&mut found);
        Some(found)
    })
}

fn parse(text: &str) -> Result<Query, String> {
    if text.trim().is_empty() {
        return Err("must not be empty; a SELECT is expected".into());
    }
    let length = text.chars().count();
    if length > MAX_LENGTH {
        return Err(format!("has {length} characters; a query has {MAX_LENGTH} at most"));
    }
    let tokens = tokens(text)?;
    let weight = tokens.iter().filter(|t| deepens(&t.token)).count();
    if weight > MAX_TOKENS {
        return Err(format!("has {weight} keywords and operators; a query has {MAX_TOKENS} at most"));
    }
    // A bracket behind a bracket is read as a subquery first and, where that fails, as something else.
    if forms(&tokens, &|before, bracket| *before == Token::LParen && *bracket == Token::LParen) > MAX_FORMS {
        return Err(format!(
            "nests more than {MAX_FORMS} of CASE, CAST, NOT and the like, or of brackets in brackets; take it apart"
        ));
    }
    begins(&tokens)?;
    let mut parser = parser().with_tokens_with_locations(tokens);
    let query = parser.parse_query().map_err(not_parsed)?;
    ends(&mut parser)?;
    Ok(*query)
}

/// Whether a token can deepen the tree: names and what stands between them cannot.
fn deepens(token: &Token) -> bool {
    match token {
        Token::Word(word) => word.quote_style.is_none() && word.keyword != Keyword::NoKeyword,
        Token::Period => false,
        other => weighs(other),
    }
}

/// It begins as a SELECT does.
fn begins(tokens: &[TokenWithSpan]) -> Result<(), String> {
    let first = tokens.iter().find(|t| !matches!(t.token, Token::Whitespace(_) | Token::LParen));
    match first.map(|t| &t.token) {
        Some(Token::Word(word)) if matches!(word.keyword, Keyword::SELECT | Keyword::WITH) => Ok(()),
        Some(Token::EOF) | None => Err("must not be empty; a SELECT is expected".into()),
        Some(other) => Err(format!("begins with {other}; one SELECT is expected, which may begin with WITH")),
    }
}

/// Nothing may come after the query.
fn ends(parser: &mut Parser<'_>) -> Result<(), String> {
    let next = parser.next_token();
    let place = next.span.start;
    let at = format!("line {}, column {}", place.line, place.column);
    match &next.token {
        Token::EOF => Ok(()),
        Token::SemiColon if parser.peek_token().token == Token::EOF => Err(format!("leave the \";\" out ({at})")),
        Token::SemiColon => Err(format!("one SELECT is expected, not several statements ({at})")),
        other => Err(format!("one SELECT is expected; unexpected {other} at {at}")),
    }
}

/// A name of one part, without its quotes.
fn plain(name: &ObjectName) -> Option<&str> {
    match name.0.as_slice() {
        [ObjectNamePart::Identifier(only)] => Some(&only.value),
        _ => None,
    }
}

impl Visitor for Tables {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.own.extend(query.with.iter().flat_map(|w| &w.cte_tables).map(|cte| cte.alias.name.value.clone()));
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, name: &ObjectName) -> ControlFlow<()> {
        if let Some(name) = plain(name).filter(|name| !self.read.iter().any(|read| read == name)) {
            self.read.push(name.to_owned());
        }
        ControlFlow::Continue(())
    }
}

/// Refuses what is more than a SELECT over the inputs.
#[derive(Default)]
struct Allowed {
    /// Subqueries in expressions around this place.
    subqueries: usize,
}

impl Visitor for Allowed {
    type Break = String;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<String> {
        refuse(query_refused(query).or_else(|| body_refused(&query.body)))
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<String> {
        refuse(select_refused(select))
    }

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<String> {
        refuse(table_refused(table))
    }

    fn pre_visit_value(&mut self, value: &ValueWithSpan) -> ControlFlow<String> {
        refuse(match &value.value {
            Value::Placeholder(name) => {
                Some(format!("the placeholder {name} is not allowed; a parameter is written ${{name}}"))
            }
            _ => None,
        })
    }

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<String> {
        self.subqueries += usize::from(is_subquery(expression));
        refuse(match expression {
            Expr::Function(function) => function_refused(function),
            _ if self.subqueries > MAX_SUBQUERIES => Some(format!(
                "has subqueries in conditions of subqueries, deeper than {MAX_SUBQUERIES} levels; join instead"
            )),
            _ => None,
        })
    }

    fn post_visit_expr(&mut self, expression: &Expr) -> ControlFlow<String> {
        self.subqueries -= usize::from(is_subquery(expression));
        ControlFlow::Continue(())
    }
}

/// Whether an expression has a query of its own.
fn is_subquery(expression: &Expr) -> bool {
    matches!(expression, Expr::Subquery(_) | Expr::InSubquery { .. } | Expr::Exists { .. })
}

fn refuse(why: Option<String>) -> ControlFlow<String> {
    why.map_or(ControlFlow::Continue(()), ControlFlow::Break)
}

fn query_refused(query: &Query) -> Option<String> {
    if query.with.as_ref().is_some_and(|with| with.recursive) {
        return Some("WITH RECURSIVE is not allowed; a query reads its inputs a known number of times".into());
    }
    let odd = [
        ("FOR UPDATE", !query.locks.is_empty()),
        ("FOR", query.for_clause.is_some()),
        ("SETTINGS", query.settings.is_some()),
        ("FORMAT", query.format_clause.is_some()),
        ("|>", !query.pipe_operators.is_empty()),
    ];
    odd.into_iter().find(|(_, there)| *there).map(|(word, _)| format!("{word} is not allowed in a query"))
}

fn body_refused(body: &SetExpr) -> Option<String> {
    let word = match body {
        SetExpr::Select(_) | SetExpr::Query(_) | SetExpr::Values(_) => return None,
        SetExpr::SetOperation { left, right, .. } => return body_refused(left).or_else(|| body_refused(right)),
        SetExpr::Insert(_) => "INSERT",
        SetExpr::Update(_) => "UPDATE",
        SetExpr::Delete(_) => "DELETE",
        SetExpr::Merge(_) => "MERGE",
        SetExpr::Table(_) => "TABLE",
    };
    Some(format!("{word} is not allowed; one SELECT is expected"))
}

fn select_refused(select: &Select) -> Option<String> {
    if select.into.is_some() {
        return Some("SELECT INTO is not allowed; a target node writes tables".into());
    }
    let odd = [
        ("LATERAL VIEW", !select.lateral_views.is_empty()),
        ("PREWHERE", select.prewhere.is_some()),
        ("CONNECT BY", !select.connect_by.is_empty()),
        ("CLUSTER BY", !select.cluster_by.is_empty()),
        ("DISTRIBUTE BY", !select.distribute_by.is_empty()),
        ("SORT BY", !select.sort_by.is_empty()),
        ("TOP", select.top.is_some()),
    ];
    odd.into_iter().find(|(_, there)| *there).map(|(word, _)| format!("{word} is not allowed in a query"))
}

fn table_refused(table: &TableFactor) -> Option<String> {
    let functions = || Some("table functions are not allowed; the tables are the node's inputs".to_owned());
    match table {
        TableFactor::Table {
            name,
            args: None,
            with_hints,
            version,
            with_ordinality,
            partitions,
            json_path,
            sample,
            index_hints,
            ..
        } => {
            let more = !with_hints.is_empty()
                || version.is_some()
                || *with_ordinality
                || !partitions.is_empty()
                || json_path.is_some()
                || sample.is_some()
                || !index_hints.is_empty();
            match (name.0.as_slice(), more) {
                (_, true) => Some(format!("the table {name} has more to it than a name and an alias")),
                ([ObjectNamePart::Identifier(only)], false) if only.quote_style != Some('\'') => None,
                _ => Some(format!("the table {} is none of the node's inputs", quote(&name.to_string()))),
            }
        }
        TableFactor::Derived { sample: None, .. } | TableFactor::NestedJoin { .. } => None,
        TableFactor::Pivot { .. } => Some("PIVOT is not allowed in a query; use a pivot node".into()),
        TableFactor::Unpivot { .. } => Some("UNPIVOT is not allowed in a query; use an unpivot node".into()),
        _ => functions(),
    }
}

fn function_refused(function: &Function) -> Option<String> {
    let name = function.name.to_string();
    let lower = name.to_lowercase();
    let outward = OUTWARD.iter().any(|start| lower.starts_with(start)) || function.name.0.len() > 1;
    outward.then(|| format!("the function {name} is not available; a query reads its inputs and nothing else"))
}
