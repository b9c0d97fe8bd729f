//! What is read of a query, and which fires a page shows.

use super::*;
use shared::Error;
use shared::models::fire::{FireReason, FireStatus};
use shared::models::time::JsonText;
use std::collections::HashMap;

fn at(text: &str) -> Time {
    Time::from(DateTime::parse_from_rfc3339(text).unwrap().to_utc())
}

fn request(query: &[(&str, &str)]) -> Request {
    Request {
        method: http::Method::GET,
        path: "/api/v1/pipelines/pipe_1/fires".to_owned(),
        route: "GET /api/v1/pipelines/{id}/fires".to_owned(),
        params: HashMap::from([("id".to_owned(), "pipe_1".to_owned())]),
        query: query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        headers: http::HeaderMap::new(),
        body: bytes::Bytes::new(),
        id: "request-1".to_owned(),
    }
}

fn faults(query: &[(&str, &str)]) -> Vec<(String, String)> {
    match read(&request(query)) {
        Err(Error::Invalid(faults)) => faults.into_iter().map(|f| (f.pointer, f.detail)).collect(),
        Err(other) => panic!("{other:?}"),
        Ok(_) => Vec::new(),
    }
}

fn hourly() -> Pipeline {
    Pipeline {
        id: "pipe_1".to_owned(),
        tenant_id: "acme".to_owned(),
        name: "Hourly".to_owned(),
        description: None,
        version: 1,
        schedule: Some("0 * * * *".to_owned()),
        timezone: "UTC".to_owned(),
        enabled: true,
        connector_id: "conn_1".to_owned(),
        schema_id: "schema_1".to_owned(),
        execution_config: JsonText::default(),
        nodes: JsonText::default(),
        edges: JsonText::default(),
        tables: JsonText::default(),
        created_at: at("2026-01-15T00:00:00Z"),
        updated_at: at("2026-01-15T00:00:00Z"),
    }
}

#[test]
fn every_bad_time_is_a_fault_at_its_parameter() {
    assert_eq!(faults(&[("from", "2026-01-15T09:00:00Z"), ("to", "2026-01-15T09:00:00+02:00")])[0].0, "?to");
    assert!(faults(&[("from", "2026-01-15T09:00:00+02:00"), ("to", "2026-01-15T09:00:00Z")]).is_empty());
    let both = faults(&[("from", "yesterday"), ("to", "2026-01-15T09:00:00 02:00")]);
    assert_eq!(both.iter().map(|(pointer, _)| pointer.as_str()).collect::<Vec<_>>(), ["?from", "?to"]);
    assert!(both[0].1.contains("\"yesterday\" is not an RFC 3339 time"), "{}", both[0].1);
    assert!(both[1].1.contains("%2B"), "{}", both[1].1);
}

#[test]
fn a_range_is_a_day_to_either_side_where_it_is_left_out() {
    let now = at("2026-01-15T09:00:00Z");
    let span = |from: Option<&str>, to: Option<&str>| {
        let span = Span::of(from.map(at), to.map(at), now);
        (Time(span.after.0 + Duration::milliseconds(1)).text(), span.to.text())
    };
    let texts = |from: &str, to: &str| (at(from).text(), at(to).text());
    assert_eq!(span(None, None), texts("2026-01-14T09:00:00Z", "2026-01-16T09:00:00Z"));
    assert_eq!(span(Some("2026-01-01T00:00:00Z"), None), texts("2026-01-01T00:00:00Z", "2026-01-16T09:00:00Z"));
    assert_eq!(span(Some("2027-01-01T00:00:00Z"), None), texts("2027-01-01T00:00:00Z", "2027-01-02T00:00:00Z"));
    assert_eq!(span(None, Some("2025-01-01T00:00:00Z")), texts("2024-12-31T00:00:00Z", "2025-01-01T00:00:00Z"));
    let (first, last) = span(Some("0000-01-01T00:00:00Z"), Some("9999-12-31T23:59:59Z"));
    assert!(first.starts_with("1970") && last.starts_with("2100-") || last.starts_with("2101-"), "{first} {last}");
}

#[test]
fn a_page_goes_from_the_ledger_on_to_what_is_due_and_what_is_coming() {
    let now = at("2026-01-15T09:30:00Z");
    let state = PipelineState { next_run_at: Some(at("2026-01-15T09:00:00Z")), ..PipelineState::default() };
    let span = Span::of(Some(at("2026-01-15T07:00:00Z")), Some(at("2026-01-15T12:00:00Z")), now);
    let missed = Fire::without_run(
        (at("2026-01-15T05:00:00Z"), at("2026-01-15T08:00:00Z"), 4),
        FireStatus::Missed,
        FireReason::CatchUp,
        "why".to_owned(),
        now,
    );
    let shown = |past: Vec<Fire>, more, limit| {
        let (shown, more) = page(&hourly(), &state, past, more, span, limit, now);
        (shown.iter().map(|f| (f.at.text()[11..16].to_owned(), f.status)).collect::<Vec<_>>(), more)
    };
    let of = |time: &str, status| (time.to_owned(), status);
    let all = vec![
        of("05:00", FireStatus::Missed),
        of("09:00", FireStatus::Due),
        of("10:00", FireStatus::Coming),
        of("11:00", FireStatus::Coming),
        of("12:00", FireStatus::Coming),
    ];
    assert_eq!(shown(vec![missed.clone()], false, 20), (all.clone(), false));
    assert_eq!(shown(vec![missed.clone()], false, 5), (all.clone(), false));
    assert_eq!(shown(vec![missed.clone()], false, 4), (all[..4].to_vec(), true));
    assert_eq!(shown(vec![missed.clone()], false, 1), (all[..1].to_vec(), true));
    assert_eq!(shown(vec![missed], true, 1), (all[..1].to_vec(), true));
    assert_eq!(coming_in(&hourly(), &state, span), 4);
    let paused = Pipeline { enabled: false, ..hourly() };
    assert!(page(&paused, &state, Vec::new(), false, span, 20, now).0.is_empty());
}

#[test]
fn a_due_time_that_a_tick_decided_on_in_between_is_shown_once() {
    let now = at("2026-01-15T09:30:00Z");
    // The state was read before the tick, the ledger after it.
    let state = PipelineState { next_run_at: Some(at("2026-01-15T09:00:00Z")), ..PipelineState::default() };
    let span = Span::of(Some(at("2026-01-15T08:30:00Z")), Some(at("2026-01-15T10:00:00Z")), now);
    let fired = Fire::open(at("2026-01-15T09:00:00Z"), FireStatus::Fired);
    let (shown, more) = page(&hourly(), &state, vec![fired], false, span, 20, now);
    let statuses: Vec<FireStatus> = shown.iter().map(|f| f.status).collect();
    assert_eq!((statuses, more), (vec![FireStatus::Fired, FireStatus::Coming], false));
}

#[test]
fn an_entry_that_a_tick_has_made_between_two_pages_goes_on_after_what_was_shown() {
    let entry = Fire::without_run(
        (at("2026-01-15T05:00:00Z"), at("2026-01-15T08:00:00Z"), 4),
        FireStatus::Missed,
        FireReason::CatchUp,
        "why".to_owned(),
        at("2026-01-15T09:30:00Z"),
    );
    let rest = |pipeline: &Pipeline, after: &str| {
        let mut rest = entry.clone();
        go_on(pipeline, at(after), &mut rest);
        (rest.at.text()[11..16].to_owned(), rest.until.map(|at| at.text()[11..16].to_owned()), rest.count)
    };
    let of = |from: &str, until: Option<&str>, count| (from.to_owned(), until.map(str::to_owned), count);
    let whole = of("05:00", Some("08:00"), 4);
    assert_eq!(rest(&hourly(), "2026-01-15T04:00:00Z"), whole);
    assert_eq!(rest(&hourly(), "2026-01-15T05:00:00Z"), of("06:00", Some("08:00"), 3));
    assert_eq!(rest(&hourly(), "2026-01-15T07:00:00Z"), of("08:00", None, 1));
    let paused = Pipeline { enabled: false, ..hourly() };
    assert_eq!(rest(&paused, "2026-01-15T05:00:00Z"), of("06:00", Some("08:00"), 3));
    let other = Pipeline { schedule: Some("*/7 * * * *".to_owned()), ..hourly() };
    assert_eq!(rest(&other, "2026-01-15T05:00:00Z"), whole);
}
