//! The queues: messages carry ids only, and what they mean is in the store.

use crate::aws::PATIENCE;
use crate::error::{Error, Result};
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::{Client, Config};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What a message on the runs queue asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// Execute the run.
    Run,
    /// Find out at the target whether the run's rows are in, see to it that they never will be if not, and end it.
    Settle,
    /// Remove what is left of a deleted pipeline; `runId` is empty.
    Purge,
}

/// A message on the runs queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    pub task: Task,
    pub tenant_id: String,
    pub pipeline_id: String,
    #[serde(default)]
    pub run_id: String,
}

/// A received message.
#[derive(Debug, Clone)]
pub struct Delivery {
    pub body: String,
    /// Deletes the message or changes its visibility.
    pub receipt: String,
    /// How often it was received, this time included.
    pub count: u32,
}

/// How many messages a queue holds, about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Depth {
    pub visible: u32,
    pub in_flight: u32,
    pub delayed: u32,
}

/// The most messages of a request.
pub const BATCH: usize = 10;

/// The runs queue and the ticks queue.
#[derive(Debug, Clone)]
pub struct Queue {
    client: Client,
    runs_url: String,
    ticks_url: String,
}

/// The end of a try to which no answer comes, and of all tries where that is given.
fn within(time: Duration, longest: Option<Duration>) -> TimeoutConfig {
    let mut timeouts = TimeoutConfig::builder().operation_attempt_timeout(time);
    timeouts.set_operation_timeout(longest);
    timeouts.build()
}

/// The end of all tries together.
fn in_all(time: Duration) -> TimeoutConfig {
    TimeoutConfig::builder().operation_timeout(time).build()
}

fn away<E: std::error::Error + Send + Sync + 'static>(error: E) -> Error {
    Error::Unavailable { what: "the queue", source: Box::new(crate::aws::Chain::new(error)) }
}

impl Queue {
    /// Queues at these addresses.
    pub fn new(client: Client, runs_url: impl Into<String>, ticks_url: impl Into<String>) -> Self {
        let client = Client::from_conf(client.config().to_builder().timeout_config(within(PATIENCE, None)).build());
        Self { client, runs_url: runs_url.into(), ticks_url: ticks_url.into() }
    }

    /// The same, whose calls end after `longest` with all their attempts, where it is given.
    #[must_use]
    pub fn within(self, longest: Option<Duration>) -> Self {
        let config = self.client.config().to_builder().timeout_config(within(PATIENCE, longest));
        Self { client: Client::from_conf(config.build()), ..self }
    }

    /// Sends a message to the workers, visible after `delay` (15 minutes at most).
    ///
    /// # Errors
    /// Where the queue does not take it.
    pub async fn send(&self, message: &Message, delay: Duration) -> Result<()> {
        let body = serde_json::to_string(message).map_err(Error::internal)?;
        self.client
            .send_message()
            .queue_url(&self.runs_url)
            .message_body(body)
            .delay_seconds(i32::try_from(delay.as_secs().min(900)).unwrap_or(900))
            .send()
            .await
            .map_err(away)?;
        Ok(())
    }

    /// Sends messages to the workers, ten in a request. What a request does not reach keeps no other one from being sent.
    ///
    /// # Errors
    /// Where the queue does not take all of them.
    pub async fn send_all(&self, messages: &[Message]) -> Result<()> {
        let bodies =
            messages.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>().map_err(Error::internal)?;
        self.send_batches(&self.runs_url, &bodies).await
    }

    /// Hands shards of a tick out. What a request does not reach keeps no other one from being sent.
    ///
    /// # Errors
    /// Where the queue does not take all of them.
    pub async fn send_ticks(&self, bodies: &[String]) -> Result<()> {
        self.send_batches(&self.ticks_url, bodies).await
    }

    async fn send_batches(&self, url: &str, bodies: &[String]) -> Result<()> {
        let batches = bodies.chunks(BATCH).map(|chunk| self.send_batch(url, chunk));
        futures::future::join_all(batches).await.into_iter().collect()
    }

    /// Ten at most. Where no answer comes there is no time to try again for long: this is sent by what has more to do.
    async fn send_batch(&self, url: &str, bodies: &[String]) -> Result<()> {
        use aws_sdk_sqs::types::SendMessageBatchRequestEntry as Entry;
        let entry = |(i, body): (usize, &String)| Entry::builder().id(i.to_string()).message_body(body).build();
        let entries = bodies.iter().enumerate().map(entry).collect::<Result<Vec<_>, _>>().map_err(Error::internal)?;
        let sent = self
            .client
            .send_message_batch()
            .queue_url(url)
            .set_entries(Some(entries))
            .customize()
            .config_override(Config::builder().timeout_config(in_all(PATIENCE)))
            .send()
            .await
            .map_err(away)?;
        match sent.failed().first() {
            None => Ok(()),
            Some(failed) => {
                let why = format!("{}: {}", failed.code(), failed.message().unwrap_or(""));
                Err(Error::Unavailable { what: "the queue", source: why.into() })
            }
        }
    }

    /// Waits up to 20 s for messages from the runs queue; they stay hidden for `visibility`.
    ///
    /// # Errors
    /// Where the queue does not answer.
    pub async fn receive(&self, max: usize, wait: Duration, visibility: Duration) -> Result<Vec<Delivery>> {
        use aws_sdk_sqs::types::MessageSystemAttributeName as Name;
        let seconds = |d: Duration| i32::try_from(d.as_secs()).unwrap_or(i32::MAX);
        let answer = self
            .client
            .receive_message()
            .queue_url(&self.runs_url)
            .max_number_of_messages(i32::try_from(max.clamp(1, 10)).unwrap_or(1))
            .wait_time_seconds(seconds(wait).min(20))
            .visibility_timeout(seconds(visibility))
            .message_system_attribute_names(Name::ApproximateReceiveCount)
            .customize()
            .config_override(Config::builder().timeout_config(within(wait + PATIENCE, None)))
            .send()
            .await
            .map_err(away)?;
        Ok(answer
            .messages
            .unwrap_or_default()
            .into_iter()
            .filter_map(|m| {
                let count = m
                    .attributes
                    .as_ref()
                    .and_then(|a| a.get(&Name::ApproximateReceiveCount))
                    .and_then(|n| n.parse().ok())
                    .unwrap_or(1);
                Some(Delivery { body: m.body?, receipt: m.receipt_handle?, count })
            })
            .collect())
    }

    /// Removes a message that is done with.
    ///
    /// # Errors
    /// Where the queue does not answer.
    pub async fn delete(&self, receipt: &str) -> Result<()> {
        self.client.delete_message().queue_url(&self.runs_url).receipt_handle(receipt).send().await.map_err(away)?;
        Ok(())
    }

    /// Hides a message for so long from now.
    ///
    /// # Errors
    /// Where the queue does not answer.
    pub async fn hide(&self, receipt: &str, visibility: Duration) -> Result<()> {
        self.client
            .change_message_visibility()
            .queue_url(&self.runs_url)
            .receipt_handle(receipt)
            .visibility_timeout(i32::try_from(visibility.as_secs().min(43_200)).unwrap_or(43_200))
            .send()
            .await
            .map_err(away)?;
        Ok(())
    }

    /// How many messages the runs queue holds, about.
    ///
    /// # Errors
    /// Where the queue does not answer.
    pub async fn depth(&self) -> Result<Depth> {
        use aws_sdk_sqs::types::QueueAttributeName as Name;
        let names = [
            Name::ApproximateNumberOfMessages,
            Name::ApproximateNumberOfMessagesNotVisible,
            Name::ApproximateNumberOfMessagesDelayed,
        ];
        let answer = self
            .client
            .get_queue_attributes()
            .queue_url(&self.runs_url)
            .set_attribute_names(Some(names.to_vec()))
            .send()
            .await
            .map_err(away)?;
        let number = |name: &Name| {
            answer.attributes().and_then(|a| a.get(name)).and_then(|n| n.parse().ok()).unwrap_or_default()
        };
        Ok(Depth { visible: number(&names[0]), in_flight: number(&names[1]), delayed: number(&names[2]) })
    }
}
