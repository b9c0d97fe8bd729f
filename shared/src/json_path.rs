//! Paths into a JSON value, such as `a.b[0]`, `$.a` or `["a key"].b`.

/// One step into a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Key(String),
    Index(usize),
}

/// The steps of a path; none of `$` alone, which is the whole value.
///
/// # Errors
/// A sentence that says what is wrong with it and what would be right.
pub fn parse(path: &str) -> Result<Vec<Step>, String> {
    let wrong = |what: &str| format!("{path:?}: {what}; a path is such as a.b[0] or [\"a key\"].b");
    if path.is_empty() {
        return Err(wrong("it is empty"));
    }
    let mut steps = Vec::new();
    let mut rest = path.strip_prefix('$').unwrap_or(path);
    while !rest.is_empty() {
        if let Some(inside) = rest.strip_prefix("[\"") {
            let (key, after) = inside.split_once("\"]").ok_or_else(|| wrong("a [\" is not closed"))?;
            steps.push(Step::Key(key.to_owned()));
            rest = after;
        } else if let Some(inside) = rest.strip_prefix('[') {
            let (index, after) = inside.split_once(']').ok_or_else(|| wrong("a [ is not closed"))?;
            let index = index.trim().parse().map_err(|_| wrong("between [ and ] must be a number from 0"))?;
            steps.push(Step::Index(index));
            rest = after;
        } else {
            let name = rest.strip_prefix('.').unwrap_or(rest);
            let (key, after) = name.split_at(name.find(['.', '[']).unwrap_or(name.len()));
            if key.is_empty() {
                return Err(wrong("a name is missing"));
            }
            if key.contains(']') {
                return Err(wrong("a ] has no [ before it"));
            }
            steps.push(Step::Key(key.to_owned()));
            rest = after;
        }
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_goes_through_keys_and_indices() {
        let key = |name: &str| Step::Key(name.to_owned());
        assert_eq!(parse("a.b[0]").unwrap(), [key("a"), key("b"), Step::Index(0)]);
        assert_eq!(parse("$.a[1][\"c.d e\"]").unwrap(), [key("a"), Step::Index(1), key("c.d e")]);
        assert_eq!(parse("[\"a.b\"].c").unwrap(), [key("a.b"), key("c")]);
        assert_eq!(parse("$").unwrap(), []);
    }

    #[test]
    fn a_broken_path_says_what_is_right() {
        for path in ["", "a..b", "a.", "a[", "a[x]", "a[\"b", "a]", "[]", "[-1]"] {
            assert!(parse(path).unwrap_err().contains("a path is such as a.b[0]"), "{path}");
        }
    }
}
