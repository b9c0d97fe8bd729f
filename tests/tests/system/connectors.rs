//! Connectors: what their tests say, and of what.

use reqwest::Method;
use serde_json::json;
use shared::models::connector::{Connector, ConnectorStatus};
use shared::models::time::Time;
use shared::store::keys::Kind;
use tests::World;

#[tokio::test]
async fn a_test_moves_the_etag_and_spoils_nobodys_change() {
    let world = World::with(|o| o.worker = false).await;
    world.file("people.csv", "n\n1\n");
    let path = format!("/connectors/{}", world.connector("people", "people.csv").await);
    let read = async || {
        let answer = world.api.get(&path).await.expect(200);
        (answer.header("etag").to_owned(), answer.json())
    };
    let (made, _) = read().await;
    assert_eq!(world.api.post(&format!("{path}/test"), &json!({})).await.expect(200).json()["ok"], true);
    let (tested, shown) = read().await;
    assert_eq!((&shown["status"], &shown["version"], &shown["lastError"]), (&json!("ok"), &json!(1), &json!(null)));
    assert_ne!(tested, made, "what is answered is another");
    let put = async |etag: &str, body: serde_json::Value| {
        let headers = [("content-type", "application/json"), ("if-match", etag)];
        world.api.send(Method::PUT, &path, &headers, Some(body.to_string())).await
    };
    for near in [tested.trim_end_matches('"'), &made.replace('1', "10"), &tested.replace("\"1.", "\"10.")] {
        put(near, json!({"name": "humans"})).await.expect(412);
    }
    // Who read it before the test changes what he has read.
    let renamed = put(&made, json!({"name": "humans"})).await.expect(200);
    assert_eq!((&renamed.json()["status"], &renamed.json()["version"]), (&json!("ok"), &json!(2)));
    assert_eq!(renamed.header("etag"), read().await.0);
    put(&tested, json!({"name": "people"})).await.expect(412);
    // Who sends back all that he read changes no more than what is another in it.
    let (etag, mut whole) = read().await;
    whole["description"] = json!("all of them");
    let described = put(&etag, whole.clone()).await.expect(200).json();
    assert_eq!((&described["status"], &described["description"]), (&json!("ok"), &json!("all of them")));
    assert_eq!(described["lastTestedAt"], whole["lastTestedAt"]);
    let moved = put(&read().await.0, json!({"config": {"path": "nowhere.csv"}})).await.expect(200).json();
    assert_eq!((&moved["status"], &moved["lastTestedAt"]), (&json!("untested"), &json!(null)));
    assert_eq!(world.api.post(&format!("{path}/test"), &json!({})).await.expect(200).json()["ok"], false);
    let (_, shown) = read().await;
    assert_eq!(shown["status"], "failed");
    assert!(shown["lastError"].as_str().unwrap().contains("nowhere.csv"), "{shown}");
}

#[tokio::test]
async fn the_outcome_of_a_test_is_that_of_what_was_tested() {
    let world = World::with(|o| o.worker = false).await;
    let id = world.connector("people", "people.csv").await;
    let store = &world.stack.services().store;
    let stored = async || store.resource::<Connector>("acme", Kind::Connector, &id).await.unwrap();
    let now = Time(shared::clock::Clock::default().now());
    // A change of the name alone, whose reader has not seen the test.
    let old = stored().await;
    store.keep_test(&old, Some("no such file"), now).await.unwrap();
    let renamed = Connector { name: "humans".to_owned(), version: 2, ..old.clone() };
    assert!(store.update_connector(&old, &renamed, true).await.unwrap());
    let seen = stored().await;
    assert_eq!(
        (seen.name.as_str(), seen.status, seen.last_error.as_deref()),
        ("humans", ConnectorStatus::Failed, Some("no such file"))
    );
    // A change of where it lies while the old place is tested.
    let moved = Connector {
        version: 3,
        status: ConnectorStatus::Untested,
        last_tested_at: None,
        last_error: None,
        ..seen.clone()
    };
    assert!(store.update_connector(&seen, &moved, false).await.unwrap());
    store.keep_test(&seen, None, now).await.unwrap();
    let seen = stored().await;
    assert_eq!((seen.status, seen.last_tested_at, seen.last_error), (ConnectorStatus::Untested, None, None));
}

#[tokio::test]
async fn a_type_that_is_off_is_told_beside_all_other_faults() {
    let world = World::with(|o| (o.worker, o.local_fs) = (false, false)).await;
    let files = json!({"name": "", "type": "local_fs", "config": {"path": "a.csv"}});
    let answer = world.api.post("/connectors", &files).await.expect(400);
    assert_eq!(answer.pointers(), ["/name", "/type"]);
    assert_eq!(answer.json()["errors"][1]["code"], "not_available");
    let bucket = json!({"name": "bucket", "type": "aws_s3", "config": {"bucket": "data"}});
    let path = format!("/connectors/{}", world.api.create("/connectors", &bucket).await);
    assert_eq!(world.api.put(&path, &files).await.expect(400).pointers(), ["/name", "/type"]);
}
