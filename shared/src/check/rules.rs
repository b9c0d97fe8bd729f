//! What a schema cannot say about the rules of a validate node: which params belong to which rule, and what they may be.

use super::defaults::{self, Column};
use super::{nodes, pointer, verdict};
use crate::Fault;
use crate::models::node::{DataTypeName, OnFail, Rule, RuleName, RuleParams};
use regex::RegexBuilder;
use serde_json::{Number, Value};
use std::cmp::Ordering;
use std::collections::HashSet;

/// Bytes that a compiled pattern may take.
const MAX_PATTERN: usize = 1 << 20;

/// Adds the faults of the rules at `at` (such as `/nodes/2/config`).
pub(super) fn check(config: &Value, at: &str, faults: &mut Vec<Fault>) {
    let at = pointer::push(at, "rules");
    let mut seen = HashSet::new();
    for (index, rule) in nodes::each::<Rule>(config, "rules") {
        let at = pointer::at(&at, index);
        if !seen.insert(rule.id.clone()) {
            let detail = format!("the rule {} is there already", verdict::quote(&rule.id));
            faults.push(Fault::new(pointer::push(&at, "id"), "duplicate", detail));
        }
        field(&rule, &at, faults);
        params(&rule, &at, faults);
        if rule.rule == RuleName::RowCount && rule.on_fail == Some(OnFail::Reject) {
            let detail = "no row breaks a rowCount, so none can be rejected; fail or warn";
            faults.push(Fault::new(pointer::push(&at, "onFail"), "contradiction", detail));
        }
    }
}

/// A rule as configs name it.
fn name_of(rule: RuleName) -> &'static str {
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

fn field(rule: &Rule, at: &str, faults: &mut Vec<Fault>) {
    let at = pointer::push(at, "field");
    let name = name_of(rule.rule);
    match (rule.rule, &rule.field) {
        (RuleName::Expression | RuleName::RowCount, Some(_)) => {
            let detail = format!("a rule {name} has no field; leave it out");
            faults.push(Fault::new(at, "contradiction", detail));
        }
        (RuleName::Expression | RuleName::RowCount, None) | (_, Some(_)) => {}
        (_, None) => {
            let detail = format!("the field \"field\" is required: a rule {name} checks one");
            faults.push(Fault::new(at, "required", detail));
        }
    }
}

/// The params that a rule takes.
fn taken(rule: RuleName) -> &'static [&'static str] {
    match rule {
        RuleName::NotNull | RuleName::Unique | RuleName::Email => &[],
        RuleName::Range | RuleName::Length | RuleName::RowCount => &["min", "max"],
        RuleName::Regex => &["pattern"],
        RuleName::OneOf => &["values"],
        RuleName::Expression => &["expr"],
    }
}

fn params(rule: &Rule, at: &str, faults: &mut Vec<Fault>) {
    let none = RuleParams::default();
    let params = rule.params.as_ref().unwrap_or(&none);
    let at = &pointer::push(at, "params");
    let given = [
        ("min", params.min.is_some()),
        ("max", params.max.is_some()),
        ("pattern", params.pattern.is_some()),
        ("values", params.values.is_some()),
        ("expr", params.expr.is_some()),
    ];
    let (taken, name) = (taken(rule.rule), name_of(rule.rule));
    for (param, _) in given.iter().filter(|(param, given)| *given && !taken.contains(param)) {
        let takes = if taken.is_empty() { "none".to_owned() } else { taken.join(" and ") };
        let detail = format!("{param} means nothing for a rule {name}, which takes {takes}");
        faults.push(Fault::new(pointer::push(at, param), "contradiction", detail));
    }
    if !taken.is_empty() && !given.iter().any(|(param, given)| *given && taken.contains(param)) {
        match taken {
            [only] if rule.params.is_none() => {
                let detail = format!("the field \"params\" is required: a rule {name} takes {only}");
                faults.push(Fault::new(at, "required", detail));
            }
            [only] => {
                let detail = format!("the field {only:?} is required by a rule {name}");
                faults.push(Fault::new(pointer::push(at, only), "required", detail));
            }
            several => {
                let detail = format!("a rule {name} needs {} or both", several.join(", "));
                faults.push(Fault::new(at, "required", detail));
            }
        }
    }
    match rule.rule {
        RuleName::Range => bounds(params, at, faults, value_kind),
        RuleName::Length | RuleName::RowCount => bounds(params, at, faults, count_kind),
        RuleName::Regex => pattern(params, at, faults),
        RuleName::OneOf => values(params, at, faults),
        RuleName::NotNull | RuleName::Unique | RuleName::Email | RuleName::Expression => {}
    }
}

/// What a bound is; both must be of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Number,
    Date,
    Time,
    Instant,
}

/// A value that a run's parameter brings, which nobody knows before.
fn is_parameter(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.contains("${"))
}

fn bounds(
    params: &RuleParams,
    at: &str,
    faults: &mut Vec<Fault>,
    kind_of: impl Fn(&Value) -> Result<Kind, (&'static str, String)>,
) {
    let mut read = |name: &str, value: &Option<Value>| {
        let value = value.as_ref().filter(|value| !is_parameter(value))?;
        match kind_of(value) {
            Ok(kind) => Some((kind, value.clone())),
            Err((code, wrong)) => {
                faults.push(Fault::new(pointer::push(at, name), code, wrong));
                None
            }
        }
    };
    let (Some((low_kind, low)), Some((high_kind, high))) = (read("min", &params.min), read("max", &params.max)) else {
        return;
    };
    let at = pointer::push(at, "max");
    if low_kind != high_kind {
        faults.push(Fault::new(at, "contradiction", "min and max must be of one kind: numbers, dates, or times"));
    } else if compare(low_kind, &low, &high) == Some(Ordering::Greater) {
        faults.push(Fault::new(at, "range", format!("max, {high}, is less than min, {low}")));
    }
}

fn value_kind(value: &Value) -> Result<Kind, (&'static str, String)> {
    let is = |data_type| {
        let column = Column { data_type, length: None, decimal: (38, 10) };
        defaults::fits(value, column).is_ok()
    };
    match value {
        Value::Number(_) => Ok(Kind::Number),
        Value::String(_) if is(DataTypeName::Date) => Ok(Kind::Date),
        Value::String(_) if is(DataTypeName::Timestamp) => Ok(Kind::Time),
        Value::String(_) if is(DataTypeName::Timestamptz) => Ok(Kind::Instant),
        Value::String(text) => Err((
            "format",
            format!(
                "{} is neither a date such as \"2026-01-31\" nor a time such as \"2026-01-31T09:00:00\"; numbers are written without quotes",
                verdict::quote(text)
            ),
        )),
        other => Err(("type", format!("expected a number, a date or a time, found {}", verdict::kind_of(other)))),
    }
}

fn count_kind(value: &Value) -> Result<Kind, (&'static str, String)> {
    match value {
        Value::Number(number) if number.is_u64() => Ok(Kind::Number),
        Value::Number(number) if number.is_i64() => Err(("range", format!("must be at least 0, found {number}"))),
        Value::Number(number) => Err(("type", format!("expected a whole number, found {number}"))),
        other => Err(("type", format!("expected a whole number, found {}", verdict::kind_of(other)))),
    }
}

fn compare(kind: Kind, low: &Value, high: &Value) -> Option<Ordering> {
    match (kind, low, high) {
        (Kind::Number, Value::Number(low), Value::Number(high)) => compare_numbers(low, high),
        (Kind::Instant, Value::String(low), Value::String(high)) => {
            let instant = |text: &str| chrono::DateTime::parse_from_rfc3339(text).ok();
            instant(low)?.partial_cmp(&instant(high)?)
        }
        // Both begin with the year, and a space before a time sorts as a T does among themselves.
        (_, Value::String(low), Value::String(high)) => Some(low.replace(' ', "T").cmp(&high.replace(' ', "T"))),
        _ => None,
    }
}

fn compare_numbers(low: &Number, high: &Number) -> Option<Ordering> {
    match (low.as_i128(), high.as_i128()) {
        (Some(low), Some(high)) => Some(low.cmp(&high)),
        _ => low.as_f64()?.partial_cmp(&high.as_f64()?),
    }
}

fn pattern(params: &RuleParams, at: &str, faults: &mut Vec<Fault>) {
    let Some(pattern) = params.pattern.as_ref().filter(|pattern| !pattern.contains("${")) else { return };
    if let Err(error) = RegexBuilder::new(pattern).size_limit(MAX_PATTERN).build() {
        // The last line says what is wrong; those before it draw a picture.
        let said = error.to_string();
        let wrong = said.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        let detail = format!("{} is no regular expression: {wrong}", verdict::quote(pattern));
        faults.push(Fault::new(pointer::push(at, "pattern"), "format", detail));
    }
}

fn values(params: &RuleParams, at: &str, faults: &mut Vec<Fault>) {
    let at = pointer::push(at, "values");
    let mut first: Option<&'static str> = None;
    let mut seen = HashSet::new();
    for (index, value) in params.values.iter().flatten().enumerate() {
        let at = pointer::at(&at, index);
        let kind = verdict::kind_of(value);
        if value.is_null() {
            faults.push(Fault::new(at, "type", "null breaks the rule notNull only; leave it out here"));
            continue;
        }
        if value.is_array() || value.is_object() {
            faults.push(Fault::new(at, "type", format!("expected a string, a number or a boolean, found {kind}")));
            continue;
        }
        if !seen.insert(value.to_string()) {
            faults.push(Fault::new(&at, "duplicate", format!("{value} is there twice")));
        }
        if is_parameter(value) {
            continue;
        }
        if *first.get_or_insert(kind) != kind {
            let detail =
                format!("all values must be of one type; the first is {}, this is {kind}", first.unwrap_or(kind));
            faults.push(Fault::new(at, "type", detail));
        }
    }
}
