//! What is asked, page by page, and what becomes of the records.

use super::server::{Reply, Server};
use super::{api, ids, records};
use crate::engine::progress::NodeCounters;
use crate::sources::probe;
use datafusion::arrow::datatypes::DataType;
use datafusion::prelude::SessionContext;
use serde_json::json;
use shared::models::node::NodeType;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

#[tokio::test(flavor = "multi_thread")]
async fn one_request_answers_all_where_there_are_no_pages() {
    let server = Server::start(|_, _| Reply::json(json!({"data": {"items": records(0..3)}, "n": 3}))).await;
    let root = api(&server, "/v1", json!({"recordsPath": "data.items", "headers": {"X-Team": "blue"}}));
    let rows = root.node(json!({"path": "orders?open=true"})).read().await;
    assert_eq!(rows.texts(), ["0|n0", "1|n1", "2|n2"]);
    assert_eq!(rows.types(), [DataType::Int64, DataType::Utf8]);
    assert_eq!((rows.counted, rows.ids[2]), ((3, 3, 0), (0, 3)));
    let details = rows.progress.partition_details();
    assert_eq!(
        (details[0].name.as_str(), details[0].status.as_str()),
        (server.url("/v1/orders").as_str(), "completed")
    );
    let asked = server.asked();
    assert_eq!((asked.len(), asked[0].method.as_str(), asked[0].target.as_str()), (1, "GET", "/v1/orders?open=true"));
    assert_eq!(asked[0].headers["x-team"], "blue");
    assert_eq!(asked[0].headers["accept"], "application/json");
}

#[tokio::test(flavor = "multi_thread")]
async fn numbered_pages_end_with_an_empty_or_a_short_one() {
    let answer = |asked: &super::server::Asked, _| {
        let page: u64 = asked.parameter("page").unwrap().parse().unwrap();
        Reply::json(records((page - 1) * 2..((page - 1) * 2 + 2).min(5)).to_string())
    };
    let server = Server::start(answer).await;
    let root = api(&server, "/all?x=1", json!({"pagination": {"type": "page"}}));
    let rows = root.try_read().await;
    // The server's last page has one record, the next one would be before its begin.
    assert_eq!(ids(&rows.unwrap()), [0, 1, 2, 3, 4]);
    assert_eq!(server.targets(), ["/all?x=1&page=1", "/all?x=1&page=2", "/all?x=1&page=3", "/all?x=1&page=4"]);

    let server = Server::start(answer).await;
    let root = api(&server, "/all", json!({"pagination": {"type": "page", "sizeParam": "size", "pageSize": 2}}));
    assert_eq!(ids(&root.read().await), [0, 1, 2, 3, 4]);
    assert_eq!(server.targets().last().unwrap(), "/all?page=3&size=2");
    assert_eq!(server.asked().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_gives_fewer_at_a_time_than_it_is_asked_for_is_read_whole() {
    let server = Server::start(|asked, _| {
        let number = |name: &str| asked.parameter(name).and_then(|text| text.parse::<u64>().ok());
        let start = number("offset").unwrap_or_else(|| (number("page").unwrap() - 1) * 100);
        // Never more than 100, whatever is asked for.
        Reply::json(records(start..(start + 100).min(350).max(start)))
    })
    .await;
    for pagination in [json!({"type": "page", "pageSize": 500}), json!({"type": "offset", "pageSize": 500})] {
        let from = server.asked().len();
        let rows = api(&server, "/", json!({"pagination": pagination})).read().await;
        assert_eq!(ids(&rows), (0..350).collect::<Vec<_>>());
        assert_eq!(server.asked().len() - from, 5);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_missing_behind_others_is_the_end() {
    for count in [3, 4] {
        let server = Server::start(move |asked, _| {
            let page: u64 = asked.parameter("page").unwrap().parse().unwrap();
            let rows = ((page - 1) * 2).min(count)..(page * 2).min(count);
            if page > 1 && rows.is_empty() { Reply::status(404, "Invalid page.") } else { Reply::json(records(rows)) }
        })
        .await;
        for pagination in
            [json!({"type": "page"}), json!({"type": "page", "pageSize": 2}), json!({"type": "page", "pageSize": 9})]
        {
            let rows = api(&server, "/", json!({"pagination": pagination})).read().await;
            assert_eq!(ids(&rows).len() as u64, count);
        }
    }
    // All of them went away.
    let server =
        Server::start(|_, number| if number == 0 { Reply::json(records(0..2)) } else { Reply::status(404, "") }).await;
    let fault = api(&server, "/", json!({"pagination": {"type": "page"}})).fault().await;
    assert!(fault.contains("404"), "{fault}");
    let server = Server::start(|_, _| Reply::status(404, "")).await;
    assert!(api(&server, "/", json!({"pagination": {"type": "page"}})).fault().await.contains("404"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_answers_its_last_page_again_ends_there() {
    let server = Server::start(|asked, _| {
        let page: u64 = asked.parameter("page").unwrap().parse().unwrap();
        let start = (page.min(3) - 1) * 3;
        Reply::json(records(start..(start + 3).min(8)))
    })
    .await;
    let rows = api(&server, "/", json!({"pagination": {"type": "page", "pageSize": 5}})).read().await;
    assert_eq!(ids(&rows), (0..8).collect::<Vec<_>>());
    // One page and its like may be all, or the first of many of an API that is not asked as it wants.
    let server = Server::start(|_, _| Reply::json(records(0..3))).await;
    let fault = api(&server, "/", json!({"pagination": {"type": "page", "pageSize": 5}})).fault().await;
    assert!(fault.contains("does the API know the parameter \"page\"?"), "{fault}");
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_follow_the_records_that_came() {
    let server = Server::start(|asked, _| {
        let start: u64 = asked.parameter("skip").unwrap().parse().unwrap();
        // Gives 30 at a time, whatever is asked for.
        Reply::json(records(start..(start + 30).min(70).max(start)))
    })
    .await;
    let root = api(&server, "/", json!({"pagination": {"type": "offset", "offsetParam": "skip"}}));
    assert_eq!(ids(&root.read().await), (0..70).collect::<Vec<_>>());
    let starts: Vec<String> = server.asked().iter().map(|a| a.target.clone()).collect();
    assert_eq!(starts, ["/?skip=0&limit=100", "/?skip=30&limit=100", "/?skip=60&limit=100", "/?skip=70&limit=100"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn cursors_are_followed_to_the_last_page() {
    let server = Server::start(|asked, number| {
        let cursor = asked.parameter("after").map(str::to_owned);
        assert_eq!(cursor.as_deref(), [None, Some("c+%2F1"), Some("17")][number]);
        let next = [json!("c /1"), json!(17), json!(null)][number].clone();
        let start = number as u64 * 2;
        Reply::json(json!({"rows": records(start..start + 2), "meta": {"next": next}}))
    })
    .await;
    let pagination = json!({"type": "cursor", "cursorParam": "after", "cursorPath": "meta.next"});
    let rows = api(&server, "/", json!({"recordsPath": "rows", "pagination": pagination})).read().await;
    assert_eq!(ids(&rows), (0..6).collect::<Vec<_>>());
    assert_eq!(rows.ids.iter().map(|id| id.1).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
}

#[tokio::test(flavor = "multi_thread")]
async fn links_are_followed_from_the_header_or_the_answer() {
    let server = Server::start(|asked, number| {
        let start = number as u64;
        let reply = Reply::json(json!({"rows": records(start..start + 1), "links": {"next": "/b?page=2"}}));
        match asked.target.as_str() {
            "/a" => reply.with("link", "</a?page=2&x=1>; rel=\"next\", </z>; rel=\"last\""),
            _ => Reply::json(json!({"rows": records(start..start + 1), "links": {"next": ""}})),
        }
    })
    .await;
    let rows = api(&server, "/a", json!({"recordsPath": "rows", "pagination": {"type": "link"}})).read().await;
    assert_eq!(ids(&rows), [0, 1]);
    assert_eq!(server.targets(), ["/a", "/a?page=2&x=1"]);
    let pagination = json!({"type": "link", "nextPath": "links.next"});
    let rows = api(&server, "/a", json!({"recordsPath": "rows", "pagination": pagination})).read().await;
    assert_eq!(ids(&rows), [2, 3]);
    assert_eq!(server.targets()[2..], ["/a", "/b?page=2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_posted_and_secrets_go_into_their_header() {
    let server = Server::start(|_, _| Reply::json(records(0..1))).await;
    let mut root = api(&server, "/q", json!({"method": "POST", "body": {"from": "2024-01-01"}}));
    root.auth = json!({"token": "t0ken"}).as_object().cloned();
    root.read().await;
    let asked = &server.asked()[0];
    assert_eq!((asked.method.as_str(), asked.body.as_str()), ("POST", "{\"from\":\"2024-01-01\"}"));
    assert_eq!(asked.headers["content-type"], "application/json");
    assert_eq!(asked.headers["authorization"], "Bearer t0ken");
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_do_not_fit_are_rejected_with_their_number() {
    let server = Server::start(|_, _| {
        Reply::bytes(
            "[{\"id\": 1, \"x\": {\"a\": [1, 2]}}, 7, {\"id\": \"b\"}, null, {\"id\": 12345678901234567890.5}]",
        )
    })
    .await;
    let root = api(&server, "/", json!({})).expect("id", json!({"dataType": "decimal", "precision": 30, "scale": 1}));
    let rows = root.read().await;
    assert_eq!(rows.texts(), ["1.0|{\"a\":[1,2]}", "12345678901234567890.5|-"]);
    assert_eq!(
        rows.reasons(),
        [
            (2, "", "the record is not a JSON object, such as {\"id\": 1}"),
            (3, "id", "\"b\" is not a number"),
            (4, "", "the record is not a JSON object, such as {\"id\": 1}"),
        ]
    );
    assert_eq!(rows.counted, (5, 2, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_types_were_guessed_from_is_not_asked_for_again() {
    let server = Server::start(|asked, _| {
        let page: u64 = asked.parameter("page").unwrap().parse().unwrap();
        Reply::json(if page > 30 { json!([]) } else { records((page - 1) * 1000..page * 1000) })
    })
    .await;
    let root = api(&server, "/", json!({"pagination": {"type": "page"}}));
    let progress = root.progress();
    let source = root.open(&progress).await.unwrap();
    assert_eq!(server.asked().len(), 10, "the sample is 10,000 records");
    assert_eq!(progress.total_rows.load(Relaxed), 10_000);
    let context = SessionContext::new();
    let table = source.provider(None, Arc::clone(&progress));
    assert_eq!(context.read_table(table).unwrap().count().await.unwrap(), 30_000);
    assert_eq!(server.asked().len(), 31);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_consumers_read_the_same_pages_and_the_api_is_asked_once() {
    let server = Server::start(|asked, _| {
        let page: u64 = asked.parameter("page").unwrap().parse().unwrap();
        Reply::json(if page > 25 { json!([]) } else { records((page - 1) * 1000..page * 1000) })
    })
    .await;
    let root = api(&server, "/", json!({"pagination": {"type": "page"}}));
    let progress = root.progress();
    let source = root.open(&progress).await.unwrap();
    let counters = NodeCounters::new("read", "read", NodeType::Source);
    let first = source.provider(Some(Arc::clone(&counters)), Arc::clone(&progress));
    let second = source.provider(None, progress);
    let context = SessionContext::new();
    let both = context.read_table(first).unwrap().union(context.read_table(second).unwrap()).unwrap();
    // Fully read twice: a count alone would need no column.
    let batches = both.collect().await.unwrap();
    let mut ids: Vec<i64> = Vec::new();
    for batch in batches {
        use datafusion::arrow::array::AsArray;
        ids.extend(batch.column(0).as_primitive::<datafusion::arrow::datatypes::Int64Type>().values());
    }
    ids.sort_unstable();
    assert_eq!(ids, (0..50_000).map(|i| i / 2).collect::<Vec<_>>());
    assert_eq!(counters.rows_out.load(Relaxed), 25_000);
    assert_eq!(server.asked().len(), 26);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_records_need_columns_that_are_named() {
    let server = Server::start(|_, _| Reply::status(204, "")).await;
    let root = api(&server, "/none", json!({}));
    assert!(root.fault().await.contains("options.columns"));
    let rows = api(&server, "/none", json!({"options": {"columns": {"id": "bigint"}}})).read().await;
    assert_eq!((rows.types(), rows.rows.len()), (vec![DataType::Int64], 0));
    assert_eq!(rows.progress.partition_details()[0].status, "completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_keep_their_distance() {
    let server = Server::start(|asked, _| {
        let page: u64 = asked.parameter("page").unwrap().parse().unwrap();
        Reply::json(if page > 4 { json!([]) } else { records(page..page + 1) })
    })
    .await;
    let begun = std::time::Instant::now();
    api(&server, "/", json!({"rateLimit": 20, "pagination": {"type": "page"}})).read().await;
    assert!(begun.elapsed() >= std::time::Duration::from_millis(200), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sources_of_a_connector_share_its_rate() {
    let server = Server::start(|asked, _| {
        let page: u64 = asked.parameter("page").unwrap().parse().unwrap();
        Reply::json(if page > 4 { json!([]) } else { records(page..page + 1) })
    })
    .await;
    let begun = std::time::Instant::now();
    let config = json!({"rateLimit": 25, "pagination": {"type": "page"}});
    let (one, other) = (api(&server, "/", config.clone()), api(&server, "/", config));
    tokio::join!(one.read(), other.read());
    assert_eq!(server.asked().len(), 10);
    assert!(begun.elapsed() >= std::time::Duration::from_millis(350), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_asks_for_the_first_page_only() {
    let server = Server::start(|_, _| Reply::json(json!({"rows": records(0..2), "next": "x"}))).await;
    let pagination = json!({"type": "cursor", "cursorPath": "next"});
    let root = api(&server, "/v1", json!({"recordsPath": "rows", "pagination": pagination}));
    let said = probe(&root.connector(), &root.settings()).await.unwrap();
    assert_eq!(said, format!("The first page of {} has 2 records; their columns are id, name.", server.url("/v1")));
    assert_eq!(server.asked().len(), 1);
    let root = api(&server, "/v1", json!({"recordsPath": "data"}));
    let fault = probe(&root.connector(), &root.settings()).await.unwrap_err().message;
    assert!(fault.contains("has no \"data\" (recordsPath); at its top are rows, next"), "{fault}");
}
