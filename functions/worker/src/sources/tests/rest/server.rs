//! A small HTTP server for tests, on this machine.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What was asked.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    /// The path and the query.
    pub target: String,
    /// By their names in lower case.
    pub headers: HashMap<String, String>,
    pub body: String,
}

impl Asked {
    /// A parameter of the query, as it was sent.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let (_, query) = self.target.split_once('?')?;
        query.split('&').find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name)).map(|(_, value)| value)
    }
}

/// What is answered.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// Ends the connection before the end of the body.
    cut: bool,
    /// Says nothing at all, and leaves the connection open.
    silent: bool,
}

impl Reply {
    pub fn json(body: impl ToString) -> Self {
        Self::bytes(body.to_string())
    }

    pub fn bytes(body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, body: body.into(), ..Self::default() }
    }

    pub fn status(status: u16, body: &str) -> Self {
        Self { status, body: body.into(), ..Self::default() }
    }

    pub fn silence() -> Self {
        Self { silent: true, ..Self::default() }
    }

    pub fn cut(mut self) -> Self {
        self.cut = true;
        self
    }

    pub fn with(mut self, header: &str, value: impl ToString) -> Self {
        self.headers.push((header.to_owned(), value.to_string()));
        self
    }
}

/// A running server, which ends when it is dropped.
pub struct Server {
    pub port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: JoinHandle<()>,
}

impl Server {
    /// Answers what `answer` says; its second argument is the number of the request, from 0.
    pub async fn start(answer: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (log, answer) = (Arc::clone(&asked), Arc::new(answer));
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
                connections.spawn(async move {
                    // A client may go away at any time.
                    let _ = serve(stream, &log, answer.as_ref()).await;
                });
            }
        });
        Self { port, asked, task }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub fn targets(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.target).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    stream: TcpStream,
    log: &Mutex<Vec<Asked>>,
    answer: &(impl Fn(&Asked, usize) -> Reply + Send + Sync),
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    let asked = Asked { method, target, headers, body: String::from_utf8(body).unwrap() };
    let number = {
        let mut log = log.lock().unwrap();
        log.push(asked.clone());
        log.len() - 1
    };
    let reply = answer(&asked, number);
    if reply.silent {
        // Until the client has had enough.
        stream.read_u8().await?;
    }
    let mut head = format!("HTTP/1.1 {} Word\r\nconnection: close\r\n", reply.status);
    if reply.status != 204 {
        let length = reply.body.len() + usize::from(reply.cut) * 10;
        head.push_str(&format!("content-length: {length}\r\n"));
    }
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    if asked.method == "HEAD" {
        stream.write_all(head.as_bytes()).await?;
        return stream.shutdown().await;
    }
    stream.write_all(&[head.as_bytes(), &reply.body].concat()).await?;
    stream.shutdown().await
}
