//! A worker whose task is protected by ECS's agent while it holds runs.

use crate::wait;
use crate::watched::{Around, services, worker_of};
use axum::extract::State;
use axum::{Json, Router};
use serde_json::{Value, json};
use shared::protection::Protection;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tests::World;
use tests::stalled::Stalled;
use worker::Pace;

/// An agent that agrees to all that it is asked: to protect the task, or to let it go.
struct Agent {
    url: String,
    asked: Asked,
}

type Asked = Arc<Mutex<Vec<bool>>>;

impl Agent {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Asked::default();
        let router = Router::new().fallback(agree).with_state(Arc::clone(&asked));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, asked }
    }

    fn asked(&self) -> Vec<bool> {
        self.asked.lock().unwrap().clone()
    }
}

async fn agree(State(asked): State<Asked>, Json(body): Json<Value>) -> Json<Value> {
    asked.lock().unwrap().push(body["ProtectionEnabled"].as_bool().unwrap());
    Json(json!({"protection": {"ProtectionEnabled": body["ProtectionEnabled"]}}))
}

/// A stack without a worker of its own, but with one of two runs at once that may be busy for so long.
async fn world(agent: &Agent, busy: Duration) -> World {
    let world = World::with(|options| options.worker = false).await;
    let mut worker = worker_of(&world, "protected", &services(&world, Around::of(&world)));
    let own = Arc::get_mut(&mut worker).unwrap();
    own.protection = Protection::new(Some(&agent.url));
    own.pace = Pace { again: Duration::ZERO, busy, pause: Duration::from_secs(1), ..Pace::default() };
    tokio::spawn(worker.poll(2, Duration::ZERO));
    world
}

/// A pipeline of a short run.
async fn short(world: &World, schema: &str) -> String {
    world.file("people.csv", "n,text\n1,Ada\n");
    let connector = world.connector("people", "people.csv").await;
    world.copy(&connector, schema).await
}

#[tokio::test]
async fn a_task_is_protected_anew_with_each_run_that_it_takes() {
    let agent = Agent::start().await;
    let world = world(&agent, Duration::from_secs(3600)).await;
    let stalled = Stalled::start(&world.api, world.folder(), &world.lake(), json!({})).await;
    wait("the task is protected", async || agent.asked() == [true]).await;
    let other = short(&world, &stalled.schema).await;
    let run = world.run(&other).await;
    assert_eq!(run["status"], "completed", "it is taken beside the one that is held: {run}");
    wait("the task is protected for the second run, too", async || agent.asked() == [true, true]).await;
}

#[tokio::test]
async fn a_worker_that_is_busy_for_long_takes_nothing_more_until_it_is_empty_and_was_let_go() {
    let agent = Agent::start().await;
    let world = world(&agent, Duration::ZERO).await;
    let stalled = Stalled::start(&world.api, world.folder(), &world.lake(), json!({})).await;
    let other = short(&world, &stalled.schema).await;
    let run = world.api.run(&other, json!({})).await;
    stalled.s3.release();
    let first = world.api.finished(&stalled.pipeline, &stalled.run).await;
    let second = world.api.finished(&other, &run).await;
    assert_eq!([&first["status"], &second["status"]], ["completed"; 2], "{first}\n{second}");
    let (end, start) = (first["finishedAt"].as_str().unwrap(), second["startedAt"].as_str().unwrap());
    assert!(end < start, "the second run was taken at {start}, before the first one ended at {end}");
    wait("the task was let go between the two", async || agent.asked().starts_with(&[true, false, true])).await;
}
