//! For people: which terms there are, what they wait for, and how they stand. Hidden terms are
//! seen through. Works at any time, so also before anything has run; the inside of a function that
//! makes terms shows once its input is there.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    rc::Rc,
};

use caravan_protocol::{
    policy::WantId,
    view::{State, TermView},
};

use crate::{
    engine::Engine,
    graph::{EXHAUSTED, Graph, Node, Op},
    term::{Id, Term},
    value::Cell,
};

impl Engine {
    /// The labelled terms, what is read before what reads it.
    #[must_use]
    pub fn terms(&self) -> Vec<TermView> {
        shown(&self.graph)
            .into_iter()
            .map(|(_, view)| view)
            .collect()
    }

    /// The wishes that a term waits for or has waited for, dependencies first: those of everything
    /// that it reads. What decided that it was made at all is not counted.
    #[must_use]
    pub fn wants_below<T>(&self, term: Term<T>) -> Vec<WantId> {
        let mut seen = BTreeSet::new();
        let mut left = vec![term.id];
        let mut found = BTreeSet::new();
        while let Some(id) = left.pop() {
            let Some(node) = self.graph.nodes.get(&id) else {
                continue;
            };
            if seen.insert(id) {
                left.extend(&node.inputs);
                if let Op::Action(Some(want)) = node.op {
                    found.insert((node.height, id, want));
                }
            }
        }
        let mut said = BTreeSet::new();
        let wants = found.into_iter().map(|(_, _, want)| want);
        wants.filter(|want| said.insert(*want)).collect()
    }

    /// The drawing for Graphviz, in the colours of OCurrent.
    #[must_use]
    pub fn dot(&self) -> String {
        let mut out = String::from(
            "digraph pipeline {\n  rankdir=LR\n  node [shape=box, style=filled, fontname=\"sans-serif\"]\n",
        );
        let terms = self.terms();
        for term in &terms {
            let label = quoted(&term.label);
            let colour = colour(term.state);
            let _ = writeln!(
                out,
                "  n{} [label={label}, fillcolor=\"#{colour}\"]",
                term.id
            );
        }
        for term in &terms {
            for input in &term.inputs {
                let _ = writeln!(out, "  n{input} -> n{}", term.id);
            }
        }
        out.push_str("}\n");
        out
    }

    /// The drawing for a terminal: results first, what they read indented below them. What has
    /// been drawn is only named the next time.
    #[must_use]
    pub fn text(&self) -> String {
        let shown = shown(&self.graph);
        let read: BTreeSet<u32> = shown
            .iter()
            .flat_map(|(_, view)| &view.inputs)
            .copied()
            .collect();
        let results = shown.iter().map(|(_, view)| view.id);
        let mut left: Vec<(usize, u32)> = results
            .filter(|id| !read.contains(id))
            .map(|id| (0, id))
            .collect();
        left.reverse();
        let mut drawn = BTreeSet::new();
        let mut out = String::new();
        while let Some((depth, id)) = left.pop() {
            let (node, view) = &shown[id as usize];
            let indent = "  ".repeat(depth);
            let label = one_line(&view.label);
            if !drawn.insert(id) {
                let _ = writeln!(out, "{indent}{label} (see above)");
                continue;
            }
            let _ = writeln!(out, "{indent}{label} [{}]", words(node));
            left.extend(view.inputs.iter().rev().map(|input| (depth + 1, *input)));
        }
        out
    }
}

/// The colour that OCurrent gives a state.
#[must_use]
pub const fn colour(state: State) -> &'static str {
    match state {
        State::Ok => "90ee90",
        State::Running => "ffa500",
        State::Ready => "ffff00",
        State::Failed => "ff4500",
        State::Blocked | State::Cancelled => "d3d3d3",
    }
}

/// Labelled nodes with their views, numbered in order, lowest first.
fn shown(graph: &Graph) -> Vec<(&Node, TermView)> {
    let mut order: Vec<(u32, Id)> = graph
        .nodes
        .iter()
        .map(|(id, node)| (node.height, *id))
        .collect();
    order.sort_unstable();
    // What stands for each node in the drawing: itself, or what is seen through it.
    let mut stands: BTreeMap<Id, Rc<BTreeSet<u32>>> = BTreeMap::new();
    let mut views = Vec::new();
    for (_, id) in order {
        let node = &graph.nodes[&id];
        let sources = sources(graph, id, node, &stands);
        if node.label.is_empty() || id == EXHAUSTED {
            stands.insert(id, sources);
            continue;
        }
        let number = u32::try_from(views.len()).unwrap_or(u32::MAX);
        stands.insert(id, Rc::new(BTreeSet::from([number])));
        let want = match node.op {
            Op::Action(want) => want,
            _ => None,
        };
        let view = TermView {
            id: number,
            label: node.label.clone(),
            state: node.cell.shown(),
            inputs: sources.iter().copied().collect(),
            want,
        };
        views.push((node, view));
    }
    views
}

/// What a node is drawn as reading. One that reads nothing but was made by a function comes from
/// what the function was given.
fn sources(
    graph: &Graph,
    id: Id,
    node: &Node,
    stands: &BTreeMap<Id, Rc<BTreeSet<u32>>>,
) -> Rc<BTreeSet<u32>> {
    let inputs = drawn_inputs(graph, id, node);
    let mut found = inputs.iter().filter_map(|input| stands.get(input));
    let first = found.next().cloned().unwrap_or_default();
    let all = found.fold(first, |mut all, more| {
        if !Rc::ptr_eq(&all, more) && !more.is_empty() {
            Rc::make_mut(&mut all).extend(more.iter());
        }
        all
    });
    if !all.is_empty() {
        return all;
    }
    let owner = graph.scopes.get(&node.scope).and_then(|scope| scope.owner);
    owner
        .and_then(|owner| stands.get(&owner))
        .cloned()
        .unwrap_or_default()
}

/// The inputs, without the node that ran the function where everything read was made by it: what
/// was made leads there anyway.
fn drawn_inputs<'a>(graph: &'a Graph, id: Id, node: &'a Node) -> &'a [Id] {
    let [maker, made @ ..] = node.inputs.as_slice() else {
        return &[];
    };
    let Some(Node {
        op: Op::Grow { main, .. },
        owns,
        ..
    }) = graph.nodes.get(maker)
    else {
        return &node.inputs;
    };
    let inside = |id: &Id| {
        graph
            .nodes
            .get(id)
            .is_some_and(|made| owns.contains(&made.scope))
    };
    if *main == id && !made.is_empty() && made.iter().all(inside) {
        made
    } else {
        &node.inputs
    }
}

/// The state of a node, with the reason of a failure where it arose.
fn words(node: &Node) -> String {
    let word = node.cell.shown().word();
    match &node.cell {
        Cell::Failed(fail) if fail.origin() == node.label => {
            format!("{word}: {}", one_line(fail.message()))
        }
        _ => word.to_owned(),
    }
}

/// Without what could break out of a line or move a terminal's cursor.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// A string of the DOT language.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in one_line(text).chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}
