//! What else is wrong with a value that has fields which nobody knows, or parts that cannot be read. Neither hides a fault,
//! but one that only follows from a slip in a field's name is not told beside it.

use super::shape::{self, Mode};
use super::verdict;
use crate::Fault;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::collections::HashSet;

/// Adds the faults that `rules` finds in `value` as far as it can be read; its shape, which should be that of `T`, is
/// checked elsewhere. Fields that are not known are left out, and what is found must also be found where each of them is
/// the missing one whose name is nearest.
pub(super) fn judge<T: JsonSchema + DeserializeOwned + 'static>(
    value: &Value,
    faults: &mut Vec<Fault>,
    mut rules: impl FnMut(&Value, &mut Vec<Fault>),
) {
    if T::deserialize(value).is_ok() {
        return rules(value, faults);
    }
    let (mut without, mut meant) = (value.clone(), value.clone());
    let mut wrong = Vec::new();
    shape::check::<T>(value, "", Mode::default(), &mut wrong);
    for slip in wrong.iter().filter(|fault| fault.code == "unknown_field") {
        take(&mut without, &slip.pointer);
        if let Some((object, field)) = take(&mut meant, &slip.pointer)
            && let Some(name) = verdict::meant(slip)
        {
            object.entry(name).or_insert(field);
        }
    }
    let (mut found, mut also) = (Vec::new(), Vec::new());
    rules(&without, &mut found);
    // A field that may be meant can have a value that is none of its own, by which nothing can be read.
    if T::deserialize(&without).is_ok() && T::deserialize(&meant).is_err() {
        return faults.extend(found);
    }
    rules(&meant, &mut also);
    let also: HashSet<(&str, &str)> = also.iter().map(|f| (f.pointer.as_str(), f.code.as_str())).collect();
    faults.extend(found.into_iter().filter(|f| also.contains(&(f.pointer.as_str(), f.code.as_str()))));
}

/// The same for rules of a value that can be read as a whole, or not at all.
pub(super) fn judge_whole<T: JsonSchema + DeserializeOwned + 'static>(
    value: &Value,
    faults: &mut Vec<Fault>,
    mut rules: impl FnMut(&T, &mut Vec<Fault>),
) {
    judge::<T>(value, faults, |value, faults| {
        if let Ok(value) = T::deserialize(value) {
            rules(&value, faults);
        }
    });
}

/// Takes the field at `pointer` out of its object.
fn take<'v>(value: &'v mut Value, pointer: &str) -> Option<(&'v mut Map<String, Value>, Value)> {
    let (parent, token) = pointer.rsplit_once('/')?;
    let object = value.pointer_mut(parent)?.as_object_mut()?;
    // Not in order, which takes no time that grows with the object.
    let field = object.swap_remove(&token.replace("~1", "/").replace("~0", "~"))?;
    Some((object, field))
}
