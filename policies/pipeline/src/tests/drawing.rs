use super::*;

/// A small ci: an analysis of the head, a build of each variant, a summary that never waits.
fn ci() -> (Engine, Input<String>) {
    let mut engine = Engine::default();
    let mut root = engine.root();
    let (head, commit) = root.input::<String>("head");
    let variants = root.map(commit, "analysis", |commit| {
        Ok(commit.split(' ').map(str::to_owned).collect::<Vec<_>>())
    });
    let states = root.list_map(variants, |scope, name| {
        let dep = scope.ok(request("dep"));
        let dep = scope.action(dep, "deps");
        let own = scope.ok(request(name));
        let own = scope.gate(dep, own);
        let own = scope.action(own, &format!("build {name}"));
        scope.state(own)
    });
    let summary = root.map(states, "", |states| Ok(states.len()));
    root.show(summary, "summary");
    (engine, head)
}

#[test]
fn a_pipeline_can_be_drawn_before_anything_has_run() {
    let (engine, _) = ci();
    assert_eq!(
        engine.text(),
        "summary [blocked]\n  analysis [blocked]\n    head [blocked]\n"
    );
    assert_eq!(
        engine.dot(),
        r##"digraph pipeline {
  rankdir=LR
  node [shape=box, style=filled, fontname="sans-serif"]
  n0 [label="head", fillcolor="#d3d3d3"]
  n1 [label="analysis", fillcolor="#d3d3d3"]
  n2 [label="summary", fillcolor="#d3d3d3"]
  n0 -> n1
  n1 -> n2
}
"##
    );
}

#[test]
fn a_drawing_shows_states_and_goes_through_hidden_terms() {
    let (mut engine, head) = ci();
    engine.set(head, Ok("4.14 5.2".to_owned()));
    assert_eq!(round(&mut engine), ["want 0 dep"]);
    engine.deliver(WantId(0), done("dep", Verdict::Pass));
    assert_eq!(round(&mut engine), ["want 1 4.14", "want 2 5.2"]);
    engine.deliver(WantId(1), WantState::Running(node()));
    engine.deliver(WantId(2), done("5.2", Verdict::Fail));
    engine.stabilise();
    assert_eq!(
        engine.text(),
        "summary [ok]
  build 4.14 [running]
    analysis [ok]
      head [ok]
    deps [ok]
      analysis (see above)
  build 5.2 [failed: 5.2 broke]
    analysis (see above)
    deps [ok]
      analysis (see above)
"
    );
    let dot = engine.dot();
    assert_eq!(
        dot,
        r##"digraph pipeline {
  rankdir=LR
  node [shape=box, style=filled, fontname="sans-serif"]
  n0 [label="head", fillcolor="#90ee90"]
  n1 [label="analysis", fillcolor="#90ee90"]
  n2 [label="deps", fillcolor="#90ee90"]
  n3 [label="deps", fillcolor="#90ee90"]
  n4 [label="build 4.14", fillcolor="#ffa500"]
  n5 [label="build 5.2", fillcolor="#ff4500"]
  n6 [label="summary", fillcolor="#90ee90"]
  n0 -> n1
  n1 -> n2
  n1 -> n3
  n1 -> n4
  n2 -> n4
  n1 -> n5
  n3 -> n5
  n4 -> n6
  n5 -> n6
}
"##
    );
    let terms = engine.terms();
    assert_eq!(terms[4].want, Some(WantId(1)));
    assert_eq!(terms[2].want, terms[3].want);
    assert_eq!(terms[6].want, None);
}

#[test]
fn what_decides_a_bind_is_drawn_where_its_result_comes_from_elsewhere() {
    let mut engine = Engine::default();
    let mut root = engine.root();
    let (a, ta) = root.input::<i32>("a");
    let (flag, choice) = root.input::<bool>("flag");
    let chosen = root.bind(choice, move |_, _| ta);
    root.show(chosen, "chosen");
    engine.set(flag, Ok(true));
    engine.set(a, Ok(1));
    engine.stabilise();
    assert_eq!(engine.text(), "chosen [ok]\n  a [ok]\n  flag [ok]\n");
}

#[test]
fn every_state_has_ocurrents_colour() {
    let colours = [
        (State::Ok, "90ee90"),
        (State::Running, "ffa500"),
        (State::Ready, "ffff00"),
        (State::Failed, "ff4500"),
        (State::Blocked, "d3d3d3"),
    ];
    for (state, expected) in colours {
        assert_eq!(colour(state), expected);
    }
}

#[test]
fn labels_and_messages_cannot_break_out_of_a_drawing() {
    let mut engine = Engine::default();
    let (x, _) = engine
        .root()
        .input::<i32>("a\"]; evil [label=\"\\\n\u{1b}[2J");
    engine.set(x, Err(Fail::new("one\ntwo\u{7}")));
    engine.stabilise();
    assert!(
        engine
            .dot()
            .contains(r##"n0 [label="a\"]; evil [label=\"\\  [2J", fillcolor="#ff4500"]"##)
    );
    assert_eq!(
        engine.text(),
        "a\"]; evil [label=\"\\  [2J [failed: one two ]\n"
    );
}

#[test]
fn a_failure_gives_its_reason_only_where_it_arose() {
    let mut engine = Engine::default();
    let mut root = engine.root();
    let (x, term) = root.input::<i32>("x");
    let y = root.map(term, "y", |x| Ok(*x));
    root.map(y, "z", |y| Ok(*y));
    engine.set(x, Err(Fail::new("no")));
    engine.stabilise();
    assert_eq!(
        engine.text(),
        "z [failed]\n  y [failed]\n    x [failed: no]\n"
    );
}
