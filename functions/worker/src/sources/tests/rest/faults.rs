//! What an API does wrong: never fewer rows, never an endless loop, never a secret in a message.

use super::server::{Reply, Server};
use super::{api, ids, records};
use crate::error::Kind;
use crate::sources::probe;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn page_of(asked: &super::server::Asked) -> u64 {
    asked.parameter("page").unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_requests_are_asked_again_after_the_time_that_is_named() {
    let server = Server::start(|_, number| match number {
        0 => Reply::status(429, "slow down").with("Retry-After", 1),
        1 => Reply::status(503, ""),
        _ => Reply::json(records(0..2)),
    })
    .await;
    let begun = Instant::now();
    assert_eq!(ids(&api(&server, "/", json!({})).read().await), [0, 1]);
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert_eq!(server.asked().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_date_to_come_back_at_is_understood_and_a_far_one_is_not_waited_for() {
    let date = (chrono::Utc::now() + chrono::TimeDelta::hours(3)).to_rfc2822().replace("+0000", "GMT");
    let server = Server::start(move |_, number| match number {
        0 => Reply::status(429, "").with("Retry-After", &date),
        _ => Reply::json(records(0..1)),
    })
    .await;
    let begun = Instant::now();
    api(&server, "/", json!({})).read().await;
    // The longest pause of a test is 1.5 s.
    assert!(begun.elapsed() >= Duration::from_millis(1_500) && begun.elapsed() < Duration::from_secs(60));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_fails_fails_the_run() {
    let server = Server::start(|asked, _| match page_of(asked) {
        page @ 1..=11 => Reply::json(records((page - 1) * 1000..page * 1000)),
        _ => Reply::status(500, "oops"),
    })
    .await;
    let error = api(&server, "/", json!({"pagination": {"type": "page"}})).try_read().await.unwrap_err();
    assert_eq!((error.kind, error.node.as_deref()), (Kind::SourceUnavailable, Some("read")));
    assert!(
        error.message.contains("500") && error.message.contains("oops") && error.message.contains("asked 4 times"),
        "{error}"
    );
    assert_eq!(server.asked().len(), 11 + 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_and_broken_answers_are_asked_for_again() {
    let server = Server::start(|_, number| match number {
        0 => Reply::silence(),
        1 => Reply::json(records(0..2)).cut(),
        _ => Reply::json(records(0..2)),
    })
    .await;
    assert_eq!(ids(&api(&server, "/", json!({})).read().await), [0, 1]);
    let server = Server::start(|_, _| Reply::silence()).await;
    let error = api(&server, "/", json!({})).try_read().await.unwrap_err();
    assert_eq!(error.kind, Kind::SourceUnavailable);
    assert!(error.message.contains("does not answer in time (asked 4 times)"), "{error}");
    // Somebody waits for a probe: it asks once.
    let server = Server::start(|_, _| Reply::status(502, "")).await;
    let root = api(&server, "/", json!({}));
    assert!(probe(&root.connector(), &root.settings()).await.unwrap_err().message.contains("502"));
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_final_and_shows_no_secret() {
    let server = Server::start(|asked, _| {
        // Some servers repeat what they were sent.
        Reply::status(401, &format!("bad {}", asked.headers["x-token"]))
    })
    .await;
    let mut root = api(&server, "/", json!({}));
    root.auth = json!({"header": "X-Token", "value": "HUSH-4711"}).as_object().cloned();
    let error = root.try_read().await.unwrap_err();
    assert_eq!(error.kind, Kind::Source);
    assert!(
        error.message.contains("401") && error.message.contains("bad ***") && error.message.contains("authConfig"),
        "{error}"
    );
    assert!(!error.message.contains("HUSH"), "{error}");
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_never_end_are_a_fault() {
    let cursor = json!({"type": "cursor", "cursorPath": "next"});
    let link = json!({"type": "link", "nextPath": "next"});
    for (pagination, next, asked, word) in
        [(cursor, "a", 2, "the cursor \"a\" again"), (link.clone(), "/", 1, "again"), (link, "/?a", 2, "again")]
    {
        let server = Server::start(move |_, number| {
            let start = number as u64;
            Reply::json(json!({"rows": records(start..start + 1), "next": next}))
        })
        .await;
        let fault = api(&server, "/", json!({"recordsPath": "rows", "pagination": pagination})).fault().await;
        assert!(fault.contains(word) && fault.contains("never end"), "{fault}");
        assert_eq!(server.asked().len(), asked);
    }
    for kind in ["page", "offset"] {
        let server = Server::start(|_, _| Reply::json(records(0..3))).await;
        let fault = api(&server, "/", json!({"pagination": {"type": kind}})).fault().await;
        assert!(fault.contains("the very records of the page before"), "{fault}");
        assert_eq!(server.asked().len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_json_or_lies_elsewhere_is_a_fault() {
    let of = |bodies: [&'static [u8]; 2], config: Value| async move {
        let server = Server::start(move |asked, _| Reply::bytes(bodies[usize::from(page_of(asked) > 1)])).await;
        let mut config = config;
        config["pagination"] = json!({"type": "page"});
        let fault = api(&server, "/", config).fault().await;
        assert!(fault.contains("(page ") || fault.contains("UTF-8"), "{fault}");
        fault
    };
    let good = b"[{\"id\": 1}, {\"id\": 2}]".as_slice();
    assert!(of([good, b"[{\"id\": 3}, {\"id\""], json!({})).await.contains("(page 2) is not JSON"));
    assert!(of([good, b"[{\"id\": 3}] x"], json!({})).await.contains("(page 2) is not JSON"));
    assert!(of([good, b"<html>"], json!({})).await.contains("is not JSON"));
    assert!(of([good, b"[{\"id\": \"\xe9\"}]"], json!({})).await.contains("not UTF-8 (byte 10)"));
    assert!(of([good, b"7"], json!({})).await.contains("a number at the answer"));
    let fault = of([b"{\"rows\": [{\"id\": 1}]}", b"{\"error\": \"x\"}"], json!({"recordsPath": "rows"})).await;
    assert!(fault.contains("(page 2) has no \"rows\" (recordsPath); at its top are error"), "{fault}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_too_large_is_a_fault() {
    let server = Server::start(|_, number| {
        let reply = Reply::bytes(vec![b' '; (64 << 20) + 1]);
        // Also where the size is not said before.
        if number == 0 { reply } else { reply.with("transfer-encoding", "identity") }
    })
    .await;
    for _ in 0..2 {
        let fault = api(&server, "/", json!({})).fault().await;
        assert!(fault.contains("more than 64 MB") && fault.contains("smaller pages"), "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_cannot_ask_for_what_no_api_has() {
    let server = Server::start(|_, _| Reply::json(records(0..1))).await;
    for node in [json!({"format": "csv"}), json!({"table": "t"})] {
        let error = api(&server, "/", json!({})).node(node).try_read().await.unwrap_err();
        assert_eq!(error.kind, Kind::Definition, "{error}");
    }
    let fault = api(&server, "/v1", json!({})).node(json!({"path": "../admin"})).fault().await;
    assert!(fault.contains("leaves the connector's url"), "{fault}");
    assert!(server.asked().is_empty());
}
