//! The queue server, through the real SDK.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, also in what its tests share")]

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::ProvideErrorMetadata;
use aws_sdk_sqs::operation::receive_message::ReceiveMessageError;
use aws_sdk_sqs::types::{
    DeleteMessageBatchRequestEntry, Message, MessageAttributeValue, MessageSystemAttributeName as System,
    QueueAttributeName as Attribute, SendMessageBatchRequestEntry,
};
use chrono::{DateTime, TimeDelta};
use flowgate::sqs::{Counts, Sqs};
use shared::aws::local_config;
use shared::clock::Clock;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

/// A server in a folder of its own, a client of it, and the clock that it goes by.
struct Bench {
    folder: tempfile::TempDir,
    sqs: Sqs,
    client: Client,
    clock: Clock,
}

async fn open(path: &Path, clock: &Clock) -> (Sqs, Client) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let sqs = Sqs::start(listener, path, clock.clone()).unwrap();
    let client = Client::new(&local_config(&sqs.endpoint()));
    (sqs, client)
}

async fn bench_with(clock: Clock) -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let (sqs, client) = open(&folder.path().join("sqs.sqlite"), &clock).await;
    Bench { folder, sqs, client, clock }
}

/// A bench whose time stands still until it is moved.
async fn bench() -> Bench {
    bench_with(Clock::fixed(DateTime::from_timestamp(1_768_000_000, 0).unwrap())).await
}

impl Bench {
    async fn queue(&self, name: &str, attributes: &[(Attribute, &str)]) -> String {
        let mut create = self.client.create_queue().queue_name(name);
        for (attribute, value) in attributes {
            create = create.attributes(attribute.clone(), *value);
        }
        create.send().await.unwrap().queue_url.unwrap()
    }

    async fn send(&self, url: &str, body: &str) {
        self.client.send_message().queue_url(url).message_body(body).send().await.unwrap();
    }

    async fn receive(&self, url: &str, most: i32) -> Vec<Message> {
        let receive = self.client.receive_message().queue_url(url).max_number_of_messages(most);
        receive.message_system_attribute_names(System::All).send().await.unwrap().messages.unwrap_or_default()
    }

    async fn delete(&self, url: &str, message: &Message) {
        let receipt = message.receipt_handle().unwrap();
        self.client.delete_message().queue_url(url).receipt_handle(receipt).send().await.unwrap();
    }

    fn pass(&self, seconds: i64) {
        self.clock.advance(TimeDelta::seconds(seconds));
    }
}

fn bodies(messages: &[Message]) -> Vec<&str> {
    let mut bodies: Vec<&str> = messages.iter().map(|message| message.body().unwrap()).collect();
    bodies.sort_unstable();
    bodies
}

fn counts(visible: u64, in_flight: u64, delayed: u64) -> Counts {
    Counts { visible, in_flight, delayed }
}

#[tokio::test]
async fn a_message_is_received_deleted_and_gone() {
    let bench = bench().await;
    let url = bench.queue("runs", &[]).await;
    bench.send(&url, "one").await;
    let received = bench.receive(&url, 10).await;
    assert_eq!(bodies(&received), ["one"]);
    assert_eq!(received[0].md5_of_body(), Some("f97c5d29941bfb1b2fdab0874906ab82"));
    let attributes = received[0].attributes().unwrap();
    assert_eq!(attributes[&System::ApproximateReceiveCount], "1");
    assert_eq!(attributes[&System::SentTimestamp], "1768000000000");
    assert_eq!(bench.sqs.counts("runs").unwrap(), counts(0, 1, 0));
    bench.delete(&url, &received[0]).await;
    bench.pass(60);
    assert!(bench.receive(&url, 10).await.is_empty());
    assert_eq!(bench.sqs.counts("runs").unwrap(), counts(0, 0, 0));
}

#[tokio::test]
async fn a_message_that_is_not_deleted_comes_again_after_its_visibility() {
    let bench = bench().await;
    let url = bench.queue("runs", &[(Attribute::VisibilityTimeout, "20")]).await;
    bench.send(&url, "one").await;
    let first = bench.receive(&url, 1).await.remove(0);
    bench.pass(19);
    assert!(bench.receive(&url, 1).await.is_empty());
    bench.pass(1);
    let second = bench.receive(&url, 1).await.remove(0);
    assert_eq!(second.attributes().unwrap()[&System::ApproximateReceiveCount], "2");
    assert_ne!(first.receipt_handle(), second.receipt_handle());
    // The handle of an earlier receive deletes nothing, without an error.
    bench.delete(&url, &first).await;
    assert_eq!(bench.sqs.counts("runs").unwrap(), counts(0, 1, 0));
}

#[tokio::test]
async fn visibility_can_be_prolonged_and_given_up() {
    let bench = bench().await;
    let url = bench.queue("runs", &[(Attribute::VisibilityTimeout, "20")]).await;
    bench.send(&url, "one").await;
    let message = bench.receive(&url, 1).await.remove(0);
    let change = |seconds| {
        let receipt = message.receipt_handle().unwrap();
        bench
            .client
            .change_message_visibility()
            .queue_url(&url)
            .receipt_handle(receipt)
            .visibility_timeout(seconds)
            .send()
    };
    bench.pass(15);
    change(20).await.unwrap();
    bench.pass(15);
    assert!(bench.receive(&url, 1).await.is_empty());
    change(0).await.unwrap();
    assert_eq!(bench.receive(&url, 1).await.len(), 1);
    let error = change(20).await.unwrap_err().into_service_error();
    assert_eq!(error.code(), Some("InvalidParameterValue"), "another receive has it");
}

#[tokio::test]
async fn a_message_that_is_visible_again_is_not_in_flight() {
    let bench = bench().await;
    let url = bench.queue("runs", &[]).await;
    bench.send(&url, "one").await;
    let message = bench.receive(&url, 1).await.remove(0);
    bench.pass(30);
    let change = bench.client.change_message_visibility().queue_url(&url).visibility_timeout(5);
    let error = change.receipt_handle(message.receipt_handle().unwrap()).send().await.unwrap_err();
    assert!(error.into_service_error().is_message_not_inflight());
}

#[tokio::test]
async fn a_message_stays_hidden_for_twelve_hours_at_most() {
    let bench = bench().await;
    let url = bench.queue("runs", &[]).await;
    bench.send(&url, "one").await;
    let message = bench.receive(&url, 1).await.remove(0);
    bench.pass(10);
    let change = bench.client.change_message_visibility().queue_url(&url).visibility_timeout(43_200);
    let error = change.receipt_handle(message.receipt_handle().unwrap()).send().await.unwrap_err();
    assert_eq!(error.into_service_error().code(), Some("InvalidParameterValue"));
}

#[tokio::test]
async fn a_delay_hides_a_new_message() {
    let bench = bench().await;
    let url = bench.queue("runs", &[(Attribute::DelaySeconds, "5")]).await;
    bench.send(&url, "by the queue").await;
    bench.client.send_message().queue_url(&url).message_body("own").delay_seconds(60).send().await.unwrap();
    assert_eq!(bench.sqs.counts("runs").unwrap(), counts(0, 0, 2));
    bench.pass(5);
    assert_eq!(bodies(&bench.receive(&url, 10).await), ["by the queue"]);
    bench.pass(55);
    assert_eq!(bodies(&bench.receive(&url, 10).await), ["by the queue", "own"]);
}

#[tokio::test]
async fn a_message_received_too_often_goes_to_the_dead_letters() {
    let bench = bench().await;
    let dead = bench.queue("dead", &[]).await;
    let attributes = bench.client.get_queue_attributes().queue_url(&dead).attribute_names(Attribute::QueueArn);
    let arn = attributes.send().await.unwrap().attributes.unwrap().remove(&Attribute::QueueArn).unwrap();
    let policy = format!("{{\"deadLetterTargetArn\":\"{arn}\",\"maxReceiveCount\":\"2\"}}");
    let url = bench.queue("runs", &[(Attribute::RedrivePolicy, &policy)]).await;
    bench.send(&url, "poison").await;
    for _ in 0..2 {
        assert_eq!(bench.receive(&url, 1).await.len(), 1);
        bench.pass(30);
    }
    bench.send(&url, "good").await;
    assert_eq!(bodies(&bench.receive(&url, 10).await), ["good"]);
    let buried = bench.receive(&dead, 10).await;
    assert_eq!(bodies(&buried), ["poison"]);
    let source = &buried[0].attributes().unwrap()[&System::DeadLetterQueueSourceArn];
    assert!(source.ends_with(":runs"), "{source}");
    assert_eq!(bench.sqs.counts("runs").unwrap(), counts(0, 1, 0));
}

#[tokio::test]
async fn a_long_poll_answers_as_soon_as_there_is_a_message() {
    let bench = bench_with(Clock::default()).await;
    let url = bench.queue("runs", &[]).await;
    let started = Instant::now();
    for i in 0..20 {
        // The poll sets out first, so that it mostly waits when the message comes; it has to answer either way.
        let body = i.to_string();
        let poll = bench.client.receive_message().queue_url(&url).wait_time_seconds(20).send();
        let (answer, ()) = tokio::join!(poll, bench.send(&url, &body));
        let answer = answer.unwrap();
        assert_eq!(bodies(answer.messages()), [body]);
        bench.delete(&url, &answer.messages()[0]).await;
    }
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_long_poll_sees_a_delayed_message_when_it_is_due() {
    let bench = bench_with(Clock::default()).await;
    let url = bench.queue("runs", &[]).await;
    let started = Instant::now();
    bench.client.send_message().queue_url(&url).message_body("late").delay_seconds(1).send().await.unwrap();
    let answer = bench.client.receive_message().queue_url(&url).wait_time_seconds(20).send().await.unwrap();
    assert_eq!(bodies(answer.messages()), ["late"]);
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(900) && took < Duration::from_secs(5), "{took:?}");
}

#[tokio::test]
async fn a_poll_that_is_given_up_keeps_no_message() {
    let bench = bench_with(Clock::default()).await;
    let url = bench.queue("runs", &[]).await;
    for _ in 0..20 {
        let poll = bench.client.receive_message().queue_url(&url).wait_time_seconds(20).send();
        tokio::time::timeout(Duration::from_millis(5), poll).await.ok();
    }
    bench.send(&url, "one").await;
    let answer = bench.client.receive_message().queue_url(&url).wait_time_seconds(20).send().await.unwrap();
    assert_eq!(bodies(answer.messages()), ["one"]);
}

#[tokio::test]
async fn a_batch_answers_for_each_entry() {
    let bench = bench().await;
    let url = bench.queue("runs", &[]).await;
    let entry =
        |id: &str, body: &str| SendMessageBatchRequestEntry::builder().id(id).message_body(body).build().unwrap();
    let batch = bench.client.send_message_batch().queue_url(&url);
    let sent =
        batch.entries(entry("a", "1")).entries(entry("b", "\u{1}")).entries(entry("c", "3")).send().await.unwrap();
    let ids: Vec<&str> = sent.successful().iter().map(|entry| entry.id()).collect();
    assert_eq!(ids, ["a", "c"]);
    assert_eq!((sent.failed()[0].id(), sent.failed()[0].code()), ("b", "InvalidMessageContents"));

    let received = bench.receive(&url, 10).await;
    assert_eq!(bodies(&received), ["1", "3"]);
    let mut delete = bench.client.delete_message_batch().queue_url(&url);
    for (i, message) in received.iter().enumerate() {
        let receipt = message.receipt_handle().unwrap();
        let entry = DeleteMessageBatchRequestEntry::builder().id(i.to_string()).receipt_handle(receipt);
        delete = delete.entries(entry.build().unwrap());
    }
    let wrong = DeleteMessageBatchRequestEntry::builder().id("x").receipt_handle("nonsense").build().unwrap();
    let deleted = delete.entries(wrong).send().await.unwrap();
    assert_eq!((deleted.successful().len(), deleted.failed()[0].code()), (2, "ReceiptHandleIsInvalid"));
    assert_eq!(bench.sqs.counts("runs").unwrap(), counts(0, 0, 0));
}

#[tokio::test]
async fn a_wrong_batch_is_refused_as_a_whole() {
    let bench = bench().await;
    let url = bench.queue("runs", &[]).await;
    let entry = |id: &str| SendMessageBatchRequestEntry::builder().id(id).message_body("x").build().unwrap();
    let send = |ids: Vec<String>| {
        let entries = ids.iter().map(|id| entry(id)).collect();
        bench.client.send_message_batch().queue_url(&url).set_entries(Some(entries)).send()
    };
    let error = send(vec!["a".to_owned(), "a".to_owned()]).await.unwrap_err().into_service_error();
    assert!(error.is_batch_entry_ids_not_distinct());
    let error = send((0..11).map(|i| i.to_string()).collect()).await.unwrap_err().into_service_error();
    assert!(error.is_too_many_entries_in_batch_request());
    let error = send(vec!["a b".to_owned()]).await.unwrap_err().into_service_error();
    assert!(error.is_invalid_batch_entry_id());
    assert_eq!(bench.sqs.counts("runs").unwrap(), counts(0, 0, 0));
}

#[tokio::test]
async fn errors_have_the_names_that_aws_gives_them() {
    let bench = bench().await;
    let url = bench.queue("runs", &[]).await;
    let missing = url.replace("runs", "missing");
    let error = bench.client.receive_message().queue_url(&missing).send().await.unwrap_err().into_service_error();
    assert!(matches!(error, ReceiveMessageError::QueueDoesNotExist(_)), "{error:?}");
    let error = bench.client.get_queue_url().queue_name("missing").send().await.unwrap_err().into_service_error();
    assert!(error.is_queue_does_not_exist());
    let delete = bench.client.delete_message().queue_url(&url).receipt_handle("nonsense").send().await;
    assert!(delete.unwrap_err().into_service_error().is_receipt_handle_is_invalid());
    let again = bench.client.create_queue().queue_name("runs").attributes(Attribute::DelaySeconds, "7").send().await;
    assert!(again.unwrap_err().into_service_error().is_queue_name_exists());
    let large = "x".repeat(1_048_577);
    let error = bench.client.send_message().queue_url(&url).message_body(large).send().await.unwrap_err();
    assert_eq!(error.into_service_error().code(), Some("InvalidParameterValue"));
}

#[tokio::test]
async fn the_largest_message_comes_back_whole() {
    let bench = bench().await;
    let url = bench.queue("runs", &[]).await;
    let large = "\"".repeat(1_048_576);
    bench.send(&url, &large).await;
    assert!(bench.receive(&url, 1).await[0].body() == Some(&*large));
}

#[tokio::test]
async fn message_attributes_come_back_as_they_were() {
    let bench = bench().await;
    let url = bench.queue("runs", &[]).await;
    let attribute = MessageAttributeValue::builder().data_type("String").string_value("acme").build().unwrap();
    let send =
        bench.client.send_message().queue_url(&url).message_body("x").message_attributes("tenant", attribute.clone());
    let sent = send.send().await.unwrap();
    let receive = bench.client.receive_message().queue_url(&url).message_attribute_names("All").send().await.unwrap();
    let message = &receive.messages()[0];
    assert_eq!(message.message_attributes().unwrap()["tenant"], attribute);
    assert_eq!(message.md5_of_message_attributes(), sent.md5_of_message_attributes());
}

#[tokio::test]
async fn attributes_can_be_read_changed_and_counted() {
    let bench = bench().await;
    let url = bench.queue("runs", &[(Attribute::VisibilityTimeout, "20")]).await;
    let set = bench.client.set_queue_attributes().queue_url(&url).attributes(Attribute::MessageRetentionPeriod, "60");
    set.send().await.unwrap();
    bench.send(&url, "old").await;
    bench.pass(30);
    bench.send(&url, "new").await;
    let read = async || {
        let get = bench.client.get_queue_attributes().queue_url(&url).attribute_names(Attribute::All);
        get.send().await.unwrap().attributes.unwrap()
    };
    let attributes = read().await;
    assert_eq!(attributes[&Attribute::VisibilityTimeout], "20");
    assert_eq!(attributes[&Attribute::ApproximateNumberOfMessages], "2");
    bench.pass(30);
    assert_eq!(read().await[&Attribute::ApproximateNumberOfMessages], "1", "the old one is no longer kept");
    bench.client.purge_queue().queue_url(&url).send().await.unwrap();
    assert_eq!(read().await[&Attribute::ApproximateNumberOfMessages], "0");
    let listed = bench.client.list_queues().queue_name_prefix("ru").send().await.unwrap();
    assert_eq!(listed.queue_urls(), std::slice::from_ref(&url));
}

#[tokio::test]
async fn messages_survive_a_restart() {
    let bench = bench().await;
    let url = bench.queue("runs", &[(Attribute::VisibilityTimeout, "20")]).await;
    bench.send(&url, "waiting").await;
    bench.send(&url, "in flight").await;
    let received = bench.receive(&url, 1).await;
    let Bench { folder, sqs, clock, .. } = bench;
    sqs.shutdown().await;
    let (sqs, client) = open(&folder.path().join("sqs.sqlite"), &clock).await;
    assert_eq!(sqs.counts("runs").unwrap(), counts(1, 1, 0));
    // The address of the earlier start still names the queue, and the handle its message.
    let receipt = received[0].receipt_handle().unwrap();
    client.delete_message().queue_url(&url).receipt_handle(receipt).send().await.unwrap();
    assert_eq!(sqs.counts("runs").unwrap(), counts(1, 0, 0));
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let bench = bench().await;
    let url = bench.queue("runs", &[]).await;
    for i in 0..50 {
        bench.send(&url, &format!("message {i}")).await;
    }
    let gone = bench.receive(&url, 1).await;
    bench.delete(&url, &gone[0]).await;
    // What a killed process leaves behind: the files as they are, with nothing closed or written back.
    let left = tempfile::tempdir().unwrap();
    for file in ["sqs.sqlite", "sqs.sqlite-wal"] {
        std::fs::copy(bench.folder.path().join(file), left.path().join(file)).unwrap();
    }
    let (sqs, _) = open(&left.path().join("sqs.sqlite"), &bench.clock).await;
    assert_eq!(sqs.counts("runs").unwrap(), counts(49, 0, 0));
}
