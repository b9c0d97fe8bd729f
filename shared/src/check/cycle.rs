//! Finds the cycles of a graph and names their nodes.

use super::pointer;
use crate::Fault;
use std::collections::{HashMap, HashSet};

/// Adds one fault for each cycle, at the edge of it that comes last in the body. `links` are the edges' indices with their
/// ends. Gives the nodes that lie on cycles.
pub(super) fn check(
    links: &[(usize, usize, usize)],
    name: &dyn Fn(usize) -> String,
    faults: &mut Vec<Fault>,
) -> HashSet<usize> {
    let mut next: HashMap<usize, Vec<usize>> = HashMap::new();
    let mut on_cycles = HashSet::new();
    let mut told = HashSet::new();
    // Edge by edge: the first one that closes a way back to its start is the fault, and does not count any further.
    for (index, source, target) in links {
        match path(&next, *target, *source) {
            Some(path) if told.insert((*source, *target)) => {
                let names: Vec<String> = path.iter().chain(path.first()).map(|node| name(*node)).collect();
                let detail = match path.len() {
                    1 => format!("the node {} feeds itself; a graph must not have cycles", name(*source)),
                    _ => format!("closes the cycle {}; a graph must not have cycles", names.join(" → ")),
                };
                faults.push(Fault::new(pointer::at("/edges", *index), "cycle", detail));
                on_cycles.extend(path);
            }
            Some(_) => {}
            None => next.entry(*source).or_default().push(*target),
        }
    }
    on_cycles
}

/// A way from one node to another, both named.
fn path(next: &HashMap<usize, Vec<usize>>, from: usize, to: usize) -> Option<Vec<usize>> {
    let mut came: HashMap<usize, usize> = HashMap::new();
    let mut open = vec![from];
    let mut seen = HashSet::from([from]);
    while let Some(node) = open.pop() {
        if node == to {
            let mut way = vec![to];
            let mut at = to;
            while let Some(before) = came.get(&at) {
                at = *before;
                way.push(at);
            }
            way.reverse();
            return Some(way);
        }
        for after in next.get(&node).into_iter().flatten() {
            if seen.insert(*after) {
                came.insert(*after, node);
                open.push(*after);
            }
        }
    }
    None
}
