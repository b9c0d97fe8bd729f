//! Years of ticks that are late, lost, doubled and reordered: every due time is in the ledger once, as a model says.
//!
//! When something is due is found by a walk over the clock; what becomes of it by a model that lists every due time.
//! `FLOWGATE_SEED=<number>` starts with another case than 1.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod oracle;

use chrono::{DateTime, Duration, Utc};
use chrono_tz::Tz;
use oracle::{Random, ZONES, around_a_change, expression, first_seed, walk};
use shared::fires::{self, Decision};
use shared::id;
use shared::models::fire::{Fire, FireReason, FireStatus};
use shared::models::pipeline::{CatchUp, ConcurrencyPolicy, ExecutionConfig, Pipeline, PipelineState};
use shared::models::time::{JsonText, Time};
use shared::schedule::Timetable;

/// What a due time came to, and why.
type Outcome = (Time, FireStatus, Option<FireReason>);

/// One pipeline with its state and its ledger, as a table would keep them.
struct World {
    pipeline: Pipeline,
    timetable: Option<Timetable>,
    state: PipelineState,
    ledger: Vec<Fire>,
    live: Vec<String>,
}

impl World {
    fn new(schedule: &str, zone: Tz, start: DateTime<Utc>, random: &mut Random) -> Self {
        let config = ExecutionConfig {
            catch_up: Some(random.of(&[CatchUp::None, CatchUp::Latest, CatchUp::All])),
            concurrency_policy: Some(random.of(&[
                ConcurrencyPolicy::Allow,
                ConcurrencyPolicy::Forbid,
                ConcurrencyPolicy::Replace,
            ])),
            ..ExecutionConfig::default()
        };
        let start = Time::from(start);
        let pipeline = Pipeline {
            id: "pipe_1".to_owned(),
            tenant_id: "acme".to_owned(),
            name: "p".to_owned(),
            description: None,
            version: 1,
            schedule: Some(schedule.to_owned()),
            timezone: zone.name().to_owned(),
            enabled: true,
            connector_id: "conn_1".to_owned(),
            schema_id: "schema_1".to_owned(),
            execution_config: JsonText(config),
            nodes: JsonText::default(),
            edges: JsonText::default(),
            tables: JsonText::default(),
            created_at: start,
            updated_at: start,
        };
        let state = PipelineState { next_run_at: pipeline.next_fire(start), ..PipelineState::default() };
        let timetable = fires::timetable(&pipeline).ok();
        Self { pipeline, timetable, state, ledger: Vec::new(), live: Vec::new() }
    }

    fn decide(&self, now: Time) -> Option<Decision> {
        self.state.next_run_at.filter(|at| *at <= now)?;
        Some(fires::decide(&self.pipeline, self.timetable.as_ref().unwrap(), &self.state, now, &self.live))
    }

    /// The transaction: refused where the next fire is not `was` any more.
    fn write(&mut self, was: &PipelineState, decision: &Decision) -> bool {
        if self.state.next_run_at != was.next_run_at {
            return false;
        }
        for entry in &decision.entries {
            assert!(self.ledger.last().is_none_or(|last| last.last() < entry.at), "{entry:?} overlaps what was before");
            if let Some(run) = &entry.run_id {
                assert_eq!(*run, id::scheduled_run("acme", "pipe_1", entry.at.0));
                self.live.push(run.clone());
            }
            self.ledger.push(entry.clone());
        }
        self.state.next_run_at = decision.next;
        self.state.fires_until = self.ledger.last().map(Fire::last);
        true
    }

    /// A tick, which may be doubled, overlap with an earlier one, or come before it. True where it decided something.
    fn tick(&mut self, now: Time, random: &mut Random) -> bool {
        let was = self.state.clone();
        let Some(decision) = self.decide(now) else { return false };
        let other = self.decide(Time(now.0 - Duration::seconds(random.below(120)))).filter(|_| random.one_in(4));
        assert!(self.write(&was, &decision));
        if let Some(other) = other {
            assert!(!self.write(&was, &other), "an overlapping tick wrote too");
        }
        assert!(!self.write(&was, &decision), "the same tick wrote twice");
        let back = Time(now.0 - Duration::seconds(random.below(90_000)));
        assert_eq!(self.decide(back), None, "a clock that went back fires again");
        if random.one_in(3) {
            self.live.clear();
        }
        true
    }
}

/// What must become of `due`, the oldest first.
fn model(pipeline: &Pipeline, due: &[Time], now: Time, live: bool) -> Vec<Outcome> {
    let config = &pipeline.execution_config.0;
    let is_on_time = |at: &Time| (now.0 - at.0) <= Duration::seconds(90);
    let late: Vec<Time> = due.iter().copied().filter(|at| !is_on_time(at)).collect();
    let made_up = match config.catch_up.unwrap() {
        CatchUp::None => 0,
        CatchUp::Latest => usize::from(due.len() == late.len()),
        CatchUp::All => 100,
    };
    let missed = late.len() - made_up.min(late.len());
    let wanted = due.len() - missed;
    let policy = config.concurrency_policy.unwrap();
    due.iter()
        .enumerate()
        .map(|(i, at)| {
            let place = i as i64 - missed as i64;
            if place < 0 {
                return (*at, FireStatus::Missed, Some(FireReason::CatchUp));
            }
            if policy == ConcurrencyPolicy::Forbid && live {
                return (*at, FireStatus::Skipped, Some(FireReason::RunActive));
            }
            if policy != ConcurrencyPolicy::Allow && place + 1 < wanted as i64 {
                return (*at, FireStatus::Skipped, Some(FireReason::LaterFire));
            }
            (*at, if is_on_time(at) { FireStatus::Fired } else { FireStatus::CaughtUp }, None)
        })
        .collect()
}

/// What the entries say of each of `due`; every entry begins and ends with one of them, and counts those between.
fn spread(entries: &[Fire], due: &[Time]) -> Vec<Outcome> {
    let (mut found, mut rest) = (Vec::new(), due);
    for entry in entries {
        let count = usize::try_from(entry.count).unwrap();
        assert!(count <= rest.len(), "{entry:?} counts more than the {} due times that are left", rest.len());
        let (own, later) = rest.split_at(count);
        assert_eq!((Some(&entry.at), Some(&entry.last())), (own.first(), own.last()), "{entry:?}");
        assert_eq!(entry.run_id.is_some(), matches!(entry.status, FireStatus::Fired | FireStatus::CaughtUp));
        assert!(entry.run_id.is_none() || count == 1, "{entry:?}");
        found.extend(own.iter().map(|at| (*at, entry.status, entry.reason)));
        rest = later;
    }
    assert_eq!(rest, [], "not in the ledger");
    found
}

/// Ticks until `end`, and compares what became of what the oracle says is due; answers how many due times there were.
fn live_through(world: &mut World, due: &[Time], end: Time, random: &mut Random) -> usize {
    let mut passed = 0;
    while let Some(next) = world.state.next_run_at.filter(|next| *next <= end) {
        assert_eq!(Some(&next), due.get(passed), "the next fire of {:?}", world.pipeline.schedule);
        let late = match random.below(10) {
            0 => Duration::minutes(random.below(60 * 24 * 60)),
            1 | 2 => Duration::minutes(random.below(600)),
            _ => Duration::milliseconds(random.below(100_000)),
        };
        let now = Time((next.0 + late).min(end.0));
        let (before, live) = (world.ledger.len(), !world.live.is_empty());
        assert!(world.tick(now, random));
        let until = passed + due[passed..].partition_point(|at| *at <= now);
        let wanted = model(&world.pipeline, &due[passed..until], now, live);
        assert_eq!(spread(&world.ledger[before..], &due[passed..until]), wanted, "at {}", now.text());
        passed = until;
    }
    assert_eq!(passed, due.len());
    passed
}

#[test]
fn over_fifty_years_every_due_time_is_in_the_ledger_once() {
    let (start, end) = ("1976-01-01T00:00:00Z".parse().unwrap(), "2026-01-01T00:00:00Z".parse().unwrap());
    // Where clocks change, at quarters of an hour, as all of these zones do since 1976.
    let schedules = ["15,45 0-3,23 * * *", "30 2 * * *", "0 0 13 * FRI", "*/15 1,2 * 3,4,9-11 SUN", "0 */6 * * *"];
    for (i, zone) in ZONES.into_iter().enumerate() {
        for (j, schedule) in schedules.into_iter().enumerate().filter(|(j, _)| (i + j).is_multiple_of(3) || *j == 0) {
            let seed = first_seed() + (i * 10 + j) as u64;
            println!("FLOWGATE_SEED={seed}: {schedule} in {zone}");
            let mut random = Random(seed);
            let due = walk(schedule, zone, start, end, 15);
            let mut world = World::new(schedule, zone, start, &mut random);
            live_through(&mut world, &due, Time(end), &mut random);
            let count = world.timetable.as_ref().unwrap().count(Time(start), Time(end));
            assert_eq!(count, due.len() as u64, "counted at once");
        }
    }
}

#[test]
fn around_clock_changes_every_due_minute_is_in_the_ledger_once() {
    let mut seen = 0;
    for seed in first_seed()..first_seed() + 150 {
        let mut random = Random(seed);
        let (schedule, zone) = (expression(&mut random), random.of(&ZONES));
        let start = around_a_change(zone, &mut random) - Duration::minutes(random.below(3000));
        let end = start + Duration::minutes(4000 + random.below(9000));
        println!("FLOWGATE_SEED={seed}: {schedule} in {zone} from {start}");
        let due = walk(&schedule, zone, start, end, 1);
        let mut world = World::new(&schedule, zone, start, &mut random);
        seen += live_through(&mut world, &due, Time(end), &mut random);
    }
    assert!(seen > 10_000, "{seen} due times");
}

#[test]
fn due_times_are_counted_and_the_newest_found_as_a_walk_does() {
    for seed in first_seed()..first_seed() + 150 {
        let mut random = Random(seed);
        let (schedule, zone) = (expression(&mut random), random.of(&ZONES));
        let start = around_a_change(zone, &mut random) - Duration::milliseconds(random.below(200_000_000));
        let end = start + Duration::milliseconds(random.below(700_000_000));
        println!("FLOWGATE_SEED={seed}: {schedule} in {zone} from {start} to {end}");
        let due = walk(&schedule, zone, start, end, 1);
        let timetable = Timetable::parse(&schedule, zone.name()).unwrap();
        let (start, end) = (Time::from(start), Time::from(end));
        assert_eq!(timetable.count(start, end), due.len() as u64);
        for most in [0, 1, 2, 103] {
            let wanted = &due[due.len().saturating_sub(most)..];
            assert_eq!(timetable.newest(start, end, most), wanted, "the newest {most}");
        }
    }
}

/// A change of the pipeline at `now` by a clock that may be behind, and from when its new definition counts.
fn changed(world: &mut World, now: DateTime<Utc>, random: &mut Random) -> Option<Time> {
    let mut new = world.pipeline.clone();
    new.updated_at = Time::from(now - Duration::seconds(random.below(600)));
    match random.below(4) {
        0 => new.schedule = Some(expression(random)),
        1 => new.timezone = random.of(&ZONES).name().to_owned(),
        2 => new.name = "renamed".to_owned(),
        _ => new.enabled = !new.enabled,
    }
    let was = world.state.clone();
    let decision = fires::change(&world.pipeline, &new, &was);
    let moved = decision.map(|decision| {
        let from = decision.entries.last().map(Fire::last).max(was.fires_until).max(Some(new.updated_at)).unwrap();
        assert!(decision.next.is_none_or(|next| next > from));
        assert!(world.write(&was, &decision));
        from
    });
    world.timetable = fires::timetable(&new).ok();
    world.pipeline = new;
    moved
}

#[test]
fn changes_and_pauses_lose_no_due_time_and_repeat_none() {
    let mut decided = 0;
    for seed in first_seed()..first_seed() + 100 {
        let mut random = Random(seed);
        let (schedule, zone) = (expression(&mut random), random.of(&ZONES));
        let start = around_a_change(zone, &mut random) - Duration::minutes(2000);
        println!("FLOWGATE_SEED={seed}: {schedule} in {zone} from {start}");
        let mut world = World::new(&schedule, zone, start, &mut random);
        let (mut now, mut since) = (start, Time::from(start));
        for _ in 0..6 {
            // The definition counts from `since` on; ticks come while it does.
            let definition = world.pipeline.clone();
            for _ in 0..random.below(6) {
                now += Duration::seconds(random.below(30_000));
                world.tick(Time::from(now), &mut random);
            }
            // A change soon after a tick, by a clock that is behind, meets what that tick has decided on.
            let most = if random.one_in(2) { 60 } else { 30_000 };
            now += Duration::seconds(random.below(most));
            let before = world.state.fires_until;
            let Some(from) = changed(&mut world, now, &mut random) else { continue };
            let zone: Tz = definition.timezone.parse().unwrap();
            // By a clock that is behind, what was fired ahead of it counts too.
            let end = world.pipeline.updated_at.max(before.unwrap_or(since));
            let due = match definition.enabled {
                true => walk(definition.schedule.as_deref().unwrap(), zone, since.0, end.0, 1),
                false => Vec::new(),
            };
            let own: Vec<Fire> = world.ledger.iter().filter(|e| e.at > since).cloned().collect();
            decided += spread(&own, &due).len();
            since = from;
        }
    }
    assert!(decided > 5000, "{decided} due times");
}
