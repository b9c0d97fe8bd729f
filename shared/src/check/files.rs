//! What file options may not say together.

use super::pointer;
use crate::Fault;
use crate::models::node::{FileFormat, FileOptions};

/// Adds the faults of `options` at `at` (such as `/config/options`) for files of `format`.
pub(super) fn options(options: &FileOptions, format: Option<FileFormat>, at: &str, faults: &mut Vec<Fault>) {
    let given = [
        ("delimiter", options.delimiter.is_some(), Told::Delimited),
        ("quote", options.quote.is_some(), Told::Delimited),
        ("escape", options.escape.is_some(), Told::Delimited),
        ("header", options.header.is_some(), Told::Delimited),
        ("nullValues", options.null_values.is_some(), Told::Text),
        ("skipRows", options.skip_rows.is_some(), Told::Text),
        ("encoding", options.encoding.is_some(), Told::Text),
        ("inferTypes", options.infer_types.is_some(), Told::Text),
    ];
    for (name, _, told) in given.into_iter().filter(|(_, given, told)| *given && !told.to(format)) {
        let detail = match told {
            Told::Delimited => format!("{name} means something for csv and tsv only"),
            Told::Text => format!("{name} means nothing for parquet and avro, which have types of their own"),
        };
        faults.push(Fault::new(pointer::push(at, name), "contradiction", detail));
    }
    characters(options, at, faults);
    for name in options.columns.iter().flat_map(|columns| columns.keys()) {
        if let Some(wrong) = super::formats::explain("column", name) {
            faults.push(Fault::new(pointer::push(&pointer::push(at, "columns"), name), "format", wrong));
        }
    }
}

/// To which formats an option says something.
#[derive(Clone, Copy)]
enum Told {
    /// csv and tsv.
    Delimited,
    /// All but parquet and avro.
    Text,
}

impl Told {
    fn to(self, format: Option<FileFormat>) -> bool {
        match (self, format) {
            (_, None | Some(FileFormat::Csv | FileFormat::Tsv)) => true,
            (Self::Text, Some(FileFormat::Json | FileFormat::Jsonl)) => true,
            (Self::Delimited, Some(FileFormat::Json | FileFormat::Jsonl))
            | (_, Some(FileFormat::Parquet | FileFormat::Avro)) => false,
        }
    }
}

/// Delimiter, quote and escape are single bytes, no line ends, and differ where they have to.
fn characters(options: &FileOptions, at: &str, faults: &mut Vec<Fault>) {
    let given = [("delimiter", &options.delimiter), ("quote", &options.quote), ("escape", &options.escape)];
    for (name, value) in given {
        let Some(text) = value else { continue };
        if !text.is_ascii() {
            faults.push(Fault::new(
                pointer::push(at, name),
                "format",
                format!("must be an ASCII character, found {text:?}"),
            ));
        } else if text.contains(['\n', '\r', '\0']) {
            faults.push(Fault::new(pointer::push(at, name), "format", "must not be an end of line"));
        }
    }
    let delimiter = options.delimiter.as_deref();
    let quote = options.quote.as_deref().or(Some("\""));
    if delimiter.is_some() && delimiter == quote {
        let at = pointer::push(at, if options.quote.is_some() { "quote" } else { "delimiter" });
        faults.push(Fault::new(at, "contradiction", "delimiter and quote must differ"));
    }
    if options.escape.is_some() && options.escape.as_deref() == delimiter {
        faults.push(Fault::new(pointer::push(at, "escape"), "contradiction", "delimiter and escape must differ"));
    }
}
