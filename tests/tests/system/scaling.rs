//! The worker service as the minute tick scales it: after the runs queue, whatever else the tick meets.

use crate::watched::{Around, services};
use axum::body::Bytes;
use axum::extract::State;
use axum::{Json, Router};
use serde_json::{Value, json};
use shared::aws::{Workers, local_config};
use shared::config::ScalingConfig;
use shared::queue::{Message, Task};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tests::World;

/// The part of ECS that sets how many tasks a service has.
pub(crate) struct Ecs {
    url: String,
    asked: Asked,
}

type Asked = Arc<Mutex<Vec<Value>>>;

impl Ecs {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Asked::default();
        let router = Router::new().fallback(take).with_state(Arc::clone(&asked));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, asked }
    }

    /// The worker service of `runs` runs a task, and four tasks at most.
    pub(crate) fn workers(&self, runs: u32) -> Workers {
        let (cluster, service) = ("cluster".to_owned(), "worker".to_owned());
        Workers::new(&local_config(&self.url), ScalingConfig { cluster, service, max: 4, runs })
    }

    /// How many tasks were wanted since this was last asked.
    fn wanted(&self) -> Vec<i64> {
        let asked = std::mem::take(&mut *self.asked.lock().unwrap());
        asked.iter().map(|body| body["desiredCount"].as_i64().unwrap()).collect()
    }
}

async fn take(State(asked): State<Asked>, body: Bytes) -> Json<Value> {
    asked.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
    Json(json!({}))
}

#[tokio::test]
async fn as_many_tasks_are_wanted_as_work_what_waits_even_where_the_shards_cannot_be_handed_out() {
    let world = World::with(|o| o.worker = false).await;
    let ecs = Ecs::start().await;
    let minute = json!({"source": "aws.events"});
    let tick = on_schedule::trigger();
    let ready = services(&world, Around { workers: Some(ecs.workers(2)), ..Around::of(&world) });
    tick.call(&ready, minute.clone()).await.unwrap();
    assert_eq!(ecs.wanted(), [0], "nothing waits");
    for n in 0..3 {
        let run_id = format!("run_{n}");
        let message = Message { task: Task::Run, tenant_id: "acme".to_owned(), pipeline_id: "p".to_owned(), run_id };
        ready.queue.send(&message, Duration::ZERO).await.unwrap();
    }
    tick.call(&ready, minute.clone()).await.unwrap();
    assert_eq!(ecs.wanted(), [2], "three runs, of which a task works two");
    let ticks = format!("{}-not-there", ready.config.ticks_queue_url);
    let broken = services(&world, Around { workers: Some(ecs.workers(1)), ticks, ..Around::of(&world) });
    let failed = tick.call(&broken, minute).await;
    assert!(failed.is_err(), "{failed:?}");
    assert_eq!(ecs.wanted(), [3], "the runs that wait want workers all the same");
}
