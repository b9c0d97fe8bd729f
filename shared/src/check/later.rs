//! What is planned and not there yet: these words get a clear answer rather than "unknown".

/// Words of enumerations, by the key that holds them.
const WORDS: &[(&str, &[&str])] = &[
    ("nodeType", &["pivot", "unpivot", "branch", "sql", "validate"]),
    ("op", &["lookup"]),
    ("format", &["avro"]),
    ("loadMode", &["incremental_watermark"]),
    ("onError", &["deadLetter"]),
    ("type", &["gcs", "azure_blob", "postgresql", "mysql", "rest_api"]),
];

/// Fields, by the Rust type that will have them.
const FIELDS: &[(&str, &[&str])] =
    &[("SourceConfig", &["table", "query"]), ("TargetConfig", &["connectorId", "table", "watermarkColumn"])];

/// Endings of file names whose format or compression cannot be read yet.
const ENDINGS: &[&str] = &["avro", "bz2"];

/// What a word at `key` is called in a sentence.
pub(super) fn what(key: &str) -> &str {
    match key {
        "nodeType" => "node type",
        "loadMode" => "load mode",
        "dataType" => "data type",
        "onError" => "error handling",
        other => other,
    }
}

/// Whether `word` is planned as a value of `key`.
pub(super) fn word(key: &str, word: &str) -> bool {
    WORDS.iter().any(|(k, words)| *k == key && words.contains(&word))
}

/// Whether `field` is planned for the type `owner`.
pub(super) fn field(owner: &str, field: &str) -> bool {
    FIELDS.iter().any(|(o, fields)| *o == owner && fields.contains(&field))
}

/// The ending of `path` that cannot be read yet.
pub(super) fn ending(path: &str) -> Option<&'static str> {
    let last = path.rsplit(['/', '\\']).next()?.to_ascii_lowercase();
    last.split('.').skip(1).find_map(|part| ENDINGS.iter().copied().find(|ending| *ending == part))
}
