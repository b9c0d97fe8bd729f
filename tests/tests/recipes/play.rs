//! Sends the blocks of a recipe to a stack, one after the other.

use super::page::Block;
use serde_json::Value;
use std::collections::BTreeMap;
use tests::World;

/// Plays a recipe on a stack of its own.
pub async fn play(blocks: &[Block]) {
    let world = World::new().await;
    let mut ids = BTreeMap::new();
    for block in blocks {
        if block.what.contains(" /api/v1/") {
            call(&world, block, &mut ids).await;
        } else {
            world.file(&block.what, &block.text);
        }
    }
    assert!(ids.contains_key("run"), "the recipe runs nothing");
}

/// `text` with ids in the place of the names in angle brackets.
fn with_ids(text: &str, ids: &BTreeMap<String, String>) -> String {
    ids.iter().fold(text.to_owned(), |text, (name, id)| text.replace(&format!("<{name}>"), id))
}

async fn call(world: &World, block: &Block, ids: &mut BTreeMap<String, String>) {
    let what = with_ids(&block.what, ids);
    let (method, path) = what.split_once(" /api/v1").unwrap();
    assert!(!path.contains('<'), "nothing was made under the name in {what:?}");
    let said: Value = serde_json::from_str(&with_ids(&block.text, ids)).unwrap_or_else(|e| panic!("{what}: {e}"));
    if method == "POST" {
        let id = world.api.create(path, &said).await;
        if let Some(pipeline) = path.strip_prefix("/pipelines/").and_then(|rest| rest.strip_suffix("/run")) {
            world.api.finished(pipeline, &id).await;
            ids.insert("run".to_owned(), id);
        } else {
            ids.insert(said["name"].as_str().unwrap().to_owned(), id);
        }
        return;
    }
    assert_eq!(method, "GET", "a recipe reads and makes");
    let answer = world.api.get(path).await.expect(200).json();
    if let Value::Array(wanted) = &said {
        let mut rest = answer["data"].as_array().unwrap().clone();
        for item in wanted {
            let at = rest.iter().position(|other| has(other, item));
            rest.remove(at.unwrap_or_else(|| panic!("{what}: {item} is not in {}", answer["data"])));
        }
        assert!(rest.is_empty(), "{what}: the recipe does not say {rest:?}");
    } else {
        assert!(has(&answer, &said), "{what}: {said} is not in {answer}");
    }
}

/// Whether an answer has everything that a recipe says about it.
fn has(answer: &Value, said: &Value) -> bool {
    match said {
        Value::Object(fields) => fields.iter().all(|(key, value)| answer.get(key) == Some(value)),
        other => answer == other,
    }
}
