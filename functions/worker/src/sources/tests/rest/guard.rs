//! Where an API may send us, and what it gets to know.

use super::server::{Reply, Server};
use super::{api, ids, records};
use crate::sources::probe;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn redirects_of_the_same_host_are_followed() {
    let server = Server::start(|asked, _| match asked.target.as_str() {
        "/old" => Reply::status(301, "").with("location", "/new?x=1"),
        _ => Reply::json(records(0..1)),
    })
    .await;
    let mut root = api(&server, "/old", json!({}));
    root.auth = json!({"token": "t0ken"}).as_object().cloned();
    assert_eq!(ids(&root.read().await), [0]);
    assert_eq!(server.targets(), ["/old", "/new?x=1"]);
    assert_eq!(server.asked()[1].headers["authorization"], "Bearer t0ken");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_host_gets_no_header_of_ours() {
    let other = Server::start(|_, _| Reply::json(json!({"rows": records(1..2), "next": null}))).await;
    let (redirect, next) = (other.url("/r"), other.url("/n"));
    let server = Server::start(move |asked, _| match asked.target.as_str() {
        "/redirect" => Reply::status(302, "").with("location", &redirect),
        _ => Reply::json(json!({"rows": records(0..1), "next": next})),
    })
    .await;
    for path in ["/redirect", "/link"] {
        let pagination = json!({"type": "link", "nextPath": "next"});
        let config = json!({"recordsPath": "rows", "headers": {"X-Team": "blue"}, "pagination": pagination});
        let mut root = api(&server, path, config);
        root.auth = json!({"username": "u", "password": "HUSH"}).as_object().cloned();
        root.allowed = format!("{},127.0.0.1:{}", root.allowed, other.port);
        root.read().await;
    }
    assert!(server.asked().iter().all(|asked| asked.headers.contains_key("authorization")));
    assert_eq!(other.targets(), ["/r", "/n"]);
    for asked in other.asked() {
        assert!(!asked.headers.contains_key("authorization") && !asked.headers.contains_key("x-team"), "{asked:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_a_redirect_nor_a_link_reaches_inner_addresses() {
    let inner = Server::start(|_, _| Reply::json(records(0..1))).await;
    let port = inner.port;
    for to in [
        format!("http://127.0.0.1:{port}/"),
        format!("http://localhost:{port}/"),
        format!("http://0x7f000001:{port}/"),
        format!("http://[::ffff:127.0.0.1]:{port}/"),
        "http://169.254.169.254/latest/meta-data/iam".to_owned(),
        "http://[fd00:ec2::254]/latest/".to_owned(),
        "http://10.0.0.1/".to_owned(),
    ] {
        let (location, next) = (to.clone(), to.clone());
        let server = Server::start(move |asked, _| match asked.target.as_str() {
            "/redirect" => Reply::status(307, "").with("location", &location),
            _ => Reply::json(json!({"rows": records(0..1), "next": next})),
        })
        .await;
        for path in ["/redirect", "/link"] {
            let pagination = json!({"type": "link", "nextPath": "next"});
            let fault = api(&server, path, json!({"recordsPath": "rows", "pagination": pagination})).fault().await;
            assert!(fault.contains("is not asked") && fault.contains("may not reach"), "{to}: {fault}");
        }
    }
    assert!(inner.asked().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_itself_does_not_reach_them_either() {
    let server = Server::start(|_, _| Reply::json(records(0..1))).await;
    for (url, kind) in [
        (server.url("/?token=HUSH"), "the worker's own address"),
        (format!("http://localhost:{}/", server.port), "the worker's own address"),
        ("http://169.254.169.254/latest/meta-data".to_owned(), "a link-local address"),
    ] {
        let mut root = api(&server, "/", json!({}));
        root.config.insert("url".to_owned(), json!(url));
        root.allowed = "127.0.0.1:1,example.com".to_owned();
        let fault = probe(&root.connector(), &root.settings()).await.unwrap_err().message;
        assert!(fault.contains(kind) && fault.contains("allows the host by name"), "{fault}");
        assert!(!fault.contains("HUSH"), "{fault}");
    }
    assert!(server.asked().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_must_not_be_followed_is_a_fault_that_says_so() {
    for (status, to, words) in [
        (302, "ftp://example.com/", "not an http or https address"),
        (302, "http://u:HUSH@example.com/", "a user or a password"),
        (302, "/loop", "redirects more than 5 times"),
    ] {
        let server = Server::start(move |_, _| Reply::status(status, "").with("location", to)).await;
        let fault = api(&server, "/", json!({})).fault().await;
        assert!(fault.contains(words) && !fault.contains("HUSH"), "{fault}");
    }
    let server = Server::start(|_, _| Reply::status(302, "").with("location", "/elsewhere")).await;
    let fault = api(&server, "/", json!({"method": "POST"})).fault().await;
    assert!(fault.contains("answers a POST with a redirect") && fault.contains("/elsewhere"), "{fault}");
    let server = Server::start(|_, _| Reply::status(308, "").with("location", "http://example.com/")).await;
    let fault = api(&server, "/", json!({"method": "POST", "body": {}})).fault().await;
    assert!(fault.contains("nothing is posted"), "{fault}");
}
