//! Parameters of a run in a query that a database reads: literals of its SQL, so that no value is ever read as SQL.
//!
//! A literal holds no quote, no backslash and nothing that ends or begins a comment. So it can end nothing that it stands in,
//! also where the server reads the text before it in another way than the lexer here: that only finds what is refused.

use super::Dialect;
use crate::engine::parameters::{Piece, find, pieces};
use datafusion::sql::sqlparser::dialect::{self, MySqlDialect, PostgreSqlDialect};
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use serde_json::{Map, Value};

/// Where a parameter stands in a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// By itself, as a value does.
    Alone,
    Comment,
}

/// `query` with the parameters' values in it: literals of their JSON types where `${name}` stands by itself. In comments it
/// stays as it is.
///
/// # Errors
/// A sentence, where a parameter is not there, not closed, no single value, or stands where no value can be.
pub fn fill(query: &str, dialect: Dialect, parameters: &Map<String, Value>) -> Result<String, String> {
    let pieces = pieces(query)?;
    let mark = mark(query);
    let mut places = places(&pieces, &mark, dialect)?.into_iter();
    let mut filled = String::with_capacity(query.len());
    for piece in pieces {
        let name = match piece {
            Piece::Text(text) => {
                filled.push_str(text);
                continue;
            }
            Piece::Parameter(name) => name,
        };
        match places.next().flatten() {
            Some(Place::Alone) => filled.push_str(&literal(name, find(name, parameters)?, &mark, dialect)?),
            Some(Place::Comment) => filled.push_str(&format!("${{{name}}}")),
            None => {
                let join = match dialect {
                    Dialect::Postgresql => format!("'%' || ${{{name}}} || '%'"),
                    Dialect::Mysql => format!("CONCAT('%', ${{{name}}}, '%')"),
                };
                return Err(format!(
                    "${{{name}}} must stand by itself and without quotes, as a value: it brings its own; in a text write {join}"
                ));
            }
        }
    }
    Ok(filled)
}

/// A word that is not in the query.
fn mark(query: &str) -> String {
    let mut mark = "flowgate_parameter_".to_owned();
    while query.contains(&mark) {
        mark.push('_');
    }
    mark
}

/// Where each parameter stands; none where no value can be.
fn places(pieces: &[Piece<'_>], mark: &str, dialect: Dialect) -> Result<Vec<Option<Place>>, String> {
    let count = pieces.iter().filter(|piece| matches!(piece, Piece::Parameter(_))).count();
    if count == 0 {
        return Ok(Vec::new());
    }
    let word = |index: usize| format!("{mark}{index}_");
    let mut marked = String::new();
    let mut index = 0;
    for piece in pieces {
        match piece {
            Piece::Text(text) => marked.push_str(text),
            Piece::Parameter(_) => {
                marked.push_str(&word(index));
                index += 1;
            }
        }
    }
    let lexer: &dyn dialect::Dialect = match dialect {
        Dialect::Postgresql => &PostgreSqlDialect {},
        Dialect::Mysql => &MySqlDialect {},
    };
    let tokens = Tokenizer::new(lexer, &marked).with_unescape(false).tokenize();
    let tokens = tokens.map_err(|e| format!("the query cannot be read to put parameters into it: {e}"))?;
    let mut places = vec![None; count];
    for token in tokens {
        let (text, place) = match token {
            Token::Word(word) if word.quote_style.is_none() => (word.value, Place::Alone),
            Token::Whitespace(space) => (space.to_string(), Place::Comment),
            _ => continue,
        };
        for (index, found) in places.iter_mut().enumerate().filter(|_| text.contains(mark)) {
            let word = word(index);
            if text == word || place == Place::Comment && text.contains(&word) {
                *found = Some(place);
            }
        }
    }
    Ok(places)
}

/// A value as a literal.
fn literal(name: &str, value: &Value, mark: &str, dialect: Dialect) -> Result<String, String> {
    Ok(match value {
        Value::Null => "NULL".to_owned(),
        Value::Bool(true) => "TRUE".to_owned(),
        Value::Bool(false) => "FALSE".to_owned(),
        // Behind another minus it would begin a comment.
        Value::Number(number) if number.to_string().starts_with('-') => format!("({number})"),
        Value::Number(number) => number.to_string(),
        Value::String(text) if text.contains('\0') => {
            return Err(format!("the parameter {name:?} has a null character, which no text of a database holds"));
        }
        Value::String(text) => match dialect {
            Dialect::Postgresql => in_dollars(text, mark),
            Dialect::Mysql if text.is_empty() => "LEFT(_utf8mb4 0x20, 0)".to_owned(),
            Dialect::Mysql => format!("_utf8mb4 0x{}", hex::encode(text)),
        },
        Value::Array(_) | Value::Object(_) => {
            return Err(format!(
                "the parameter {name:?} is a list or an object; a query takes a text, a number, true, false or null"
            ));
        }
    })
}

/// A text for PostgreSQL: one literal of no type yet, so that it can become a date, or a sum of texts where it has something
/// that could end what it stands in.
fn in_dollars(text: &str, mark: &str) -> String {
    let quoted = |text: &str| format!(" ${mark}${text}${mark}$");
    let is_special = |c: char| c.is_ascii_control() || matches!(c, '\'' | '"' | '\\' | '$' | '*' | '`');
    if !text.contains(is_special) {
        return quoted(text);
    }
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(is_special) {
        let (before, after) = rest.split_at(at);
        parts.push(quoted(before));
        let mut after = after.chars();
        parts.extend(after.next().map(|special| format!("chr({})", u32::from(special))));
        rest = after.as_str();
    }
    parts.push(quoted(rest));
    format!("({})", parts.join("||"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const BOTH: [Dialect; 2] = [Dialect::Postgresql, Dialect::Mysql];

    fn values() -> Map<String, Value> {
        let values = json!({"name": "O'Brien", "n": -5, "x": 1.5, "yes": true, "none": null, "list": [1], "day": "2026-01-15",
            "to": "${n}", "empty": "", "flowgate_parameter_0_": "'"});
        values.as_object().unwrap().clone()
    }

    #[test]
    fn values_stand_as_literals() {
        for dialect in BOTH {
            let fill = |query| fill(query, dialect, &values()).unwrap();
            assert_eq!(fill("SELECT '$${x}'"), "SELECT '${x}'");
            assert_eq!(fill("1 -${n}, ${ x }, ${yes}, ${none}"), "1 -(-5), 1.5, TRUE, NULL");
            // A comment's parameters are none.
            assert_eq!(fill("/* ${unknown} */ ${x} -- ${name}\n"), "/* ${unknown} */ 1.5 -- ${name}\n");
        }
        let postgres = |query| fill(query, Dialect::Postgresql, &values()).unwrap();
        let mark = "$flowgate_parameter_$";
        assert_eq!(postgres("d >= ${day}"), format!("d >=  {mark}2026-01-15{mark}"));
        assert_eq!(postgres("n = ${name}"), format!("n = ( {mark}O{mark}||chr(39)|| {mark}Brien{mark})"));
        assert_eq!(postgres("${empty}"), format!(" {mark}{mark}"));
        // A value is not looked through for parameters.
        assert_eq!(postgres("${to}"), format!("( {mark}{mark}||chr(36)|| {mark}{{n}}{mark})"));
        let query = "flowgate_parameter_0_ = ${flowgate_parameter_0_}";
        assert!(postgres(query).ends_with("||chr(39)|| $flowgate_parameter__$$flowgate_parameter__$)"));
        let mysql = |query| fill(query, Dialect::Mysql, &values()).unwrap();
        assert_eq!(mysql("n = ${name}"), "n = _utf8mb4 0x4f27427269656e");
        assert_eq!(mysql("n = ${empty}"), "n = LEFT(_utf8mb4 0x20, 0)");
    }

    proptest::proptest! {
        #[test]
        fn a_literal_ends_nothing_that_it_stands_in(text in "[ -~\n\r\t€]{0,12}") {
            for dialect in BOTH {
                let values = Map::from_iter([("x".to_owned(), Value::String(text.clone()))]);
                let filled = fill("${x}", dialect, &values).unwrap();
                let ends = |c: char| c.is_ascii_control() || matches!(c, '\'' | '"' | '\\' | '`' | '*');
                proptest::prop_assert!(!filled.contains(ends), "{filled}");
                // Its own dollars stand around what has none.
                let dollars = filled.matches('$').count();
                proptest::prop_assert_eq!(dollars, 2 * filled.matches("$flowgate_parameter_$").count(), "{}", filled);
            }
        }
    }

    #[test]
    fn what_can_be_no_value_is_refused() {
        let refused = |dialect, query: &str| fill(query, dialect, &values()).unwrap_err();
        for dialect in BOTH {
            for query in ["SELECT * FROM t${n}", "${x}${n}", "\"${name}\"", "'${name}'", "'\\${name}'", "'%${name}%'"] {
                assert!(refused(dialect, query).contains("must stand by itself and without quotes"), "{query}");
            }
            assert!(refused(dialect, "${list}").contains("is a list or an object"));
            assert!(refused(dialect, "${nam}").contains("did you mean ${name}?"));
            assert!(refused(dialect, "${x").contains("not closed"));
            assert!(refused(dialect, "${x} = 'open").contains("cannot be read"));
        }
        for query in ["E'${name}'", "$$ ${name} $$", "$a$ ${name} $a$"] {
            assert!(refused(Dialect::Postgresql, query).contains("must stand by itself"), "{query}");
        }
        assert!(refused(Dialect::Mysql, "`${name}`").contains("must stand by itself"));
    }
}
