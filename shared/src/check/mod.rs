//! Checks what callers send: every fault of a body in one answer, each with its JSON Pointer.
//!
//! The JSON Schema that schemars derives from the Rust types is the single source of a body's shape;
//! [`shape`] puts its verdicts into words, and the modules beside it add what a schema cannot say.

mod api;
mod body;
mod branches;
pub mod connected;
pub mod connector;
mod cycle;
mod defaults;
mod destination;
mod expression;
mod files;
mod formats;
mod graph;
mod inputs;
mod nodes;
mod numbers;
mod openapi;
mod ops;
pub mod pipeline;
mod pointer;
mod query;
pub mod references;
mod rules;
pub mod run;
pub mod schedule;
pub mod schema;
mod shape;
mod slips;
pub mod targets;
#[cfg(test)]
mod tests;
pub mod trial;
pub mod types;
mod verdict;

pub use body::{Body, json, optional_json};
pub use openapi::schemas;

use crate::{Error, Fault};

/// Most faults that one answer lists; a last one says how many more there are.
const MAX_FAULTS: usize = 1000;

/// The input where there are no faults.
///
/// # Errors
/// [`Error::Invalid`] with all faults, in the order of the document.
pub fn finish<T>(input: Option<T>, mut faults: Vec<Fault>) -> Result<T, Error> {
    pointer::sort(&mut faults);
    let over = faults.len().saturating_sub(MAX_FAULTS);
    if over > 0 {
        faults.truncate(MAX_FAULTS);
        faults.push(Fault::new("", "too_many", format!("there are {over} more faults, which are not listed")));
    }
    match input {
        Some(input) if faults.is_empty() => Ok(input),
        _ if faults.is_empty() => Err(Error::fault("", "invalid", "the body cannot be read")),
        _ => Err(Error::Invalid(faults)),
    }
}

/// The `id` of a body that names what it changes (`PUT /pipelines` without an id in the path).
///
/// # Errors
/// A fault at `/id` where it is missing or no text.
pub fn id(body: &Body) -> Result<String, Fault> {
    match body.value().get("id") {
        Some(serde_json::Value::String(id)) if !id.trim().is_empty() => Ok(id.clone()),
        Some(serde_json::Value::String(_)) => Err(Fault::new("/id", "length", "must not be empty")),
        Some(other) => Err(Fault::new("/id", "type", format!("expected a string, found {}", verdict::kind_of(other)))),
        None => Err(Fault::new("/id", "required", "this field is required: the id of what to change")),
    }
}
