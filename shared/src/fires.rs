//! What becomes of the due times of a pipeline: decisions from its definition and its state, without a store or a clock.
//!
//! Every due time gets into the ledger exactly once, since the entries are written in the transaction that moves the
//! next fire past them.

use crate::id;
use crate::launch::StoppedAll;
use crate::models::fire::{Fire, FireReason, FireStatus};
use crate::models::pipeline::{CatchUp, ConcurrencyPolicy, Pipeline, PipelineState};
use crate::models::time::Time;
use crate::schedule::Timetable;
use chrono::Duration;

/// A due time that is not older than this many seconds when the tick comes was not missed.
pub const ON_TIME_SECONDS: i64 = 90;
/// The most missed due times that are made up for.
pub const MOST_CAUGHT_UP: usize = 100;

/// The furthest that new rules of a time zone move an hour.
const MOST_MOVED: Duration = Duration::hours(3);

/// What becomes of all due times up to now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The oldest first, without gaps and overlaps.
    pub entries: Vec<Fire>,
    /// The next due time.
    pub next: Option<Time>,
}

impl Decision {
    /// Whether it starts a run.
    pub fn starts(&self) -> bool {
        self.entries.iter().any(|fire| fire.run_id.is_some())
    }

    /// Says at the run that `replace` starts what became of the ones that were live.
    pub fn tell_stopped(&mut self, all: &StoppedAll) {
        let Some(newest) = self.entries.iter_mut().rfind(|fire| fire.run_id.is_some()) else { return };
        let cancelled = (!all.cancelled.is_empty()).then(|| format!("{} was cancelled for it", named(&all.cancelled)));
        let committing = (!all.committing.is_empty())
            .then(|| format!("{} was committing, which nobody cancels, and ends beside it", named(&all.committing)));
        let told: Vec<String> = [cancelled, committing].into_iter().flatten().collect();
        newest.detail = (!told.is_empty()).then(|| told.join("; "));
    }
}

/// Decides on the due times up to `now` that nobody has decided on. `live` are the ids of the pipeline's runs that are not
/// final.
///
/// What is on time always counts; of what is older, `catchUp` says how much does. Then `concurrencyPolicy` says how many of
/// them become runs: where it allows one, that is the newest.
pub fn decide(
    pipeline: &Pipeline,
    timetable: &Timetable,
    state: &PipelineState,
    now: Time,
    live: &[String],
) -> Decision {
    let next = state.next_run_at.and_then(|next| first_due(pipeline, timetable, state, next));
    let Some(first) = next.filter(|at| *at <= now) else { return Decision { entries: Vec::new(), next } };
    let config = &pipeline.execution_config.0;
    let catch_up = config.catch_up.unwrap_or_default();
    let chosen = choose(timetable, catch_up, first, now);
    let run = |status, at: Time| Fire {
        run_id: Some(id::scheduled_run(&pipeline.tenant_id, &pipeline.id, at.0)),
        decided_at: Some(now),
        ..Fire::open(at, status)
    };
    let mut entries: Vec<Fire> = chosen.missed.map(|missed| left_out(missed, catch_up, now)).into_iter().collect();
    let late = chosen.late.into_iter().map(|at| (FireStatus::CaughtUp, at));
    let mut starts: Vec<_> = late.chain(chosen.on_time.into_iter().map(|at| (FireStatus::Fired, at))).collect();
    match config.concurrency_policy.unwrap_or_default() {
        ConcurrencyPolicy::Allow => entries.extend(starts.into_iter().map(|(status, at)| run(status, at))),
        ConcurrencyPolicy::Forbid if !live.is_empty() => {
            let why = format!("{} was not finished, and concurrencyPolicy forbids two runs at once", named(live));
            entries.extend(skipped(&starts, FireReason::RunActive, why, now));
        }
        ConcurrencyPolicy::Forbid | ConcurrencyPolicy::Replace => {
            if let Some((status, at)) = starts.pop() {
                let newest = run(status, at);
                let why = format!(
                    "{} of a later due time was started instead: concurrencyPolicy allows one run at a time",
                    newest.run_id.as_deref().unwrap_or_default()
                );
                entries.extend(skipped(&starts, FireReason::LaterFire, why, now));
                entries.push(newest);
            }
        }
    }
    Decision { entries, next: timetable.next_after(now) }
}

/// The same where the schedule cannot be evaluated: `first` starts no run, and nothing comes after it.
pub fn give_up(first: Time, reason: FireReason, why: String, now: Time) -> Decision {
    let entry = Fire::without_run((first, first, 1), FireStatus::Missed, reason, why, now);
    Decision { entries: vec![entry], next: None }
}

/// What a change of a pipeline does to its fires; none where it leaves them as they are. Due times that nobody decided on
/// before the change are missed, and nothing before it comes again. A schedule that was given up fires again with whatever
/// change, if it can be evaluated now.
pub fn change(old: &Pipeline, new: &Pipeline, state: &PipelineState) -> Option<Decision> {
    let now = new.updated_at;
    // Where this clock is behind the one that decided last, what was decided on does not come again.
    let next = new.next_fire(state.fires_until.map_or(now, |until| until.max(now)));
    let same = old.schedule == new.schedule && old.timezone == new.timezone && old.enabled == new.enabled;
    let given_up = state.next_run_at.is_none() && next.is_some();
    if same && !given_up {
        return None;
    }
    let entries = state.next_run_at.filter(|first| *first <= now).map(|first| {
        let span = match timetable(old) {
            Ok(old) => (first, *old.newest(first, now, 1).first().unwrap_or(&first), 1 + old.count(first, now)),
            Err(_) => (first, first, 1),
        };
        let (reason, what) = match new.enabled {
            true => (FireReason::Changed, "the schedule was changed"),
            false => (FireReason::Paused, "the pipeline was paused"),
        };
        Fire::without_run(
            span,
            FireStatus::Missed,
            reason,
            format!("{what} at {} before it was fired", now.text()),
            now,
        )
    });
    Some(Decision { entries: entries.into_iter().collect(), next })
}

/// When a pipeline's schedule fires.
///
/// # Errors
/// Why it does not: the reason and a sentence.
pub fn timetable(pipeline: &Pipeline) -> Result<Timetable, (FireReason, String)> {
    let Some(schedule) = pipeline.schedule.as_deref() else {
        return Err((FireReason::Changed, "the pipeline has no schedule".to_owned()));
    };
    if !pipeline.enabled {
        return Err((FireReason::Paused, "the pipeline is paused".to_owned()));
    }
    Timetable::parse(schedule, &pipeline.timezone)
        .map_err(|why| (FireReason::Invalid, format!("{why}; save the pipeline with one that can be evaluated")))
}

/// What is to come after `after` and not after `until`: due times that nobody decided on, then those of the future.
pub fn coming(
    timetable: &Timetable,
    state: &PipelineState,
    (after, until): (Time, Time),
    now: Time,
) -> impl Iterator<Item = Fire> {
    let first = state.next_run_at;
    let rest = first.map(|first| timetable.fires(first.max(after)));
    let all = first.filter(|at| *at > after).into_iter().chain(rest.into_iter().flatten());
    let status = move |at: &Time| if *at <= now { FireStatus::Due } else { FireStatus::Coming };
    all.take_while(move |at| *at <= until).map(move |at| Fire::open(at, status(&at)))
}

/// How many [`coming`] has.
pub fn count_coming(timetable: &Timetable, state: &PipelineState, (after, until): (Time, Time)) -> u64 {
    let Some(first) = state.next_run_at else { return 0 };
    u64::from(first > after && first <= until) + timetable.count(first.max(after), until)
}

/// The first due time that has no entry. That is the pipeline's next fire, unless the rules of its time zone were others
/// when that was computed: its hour then comes at another instant, and must neither be lost nor come twice.
fn first_due(pipeline: &Pipeline, timetable: &Timetable, state: &PipelineState, next: Time) -> Option<Time> {
    let from = Time(next.0 - Duration::milliseconds(1));
    if timetable.next_after(from) == Some(next) {
        return Some(next);
    }
    // What comes earlier now has no entry. Much earlier it may have one, at the instant that was right by the old rules.
    let decided = state.fires_until.unwrap_or(pipeline.created_at);
    timetable.next_after(decided.max(Time(next.0 - MOST_MOVED)))
}

/// Due times, by what is to become of them.
struct Chosen {
    /// The first, the last, and how many.
    missed: Option<(Time, Time, u64)>,
    late: Vec<Time>,
    on_time: Vec<Time>,
}

fn choose(timetable: &Timetable, catch_up: CatchUp, first: Time, now: Time) -> Chosen {
    // All that may be chosen (two due times are on time at most) and the one before it.
    let most = MOST_CAUGHT_UP + 3;
    let mut due = timetable.newest(first, now, most);
    let mut older = 0;
    if due.len() < most {
        due.insert(0, first);
    } else {
        older = (1 + timetable.count(first, now)).saturating_sub(due.len() as u64);
    }
    let on_time = due.split_off(due.partition_point(|at| now.since(*at) > ON_TIME_SECONDS * 1000));
    let take = match catch_up {
        CatchUp::None => 0,
        // What is on time is the latest.
        CatchUp::Latest => usize::from(on_time.is_empty()),
        CatchUp::All => MOST_CAUGHT_UP,
    };
    let late = due.split_off(due.len().saturating_sub(take));
    let missed = due.last().map(|last| (first, *last, older + due.len() as u64));
    Chosen { missed, late, on_time }
}

fn left_out(span: (Time, Time, u64), catch_up: CatchUp, now: Time) -> Fire {
    let what = match catch_up {
        CatchUp::None => "none makes up for nothing",
        CatchUp::Latest => "latest makes up for the newest one only",
        CatchUp::All => "all makes up for the newest 100 only",
    };
    let why = format!("no tick decided on it before {}, and catchUp {what}", now.text());
    Fire::without_run(span, FireStatus::Missed, FireReason::CatchUp, why, now)
}

fn skipped(starts: &[(FireStatus, Time)], reason: FireReason, why: String, now: Time) -> Option<Fire> {
    let ((_, first), (_, last)) = (starts.first()?, starts.last()?);
    Some(Fire::without_run((*first, *last, starts.len() as u64), FireStatus::Skipped, reason, why, now))
}

/// Up to three ids, and how many there are besides.
fn named(runs: &[String]) -> String {
    let shown = runs.iter().take(3).map(String::as_str).collect::<Vec<_>>().join(", ");
    if runs.len() > 3 { format!("{shown} and {} more", runs.len() - 3) } else { shown }
}

#[cfg(test)]
mod tests;
