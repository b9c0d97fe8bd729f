//! The body that asks for a preview of a schedule.

use super::Body;
use super::shape::{self, Mode};
use crate::Fault;
use schemars::JsonSchema;
use serde::Deserialize;

/// What a preview of a schedule is asked for.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PreviewInput {
    /// A POSIX cron expression of five fields, or `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`.
    #[schemars(extend("format" = "cron"))]
    pub schedule: String,
    /// An IANA name; `UTC`.
    #[schemars(extend("format" = "timezone"))]
    pub timezone: Option<String>,
    /// How many fires, 1 to 100; 5.
    #[schemars(range(min = 1, max = 100))]
    pub count: Option<u32>,
}

/// Checks the body of a preview.
pub fn preview(body: &Body) -> (Option<PreviewInput>, Vec<Fault>) {
    let mut faults = body.faults();
    let input = shape::read::<PreviewInput>(body.value(), "", Mode::default(), &mut faults);
    (input, faults)
}
