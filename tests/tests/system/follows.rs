//! The local stack does what `template.yaml` says, not what it has by heart.

use flowgate::template::{TEMPLATE, Template};
use shared::config::DEFAULT_SHARDS;
use tests::World;

#[tokio::test]
async fn another_template_is_another_stack() {
    let (before, after) = TEMPLATE.split_once("\n  Shards:\n").expect("a parameter");
    let text = format!("{before}\n  Shards:\n{}", after.replacen("Default: ", "Default: 1", 1))
        .replace("Path: /api/v1/node-types", "Path: /api/v1/kinds-of-nodes")
        .replace("RunsQueue", "WaitingRuns");
    let template = Template::parse(&text).unwrap();
    let world = World::with(|o| o.template = Some(template)).await;
    world.api.get("/kinds-of-nodes").await.expect(200);
    // It meets no route; what answers then knows the API by heart.
    world.api.get("/node-types").await.expect(405);
    let config = &world.stack.services().config;
    assert!(config.runs_queue_url.ends_with("/WaitingRuns"), "{}", config.runs_queue_url);
    assert_eq!(config.shards.to_string(), format!("1{DEFAULT_SHARDS}"));
    assert_eq!(world.stack.services().store.shards(), config.shards);
    world.stack.tick().await.unwrap();
}
