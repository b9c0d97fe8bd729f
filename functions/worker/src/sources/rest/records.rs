//! Where the records lie in an API's answer, and where the next page is named.

use super::super::fields::{self, elements};
use serde_json::value::RawValue;
use std::ops::Range;

/// Names that a message lists.
const LISTED: usize = 12;

/// One answer, and where its records lie in it.
#[derive(Debug, Default)]
pub struct Page {
    pub text: String,
    /// Where each record lies in the text.
    pub records: Vec<Range<u32>>,
}

impl Page {
    /// Finds the records of an answer that is JSON. The text must be shorter than 4 GiB.
    ///
    /// # Errors
    /// What the answer lacks, to be put behind its name.
    pub fn of(text: String, path: Option<&str>) -> Result<Self, String> {
        let all = value(&text)?;
        let found = match path {
            None => all,
            Some(path) => match step_by_step(all, path) {
                Ok(found) => found,
                Err(missing) => return Err(missing.explain("recordsPath", path)),
            },
        };
        let place = path.map_or_else(|| "the answer".to_owned(), |path| format!("{path:?}"));
        let records = match found.as_bytes().first() {
            Some(b'[') => elements(found).iter().map(|record| span(&text, record)).collect(),
            Some(b'{') => vec![span(&text, found)],
            // An empty list is null to some.
            Some(b'n') => Vec::new(),
            _ => return Err(format!("has {} at {place}, not a list of records or one record", kind(found))),
        };
        Ok(Self { text, records })
    }

    /// The text of a record.
    pub fn record(&self, index: usize) -> &str {
        let span = self.records.get(index).cloned().unwrap_or_default();
        self.text.get(span.start as usize..span.end as usize).unwrap_or_default()
    }
}

/// The text or number at `path`, which names the next page; none where it is not there, null, false or empty.
///
/// # Errors
/// Where it is something else.
pub fn mark(text: &str, path: &str) -> Result<Option<String>, String> {
    let Ok(found) = step_by_step(value(text)?, path) else { return Ok(None) };
    match found.as_bytes().first() {
        Some(b'n' | b'f') => Ok(None),
        Some(b'"') => {
            let text: String =
                serde_json::from_str(found).map_err(|e| format!("has no valid text at {path:?}: {e}"))?;
            Ok(Some(text).filter(|text| !text.is_empty()))
        }
        Some(b'0'..=b'9' | b'-') => Ok(Some(found.to_owned())),
        _ => Err(format!(
            "has {} at {path:?}, which should be a text or a number that leads to the next page",
            kind(found)
        )),
    }
}

/// The whole answer, which is checked to be JSON.
fn value(text: &str) -> Result<&str, String> {
    let all: &RawValue = serde_json::from_str(text).map_err(|e| format!("is not JSON: {e}"))?;
    Ok(all.get())
}

/// A path ends before its end.
struct Missing<'a> {
    /// The part of the path that is there.
    before: String,
    /// What is there.
    found: &'a str,
}

impl Missing<'_> {
    fn explain(&self, option: &str, path: &str) -> String {
        let place = if self.before.is_empty() { "at its top".to_owned() } else { format!("at {:?}", self.before) };
        let there = match self.found.as_bytes().first() {
            Some(b'{') => match keys(self.found).as_slice() {
                [] => format!("{place} is an empty object"),
                keys if keys.len() > LISTED => {
                    format!(
                        "{place} are {} and {} more",
                        keys.iter().take(LISTED).cloned().collect::<Vec<_>>().join(", "),
                        keys.len() - LISTED
                    )
                }
                keys => format!("{place} are {}", keys.join(", ")),
            },
            _ => format!("{place} is {}", kind(self.found)),
        };
        format!("has no {path:?} ({option}); {there}")
    }
}

fn step_by_step<'a>(all: &'a str, path: &str) -> Result<&'a str, Missing<'a>> {
    let mut found = all;
    let mut before: Vec<&str> = Vec::new();
    for name in path.split('.') {
        let next = match found.as_bytes().first() {
            Some(b'{') => fields::member(found, name).ok().flatten(),
            Some(b'[') => name.parse::<usize>().ok().and_then(|index| elements(found).get(index).copied()),
            _ => None,
        };
        let Some(next) = next else { return Err(Missing { before: before.join("."), found }) };
        before.push(name);
        found = next;
    }
    Ok(found)
}

fn keys(object: &str) -> Vec<String> {
    let mut keys = Vec::new();
    let read = fields::read(object, |key, _| {
        keys.push(key.chars().take(60).collect());
        Ok(())
    });
    read.map(|()| keys).unwrap_or_default()
}

/// Where a part of a text lies in it.
fn span(text: &str, part: &str) -> Range<u32> {
    let start = (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    start as u32..(start + part.len()) as u32
}

fn kind(raw: &str) -> &'static str {
    match raw.as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "a list",
        Some(b'"') => "a text",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(text: &str, path: Option<&str>) -> Result<Vec<String>, String> {
        let page = Page::of(text.to_owned(), path)?;
        Ok((0..page.records.len()).map(|i| page.record(i).to_owned()).collect())
    }

    #[test]
    fn records_are_found_by_their_path() {
        let text = r#" {"data": {"é": [1, {"items": [{"a": 1}, {"b": "]}"}, 3]}]}, "n": 2} "#;
        assert_eq!(records(text, Some("data.é.1.items")).unwrap(), [r#"{"a": 1}"#, r#"{"b": "]}"}"#, "3"]);
        assert_eq!(records(text, None).unwrap(), [text.trim()]);
        assert_eq!(records(" [ 1 , [2] ] ", None).unwrap(), ["1", "[2]"]);
        assert_eq!(records(r#"{"items": null}"#, Some("items")), Ok(Vec::new()));
    }

    #[test]
    fn a_path_that_is_not_there_names_what_is() {
        let of = |text: &str, path| records(text, Some(path)).unwrap_err();
        assert_eq!(
            of(r#"{"results": [], "n": 1}"#, "data"),
            "has no \"data\" (recordsPath); at its top are results, n"
        );
        assert_eq!(
            of(r#"{"data": {"rows": 1}}"#, "data.items"),
            "has no \"data.items\" (recordsPath); at \"data\" are rows"
        );
        assert_eq!(of("[1]", "data"), "has no \"data\" (recordsPath); at its top is a list");
        assert_eq!(of(r#"{"data": 7}"#, "data"), "has a number at \"data\", not a list of records or one record");
        assert!(of("<html>", "data").starts_with("is not JSON"));
    }

    #[test]
    fn a_mark_is_a_text_or_a_number() {
        let of = |text: &str| mark(text, "meta.next");
        assert_eq!(of(r#"{"meta": {"next": "a\u00e9"}}"#), Ok(Some("aé".to_owned())));
        assert_eq!(of(r#"{"meta": {"next": 17}}"#), Ok(Some("17".to_owned())));
        for end in [
            r#"{"meta": {"next": null}}"#,
            r#"{"meta": {"next": ""}}"#,
            r#"{"meta": {}}"#,
            "{}",
            "[]",
            r#"{"meta": {"next": false}}"#,
        ] {
            assert_eq!(of(end), Ok(None), "{end}");
        }
        assert!(of(r#"{"meta": {"next": {}}}"#).is_err());
    }
}
