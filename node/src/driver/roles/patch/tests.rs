use std::collections::BTreeMap;

use caravan_protocol::{
    ids::{ActionKey, RunId},
    policy::WantId,
    view::{TermView, VariantView},
};
use proptest::prelude::*;

use super::*;

fn step(want: u64, words: usize, state: State) -> StepView {
    StepView {
        want: WantId(want),
        label: format!("step {want}"),
        action: ActionKey::from_bytes([1; 32]),
        state,
        node: None,
        level: None,
        cached: false,
        infra: false,
        attempt: 1,
        wall_ms: want,
        log: None,
        output: None,
        message: (words > 0).then(|| "w".repeat(words)),
    }
}

fn view(steps: impl IntoIterator<Item = StepView>) -> RunView {
    RunView {
        id: RunId::from_bytes([2; 32]),
        role: "ci".to_owned(),
        project: "p".to_owned(),
        branch: "main".to_owned(),
        commit: "0".repeat(40),
        title: "t".to_owned(),
        state: State::Running,
        message: None,
        notes: Vec::new(),
        started: Stamp::from_ms(1),
        finished: None,
        executed: 0,
        policy: PolicyView::default(),
        steps: steps.into_iter().map(|step| (step.want, step)).collect(),
    }
}

/// Tells a viewer all of a view; gives what it has then, and after how many pieces.
fn tell(had: &mut Option<Arc<RunView>>, shown: &mut RunView, view: &RunView) -> usize {
    for pieces in 0.. {
        if had
            .as_deref()
            .is_some_and(|had| had.finished == view.finished && had == view)
        {
            return pieces;
        }
        assert!(pieces < 1000, "it is never told whole");
        let (bytes, then) = Patch::make(had.as_deref(), view).expect("within bounds");
        if had.as_ref() == Some(&then) {
            return pieces;
        }
        Patch::decode(&bytes).expect("just made").apply(shown);
        *had = Some(then);
    }
    0
}

proptest! {
    #[test]
    fn a_viewer_that_was_told_every_change_has_the_same(
        changes in prop::collection::vec(
            prop::collection::btree_map(0_u64..40, (0_usize..900, 0_u8..4), 0..20), 1..6),
        ends: bool,
    ) {
        let states = [State::Ready, State::Running, State::Ok, State::Failed];
        let mut now = view([]);
        let (mut had, mut shown) = (None, view([]));
        for change in changes {
            for (want, (words, state)) in change {
                let step = step(want, words, states[usize::from(state)]);
                now.steps.insert(step.want, step);
            }
            now.executed += 1;
            tell(&mut had, &mut shown, &now);
            prop_assert_eq!(&shown, &now);
        }
        if ends {
            now.finished = Some(Stamp::from_ms(5));
            now.state = State::Ok;
            tell(&mut had, &mut shown, &now);
        }
        prop_assert_eq!(&shown, &now);
    }
}

#[test]
fn a_large_view_comes_in_pieces_and_its_end_with_the_last() {
    let mut now = view((0..3000).map(|want| step(want, 500, State::Ok)));
    (now.state, now.finished) = (State::Ok, Some(Stamp::from_ms(9)));
    let (bytes, then) = Patch::make(None, &now).expect("within bounds");
    assert!(bytes.len() <= SHOWN_BYTES_MAX && then.finished.is_none());
    assert_eq!(then.state, State::Running);
    let (mut had, mut shown) = (None, view([]));
    let pieces = tell(&mut had, &mut shown, &now);
    assert!((2..20).contains(&pieces), "{pieces}");
    assert_eq!(shown, now);
}

#[test]
fn a_drawing_that_is_too_large_is_left_out_and_not_told_again() {
    let term = |id| TermView {
        id,
        label: "x".repeat(100),
        state: State::Ok,
        inputs: Vec::new(),
        want: None,
    };
    let mut now = view([]);
    now.policy.terms = (0..5000).map(term).collect();
    now.policy.variants = vec![VariantView {
        name: "v".to_owned(),
        state: State::Ok,
        message: None,
        wants: Vec::new(),
        recipe: None,
    }];
    let (bytes, then) = Patch::make(None, &now).expect("within bounds");
    let mut shown = view([]);
    Patch::decode(&bytes).expect("just made").apply(&mut shown);
    assert!(shown.policy.terms.is_empty() && shown.policy.variants.len() == 1);
    let (again, _) = Patch::make(Some(&then), &now).expect("within bounds");
    assert!(again.len() < 1000);
}

#[test]
fn one_that_shows_too_much_is_not_kept_whole() {
    let mut shown = view([]);
    for piece in 0..20 {
        let patch = Patch {
            state: State::Running,
            message: Some("m".repeat(5000)),
            notes: Vec::new(),
            finished: None,
            executed: 0,
            policy: None,
            steps: (0..1000)
                .map(|n| step(piece * 1000 + n, 3000, State::Ok))
                .collect(),
        };
        patch.apply(&mut shown);
    }
    assert_eq!(shown.steps.len(), STEPS_MAX);
    let words = shown
        .steps
        .values()
        .filter_map(|step| step.message.as_ref());
    assert!(words.into_iter().all(|words| words.len() <= WORDS_MAX));
    assert_eq!(shown.message.map(|words| words.len()), Some(WORDS_MAX));
    let _: BTreeMap<WantId, StepView> = shown.steps;
}
