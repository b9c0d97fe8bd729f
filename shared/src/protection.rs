//! A task of the worker service protects itself from being scaled in while it has work.

use crate::aws::{Chain, PATIENCE};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Minutes after which ECS forgets a protection: longer than the longest run, by more than passes between two renewals.
const MINUTES: u32 = 720;

/// The protection of the task that this process is; nothing at all outside of ECS.
#[derive(Debug, Clone, Default)]
pub struct Protection(Option<(reqwest::Client, String)>);

impl Protection {
    /// Through the agent at this address, which ECS puts into `ECS_AGENT_URI`.
    pub fn new(agent: Option<&str>) -> Self {
        Self(agent.map(|agent| (reqwest::Client::new(), format!("{agent}/task-protection/v1/state"))))
    }

    /// Whether there is a task that can be protected.
    pub fn is_used(&self) -> bool {
        self.0.is_some()
    }

    /// Protects the task from now on for as long as a run may take, or lets it go. Answers whether the agent has agreed;
    /// without one there is nothing to be refused. Where it has not, the log says so.
    pub async fn set(&self, protected: bool) -> bool {
        let Some((client, url)) = &self.0 else { return true };
        let mut body = json!({ "ProtectionEnabled": protected });
        if protected {
            body["ExpiresInMinutes"] = MINUTES.into();
        }
        let refused = match client.put(url).json(&body).timeout(PATIENCE).send().await {
            Err(error) => Some(Chain::new(error).to_string()),
            Ok(response) => {
                let status = response.status();
                match response.text().await {
                    Err(error) => Some(Chain::new(error).to_string()),
                    Ok(answer) => (!agrees(&answer)).then(|| format!("{status}: {answer}")),
                }
            }
        };
        let Some(why) = refused else { return true };
        if protected {
            tracing::warn!(
                why,
                "the task is not protected, or not for longer: a scale-in or a deployment may end it with the runs it holds, \
                 which are then executed again"
            );
        } else {
            tracing::warn!(
                why,
                "the task may still be protected although it holds no run: it is paid for, and not replaced, until it is not"
            );
        }
        false
    }

    /// Keeps the task protected while something is held. What the agent does not agree to is asked for again after `again`,
    /// and a protection is renewed as often at most.
    pub fn keep(self, again: Duration) -> Keeper {
        let (held, hears) = watch::channel(false);
        let mut asking = JoinSet::new();
        asking.spawn(keep(self, hears, again));
        Keeper { held, _asking: asking }
    }
}

/// Whether this is the answer of an agent that has done what it was asked. One that ECS refuses has the status 200 as well,
/// and says `failure`.
fn agrees(answer: &str) -> bool {
    serde_json::from_str(answer).is_ok_and(|answer: Value| answer["protection"].is_object())
}

/// Asks for a task's protection beside its work, which never waits for that; until it is dropped.
#[derive(Debug)]
pub struct Keeper {
    held: watch::Sender<bool>,
    _asking: JoinSet<()>,
}

impl Keeper {
    /// Something was taken: the task is to be protected from now on for as long as that may take.
    pub fn hold(&self) {
        self.held.send_modify(|held| *held = true);
    }

    /// Nothing is held any more.
    pub fn release(&self) {
        self.held.send_if_modified(std::mem::take);
    }
}

/// What is known of a task.
#[derive(Debug, Clone, Copy)]
enum Known {
    Unprotected,
    /// Since the last renewal.
    Protected(Instant),
    /// The agent has not agreed to what it was asked last: it may have done it, or what it had done before may still hold.
    Nothing,
}

async fn keep(protection: Protection, mut held: watch::Receiver<bool>, again: Duration) {
    let mut known = Known::Unprotected;
    loop {
        let wanted = *held.borrow_and_update();
        let is_so = match known {
            Known::Unprotected => !wanted,
            Known::Protected(since) => wanted && since.elapsed() < again,
            Known::Nothing => false,
        };
        if !is_so {
            known = match protection.set(wanted).await {
                false => Known::Nothing,
                true if wanted => Known::Protected(Instant::now()),
                true => Known::Unprotected,
            };
        }
        let is_over = match known {
            Known::Nothing => {
                matches!(tokio::time::timeout(again, held.wait_for(|held| *held != wanted)).await, Ok(Err(_)))
            }
            Known::Unprotected | Known::Protected(_) => held.changed().await.is_err(),
        };
        if is_over {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;

    const AGREED: &str = r#"{"protection":{"ExpirationDate":null,"ProtectionEnabled":true,"TaskArn":"arn:task"}}"#;
    const BLOCKED: &str = r#"{"failure":{"Arn":"arn:task","Reason":"DEPLOYMENT_BLOCKED","Detail":null}}"#;
    const OFTEN: Duration = Duration::from_millis(10);
    const NEVER: Duration = Duration::from_secs(3600);

    /// An agent that gives these answers one after the other, all with the status 200, and agrees to what comes after; and
    /// what it is asked.
    async fn agent(answers: &'static [&'static str]) -> (Protection, mpsc::UnboundedReceiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let protection = Protection::new(Some(&format!("http://{}", listener.local_addr().unwrap())));
        let (tell, asked) = mpsc::unbounded_channel();
        let mut answers = answers.iter().copied();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut bytes = vec![0; 4096];
                let mut text = String::new();
                while !text.contains('}') {
                    let n = stream.read(&mut bytes).await.unwrap();
                    assert!(n > 0, "cut off after {text:?}");
                    text += &String::from_utf8_lossy(&bytes[..n]);
                }
                let answer = answers.next().unwrap_or(AGREED);
                let length = answer.len();
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
                stream.write_all((head + answer).as_bytes()).await.unwrap();
                if tell.send(text).is_err() {
                    return;
                }
            }
        });
        (protection, asked)
    }

    /// The next of what an agent is asked: whether to protect the task.
    async fn next(asked: &mut mpsc::UnboundedReceiver<String>) -> bool {
        let text = tokio::time::timeout(Duration::from_secs(60), asked.recv()).await.unwrap().unwrap();
        let (_, body) = text.split_once("\r\n\r\n").unwrap();
        let body: Value = serde_json::from_str(body).unwrap();
        body["ProtectionEnabled"].as_bool().unwrap()
    }

    #[tokio::test]
    async fn the_agent_is_told() {
        let (protection, mut asked) = agent(&[]).await;
        assert!(protection.set(true).await);
        let told = asked.recv().await.unwrap();
        assert!(told.starts_with("PUT /task-protection/v1/state"), "{told}");
        assert!(told.contains("\"ProtectionEnabled\":true"), "{told}");
        assert!(told.contains("\"ExpiresInMinutes\":720"), "{told}");
    }

    #[tokio::test]
    async fn what_the_agent_refuses_has_not_worked_whatever_its_status() {
        const ERROR: &str =
            r#"{"requestID":"r","error":{"Arn":"arn:task","Code":"AccessDeniedException","Message":"no"}}"#;
        let (protection, _asked) = agent(&[BLOCKED, ERROR, "", r#"{"protection":null}"#]).await;
        for answer in ["failure", "error", "nothing", "null"] {
            assert!(!protection.set(true).await, "{answer}");
        }
        assert!(protection.set(true).await && protection.set(false).await);
    }

    #[tokio::test]
    async fn an_agent_that_is_not_there_has_not_agreed_and_none_at_all_refuses_nothing() {
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        assert!(!Protection::new(Some(&format!("http://{nobody}"))).set(true).await);
        assert!(Protection::default().set(true).await && !Protection::default().is_used());
    }

    #[tokio::test]
    async fn a_protection_and_a_release_that_are_refused_are_asked_for_again_until_the_agent_agrees() {
        let (protection, mut asked) = agent(&[BLOCKED, BLOCKED, AGREED, BLOCKED, AGREED]).await;
        let keeper = protection.keep(OFTEN);
        keeper.hold();
        assert_eq!([next(&mut asked).await, next(&mut asked).await, next(&mut asked).await], [true; 3]);
        keeper.release();
        assert_eq!([next(&mut asked).await, next(&mut asked).await], [false; 2]);
        keeper.hold();
        assert!(next(&mut asked).await, "it had agreed to the release");
    }

    #[tokio::test]
    async fn what_was_refused_is_given_up_at_once_where_it_is_not_wanted_any_more() {
        let (protection, mut asked) = agent(&[BLOCKED]).await;
        let keeper = protection.keep(NEVER);
        keeper.hold();
        assert!(next(&mut asked).await);
        keeper.release();
        // ECS may have protected it before.
        assert!(!next(&mut asked).await);
    }

    #[tokio::test]
    async fn each_delivery_renews_the_protection_but_not_more_often_than_is_needed() {
        let (protection, mut asked) = agent(&[]).await;
        let keeper = protection.keep(Duration::ZERO);
        for _ in 0..3 {
            keeper.hold();
            assert!(next(&mut asked).await);
        }
        let (protection, mut asked) = agent(&[]).await;
        let keeper = protection.keep(NEVER);
        for _ in 0..3 {
            keeper.hold();
        }
        assert!(next(&mut asked).await);
        keeper.hold();
        keeper.release();
        assert!(!next(&mut asked).await, "it was renewed at once");
    }
}
