//! How much of an answer an item takes: a function's answer is JSON with the body as a text in it, so that what is quoted
//! in the body is quoted once more.

use super::Item;
use aws_sdk_dynamodb::types::AttributeValue;

/// The most bytes of a page's items in an answer. Lambda takes 6 MB.
const MOST: usize = 5_000_000;

/// How many of `items` an answer has room for, one at least.
pub(super) fn room(items: &[Item]) -> usize {
    let mut left = MOST;
    let fits = items.iter().position(|item| match left.checked_sub(size(item)) {
        Some(rest) => {
            left = rest;
            false
        }
        None => true,
    });
    fits.unwrap_or(items.len()).max(1)
}

/// The bytes of an item, as the text of a JSON text.
fn size(item: &Item) -> usize {
    item.iter().map(|(name, value)| name.len() + 8 + of(value)).sum()
}

fn of(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::S(text) => 4 + text.bytes().map(escaped).sum::<usize>(),
        AttributeValue::M(map) => 2 + size(map),
        AttributeValue::L(list) => 2 + list.iter().map(|value| 1 + of(value)).sum::<usize>(),
        AttributeValue::N(digits) => digits.len(),
        _ => 8,
    }
}

/// The bytes of a byte of a text that is quoted twice. JSON that is kept as a text is quoted once only.
fn escaped(byte: u8) -> usize {
    match byte {
        b'"' | b'\\' => 4,
        0..=31 => 7,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(text: String) -> Item {
        Item::from([("config".to_owned(), AttributeValue::S(text))])
    }

    #[test]
    fn items_are_as_long_as_they_become() {
        let text = "a\"\\\n".repeat(100);
        let body = serde_json::to_string(&serde_json::json!({"config": text})).unwrap();
        let answer = serde_json::to_string(&body).unwrap();
        let reckoned = size(&item(text));
        assert!(reckoned >= answer.len() - "\"{}\"".len() && reckoned < answer.len() * 3 / 2, "{reckoned}");
    }

    #[test]
    fn a_page_ends_before_its_answer_is_too_large() {
        let plain: Vec<Item> = vec![item("x".repeat(390_000)); 10];
        assert_eq!(room(&plain), 10);
        let quoted: Vec<Item> = vec![item("\"".repeat(390_000)); 10];
        assert_eq!(room(&quoted), 3);
        assert_eq!(room(&[item("\"".repeat(3_000_000))]), 1);
        assert_eq!(room(&[]), 1);
    }
}
