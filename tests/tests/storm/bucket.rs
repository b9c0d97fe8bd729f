//! An S3 bucket in memory: what tables and sources lie in, without a request's cost, and easy to look into afterwards.

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, Response, StatusCode, Uri};
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard};

/// The most keys in a page of a listing, few so that there are several pages.
const PAGE: usize = 500;

#[derive(Default)]
struct Inside {
    objects: BTreeMap<String, Object>,
    /// Uploads in parts that are not at their end, with the keys that they are for.
    uploads: BTreeMap<String, (String, BTreeMap<u32, Bytes>)>,
    /// The tags of what came of those that are: who asks again for an end that was lost on its way hears of it again.
    completed: BTreeMap<String, String>,
    count: u64,
}

#[derive(Clone)]
struct Object {
    bytes: Bytes,
    tag: String,
    /// A table's log is tidied up by the age of its files.
    modified: DateTime<Utc>,
}

/// All buckets; the first part of a key names one.
#[derive(Default)]
pub struct Buckets(Mutex<Inside>);

impl Buckets {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap()
    }

    /// Puts an object there without a request.
    pub fn put(&self, key: &str, bytes: impl Into<Bytes>) {
        self.inside().put(key, bytes.into());
    }

    /// The keys that begin with `prefix`, with their objects.
    pub fn below(&self, prefix: &str) -> Vec<(String, Bytes)> {
        let inside = self.inside();
        let found = inside.objects.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix));
        found.map(|(key, object)| (key.clone(), object.bytes.clone())).collect()
    }

    /// The keys of uploads that were begun and neither ended nor given up.
    pub fn unfinished(&self) -> Vec<String> {
        self.inside().uploads.values().map(|(key, _)| key.clone()).collect()
    }

    /// Answers one request of the S3 protocol; signatures are not looked at.
    pub fn answer(&self, method: &Method, uri: &Uri, headers: &HeaderMap, body: Bytes) -> Response<Body> {
        let key = decode(uri.path().trim_start_matches('/'));
        let query: BTreeMap<String, String> = uri
            .query()
            .unwrap_or_default()
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| (decode(name), decode(value)))
            .collect();
        let mut inside = self.inside();
        match method.as_str() {
            "GET" if query.contains_key("list-type") => inside.list(&key, &query),
            "GET" | "HEAD" => inside.get(&key, method == Method::HEAD, headers),
            "PUT" if query.contains_key("uploadId") => inside.part(&query, body),
            "PUT" => {
                if headers.get("if-none-match").is_some() && inside.objects.contains_key(&key) {
                    return error(StatusCode::PRECONDITION_FAILED, "PreconditionFailed");
                }
                let tag = inside.put(&key, body);
                Response::builder().header("etag", tag).body(Body::empty()).unwrap()
            }
            "POST" if query.contains_key("delete") => {
                let body = String::from_utf8_lossy(&body).into_owned();
                let bucket = key.trim_end_matches('/');
                let mut deleted = String::new();
                for name in body.split("<Key>").skip(1).filter_map(|rest| rest.split("</Key>").next()) {
                    inside.objects.remove(&format!("{bucket}/{name}"));
                    write!(deleted, "<Deleted><Key>{name}</Key></Deleted>").unwrap();
                }
                xml(format!("<DeleteResult>{deleted}</DeleteResult>"))
            }
            "POST" if query.contains_key("uploads") => {
                inside.count += 1;
                let id = format!("upload-{}", inside.count);
                inside.uploads.insert(id.clone(), (key, BTreeMap::new()));
                let result = "InitiateMultipartUploadResult";
                xml(format!("<{result}><UploadId>{id}</UploadId></{result}>"))
            }
            "POST" => {
                let id = query.get("uploadId").cloned().unwrap_or_default();
                if let Some((_, parts)) = inside.uploads.remove(&id) {
                    let whole: Vec<u8> = parts.into_values().flatten().collect();
                    let tag = inside.put(&key, whole.into());
                    inside.completed.insert(id.clone(), tag);
                }
                let result = "CompleteMultipartUploadResult";
                match inside.completed.get(&id) {
                    None => error(StatusCode::NOT_FOUND, "NoSuchUpload"),
                    Some(tag) => xml(format!("<{result}><ETag>{tag}</ETag></{result}>")),
                }
            }
            "DELETE" => {
                match query.get("uploadId") {
                    Some(id) => drop(inside.uploads.remove(id)),
                    None => drop(inside.objects.remove(&key)),
                }
                Response::builder().status(204).body(Body::empty()).unwrap()
            }
            _ => error(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
        }
    }
}

impl Inside {
    fn put(&mut self, key: &str, bytes: Bytes) -> String {
        self.count += 1;
        let tag = format!("\"{:x}\"", self.count);
        self.objects.insert(key.to_owned(), Object { bytes, tag: tag.clone(), modified: Utc::now() });
        tag
    }

    fn part(&mut self, query: &BTreeMap<String, String>, body: Bytes) -> Response<Body> {
        let number = query.get("partNumber").and_then(|n| n.parse().ok()).unwrap_or(0);
        match self.uploads.get_mut(query.get("uploadId").map_or("", String::as_str)) {
            None => error(StatusCode::NOT_FOUND, "NoSuchUpload"),
            Some((_, parts)) => {
                parts.insert(number, body);
                Response::builder().header("etag", format!("\"part-{number}\"")).body(Body::empty()).unwrap()
            }
        }
    }

    fn get(&self, key: &str, head: bool, headers: &HeaderMap) -> Response<Body> {
        let Some(object) = self.objects.get(key) else { return error(StatusCode::NOT_FOUND, "NoSuchKey") };
        let length = object.bytes.len();
        let answer = Response::builder()
            .header("etag", &object.tag)
            .header("last-modified", object.modified.format("%a, %d %b %Y %H:%M:%S GMT").to_string())
            .header("accept-ranges", "bytes");
        if head {
            return answer.header("content-length", length).body(Body::empty()).unwrap();
        }
        let range = headers.get("range").and_then(|range| range.to_str().ok()?.strip_prefix("bytes="));
        let Some((from, to)) = range.and_then(|range| range.split_once('-')) else {
            return answer.body(object.bytes.clone().into()).unwrap();
        };
        let (from, to) = match (from.parse::<usize>(), to.parse::<usize>()) {
            (Ok(from), Ok(to)) => (from, to.min(length.saturating_sub(1))),
            (Ok(from), Err(_)) => (from, length.saturating_sub(1)),
            (Err(_), Ok(last)) => (length.saturating_sub(last), length.saturating_sub(1)),
            _ => return error(StatusCode::BAD_REQUEST, "InvalidArgument"),
        };
        if from >= length {
            return error(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange");
        }
        let answer = answer.status(206).header("content-range", format!("bytes {from}-{to}/{length}"));
        answer.body(object.bytes.slice(from..=to).into()).unwrap()
    }

    fn list(&self, bucket: &str, query: &BTreeMap<String, String>) -> Response<Body> {
        let text = |name: &str| query.get(name).cloned().unwrap_or_default();
        let bucket = format!("{}/", bucket.trim_end_matches('/'));
        let (prefix, delimiter) = (text("prefix"), text("delimiter"));
        let after = text("start-after").max(text("continuation-token"));
        let start = format!("{bucket}{prefix}");
        let (mut found, mut folders, mut last) = (String::new(), Vec::new(), None);
        let mut count = 0;
        for (key, object) in self.objects.range(start.clone()..).take_while(|(key, _)| key.starts_with(&start)) {
            let key = &key[bucket.len()..];
            if key <= after.as_str() {
                continue;
            }
            if count == PAGE {
                break;
            }
            let rest = &key[prefix.len()..];
            match rest.find(&delimiter).filter(|_| !delimiter.is_empty()) {
                Some(at) => {
                    let folder = format!("{prefix}{}{delimiter}", &rest[..at]);
                    if folders.last() != Some(&folder) {
                        folders.push(folder);
                    }
                }
                None => {
                    count += 1;
                    last = Some(key.to_owned());
                    write!(
                        found,
                        "<Contents><Key>{key}</Key><LastModified>{}</LastModified>\
                         <ETag>{}</ETag><Size>{}</Size><StorageClass>STANDARD</StorageClass></Contents>",
                        object.modified.format("%Y-%m-%dT%H:%M:%S%.3fZ"),
                        object.tag.replace('"', "&quot;"),
                        object.bytes.len()
                    )
                    .unwrap();
                }
            }
        }
        let more = count == PAGE;
        for folder in folders {
            write!(found, "<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>").unwrap();
        }
        if let Some(last) = last.filter(|_| more) {
            write!(found, "<NextContinuationToken>{last}</NextContinuationToken>").unwrap();
        }
        let head = format!("<Name>{}</Name><Prefix>{prefix}</Prefix>", bucket.trim_end_matches('/'));
        xml(format!(
            "<ListBucketResult>{head}<KeyCount>{count}</KeyCount><IsTruncated>{more}</IsTruncated>{found}</ListBucketResult>"
        ))
    }
}

fn xml(body: String) -> Response<Body> {
    let body = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>{body}");
    Response::builder().header("content-type", "application/xml").body(body.into()).unwrap()
}

/// An error as S3 answers it.
pub fn error(status: StatusCode, code: &str) -> Response<Body> {
    let mut answer = xml(format!("<Error><Code>{code}</Code><Message>{code}</Message></Error>"));
    *answer.status_mut() = status;
    answer
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let pair: Vec<u8> = rest.by_ref().take(2).collect();
                u8::from_str_radix(std::str::from_utf8(&pair).unwrap(), 16).unwrap()
            }
            b'+' => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).unwrap()
}
