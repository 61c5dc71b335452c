//! Where boxes and lines go: layers by longest path, order within a layer by the mean of the
//! neighbours, long lines bent around the boxes between. Lines that follow from other lines are
//! left out. Cycles, unknown inputs and repeated numbers are survived, not reported: the drawing is
//! for people and its input may come from anyone.

use std::collections::{BTreeMap, BTreeSet};

use caravan_protocol::view::TermView;

use crate::limits;

pub(super) const BOX_WIDTH: i64 = 196;
pub(super) const BOX_HEIGHT: i64 = 30;
const GAP_X: i64 = 40;
const GAP_Y: i64 = 10;
const BEND_HEIGHT: i64 = 6;
const SWEEPS: usize = 6;

/// A line from the right side of a box to the left side of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Edge {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) points: Vec<(i64, i64)>,
}

/// Upper left corners of the boxes, in the order of the terms, and the lines between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) places: Vec<(i64, i64)>,
    pub(super) edges: Vec<Edge>,
    pub(super) width: i64,
    pub(super) height: i64,
}

/// A box or a bend of a line, in its layer.
#[derive(Debug, Clone, Default)]
struct Vertex {
    layer: usize,
    height: i64,
    left: Vec<usize>,
    right: Vec<usize>,
    y: i64,
}

impl Layout {
    pub(super) fn of(terms: &[TermView]) -> Self {
        let inputs = reduced(&inputs(terms));
        let layers = layers(&inputs);
        let (mut vertices, chains) = vertices(&inputs, &layers);
        let mut rows = rows(&vertices);
        order(&mut rows, &vertices);
        place(&rows, &mut vertices);
        let x = |layer: usize| i64::try_from(layer).unwrap_or(0) * (BOX_WIDTH + GAP_X);
        let at = |vertex: usize| (x(vertices[vertex].layer), vertices[vertex].y);
        let places: Vec<_> = (0..terms.len()).map(at).collect();
        let edges = chains
            .into_iter()
            .map(|chain| Edge {
                from: chain[0],
                to: chain[chain.len() - 1],
                points: points(&chain, &vertices, x),
            })
            .collect();
        Self {
            places,
            edges,
            width: x(rows.len().saturating_sub(1)) + BOX_WIDTH,
            height: vertices.iter().map(|v| v.y + v.height).max().unwrap_or(0),
        }
    }
}

/// The inputs of each term by position, without repetitions, unknown ones and cycles, each list in
/// order. Every input of a term comes before it in some order of all terms.
fn inputs(terms: &[TermView]) -> Vec<BTreeSet<usize>> {
    let mut by_id = BTreeMap::new();
    for (at, term) in terms.iter().enumerate() {
        by_id.entry(term.id).or_insert(at);
    }
    let mut budget = limits::EDGES_MAX;
    let mut inputs = vec![BTreeSet::new(); terms.len()];
    for (at, term) in terms.iter().enumerate() {
        for input in term.inputs.iter().take(budget) {
            if let Some(from) = by_id.get(input).filter(|from| **from != at) {
                inputs[at].insert(*from);
            }
        }
        budget = budget.saturating_sub(term.inputs.len());
    }
    let order = order_of(&inputs);
    let mut rank = vec![0; terms.len()];
    for (position, at) in order.iter().enumerate() {
        rank[*at] = position;
    }
    for (at, from) in inputs.iter_mut().enumerate() {
        from.retain(|from| rank[*from] < rank[at]);
    }
    inputs
}

/// All terms, inputs first; a term of a cycle comes when nothing else is left.
fn order_of(inputs: &[BTreeSet<usize>]) -> Vec<usize> {
    let mut waits: Vec<usize> = inputs.iter().map(BTreeSet::len).collect();
    let mut readers = vec![Vec::new(); inputs.len()];
    for (at, from) in inputs.iter().enumerate() {
        from.iter().for_each(|from| readers[*from].push(at));
    }
    let mut ready: BTreeSet<usize> = (0..inputs.len()).filter(|at| waits[*at] == 0).collect();
    let mut left: BTreeSet<usize> = (0..inputs.len()).collect();
    let mut order = Vec::with_capacity(inputs.len());
    while let Some(at) = ready.pop_first().or_else(|| left.first().copied()) {
        if !left.remove(&at) {
            continue;
        }
        order.push(at);
        for reader in &readers[at] {
            waits[*reader] = waits[*reader].saturating_sub(1);
            if waits[*reader] == 0 {
                ready.insert(*reader);
            }
        }
    }
    order
}

/// Drops an input that another input reads too, directly or not.
fn reduced(inputs: &[BTreeSet<usize>]) -> Vec<BTreeSet<usize>> {
    let words = inputs.len().div_ceil(64);
    let mut reach = vec![vec![0_u64; words]; inputs.len()];
    let has = |set: &[u64], at: usize| set[at / 64] >> (at % 64) & 1 == 1;
    for at in order_of(inputs) {
        let mut own = vec![0_u64; words];
        for from in &inputs[at] {
            for (word, other) in own.iter_mut().zip(&reach[*from]) {
                *word |= other;
            }
        }
        // What is reached through an input so far is exactly what needs no line of its own.
        let direct: Vec<usize> = inputs[at].iter().copied().collect();
        for from in direct {
            own[from / 64] |= 1 << (from % 64);
        }
        reach[at] = own;
    }
    let implied = |at: usize, from: usize| {
        inputs[at]
            .iter()
            .any(|other| *other != from && has(&reach[*other], from))
    };
    (0..inputs.len())
        .map(|at| {
            inputs[at]
                .iter()
                .copied()
                .filter(|from| !implied(at, *from))
                .collect()
        })
        .collect()
}

/// The layer of each term: behind all of its inputs; one without inputs stands just before its
/// first reader.
fn layers(inputs: &[BTreeSet<usize>]) -> Vec<usize> {
    let mut layers = vec![0; inputs.len()];
    for at in order_of(inputs) {
        layers[at] = inputs[at]
            .iter()
            .map(|from| layers[*from] + 1)
            .max()
            .unwrap_or(0);
    }
    let mut first_reader = vec![usize::MAX; inputs.len()];
    for (at, from) in inputs.iter().enumerate() {
        for from in from {
            first_reader[*from] = first_reader[*from].min(layers[at]);
        }
    }
    for (at, reader) in first_reader.into_iter().enumerate() {
        if inputs[at].is_empty() && reader != usize::MAX {
            layers[at] = reader - 1;
        }
    }
    layers
}

/// The boxes, then the bends of the lines that pass layers, and each line as a chain of them.
fn vertices(inputs: &[BTreeSet<usize>], layers: &[usize]) -> (Vec<Vertex>, Vec<Vec<usize>>) {
    let mut vertices: Vec<Vertex> = layers
        .iter()
        .map(|layer| Vertex {
            layer: *layer,
            height: BOX_HEIGHT,
            ..Vertex::default()
        })
        .collect();
    let mut chains = Vec::new();
    let mut bends = 0;
    for (at, from) in inputs.iter().enumerate() {
        for from in from {
            let mut chain = vec![*from];
            let passed = layers[*from] + 1..layers[at];
            if bends + passed.len() <= limits::BENDS_MAX {
                bends += passed.len();
                for layer in passed {
                    chain.push(vertices.len());
                    vertices.push(Vertex {
                        layer,
                        height: BEND_HEIGHT,
                        ..Vertex::default()
                    });
                }
            }
            chain.push(at);
            for pair in chain.windows(2) {
                vertices[pair[0]].right.push(pair[1]);
                vertices[pair[1]].left.push(pair[0]);
            }
            chains.push(chain);
        }
    }
    (vertices, chains)
}

fn rows(vertices: &[Vertex]) -> Vec<Vec<usize>> {
    let count = vertices.iter().map(|v| v.layer + 1).max().unwrap_or(0);
    let mut rows = vec![Vec::new(); count];
    for (at, vertex) in vertices.iter().enumerate() {
        rows[vertex.layer].push(at);
    }
    rows
}

/// Sorts each layer by where the neighbours stand, to and fro, so that few lines cross.
fn order(rows: &mut [Vec<usize>], vertices: &[Vertex]) {
    let mut position = vec![0_i64; vertices.len()];
    let note = |row: &[usize], position: &mut [i64]| {
        for (at, vertex) in (0_i64..).zip(row) {
            position[*vertex] = at;
        }
    };
    rows.iter().for_each(|row| note(row, &mut position));
    for sweep in 0..SWEEPS {
        let rightward = sweep % 2 == 0;
        let count = rows.len();
        for step in 0..count {
            let row = &mut rows[if rightward { step } else { count - 1 - step }];
            row.sort_by_key(|at| {
                let vertex = &vertices[*at];
                let neighbours = if rightward {
                    &vertex.left
                } else {
                    &vertex.right
                };
                mean(neighbours.iter().map(|n| position[*n] * 1024)).unwrap_or(position[*at] * 1024)
            });
            note(row, &mut position);
        }
    }
}

fn mean(values: impl Iterator<Item = i64>) -> Option<i64> {
    let (mut sum, mut count) = (0_i64, 0_i64);
    for value in values {
        sum += value;
        count += 1;
    }
    (count > 0).then(|| sum / count)
}

/// Gives every vertex its height on the page: near its neighbours, in the order of its layer.
fn place(rows: &[Vec<usize>], vertices: &mut [Vertex]) {
    for row in rows {
        let mut y = 0;
        for at in row {
            vertices[*at].y = y;
            y += vertices[*at].height + GAP_Y;
        }
    }
    for sweep in 0..SWEEPS {
        let rightward = sweep % 2 == 0;
        for step in 0..rows.len() {
            let row = &rows[if rightward {
                step
            } else {
                rows.len() - 1 - step
            }];
            settle(row, vertices, rightward);
        }
    }
    let top = vertices.iter().map(|v| v.y).min().unwrap_or(0);
    vertices.iter_mut().for_each(|v| v.y -= top);
}

fn settle(row: &[usize], vertices: &mut [Vertex], rightward: bool) {
    let wish = |at: usize| {
        let vertex = &vertices[at];
        let neighbours = if rightward {
            &vertex.left
        } else {
            &vertex.right
        };
        let middles = neighbours
            .iter()
            .map(|n| vertices[*n].y + vertices[*n].height / 2);
        mean(middles).map_or(vertex.y, |middle| middle - vertex.height / 2)
    };
    let wishes: Vec<i64> = row.iter().map(|at| wish(*at)).collect();
    let mut got = Vec::with_capacity(row.len());
    let mut free = i64::MIN;
    for (at, wish) in row.iter().zip(&wishes) {
        let y = (*wish).max(free);
        free = y + vertices[*at].height + GAP_Y;
        got.push(y);
    }
    let shift = mean(got.iter().zip(&wishes).map(|(got, wish)| got - wish)).unwrap_or(0);
    for (at, y) in row.iter().zip(got) {
        vertices[*at].y = y - shift;
    }
}

/// The corners of a line: it leaves a box at its right side, passes the bends and enters at the
/// left side.
fn points(chain: &[usize], vertices: &[Vertex], x: impl Fn(usize) -> i64) -> Vec<(i64, i64)> {
    let last = chain.len() - 1;
    let mut points = Vec::with_capacity(2 * chain.len());
    for (at, vertex) in chain.iter().map(|at| &vertices[*at]).enumerate() {
        let (left, middle) = (x(vertex.layer), vertex.y + vertex.height / 2);
        if at > 0 {
            points.push((left, middle));
        }
        if at < last {
            points.push((left + BOX_WIDTH, middle));
        }
    }
    points
}
