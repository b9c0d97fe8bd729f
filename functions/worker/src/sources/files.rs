//! Finds the files of a source: by a file's name, a folder or a glob; and tells format and compression from a name.

use super::InputFile;
use super::place::{Place, fault};
use crate::error::RunError;
use glob::{MatchOptions, Pattern};
use shared::models::node::FileFormat;
use std::collections::BTreeMap;

/// Names that a message lists.
const LISTED: usize = 8;

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
    Bzip2,
}

/// The files that a source reads, sorted by name.
#[derive(Debug, Clone)]
pub struct Found {
    pub format: FileFormat,
    pub files: Vec<InputFile>,
}

/// The word that a format is named by.
pub fn word(format: FileFormat) -> &'static str {
    match format {
        FileFormat::Csv => "csv",
        FileFormat::Tsv => "tsv",
        FileFormat::Json => "json",
        FileFormat::Jsonl => "jsonl",
        FileFormat::Parquet => "parquet",
        FileFormat::Avro => "avro",
    }
}

/// The format and compression that a file's name tells, by its endings.
pub fn by_name(path: &str) -> (Option<FileFormat>, Compression) {
    let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
    let (stem, compression) = if let Some(stem) = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".gzip")) {
        (stem, Compression::Gzip)
    } else if let Some(stem) = name.strip_suffix(".zst").or_else(|| name.strip_suffix(".zstd")) {
        (stem, Compression::Zstd)
    } else if let Some(stem) = name.strip_suffix(".bz2") {
        (stem, Compression::Bzip2)
    } else {
        (name.as_str(), Compression::None)
    };
    let format = match stem.rsplit_once('.').map(|(_, ending)| ending) {
        Some("csv") => Some(FileFormat::Csv),
        Some("tsv" | "tab") => Some(FileFormat::Tsv),
        Some("json") => Some(FileFormat::Json),
        Some("jsonl" | "ndjson") => Some(FileFormat::Jsonl),
        Some("avro") => Some(FileFormat::Avro),
        Some("parquet" | "pq") if compression == Compression::None => Some(FileFormat::Parquet),
        _ => None,
    };
    (format, compression)
}

/// The files at `path` of a place, which is a file, a folder or a glob.
///
/// # Errors
/// `Kind::Source` where nothing matches, naming what lies there, or where the format is not clear; as the store says.
pub async fn find(place: &Place, path: &str, format: Option<FileFormat>) -> Result<Found, RunError> {
    if let Some(file) = place.head(path).await? {
        let format = match format.or(by_name(path).0) {
            Some(format) => format,
            None => {
                return Err(fault(format!(
                    "{}: the name {path:?} does not tell a format; set format to csv, tsv, json, jsonl, parquet or avro",
                    place.name
                )));
            }
        };
        return Ok(Found { format, files: vec![file] });
    }
    let is_glob = path.contains(['*', '?', '[']);
    let mut files = if is_glob { by_glob(place, path).await? } else { in_folder(place, path).await? };
    let format = match format {
        Some(format) => {
            // Of a folder, only what is known to be of the format; a glob says itself what it means.
            files.retain(|f| is_glob || by_name(&f.path).0 == Some(format));
            format
        }
        None => {
            files.retain(|f| by_name(&f.path).0.is_some());
            match only_format(place, path, &files)? {
                Some(format) => format,
                None => return Err(nothing(place, path, None).await),
            }
        }
    };
    if files.is_empty() {
        return Err(nothing(place, path, Some(format)).await);
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Found { format, files })
}

async fn in_folder(place: &Place, folder: &str) -> Result<Vec<InputFile>, RunError> {
    let mut files = place.list(folder).await?;
    let inside = if folder.is_empty() { 0 } else { folder.len() + 1 };
    files.retain(|f| !f.path.get(inside..).unwrap_or_default().split('/').any(|segment| segment.starts_with('_')));
    Ok(files)
}

async fn by_glob(place: &Place, path: &str) -> Result<Vec<InputFile>, RunError> {
    let pattern =
        Pattern::new(path).map_err(|e| fault(format!("{}: {path:?} is not a glob: {}", place.name, e.msg)))?;
    let options =
        MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };
    let mut files = place.list(&fixed_folder(path)).await?;
    let wants_marked = path.rsplit('/').next().is_some_and(|name| name.starts_with('_'));
    files.retain(|f| {
        let marked = f.path.rsplit('/').next().is_some_and(|name| name.starts_with('_'));
        (wants_marked || !marked) && pattern.matches_with(&f.path, options)
    });
    Ok(files)
}

/// The folder of a glob before its first wildcard.
fn fixed_folder(path: &str) -> String {
    let end = path.find(['*', '?', '[']).unwrap_or(path.len());
    let fixed = path.get(..end).unwrap_or_default();
    fixed.rsplit_once('/').map_or(String::new(), |(folder, _)| folder.to_owned())
}

fn only_format(place: &Place, path: &str, files: &[InputFile]) -> Result<Option<FileFormat>, RunError> {
    let counts = count_formats(files);
    if counts.len() > 1 {
        let counts: Vec<String> = counts.iter().map(|(format, n)| format!("{n} of {format}")).collect();
        return Err(fault(format!(
            "{}: {path:?} holds files of several formats ({}); set format to say which are meant",
            place.name,
            counts.join(", ")
        )));
    }
    Ok(files.first().and_then(|f| by_name(&f.path).0))
}

/// How many files of each format lie at a folder or glob.
///
/// # Errors
/// As the store says.
pub async fn formats(place: &Place, path: &str) -> Result<BTreeMap<&'static str, usize>, RunError> {
    let is_glob = path.contains(['*', '?', '[']);
    Ok(count_formats(&if is_glob { by_glob(place, path).await? } else { in_folder(place, path).await? }))
}

/// How many files there are of each format.
fn count_formats(files: &[InputFile]) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for format in files.iter().filter_map(|f| by_name(&f.path).0) {
        *counts.entry(word(format)).or_insert(0) += 1;
    }
    counts
}

/// Nothing matches `path`: says what was looked for, and what lies in the nearest folder that is there.
async fn nothing(place: &Place, path: &str, format: Option<FileFormat>) -> RunError {
    let kind = format.map_or("file that can be read".to_owned(), |f| format!("{} file", word(f)));
    let mut folder = if path.contains(['*', '?', '[']) { fixed_folder(path) } else { path.to_owned() };
    let (folder, names) = loop {
        if let Some(names) = place.names(&folder).await {
            break (folder, names);
        }
        if folder.is_empty() {
            break (folder, Vec::new());
        }
        folder = folder.rsplit_once('/').map_or(String::new(), |(parent, _)| parent.to_owned());
    };
    let there = if folder.is_empty() { "its root".to_owned() } else { format!("the folder {folder:?}") };
    let holds = match names.len() {
        0 => "is empty".to_owned(),
        n if n <= LISTED => format!("holds {}", names.join(", ")),
        n => format!(
            "holds {} and {} more",
            names.iter().take(LISTED).cloned().collect::<Vec<_>>().join(", "),
            n - LISTED
        ),
    };
    fault(format!("{}: no {kind} is at {path:?}; {there} {holds}", place.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn format_and_compression_are_told_from_the_endings() {
        assert_eq!(by_name("in/A.CSV.gz"), (Some(FileFormat::Csv), Compression::Gzip));
        assert_eq!(by_name("a.ndjson.zst"), (Some(FileFormat::Jsonl), Compression::Zstd));
        assert_eq!(by_name("x.csv/data.parquet"), (Some(FileFormat::Parquet), Compression::None));
        assert_eq!(by_name("a.tab.BZ2"), (Some(FileFormat::Tsv), Compression::Bzip2));
        assert_eq!(by_name("a.avro"), (Some(FileFormat::Avro), Compression::None));
        assert_eq!(by_name("readme"), (None, Compression::None));
    }

    #[test]
    fn the_fixed_folder_of_a_glob_ends_before_its_first_wildcard() {
        assert_eq!(fixed_folder("in/2024*/x.csv"), "in");
        assert_eq!(fixed_folder("*.csv"), "");
        assert_eq!(fixed_folder("a/b/c?.csv"), "a/b");
    }
}
