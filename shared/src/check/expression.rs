//! SQL expressions, checked for syntax when a pipeline is saved; the worker checks them again against the columns.

use crate::sql::{MAX_DEPTH, in_depth, parser};
use sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Query, Value, ValueWithSpan, Visit, Visitor,
};
use sqlparser::dialect::GenericDialect;
use sqlparser::keywords::Keyword;
use sqlparser::parser::ParserError;
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};
use std::ops::ControlFlow;

/// Longest expression, in characters.
const MAX_LENGTH: usize = 10_000;
/// Most words and operators: chains of them make deep trees, too (lists of literals do not).
pub(super) const MAX_TOKENS: usize = 1000;

/// Deepest nesting of the forms below.
pub(super) const MAX_FORMS: usize = 6;
/// Words that sqlparser reads as special forms first and, where that fails, as names: so an error inside of them is found in a
/// time that doubles with each one around it.
const FORMS: &[Keyword] = &[
    Keyword::ARRAY,
    Keyword::BOX,
    Keyword::CASE,
    Keyword::CAST,
    Keyword::CEIL,
    Keyword::CIRCLE,
    Keyword::CONVERT,
    Keyword::CURRENT_CATALOG,
    Keyword::CURRENT_DATE,
    Keyword::CURRENT_TIME,
    Keyword::CURRENT_TIMESTAMP,
    Keyword::CURRENT_USER,
    Keyword::EXISTS,
    Keyword::EXTRACT,
    Keyword::FLOOR,
    Keyword::INTERVAL,
    Keyword::LAMBDA,
    Keyword::LINE,
    Keyword::LOCALTIME,
    Keyword::LOCALTIMESTAMP,
    Keyword::LSEG,
    Keyword::MAP,
    Keyword::MATCH,
    Keyword::NOT,
    Keyword::OVERLAY,
    Keyword::PATH,
    Keyword::POINT,
    Keyword::POLYGON,
    Keyword::POSITION,
    Keyword::PRIOR,
    Keyword::SAFE_CAST,
    Keyword::SESSION_USER,
    Keyword::STRUCT,
    Keyword::SUBSTR,
    Keyword::SUBSTRING,
    Keyword::TRIM,
    Keyword::TRY_CAST,
    Keyword::TRY_CONVERT,
    Keyword::USER,
];

/// Functions of many rows: they belong into an `aggregate` node.
const AGGREGATES: &[&str] = &[
    "count",
    "sum",
    "avg",
    "mean",
    "min",
    "max",
    "median",
    "stddev",
    "stddev_samp",
    "stddev_pop",
    "var",
    "var_samp",
    "var_pop",
    "first_value",
    "last_value",
    "nth_value",
    "array_agg",
    "string_agg",
    "approx_distinct",
    "approx_median",
    "bool_and",
    "bool_or",
];

/// Checks one scalar expression in which `${name}` stands for a value.
///
/// # Errors
/// A sentence that says what is wrong and, where it is known, at which line and column.
pub(super) fn check(text: &str) -> Result<(), String> {
    if text.trim().is_empty() {
        return Err("must not be empty; an SQL expression is expected".into());
    }
    let length = text.chars().count();
    if length > MAX_LENGTH {
        return Err(format!("has {length} characters; an expression has {MAX_LENGTH} at most"));
    }
    let tokens = tokens(text)?;
    let weight = tokens.iter().filter(|t| weighs(&t.token)).count();
    if weight > MAX_TOKENS {
        return Err(format!("has {weight} words and operators; an expression has {MAX_TOKENS} at most"));
    }
    if forms(&tokens, &|_, _| false) > MAX_FORMS {
        return Err(format!(
            "nests more than {MAX_FORMS} of CASE, CAST, NOT, TRIM and the like in brackets; take it apart"
        ));
    }
    in_depth(|| {
        let mut parser = parser().with_tokens_with_locations(tokens);
        let expression = parser.parse_expr().map_err(not_parsed)?;
        ends(&parser.next_token())?;
        match expression.visit(&mut Allowed) {
            ControlFlow::Break(refused) => Err(refused),
            ControlFlow::Continue(()) => Ok(()),
        }
    })
}

/// The tokens of `text`, with a text in the place of each parameter.
pub(super) fn tokens(text: &str) -> Result<Vec<TokenWithSpan>, String> {
    let masked = mask(text)?;
    Tokenizer::new(&GenericDialect {}, &masked).tokenize_with_location().map_err(|e| format!("no valid SQL: {e}"))
}

/// What sqlparser says, in a sentence.
pub(super) fn not_parsed(error: ParserError) -> String {
    match error {
        ParserError::RecursionLimitExceeded => format!("is nested deeper than {MAX_DEPTH} levels"),
        ParserError::ParserError(e) | ParserError::TokenizerError(e) => format!("no valid SQL: {e}"),
    }
}

/// Replaces each `${name}` outside quotes by a text of the same length, so that columns in messages stay right.
fn mask(text: &str) -> Result<String, String> {
    let mut masked = String::with_capacity(text.len());
    let mut quote = None;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(length) = comment(rest).filter(|_| quote.is_none()) {
            let (comment, after) = rest.split_at(length);
            masked.push_str(comment);
            rest = after;
            continue;
        }
        if quote.is_none() && rest.starts_with("${") {
            let end = rest.find('}').ok_or("a \"${\" without its \"}\"; a parameter is written ${name}")?;
            let name = rest.get(2..end).unwrap_or_default();
            if !is_parameter(name) {
                return Err(format!(
                    "{} is no parameter's name; it has letters, digits and _",
                    super::verdict::quote(name)
                ));
            }
            masked.push('\'');
            masked.extend(std::iter::repeat_n('p', end - 1));
            masked.push('\'');
            rest = rest.get(end + 1..).unwrap_or_default();
            continue;
        }
        quote = match quote {
            None if c == '\'' || c == '"' => Some(c),
            Some(q) if q == c => None,
            other => other,
        };
        masked.push(c);
        rest = rest.get(c.len_utf8()..).unwrap_or_default();
    }
    Ok(masked)
}

/// How many bytes the comment has with which `text` starts: quotes and parameters in it mean nothing.
fn comment(text: &str) -> Option<usize> {
    if text.starts_with("--") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    text.starts_with("/*").then(|| text.find("*/").map_or(text.len(), |end| end + 2))
}

/// Whether `${name}` may be written with this name.
pub(super) fn is_parameter(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Whether a token can deepen the tree.
pub(super) fn weighs(token: &Token) -> bool {
    !matches!(
        token,
        Token::Whitespace(_)
            | Token::Comma
            | Token::LParen
            | Token::RParen
            | Token::Number(..)
            | Token::SingleQuotedString(_)
            | Token::EOF
    )
}

/// How deep brackets are nested that follow one of [`FORMS`], or of which `also` is true, given what comes before a
/// bracket and the bracket.
pub(super) fn forms(tokens: &[TokenWithSpan], also: &dyn Fn(&Token, &Token) -> bool) -> usize {
    let is_form = |token: &Token| matches!(token, Token::Word(word) if word.quote_style.is_none() && FORMS.contains(&word.keyword));
    let mut open = Vec::new();
    let (mut deepest, mut intervals) = (0, 0);
    let mut before = &Token::EOF;
    for token in tokens.iter().map(|t| &t.token).filter(|t| !matches!(t, Token::Whitespace(_))) {
        match token {
            Token::LParen | Token::LBracket | Token::LBrace => open.push(is_form(before) || also(before, token)),
            Token::RParen | Token::RBracket | Token::RBrace => drop(open.pop()),
            // An interval needs no bracket around what it holds.
            Token::Word(word) if word.keyword == Keyword::INTERVAL && is_form(before) => intervals += 1,
            _ => {}
        }
        deepest = deepest.max(open.iter().filter(|form| **form).count() + intervals);
        before = token;
    }
    deepest
}

/// Nothing may come after the expression.
fn ends(next: &TokenWithSpan) -> Result<(), String> {
    let place = next.span.start;
    match &next.token {
        Token::EOF => Ok(()),
        Token::SemiColon => {
            Err(format!("one expression is expected, without \";\" (line {}, column {})", place.line, place.column))
        }
        Token::Comma => {
            Err(format!("one expression is expected, not several (line {}, column {})", place.line, place.column))
        }
        other => Err(format!(
            "one SQL expression is expected; unexpected {other} at line {}, column {}",
            place.line, place.column
        )),
    }
}

/// Refuses what is no scalar expression of one row.
struct Allowed;

impl Visitor for Allowed {
    type Break = String;

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<String> {
        ControlFlow::Break("subqueries are not allowed; use a join node".into())
    }

    fn pre_visit_value(&mut self, value: &ValueWithSpan) -> ControlFlow<String> {
        match &value.value {
            Value::Placeholder(name) => {
                ControlFlow::Break(format!("the placeholder {name} is not allowed; a parameter is written ${{name}}"))
            }
            _ => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<String> {
        match expression {
            Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => {
                ControlFlow::Break("subqueries are not allowed; use a join node".into())
            }
            Expr::Wildcard(_) | Expr::QualifiedWildcard(..) => {
                ControlFlow::Break("\"*\" is no value; name a column".into())
            }
            Expr::Function(function) => function_allowed(function),
            _ => ControlFlow::Continue(()),
        }
    }
}

fn function_allowed(function: &Function) -> ControlFlow<String> {
    let name = function.name.to_string().to_lowercase();
    if function.over.is_some() {
        return ControlFlow::Break(format!("{name}(…) OVER is a window function; an expression sees one row only"));
    }
    let many_rows =
        function.filter.is_some() || !function.within_group.is_empty() || AGGREGATES.contains(&name.as_str());
    if many_rows {
        return ControlFlow::Break(format!("{name} is an aggregate function; use an aggregate node"));
    }
    match &function.args {
        FunctionArguments::Subquery(_) => ControlFlow::Break("subqueries are not allowed; use a join node".into()),
        FunctionArguments::List(list) if list.args.iter().any(is_wildcard) => {
            ControlFlow::Break("\"*\" is no value; name a column".into())
        }
        _ => ControlFlow::Continue(()),
    }
}

fn is_wildcard(argument: &FunctionArg) -> bool {
    matches!(argument, FunctionArg::Unnamed(FunctionArgExpr::Wildcard | FunctionArgExpr::QualifiedWildcard(_)))
}
