//! The guard, from outside: names, spellings of addresses, and what the deployment allows.

use super::*;

fn client(allowed: &str) -> Client {
    let allowed = AllowedHost::list(allowed).unwrap();
    Client::new(Reach::Public, &allowed, Duration::from_secs(5)).unwrap()
}

async fn ask(client: &Client, url: &str) -> Result<reqwest::Response, Failure> {
    client.send(reqwest::Request::new(reqwest::Method::GET, Url::parse(url).unwrap())).await
}

#[tokio::test]
async fn an_address_is_refused_in_every_spelling() {
    let client = client("");
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "017700000001",
        "0x7f000001",
        "127.0.0.1.",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "169.254.169.254",
        "0xa9fea9fe",
        "[fd00:ec2::254]",
        "0",
        "%31%32%37.0.0.1",
        "１２７.0.0.1",
    ] {
        let failure = ask(&client, &format!("http://{host}:9/")).await.unwrap_err();
        assert!(matches!(failure, Failure::Forbidden(_)), "{host}: {failure}");
    }
}

#[tokio::test]
async fn a_name_is_refused_by_what_it_leads_to() {
    for host in ["localhost", "LOCALHOST"] {
        let failure = ask(&client(""), &format!("http://{host}:9/")).await.unwrap_err();
        let text = failure.to_string();
        assert!(matches!(failure, Failure::Forbidden(_)), "{host}: {text}");
        assert!(text.contains("leads to") && text.contains("the worker's own address"), "{text}");
    }
}

#[tokio::test]
async fn what_the_deployment_names_is_reached_at_that_port_only() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let allowed = client(&format!("localhost:{port},127.0.0.1:{port}"));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            let answer = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
            stream.write_all(answer).await.unwrap();
        }
    });
    assert_eq!(ask(&allowed, &format!("http://127.0.0.1:{port}/")).await.unwrap().status(), 204);
    let failure = ask(&allowed, &format!("http://127.0.0.1:{}/", port ^ 1)).await.unwrap_err();
    assert!(matches!(failure, Failure::Forbidden(_)), "{failure}");
    let failure = ask(&allowed, "http://user:HUSH@example.com/").await.unwrap_err();
    assert!(matches!(failure, Failure::Url(_)) && !failure.to_string().contains("HUSH"), "{failure}");
}
