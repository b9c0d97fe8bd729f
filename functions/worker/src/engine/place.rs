//! Where in a config a fault is.

use serde_json::Value;

/// The JSON Pointer in `config` of the text that `message` quotes first; none where it quotes none of them.
pub fn named_first(config: &Value, message: &str) -> Option<String> {
    let mut found: Option<(usize, String)> = None;
    let mut open = vec![(String::new(), config)];
    while let Some((at, value)) = open.pop() {
        match value {
            Value::String(text) if !text.is_empty() => {
                if let Some(place) = quoted(text, message)
                    && found.as_ref().is_none_or(|(first, _)| place < *first)
                {
                    found = Some((place, at));
                }
            }
            // The last one is looked at first, so that of two texts that are equal the first one stays.
            Value::Array(items) => open.extend(items.iter().enumerate().rev().map(|(i, v)| (format!("{at}/{i}"), v))),
            Value::Object(map) => {
                let escaped = |key: &str| key.replace('~', "~0").replace('/', "~1");
                open.extend(map.iter().rev().map(|(key, v)| (format!("{at}/{}", escaped(key)), v)));
            }
            _ => {}
        }
    }
    found.map(|(_, at)| at)
}

/// Where `message` quotes `text`, or a path that ends with it.
fn quoted(text: &str, message: &str) -> Option<usize> {
    let whole = format!("{text:?}");
    let end = whole.get(1..)?;
    let begins = |at: &usize| message.get(..*at).is_some_and(|before| before.ends_with(['"', '/']));
    message.match_indices(end).map(|(at, _)| at).find(begins)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_text_that_is_quoted_first_is_the_place() {
        let config = json!({"field": "amount", "expr": "amuont * 2", "into": ["amount", "b"]});
        let why = "expr \"amuont * 2\": there is no column \"amuont\"; did you mean \"amount\"?";
        assert_eq!(named_first(&config, why).as_deref(), Some("/expr"));
        assert_eq!(named_first(&config, "two results would be named \"b\"").as_deref(), Some("/into/1"));
        assert_eq!(named_first(&config, "there is no column \"amount\"").as_deref(), Some("/field"));
        assert_eq!(named_first(&config, "no column would be left"), None);
        let path = json!({"path": "in.csv"});
        assert_eq!(named_first(&path, "nothing is at \"shop/in.csv\"").as_deref(), Some("/path"));
        assert_eq!(named_first(&path, "nothing is at \"main.csv\""), None);
    }
}
