//! `GET /api/v1/pipelines/{id}/fires`: what became of a pipeline's due times, and which are to come, in time order.

use chrono::{DateTime, Duration};
use serde::{Deserialize, Serialize};
use shared::context::Context;
use shared::http::{Function, ListInput, Request, Response};
use shared::models::fire::Fire;
use shared::models::pipeline::{Pipeline, PipelineState};
use shared::models::time::Time;
use shared::roles::Action;
use shared::schedule::Timetable;
use shared::store::counted;
use shared::{Error, Fault, Result, fires};

/// The function of this route.
pub fn function() -> Function {
    Function::new(Action::ListFires, read, handle)
}

struct Input {
    pipeline: String,
    from: Option<Time>,
    to: Option<Time>,
    list: ListInput,
}

/// What is still to be shown: due times after `after` and not after `to`. The range of the first page holds for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Span {
    after: Time,
    to: Time,
}

fn read(request: &Request) -> Result<Input> {
    let (from, to) = (time(request, "from"), time(request, "to"));
    let mut faults: Vec<Fault> = [from.as_ref().err(), to.as_ref().err()].into_iter().flatten().cloned().collect();
    let (from, to) = (from.ok().flatten(), to.ok().flatten());
    if let (Some(from), Some(to)) = (from, to)
        && from > to
    {
        let detail = format!("{} is before from, which is {}", to.text(), from.text());
        faults.push(Fault::new("?to", "range", detail));
    }
    let fits = if faults.is_empty() { Ok(()) } else { Err(Error::Invalid(faults)) };
    let ((), mut list) = ListInput::read(request)?.beside(fits)?;
    list.filters = format!("{}..{}", from.map(Time::text).unwrap_or_default(), to.map(Time::text).unwrap_or_default());
    Ok(Input { pipeline: request.param("id").to_owned(), from, to, list })
}

/// A time of the query.
fn time(request: &Request, name: &str) -> Result<Option<Time>, Fault> {
    let Some(text) = request.query(name) else { return Ok(None) };
    DateTime::parse_from_rfc3339(text).map(|at| Some(Time::from(at.to_utc()))).map_err(|_| {
        let plus = if text.contains(' ') { "; a + is written as %2B in a query" } else { "" };
        let detail = format!("{text:?} is not an RFC 3339 time such as 2026-01-15T09:00:00Z{plus}");
        Fault::new(format!("?{name}"), "format", detail)
    })
}

impl Span {
    /// What is asked for; a day before and after now, or before `to` and after `from` where these lie beyond it.
    fn of(from: Option<Time>, to: Option<Time>, now: Time) -> Self {
        let day = Duration::days(1);
        let from = from.unwrap_or_else(|| Time(now.min(to.unwrap_or(now)).0 - day));
        let to = to.unwrap_or_else(|| Time(now.max(from).0 + day));
        // No schedule says anything about what lies beyond, and keys have four digits for a year.
        let (first, last) = (DateTime::UNIX_EPOCH, DateTime::UNIX_EPOCH + Duration::days(131 * 366));
        let [from, to] = [from, to].map(|at| at.0.clamp(first, last));
        Self { after: Time(from - Duration::milliseconds(1)), to: Time(to) }
    }
}

async fn handle(context: Context, input: Input) -> Result<Response> {
    let now = Time(context.now());
    let limit = input.list.limit;
    let begun: Option<Span> = input.list.position(&context)?;
    let span = begun.unwrap_or_else(|| Span::of(input.from, input.to, now));
    let pipeline = context.store.pipeline(context.tenant(), &input.pipeline).await?;
    // Before the ledger: what a tick decides on in between is then in both, and not in none of them.
    let state = context.store.pipeline_state(context.tenant(), &pipeline.id).await?;
    let place = (context.tenant(), pipeline.id.as_str());
    let mut past = context.store.fires(place, (span.after, span.to), limit).await?;
    if let Some(first) = past.entries.first_mut().filter(|_| begun.is_some()) {
        go_on(&pipeline, span.after, first);
    }
    let (shown, more) = page(&pipeline, &state, past.entries, past.more, span, limit, now);
    let next = shown.last().filter(|_| more).map(|last| Span { after: last.last(), to: span.to });
    let total = match input.list.total {
        false => None,
        true => {
            let all = Span::of(input.from, input.to, now);
            let (past, at_least) = context.store.count_fires(place, (all.after, all.to)).await?;
            let (total, more) = counted(past + coming_in(&pipeline, &state, all));
            Some((total, at_least || more))
        }
    };
    input.list.page(&context, &shown, next.as_ref(), total)
}

/// Leaves out of an entry what earlier pages showed: a tick may have made one entry of due times on both sides of a page's
/// end. One that an earlier schedule left behind stays whole, since nothing says what it stands for.
fn go_on(pipeline: &Pipeline, after: Time, entry: &mut Fire) {
    let timetable = pipeline.schedule.as_deref().and_then(|s| Timetable::parse(s, &pipeline.timezone).ok());
    let Some(timetable) = timetable.filter(|_| entry.at <= after) else { return };
    let last = entry.last();
    let rest = timetable.next_after(after).filter(|_| 1 + timetable.count(entry.at, last) == entry.count);
    if let Some(at) = rest.filter(|at| *at <= last) {
        entry.at = at;
        entry.count = 1 + timetable.count(at, last);
        entry.until = (entry.count > 1).then_some(last);
    }
}

/// The page that begins with these entries of the ledger, and whether there are more.
fn page(
    pipeline: &Pipeline,
    state: &PipelineState,
    past: Vec<Fire>,
    more: bool,
    span: Span,
    limit: usize,
    now: Time,
) -> (Vec<Fire>, bool) {
    let mut shown = past;
    if more {
        return (shown, true);
    }
    if let Ok(timetable) = fires::timetable(pipeline) {
        let after = shown.last().map_or(span.after, |last| last.last().max(span.after));
        let left = limit - shown.len().min(limit);
        shown.extend(fires::coming(&timetable, state, (after, span.to), now).take(left + 1));
    }
    let more = shown.len() > limit;
    shown.truncate(limit);
    (shown, more)
}

fn coming_in(pipeline: &Pipeline, state: &PipelineState, span: Span) -> u64 {
    fires::timetable(pipeline).map_or(0, |timetable| fires::count_coming(&timetable, state, (span.after, span.to)))
}

#[cfg(test)]
mod tests;
