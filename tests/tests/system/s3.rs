//! `aws_s3` against a real S3 server.

use deltalake::logstore::object_store::aws::AmazonS3Builder;
use deltalake::logstore::object_store::path::Path as Key;
use deltalake::logstore::object_store::{MultipartUpload, ObjectStoreExt};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::Write as _;
use tests::World;
use tests::s3::{ACCESS_KEY, S3, SECRET_KEY};

const BUCKET: &str = "in-put";

async fn world() -> (World, S3) {
    let world = World::new().await;
    let s3 = S3::start(&world.folder().join("s3")).await;
    s3.bucket(BUCKET);
    (world, s3)
}

async fn people(world: &World) -> String {
    let fields = json!([{"name": "id", "dataType": "integer"}, {"name": "name", "dataType": "text"}]);
    world.schema("people", fields).await
}

fn gzip(text: &str) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), Default::default());
    gzip.write_all(text.as_bytes()).unwrap();
    gzip.finish().unwrap()
}

/// Reads a prefix into a table of its own: `id` and `name` of each row, in order.
async fn read(world: &World, s3: &S3, name: &str, prefix: &str) -> Vec<String> {
    let connector = world.api.create("/connectors", &s3.connector(name, BUCKET, prefix)).await;
    let fields = json!([{"name": "id", "dataType": "integer"}, {"name": "name", "dataType": "text"}]);
    let schema = world.schema(name, fields).await;
    let run = world.run(&world.copy(&connector, &schema).await).await;
    let rows = world.api.rows(&schema).await;
    assert_eq!((&run["status"], &run["rowsOut"]), (&json!("completed"), &json!(rows.len())), "{prefix}: {run}");
    let mut rows: Vec<_> = rows.iter().map(|r| format!("{} {}", r["id"], r["name"].as_str().unwrap())).collect();
    rows.sort();
    rows
}

#[tokio::test]
async fn a_key_a_folder_and_a_glob_become_rows() {
    let (world, s3) = world().await;
    s3.put(BUCKET, "2026/a.csv", "id,name\n1,Ada\n2,Bob\n");
    s3.put(BUCKET, "2026/b.csv.gz", gzip("name,id\nCyd,3\n"));
    s3.put(BUCKET, "2026/more/c.csv", "id,name\n4,Dan\n");
    s3.put(BUCKET, "2026/notes.txt", "not data");
    s3.put(BUCKET, "2027/d.csv", "id,name\n5,Eve\n");
    s3.put(BUCKET, "a name, with: (signs) + ümlaut.csv", "id,name\n6,Fay\n");
    assert_eq!(read(&world, &s3, "key", "2026/a.csv").await, ["1 Ada", "2 Bob"]);
    assert_eq!(read(&world, &s3, "gzip", "2026/b.csv.gz").await, ["3 Cyd"]);
    assert_eq!(read(&world, &s3, "folder", "2026/").await, ["1 Ada", "2 Bob", "3 Cyd", "4 Dan"]);
    assert_eq!(read(&world, &s3, "glob", "2026/*.csv*").await, ["1 Ada", "2 Bob", "3 Cyd"]);
    assert_eq!(read(&world, &s3, "deep", "20*/*.csv").await, ["1 Ada", "2 Bob", "5 Eve"]);
    assert_eq!(read(&world, &s3, "signs", "a name, with: (signs) + ümlaut.csv").await, ["6 Fay"]);
}

#[tokio::test]
async fn more_keys_than_a_page_of_a_listing_has_are_all_read() {
    const FILES: usize = 1100;
    let (world, s3) = world().await;
    for n in 0..FILES {
        s3.put(BUCKET, &format!("many/{n}.csv"), format!("id,name\n{n},n\n"));
    }
    let connector = world.api.create("/connectors", &s3.connector("many", BUCKET, "many/")).await;
    let test = world.api.post(&format!("/connectors/{connector}/test"), &json!({})).await.expect(200).json();
    assert!(test["detail"].as_str().unwrap().starts_with(&format!("Found {FILES} csv files")), "{test}");
    assert_eq!(s3.asked("ListObjectsV2"), 2, "a page has 1000 keys");
    let schema = people(&world).await;
    let run = world.run(&world.copy(&connector, &schema).await).await;
    assert_eq!((&run["status"], &run["rowsOut"]), (&json!("completed"), &json!(FILES)), "{run}");
}

#[tokio::test]
async fn an_object_that_was_uploaded_in_parts_is_read_whole() {
    const ROWS: usize = 150_000;
    let (world, s3) = world().await;
    let mut text = "id,name\n".to_owned();
    for n in 0..ROWS {
        writeln!(text, "{n},{:x<80}", "").unwrap();
    }
    let client = AmazonS3Builder::new()
        .with_endpoint(&s3.endpoint)
        .with_allow_http(true)
        .with_region("us-east-1")
        .with_bucket_name(BUCKET)
        .with_access_key_id(ACCESS_KEY)
        .with_secret_access_key(SECRET_KEY)
        .build()
        .unwrap();
    let key = Key::from("parts.csv");
    let mut upload = client.put_multipart(&key).await.unwrap();
    // Parts end in the middle of rows; all but the last have 5 MiB at least.
    for part in text.as_bytes().chunks(5 << 20) {
        upload.put_part(part.to_vec().into()).await.unwrap();
    }
    upload.complete().await.unwrap();
    let tag = client.head(&key).await.unwrap().e_tag.unwrap();
    assert!(tag.contains("-3"), "the tag of three parts: {tag}");
    let connector = world.api.create("/connectors", &s3.connector("parts", BUCKET, "parts.csv")).await;
    let schema = people(&world).await;
    let run = world.run(&world.copy(&connector, &schema).await).await;
    assert_eq!((&run["status"], &run["rowsOut"]), (&json!("completed"), &json!(ROWS)), "{run}");
}

/// What a test of a connector says, and how a run with it ends; neither may show a secret.
async fn refused(world: &World, schema: &str, name: &str, body: Value) -> (String, Value) {
    let connector = world.api.create("/connectors", &body).await;
    let test = world.api.post(&format!("/connectors/{connector}/test"), &json!({})).await.expect(200);
    assert_eq!(test.json()["ok"], false, "{name}: {}", test.text);
    let read = world.api.get(&format!("/connectors/{connector}")).await.expect(200);
    assert_eq!(read.json()["status"], "failed", "{name}");
    let body = json!({
        "name": name, "connectorId": connector, "schemaId": schema, "executionConfig": {"retry": {"maxAttempts": 1}}
    });
    let pipeline = world.api.create("/pipelines", &body).await;
    let run = world.run(&pipeline).await;
    assert_eq!((&run["status"], &run["error"]["code"]), (&json!("failed"), &json!("SOURCE_ERROR")), "{name}: {run}");
    let path = format!("/pipelines/{pipeline}/runs/{}/progress", run["id"].as_str().unwrap());
    let progress = world.api.get(&path).await.expect(200);
    for text in [&test.text, &read.text, &run.to_string(), &progress.text] {
        assert!(!text.contains(SECRET_KEY) && !text.contains("a-wrong-secret"), "{name} shows a secret: {text}");
    }
    (test.json()["detail"].as_str().unwrap().to_owned(), run)
}

#[tokio::test]
async fn a_wrong_key_and_a_missing_bucket_are_said_clearly_and_without_secrets() {
    let (world, s3) = world().await;
    s3.put(BUCKET, "a.csv", "id,name\n1,Ada\n");
    let schema = people(&world).await;
    let with = |name: &str, key: &str, secret: &str| {
        let mut body = s3.connector(name, BUCKET, "a.csv");
        body["authConfig"] = json!({"accessKeyId": key, "secretAccessKey": secret});
        body
    };
    for (name, body) in [
        ("wrong secret", with("wrong secret", ACCESS_KEY, "a-wrong-secret")),
        ("unknown key", with("unknown key", "AKIANOBODY", SECRET_KEY)),
    ] {
        let (said, run) = refused(&world, &schema, name, body).await;
        let error = run["error"]["message"].as_str().unwrap();
        for said in [said.as_str(), error] {
            assert!(said.contains("access key") && said.contains(name) && said.contains("a.csv"), "{name}: {said}");
        }
    }
    let (said, run) = refused(&world, &schema, "no bucket", s3.connector("no bucket", "no-such-bucket", "")).await;
    for said in [said.as_str(), run["error"]["message"].as_str().unwrap()] {
        assert!(said.contains("no such bucket") && said.contains("no-such-bucket"), "{said}");
    }
    let key = s3.connector("no bucket either", "no-such-bucket", "a.csv");
    let (said, _) = refused(&world, &schema, "no bucket either", key).await;
    assert!(said.contains("no such bucket"), "{said}");
    let (said, _) = refused(&world, &schema, "no key", s3.connector("no key", BUCKET, "b.csv")).await;
    assert!(said.contains("b.csv") && said.contains("a.csv"), "it says what is there instead: {said}");
}
