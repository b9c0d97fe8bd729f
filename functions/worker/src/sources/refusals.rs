//! What a store says where it refuses, in our words.

use super::chunk::excerpt;
use super::place::fault;
use crate::error::{Kind, RunError};

/// A store's text, at `place`, as a run's error.
pub fn explain(place: &str, text: &str) -> RunError {
    if text.contains("redirect") {
        let hint = "the bucket lies in another region; set the connector's region";
        return fault(format!("{place} cannot be read: {hint}"));
    }
    // What a listing is refused with comes without a kind of its own.
    if ["401", "403"].map(Some).contains(&status(text)) {
        return fault(denied(place));
    }
    if text.contains("NoSuchBucket") {
        return fault(format!("{place} cannot be read: there is no such bucket"));
    }
    if text.contains("ContainerNotFound") {
        return fault(format!("{place} cannot be read: there is no such container"));
    }
    let is_final = is_refusal(text) || text.contains("connectors may not reach");
    let kind = if is_final { Kind::Source } else { Kind::SourceUnavailable };
    RunError::new(kind, format!("{place} cannot be read: {}", excerpt(text.as_bytes(), 500)))
}

/// Nobody may read it with this proof.
pub fn denied(place: &str) -> String {
    format!("{place} may not be read: check the connector's access key and the bucket's policy")
}

/// Whether a store said no, and would say so again: a status of 4xx, but for too slow and too many requests.
fn is_refusal(text: &str) -> bool {
    status(text).is_some_and(|s| s.starts_with('4') && s != "408" && s != "429")
}

/// The status that a store's error tells.
fn status(text: &str) -> Option<&str> {
    text.split_once("status code: ").and_then(|(_, rest)| rest.get(..3))
}
