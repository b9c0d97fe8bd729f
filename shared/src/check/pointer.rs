//! JSON Pointers (RFC 6901): building them and putting faults into the order of the document.

use crate::Fault;
use std::cmp::Ordering;

/// `parent` with one more token, escaped.
pub(super) fn push(parent: &str, token: &str) -> String {
    format!("{parent}/{}", token.replace('~', "~0").replace('/', "~1"))
}

/// `parent` with an array's index.
pub(super) fn at(parent: &str, index: usize) -> String {
    format!("{parent}/{index}")
}

/// Sorts by pointer, array indices as numbers, and drops what is there twice.
pub(super) fn sort(faults: &mut Vec<Fault>) {
    faults.sort_by(|a, b| {
        compare(&a.pointer, &b.pointer).then_with(|| a.code.cmp(&b.code)).then_with(|| a.detail.cmp(&b.detail))
    });
    faults.dedup();
}

fn compare(a: &str, b: &str) -> Ordering {
    let mut left = a.split('/');
    let mut right = b.split('/');
    loop {
        let order = match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(l), Some(r)) => match (l.parse::<u64>(), r.parse::<u64>()) {
                (Ok(l), Ok(r)) => l.cmp(&r),
                _ => l.cmp(r),
            },
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}
