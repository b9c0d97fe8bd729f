//! What becomes of due times, case by case; `tests/ledger_properties.rs` goes through years of them.

use super::*;
use crate::models::pipeline::ExecutionConfig;
use crate::models::time::JsonText;

fn at(text: &str) -> Time {
    Time(text.parse().unwrap())
}

fn pipeline(schedule: &str, catch_up: CatchUp, policy: ConcurrencyPolicy) -> Pipeline {
    let config =
        ExecutionConfig { catch_up: Some(catch_up), concurrency_policy: Some(policy), ..ExecutionConfig::default() };
    Pipeline {
        id: "pipe_1".to_owned(),
        tenant_id: "acme".to_owned(),
        name: "p".to_owned(),
        description: None,
        version: 1,
        schedule: Some(schedule.to_owned()),
        timezone: "UTC".to_owned(),
        enabled: true,
        connector_id: "conn_1".to_owned(),
        schema_id: "schema_1".to_owned(),
        execution_config: JsonText(config),
        nodes: JsonText::default(),
        edges: JsonText::default(),
        tables: JsonText::default(),
        created_at: at("2026-01-01T00:00:00Z"),
        updated_at: at("2026-01-01T00:00:00Z"),
    }
}

fn decided(pipeline: &Pipeline, first: &str, now: &str, live: &[&str]) -> Decision {
    let live: Vec<String> = live.iter().map(|id| (*id).to_owned()).collect();
    let state = PipelineState { next_run_at: Some(at(first)), ..PipelineState::default() };
    decide(pipeline, &timetable(pipeline).unwrap(), &state, at(now), &live)
}

/// `09:00 fired`, or `09:00-09:20 3 missed`.
fn told(decision: &Decision) -> Vec<String> {
    let name = |status| serde_json::to_value(status).unwrap().as_str().unwrap().to_owned();
    let clock = |time: Time| time.text()[11..16].to_owned();
    decision
        .entries
        .iter()
        .map(|e| match e.until {
            None => format!("{} {}", clock(e.at), name(e.status)),
            Some(until) => format!("{}-{} {} {}", clock(e.at), clock(until), e.count, name(e.status)),
        })
        .collect()
}

#[test]
fn two_due_times_of_one_tick_are_two_runs() {
    for catch_up in [CatchUp::None, CatchUp::Latest, CatchUp::All] {
        let p = pipeline("* * * * *", catch_up, ConcurrencyPolicy::Allow);
        let decision = decided(&p, "2026-01-15T09:00:00Z", "2026-01-15T09:01:10Z", &["run_other"]);
        assert_eq!(told(&decision), ["09:00 fired", "09:01 fired"], "{catch_up:?}");
        assert_eq!(decision.next, Some(at("2026-01-15T09:02:00Z")));
        let ids: Vec<_> = decision.entries.iter().map(|e| e.run_id.clone().unwrap()).collect();
        assert!(ids[0] < ids[1]);
    }
}

#[test]
fn what_was_missed_is_made_up_for_as_catch_up_says() {
    for (catch_up, wanted) in [
        (CatchUp::None, vec!["09:10-10:00 6 missed"]),
        (CatchUp::Latest, vec!["09:10-09:50 5 missed", "10:00 caughtUp"]),
        (CatchUp::All, vec!["09:10", "09:20", "09:30", "09:40", "09:50", "10:00"]),
    ] {
        let p = pipeline("*/10 * * * *", catch_up, ConcurrencyPolicy::Allow);
        let decision = decided(&p, "2026-01-15T09:10:00Z", "2026-01-15T10:08:00Z", &[]);
        let wanted: Vec<String> =
            wanted.into_iter().map(|w| if w.len() == 5 { format!("{w} caughtUp") } else { w.to_owned() }).collect();
        assert_eq!(told(&decision), wanted);
    }
    let p = pipeline("*/10 * * * *", CatchUp::Latest, ConcurrencyPolicy::Allow);
    let on_time = decided(&p, "2026-01-15T09:10:00Z", "2026-01-15T10:00:05Z", &[]);
    assert_eq!(told(&on_time), ["09:10-09:50 5 missed", "10:00 fired"]);
}

#[test]
fn a_month_of_missed_minutes_is_counted_and_not_walked_through() {
    let p = pipeline("* * * * *", CatchUp::All, ConcurrencyPolicy::Allow);
    let decision = decided(&p, "2026-01-01T00:00:00Z", "2026-01-31T23:59:59Z", &[]);
    assert_eq!(decision.entries.len(), 1 + 100 + 1);
    let missed = &decision.entries[0];
    assert_eq!((missed.at, missed.until), (at("2026-01-01T00:00:00Z"), Some(at("2026-01-31T22:18:00Z"))));
    assert_eq!(missed.count, 31 * 1440 - 101);
    assert_eq!(missed.reason, Some(FireReason::CatchUp));
    let fifty_years = decided(&p, "2026-01-01T00:00:00Z", "2075-12-31T23:59:00Z", &[]);
    let total: u64 = fifty_years.entries.iter().map(|e| e.count).sum();
    assert_eq!(total, (at("2076-01-01T00:00:00Z").0 - at("2026-01-01T00:00:00Z").0).num_minutes() as u64);
}

#[test]
fn forbid_skips_while_a_run_is_live_and_starts_one_at_most() {
    let p = pipeline("*/10 * * * *", CatchUp::All, ConcurrencyPolicy::Forbid);
    let busy = decided(&p, "2026-01-15T09:00:00Z", "2026-01-15T09:20:01Z", &["run_a"]);
    assert_eq!(told(&busy), ["09:00-09:20 3 skipped"]);
    assert_eq!(busy.entries[0].reason, Some(FireReason::RunActive));
    assert!(busy.entries[0].detail.as_deref().unwrap().contains("run_a"));
    assert!(!busy.starts());
    let free = decided(&p, "2026-01-15T09:00:00Z", "2026-01-15T09:20:01Z", &[]);
    assert_eq!(told(&free), ["09:00-09:10 2 skipped", "09:20 fired"]);
    assert_eq!(free.entries[0].reason, Some(FireReason::LaterFire));
    assert!(free.entries[0].detail.as_deref().unwrap().contains(free.entries[1].run_id.as_deref().unwrap()));
}

#[test]
fn replace_starts_the_newest_and_says_what_it_stopped() {
    let p = pipeline("* * * * *", CatchUp::Latest, ConcurrencyPolicy::Replace);
    let live = ["run_a", "run_b", "run_c", "run_d", "run_e"];
    let mut decision = decided(&p, "2026-01-15T09:00:00Z", "2026-01-15T09:01:10Z", &live);
    assert_eq!(told(&decision), ["09:00 skipped", "09:01 fired"]);
    let mut detail = |cancelled: &[&str], committing: &[&str]| {
        let owned = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
        decision.tell_stopped(&StoppedAll { cancelled: owned(cancelled), committing: owned(committing) });
        decision.entries[1].detail.clone()
    };
    assert_eq!(detail(&live, &[]).unwrap(), "run_a, run_b, run_c and 2 more was cancelled for it");
    let both = "run_a was cancelled for it; run_b was committing, which nobody cancels, and ends beside it";
    assert_eq!(detail(&["run_a"], &["run_b"]).unwrap(), both);
    assert_eq!(detail(&[], &[]), None, "all of them had ended");
    let late = decided(
        &pipeline("*/10 * * * *", CatchUp::None, ConcurrencyPolicy::Replace),
        "2026-01-15T09:00:00Z",
        "2026-01-15T09:05:00Z",
        &live,
    );
    assert_eq!((told(&late), late.starts()), (vec!["09:00 missed".to_owned()], false));
}

#[test]
fn a_change_moves_the_next_fire_at_once_and_notes_what_it_passes() {
    let old = pipeline("*/10 * * * *", CatchUp::All, ConcurrencyPolicy::Allow);
    let state = PipelineState { next_run_at: Some(at("2026-01-15T09:00:00Z")), ..PipelineState::default() };
    let mut new = Pipeline { updated_at: at("2026-01-15T09:25:30Z"), name: "other".to_owned(), ..old.clone() };
    assert_eq!(change(&old, &new, &state), None, "a new name changes no fire");
    new.timezone = "Asia/Kathmandu".to_owned();
    let moved = change(&old, &new, &state).unwrap();
    assert_eq!(told(&moved), ["09:00-09:20 3 missed"]);
    assert_eq!(moved.entries[0].reason, Some(FireReason::Changed));
    assert_eq!(moved.next, Some(at("2026-01-15T09:35:00Z")));
    let paused = Pipeline { enabled: false, updated_at: at("2026-01-15T09:05:00Z"), ..old.clone() };
    let stopped = change(&old, &paused, &state).unwrap();
    assert_eq!((told(&stopped), stopped.next), (vec!["09:00 missed".to_owned()], None));
    assert_eq!(stopped.entries[0].reason, Some(FireReason::Paused));
    // Nothing of the hours in which it was paused comes again, also where the clock went back.
    let state = PipelineState { fires_until: Some(at("2026-01-15T09:00:00Z")), ..PipelineState::default() };
    let enabled = Pipeline { enabled: true, updated_at: at("2026-01-15T12:03:00Z"), ..old.clone() };
    let on = change(&paused, &enabled, &state).unwrap();
    assert_eq!((on.entries, on.next), (Vec::new(), Some(at("2026-01-15T12:10:00Z"))));
    let earlier = Pipeline { updated_at: at("2026-01-15T08:03:00Z"), ..enabled };
    assert_eq!(change(&paused, &earlier, &state).unwrap().next, Some(at("2026-01-15T09:10:00Z")));
}

#[test]
fn new_rules_of_a_time_zone_neither_lose_nor_repeat_an_hour() {
    // 09:00 in Berlin is 08:00 in UTC in January; the next fire was computed by other rules.
    let mut p = pipeline("0 9 * * *", CatchUp::Latest, ConcurrencyPolicy::Allow);
    p.timezone = "Europe/Berlin".to_owned();
    let decided = |next: &str, until: Option<&str>, now: &str| {
        let state =
            PipelineState { next_run_at: Some(at(next)), fires_until: until.map(at), ..PipelineState::default() };
        let decision = decide(&p, &timetable(&p).unwrap(), &state, at(now), &[]);
        (told(&decision), decision.next.unwrap())
    };
    let (today, tomorrow) = (at("2026-01-15T08:00:00Z"), at("2026-01-16T08:00:00Z"));
    // It comes an hour later than it was to come: nothing is due yet.
    for until in [None, Some("2026-01-14T07:00:00Z"), Some("2026-01-14T08:00:00Z")] {
        let early = decided("2026-01-15T07:00:00Z", until, "2026-01-15T07:00:20Z");
        assert_eq!(early, (vec![], today), "decided until {until:?}");
    }
    // It came an hour before.
    for until in [None, Some("2026-01-14T08:00:00Z"), Some("2026-01-14T09:00:00Z")] {
        let late = decided("2026-01-15T09:00:00Z", until, "2026-01-15T09:00:20Z");
        assert_eq!(late, (vec!["08:00 caughtUp".to_owned()], tomorrow), "decided until {until:?}");
    }
    // What has an entry does not come again.
    let had = decided("2026-01-15T09:00:00Z", Some("2026-01-15T08:00:00Z"), "2026-01-15T09:00:20Z");
    assert_eq!(had, (vec![], tomorrow));
}

#[test]
fn a_schedule_that_cannot_be_evaluated_says_why() {
    let mut p = pipeline("0 9 * * *", CatchUp::All, ConcurrencyPolicy::Allow);
    p.timezone = "Mars/Olympus".to_owned();
    let (reason, why) = timetable(&p).unwrap_err();
    assert_eq!(reason, FireReason::Invalid);
    assert!(why.contains("Mars/Olympus"), "{why}");
    let decision = give_up(at("2026-01-15T09:00:00Z"), reason, why, at("2026-01-15T09:00:10Z"));
    assert_eq!((told(&decision), decision.next), (vec!["09:00 missed".to_owned()], None));
    p.enabled = false;
    assert_eq!(timetable(&p).unwrap_err().0, FireReason::Paused);
    p.schedule = None;
    assert_eq!(timetable(&p).unwrap_err().0, FireReason::Changed);
}

#[test]
fn a_schedule_that_was_given_up_fires_again_with_whatever_change_once_it_can_be_evaluated() {
    let old = pipeline("*/10 * * * *", CatchUp::All, ConcurrencyPolicy::Allow);
    let given_up = PipelineState { fires_until: Some(at("2026-01-15T09:00:00Z")), ..PipelineState::default() };
    let saved = Pipeline { version: 2, updated_at: at("2026-01-15T11:03:00Z"), ..old.clone() };
    let decision = change(&old, &saved, &given_up).unwrap();
    assert_eq!((decision.entries, decision.next), (Vec::new(), Some(at("2026-01-15T11:10:00Z"))));
    // By a clock that is behind, what has an entry does not come again.
    let earlier = Pipeline { updated_at: at("2026-01-15T08:53:00Z"), ..saved.clone() };
    assert_eq!(change(&old, &earlier, &given_up).unwrap().next, Some(at("2026-01-15T09:10:00Z")));
    for (zone, enabled) in [("Mars/Olympus", true), ("UTC", false)] {
        let old = Pipeline { timezone: zone.to_owned(), enabled, ..old.clone() };
        let saved = Pipeline { timezone: zone.to_owned(), enabled, ..saved.clone() };
        assert_eq!(change(&old, &saved, &given_up), None, "{zone}");
    }
}

#[test]
fn what_is_coming_begins_with_what_nobody_decided_on() {
    let p = pipeline("*/10 * * * *", CatchUp::All, ConcurrencyPolicy::Allow);
    let timetable = timetable(&p).unwrap();
    let state = PipelineState { next_run_at: Some(at("2026-01-15T09:00:00Z")), ..PipelineState::default() };
    let span = |after, until| (at(after), at(until));
    let list = |span| coming(&timetable, &state, span, at("2026-01-15T09:15:00Z")).collect::<Vec<_>>();
    let all = span("2026-01-15T08:00:00Z", "2026-01-15T09:30:00Z");
    let found = Decision { entries: list(all), next: None };
    assert_eq!(told(&found), ["09:00 due", "09:10 due", "09:20 coming", "09:30 coming"]);
    for span in [
        all,
        span("2026-01-15T09:00:00Z", "2026-01-15T09:00:00Z"),
        span("2026-01-15T09:00:00Z", "2026-01-15T09:45:00Z"),
        span("2026-01-15T07:00:00Z", "2026-01-15T08:50:00Z"),
    ] {
        assert_eq!(list(span).len() as u64, count_coming(&timetable, &state, span), "{span:?}");
    }
}
