//! What happens by itself: schedules as EventBridge keeps them, and queues that call functions as Lambda's pollers do.

use crate::functions::Functions;
use crate::template::{On, Template};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{Message, MessageSystemAttributeName};
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};
use shared::context::Services;
use shared::runtime::Trigger;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long a poller waits after the queue did not answer.
const PAUSE: Duration = Duration::from_secs(1);

/// The functions that events call, with what they need.
#[derive(Clone)]
pub struct Triggers {
    services: Arc<Services>,
    client: Client,
    stop: CancellationToken,
    schedules: Vec<(Duration, Trigger)>,
    queues: Vec<Poller>,
}

/// A queue that calls a function.
#[derive(Clone)]
struct Poller {
    name: String,
    url: String,
    batch: usize,
    concurrency: usize,
    trigger: Trigger,
}

impl Triggers {
    /// Binds the events of the template to the functions; `url` gives a queue's address.
    ///
    /// # Errors
    /// Where an event names a function that is not linked in.
    pub fn new(
        template: &Template,
        functions: &Functions,
        services: Arc<Services>,
        client: Client,
        url: impl Fn(&str) -> String,
    ) -> Result<Self, String> {
        let (mut schedules, mut queues) = (Vec::new(), Vec::new());
        for event in &template.triggers {
            let trigger = functions.trigger(&event.function).ok_or_else(|| {
                format!("template.yaml has an event for functions/{}, which is not linked in", event.function)
            })?;
            match &event.on {
                On::Schedule(every) => schedules.push((*every, trigger)),
                On::Queue { queue, batch, concurrency } => queues.push(Poller {
                    name: queue.clone(),
                    url: url(queue),
                    batch: *batch,
                    concurrency: *concurrency,
                    trigger,
                }),
            }
        }
        Ok(Self { services, client, stop: CancellationToken::new(), schedules, queues })
    }

    /// Starts the pollers, and the schedules too where `scheduled`. They end when [`Self::stop`] is called.
    pub fn start(&self, scheduled: bool) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        for poller in &self.queues {
            tasks.spawn(self.clone().poll(poller.clone()));
        }
        for (every, trigger) in self.schedules.iter().filter(|_| scheduled) {
            tasks.spawn(self.clone().keep_time(*every, trigger.clone()));
        }
        tasks
    }

    /// Lets what is being handled end, and starts nothing more.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Calls each scheduled function once, as if its time had come.
    ///
    /// # Errors
    /// What a function answers.
    pub async fn fire(&self) -> shared::Result<()> {
        let at = self.services.clock.now();
        for (_, trigger) in &self.schedules {
            trigger.call(&self.services, scheduled_event(trigger.name, at)).await?;
        }
        Ok(())
    }

    /// Calls a function at each multiple of `every`, and once at the start for what was due while nothing ran.
    async fn keep_time(self, every: Duration, trigger: Trigger) {
        loop {
            let at = self.services.clock.now();
            if let Err(error) = trigger.call(&self.services, scheduled_event(trigger.name, at)).await {
                tracing::error!(function = trigger.name, %error, "a scheduled call failed; the next one makes up for it");
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(until_next(every, self.services.clock.now())) => {}
            }
        }
    }

    /// Takes messages from a queue and calls its function with them.
    async fn poll(self, poller: Poller) {
        let slots = Arc::new(Semaphore::new(poller.concurrency));
        let mut calls = JoinSet::new();
        loop {
            while calls.try_join_next().is_some() {}
            let received = async {
                let slot = Arc::clone(&slots).acquire_owned().await.ok()?;
                Some((slot, self.receive(&poller).await))
            };
            let received = tokio::select! {
                () = self.stop.cancelled() => break,
                received = received => received,
            };
            match received {
                Some((slot, Ok(messages))) if !messages.is_empty() => {
                    let (triggers, poller) = (self.clone(), poller.clone());
                    calls.spawn(async move {
                        triggers.handle(&poller, messages).await;
                        drop(slot);
                    });
                }
                Some((_, Ok(_))) => {}
                Some((_, Err(error))) => {
                    tracing::warn!(queue = poller.name, error, "the queue does not answer; trying again");
                    tokio::time::sleep(PAUSE).await;
                }
                None => break,
            }
        }
        while calls.join_next().await.is_some() {}
    }

    async fn receive(&self, poller: &Poller) -> Result<Vec<Message>, String> {
        let answer = self
            .client
            .receive_message()
            .queue_url(&poller.url)
            .max_number_of_messages(i32::try_from(poller.batch).unwrap_or(10))
            .wait_time_seconds(20)
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .message_attribute_names("All")
            .send()
            .await
            .map_err(|error| aws_sdk_sqs::error::DisplayErrorContext(error).to_string())?;
        Ok(answer.messages.unwrap_or_default())
    }

    /// Calls the function, and deletes the messages that it did not answer as failed; those come again.
    async fn handle(&self, poller: &Poller, messages: Vec<Message>) {
        let event = json!({ "Records": messages.iter().map(|m| record(&poller.name, m)).collect::<Vec<_>>() });
        let answer = match poller.trigger.call(&self.services, event).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::error!(function = poller.trigger.name, %error, "a batch failed; its messages come again");
                return;
            }
        };
        let failed: HashSet<&str> = answer["batchItemFailures"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|failure| failure["itemIdentifier"].as_str())
            .collect();
        for message in messages.iter().filter(|m| !failed.contains(m.message_id().unwrap_or_default())) {
            let receipt = message.receipt_handle().unwrap_or_default();
            let delete = self.client.delete_message().queue_url(&poller.url).receipt_handle(receipt);
            if let Err(error) = delete.send().await {
                let error = aws_sdk_sqs::error::DisplayErrorContext(error).to_string();
                tracing::warn!(queue = poller.name, error, "a handled message could not be deleted; it comes again");
            }
        }
    }
}

/// How long it is until the next multiple of `every` since 1970.
fn until_next(every: Duration, now: DateTime<Utc>) -> Duration {
    let every = u64::try_from(every.as_millis()).unwrap_or(u64::MAX).max(1);
    let now = u64::try_from(now.timestamp_millis()).unwrap_or(0);
    Duration::from_millis(every - now % every)
}

/// What EventBridge sends.
fn scheduled_event(function: &str, at: DateTime<Utc>) -> Value {
    json!({
        "version": "0",
        "id": uuid::Uuid::new_v4().to_string(),
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": "000000000000",
        "time": at.to_rfc3339_opts(SecondsFormat::Secs, true),
        "region": "local",
        "resources": [format!("arn:aws:events:local:000000000000:rule/{function}")],
        "detail": {},
    })
}

/// A message as Lambda's pollers hand it to a function.
fn record(queue: &str, message: &Message) -> Value {
    let attributes: Map<String, Value> = message
        .attributes()
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.as_str().to_owned(), json!(value)))
        .collect();
    json!({
        "messageId": message.message_id(),
        "receiptHandle": message.receipt_handle(),
        "body": message.body(),
        "attributes": attributes,
        "messageAttributes": {},
        "md5OfBody": message.md5_of_body(),
        "eventSource": "aws:sqs",
        "eventSourceARN": crate::sqs::arn(queue),
        "awsRegion": "local",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_meets_the_minute() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let minute = Duration::from_secs(60);
        assert_eq!(until_next(minute, at("2026-01-15T09:00:59.250Z")), Duration::from_millis(750));
        assert_eq!(until_next(minute, at("2026-01-15T09:00:00Z")), minute);
    }
}
