//! The rules that look at one row, as expressions that are false where a row breaks them.

use super::matches::matches;
use crate::engine::expressions::{Compiled, Expressions, missing};
use crate::nodes::columns::{column, find, is_text, type_name, visible};
use crate::nodes::ops::constant;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::functions::unicode::expr_fn::character_length;
use datafusion::logical_expr::{Expr, cast, lit};
use serde_json::Value;
use shared::models::node::{Rule, RuleName, RuleParams};

/// A local part of atoms and points, and a domain of at least two names.
const EMAIL: &str = r"^[\p{L}\p{N}!#$%&'*+/=?^_`{|}~-]+(\.[\p{L}\p{N}!#$%&'*+/=?^_`{|}~-]+)*@[\p{L}\p{N}]([\p{L}\p{N}-]{0,61}[\p{L}\p{N}])?(\.[\p{L}\p{N}]([\p{L}\p{N}-]{0,61}[\p{L}\p{N}])?)+$";
/// Values that a message lists.
const LISTED: usize = 20;

/// A rule over one row.
#[derive(Debug, Clone)]
pub struct RowRule {
    /// Its place among the node's rules.
    pub index: usize,
    /// False where a row breaks it; null where it says nothing about the row.
    pub condition: Compiled,
}

impl RowRule {
    /// The columns that it reads.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.condition.columns().iter().map(String::as_str)
    }
}

/// A rule as configs name it.
pub fn name_of(rule: RuleName) -> &'static str {
    match rule {
        RuleName::NotNull => "notNull",
        RuleName::Unique => "unique",
        RuleName::Range => "range",
        RuleName::Length => "length",
        RuleName::Regex => "regex",
        RuleName::OneOf => "oneOf",
        RuleName::Email => "email",
        RuleName::Expression => "expression",
        RuleName::RowCount => "rowCount",
    }
}

/// A sentence that there is no column `name`, with those that there are.
pub fn missing_field(name: &str, schema: &DFSchema) -> String {
    missing(name, visible(schema).map(|field| field.name().as_str()))
}

/// Compiles a rule, the one at `index`, over the columns of `schema`.
///
/// # Errors
/// A sentence that says what does not fit, and what would be right.
pub fn compile(rule: &Rule, index: usize, schema: &DFSchema, expressions: &Expressions) -> Result<RowRule, String> {
    let none = RuleParams::default();
    let params = rule.params.as_ref().unwrap_or(&none);
    if rule.rule == RuleName::Expression {
        let text = params.expr.as_deref().ok_or("it has no params.expr")?;
        let condition = expressions.compile(text, schema).map_err(|why| format!("expr {text:?}: {why}"))?;
        if !matches!(condition.data_type(), DataType::Boolean | DataType::Null) {
            let found = type_name(condition.data_type());
            return Err(format!("expr {text:?} is of type {found}; it must be true or false, such as amount > 0"));
        }
        return Ok(RowRule { index, condition });
    }
    let name = rule.field.as_deref().ok_or("it names no field")?;
    let data_type = find(schema, name)?.data_type().clone();
    let condition = expressions.typed(condition(rule.rule, params, name, &data_type)?, schema)?;
    Ok(RowRule { index, condition })
}

fn condition(rule: RuleName, params: &RuleParams, name: &str, data_type: &DataType) -> Result<Expr, String> {
    // A column without any value breaks notNull only.
    if *data_type == DataType::Null && rule != RuleName::NotNull {
        return Ok(lit(ScalarValue::Boolean(None)));
    }
    match rule {
        RuleName::NotNull => Ok(column(name).is_not_null()),
        RuleName::Range => between_values(params, name, data_type),
        RuleName::Length => {
            let length = character_length(text(name, data_type)?);
            let bound = |value: &Value| count(value).map(|n| lit(i64::try_from(n).unwrap_or(i64::MAX)));
            both(params, |low| Ok(length.clone().gt_eq(bound(low)?)), |high| Ok(length.clone().lt_eq(bound(high)?)))
        }
        RuleName::Regex => {
            let pattern = params.pattern.as_deref().ok_or("it has no params.pattern")?;
            let wrong =
                |e: regex::Error| format!("{pattern:?} is no regular expression: {}", last_line(&e.to_string()));
            matches(text(name, data_type)?, pattern).map_err(wrong)
        }
        RuleName::Email => matches(text(name, data_type)?, EMAIL).map_err(|e| e.to_string()),
        RuleName::OneOf => {
            let values = params.values.as_deref().unwrap_or_default();
            if values.is_empty() {
                return Err("it has no params.values".to_owned());
            }
            let of_column = |value: &Value| {
                let read = constant(value, data_type).map(lit);
                read.map_err(|why| format!("values: {why}, as column {name:?} has them"))
            };
            Ok(column(name).in_list(values.iter().map(of_column).collect::<Result<_, _>>()?, false))
        }
        RuleName::Unique | RuleName::Expression | RuleName::RowCount => Err("it is no rule of one field".to_owned()),
    }
}

/// The last line of an error with a picture above it.
fn last_line(text: &str) -> String {
    text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

/// The texts of a column.
fn text(name: &str, data_type: &DataType) -> Result<Expr, String> {
    if data_type.is_nested() || data_type.is_binary() {
        return Err(format!("column {name:?} holds {}, which has no text", type_name(data_type)));
    }
    Ok(if is_text(data_type) { column(name) } else { cast(column(name), DataType::Utf8) })
}

/// What `low` makes of min and `high` of max, whichever are given.
fn both(
    params: &RuleParams,
    low: impl Fn(&Value) -> Result<Expr, String>,
    high: impl Fn(&Value) -> Result<Expr, String>,
) -> Result<Expr, String> {
    let low = params.min.as_ref().map(|value| low(value).map_err(|why| format!("min: {why}"))).transpose()?;
    let high = params.max.as_ref().map(|value| high(value).map_err(|why| format!("max: {why}"))).transpose()?;
    match (low, high) {
        (Some(low), Some(high)) => Ok(low.and(high)),
        (Some(one), None) | (None, Some(one)) => Ok(one),
        (None, None) => Err("it has neither params.min nor params.max".to_owned()),
    }
}

fn between_values(params: &RuleParams, name: &str, data_type: &DataType) -> Result<Expr, String> {
    let ordered = data_type.is_numeric() || data_type.is_temporal();
    if !ordered || matches!(data_type, DataType::Duration(_) | DataType::Interval(_)) {
        let found = type_name(data_type);
        return Err(format!(
            "column {name:?} is of type {found}, and a range is one of numbers, dates or times; cast it before"
        ));
    }
    let bound = |value: &Value| bound(value, data_type);
    both(params, |low| Ok(column(name).gt_eq(bound(low)?)), |high| Ok(column(name).lt_eq(bound(high)?)))
}

/// A bound as the column has its values, or as near to it as it is written.
fn bound(value: &Value, data_type: &DataType) -> Result<Expr, String> {
    let nearest = match (value, data_type) {
        // 0.5 is a bound of whole numbers, too.
        (Value::Number(number), _) if data_type.is_numeric() => number.as_f64().map(|float| Ok(lit(float))),
        (Value::String(_), DataType::Date32 | DataType::Date64) => {
            let time = DataType::Timestamp(datafusion::arrow::datatypes::TimeUnit::Microsecond, None);
            Some(constant(value, &time).map(lit))
        }
        (Value::String(_), DataType::Timestamp(..)) => Some(constant(value, &DataType::Date32).map(lit)),
        _ => None,
    };
    match (constant(value, data_type), nearest) {
        (Ok(exact), _) => Ok(lit(exact)),
        (Err(_), Some(Ok(near))) => Ok(near),
        (Err(why), _) => Err(why),
    }
}

/// A number of rows or characters.
///
/// # Errors
/// A sentence, where it is none.
pub fn count(value: &Value) -> Result<u64, String> {
    let read = match value {
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_u64(),
    };
    read.ok_or_else(|| format!("{value} is no whole number from 0 on"))
}

/// `2 to 5`, `at least 2`, `at most 5`.
pub fn between(params: Option<&RuleParams>) -> String {
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match (params.and_then(|p| p.min.as_ref()), params.and_then(|p| p.max.as_ref())) {
        (Some(low), Some(high)) => format!("{} to {}", plain(low), plain(high)),
        (Some(low), None) => format!("at least {}", plain(low)),
        (None, Some(high)) => format!("at most {}", plain(high)),
        (None, None) => "any".to_owned(),
    }
}

/// What would be right.
pub fn wanted(rule: &Rule) -> String {
    let params = rule.params.as_ref();
    match rule.rule {
        RuleName::NotNull => "must have a value".to_owned(),
        RuleName::Unique => "must be unique, and an earlier row of this run has it too".to_owned(),
        RuleName::Range => format!("must be {}", between(params)),
        RuleName::Length => format!("must have {} characters", between(params)),
        RuleName::Regex => format!("must match {}", params.and_then(|p| p.pattern.as_deref()).unwrap_or_default()),
        RuleName::OneOf => {
            let values = params.and_then(|p| p.values.as_deref()).unwrap_or_default();
            let shown: Vec<_> = values.iter().take(LISTED).map(Value::to_string).collect();
            let more =
                if values.len() > LISTED { format!(" and {} more", values.len() - LISTED) } else { String::new() };
            format!("must be one of {}{more}", shown.join(", "))
        }
        RuleName::Email => "must be an address such as ada@example.org".to_owned(),
        RuleName::Expression => format!("must be true: {}", params.and_then(|p| p.expr.as_deref()).unwrap_or_default()),
        RuleName::RowCount => format!("there must be {} rows", between(params)),
    }
}
