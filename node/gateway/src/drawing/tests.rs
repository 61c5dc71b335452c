//! The drawing on sane, large and hostile graphs.

use caravan_protocol::view::State;
use proptest::prelude::*;

use super::*;

fn term(id: u32, inputs: &[u32]) -> TermView {
    TermView {
        id,
        label: format!("term {id}"),
        state: State::Ok,
        inputs: inputs.to_vec(),
        want: Some(WantId(u64::from(id))),
    }
}

fn link(want: WantId) -> String {
    format!("/step/{}", want.0)
}

#[test]
fn a_chain_goes_from_left_to_right() {
    let layout = Layout::of(&[term(1, &[]), term(2, &[1]), term(3, &[2])]);
    let xs: Vec<_> = layout.places.iter().map(|(x, _)| *x).collect();
    assert_eq!(xs, [0, 236, 472]);
    assert!(layout.places.iter().all(|(_, y)| *y == 0));
    assert_eq!(layout.edges.len(), 2);
}

#[test]
fn a_small_drawing_is_written_like_this() {
    let mut waiting = term(2, &[1]);
    (waiting.state, waiting.want) = (State::Ready, None);
    let svg = draw(&[term(1, &[]), waiting], link).svg.0;
    let golden = [
        r##"<svg class="drawing" xmlns="http://www.w3.org/2000/svg" width="456" height="54" viewBox="0 0 456 54" role="group" aria-label="Pipeline of 2 terms">"##,
        r##"<path class="edge from-ok" d="M208 27H248"/>"##,
        r##"<a href="/step/1"><g class="box s-ok" transform="translate(12 12)"><title>term 1: ok</title><rect width="196" height="30" rx="7"/><use href="#i-ok" x="9" y="8" width="14" height="14"/><text x="30" y="19">term 1</text></g></a>"##,
        r##"<g class="box s-ready" transform="translate(248 12)"><title>term 2: ready</title><rect width="196" height="30" rx="7"/><use href="#i-ready" x="9" y="8" width="14" height="14"/><text x="30" y="19">term 2</text></g>"##,
        "</svg>",
    ];
    assert_eq!(svg.lines().collect::<Vec<_>>(), golden);
}

#[test]
fn a_line_that_follows_from_others_is_left_out() {
    let layout = Layout::of(&[term(1, &[]), term(2, &[1]), term(3, &[1, 2])]);
    let ends: Vec<_> = layout.edges.iter().map(|e| (e.from, e.to)).collect();
    assert_eq!(ends, [(0, 1), (1, 2)]);
}

#[test]
fn cycles_unknown_inputs_and_repeated_numbers_are_survived() {
    let terms = [
        term(1, &[1, 3, 99]),
        term(2, &[1]),
        term(3, &[2]),
        term(2, &[3]),
    ];
    let drawing = draw(&terms, link);
    assert_eq!(drawing.shown, 4);
    assert_eq!(drawing.svg.0.matches("<rect").count(), 4);
}

#[test]
fn five_hundred_terms_are_drawn_within_bounds_and_alike_each_time() {
    let terms: Vec<_> = (0..700_u32)
        .map(|id| {
            term(
                id,
                &[id / 3, id / 2, id.saturating_sub(1), id * 7 % (id + 1)],
            )
        })
        .collect();
    let drawing = draw(&terms, link);
    assert_eq!((drawing.shown, drawing.left_out), (500, 200));
    assert!(
        drawing.svg.0.len() < 600_000,
        "{} bytes",
        drawing.svg.0.len()
    );
    assert_eq!(drawing, draw(&terms, link));
}

#[test]
fn many_long_lines_stay_within_the_bound_on_bends() {
    let mut terms: Vec<_> = (0..250_u32)
        .map(|id| term(id, &[id.wrapping_sub(1)]))
        .collect();
    for id in 250..500_u32 {
        terms.push(term(id, &[0, id - 250]));
    }
    let layout = Layout::of(&terms);
    let bends: usize = layout.edges.iter().map(|edge| edge.points.len()).sum();
    assert!(bends <= 2 * (limits::BENDS_MAX + layout.edges.len()));
}

#[test]
fn labels_are_escaped_and_cut() {
    let mut hostile = term(1, &[]);
    hostile.label = "</title><script>alert(1)</script>\u{202e}".to_owned();
    let svg = draw(&[hostile], link).svg.0;
    assert!(!svg.contains("<script") && !svg.contains('\u{202e}'));
    assert!(svg.contains("&lt;/title&gt;&lt;script&gt;alert(1)&lt;/script&gt;\u{fffd}: ok"));
}

proptest! {
    #[test]
    fn boxes_never_overlap(edges in proptest::collection::vec((0..30_u32, 0..30_u32), 0..90)) {
        let terms: Vec<_> = (0..30)
            .map(|id| {
                let inputs: Vec<_> = edges.iter().filter(|e| e.1 == id).map(|e| e.0).collect();
                term(id, &inputs)
            })
            .collect();
        let layout = Layout::of(&terms);
        for (at, a) in layout.places.iter().enumerate() {
            prop_assert!(a.0 >= 0 && a.1 >= 0);
            prop_assert!(a.0 + BOX_WIDTH <= layout.width && a.1 + BOX_HEIGHT <= layout.height);
            for b in &layout.places[..at] {
                prop_assert!(a.0 != b.0 || a.1.abs_diff(b.1) >= BOX_HEIGHT.unsigned_abs(), "{a:?} on {b:?}");
            }
        }
    }
}
