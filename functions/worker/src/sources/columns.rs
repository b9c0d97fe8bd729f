//! Settles the columns of a source of text: from what its first records show, and what is said of them.

use super::decode::{Column, Layout};
use super::guess::Guess;
use super::place::{Place, fault};
use super::{InputFile, fields, parse};
use crate::engine::progress::ROW_COLUMN;
use crate::error::RunError;
use datafusion::arrow::datatypes::DataType;
use shared::models::node::FileOptions;
use shared::models::schema::Field;
use std::collections::{BTreeMap, HashMap, HashSet};

/// The most columns of a source.
const MAX_COLUMNS: usize = 5_000;

/// Columns that reach the target as they are: the field that each becomes, by its name in the source.
pub type Expected = HashMap<String, Field>;

/// Where records come from, for messages.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// Such as `connector "sales"`.
    pub name: &'a str,
    /// The first file.
    pub first: &'a str,
}

/// What the types of columns are said to be.
pub struct Declared<'a> {
    pub options: &'a FileOptions,
    pub expected: &'a Expected,
}

impl Declared<'_> {
    /// The type that a column is said to have.
    pub fn data_type(&self, column: &str) -> Option<DataType> {
        let named = self.options.columns.as_ref().and_then(|c| c.get(column));
        named
            .map(|&name| parse::arrow_type(name, None, None))
            .or_else(|| self.expected.get(column).map(parse::field_type))
    }
}

/// What the first rows show.
#[derive(Debug, Default)]
pub struct Sample {
    columns: Vec<(String, Guess)>,
    index: HashMap<String, usize>,
}

impl Sample {
    /// The index of a column, which is new where it has not been seen.
    pub fn add(&mut self, name: &str) -> usize {
        if let Some(&index) = self.index.get(name) {
            return index;
        }
        let index = self.columns.len();
        self.columns.push((name.to_owned(), Guess::default()));
        self.index.insert(name.to_owned(), index);
        index
    }

    /// Sees one value of a column, unless it means null.
    pub fn see(&mut self, column: usize, see: impl FnOnce(&mut Guess), text: &str, nulls: &[String]) {
        if nulls.iter().any(|n| n == text) {
            return;
        }
        if let Some((_, guess)) = self.columns.get_mut(column) {
            see(guess);
        }
    }

    /// The names of the columns, in the order of their first appearance.
    pub fn names(&self) -> Vec<&str> {
        self.columns.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// Sees a record of JSON. One that is not valid is rejected when it is read; its keys do not count.
    ///
    /// # Errors
    /// `Kind::Source` where there are too many keys.
    pub fn see_record(&mut self, name: &str, text: &str, nulls: &[String]) -> Result<(), RunError> {
        let mut members = Vec::new();
        let valid = fields::read(text, |key, raw| {
            members.push((key.to_owned(), raw));
            Ok(())
        });
        if valid.is_err() {
            return Ok(());
        }
        for (key, raw) in members {
            let column = self.add(&key);
            see_json(self, column, raw, nulls);
        }
        if self.columns.len() > MAX_COLUMNS {
            return Err(fault(format!(
                "{name}: the records have more than {MAX_COLUMNS} different keys; are there values among the keys?"
            )));
        }
        Ok(())
    }

    /// Settles the columns of `layout`.
    ///
    /// # Errors
    /// `Kind::Source` where they cannot be told, or have names that they cannot have.
    pub fn settle(self, layout: &mut Layout, declared: &Declared<'_>, origin: Origin<'_>) -> Result<(), RunError> {
        let name = origin.name;
        let named = declared.options.columns.as_ref();
        let nothing_seen = self.columns.is_empty();
        for (column, guess) in self.columns {
            let known = declared.data_type(&column);
            let guessed = known.is_none() && declared.options.infer_types.unwrap_or(true);
            let data_type = known.unwrap_or_else(|| if guessed { guess.data_type() } else { DataType::Utf8 });
            layout.columns.push(Column { name: column, data_type, guessed });
        }
        for column in named.into_iter().flat_map(BTreeMap::keys) {
            if self.index.contains_key(column) {
                continue;
            }
            let may_be_missing = layout.is_json || nothing_seen;
            let (true, Some(data_type)) = (may_be_missing, declared.data_type(column)) else {
                let has: Vec<&str> = layout.columns.iter().map(|c| c.name.as_str()).collect();
                return Err(fault(format!(
                    "{name}: options.columns names {column:?}, which is no column of {:?} (it has {})",
                    origin.first,
                    has.join(", ")
                )));
            };
            // A key may be missing from all of the first records.
            layout.columns.push(Column { name: column.clone(), data_type, guessed: false });
        }
        if layout.is_json {
            settle_json(layout, declared, origin)?;
        }
        match layout.columns.iter().find(|c| c.name == ROW_COLUMN) {
            Some(_) => Err(fault(format!("{name}: the records have a key {ROW_COLUMN:?}; that name is reserved"))),
            None if layout.columns.len() > MAX_COLUMNS => {
                Err(fault(format!("{name}: the files have more than {MAX_COLUMNS} columns")))
            }
            None => Ok(()),
        }
    }
}

/// The columns that the target wants and that are none of the `known` ones.
pub fn unknown<'a>(expected: &Expected, known: impl Iterator<Item = &'a str>) -> HashSet<String> {
    let known: HashSet<&str> = known.collect();
    expected.keys().filter(|name| !known.contains(name.as_str())).cloned().collect()
}

/// Checks that a file has none of the columns that the target wants and the first file lacks: leaving one out would lose
/// data.
///
/// # Errors
/// `Kind::Source` where it has one; names it.
pub fn check_late<'a>(
    place: &Place,
    file: &InputFile,
    mut names: impl Iterator<Item = &'a str>,
    late: &HashSet<String>,
) -> Result<(), RunError> {
    match names.find(|name| late.contains(*name)) {
        None => Ok(()),
        Some(name) => Err(fault(format!(
            "{}: {:?} has the column {name:?}, which the target wants and the first file lacks; add it to the files without \
             it, read these by a source node of their own and put both together by a union, or leave it out by an op select",
            place.name, file.path
        ))),
    }
}

fn settle_json(layout: &mut Layout, declared: &Declared<'_>, origin: Origin<'_>) -> Result<(), RunError> {
    let late = unknown(declared.expected, layout.columns.iter().map(|c| c.name.as_str()));
    if !layout.columns.is_empty() {
        layout.late = late;
        return Ok(());
    }
    // No record tells the columns; those that the target wants will do.
    let mut names: Vec<String> = late.into_iter().collect();
    names.sort();
    for name in names {
        let data_type = declared.data_type(&name).unwrap_or(DataType::Utf8);
        layout.columns.push(Column { name, data_type, guessed: false });
    }
    if layout.columns.is_empty() {
        return Err(fault(format!(
            "{}: no record is in {:?}, so its columns are not known; name them in options.columns",
            origin.name, origin.first
        )));
    }
    Ok(())
}

fn see_json(sample: &mut Sample, column: usize, raw: &str, nulls: &[String]) {
    match raw.as_bytes().first() {
        None | Some(b'n') => {}
        Some(b'{' | b'[') => sample.see(column, Guess::see_other, raw, &[]),
        // A text with escapes is no date either.
        Some(b'"') => {
            let text = raw.get(1..raw.len() - 1).unwrap_or_default();
            sample.see(column, |guess| guess.see_text(text), text, nulls);
        }
        Some(_) => sample.see(column, |guess| guess.see(raw), raw, nulls),
    }
}
