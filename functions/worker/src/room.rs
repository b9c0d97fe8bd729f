//! How much room an answer has for rows, columns and faults. Lambda takes 6 MB: JSON with the body as a text in it, so that
//! each quote and each backslash of the body takes two bytes.

use serde::Serialize;

/// Bytes of all rows of an answer; a page ends there.
pub const ANSWER: usize = 4_000_000;
/// Bytes of what stands beside such rows; a quarter of a megabyte is left for ids and names.
pub const BESIDE: usize = 2_000_000;

/// What is left of an answer's room.
#[derive(Debug)]
pub struct Room {
    left: usize,
    refused: bool,
}

impl Room {
    /// Room for so many bytes.
    pub fn new(bytes: usize) -> Self {
        Self { left: bytes, refused: false }
    }

    /// Takes the room of a part, such as a row; where there is not enough, none, and answers false.
    pub fn take(&mut self, part: &(impl Serialize + ?Sized)) -> bool {
        match self.left.checked_sub(size(part)) {
            Some(left) => {
                self.left = left;
                true
            }
            None => {
                self.refused = true;
                false
            }
        }
    }

    /// Whether there was no room for something.
    pub fn has_refused(&self) -> bool {
        self.refused
    }
}

/// The bytes of a part and of what divides it from the next one.
fn size(part: &(impl Serialize + ?Sized)) -> usize {
    serde_json::to_string(part)
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
        assert_eq!([room.take(row), room.take(row), room.has_refused()], [true, true, false]);
        assert_eq!([room.take(row), room.has_refused()], [false, true]);
    }
}
