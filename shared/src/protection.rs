//! A task of the worker service protects itself from being scaled in while it has work.

use serde_json::json;
use std::time::Duration;

/// Minutes after which ECS forgets a protection, longer than the longest run.
const MINUTES: u32 = 720;

/// The protection of the task that this process is; nothing at all outside of ECS.
#[derive(Debug, Clone, Default)]
pub struct Protection(Option<(reqwest::Client, String)>);

impl Protection {
    /// Through the agent at this address, which ECS puts into `ECS_AGENT_URI`.
    pub fn new(agent: Option<&str>) -> Self {
        Self(agent.map(|agent| (reqwest::Client::new(), format!("{agent}/task-protection/v1/state"))))
    }

    /// Protects the task, or lets it go. Where the agent does not answer, a run that is cut off is delivered again.
    pub async fn set(&self, protected: bool) {
        let Some((client, url)) = &self.0 else { return };
        let mut body = json!({ "ProtectionEnabled": protected });
        if protected {
            body["ExpiresInMinutes"] = MINUTES.into();
        }
        let sent = client.put(url).json(&body).timeout(Duration::from_secs(2)).send().await;
        if let Err(error) = sent.and_then(reqwest::Response::error_for_status) {
            tracing::warn!(%error, protected, "the task's protection could not be set");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn the_agent_is_told() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let agent = format!("http://{}", listener.local_addr().unwrap());
        let told = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = vec![0; 4096];
            let mut text = String::new();
            while !text.contains('}') {
                let n = stream.read(&mut bytes).await.unwrap();
                text += &String::from_utf8_lossy(&bytes[..n]);
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
            text
        });
        Protection::new(Some(&agent)).set(true).await;
        let told = told.await.unwrap();
        assert!(told.starts_with("PUT /task-protection/v1/state"), "{told}");
        assert!(told.contains("\"ProtectionEnabled\":true"), "{told}");
    }
}
