//! Parameters of a run in SQL: a placeholder each while the SQL is parsed, then a literal in its tree, so that no value
//! is ever read as SQL.

use super::parameters;
use datafusion::sql::sqlparser::ast;
use serde_json::{Map, Value};

/// How parameters outside of text literals are named while SQL is parsed.
const PLACEHOLDER: &str = "$__flowgate_";

/// `sql` with `$__flowgate_<n>` for the nth parameter of the run wherever `${name}` stands outside of quotes. Comments
/// become a space, where they may be there at all.
///
/// # Errors
/// A sentence, where a parameter is not there or not closed.
pub fn with_placeholders(sql: &str, parameters: &Map<String, Value>, comments: bool) -> Result<String, String> {
    let mut out = String::with_capacity(sql.len());
    let mut quote: Option<char> = None;
    let mut rest = sql;
    while let Some(next) = rest.chars().next() {
        let mut taken = next.len_utf8();
        match (quote, next) {
            (None, '\'' | '"') => quote = Some(next),
            (Some(open), close) if open == close => quote = None,
            (None, '-') if comments && rest.starts_with("--") => {
                out.push(' ');
                rest = rest.find('\n').and_then(|end| rest.get(end..)).unwrap_or_default();
                continue;
            }
            (None, '/') if comments && rest.starts_with("/*") => {
                out.push(' ');
                rest = rest.find("*/").and_then(|end| rest.get(end + 2..)).unwrap_or_default();
                continue;
            }
            (None, '-') if rest.starts_with("--") => return Err("comments (--) are not allowed".to_owned()),
            (None, '/') if rest.starts_with("/*") => return Err("comments (/*) are not allowed".to_owned()),
            (None, '$') => {
                let Some((name, after)) = rest.strip_prefix("${").and_then(|inside| inside.split_once('}')) else {
                    return Err("a parameter is written ${name}; a lone $ is not allowed outside of texts".to_owned());
                };
                parameters::find(name.trim(), parameters)?;
                let index = parameters.keys().position(|key| key == name.trim()).unwrap_or_default();
                out.push_str(&format!(" {PLACEHOLDER}{index} "));
                rest = after;
                continue;
            }
            _ => {}
        }
        if taken > rest.len() {
            taken = rest.len();
        }
        let (this, after) = rest.split_at(taken);
        out.push_str(this);
        rest = after;
    }
    Ok(out)
}

/// The parameter that a placeholder stands for.
///
/// # Errors
/// A sentence, where it stands for none.
pub fn parameter<'a>(placeholder: &str, parameters: &'a Map<String, Value>) -> Result<(&'a String, &'a Value), String> {
    let index = placeholder.strip_prefix(PLACEHOLDER).and_then(|index| index.parse::<usize>().ok());
    index
        .and_then(|index| parameters.iter().nth(index))
        .ok_or_else(|| format!("{placeholder} is not allowed; a parameter is written ${{name}}"))
}

/// A parameter's value as a literal of its JSON type.
///
/// # Errors
/// A sentence, where it is a list or an object.
pub fn literal(name: &str, value: &Value) -> Result<ast::Expr, String> {
    let value = match value {
        Value::Null => ast::Value::Null,
        Value::Bool(b) => ast::Value::Boolean(*b),
        Value::String(text) => ast::Value::SingleQuotedString(text.clone()),
        Value::Number(number) => {
            let text = number.to_string();
            let Some(positive) = text.strip_prefix('-') else { return Ok(number_literal(&text)) };
            return Ok(ast::Expr::UnaryOp { op: ast::UnaryOperator::Minus, expr: Box::new(number_literal(positive)) });
        }
        Value::Array(_) | Value::Object(_) => {
            return Err(format!(
                "the parameter {name:?} is a list or an object; an expression takes a text, a number, true, false or null"
            ));
        }
    };
    Ok(ast::Expr::Value(value.into()))
}

fn number_literal(text: &str) -> ast::Expr {
    ast::Expr::Value(ast::Value::Number(text.to_owned(), false).into())
}
