//! Buckets of Google and containers of Azure, against small servers that speak their protocols.

use super::Root;
use super::rest::server::{Asked, Reply, Server};
use crate::engine::job::Settings;
use crate::error::Kind;
use crate::sources::probe;
use serde_json::{Value, json};
use shared::models::connector::ConnectorType;

/// Made for this test; it opens nothing.
const PRIVATE_KEY: &str = include_str!("reader.pem");
const CSV: &str = "id,name\n1,Anna\n2,Ben\n";

fn connector(kind: ConnectorType, config: Value, auth: Option<Value>) -> Root {
    let mut root = Root::new("unused");
    root.kind = kind;
    root.config = config.as_object().unwrap().clone();
    root.auth = auth.map(|auth| auth.as_object().unwrap().clone());
    root
}

/// The file, or a part of it.
fn file(asked: &Asked) -> Reply {
    let etag = ("etag", "\"e1\"");
    let date = ("last-modified", "Mon, 23 Nov 2026 10:00:00 GMT");
    let range = asked.headers.get("range").and_then(|r| r.strip_prefix("bytes=")).and_then(|r| r.split_once('-'));
    let reply = match range {
        None => Reply::bytes(CSV),
        Some((start, end)) => {
            let (start, end): (usize, usize) = (start.parse().unwrap(), end.parse().unwrap());
            let end = end.min(CSV.len() - 1);
            Reply::status(206, &CSV[start..=end]).with("content-range", format!("bytes {start}-{end}/{}", CSV.len()))
        }
    };
    reply.with(etag.0, etag.1).with(date.0, date.1)
}

fn google(asked: &Asked) -> Reply {
    let (path, query) = asked.target.split_once('?').unwrap_or((&asked.target, ""));
    match path.replace("%2F", "/").replace("%2E", ".").as_str() {
        "/data" if query.contains("list-type=2") => Reply::bytes(format!(
            "<ListBucketResult><Contents><Key>in/a.csv</Key><Size>{}</Size><ETag>\"e1\"</ETag>\
             <LastModified>2026-11-23T10:00:00.000Z</LastModified></Contents></ListBucketResult>",
            CSV.len()
        )),
        "/data/in/a.csv" => file(asked),
        _ => Reply::status(404, "<Error><Code>NoSuchKey</Code></Error>"),
    }
}

fn azure(asked: &Asked) -> Reply {
    let (path, query) = asked.target.split_once('?').unwrap_or((&asked.target, ""));
    match path {
        "/acc/data" if query.contains("comp=list") => Reply::bytes(format!(
            "<?xml version=\"1.0\"?><EnumerationResults><Blobs><Blob><Name>in/a.csv</Name><Properties>\
             <Last-Modified>Mon, 23 Nov 2026 10:00:00 GMT</Last-Modified><Etag>e1</Etag>\
             <Content-Length>{}</Content-Length><Content-Type>text/csv</Content-Type></Properties></Blob></Blobs>\
             <NextMarker/></EnumerationResults>",
            CSV.len()
        )),
        "/acc/data/in/a.csv" => file(asked).with("x-ms-blob-type", "BlockBlob"),
        _ => Reply::status(404, ""),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_of_google_is_read_without_a_key() {
    let server = Server::start(|asked, _| google(asked)).await;
    let config = json!({"bucket": "data", "prefix": "in", "endpoint": server.url("")});
    let rows = connector(ConnectorType::Gcs, config, None).read().await;
    assert_eq!(rows.texts(), ["1|Anna", "2|Ben"]);
    // Nobody's credentials went along, least of all the machine's own.
    assert!(server.asked().iter().all(|asked| !asked.headers.contains_key("authorization")), "{:?}", server.asked());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_signs_for_itself_and_its_key_turns_nothing_off() {
    let server = Server::start(|asked, _| google(asked)).await;
    let other = Server::start(|_, _| Reply::status(500, "")).await;
    let key = json!({
        "type": "service_account", "private_key": PRIVATE_KEY, "private_key_id": "k1",
        "client_email": "reader@project.iam.gserviceaccount.com",
        "token_uri": other.url("/token"), "gcs_base_url": other.url(""), "disable_oauth": true,
    });
    let config = json!({"bucket": "data", "prefix": "in/a.csv", "endpoint": server.url("")});
    let auth = json!({"serviceAccountKey": key.to_string()});
    let rows = connector(ConnectorType::Gcs, config, Some(auth)).read().await;
    assert_eq!(rows.rows.len(), 2);
    assert!(server.asked().iter().all(|asked| asked.headers["authorization"].starts_with("Bearer ey")));
    assert!(other.asked().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_of_azure_is_read_by_key_token_or_nobody() {
    let server = Server::start(|asked, _| azure(asked)).await;
    let config = json!({"account": "acc", "container": "data", "prefix": "in", "endpoint": server.url("/acc")});
    let read = |auth: Option<Value>| {
        let root = connector(ConnectorType::AzureBlob, config.clone(), auth);
        async move { root.read().await.texts() }
    };
    let before = |from: usize| server.asked().split_off(from);
    assert_eq!(read(None).await, ["1|Anna", "2|Ben"]);
    assert!(before(0).iter().all(|asked| !asked.headers.contains_key("authorization")), "{:?}", before(0));
    let from = before(0).len();
    assert_eq!(read(Some(json!({"accountKey": "aGVsbG8="}))).await.len(), 2);
    assert!(before(from).iter().all(|asked| asked.headers["authorization"].starts_with("SharedKey acc:")));
    let from = before(0).len();
    assert_eq!(read(Some(json!({"sasToken": "?sv=2024-01-01&sig=HU%2FSH%3D"}))).await.len(), 2);
    assert!(before(from).iter().all(|asked| asked.target.contains("sig=HU%2FSH%3D")), "{:?}", before(from));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_error_of_a_bucket_shows_a_secret() {
    let server = Server::start(|asked, _| Reply::status(400, &format!("bad request to {}", asked.target))).await;
    let sas = json!({"sasToken": "sv=1&sig=HU%2FSH"});
    let config = json!({"account": "acc", "container": "data", "endpoint": server.url("/acc")});
    let google = json!({"bucket": "data", "endpoint": server.url("")});
    for (kind, config, auth) in [
        (ConnectorType::AzureBlob, config.clone(), sas),
        (ConnectorType::AzureBlob, config.clone(), json!({"accountKey": "HU/SH !"})),
        (ConnectorType::AzureBlob, config.clone(), json!({"sasToken": "HU/SH"})),
        (ConnectorType::AzureBlob, config, json!({"HU/SH": 1})),
        (ConnectorType::Gcs, google.clone(), json!({"serviceAccountKey": "HU/SH"})),
        (ConnectorType::Gcs, google.clone(), json!({"serviceAccountKey": "{\"private_key\": \"HU/SH\"}"})),
        (
            ConnectorType::Gcs,
            google,
            json!({"serviceAccountKey": "{\"private_key\": \"HU/SH\", \"private_key_id\": \"HU/SH\", \"client_email\": \"HU/SH\"}"}),
        ),
    ] {
        let root = connector(kind, config, Some(auth));
        let error = probe(&root.connector(), &root.settings()).await.unwrap_err();
        assert_eq!(error.kind, Kind::Source, "{error}");
        assert!(!error.message.contains("HU/SH") && !error.message.contains("HU%2FSH"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_never_leads_to_metadata() {
    for endpoint in ["http://169.254.169.254", "http://[fd00:ec2::254]:80", "http://0xa9fea9fe"] {
        for (kind, config) in [
            (ConnectorType::Gcs, json!({"bucket": "data", "endpoint": endpoint})),
            (ConnectorType::AzureBlob, json!({"account": "acc", "container": "data", "endpoint": endpoint})),
            (ConnectorType::AwsS3, json!({"bucket": "data", "endpoint": endpoint})),
        ] {
            let root = connector(kind, config, None);
            let error = probe(&root.connector(), &root.settings()).await.unwrap_err();
            assert_eq!(error.kind, Kind::Source, "{error}");
            assert!(error.message.contains("connectors may not reach it"), "{error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployed_worker_reaches_a_private_endpoint_only_where_it_is_allowed_by_name() {
    let server = Server::start(|asked, _| google(asked)).await;
    let open = async |endpoint: String, allowed: &str| {
        let config = json!({"bucket": "data", "prefix": "in", "endpoint": endpoint});
        let mut root = connector(ConnectorType::Gcs, config, None);
        allowed.clone_into(&mut root.allowed);
        let deployed = Settings { files_root: None, ..root.settings() };
        probe(&root.connector(), &deployed).await
    };
    for endpoint in ["http://10.0.0.7:9000".to_owned(), "http://192.168.1.1".to_owned(), server.url("")] {
        let error = open(endpoint, "").await.unwrap_err();
        assert!(error.message.contains("unless the deployment allows the host by name"), "{error}");
    }
    let host = server.url("").replace("http://", "");
    assert!(open(server.url(""), host.trim_end_matches('/')).await.is_ok());
}
