//! Parameters of a run in a query that a database reads: literals of its SQL, so that no value is ever read as SQL.

use super::Dialect;
use crate::engine::parameters::{Piece, as_text, find, pieces};
use datafusion::sql::sqlparser::dialect::{self, MySqlDialect, PostgreSqlDialect};
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use serde_json::{Map, Value};

/// Where a parameter stands in a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// By itself, as a value would.
    Alone,
    /// Within a text in single quotes.
    Text,
    Comment,
}

/// `query` with the parameters' values in it: where `${name}` stands by itself as a literal of its JSON type, within a text
/// in single quotes as a part of that. In comments it stays as it is.
///
/// # Errors
/// A sentence, where a parameter is not there, not closed, no single value, or stands where no value can be.
pub fn fill(query: &str, dialect: Dialect, parameters: &Map<String, Value>) -> Result<String, String> {
    let pieces = pieces(query)?;
    let places = places(query, &pieces, dialect)?;
    let mut places = places.into_iter();
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
            Some(Place::Alone) => filled.push_str(&literal(name, find(name, parameters)?, dialect)?),
            Some(Place::Text) => filled.push_str(&within(name, &single(name, find(name, parameters)?)?, dialect)?),
            Some(Place::Comment) => filled.push_str(&format!("${{{name}}}")),
            None => {
                return Err(format!(
                    "${{{name}}} must stand where a value can: by itself, or within a text in single quotes"
                ));
            }
        }
    }
    Ok(filled)
}

/// Where each parameter stands, as the server will read it; none where no value can be.
fn places(query: &str, pieces: &[Piece<'_>], dialect: Dialect) -> Result<Vec<Option<Place>>, String> {
    let count = pieces.iter().filter(|piece| matches!(piece, Piece::Parameter(_))).count();
    if count == 0 {
        return Ok(Vec::new());
    }
    // Which of them is SQL the server's version decides.
    if dialect == Dialect::Mysql && (query.contains("/*!") || query.contains("/*M!")) {
        return Err("a query with parameters has no comments that servers execute (/*!)".to_owned());
    }
    let mut mark = "flowgate_parameter_".to_owned();
    while query.contains(&mark) {
        mark.push('_');
    }
    let word = |index: usize| format!("{mark}{index}_");
    let mut marked = String::with_capacity(query.len() + count * word(count).len());
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
            Token::SingleQuotedString(text) => (text, Place::Text),
            Token::Whitespace(space) => (space.to_string(), Place::Comment),
            _ => continue,
        };
        for (index, found) in places.iter_mut().enumerate().filter(|_| text.contains(&mark)) {
            let word = word(index);
            if if place == Place::Alone { text == word } else { text.contains(&word) } {
                *found = Some(place);
            }
        }
    }
    Ok(places)
}

/// A value as a literal.
fn literal(name: &str, value: &Value, dialect: Dialect) -> Result<String, String> {
    Ok(match value {
        Value::Null => "NULL".to_owned(),
        Value::Bool(true) => "TRUE".to_owned(),
        Value::Bool(false) => "FALSE".to_owned(),
        // Behind another minus it would begin a comment.
        Value::Number(number) if number.to_string().starts_with('-') => format!("({number})"),
        Value::Number(number) => number.to_string(),
        // What a backslash means here is the server's setting.
        Value::String(text) if dialect == Dialect::Mysql && text.contains('\\') => {
            format!("_utf8mb4 X'{}'", hex::encode(text))
        }
        value => format!("'{}'", within(name, &single(name, value)?, dialect)?),
    })
}

/// A value as a text, unless it is a list or an object.
fn single(name: &str, value: &Value) -> Result<String, String> {
    match value {
        Value::Array(_) | Value::Object(_) => Err(format!(
            "the parameter {name:?} is a list or an object; a query takes a text, a number, true, false or null"
        )),
        value => Ok(as_text(value)),
    }
}

/// A text as it stands within single quotes.
fn within(name: &str, text: &str, dialect: Dialect) -> Result<String, String> {
    if text.contains('\0') {
        return Err(format!("the parameter {name:?} has a null character, which no text of a database holds"));
    }
    if dialect == Dialect::Mysql && text.contains('\\') {
        return Err(format!("the parameter {name:?} has a backslash; let ${{{name}}} stand by itself, without quotes"));
    }
    Ok(text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const BOTH: [Dialect; 2] = [Dialect::Postgresql, Dialect::Mysql];

    fn values() -> Map<String, Value> {
        let values = json!({
            "evil": "x' OR 1 = 1 --", "path": "a\\' OR 1", "n": -5, "x": 1.5, "yes": true, "none": null, "list": [1], "to": "${n}",
            "flowgate_parameter_0_": "'"
        });
        values.as_object().unwrap().clone()
    }

    #[test]
    fn values_stand_as_literals() {
        for dialect in BOTH {
            let fill = |query| fill(query, dialect, &values()).unwrap();
            assert_eq!(fill("SELECT 1"), "SELECT 1");
            assert_eq!(fill("a = ${evil}"), "a = 'x'' OR 1 = 1 --'");
            assert_eq!(fill("a = '${evil}'"), "a = 'x'' OR 1 = 1 --'");
            assert_eq!(fill("a LIKE '%${evil}%${n}'"), "a LIKE '%x'' OR 1 = 1 --%-5'");
            assert_eq!(fill("1 -${n}, ${ x }, ${yes}, ${none}"), "1 -(-5), 1.5, TRUE, NULL");
            // A value is not looked through for parameters, and a comment's are none.
            assert_eq!(fill("${to} -- ${evil}\n"), "'${n}' -- ${evil}\n");
            assert_eq!(fill("/* ${unknown} */ '$${x}'"), "/* ${unknown} */ '${x}'");
            assert_eq!(fill("flowgate_parameter_0_ = ${flowgate_parameter_0_}"), "flowgate_parameter_0_ = ''''");
        }
        assert_eq!(fill("a = ${path}", Dialect::Postgresql, &values()).unwrap(), "a = 'a\\'' OR 1'");
        assert_eq!(fill("a = ${path}", Dialect::Mysql, &values()).unwrap(), "a = _utf8mb4 X'615c27204f522031'");
        assert_eq!(fill("'a\\'' + ${n}", Dialect::Mysql, &values()).unwrap(), "'a\\'' + (-5)");
    }

    #[test]
    fn what_can_be_no_value_is_refused() {
        let refused = |dialect, query: &str| fill(query, dialect, &values()).unwrap_err();
        for dialect in BOTH {
            for query in ["SELECT * FROM t${n}", "${x}${n}", "\"${evil}\""] {
                assert!(refused(dialect, query).contains("must stand where a value can"), "{query}");
            }
            assert!(refused(dialect, "${list}").contains("is a list or an object"));
            assert!(refused(dialect, "'${list}'").contains("is a list or an object"));
            assert!(refused(dialect, "${evill}").contains("did you mean ${evil}?"));
            assert!(refused(dialect, "'${x").contains("not closed"));
            assert!(refused(dialect, "${x} = 'open").contains("cannot be read"));
        }
        for query in ["E'${evil}'", "$$ ${evil} $$", "$a$ ${evil} $a$"] {
            assert!(fill(query, Dialect::Postgresql, &values()).is_err(), "{query}");
        }
        assert!(refused(Dialect::Mysql, "`${evil}`").contains("must stand where a value can"));
        assert!(refused(Dialect::Mysql, "'${path}'").contains("has a backslash"));
        assert!(refused(Dialect::Mysql, "/*!50000 ${n} */").contains("comments that servers execute"));
    }
}
