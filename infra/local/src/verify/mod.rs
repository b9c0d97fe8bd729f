//! `flowgate verify-receipt`: holds a run's receipt against the logs of its tenant's tables, without asking anybody.

mod checks;
mod facts;
mod listed;
mod log;
mod table;

use crate::arguments::VerifyReceipt;
use crate::console::say;
use checks::{Check, Verdict};
use serde_json::Value;
use shared::error::BoxError;
use shared::models::receipt::{FORMAT, Receipt};
use std::path::{Path, PathBuf};

/// Prints each check as a line.
///
/// # Errors
/// Where the file is no receipt, where a check fails, and where one cannot be made.
pub fn run(arguments: &VerifyReceipt) -> Result<(), BoxError> {
    let lake = lake(arguments)?;
    let (value, receipt) = read(&arguments.file)?;
    let all = checks::all(&value, &receipt, &lake);
    for Check { verdict, text } in &all {
        let word = match verdict {
            Verdict::Ok => "ok    ",
            Verdict::Failed => "FAILED",
            Verdict::Unable => "unable",
            Verdict::Note => "note  ",
        };
        say(format_args!("{word}  {text}"));
    }
    let count = |wanted: Verdict| all.iter().filter(|check| check.verdict == wanted).count();
    let (held, failed) = (count(Verdict::Ok), count(Verdict::Failed));
    if failed > 0 {
        let of = held + failed;
        return Err(format!("the receipt of {} does not hold: {failed} of {of} checks failed", receipt.run_id).into());
    }
    let unable = count(Verdict::Unable);
    if unable > 0 {
        let of = held + unable;
        return Err(format!(
            "the receipt of {} cannot be checked as a whole: {unable} of {of} checks could not be made with what is there; the \
             others hold",
            receipt.run_id
        )
        .into());
    }
    say(format_args!("The receipt of {} holds: {held} checks.", receipt.run_id));
    Ok(())
}

/// The folder in which the tables lie.
fn lake(arguments: &VerifyReceipt) -> Result<PathBuf, BoxError> {
    let Some(given) = &arguments.lake else { return Ok(arguments.data.data_dir.join("lake")) };
    let path = given.strip_prefix("file://").unwrap_or(given);
    if path.contains("://") {
        let why = "is no folder of this machine; copy the tables' _delta_log folders to one, and name that";
        return Err(format!("--lake {given:?} {why}").into());
    }
    Ok(PathBuf::from(path))
}

/// The receipt as it was saved, and as it is understood.
fn read(path: &Path) -> Result<(Value, Receipt), BoxError> {
    let name = path.display();
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(format!("{name}: there is no such file; save the answer of GET …/receipt in it").into());
        }
        Err(error) => return Err(format!("{name} cannot be read: {error}").into()),
    };
    let value: Value = serde_json::from_slice(&bytes).map_err(|e| format!("{name} is no JSON: {e}"))?;
    match value.get("format").and_then(Value::as_str) {
        Some(FORMAT) => {}
        Some(other) => return Err(format!("{name} has the format {other:?}; this program knows {FORMAT:?}").into()),
        None => return Err(format!("{name} is no receipt: it has no \"format\", which is {FORMAT:?}").into()),
    }
    let receipt = serde_json::from_value(value.clone()).map_err(|e| format!("{name} is no whole receipt: {e}"))?;
    Ok((value, receipt))
}

#[cfg(test)]
mod tests;
