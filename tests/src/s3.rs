//! An S3 server in this process over a folder, which can hold requests back and counts them.

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::SimpleAuth;
use s3s::path::S3Path;
use s3s::service::S3ServiceBuilder;
use s3s::{S3Error, S3ErrorCode, S3Result};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// The one key that the server knows.
pub const ACCESS_KEY: &str = "AKIAFLOWGATE";
/// The secret of [`ACCESS_KEY`].
pub const SECRET_KEY: &str = "the-secret-of-the-test";

/// A running server; it ends with the runtime that it was started on.
pub struct S3 {
    /// `http://127.0.0.1:port`.
    pub endpoint: String,
    folder: PathBuf,
    gate: Arc<Gate>,
}

impl S3 {
    /// Starts a server on any free port, whose buckets are the folders of `folder`.
    pub async fn start(folder: &Path) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let gate = Arc::new(Gate {
            held: Mutex::default(),
            unwritten: Mutex::default(),
            open: watch::Sender::new(true),
            asked: Mutex::default(),
        });
        let mut service = S3ServiceBuilder::new(s3s_fs::FileSystem::new(folder).unwrap());
        service.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        service.set_access(Guard { gate: Arc::clone(&gate), folder: folder.to_owned() });
        let service = service.build();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service = service.clone();
                tokio::spawn(async move {
                    let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { endpoint, folder: folder.to_owned(), gate }
    }

    /// The folder of a bucket, made where it is not there yet.
    pub fn bucket(&self, name: &str) -> PathBuf {
        let folder = self.folder.join(name);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// Puts an object there, without a request.
    pub fn put(&self, bucket: &str, key: &str, content: impl AsRef<[u8]>) {
        let path = self.bucket(bucket).join(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// From now on whoever reads this key beyond its first byte waits until [`S3::release`].
    pub fn hold(&self, key: &str) {
        self.gate.open.send_replace(false);
        *self.gate.held.lock().unwrap() = key.to_owned();
    }

    /// From now on whoever writes a key that begins with this waits until [`S3::release`].
    pub fn hold_writes(&self, prefix: &str) {
        self.gate.open.send_replace(false);
        *self.gate.unwritten.lock().unwrap() = Some(prefix.to_owned());
    }

    /// Lets those go on who wait.
    pub fn release(&self) {
        self.gate.open.send_replace(true);
    }

    /// How often an operation such as `ListObjectsV2` was asked for.
    pub fn asked(&self, operation: &str) -> usize {
        self.gate.asked.lock().unwrap().get(operation).copied().unwrap_or_default()
    }

    /// The body that creates an `aws_s3` connector to a prefix of a bucket.
    pub fn connector(&self, name: &str, bucket: &str, prefix: &str) -> Value {
        json!({
            "name": name, "type": "aws_s3", "authMethod": "access_key",
            "config": {"bucket": bucket, "prefix": prefix, "region": "us-east-1", "endpoint": self.endpoint},
            "authConfig": {"accessKeyId": ACCESS_KEY, "secretAccessKey": SECRET_KEY}
        })
    }

    /// The variables with which AWS's clients find this server.
    pub fn environment(&self) -> HashMap<String, String> {
        let variables = [
            ("AWS_ENDPOINT_URL", self.endpoint.as_str()),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
        ];
        variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }
}

/// What requests meet on their way in.
struct Gate {
    held: Mutex<String>,
    /// The start of keys that are not written before it is open.
    unwritten: Mutex<Option<String>>,
    open: watch::Sender<bool>,
    asked: Mutex<HashMap<String, usize>>,
}

struct Guard {
    gate: Arc<Gate>,
    folder: PathBuf,
}

impl S3Access for Guard {
    // Written out what `async` in a trait stands for.
    fn check<'a, 'b, 'c, 'out>(
        &'a self,
        cx: &'b mut S3AccessContext<'c>,
    ) -> Pin<Box<dyn Future<Output = S3Result<()>> + Send + 'out>>
    where
        'a: 'out,
        'b: 'out,
        'c: 'out,
        Self: 'out,
    {
        let (known, operation) = (cx.credentials().is_some(), cx.s3_op().name().to_owned());
        let range = cx.headers().get("range").and_then(|range| range.to_str().ok()).unwrap_or_default().to_owned();
        let is_held = operation == "GetObject"
            && !range.is_empty()
            && !range.starts_with("bytes=0-")
            && matches!(cx.s3_path(), S3Path::Object { key, .. } if **key == **self.gate.held.lock().unwrap());
        let prefix = self.gate.unwritten.lock().unwrap().clone();
        let is_unwritten = operation == "PutObject"
            && matches!((cx.s3_path(), &prefix), (S3Path::Object { key, .. }, Some(prefix)) if key.starts_with(prefix));
        // S3 has no folders, so none of them is an object.
        let is_folder = ["HeadObject", "GetObject"].contains(&operation.as_str())
            && matches!(cx.s3_path(), S3Path::Object { bucket, key } if self.folder.join(&**bucket).join(&**key).is_dir());
        *self.gate.asked.lock().unwrap().entry(operation).or_default() += 1;
        let mut open = self.gate.open.subscribe();
        Box::pin(async move {
            if !known {
                return Err(S3Error::new(S3ErrorCode::AccessDenied));
            }
            if is_folder {
                return Err(S3Error::new(S3ErrorCode::NoSuchKey));
            }
            if is_held || is_unwritten {
                let _ = open.wait_for(|open| *open).await;
            }
            Ok(())
        })
    }
}
