//! A small client of the API, as a user would write one.

use reqwest::{Client, Method};
use serde_json::Value;
use shared::error::BoxError;

/// The API of a stack, with a token.
pub struct Api {
    client: Client,
    base: String,
    token: String,
}

impl Api {
    /// The API at `url`.
    ///
    /// # Errors
    /// Where no client can be made, which is a defect.
    pub fn new(url: &str, token: &str) -> Result<Self, BoxError> {
        // A proxy of the environment has no business between two ends on this machine.
        let client = Client::builder().no_proxy().build()?;
        Ok(Self { client, base: format!("{url}/api/v1"), token: token.to_owned() })
    }

    /// What `path` answers.
    ///
    /// # Errors
    /// Where it does not answer, or not with success.
    pub async fn get(&self, path: &str) -> Result<Value, BoxError> {
        self.call(Method::GET, path, None).await
    }

    /// What `path` answers to `body`.
    ///
    /// # Errors
    /// Where it does not answer, or not with success.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, BoxError> {
        self.call(Method::POST, path, Some(body)).await
    }

    /// Makes what `body` describes, unless there is one of its name, as after an earlier demo in the same folder;
    /// that one is brought to what `body` says.
    ///
    /// # Errors
    /// Where it can be neither found nor made.
    pub async fn ensure(&self, collection: &str, body: Value) -> Result<Value, BoxError> {
        let existing = self.get(&format!("{collection}?limit=100")).await?;
        let known = existing["data"].as_array().into_iter().flatten().find(|item| item["name"] == body["name"]);
        match known.and_then(|item| item["id"].as_str()) {
            None => self.post(collection, &body).await,
            Some(id) => self.call(Method::PUT, &format!("{collection}/{id}"), Some(&body)).await,
        }
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, BoxError> {
        let mut request = self.client.request(method.clone(), format!("{}/{path}", self.base)).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await?;
        let status = response.status();
        let answer = response.text().await?;
        if !status.is_success() {
            return Err(format!("{method} /api/v1/{path} answered {status}: {answer}").into());
        }
        Ok(serde_json::from_str(&answer)?)
    }
}
