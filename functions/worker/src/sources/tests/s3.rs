//! Who signs the requests to S3, and where they may go.

use super::rest::server::{Reply, Server};
use super::settings;
use crate::engine::job::Connector;
use crate::sources::s3::open_in;
use object_store::ObjectStoreExt;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use serde_json::json;
use shared::models::connector::{AwsS3Config, ConnectorType};

fn connector(config: &AwsS3Config) -> Connector {
    Connector {
        id: "connector_1".to_owned(),
        name: "sales".to_owned(),
        kind: ConnectorType::AwsS3,
        config: json!(config).as_object().unwrap().clone(),
        auth: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_the_role_of_the_environment_signs() {
    let server = Server::start(|_, _| {
        let date = "Mon, 23 Nov 2026 10:00:00 GMT";
        Reply::bytes("id\n1\n").with("etag", "\"e1\"").with("last-modified", date)
    })
    .await;
    let environment = AmazonS3Builder::new()
        .with_access_key_id("ROLE")
        .with_secret_access_key("secret")
        .with_token("of the role")
        .with_endpoint(server.url(""))
        .with_allow_http(true);
    let config = AwsS3Config { bucket: "data".to_owned(), region: Some("eu-west-3".to_owned()), ..Default::default() };
    let dir = tempfile::tempdir().unwrap();
    let store = open_in(&connector(&config), &config, &settings(dir.path()), environment.clone()).await.unwrap();
    store.get(&Path::from("in/a.csv")).await.unwrap();
    let asked = server.asked();
    let asked = asked.first().unwrap();
    assert_eq!(asked.target, "/data/in/a.csv");
    let signature = &asked.headers["authorization"];
    assert!(signature.contains("Credential=ROLE/") && signature.contains("/eu-west-3/s3/"), "{signature}");
    assert_eq!(asked.headers["x-amz-security-token"], "of the role");

    // A server that a tenant names never sees it.
    let other = Server::start(|_, _| Reply::status(404, "")).await;
    let config = AwsS3Config { endpoint: Some(other.url("")), ..config };
    let store = open_in(&connector(&config), &config, &settings(dir.path()), environment).await.unwrap();
    store.get(&Path::from("in/a.csv")).await.unwrap_err();
    assert!(other.asked().iter().all(|asked| !asked.headers.contains_key("authorization")), "{:?}", other.asked());
}

#[tokio::test]
async fn a_region_cannot_lead_the_role_elsewhere() {
    let region = Some("evil.example/".to_owned());
    let config = AwsS3Config { bucket: "data".to_owned(), region, ..Default::default() };
    let dir = tempfile::tempdir().unwrap();
    let environment = AmazonS3Builder::new().with_access_key_id("ROLE").with_secret_access_key("secret");
    let said = open_in(&connector(&config), &config, &settings(dir.path()), environment).await.unwrap_err().message;
    assert!(said.contains("\"evil.example/\" is no region"), "{said}");
}
