//! Reads a page of recipes: under each heading, blocks whose last line before the fence says what they are.

use std::collections::BTreeMap;

/// A block of a recipe.
#[derive(Debug, PartialEq, Eq)]
pub struct Block {
    /// What stands between backticks at the start of the line before: `crm/customers.csv` or `POST /api/v1/connectors`.
    pub what: String,
    /// What stands between the fences.
    pub text: String,
}

/// The blocks of each recipe by its heading.
pub fn read(page: &str) -> BTreeMap<String, Vec<Block>> {
    let mut recipes: BTreeMap<String, Vec<Block>> = BTreeMap::new();
    let (mut title, mut before) = (String::new(), String::new());
    let mut open: Option<Block> = None;
    for line in page.lines() {
        if let Some(block) = &mut open {
            if line == "```" {
                recipes.entry(title.clone()).or_default().extend(open.take());
            } else {
                block.text += line;
                block.text.push('\n');
            }
        } else if line.starts_with("```") {
            let what = before.strip_prefix('`').and_then(|rest| rest.split_once('`'));
            let (what, _) =
                what.unwrap_or_else(|| panic!("under {title:?}, {before:?} does not say what the block is"));
            open = Some(Block { what: what.to_owned(), text: String::new() });
        } else if let Some(heading) = line.strip_prefix("## ") {
            title = heading.to_owned();
        } else if !line.is_empty() {
            before = line.to_owned();
        }
    }
    assert!(open.is_none(), "a block under {title:?} is not closed");
    recipes
}

#[test]
fn a_block_is_what_the_line_before_it_says() {
    let page = "# Page\n## One\nText.\n\n`POST /x`, twice\n\n```json\n{}\n```\n";
    let block = Block { what: "POST /x".to_owned(), text: "{}\n".to_owned() };
    assert_eq!(read(page), BTreeMap::from([("One".to_owned(), vec![block])]));
}
