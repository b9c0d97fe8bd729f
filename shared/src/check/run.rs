//! The body that triggers a run.

use super::shape::{self, Mode};
use super::{Body, expression, pointer, verdict};
use crate::Fault;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

/// The most bytes of a run's parameters as JSON: they lie in the run's item, which grows while it runs.
const MAX_PARAMETERS: usize = 64 * 1024;

/// What a run is triggered with; the body may be left out.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunInput {
    /// What `${name}` in node configs reads: texts, numbers, booleans and null, by name. At most 64 KB of JSON.
    #[schemars(extend("maxProperties" = 200))]
    pub parameters: Option<Map<String, Value>>,
}

/// Checks the body of a trigger (read it with [`super::optional_json`]).
pub fn create(body: &Body) -> (Option<RunInput>, Vec<Fault>) {
    let mut faults = body.faults();
    let value = body.value();
    shape::check::<RunInput>(value, "", Mode::default(), &mut faults);
    parameters(value, &mut faults);
    let input = if faults.is_empty() { shape::of_checked(value, "", Mode::default(), &mut faults) } else { None };
    (input, faults)
}

/// How a run is rolled back; the body may be left out.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RollbackInput {
    /// Whether it is only to be said what would happen; false.
    pub dry_run: Option<bool>,
}

/// Checks the body of a rollback (read it with [`super::optional_json`]).
pub fn rollback(body: &Body) -> (Option<RollbackInput>, Vec<Fault>) {
    let mut faults = body.faults();
    let value = body.value();
    shape::check::<RollbackInput>(value, "", Mode::default(), &mut faults);
    let input = if faults.is_empty() { shape::of_checked(value, "", Mode::default(), &mut faults) } else { None };
    (input, faults)
}

/// No input: an object without fields; the body may be left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoInput {}

/// Checks the body of what takes no input (read it with [`super::optional_json`]).
pub fn nothing(body: &Body) -> (Option<NoInput>, Vec<Fault>) {
    let mut faults = body.faults();
    shape::check::<NoInput>(body.value(), "", Mode::default(), &mut faults);
    (faults.is_empty().then_some(NoInput {}), faults)
}

/// Adds the faults of a body's `parameters`.
pub(super) fn parameters(value: &Value, faults: &mut Vec<Fault>) {
    let size = value.get("parameters").map_or(0, |parameters| parameters.to_string().len());
    if size > MAX_PARAMETERS {
        let detail = format!("the parameters have {size} bytes as JSON; {MAX_PARAMETERS} at most are kept with a run");
        faults.push(Fault::new("/parameters", "length", detail));
    }
    for (name, parameter) in value.get("parameters").and_then(Value::as_object).into_iter().flatten() {
        let at = pointer::push("/parameters", name);
        if !expression::is_parameter(name) {
            let detail = format!("{} is no parameter's name; it has letters, digits and _", verdict::quote(name));
            faults.push(Fault::new(&at, "pattern", detail));
        }
        if parameter.is_object() || parameter.is_array() {
            let found = verdict::kind_of(parameter);
            faults.push(Fault::new(
                &at,
                "type",
                format!("expected a string, a number, a boolean or null, found {found}"),
            ));
        }
    }
}
