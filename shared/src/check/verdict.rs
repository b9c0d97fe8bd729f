//! What the JSON Schema validator found, in words.

use super::{formats, pointer};
use crate::{Fault, error};
use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use serde_json::Value;

/// Turns verdicts about one document into faults.
pub(super) struct Words<'a> {
    /// The document, whole.
    pub(super) document: &'a Value,
    /// The schema that it was checked against.
    pub(super) schema: &'a Value,
    /// Where the document lies in the body.
    pub(super) prefix: &'a str,
    /// Whether the document's values must not be shown.
    pub(super) secret: bool,
}

impl Words<'_> {
    /// Adds the faults that `error` stands for.
    pub(super) fn add(&self, error: &ValidationError<'_>, faults: &mut Vec<Fault>) {
        let at = format!("{}{}", self.prefix, error.instance_path().as_str());
        let found = error.instance().as_ref();
        match error.kind() {
            Kind::AnyOf { context } => self.any_of(error, context, faults),
            Kind::OneOfNotValid { context } => self.one_of(error, context, &at, faults),
            Kind::Required { property } => {
                let name = property.as_str().unwrap_or_default();
                faults.push(Fault::new(
                    pointer::push(&at, name),
                    "required",
                    format!("the field {} is required", quote(name)),
                ));
            }
            Kind::AdditionalProperties { unexpected } => {
                let known = self.known(error);
                faults
                    .extend(unexpected.iter().take(super::MAX_FAULTS + 1).map(|name| unknown_field(&at, name, &known)));
            }
            // An object that has no fields at all: the verdict is of the first one that it was given.
            Kind::FalseSchema => {
                let given = self.document.pointer(error.instance_path().as_str()).and_then(Value::as_object);
                let given = given.into_iter().flat_map(|given| given.keys()).take(super::MAX_FAULTS + 1);
                faults.extend(given.map(|name| unknown_field(&at, name, &[])));
            }
            // What is no text is told by `enum`, too, with the words.
            Kind::Type { .. }
                if self.holder(error).is_some_and(|h| h.get("enum").is_some() || h.get("const").is_some()) => {}
            Kind::Type { kind } => {
                // Whatever stands where a secret should is one.
                let secret = self.secret || at == "/authConfig";
                faults.push(Fault::new(at, "type", wrong_type(kind, found, secret)));
            }
            Kind::Custom { message, .. } => faults.push(Fault::new(at, "type", message.clone())),
            Kind::Enum { options } => {
                let options: Vec<&str> =
                    options.as_array().map(|o| o.iter().filter_map(Value::as_str).collect()).unwrap_or_default();
                faults.push(self.word(at, found, &options));
            }
            Kind::Constant { expected_value } => {
                faults.push(self.word(at, found, &expected_value.as_str().into_iter().collect::<Vec<_>>()))
            }
            Kind::Format { format } => {
                let wrong = found.as_str().and_then(|text| formats::explain(format, text));
                faults.push(Fault::new(at, "format", wrong.unwrap_or_else(|| format!("is no {format}"))));
            }
            Kind::Pattern { pattern } => {
                let shown = found
                    .as_str()
                    .filter(|_| !self.secret)
                    .map(|t| format!(", found {}", quote(t)))
                    .unwrap_or_default();
                faults.push(Fault::new(at, "pattern", format!("must match {pattern}{shown}")));
            }
            kind => faults.push(self.bounds(at, kind, error)),
        }
    }

    /// `anyOf` comes from `Option` alone: what the branch that is not null says.
    fn any_of(&self, error: &ValidationError<'_>, context: &[Vec<ValidationError<'static>>], faults: &mut Vec<Fault>) {
        let branches = self.schema.pointer(error.schema_path().as_str()).and_then(Value::as_array);
        for (index, branch) in context.iter().enumerate() {
            let null =
                branches.and_then(|b| b.get(index)).and_then(|b| b.get("type")).and_then(Value::as_str) == Some("null");
            if !null {
                branch.iter().for_each(|e| self.add(e, faults));
            }
        }
    }

    /// `oneOf` comes from enums: words, or objects that are told apart by a tag.
    fn one_of(
        &self,
        error: &ValidationError<'_>,
        context: &[Vec<ValidationError<'static>>],
        at: &str,
        faults: &mut Vec<Fault>,
    ) {
        let found = error.instance().as_ref();
        let branches =
            self.schema.pointer(error.schema_path().as_str()).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let Some(tag) = branches.iter().find_map(tag_of) else {
            let words: Vec<&str> = branches.iter().flat_map(words_of).collect();
            return faults.push(self.word(at.to_owned(), found, &words));
        };
        let words: Vec<&str> = branches.iter().filter_map(|b| word_of(b, tag)).collect();
        let Some(object) = found.as_object() else {
            let detail = format!("expected an object with {}, found {}", quote(tag), kind_of(found));
            return faults.push(Fault::new(at, "type", detail));
        };
        let tag_at = pointer::push(at, tag);
        let Some(word) = object.get(tag) else {
            let detail = format!("the field {} is required: one of {}", quote(tag), list(&words));
            return faults.push(Fault::new(tag_at, "required", detail));
        };
        let chosen = branches.iter().position(|b| word.as_str().is_some_and(|w| word_of(b, tag) == Some(w)));
        match chosen.and_then(|index| context.get(index)) {
            Some(branch) => branch.iter().for_each(|e| self.add(e, faults)),
            None => faults.push(self.word(tag_at, word, &words)),
        }
    }

    fn word(&self, at: String, found: &Value, words: &[&str]) -> Fault {
        if self.secret {
            Fault::new(at, "unknown", format!("must be one of {}", list(words)))
        } else {
            word(at, found, words)
        }
    }

    /// The schema object that holds the violated keyword.
    fn holder(&self, error: &ValidationError<'_>) -> Option<&Value> {
        let path = error.schema_path().as_str();
        self.schema.pointer(path.rsplit_once('/').map_or("", |(parent, _)| parent))
    }

    fn known(&self, error: &ValidationError<'_>) -> Vec<&str> {
        let properties = self.holder(error).and_then(|h| h.get("properties")).and_then(Value::as_object);
        properties.map(|p| p.keys().map(String::as_str).collect()).unwrap_or_default()
    }

    /// Entries of an array: what is validated may have been cut.
    fn length(&self, error: &ValidationError<'_>) -> usize {
        let whole = self.document.pointer(error.instance_path().as_str());
        whole.and_then(Value::as_array).map_or(0, Vec::len)
    }

    /// Values and lengths that are out of bounds.
    fn bounds(&self, at: String, kind: &Kind, error: &ValidationError<'_>) -> Fault {
        let found = error.instance().as_ref();
        let (low, high, code, unit) = match kind {
            Kind::Minimum { .. } | Kind::Maximum { .. } => ("minimum", "maximum", "range", ""),
            Kind::MinLength { .. } | Kind::MaxLength { .. } => ("minLength", "maxLength", "length", " characters"),
            Kind::MinItems { .. } | Kind::MaxItems { .. } => ("minItems", "maxItems", "length", " entries"),
            Kind::MinProperties { .. } | Kind::MaxProperties { .. } => {
                ("minProperties", "maxProperties", "length", " entries")
            }
            _ if self.secret => return Fault::new(at, "invalid", "is not valid"),
            _ => return Fault::new(at, "invalid", error.to_string()),
        };
        let bound = |key| self.holder(error).and_then(|h| h.get(key)).map(Value::to_string);
        let must = match (bound(low), bound(high)) {
            (Some(l), Some(h)) if l == h => format!("exactly {l}"),
            (Some(l), Some(h)) => format!("{l} to {h}"),
            (Some(l), None) => format!("at least {l}"),
            (None, Some(h)) => format!("at most {h}"),
            (None, None) => "other".to_owned(),
        };
        let verb = if unit.is_empty() { "be" } else { "have" };
        let has = match found {
            _ if self.secret => String::new(),
            Value::String(text) => format!(", has {}", text.chars().count()),
            Value::Array(_) => format!(", has {}", self.length(error)),
            Value::Object(object) => format!(", has {}", object.len()),
            other => format!(", found {other}"),
        };
        Fault::new(at, code, format!("must {verb} {must}{unit}{has}"))
    }
}

fn unknown_field(at: &str, name: &str, known: &[&str]) -> Fault {
    let hint = near(name, known.iter().copied());
    let hint = if hint.is_empty() && !known.is_empty() { format!("; known: {}", list(known)) } else { hint };
    Fault::new(pointer::push(at, name), "unknown_field", format!("unknown field {}{hint}", quote(name)))
}

/// The known field whose name is near to that of an unknown one, as its fault says.
pub(super) fn meant(unknown: &Fault) -> Option<&str> {
    unknown.detail.rsplit_once("; did you mean \"")?.1.strip_suffix("\"?")
}

/// What a word at `key` is called in a sentence.
fn what(key: &str) -> &str {
    match key {
        "nodeType" => "node type",
        "loadMode" => "load mode",
        "dataType" => "data type",
        "onError" => "error handling",
        "onFail" => "consequence",
        other => other,
    }
}

/// The fault of a value that is none of an enumeration's words.
pub(super) fn word(at: String, found: &Value, words: &[&str]) -> Fault {
    let Some(text) = found.as_str() else {
        let detail = format!("expected one of {}, found {}", list(words), kind_of(found));
        return Fault::new(at, "type", detail);
    };
    let key = at.rsplit('/').find(|token| token.parse::<usize>().is_err()).unwrap_or_default();
    let what = what(key);
    let near = near(text, words.iter().copied());
    let detail = format!("unknown {what} {}{near}; known: {}", quote(text), list(words));
    Fault::new(at, "unknown", detail)
}

fn wrong_type(kind: &TypeKind, found: &Value, secret: bool) -> String {
    let expected: Vec<String> = match kind {
        TypeKind::Single(one) => vec![one.to_string()],
        TypeKind::Multiple(several) => several.iter().map(|t| t.to_string()).filter(|t| t != "null").collect(),
    };
    let expected: Vec<&str> = expected.iter().map(|name| with_article(name)).collect();
    let shown = match found {
        Value::Number(number) if !secret => number.to_string(),
        other => kind_of(other).to_owned(),
    };
    format!("expected {}, found {shown}", expected.join(" or "))
}

/// The property by which a branch is told from the others.
fn tag_of(branch: &Value) -> Option<&str> {
    let properties = branch.get("properties")?.as_object()?;
    properties.iter().find(|(_, schema)| schema.get("const").is_some()).map(|(name, _)| name.as_str())
}

fn word_of<'v>(branch: &'v Value, tag: &str) -> Option<&'v str> {
    branch.get("properties")?.get(tag)?.get("const")?.as_str()
}

/// The words that a branch of an enumeration allows.
fn words_of(branch: &Value) -> Vec<&str> {
    let several = branch.get("enum").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    branch.get("const").into_iter().chain(several).filter_map(Value::as_str).collect()
}

/// "; did you mean …", or nothing.
pub(super) fn near<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> String {
    error::nearest(name, known).map(|near| format!("; did you mean {}?", quote(near))).unwrap_or_default()
}

fn list(words: &[&str]) -> String {
    words.join(", ")
}

fn with_article(json_type: &str) -> &'static str {
    match json_type {
        "array" => "an array",
        "boolean" => "a boolean",
        "integer" => "a whole number",
        "null" => "null",
        "number" => "a number",
        "object" => "an object",
        _ => "a string",
    }
}

/// What a value is, with its article.
pub(super) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// A text in quotation marks, cut where it is long.
pub(super) fn quote(text: &str) -> String {
    const LONGEST: usize = 60;
    if text.chars().count() <= LONGEST {
        return format!("{text:?}");
    }
    let start: String = text.chars().take(LONGEST).collect();
    format!("{start:?}…")
}
