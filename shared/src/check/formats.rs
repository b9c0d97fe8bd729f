//! The string formats that our schemas name, and what is wrong with a text that does not have one.

use super::{expression, query};
use crate::schedule::{Schedule, parse_timezone};

/// Gives a sentence where a text does not fit.
type Check = fn(&str) -> Option<String>;

/// All formats with the check of each.
pub(super) const ALL: &[(&str, Check)] = &[
    ("name", name),
    ("column", column),
    ("cron", |text| Schedule::parse(text).err().map(|e| e.to_string())),
    ("timezone", |text| parse_timezone(text).err()),
    ("sql-expression", |text| expression::check(text).err()),
    ("file-path", path),
    ("http-url", http_url),
    ("sql-query", |text| query::check(text).err()),
    ("table", table),
];

/// What is wrong with `text` as a `format`; None where nothing is, or the format is not ours.
pub(super) fn explain(format: &str, text: &str) -> Option<String> {
    ALL.iter().find(|(name, _)| *name == format).and_then(|(_, check)| check(text))
}

fn name(text: &str) -> Option<String> {
    match text.trim().chars().count() {
        1..=200 => None,
        0 => Some("must have 1 to 200 characters after trimming, has none".into()),
        n => Some(format!("must have 1 to 200 characters after trimming, has {n}")),
    }
}

/// A column: anything that a file may call one, but not what the engine keeps for itself.
fn column(text: &str) -> Option<String> {
    if text.is_empty() {
        return Some("a field's name must not be empty".into());
    }
    if text.chars().count() > 255 {
        return Some("a field's name has 255 characters at most".into());
    }
    if text.to_ascii_lowercase().starts_with("__flowgate") {
        return Some("names that start with \"__flowgate\" are kept for the engine".into());
    }
    text.chars().any(char::is_control).then(|| "a field's name must not contain control characters".into())
}

fn path(text: &str) -> Option<String> {
    if text.split(['/', '\\']).any(|part| part == "..") {
        return Some("must not contain \"..\"".into());
    }
    text.chars().any(char::is_control).then(|| "must not contain control characters".into())
}

/// `table` or `schema.table`, as the database spells them; never quoted.
fn table(text: &str) -> Option<String> {
    let parts: Vec<&str> = text.split('.').collect();
    let fits = |part: &&str| !part.trim().is_empty() && part.trim() == *part && part.chars().count() <= 63;
    if parts.len() > 2 || !parts.iter().all(fits) {
        return Some("must be a table's name or schema.table, each of 1 to 63 characters".into());
    }
    text.chars()
        .any(|c| c.is_control() || "\"'`;".contains(c))
        .then(|| "must not contain quotes, semicolons or control characters; it is quoted where it is used".into())
}

/// Never shows the text: people put passwords into URLs.
fn http_url(text: &str) -> Option<String> {
    let Ok(url) = url::Url::parse(text) else {
        return Some("must be a URL such as \"https://s3.eu-central-1.amazonaws.com\"".into());
    };
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Some("must be a URL that starts with http:// or https://".into());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Some("must not contain a user or a password; use authConfig".into());
    }
    (url.query().is_some() || url.fragment().is_some()).then(|| "must not have a query or a fragment".into())
}
