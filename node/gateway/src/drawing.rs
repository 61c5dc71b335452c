//! The drawing of a run's terms as SVG: boxes in layers from left to right, what a term reads to
//! the left of it. Equal terms give equal bytes, and the drawing is bounded whatever it is given.

use std::fmt::Write as _;

use caravan_protocol::{policy::WantId, view::TermView};

use crate::{
    limits,
    text::{self, Html, Text},
};

mod layout;

use layout::{BOX_HEIGHT, BOX_WIDTH, Layout};

const LABEL_CHARS: usize = 22;
const MARGIN: i64 = 12;

/// A drawing and what to say beside it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Drawing {
    /// The SVG element; empty where there is nothing to draw.
    pub(crate) svg: Html,
    /// Terms in it.
    pub(crate) shown: usize,
    /// Terms that are not in it.
    pub(crate) left_out: usize,
}

/// Draws `terms`; `link` gives the address of a wish's page.
pub(crate) fn draw(terms: &[TermView], link: impl Fn(WantId) -> String) -> Drawing {
    let shown = &terms[..terms.len().min(limits::TERMS_MAX)];
    if shown.is_empty() {
        return Drawing::default();
    }
    let layout = Layout::of(shown);
    let (width, height) = (layout.width + 2 * MARGIN, layout.height + 2 * MARGIN);
    let mut svg = format!(
        "<svg class=\"drawing\" xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"group\" aria-label=\"Pipeline of {} terms\">\n",
        shown.len()
    );
    for edge in &layout.edges {
        let from = shown[edge.from].state.word();
        let _ = write!(svg, "<path class=\"edge from-{from}\" d=\"");
        write_path(&mut svg, &edge.points);
        svg.push_str("\"/>\n");
    }
    for (term, place) in shown.iter().zip(&layout.places) {
        write_box(&mut svg, term, *place, &link);
    }
    svg.push_str("</svg>");
    Drawing {
        svg: Html(svg),
        shown: shown.len(),
        left_out: terms.len() - shown.len(),
    }
}

fn write_path(svg: &mut String, points: &[(i64, i64)]) {
    let mut last: Option<(i64, i64)> = None;
    for &(x, y) in points {
        let (x, y) = (x + MARGIN, y + MARGIN);
        match last {
            None => {
                let _ = write!(svg, "M{x} {y}");
            }
            Some((_, from_y)) if from_y == y => {
                let _ = write!(svg, "H{x}");
            }
            Some((from_x, from_y)) => {
                let middle = i64::midpoint(from_x, x);
                let _ = write!(svg, "C{middle} {from_y} {middle} {y} {x} {y}");
            }
        }
        last = Some((x, y));
    }
}

fn write_box(
    svg: &mut String,
    term: &TermView,
    (x, y): (i64, i64),
    link: &impl Fn(WantId) -> String,
) {
    let full = Text::new(&term.label);
    let label = shortened(full.as_str());
    let (full, label) = (text::escaped(full.as_str()), text::escaped(&label));
    let word = term.state.word();
    if let Some(want) = term.want {
        let _ = write!(svg, "<a href=\"{}\">", text::escaped(&link(want)));
    }
    let (x, y) = (x + MARGIN, y + MARGIN);
    let _ = write!(
        svg,
        "<g class=\"box s-{word}\" transform=\"translate({x} {y})\"><title>{full}: {word}</title>\
         <rect width=\"{BOX_WIDTH}\" height=\"{BOX_HEIGHT}\" rx=\"7\"/>\
         <use href=\"#i-{word}\" x=\"9\" y=\"8\" width=\"14\" height=\"14\"/>\
         <text x=\"30\" y=\"19\">{label}</text></g>"
    );
    svg.push_str(if term.want.is_some() { "</a>\n" } else { "\n" });
}

/// A label that fits its box. The middle goes, because names differ at their ends.
fn shortened(label: &str) -> String {
    let count = label.chars().count();
    if count <= LABEL_CHARS {
        return label.to_owned();
    }
    let head = LABEL_CHARS / 2;
    let tail = LABEL_CHARS - head - 1;
    let chars = || label.chars();
    chars()
        .take(head)
        .chain(['…'])
        .chain(chars().skip(count - tail))
        .collect()
}

#[cfg(test)]
mod tests;
