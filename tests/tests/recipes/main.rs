//! Every recipe of `tests/recipes.md` does what it says: its text is what is sent, and what is compared.

mod around;
mod page;
mod play;

use std::path::Path;

/// Plays the recipe with this heading.
async fn recipe(title: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes.md");
    let recipes = page::read(&std::fs::read_to_string(path).unwrap());
    let steps = recipes.get(title).unwrap_or_else(|| panic!("no recipe is called {title:?}"));
    play::play(steps).await;
}

#[tokio::test]
async fn clean_and_mask_customers() {
    recipe("Clean and mask customers").await;
}

#[tokio::test]
async fn join_two_sources() {
    recipe("Join two sources").await;
}

#[tokio::test]
async fn nightly_upsert_from_postgresql_to_the_lake() {
    recipe("Nightly upsert from PostgreSQL to the lake").await;
}

#[tokio::test]
async fn s3_json_to_postgresql() {
    recipe("S3 JSON to PostgreSQL").await;
}

#[tokio::test]
async fn an_api_into_a_table() {
    recipe("An API into a table").await;
}

#[test]
fn every_recipe_is_a_test() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"));
    let recipes = page::read(&std::fs::read_to_string(path.join("recipes.md")).unwrap());
    let tests = std::fs::read_to_string(path.join("tests/recipes/main.rs")).unwrap();
    let missing: Vec<_> = recipes.keys().filter(|title| !tests.contains(&format!("recipe(\"{title}\")"))).collect();
    assert!(!recipes.is_empty() && missing.is_empty(), "these recipes have no test: {missing:?}");
}
