//! `aws_s3` against a real S3 server.

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use serde_json::json;
use std::io::Write;
use std::path::Path;
use tests::World;
use tokio::net::TcpListener;

async fn server(folder: &Path) -> String {
    let mut service = S3ServiceBuilder::new(s3s_fs::FileSystem::new(folder).unwrap());
    service.set_auth(SimpleAuth::from_single("AKIA", "secret"));
    let service = service.build();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = service.clone();
            tokio::spawn(async move {
                let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    url
}

#[tokio::test]
async fn files_of_a_bucket_become_rows() {
    let world = World::new().await;
    let bucket = world.folder().join("s3/in-put/2026");
    std::fs::create_dir_all(&bucket).unwrap();
    std::fs::write(bucket.join("a.csv"), "id,name\n1,Ada\n2,Bob\n").unwrap();
    let mut gzip =
        flate2::write::GzEncoder::new(std::fs::File::create(bucket.join("b.csv.gz")).unwrap(), Default::default());
    gzip.write_all(b"name,id\nCyd,3\n").unwrap();
    gzip.finish().unwrap();
    std::fs::write(bucket.join("notes.txt"), "not data").unwrap();
    let endpoint = server(&world.folder().join("s3")).await;
    let connector = |name: &str, secret: &str| {
        json!({
            "name": name, "type": "aws_s3", "authMethod": "access_key",
            "config": {"bucket": "in-put", "prefix": "2026/*.csv*", "region": "us-east-1", "endpoint": endpoint},
            "authConfig": {"accessKeyId": "AKIA", "secretAccessKey": secret}
        })
    };
    let id = world.api.create("/connectors", &connector("good", "secret")).await;
    let test = world.api.post(&format!("/connectors/{id}/test"), &json!({})).await.expect(200).json();
    assert_eq!(test["ok"], true, "{test}");
    assert_eq!(world.api.get(&format!("/connectors/{id}")).await.json()["status"], "ok");
    let schema = world
        .schema("people", json!([{"name": "id", "dataType": "integer"}, {"name": "name", "dataType": "text"}]))
        .await;
    let pipeline = world.copy(&id, &schema).await;
    let run = world.run(&pipeline).await;
    assert_eq!((&run["status"], &run["rowsOut"]), (&json!("completed"), &json!(3)), "{run}");
    let mut names: Vec<_> = world.api.rows(&schema).await.iter().map(|r| format!("{}{}", r["id"], r["name"])).collect();
    names.sort();
    assert_eq!(names, ["1\"Ada\"", "2\"Bob\"", "3\"Cyd\""]);
    // A wrong key is said, and never shown.
    let bad = world.api.create("/connectors", &connector("bad", "wrong-secret")).await;
    let test = world.api.post(&format!("/connectors/{bad}/test"), &json!({})).await.expect(200);
    assert_eq!(test.json()["ok"], false);
    assert!(!test.text.contains("wrong-secret"));
}
