//! `POST /api/v1/schedules/preview`: when a schedule will fire next.

use serde_json::json;
use shared::check::{self, schedule::PreviewInput};
use shared::context::Context;
use shared::http::{Function, Request, Response};
use shared::models::time::Time;
use shared::roles::Action;
use shared::schedule::{Schedule, parse_timezone};
use shared::{Error, Result};

/// The function of this route.
pub fn function() -> Function {
    Function::new(Action::PreviewSchedule, read, handle)
}

fn read(request: &Request) -> Result<PreviewInput> {
    let body = request.json()?;
    let (parsed, faults) = check::schedule::preview(&body);
    check::finish(parsed, faults)
}

async fn handle(context: Context, input: PreviewInput) -> Result<Response> {
    let zone = parse_timezone(input.timezone.as_deref().unwrap_or("UTC"))
        .map_err(|detail| Error::fault("/timezone", "timezone", detail))?;
    let schedule =
        Schedule::parse(&input.schedule).map_err(|error| Error::fault("/schedule", "cron", error.to_string()))?;
    let count = input.count.unwrap_or(5) as usize;
    let fires: Vec<Time> = schedule.fires(context.now(), zone).take(count).map(Time).collect();
    Response::ok(&json!({ "fires": fires }))
}
