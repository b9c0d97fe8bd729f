//! The servers that a recipe speaks of: a database, a bucket, an API. Their addresses on the page are those that such
//! servers usually have; in the place of them come the ones of servers that the test starts.

use super::page::Block;
use super::play::same;
use axum::Router;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Json, Response};
use serde_json::{Value, json};
use shared::hosts::AllowedHost;
use std::collections::HashMap;
use std::sync::Arc;
use tests::s3::{ACCESS_KEY, S3, SECRET_KEY};
use tests::servers::{PASSWORD, Postgres, USER};
use tokio::net::TcpListener;

/// What a block begins with that is run in PostgreSQL.
const SQL: &str = "psql";
/// What a block begins with whose rows a query of PostgreSQL must answer.
const QUERY: &str = "psql -c ";
const BUCKET: &str = "s3://";
const API: &str = "http://127.0.0.1:8080";

/// The servers of one recipe.
pub struct Around {
    postgres: Option<Postgres>,
    s3: Option<(S3, tempfile::TempDir)>,
    api: Option<String>,
}

impl Around {
    /// Starts what the blocks speak of; none where a database server is not installed.
    pub async fn of(blocks: &[Block]) -> Option<Self> {
        let speaks = |start: &str| blocks.iter().any(|block| block.what.starts_with(start));
        let postgres = if speaks(SQL) { Some(Postgres::new().await?) } else { None };
        let s3 = if speaks(BUCKET) {
            let folder = tempfile::tempdir().unwrap();
            Some((S3::start(folder.path()).await, folder))
        } else {
            None
        };
        let answers: HashMap<String, Value> = blocks
            .iter()
            .filter_map(|block| {
                let path = block.what.strip_prefix("GET ")?.strip_prefix(API)?;
                Some((path.to_owned(), serde_json::from_str(&block.text).unwrap()))
            })
            .collect();
        let api = if answers.is_empty() { None } else { Some(serve(answers).await) };
        Some(Self { postgres, s3, api })
    }

    /// Whom sources may ask though they are on this machine.
    pub fn allowed(&self) -> Vec<AllowedHost> {
        self.api.as_deref().map(|host| AllowedHost::list(host).unwrap()).unwrap_or_default()
    }

    /// Does what a block says to one of the servers; false where it says nothing to them.
    pub async fn takes(&self, block: &Block) -> bool {
        if let Some(query) = block.what.strip_prefix(QUERY) {
            let query = format!("SELECT row_to_json(t) FROM ({query}) t");
            let rows = self.postgres.as_ref().unwrap().texts(&query).await;
            let rows: Vec<Value> = rows.iter().map(|row| serde_json::from_str(row).unwrap()).collect();
            let wanted: Vec<Value> = serde_json::from_str(&block.text).unwrap();
            same(&block.what, &rows, &wanted);
        } else if block.what == SQL {
            self.postgres.as_ref().unwrap().run(&block.text).await;
        } else if let Some(object) = block.what.strip_prefix(BUCKET) {
            let (bucket, key) = object.split_once('/').unwrap();
            self.s3.as_ref().unwrap().0.put(bucket, key, &block.text);
        } else {
            return block.what.starts_with("GET ");
        }
        true
    }

    /// `text` with the addresses and keys of these servers.
    pub fn with_addresses(&self, text: &str) -> String {
        let mut text = text.to_owned();
        if let Some(postgres) = &self.postgres {
            let port = postgres.server.port.to_string();
            text = text
                .replace("5432", &port)
                .replace("\"erp\", \"sslMode\"", &format!("{}, \"sslMode\"", json!(postgres.name)))
                .replace("\"etl\"", &json!(USER).to_string())
                .replace("\"the password\"", &json!(PASSWORD).to_string());
        }
        if let Some((s3, _)) = &self.s3 {
            text = text
                .replace("http://127.0.0.1:9000", &s3.endpoint)
                .replace("the key id", ACCESS_KEY)
                .replace("the secret key", SECRET_KEY);
        }
        if let Some(api) = &self.api {
            text = text.replace(API, &format!("http://{api}"));
        }
        text
    }
}

/// An API that gives these answers to who has the token, and its address.
async fn serve(answers: HashMap<String, Value>) -> String {
    let answers = Arc::new(answers);
    let handler = move |uri: Uri, headers: axum::http::HeaderMap| async move { answer(&answers, &uri, &headers) };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(handler)).await });
    host
}

fn answer(answers: &HashMap<String, Value>, uri: &Uri, headers: &axum::http::HeaderMap) -> Response {
    if headers.get("authorization").is_none_or(|token| token != "Bearer the token") {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    match answers.get(&uri.to_string()) {
        Some(answer) => Json(answer.clone()).into_response(),
        None => (StatusCode::NOT_FOUND, uri.to_string()).into_response(),
    }
}
