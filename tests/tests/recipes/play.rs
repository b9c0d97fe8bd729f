//! Sends the blocks of a recipe to a stack, one after the other, beside the servers that it speaks of.

use super::around::Around;
use super::page::Block;
use serde_json::Value;
use std::collections::BTreeMap;
use tests::World;

/// Plays a recipe on a stack of its own.
pub async fn play(blocks: &[Block]) {
    let Some(around) = Around::of(blocks).await else { return };
    let allowed = around.allowed();
    let world = World::with(|options| options.allowed_hosts = allowed).await;
    let mut ids = BTreeMap::new();
    for block in blocks {
        if block.what.contains(" /api/v1/") {
            call(&world, &around, block, &mut ids).await;
        } else if !around.takes(block).await {
            world.file(&block.what, &block.text);
        }
    }
    assert!(ids.contains_key("run"), "the recipe runs nothing");
}

/// `text` with ids in the place of the names in angle brackets.
fn with_ids(text: &str, ids: &BTreeMap<String, String>) -> String {
    ids.iter().fold(text.to_owned(), |text, (name, id)| text.replace(&format!("<{name}>"), id))
}

async fn call(world: &World, around: &Around, block: &Block, ids: &mut BTreeMap<String, String>) {
    let what = with_ids(&block.what, ids);
    let (method, path) = what.split_once(" /api/v1").unwrap();
    assert!(!path.contains('<'), "nothing was made under the name in {what:?}");
    let text = around.with_addresses(&with_ids(&block.text, ids));
    let said: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{what}: {e}"));
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
    match &said {
        Value::Array(wanted) => same(&what, answer["data"].as_array().unwrap(), wanted),
        said => assert!(has(&answer, said), "{what}: {said} is not in {answer}"),
    }
}

/// Whether `found` has what the recipe says, each once, and nothing else.
pub fn same(what: &str, found: &[Value], wanted: &[Value]) {
    let mut rest = found.to_vec();
    for item in wanted {
        let at = rest.iter().position(|other| has(other, item));
        rest.remove(at.unwrap_or_else(|| panic!("{what}: {item} is not in {found:?}")));
    }
    assert!(rest.is_empty(), "{what}: the recipe does not say {rest:?}");
}

/// Whether an answer has everything that a recipe says about it.
fn has(answer: &Value, said: &Value) -> bool {
    match said {
        Value::Object(fields) => fields.iter().all(|(key, value)| answer.get(key) == Some(value)),
        other => answer == other,
    }
}
