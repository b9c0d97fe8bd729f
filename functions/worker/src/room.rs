//! How much room an answer has for rows. Lambda takes 6 MB: JSON with the body as a text in it, so that each quote and each
//! backslash of the body takes two bytes.

use serde_json::{Map, Value};

/// Bytes of all rows of an answer; a page ends there.
pub const ANSWER: usize = 4_000_000;

/// What is left of an answer's room for rows.
#[derive(Debug)]
pub struct Room {
    left: usize,
}

impl Room {
    /// Room for rows of so many bytes.
    pub fn new(bytes: usize) -> Self {
        Self { left: bytes }
    }

    /// Takes the room of a row; where there is not enough, none, and answers false.
    pub fn take(&mut self, row: &Map<String, Value>) -> bool {
        match self.left.checked_sub(size(row)) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

/// The bytes of a row and of what divides it from the next one.
fn size(row: &Map<String, Value>) -> usize {
    serde_json::to_string(row)
        .map_or(usize::MAX, |text| text.len() + text.bytes().filter(|byte| matches!(byte, b'"' | b'\\')).count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_row_takes_what_it_takes_in_an_answer() {
        let row = json!({"id": 7, "text": "a \"quoted\" \\ text\nof ümlauts"});
        let answer = serde_json::to_string(&format!("{row},")).unwrap();
        let bytes = answer.len() - "\"\"".len();
        let row = row.as_object().unwrap();
        assert!(Room::new(bytes).take(row));
        assert!(!Room::new(bytes - 1).take(row));
        let mut room = Room::new(2 * bytes);
        assert_eq!([room.take(row), room.take(row), room.take(row)], [true, true, false]);
    }
}
